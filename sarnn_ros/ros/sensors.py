# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Connects a controller's inputs to ROS: sensor messages, the robot description, jumps of the
clock. No decisions.

Callbacks take microseconds: decoding waits until a tick needs the message. To rclpy an image is a
block of memory. Of each joint name it makes a Python object, and 300,000 of them would keep the
executor, and with it ~/stop, for half a second. So all messages but images are taken as bytes,
and not read if they are of absurd size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from sarnn_ros.control.controller import Controller
from sarnn_ros.control.outlet import steady_ns
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.takeover import Teleoperator
from sarnn_ros.ros import messages
from sarnn_ros.ros.graph_watch import GraphWatch
from sarnn_ros.ros.losses import Losses, subscribe_counting_losses
from sarnn_ros.ros.throttle import ThrottledLog

#: Of a message that is no image; a thousand joints with long names have less.
MAX_MESSAGE_BYTES = 1 << 17


class Sensors:
    """The subscriptions, from now until `destroy`.

    :param controller: gets every message, with the time of its arrival.
    :param reliability: best_effort or reliable.
    :param graph: counts the messages.
    :param log: told of messages that cannot be used, and of images that were lost on the way.
    :raises EnvironmentProblem: a message type is not installed; nothing is subscribed to.
    """

    def __init__(
        self,
        node: Node,
        controller: Controller,
        reliability: str,
        graph: GraphWatch,
        log: ThrottledLog,
    ) -> None:
        self._node = node
        self._controller = controller
        self._graph = graph
        self._log = log
        self._buffer, self._formats = controller.parts.buffer, controller.parts.formats
        losses = Losses(lambda topic, text: log("warning", f"lost:{topic}", text))
        sensor_data = qos_profile_sensor_data
        qos = QoSProfile(
            depth=sensor_data.depth,
            reliability=ReliabilityPolicy.get_from_short_key(reliability),
            durability=sensor_data.durability,
            history=sensor_data.history,
        )
        routes = self._buffer.routes
        # All types before the first subscription: if one is not installed, there is none to end.
        classes = [messages.message_class(streams[0].type) for streams in routes.values()]
        self.subscriptions = {
            topic: subscribe_counting_losses(
                node, kind, topic, partial(self._take, topic), qos, partial(losses.add, topic)
            )
            if kind in (Image, CompressedImage)
            else node.create_subscription(
                kind, topic, partial(self._take_bytes, topic, kind), qos, raw=True
            )
            for topic, kind in zip(routes, classes)
        }

    def destroy(self) -> None:
        """End all subscriptions."""
        while self.subscriptions:
            self._node.destroy_subscription(self.subscriptions.popitem()[1])

    def _take_bytes(self, topic: str, kind: Any, content: bytes) -> None:
        if len(content) <= MAX_MESSAGE_BYTES:
            self._take(topic, deserialize_message(content, kind))
            return
        self._graph.arrived(topic)
        problem = f"{len(content)} bytes in one message, at most {MAX_MESSAGE_BYTES} are read"
        self._buffer.refuse(topic, problem)
        self._void(topic, problem)

    def _take(self, topic: str, message: Any) -> None:
        self._graph.arrived(topic)
        receive_ns = int(self._node.get_clock().now().nanoseconds)
        for stream in self._buffer.routes[topic]:
            if stream in self._buffer.cameras:
                self._formats.see(stream.name, message)
        arrival = self._buffer.push(topic, message, receive_ns)
        for error in arrival.refused:
            self._void(topic, error)
        if arrival.tick_ns is not None:
            self._controller.threads.ticker.image(arrival.tick_ns, receive_ns)

    def _void(self, topic: str, why: object) -> None:
        self._log("warning", f"void:{topic}", f"a message on '{topic}' is void: {why}")


def connect_inputs(
    node: Node,
    controller: Controller,
    settings: Settings,
    graph: GraphWatch,
    log: ThrottledLog,
) -> list[Callable[[], object]]:
    """Subscribe, and hand every message to the controller.

    :param graph: counts the sensor messages, and gets the subscriptions.
    :returns: what disconnects them.
    """
    teleoperator = controller.parts.teleoperator
    # All types before the first subscription: if one is not installed, there is none to end.
    person = None if teleoperator is None else messages.message_class(teleoperator.type)
    sensors = Sensors(node, controller, settings.reliability, graph, log)
    graph.listen(sensors.subscriptions)
    clock = node.get_clock()
    simulated = clock.ros_time_is_active

    def jumped(_: Any) -> None:
        # A run of one clock does not go on by another: one that nobody published may have held it
        # for long, and whoever sets `use_sim_time` starts no robot.
        nonlocal simulated
        controller.threads.clock_moved()
        if clock.ros_time_is_active != simulated and controller.started:
            controller.stop()
            log("warning", "clock", "stopped: use_sim_time has changed")
        simulated = clock.ros_time_is_active

    jumps = clock.create_jump_callback(
        JumpThreshold(
            min_forward=Duration(nanoseconds=1),
            min_backward=Duration(nanoseconds=-1),
            on_clock_change=True,
        ),
        post_callback=jumped,
    )
    undo: list[Callable[[], object]] = [sensors.destroy, jumps.unregister]
    if teleoperator is not None:
        topic = settings.takeover.command_topic
        subscription = _hear_person(node, person, topic, teleoperator)
        undo.append(partial(node.destroy_subscription, subscription))
    if settings.robot_description_topic:
        description = controller.parts.description
        subscription = node.create_subscription(
            String,
            settings.robot_description_topic,
            lambda text: description.take(text.data),
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        )
        undo.append(partial(node.destroy_subscription, subscription))
    return undo


def _hear_person(node: Node, kind: Any, topic: str, teleoperator: Teleoperator) -> Any:
    """Subscribe to a person's commands."""

    def take(content: bytes) -> None:
        if len(content) <= MAX_MESSAGE_BYTES:
            teleoperator.take(deserialize_message(content, kind), steady_ns())
        else:
            teleoperator.refuse(f"{len(content)} bytes, at most {MAX_MESSAGE_BYTES} are read")

    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    subscription = node.create_subscription(kind, topic, take, qos, raw=True)
    teleoperator.publishers = subscription.get_publisher_count
    return subscription
