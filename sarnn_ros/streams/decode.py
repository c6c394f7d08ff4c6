# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""ROS messages to arrays. Messages from bags and from live subscriptions take the same path.

Messages are duck-typed: rclpy's, those of `rosbags`, and whatever else has the fields. A message
whose content would have to be guessed raises `DecodeError`. When a message was sent, and whether
it is used, is not decided here (`align`, `observe`).

**cv_bridge** converts colours where it is installed and gives OpenCV's pixels: before an encoding
goes through it for the first time, both are compared on a small image. It is handed validated,
unpadded data only: the version on PyPI ignores `step`, reads 16UC1 as bytes and knows no YUV. All
else OpenCV does. So pixels never depend on what is installed.
"""

from __future__ import annotations

import functools
import re
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.errors import DecodeError, shorten
from sarnn_ros.spec import (
    ARRAY_TYPES,
    COMPONENTS,
    JOINT_STATE_TYPE,
    NANOSECONDS,
    NUMBER_TYPES,
    POSE_TYPE,
    TF_TYPE,
    TRAJECTORY_TYPE,
    WRENCH_TYPE,
    JointSource,
)
from sarnn_ros.streams.poses import chain_components, pose_components

Pixels = NDArray[np.uint8]
ValueRange = tuple[float, float]

#: No camera of a robot has more; a damaged header asking for gigabytes must not get them.
MAX_PIXELS = 1 << 25
#: A compressed image of so many times the pixels of training's is refused: decoding it would
#: take longer than a tick.
MAX_PIXEL_RATIO = 4
#: A JPEG's frame header comes after its tables, thumbnail and colour profile, bytes.
MAX_JPEG_HEADER, MAX_JPEG_SEGMENTS = 1 << 18, 64
#: Encoders write about ten scans of a progressive JPEG. Each costs a decoding of the whole image.
MAX_JPEG_SCANS = 32
#: No robot has more joints; a message of hundreds of thousands must not keep the node busy.
MAX_NAMES = 1000

_NATIVE_BIG_ENDIAN = sys.byteorder == "big"


@dataclass(frozen=True)
class Encoding:
    """How one encoding lies in memory and becomes RGB.

    :param dtype: of one channel value.
    :param channels: values per pixel.
    :param code: OpenCV's conversion to RGB; None for none.
    :param full_scale: black and white of a single-channel type wider than a byte, in source
        units; None if only the spec's `value_range` can tell.
    :param multiple: width and height must be multiples of these.
    :param least: smallest width and height that can be converted.
    """

    dtype: str
    channels: int
    code: int | None = None
    full_scale: ValueRange | None = None
    needs_range: bool = False
    multiple: tuple[int, int] = (1, 1)
    least: int = 1
    bridged: bool = False

    @property
    def pixel_bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * self.channels


def _bayer(code: int) -> Encoding:
    # Below 3x3 there are no neighbours to interpolate from, and OpenCV returns black.
    return Encoding("u1", 1, code, least=3, bridged=True)


_UYVY = Encoding("u1", 2, cv2.COLOR_YUV2RGB_UYVY, multiple=(2, 1), bridged=True)
_YUYV = Encoding("u1", 2, cv2.COLOR_YUV2RGB_YUY2, multiple=(2, 1), bridged=True)

#: Everything that `sensor_msgs/msg/Image` may say in `encoding`; see docs/reference/data.md.
ENCODINGS: dict[str, Encoding] = {
    "rgb8": Encoding("u1", 3, bridged=True),
    "bgr8": Encoding("u1", 3, cv2.COLOR_BGR2RGB, bridged=True),
    "rgba8": Encoding("u1", 4, cv2.COLOR_RGBA2RGB, bridged=True),
    "bgra8": Encoding("u1", 4, cv2.COLOR_BGRA2RGB, bridged=True),
    "mono8": Encoding("u1", 1, cv2.COLOR_GRAY2RGB, bridged=True),
    "8UC1": Encoding("u1", 1, cv2.COLOR_GRAY2RGB),
    "mono16": Encoding("u2", 1, full_scale=(0.0, 65535.0), needs_range=True),
    "16UC1": Encoding("u2", 1, needs_range=True),
    "32FC1": Encoding("f4", 1, needs_range=True),
    "bayer_rggb8": _bayer(cv2.COLOR_BayerRGGB2RGB),
    "bayer_bggr8": _bayer(cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg8": _bayer(cv2.COLOR_BayerGBRG2RGB),
    "bayer_grbg8": _bayer(cv2.COLOR_BayerGRBG2RGB),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
}

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
#: FF, any number of fill bytes FF, and the marker.
_JPEG_MARKER = re.compile(rb"\xff+[^\xff]", re.DOTALL)
_JPEG_END = b"\xff\xd9"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})


class OtherJoints(DecodeError):
    """A message that names none of the joints: perhaps it is meant for another source."""


def decode_image(msg: Any, *, value_range: ValueRange | None = None) -> Pixels:
    """Image or CompressedImage to RGB.

    :param value_range: [black, white] in source units, for single-channel images of more than
        8 bits: `mono16` has a default, depth images have none. Not-a-number becomes black.
    :return: uint8 (H, W, 3), RGB, C-contiguous, never a view of the message.
    :raises DecodeError: the message is malformed, of an unknown encoding, or needs a value range.
    """
    width, height = check_image(msg)
    if _is_compressed(msg):
        return _decode_compressed(msg, width, height, value_range)
    encoding = ENCODINGS[msg.encoding]
    values = _unpad(msg, encoding, width, height)
    if encoding.needs_range:
        return _scale(values, value_range or encoding.full_scale, msg.encoding)
    convert = _bridge(msg.encoding) if encoding.bridged else None
    return _contiguous(convert(values) if convert else _convert(values, encoding.code))


def check_image(msg: Any, trained: tuple[int, int] | None = None) -> tuple[int, int]:
    """Whether an image can be used, without decoding it. Takes microseconds for a sound one, and
    less than 5 ms whatever comes.

    :param trained: (width, height) of the source images in training, if known.
    :return: (width, height), pixels.
    :raises DecodeError: sizes, step, data length or encoding contradict each other; or a
        CompressedImage would take too long to decode.
    """
    if _is_compressed(msg):
        return _check_compressed(msg, trained)
    encoding = ENCODINGS.get(msg.encoding)
    if encoding is None:
        raise DecodeError(
            f"image encoding '{shorten(msg.encoding, 50)}' is not supported",
            remedy=f"publish one of: {', '.join(ENCODINGS)}",
        )
    width, height, step, size = int(msg.width), int(msg.height), int(msg.step), len(msg.data)
    row = width * encoding.pixel_bytes
    if not (encoding.least <= width and encoding.least <= height):
        raise DecodeError(f"an image of {width} x {height} pixels ({msg.encoding})")
    if width * height > MAX_PIXELS:
        raise DecodeError(f"an image of {width} x {height} pixels is larger than {MAX_PIXELS}")
    if width % encoding.multiple[0] or height % encoding.multiple[1]:
        raise DecodeError(f"{msg.encoding} needs an even width, found {width}")
    if step < row or size != step * height:
        raise DecodeError(
            f"{size} bytes in rows of {step} cannot be {width} x {height} pixels of "
            f"{msg.encoding} ({row} bytes a row)",
            remedy="the driver sets step, width, height or data wrongly; RViz refuses it as well",
        )
    return width, height


def needs_range(msg: Any) -> bool:
    """Whether an image is of depth, or of more than 8 bits: also a compressed one that was."""
    name = _encoding(msg)
    if name == "mono16" and _is_jpeg(msg):
        return False  # image_transport scales it to 8 bits before
    encoding = ENCODINGS.get(name)
    return encoding is not None and encoding.needs_range


def source_values(msg: Any) -> NDArray[Any]:
    """The values of an image that `needs_range`, in source units; (H, W).

    :raises DecodeError: see `decode_image`.
    """
    width, height = check_image(msg)
    if _is_compressed(msg):
        return _read_compressed(msg, width, height)
    return _unpad(msg, ENCODINGS[msg.encoding], width, height)


def decode_joints(msg: Any, names: Sequence[str], field: str = "position") -> NDArray[np.float64]:
    """Joints of a JointState, by name; others are ignored.

    :return: float64 (len(names),), in the order of `names`; rad, m, rad/s, m/s, N m or N.
    :raises DecodeError: a joint is missing, named twice or not finite, or the field is short.
    """
    return _pick(list(msg.name), getattr(msg, field), names, field)


def decode_vector(msg: Any, source: JointSource) -> NDArray[np.float64]:
    """A source's entries of the joint vector, from whichever type it is.

    :param msg: of tf, which needs earlier messages (`poses.TransformChain`), the transforms as
        for `chain_components`.
    :return: float64 (len(source.names),), in the order of `source.names`, SI units.
    :raises DecodeError: see `decode_joints`; also an empty trajectory or a short array.
    """
    names, field = source.names, source.field
    if source.type == JOINT_STATE_TYPE:
        return decode_joints(msg, names, field)
    if source.type == WRENCH_TYPE:
        parts = (name.split(".") for name in COMPONENTS[WRENCH_TYPE])
        values = [getattr(getattr(msg.wrench, part), axis) for part, axis in parts]
        return _pick(COMPONENTS[WRENCH_TYPE], values, names, "wrench")
    if source.type == POSE_TYPE:
        pose = pose_components(msg.pose.position, msg.pose.orientation, names)
        return _pick(COMPONENTS[POSE_TYPE], pose, names, "pose")
    if source.type == TF_TYPE:
        return _pick(COMPONENTS[TF_TYPE], chain_components(msg, names), names, "transform")
    if source.type in NUMBER_TYPES:
        return _pick(names, [msg.data], names, "data")
    if source.type in ARRAY_TYPES:
        indices = source.indices or tuple(range(len(names)))
        if len(msg.data) <= max(indices):
            raise DecodeError(f"{len(msg.data)} values, but index {max(indices)} is asked for")
        return _pick(names, [msg.data[index] for index in indices], names, "data")
    if source.type == TRAJECTORY_TYPE:
        if not msg.points:
            raise DecodeError("a trajectory without points")
        point = msg.points[-1]
    else:
        # Named `desired` up to Humble, `reference` since.
        point = msg.reference if hasattr(msg, "reference") else msg.desired
    plural = {"position": "positions", "velocity": "velocities", "effort": "effort"}[field]
    return _pick(list(msg.joint_names), getattr(point, plural), names, field)


def decode_effort(msg: Any, source: JointSource) -> NDArray[np.float64] | None:
    """Efforts of a source's joints in a message that `decode_vector` has read. They are watched
    (`watch.effort`) where the joints are commanded, and are no reason to refuse a message.

    :return: float64 (len(source.names),), in the driver's unit, perhaps not finite; None if it
        tells none: no efforts, or not one for each joint.
    """
    if source.type != JOINT_STATE_TYPE or not source.command:
        return None
    names, efforts = msg.name, msg.effort
    if not len(efforts) or len(efforts) != len(names):
        return None
    values = np.array(efforts, dtype=np.float64)
    if tuple(names) == source.names:
        return values
    index = {name: row for row, name in enumerate(names)}
    return np.asarray(values[[index[name] for name in source.names]])


def stamp_ns(msg: Any) -> int:
    """The header's stamp, ns.

    :raises DecodeError: not set (zero), negative, or the message has no header.
    """
    header = getattr(msg, "header", None)
    if header is None:
        raise DecodeError("the message has no header, hence no stamp", remedy="clock: receive")
    seconds, nanoseconds = int(header.stamp.sec), int(header.stamp.nanosec)
    stamp = seconds * NANOSECONDS + nanoseconds
    if stamp <= 0 or not 0 <= nanoseconds < NANOSECONDS:
        raise DecodeError(
            f"the stamp is {seconds} s {nanoseconds} ns",
            remedy="have the driver set header.stamp, or set 'clock: receive' in the spec",
        )
    return stamp


def _pick(
    present: Sequence[str], values: Any, wanted: Sequence[str], field: str
) -> NDArray[np.float64]:
    """`values` of the `wanted` names, which are in the order `present`."""
    if len(present) > MAX_NAMES:
        raise DecodeError(f"{len(present)} joints in one message, at most {MAX_NAMES} are read")
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (len(present),):
        raise DecodeError(f"{array.size} values in '{field}' for {len(present)} joints")
    index: dict[str, int] = {name: row for row, name in enumerate(present)}
    missing = [name for name in wanted if name not in index]
    if missing:
        kind = OtherJoints if len(missing) == len(wanted) else DecodeError
        raise kind(
            f"joint {', '.join(map(repr, missing))} is missing; found "
            f"{shorten(', '.join(present), 300)}",
            remedy="name the joints in the spec as the message names them",
        )
    if len(index) != len(present):
        twice = [name for name in wanted if list(present).count(name) > 1]
        if twice:
            raise DecodeError(f"joint {', '.join(map(repr, twice))} is named twice in one message")
    picked = array[[index[name] for name in wanted]]
    if not np.isfinite(picked).all():
        bad = [
            f"{name} = {value}" for name, value in zip(wanted, picked) if not np.isfinite(value)
        ]
        raise DecodeError(f"not finite: {', '.join(bad)} ({field})")
    return picked


# -- raw images -------------------------------------------------------------------------------


def _is_compressed(msg: Any) -> bool:
    return hasattr(msg, "format") and not hasattr(msg, "encoding")


def _is_jpeg(msg: Any) -> bool:
    return _is_compressed(msg) and bytes(memoryview(msg.data)[:3]) == _JPEG_MAGIC


def _encoding(msg: Any) -> str:
    """What it is, or was before compression: image_transport writes '16UC1; png compressed '."""
    return str(msg.format.partition(";")[0].strip() if _is_compressed(msg) else msg.encoding)


def _unpad(msg: Any, encoding: Encoding, width: int, height: int) -> NDArray[Any]:
    """(H, W) or (H, W, C) in native byte order; a view of the message where possible."""
    rows = np.frombuffer(msg.data, np.uint8).reshape(height, int(msg.step))
    packed = np.ascontiguousarray(rows[:, : width * encoding.pixel_bytes])
    values = packed.view(encoding.dtype)
    if values.dtype.itemsize > 1 and bool(msg.is_bigendian) != _NATIVE_BIG_ENDIAN:
        values = values.byteswap()
    shape = (height, width) if encoding.channels == 1 else (height, width, encoding.channels)
    return values.reshape(shape)


def _scale(values: NDArray[Any], value_range: ValueRange | None, encoding: str) -> Pixels:
    if value_range is None:
        raise DecodeError(
            f"{encoding} says nothing of what is black and what is white",
            remedy="set the camera's 'value_range: [black, white]' in source units",
        )
    low, high = value_range
    with np.errstate(invalid="ignore"):  # signalling NaN
        wide = values.astype(np.float64)
    known = np.nan_to_num(wide, nan=low, posinf=high, neginf=low)
    grey = np.rint((np.clip(known, low, high) - low) * (255.0 / (high - low))).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _convert(values: Pixels, code: int | None) -> Pixels:
    return values if code is None else np.asarray(cv2.cvtColor(values, code))


def _contiguous(image: Any) -> Pixels:
    """A C-contiguous copy if `image` is not one that owns its memory."""
    return np.array(
        image, dtype=np.uint8, order="C", copy=True if image.base is not None else None
    )


# -- cv_bridge --------------------------------------------------------------------------------


@functools.cache
def _cv_bridge() -> Any:
    """A `CvBridge`, or None where there is none that works."""
    try:
        from cv_bridge import CvBridge

        return CvBridge()
    except Exception:  # built against another NumPy it may raise anything
        return None


@functools.cache
def _bridge(encoding: str) -> Callable[[Pixels], Pixels] | None:
    """cv_bridge's conversion to RGB, if there is one and it gives OpenCV's pixels."""
    bridge = _cv_bridge()
    if bridge is None:
        return None

    def convert(values: Pixels) -> Pixels:
        height, width = values.shape[:2]
        message = SimpleNamespace(
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=0,
            step=values.nbytes // height,
            data=values.data,
        )
        return np.asarray(bridge.imgmsg_to_cv2(message, "rgb8"))

    about = ENCODINGS[encoding]
    shape = (6, 8) if about.channels == 1 else (6, 8, about.channels)
    sample = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    try:
        same = np.array_equal(convert(sample), _convert(sample, about.code))
    except Exception:  # unknown to it: KeyError, CvBridgeError, cv2.error
        same = False
    return convert if same else None


# -- compressed images ------------------------------------------------------------------------


def _check_compressed(msg: Any, trained: tuple[int, int] | None) -> tuple[int, int]:
    """From the file's header; nothing is decoded."""
    if not len(msg.data):
        raise DecodeError(f"an empty compressed image (format '{shorten(msg.format, 50)}')")
    # A JPEG has 8 bits: what was 16 of depth, or a float, is lost.
    if (needs_range(msg) and _is_jpeg(msg)) or "compressedDepth" in msg.format:
        raise DecodeError(
            f"format '{shorten(msg.format, 50)}' is not supported",
            remedy="record the raw depth image",
        )
    data = np.frombuffer(msg.data, np.uint8)
    head = data[:MAX_JPEG_HEADER].tobytes()
    progressive = False
    if head.startswith(_PNG_MAGIC) and len(head) >= 24:
        width, height = struct.unpack_from(">II", head, 16)
    elif head.startswith(_JPEG_MAGIC):
        width, height, progressive = _jpeg_size(head)
    else:
        raise DecodeError(
            f"neither a JPEG nor a PNG image (format '{shorten(msg.format, 50)}', begins with "
            f"{head[:4].hex()})"
        )
    pixels = width * height
    most = min(MAX_PIXELS, MAX_PIXEL_RATIO * trained[0] * trained[1]) if trained else MAX_PIXELS
    if not 0 < pixels <= most:
        raise DecodeError(
            f"a compressed image of {width} x {height} pixels"
            + (f"; in training it had {trained[0]} x {trained[1]}" if trained else "")
        )
    if len(data) > 8 * pixels + MAX_JPEG_HEADER:  # 16-bit RGBA that is not compressed at all
        raise DecodeError(f"{len(data)} bytes for an image of {width} x {height} pixels")
    if progressive:
        scans = int(np.count_nonzero(data[np.flatnonzero(data[:-1] == 0xFF) + 1] == 0xDA))
        if scans > MAX_JPEG_SCANS:
            raise DecodeError(f"a progressive JPEG image of {scans} scans")
    return width, height


