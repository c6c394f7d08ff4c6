# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Turns commands into messages, and publishes them: the arm's on `joint_command`, a gripper's
there as well or on `gripper_command`. What is sent, and when, others have decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode

from sarnn_ros.control.gripper import Gripper, Hysteresis
from sarnn_ros.control.interpolator import Command
from sarnn_ros.control.resolve import CommandTopic
from sarnn_ros.ros import messages

#: What a hold may take to arrive before its publisher goes, s.
FLUSH_S = 0.5


class CommandSender:
    """See the module. `send` is for one thread at a time."""

    def __init__(
        self,
        node: LifecycleNode,
        topics: Sequence[CommandTopic],
        names: Sequence[str],
        gripper: Gripper | None,
        *,
        period_ns: int,
        now_ns: Callable[[], int],
    ) -> None:
        self._node = node
        self._names = names
        self._gripper = gripper
        self._hysteresis = None if gripper is None else Hysteresis(gripper.values)
        self._period_ns = period_ns
        self._now_ns = now_ns
        self._outlets = [
            (
                topic,
                node.create_lifecycle_publisher(
                    messages.COMMAND_TYPES[topic.interface], topic.name, 1
                ),
            )
            for topic in topics
        ]

    @property
    def publishers(self) -> dict[str, Any]:
        """By the topic's name before remapping."""
        return {topic.name: publisher for topic, publisher in self._outlets}

    def reset(self) -> None:
        """Before the first command of an activation; with no `send` under way."""
        if self._hysteresis is not None:
            self._hysteresis.reset()

    def send(self, command: Command) -> None:
        if self._gripper is not None and self._hysteresis is not None:
            command = self._decided(command, self._gripper.indices, self._hysteresis)
        for topic, publisher in self._outlets:
            publisher.publish(self._message(topic, command))

    def _decided(
        self, command: Command, indices: Sequence[int], hysteresis: Hysteresis
    ) -> Command:
        rows = list(indices)
        position, velocity, rest = (
            array.copy() for array in (command.position, command.velocity, command.rest)
        )
        position[rows] = rest[rows] = hysteresis.decide(command.position[rows])
        velocity[rows] = 0.0
        return Command(position, velocity, rest)

    def _message(self, topic: CommandTopic, command: Command) -> Any:
        rows = list(topic.indices)
        names = [self._names[row] for row in rows]
        position = command.position[rows]
        if topic.interface == "joint_state":
            return messages.joint_state(names, position, self._now_ns())
        if topic.interface == "forward_position":
            return messages.forward_position(names, position)
        if topic.interface == "float64":
            return messages.float64(position)
        points = [(position, command.velocity[rows], self._period_ns)]
        if command.velocity[rows].any():
            rest = command.rest[rows]
            points.append((rest, np.zeros_like(rest), 2 * self._period_ns))
        return messages.joint_trajectory(names, points)

    def destroy(self) -> None:
        for _, publisher in self._outlets:
            # A writer that is destroyed takes with it what no reader has yet: the hold.
            publisher.wait_for_all_acked(Duration(seconds=FLUSH_S))
            self._node.destroy_lifecycle_publisher(publisher)
        self._outlets = []
