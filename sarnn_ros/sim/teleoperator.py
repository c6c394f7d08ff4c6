# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A scripted person beside the simulated arm, who leads it as a teleoperation node would: a
demonstration whenever an episode is recorded, and a correction whenever he is told to take over.
In between he brings the arm home and puts the cube elsewhere.

His commands come on `leader/joint_command`, where the inference node can listen to them, and on
`joint_command` while he demonstrates, or as long as nobody else publishes there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from sarnn_ros.ros import messages
from sarnn_ros.sim.expert import plan
from sarnn_ros.sim.kinematics import tool_position
from sarnn_ros.sim.scene import JOINT_NAMES, home_joints
from sarnn_ros.sim.task import (
    DEMONSTRATION_TICKS,
    HOLD_TICKS,
    POSITIONS_Y,
    RATE,
    Placement,
    is_success,
    place,
    place_anywhere,
)

TOPIC = "joint_command"
#: From the end of an episode until the cube is elsewhere, s: it may still be looked at.
TIDYING_SECONDS = 1.0
#: Who has not been said to lead for so long, s, does not.
SILENCE_SECONDS = 1.0
#: What a recorder says, twice a second, holds for so long: it may have been killed, s.
STATUS_SECONDS = 3.0

Joints = NDArray[np.float64]


class Teleoperator:
    """See the module. Everything runs in the node's executor.

    :param look: the joints (6,), the cube's pose (7,) and its height above the table, m.
    :param put: brings the arm home and the cube there.
    """

    def __init__(
        self,
        node: Node,
        look: Callable[[], tuple[Joints, Joints, float]],
        put: Callable[[Placement], None],
    ) -> None:
        self._node, self._look, self._put = node, look, put
        self._random = np.random.default_rng()
        self._ends = [POSITIONS_Y[-1], POSITIONS_Y[0]]  # first of all: the others lie between
        self._lifts: deque[float] = deque(maxlen=HOLD_TICKS)
        self._plan: Iterator[Joints] | None = None
        self._goal = home_joints()
        self._recording = self._runs = False
        self._runs_until = self._recording_until = 0.0
        self._led_until = self._tidy_at = 0.0
        self._commands: Any = None
        self._leader = node.create_publisher(JointState, f"leader/{TOPIC}", 10)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, 10)
        node.create_subscription(Bool, "sarnn/takeover", self._told, 10)
        node.create_timer(1.0 / RATE, self._tick)

    # -- what he hears --------------------------------------------------------------------------

    def _diagnosed(self, message: DiagnosticArray) -> None:
        """Of the recorder, and of the lesson that leads it."""
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            if status.name.endswith("recorder: lesson"):
                self._runs = "end_run" in values["possible"]
                self._runs_until = time.monotonic() + STATUS_SECONDS
            elif status.name.endswith("recorder: session"):
                was, self._recording = self._recording, values["recording"] == "True"
                self._recording_until = time.monotonic() + STATUS_SECONDS
                if was and not self._recording:
                    self._say("lifted" if is_success(tuple(self._lifts)) else "NOT lifted")
                    self._tidy_at = time.monotonic() + TIDYING_SECONDS

    def _told(self, message: Bool) -> None:
        self._led_until = time.monotonic() + SILENCE_SECONDS if message.data else 0.0

    # -- what he does ---------------------------------------------------------------------------

    def _tick(self) -> None:
        joints, cube, lift = self._look()
        self._lifts.append(lift)
        now = time.monotonic()
        self._runs &= now < self._runs_until
        self._recording &= now < self._recording_until
        demonstrates = self._recording and not self._runs
        heard = self._command_topic(demonstrates)
        if (demonstrates and heard) or time.monotonic() < self._led_until:
            self._lead(joints, Placement(float(cube[0]), float(cube[1])))
        else:
            self._plan = None
            if self._runs:  # his leader arm goes along, so that he can take over
                self._goal = joints
            elif not self._recording and time.monotonic() > self._tidy_at:
                self._tidy()
        command = messages.joint_state(
            JOINT_NAMES, self._goal, int(self._node.get_clock().now().nanoseconds)
        )
        self._leader.publish(command)
        if self._commands is not None:
            self._commands.publish(command)

    def _lead(self, joints: Joints, cube: Placement) -> None:
        if self._plan is None:
            self._say("I lead the arm")
            start, grip = tool_position(joints), float(joints[-1])
            self._plan = iter(plan(cube, self._random, DEMONSTRATION_TICKS, start, grip))
        try:
            self._goal = next(self._plan)
        except StopIteration:
            if self._plan is not _DONE:
                self._plan = _DONE
                self._say("I am done: end the episode, or the run")

    def _tidy(self) -> None:
        """Arm home, cube elsewhere, once after each episode."""
        self._tidy_at = float("inf")
        y = self._ends.pop() if self._ends else None
        cube = place_anywhere(self._random) if y is None else place(y, self._random)
        self._put(cube)
        self._goal = home_joints()
        self._say(f"the arm is at home, the cube at y {cube.y:+.2f} m")

    def _command_topic(self, demonstrates: bool) -> bool:
        """Publish on it or not; whether all who listen hear it. While another one publishes there,
        the inference node holds."""
        others = self._node.count_publishers(TOPIC) - (self._commands is not None)
        wanted = demonstrates or not others
        if wanted and self._commands is None:
            self._commands = self._node.create_publisher(JointState, TOPIC, 10)
        elif not wanted and self._commands is not None:
            self._node.destroy_publisher(self._commands)
            self._commands = None
        count: int = self._node.count_subscribers(TOPIC)
        return self._commands is not None and self._commands.get_subscription_count() >= count

    def _say(self, text: str) -> None:
        self._node.get_logger().info(f"teleoperator: {text}")


_DONE: Iterator[Joints] = iter(())
