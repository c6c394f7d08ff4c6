# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A robot of the ROS tests behind a controller of ros2_control (see `controllers`), both of which
run at 500 Hz of the messages' time, however busy the machine is: a command counts from when it was
sent, even where this process takes it later, and then some at once."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from controllers import ForwardController, SimulatedArm, TrajectoryController
from ros_testing import SECOND, Robot

CYCLE_NS = 2_000_000


@dataclass
class ControlledRobot(Robot):
    """See the module. It reports where it was when it last heard itself (`echoed_ns`), since
    what was sent until then has come.

    :param lag: by which the arm trails a moving command, s.
    :ivar passed: time and position of each cycle, `spacing_ms` apart.
    """

    controller: TrajectoryController | ForwardController | None = None
    lag: float = 0.06
    spacing_ms: int = CYCLE_NS // 1_000_000

    def __post_init__(self) -> None:
        assert self.controller is not None
        self.arm = SimulatedArm(self.start, 2.0 / self.lag)
        self.passed: deque[tuple[int, np.ndarray]] = deque(maxlen=30_000)
        self._inbox: deque[tuple[int, Any]] = deque()
        self._reached_ns = self.now_ns
        self.controller.activate(self.arm.position)
        super().__post_init__()

    def _obey(self, message: Any, info: Any) -> None:
        self._inbox.append((self._sent_ns(info), message))
        super()._obey(message, info)

    def joint_message(self) -> Any:
        message = super().joint_message()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(self._reached_ns, SECOND)
        return message

    def _follow(self) -> None:
        """All cycles until it last heard itself. Under the lock."""
        controller, arm = self.controller, self.arm
        assert controller is not None
        heard_ns = self.echoed_ns
        while self._reached_ns + CYCLE_NS <= heard_ns:
            self._reached_ns += CYCLE_NS
            while self._inbox and self._inbox[0][0] <= self._reached_ns:
                controller.receive(self._inbox.popleft()[1], self._reached_ns)
            controller.update(self._reached_ns, arm.position, arm.velocity)
            arm.step(controller.command, CYCLE_NS * 1e-9)
            self.passed.append((self._reached_ns, arm.position))
        self.position = arm.position.copy()

    def switch(self, *, active: bool) -> None:
        """Switch the controller on or off, as `ros2 control switch_controllers` does."""
        assert self.controller is not None
        with self.record:
            if active:
                self.controller.activate(self.arm.position)
            else:
                self.controller.deactivate()
