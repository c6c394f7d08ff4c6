# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Subscribes to the topics of a spec, and hands on every message. No decisions.

Callbacks take microseconds: decoding waits until a tick needs the message. To rclpy an image is a
block of memory. Of each joint name it makes a Python object, and 300,000 of them would keep the
executor, and with it ~/stop, for half a second. So all messages but images are taken as bytes,
and not read if they are of absurd size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState

from sarnn_ros.control.watchdogs import FormatWatch
from sarnn_ros.errors import DecodeError
from sarnn_ros.ros import messages
from sarnn_ros.ros.losses import subscribe_counting_losses
from sarnn_ros.spec import COMPRESSED_IMAGE_TYPE, IMAGE_TYPE, JOINT_STATE_TYPE
from sarnn_ros.streams.observe import ObservationBuffer

#: A thousand joints with long names have less, bytes.
MAX_BYTES = 1 << 17

SENSOR_TYPES: dict[str, Any] = {
    IMAGE_TYPE: Image,
    COMPRESSED_IMAGE_TYPE: CompressedImage,
    JOINT_STATE_TYPE: JointState,
}
RELIABILITIES = {
    "best_effort": ReliabilityPolicy.BEST_EFFORT,
    "reliable": ReliabilityPolicy.RELIABLE,
}


class Sensors:
    """The subscriptions, from now until `destroy`.

    :param buffer: gets every message, with the time of its arrival.
    :param formats: sees every image.
    :param reliability: best_effort or reliable.
    :param now_ns: reads the node's clock.
    :param arrived: called with the topic of every message.
    :param image_tick: called with the tick and the arrival, ns, of every image that is a tick.
    :param void: called with the topic of a message that cannot be used, and the reason.
    :param lose: called with the topic of images that were lost on the way, and their number.
    :raises EnvironmentProblem: a message type is not installed; nothing is subscribed to.
    """

    def __init__(
        self,
        node: Node,
        buffer: ObservationBuffer,
        formats: FormatWatch,
        reliability: str,
        *,
        now_ns: Callable[[], int],
        arrived: Callable[[str], None],
        image_tick: Callable[[int, int], None],
        void: Callable[[str, DecodeError], None],
        lose: Callable[[str, int], None],
    ) -> None:
        self._node = node
        self._buffer = buffer
        self._now_ns = now_ns
        self._arrived = arrived
        self._image_tick = image_tick
        self._void = void
        self._formats = formats
        sensor_data = qos_profile_sensor_data
        qos = QoSProfile(
            depth=sensor_data.depth,
            reliability=RELIABILITIES[reliability],
            durability=sensor_data.durability,
            history=sensor_data.history,
        )
        # All types before the first subscription: if one is not installed, there is none to end.
        kinds = [streams[0].type for streams in buffer.routes.values()]
        classes = [SENSOR_TYPES.get(kind) or messages.message_class(kind) for kind in kinds]
        self.subscriptions = {
            topic: subscribe_counting_losses(
                node, kind, topic, partial(self._take, topic), qos, partial(lose, topic)
            )
            if kind in (Image, CompressedImage)
            else node.create_subscription(
                kind, topic, partial(self._take_bytes, topic, kind), qos, raw=True
            )
            for topic, kind in zip(buffer.routes, classes)
        }

    def destroy(self) -> None:
        """End all subscriptions."""
        while self.subscriptions:
            self._node.destroy_subscription(self.subscriptions.popitem()[1])

    def _take_bytes(self, topic: str, kind: Any, content: bytes) -> None:
        if len(content) > MAX_BYTES:
            self._arrived(topic)
            problem = f"{len(content)} bytes in one message, at most {MAX_BYTES} are read"
            self._buffer.refuse(topic, problem)
            self._void(topic, DecodeError(problem))
            return
        self._take(topic, deserialize_message(content, kind))

    def _take(self, topic: str, message: Any) -> None:
        self._arrived(topic)
        receive_ns = self._now_ns()
        for stream in self._buffer.routes[topic]:
            if stream in self._buffer.cameras:
                self._formats.see(stream.name, message)
        arrival = self._buffer.push(topic, message, receive_ns)
        for error in arrival.refused:
            self._void(topic, error)
        if arrival.tick_ns is not None:
            self._image_tick(arrival.tick_ns, receive_ns)
