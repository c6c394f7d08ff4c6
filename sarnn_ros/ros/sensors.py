# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Subscribes to what a spec names, and hands every message to whom it concerns. No decisions.

Callbacks take microseconds: decoding waits until a tick needs the message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image, JointState

from sarnn_ros.control.watchdogs import FormatWatch
from sarnn_ros.errors import DecodeError
from sarnn_ros.ros import messages
from sarnn_ros.spec import COMPRESSED_IMAGE_TYPE, IMAGE_TYPE, JOINT_STATE_TYPE
from sarnn_ros.streams.observe import ObservationBuffer

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
    :param arrived: is told the topic of every message.
    :param image_tick: is told of every image that is a tick (tick, arrival), ns.
    :param void: is told the topic of a message that cannot be used, and why.
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
        # One subscription per topic, whatever uses it: positions and efforts of one message arrive
        # together, and count once.
        users: dict[tuple[str, str], list[Callable[[Any, int], None]]] = {}
        for camera in buffer.spec.cameras:
            push = partial(self._push_image, camera.name)
            users.setdefault((camera.topic, camera.type), []).append(push)
        for index, source in enumerate(buffer.spec.joints):
            push = partial(buffer.push_joints, index)
            users.setdefault((source.topic, source.type), []).append(push)
        # All types before the first subscription: one that is not installed leaves none behind.
        classes = [SENSOR_TYPES.get(kind) or messages.message_class(kind) for _, kind in users]
        self.subscriptions = [
            node.create_subscription(kind, topic, partial(self._take, topic, pushes), qos)
            for kind, ((topic, _), pushes) in zip(classes, users.items())
        ]

    def destroy(self) -> None:
        """End all subscriptions."""
        for subscription in self.subscriptions:
            self._node.destroy_subscription(subscription)
        self.subscriptions.clear()

    def _take(
        self, topic: str, pushes: Sequence[Callable[[Any, int], None]], message: Any
    ) -> None:
        self._arrived(topic)
        receive_ns = self._now_ns()
        for push in pushes:
            try:
                push(message, receive_ns)
            except DecodeError as error:
                self._void(topic, error)

    def _push_image(self, camera: str, message: Any, receive_ns: int) -> None:
        self._formats.see(camera, message)
        tick_ns = self._buffer.push_image(camera, message, receive_ns)
        if tick_ns is not None:
            self._image_tick(tick_ns, receive_ns)
