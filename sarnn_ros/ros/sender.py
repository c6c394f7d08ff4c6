# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Turns commands into messages, and publishes them: the arm's on `joint_command`, a gripper's
there as well, on `gripper_command`, or by an action. What is sent, and when, is decided in
`control`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import serialize_message
from std_msgs.msg import Float64

from sarnn_ros.control.outlet import Command
from sarnn_ros.control.resolve import CommandTopic
from sarnn_ros.errors import SarnnError
from sarnn_ros.ros import messages
from sarnn_ros.ros.gripper_action import GripperAction
from sarnn_ros.ros.messages import COMMAND_TYPES

#: How long to wait for a hold to arrive before its publisher is destroyed, s.
FLUSH_SECONDS = 0.5


class CommandSender:
    """See the module. For one thread at a time.

    :param make_gripper: a gripper that is commanded by an action.
    :raises SarnnError: what that raises.
    """

    def __init__(
        self,
        node: LifecycleNode,
        topics: Sequence[CommandTopic],
        names: Sequence[str],
        period_ns: int,
        now_ns: Callable[[], int],
        make_gripper: Callable[[CommandTopic], GripperAction],
    ) -> None:
        self._node = node
        self._names = names
        self._period_ns = period_ns
        self._now_ns = now_ns
        self._outlets: list[tuple[CommandTopic, Any]] = []
        self.grippers: dict[CommandTopic, GripperAction] = {}
        try:
            for topic in topics:
                if topic.interface in COMMAND_TYPES:
                    kind = COMMAND_TYPES[topic.interface]
                    publisher = node.create_lifecycle_publisher(kind, topic.name, 1)
                    self._outlets.append((topic, publisher))
                else:
                    self.grippers[topic] = make_gripper(topic)
        except SarnnError:
            self.destroy()
            raise

    @property
    def publishers(self) -> dict[str, Any]:
        """By the topic's name before remapping. Of an action, what says if there is a server."""
        outlets = [*self._outlets, *self.grippers.items()]
        return {topic.name: outlet for topic, outlet in outlets}

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
            if not command.is_hold:  # which leaves a gripper as it was told to be
                for topic, gripper in self.grippers.items():
                    gripper.want(float(command.position[topic.indices[0]]))

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
        for gripper in self.grippers.values():
            gripper.destroy()
        self.grippers = {}
        for _, publisher in self._outlets:
            # What has not arrived when its publisher is destroyed is lost: the hold would be.
            publisher.wait_for_all_acked(Duration(seconds=FLUSH_SECONDS))
            self._node.destroy_lifecycle_publisher(publisher)
        self._outlets = []
