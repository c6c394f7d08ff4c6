# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Turns commands into messages, and publishes them: the arm's on `joint_command`, a gripper's
there as well or on `gripper_command`. What is sent, and when, is decided in `control`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import serialize_message
from std_msgs.msg import Float64

from sarnn_ros.control.outlet import Command
from sarnn_ros.control.resolve import CommandTopic
from sarnn_ros.ros import messages

#: How long to wait for a hold to arrive before its publisher is destroyed, s.
FLUSH_SECONDS = 0.5


class CommandSender:
    """See the module. For one thread at a time."""

    def __init__(
        self,
        node: LifecycleNode,
        topics: Sequence[CommandTopic],
        names: Sequence[str],
        period_ns: int,
        now_ns: Callable[[], int],
    ) -> None:
        self._node = node
        self._names = names
        self._period_ns = period_ns
        self._now_ns = now_ns
        self._outlets = []
        for topic in topics:
            kind = messages.COMMAND_TYPES[topic.interface]
            self._outlets.append((topic, node.create_lifecycle_publisher(kind, topic.name, 1)))

    @property
    def publishers(self) -> dict[str, Any]:
        """By the topic's name before remapping."""
        return {topic.name: publisher for topic, publisher in self._outlets}

    def prepare(self, command: Command) -> Callable[[], None]:
        """The messages of a command are made now, and published by a call of the result. They are
        serialised now as well: a process may be stopped after the last check of a command, so as
        little as possible is left to do after it."""
        ready = [
            (publisher, serialize_message(self._message(topic, command)))
            for topic, publisher in self._outlets
        ]

        def publish() -> None:
            for publisher, content in ready:
                publisher.publish(content)

        return publish

    def _message(self, topic: CommandTopic, command: Command) -> Any:
        rows = list(topic.indices)
        names = [self._names[row] for row in rows]
        position = command.position[rows]
        if topic.interface == "joint_state":
            return messages.joint_state(names, position, self._now_ns())
        if topic.interface == "forward_position":
            # forward_command_controller knows joints by their place only.
            return messages.labelled(names, position)
        if topic.interface == "float64":
            return Float64(data=float(position.item()))
        return messages.joint_trajectory(names, command.trajectory(rows, self._period_ns))

    def destroy(self) -> None:
        for _, publisher in self._outlets:
            # What has not arrived when its publisher is destroyed is lost: the hold would be.
            publisher.wait_for_all_acked(Duration(seconds=FLUSH_SECONDS))
            self._node.destroy_lifecycle_publisher(publisher)
        self._outlets = []
