# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Connects a controller's inputs to ROS: sensor messages, the robot description, clock jumps. No
decisions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from sarnn_ros.control.controller import Controller
from sarnn_ros.control.settings import Settings
from sarnn_ros.errors import DecodeError
from sarnn_ros.ros.graph_watch import GraphWatch
from sarnn_ros.ros.losses import Losses
from sarnn_ros.ros.sensors import Sensors
from sarnn_ros.ros.throttle import ThrottledLog


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
    parts, clock = controller.parts, node.get_clock()

    def void(topic: str, error: DecodeError) -> None:
        log("warning", f"void:{topic}", f"a message on '{topic}' is void: {error}")

    losses = Losses(lambda topic, text: log("warning", f"lost:{topic}", text))
    sensors = Sensors(
        node,
        parts.buffer,
        parts.formats,
        settings.reliability,
        now_ns=lambda: int(clock.now().nanoseconds),
        arrived=graph.arrived,
        image_tick=controller.threads.ticker.image,
        void=void,
        lose=losses.add,
    )
    graph.listen(sensors.subscriptions)
    jumps = clock.create_jump_callback(
        JumpThreshold(
            min_forward=Duration(nanoseconds=1),
            min_backward=Duration(nanoseconds=-1),
            on_clock_change=True,
        ),
        post_callback=lambda _: controller.threads.clock_moved(),
    )
    undo: list[Callable[[], object]] = [sensors.destroy, jumps.unregister]
    if settings.robot_description_topic:
        take = parts.description.take
        subscription = node.create_subscription(
            String,
            settings.robot_description_topic,
            lambda text: take(text.data),
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        )
        undo.append(partial(node.destroy_subscription, subscription))
    return undo
