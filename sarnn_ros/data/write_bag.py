# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writing rosbag2 files from arrays: for scripts that make demonstrations. Needs no ROS.

>>> import tempfile
>>> from pathlib import Path
>>> import numpy as np
>>> from sarnn_ros.data.write_bag import Images, JointStates, write_bag
>>> ticks, names = 20, ("shoulder", "elbow")
>>> frames = np.zeros((ticks, 48, 64, 3), np.uint8)
>>> states = np.linspace([0.0, 0.5], [0.2, 0.9], ticks)
>>> bag = Path(tempfile.mkdtemp()) / "episode_000"
>>> write_bag(
...     bag,
...     {
...         "/image_raw": Images(frames, rate=10.0),
...         "/joint_states": JointStates(names, states, rate=10.0),
...         "/joint_command": JointStates(names, states + 0.01, rate=10.0),
...     },
... ).name
'episode_000'
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter
from rosbags.typesys import Stores, get_typestore

from sarnn_ros.errors import BagError
from sarnn_ros.files import atomic_folder
from sarnn_ros.spec import IMAGE_TYPE, JOINT_STATE_TYPE, NANOSECONDS

__all__ = ["Images", "JointStates", "write_bag"]

#: The metadata version that Humble's rosbag2 reads, too.
BAG_VERSION: Literal[8] = 8
#: Where stamps begin if nothing else is said: 2026-01-01, ns since the epoch.
START_NS = 1_767_225_600 * NANOSECONDS

_FOREVER = QosTime(9223372036, 854775807)
#: What a default ROS 2 publisher offers; `ros2 bag play` offers it again.
DEFAULT_QOS = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    False,
)

TYPES = get_typestore(Stores.ROS2_JAZZY)

#: Topic, message type, receive time in ns, and the message (or its CDR bytes).
Message = tuple[str, str, int, Any]


def header(stamp_ns: int, frame_id: str = "") -> Any:
    """A std_msgs/Header."""
    sec, nanosec = divmod(int(stamp_ns), NANOSECONDS)
    time = TYPES.types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
    return TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def image_message(
    stamp_ns: int, pixels: NDArray[Any], encoding: str = "rgb8", **fields: Any
) -> Any:
    """A sensor_msgs/Image.

    :param pixels: (H, W, …) of the dtype that the encoding asks for.
    :param fields: overwrite what follows from the pixels.
    """
    values = {
        "header": header(stamp_ns, "camera"),
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "encoding": encoding,
        "is_bigendian": 0,
        "step": pixels.nbytes // pixels.shape[0],
        "data": np.ascontiguousarray(pixels).view(np.uint8).reshape(-1),
    }
    return TYPES.types[IMAGE_TYPE](**(values | fields))


def joint_state_message(
    stamp_ns: int,
    names: Sequence[str],
    position: ArrayLike,
    velocity: ArrayLike = (),
    effort: ArrayLike = (),
) -> Any:
    """A sensor_msgs/JointState; rad or m, and per second; N m or N."""
    return TYPES.types[JOINT_STATE_TYPE](
        header=header(stamp_ns),
        name=list(names),
        position=np.array(position, np.float64),
        velocity=np.array(velocity, np.float64),
        effort=np.array(effort, np.float64),
    )


