# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Small bags with known content, written by `rosbags` in every storage format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from rosbags.typesys import get_types_from_msg

from sarnn_ros.data.write_bag import (
    TYPES,
    image_message,
    joint_state_message,
    write_messages,
)
from sarnn_ros.data.write_bag import header as stamped_header
from sarnn_ros.spec import IMAGE_TYPE as IMAGE
from sarnn_ros.spec import JOINT_STATE_TYPE as JOINTS
from sarnn_ros.spec import Spec, parse_spec

STORE, T = TYPES, TYPES.types
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CONTROLLER_STATE = "control_msgs/msg/JointTrajectoryControllerState"
POINT = "trajectory_msgs/JointTrajectoryPoint"
#: In no typestore of `rosbags`. The first of Jazzy's points, and one that follows.
STORE.register(
    get_types_from_msg(
        f"std_msgs/Header header\nstring[] joint_names\n{POINT} reference\n{POINT} feedback",
        CONTROLLER_STATE,
    )
)
WRENCH = "geometry_msgs/msg/WrenchStamped"
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
NAMES = ("shoulder", "elbow")


def header(stamp: int) -> Any:
    return stamped_header(stamp, "camera")


def joint_state(
    stamp: int, position: Sequence[float], names: Sequence[str] = NAMES, **more: Any
) -> Any:
    return joint_state_message(stamp, names, position, **more)


def wrench(stamp: int, values: Sequence[float]) -> Any:
    """:param values: force x, y, z (N), torque x, y, z (N m)."""
    vector, part = T["geometry_msgs/msg/Vector3"], T["geometry_msgs/msg/Wrench"]
    force, torque = values[:3], values[3:]
    return T[WRENCH](
        header=header(stamp),
        wrench=part(
            force=vector(**dict(zip("xyz", map(float, force)))),
            torque=vector(**dict(zip("xyz", map(float, torque)))),
        ),
    )


POSE = "geometry_msgs/msg/PoseStamped"


def pose(stamp: int, position: Sequence[float], quaternion: Sequence[float]) -> Any:
    """:param position: m. :param quaternion: x, y, z, w."""
    point, turn = T["geometry_msgs/msg/Point"], T["geometry_msgs/msg/Quaternion"]
    part = T["geometry_msgs/msg/Pose"](
        position=point(**dict(zip("xyz", map(float, position)))),
        orientation=turn(**dict(zip("xyzw", map(float, quaternion)))),
    )
    return T[POSE](header=header(stamp), pose=part)


TF = "tf2_msgs/msg/TFMessage"


def transform(
    stamp: int, parent: str, child: str, position: Sequence[float], quaternion: Sequence[float]
) -> Any:
    """Where the child is in its parent, as for `pose`. `tf` makes a message of several."""
    vector, turn = T["geometry_msgs/msg/Vector3"], T["geometry_msgs/msg/Quaternion"]
    part = T["geometry_msgs/msg/Transform"](
        translation=vector(**dict(zip("xyz", map(float, position)))),
        rotation=turn(**dict(zip("xyzw", map(float, quaternion)))),
    )
    return T["geometry_msgs/msg/TransformStamped"](
        header=stamped_header(stamp, parent), child_frame_id=child, transform=part
    )


def tf(*transforms: Any) -> Any:
    return T[TF](transforms=list(transforms))


image = image_message


def compressed(stamp: int, data: bytes, form: str = "jpeg") -> Any:
    return T[COMPRESSED](header=header(stamp), format=form, data=np.frombuffer(data, np.uint8))


def colour(index: int, width: int = 16, height: int = 12) -> np.ndarray:
    """An image that tells which one it is, and which way up and which colour order."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = index % 256
    pixels[..., 1] = np.arange(width) * 5
    pixels[..., 2] = np.arange(height)[:, None] * 7
    return pixels


@dataclass
class Recording:
    """Messages to be written: (topic, type, receive time, message or serialized bytes)."""

    messages: list[tuple[str, str, int, Any]] = field(default_factory=list)

    def add(self, topic: str, kind: str, receive: int, message: Any) -> None:
        self.messages.append((topic, kind, receive, message))

    def write(
        self,
        path: Path,
        storage: StoragePlugin = StoragePlugin.MCAP,
        compression: CompressionMode = CompressionMode.NONE,
        version: int = 8,
    ) -> Path:
        write_messages(
            path,
            sorted(self.messages, key=lambda item: item[2]),
            storage=storage,
            compression=compression,
            version=version,
            qos=(),
        )
        return path


def recording(
    seconds: float = 2.0,
    *,
    start: int = START,
    image_rate: float = 30.0,
    joint_rate: float = 100.0,
    drop_images: Iterable[int] = (),
    change: Callable[[str, int, Any], Any] = lambda topic, index, message: message,
) -> Recording:
    """A camera and two joints. Image i is `colour(i)`, joint state i is [i, -i] / 100.

    :param change: may replace a message, or leave it out by returning None.
    """
    made = Recording()

    def add(topic: str, kind: str, index: int, stamp: int, message: Any) -> None:
        changed = change(topic, index, message)
        if changed is not None:
            made.add(topic, kind, stamp + 2_000_000, changed)

    for index in range(int(seconds * image_rate)):
        stamp = start + round(index / image_rate * SECOND) + 1_000_000
        if index not in drop_images:
            add("/image_raw", IMAGE, index, stamp, image(stamp, colour(index)))
    for index in range(int(seconds * joint_rate)):
        stamp = start + round(index / joint_rate * SECOND) + 300_000
        values = [index / 100, -index / 100]
        add("/joint_states", JOINTS, index, stamp, joint_state(stamp, values))
    return made


def spec(**changes: Any) -> Spec:
    """The spec of `recording`; `changes` are keys of the spec, or of the only camera."""
    camera = {"name": "front", "width": 16, "height": 12}
    camera |= {key: changes.pop(key) for key in list(changes) if key in CAMERA_KEYS}
    return parse_spec({"cameras": [camera], "joints": [{"names": list(NAMES)}]} | changes)


CAMERA_KEYS = {"crop", "width", "height", "max_age", "value_range", "type", "topic"}
