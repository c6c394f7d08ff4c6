# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the messages the node publishes. Functions of their arguments only; no node, no state."""

from __future__ import annotations

import array
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal

import cv2
import numpy as np
from builtin_interfaces.msg import Duration, Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import ColorRGBA, Float64, Float64MultiArray, Header, MultiArrayDimension
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from visualization_msgs.msg import ImageMarker

from sarnn_ros.errors import EnvironmentProblem
from sarnn_ros.spec import NANOSECONDS

#: Type of a command by `command_interface` or `gripper.interface`.
COMMAND_TYPES: dict[str, Any] = {
    "joint_state": JointState,
    "joint_trajectory": JointTrajectory,
    "forward_position": Float64MultiArray,
    "float64": Float64,
}

#: Colours (RGB, 0 to 1) of the attention points, by the marker's namespace: where they are now
#: and where they will be next.
POINT_COLORS = {
    "encoder": (1.0, 0.25, 0.2),
    "decoder": (0.2, 0.6, 1.0),
}


def message_class(kind: str) -> Any:
    """The class of a type like `std_msgs/msg/Float64`, or of an action's.

    :raises EnvironmentProblem: its package is not installed.
    """
    package, folder, name = kind.split("/")
    try:
        return getattr(import_module(f"{package}.{folder}"), name)
    except (ImportError, AttributeError) as error:
        raise EnvironmentProblem(
            f"the type {kind} is not installed",
            remedy=f"install the package {package} of your ROS distribution, and source it",
        ) from error


def time_message(stamp_ns: int) -> Time:
    return Time(sec=stamp_ns // NANOSECONDS, nanosec=stamp_ns % NANOSECONDS)


def joint_state(names: Sequence[str], positions: NDArray[np.float64], stamp_ns: int) -> JointState:
    """Set-points (n,), rad or m. Velocity and effort stay empty: none is commanded."""
    return JointState(
        header=Header(stamp=time_message(stamp_ns)),
        name=list(names),
        position=array.array("d", positions),
    )


def labelled(
    names: Sequence[str], values: Sequence[float] | NDArray[np.float64]
) -> Float64MultiArray:
    """Values that plot well, their names in the layout, separated by commas."""
    message = Float64MultiArray(data=array.array("d", values))
    message.layout.dim = [
        MultiArrayDimension(label=",".join(names), size=len(values), stride=len(values))
    ]
    return message


def joint_trajectory(
    names: Sequence[str],
    points: Sequence[tuple[NDArray[np.float64], NDArray[np.float64], int]],
) -> JointTrajectory:
    """A trajectory that starts on arrival (stamp 0), as joint_trajectory_controller wants it.

    :param points: position (n,), velocity (n,) and time from the start in ns, in rising order.
    """
    return JointTrajectory(
        joint_names=list(names),
        points=[
            JointTrajectoryPoint(
                positions=array.array("d", position),
                velocities=array.array("d", velocity),
                time_from_start=Duration(sec=after // NANOSECONDS, nanosec=after % NANOSECONDS),
            )
            for position, velocity, after in points
        ],
    )


def image(pixels: NDArray[np.uint8], encoding: Literal["rgb8", "bgr8"], header: Header) -> Image:
    """An image from uint8 (H, W, 3). `data` is filled from a buffer: a list or an ndarray would
    be checked byte by byte, 100 ms for a VGA image."""
    pixels = np.ascontiguousarray(pixels)
    height, width, channels = pixels.shape
    message = Image(
        header=header, height=height, width=width, encoding=encoding, step=width * channels
    )
    data = array.array("B")
    data.frombytes(memoryview(pixels).cast("B"))
    message.data = data
    return message


def jpeg(pixels: NDArray[np.uint8], header: Header, quality: int) -> CompressedImage:
    """A JPEG of uint8 BGR (H, W, 3), as image_transport's subscribers know it."""
    data = array.array("B")
    data.frombytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].data)
    return CompressedImage(header=header, format="bgr8; jpeg compressed bgr8", data=data)


def attention_marker(
    points: NDArray[np.float64], header: Header, namespace: str, scale: float
) -> ImageMarker:
    """Attention points as pixels of the source image.

    :param points: (k, 2), x and y in pixels of the image that `header` belongs to.
    :param namespace: one of `POINT_COLORS`.
    :param scale: diameter of a drawn point, pixels.
    """
    red, green, blue = POINT_COLORS[namespace]
    color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
    return ImageMarker(
        header=header,
        ns=namespace,
        type=ImageMarker.POINTS,
        action=ImageMarker.ADD,
        scale=float(scale),
        outline_color=color,
        fill_color=color,
        filled=1,
        points=[Point(x=float(x), y=float(y)) for x, y in points],
        outline_colors=[color] * len(points),
    )


def diagnostic_status(
    name: str, level: bytes, message: str, hardware_id: str, values: Mapping[str, object]
) -> DiagnosticStatus:
    """One status, in the form that diagnostic_updater's users know."""
    return DiagnosticStatus(
        name=name,
        level=level,
        message=message,
        hardware_id=hardware_id,
        values=[
            KeyValue(key=key, value=f"{value:.6g}" if isinstance(value, float) else str(value))
            for key, value in values.items()
        ],
    )


def diagnostic_array(statuses: Sequence[DiagnosticStatus], stamp_ns: int) -> DiagnosticArray:
    return DiagnosticArray(header=Header(stamp=time_message(stamp_ns)), status=list(statuses))
