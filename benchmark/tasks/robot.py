# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A policy as the node runs it, in a simulator's time: limits, watchdogs, start pose, cameras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmark.tasks.task import Array, Image
from sarnn_ros.control.assembly import build_controller
from sarnn_ros.control.controller import Controller
from sarnn_ros.control.outlet import Clocks, Command
from sarnn_ros.control.parts import Ports
from sarnn_ros.control.settings import build_settings
from sarnn_ros.control.state import STARTED, Refused
from sarnn_ros.data.write_bag import START_NS, image_message, joint_state_message
from sarnn_ros.policy.runtime import Policy


class Robot:
    """The whole robot's side of a policy, for `gym.rollout`. Messages go in, and each tick is
    called by hand. Left out: DDS, and set-points between commands.

    What is not sent leaves the arm at its last command; before the first, where it is.

    :param parameters: of the node; all others have their defaults.
    :ivar controller: of the present trial.
    :ivar began: a command was sent in this trial.
    :ivar said: what the node has logged in it, errors and warnings: the key of each, and its text.
    """

    def __init__(self, policy: Policy, parameters: Mapping[str, Any] | None = None) -> None:
        self.spec, self._policy = policy.spec, policy
        self._settings = build_settings(parameters or {})

    def reset(self) -> None:
        self._now_ns = START_NS
        self.began, self.said = False, dict[str, str]()
        self._goal: Array | None = None
        clocks = Clocks(lambda: self._now_ns, lambda: self._now_ns)
        self.controller: Controller = build_controller(
            self._policy,
            lambda: self._settings,
            Ports(clocks, self._prepare, log=self._log),
        )
        self.controller.activate(start=False)

    @property
    def halted(self) -> bool:
        """The run has ended, by a fault or because nothing could be sent for too long."""
        return self.controller.state not in STARTED

    def step(self, images: Mapping[str, Image], state: Array, /) -> tuple[Array, dict[str, Array]]:
        self._now_ns += self.spec.period_ns
        rows, parts = list(self.spec.command_indices), self.controller.parts
        for camera in self.spec.cameras:
            message = image_message(self._now_ns, images[camera.name])
            parts.buffer.push(camera.topic, message, self._now_ns)
        begin = 0
        for source in self.spec.joints:
            values = state[begin : begin + len(source.names)]
            message = joint_state_message(self._now_ns, source.names, values)
            parts.buffer.push(source.topic, message, self._now_ns)
            begin += len(source.names)
        if self._goal is None:
            self._goal = state[rows].copy()
            try:
                self.controller.start()
            except Refused as error:
                self.said["start"] = str(error)
        parts.cameras.look()
        self.controller.threads.ticker.on_tick(self._now_ns, self._now_ns)
        action = state.copy()
        action[rows] = self._goal
        return action, {}

    def _prepare(self, command: Command) -> Callable[[], None]:
        def publish() -> None:
            self._goal, self.began = np.array(command.position), True

        return publish

    def _log(self, level: str, key: str, text: str) -> bool:
        if level in ("error", "warning"):
            self.said.setdefault(key, text)
        return True