@dataclass(frozen=True, kw_only=True)
class _Timed:
    """When the samples were taken.

    :param rate: samples per second, from `start_ns` on; give it or `stamps_ns`.
    :param stamps_ns: (n,) time of each sample, ns since the epoch, rising.
    :param received_ns: (n,) when the recorder got it; by default at its stamp.
    """

    rate: float | None = None
    start_ns: int = START_NS
    stamps_ns: NDArray[np.int64] | None = None
    received_ns: NDArray[np.int64] | None = None

    def times(self, count: int, topic: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Stamp and receive time of each sample, both (count,) ns.

        :raises BagError: neither or both of rate and stamps, or not one for each sample.
        """
        if (self.rate is None) == (self.stamps_ns is None):
            raise BagError("give either a rate or stamps", where=topic)
        if self.stamps_ns is not None:
            stamps = np.asarray(self.stamps_ns, np.int64)
        else:
            assert self.rate is not None
            steps = np.round(np.arange(count) * (NANOSECONDS / self.rate)).astype(np.int64)
            stamps = self.start_ns + steps
        received = stamps if self.received_ns is None else np.asarray(self.received_ns, np.int64)
        if stamps.shape != (count,) or received.shape != (count,):
            raise BagError(
                f"{count} samples, {stamps.size} stamps and {received.size} receive times",
                where=topic,
                remedy="give one stamp for each sample",
            )
        return stamps, received


@dataclass(frozen=True)
class Images(_Timed):
    """One camera.

    :param frames: (n, H, W, 3) uint8 RGB, or a sequence of (H, W, 3).
    """

    frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
    kind = IMAGE_TYPE

    def messages(self, topic: str) -> Iterator[Message]:
        stamps, received = self.times(len(self.frames), topic)
        for stamp, at, frame in zip(stamps, received, self.frames, strict=True):
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
                raise BagError(
                    f"a frame of shape {frame.shape} and type {frame.dtype}",
                    where=topic,
                    remedy="give (height, width, 3) RGB, uint8",
                )
            yield topic, self.kind, int(at), image_message(stamp, frame)


@dataclass(frozen=True)
class JointStates(_Timed):
    """Joints of one topic: measured, or commanded.

    :param names: of the joints.
    :param positions: (n, joints), rad or m.
    :param velocities: (n, joints), rad/s or m/s.
    :param efforts: (n, joints), N m or N.
    """

    names: Sequence[str]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64] | None = None
    efforts: NDArray[np.float64] | None = None
    kind = JOINT_STATE_TYPE

    def messages(self, topic: str) -> Iterator[Message]:
        stamps, received = self.times(len(self.positions), topic)
        parts = (self.positions, self.velocities, self.efforts)
        for values in parts:
            if values is not None and values.shape != (len(stamps), len(self.names)):
                raise BagError(
                    f"values of shape {values.shape} for {len(stamps)} samples of "
                    f"{len(self.names)} joints",
                    where=topic,
                )
        for index, (stamp, at) in enumerate(zip(stamps, received, strict=True)):
            row = [() if values is None else values[index] for values in parts]
            yield topic, self.kind, int(at), joint_state_message(stamp, self.names, *row)


def add_checksums(writer: Writer) -> None:
    """Have an open mcap writer store the CRC-32 of each chunk: `rosbags` leaves it out, and
    flipped bits would go unnoticed."""
    storage: Any = writer.storage
    if not isinstance(storage, McapWriter):
        return
    close_chunk = storage.close_chunk

    def close_with_checksum() -> None:
        start, checksum = storage.bio.tell(), crc32(storage.chunk.bio.getbuffer())
        close_chunk()
        end = storage.bio.tell()
        # After opcode and length (9 bytes), two times and the size (8 bytes each).
        storage.bio.seek(start + 33)
        storage.bio.write(checksum.to_bytes(4, "little"))
        storage.bio.seek(end)

    storage.close_chunk = close_with_checksum  # type: ignore[method-assign]


def write_bag(
    path: str | Path,
    topics: Mapping[str, Images | JointStates],
    *,
    custom_data: Mapping[str, str] | None = None,
) -> Path:
    """Write a rosbag2 folder (mcap, zstd) that `ros2 bag`, `sarnn inspect` and `sarnn train` read.

    It appears under its name only when it is complete.

    :param topics: of each topic the samples, written in the order of their receive times.
    :param custom_data: kept in the bag's metadata.
    :return: `path`.
    :raises BagError: times or shapes do not fit.
    :raises OSError: it cannot be written, or `path` exists.
    """
    path = Path(path)
    # A topic's messages are made one by one, so that a bag may be larger than the memory.
    parts = [samples.messages(topic) for topic, samples in topics.items()]
    with atomic_folder(path) as partial:
        write_messages(
            partial,
            heapq.merge(*parts, key=lambda message: message[2]),
            types={topic: samples.kind for topic, samples in topics.items()},
            custom_data=custom_data,
            compression=CompressionMode.STORAGE,
        )
    return path


def write_messages(
    path: Path,
    messages: Iterable[Message],
    *,
    types: Mapping[str, str] | None = None,
    custom_data: Mapping[str, str] | None = None,
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
    version: Literal[8, 9] = BAG_VERSION,
    qos: Sequence[Qos] = (DEFAULT_QOS,),
) -> None:
    """Write any messages of the ROS 2 core types into a bag, in the order they come.

    :param types: topics that shall be in the bag even without a message, and their types.
    :param qos: what the publishers offered.
    """
    writer = Writer(path, version=version, storage_plugin=storage)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    connections: dict[str, Any] = {}
    with writer:
        add_checksums(writer)

        def connect(topic: str, kind: str) -> None:
            if topic not in connections:
                connections[topic] = writer.add_connection(
                    topic, kind, typestore=TYPES, offered_qos_profiles=qos
                )

        for topic, kind in (types or {}).items():
            connect(topic, kind)
        for key, value in (custom_data or {}).items():
            writer.set_custom_data(key, value)
        for topic, kind, received, message in messages:
            connect(topic, kind)
            raw = message if isinstance(message, bytes) else TYPES.serialize_cdr(message, kind)
            writer.write(connections[topic], received, raw)