def _jpeg_size(head: bytes) -> tuple[int, int, bool]:
    """Width, height and whether it is progressive: the frame header (ITU T.81, B.2.2)."""
    position = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        found = _JPEG_MARKER.match(head, position)
        if found is None or found.end() + 7 > len(head):
            break
        marker, segment = head[found.end() - 1], found.end()
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", head, segment + 3)
            return width, height, marker in _JPEG_PROGRESSIVE
        position = segment + max(2, int.from_bytes(head[segment : segment + 2], "big"))
    raise DecodeError("a JPEG image without a frame header near its beginning")


def _decode_compressed(
    msg: Any, width: int, height: int, value_range: ValueRange | None
) -> Pixels:
    image = _read_compressed(msg, width, height)
    if image.dtype == np.uint16:
        encoding = "16UC1" if _encoding(msg) == "16UC1" else "mono16"
        return _scale(image, value_range or ENCODINGS[encoding].full_scale, encoding)
    # image_transport writes "<encoding>; jpeg compressed <order in the file>"; without that, and
    # nearly always with it, the file is in the usual order, which OpenCV returns as BGR.
    if "compressed rgb" in msg.format:
        return _contiguous(image)
    return _contiguous(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _read_compressed(msg: Any, width: int, height: int) -> NDArray[Any]:
    """The file's pixels: uint16 (H, W) of grey with 16 bits, else uint8 (H, W, 3)."""
    data = np.frombuffer(msg.data, np.uint8)
    # Older OpenCV fills what is missing with grey and says nothing. Some drivers pad with zeros.
    cut = data[0] == 0xFF and _JPEG_END not in data[-256:].tobytes()
    if cut and _JPEG_END not in data.tobytes().rstrip(b"\0")[-256:]:
        raise DecodeError("a JPEG image that is cut off")
    grey16 = data[0] == 0x89 and data[24:26].tobytes() == b"\x10\x00"
    flags = cv2.IMREAD_UNCHANGED if grey16 else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise DecodeError(f"OpenCV cannot decode the image: {error}") from error
    if image is None or image.shape[:2] != (height, width):
        raise DecodeError(
            f"a damaged compressed image ({len(data)} bytes, format '{shorten(msg.format, 50)}')"
        )
    return np.asarray(image)
