# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the guard and the contract promise of every command, as bounds on what a robot received.

Nothing is allowed for: the limits are those that the node takes from the policy, and DDS says when
a command was sent. Where the clock is simulated the robot only knows when it came, and measures
how long that may have taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ros_testing import SECOND

from sarnn_ros.control.resolve import guard_limits
from sarnn_ros.control.settings import build_settings
from sarnn_ros.policy.directory import load_config

#: What a command may take from its last check to the wire, ns.
SENDING_NS = 10_000_000


@dataclass(frozen=True)
class Promises:
    """See the module.

    :param interval_ns: between set-points, for a node with `command_rate`; else 0.
    :param late_ns: the node's `watch.max_latency`; 0: one period.
    :param grips: what a gripper with a topic of its own may be sent.
    """

    names: tuple[str, ...]
    position_min: np.ndarray
    position_max: np.ndarray
    max_step: np.ndarray
    period_ns: int
    joints_age_ns: int
    image_age_ns: int
    interval_ns: int = 0
    late_ns: int = 0
    grips: frozenset[float] = frozenset()

    @classmethod
    def of(cls, policy: Path, **options: Any) -> Promises:
        config = load_config(policy)
        spec = config.spec
        limits = guard_limits(build_settings({}), spec, config.envelope)
        return cls(
            names=spec.command_names,
            position_min=limits.position_min,
            position_max=limits.position_max,
            max_step=limits.max_step,
            period_ns=spec.period_ns,
            joints_age_ns=max(source.max_age_ns for source in spec.joints),
            image_age_ns=max(camera.max_age_ns for camera in spec.cameras),
            **options,
        )

    @staticmethod
    def sending_ns(robot: Any) -> int:
        """From a command's last check to the moment that the robot takes for its sending."""
        return SENDING_NS if robot.clock is None else Promises.both_ways_ns(robot)

    @staticmethod
    def both_ways_ns(robot: Any) -> int:
        """From a message of the robot to the command that it leads to, but for what it waits for a
        tick: into the node and out of it."""
        return 2 * int(robot.delay_ns) + SENDING_NS

    def check(self, robot: Any, since: int = 0) -> None:
        """All that the robot received since its reset, or the commands from `since` on.

        Where a fault falsifies the joints (`robot.harmless` although they are wrong), a step is
        measured from what the robot *reported*: the node cannot know better.
        """
        robot.catch_up()
        slack_ns, late_ns = self.sending_ns(robot), self.late_ns or self.period_ns
        with robot.record:
            received, reports = list(robot.commands), list(robot.reports)
            grips, images = list(robot.grips), np.array(robot.images)
        oldest_ns = min((command.at_ns for command in received[since:]), default=0)
        oldest_ns -= self.joints_age_ns + max(self.period_ns, late_ns) + slack_ns
        reports = [report for report in reports if report[0] >= oldest_ns]  # most are older
        stamps = np.array([stamp for stamp, _ in reports])
        states = np.array([state for _, state in reports])
        for index, command in enumerate(received[since:], since):
            rows = [self.names.index(name) for name in command.names]
            previous = received[index - 1] if index else None
            hold = previous is not None and command.holds(previous)
            # A tick uses joints of at most that age, and its command is only so late; the hold is
            # at most a period late. A set-point between ticks looks at the joints when it is sent.
            age_ns = self.joints_age_ns
            if hold:
                age_ns += self.period_ns
            elif not self.interval_ns:
                age_ns += late_ns
            near = (stamps >= command.at_ns - age_ns - slack_ns) & (stamps <= command.at_ns)
            assert near.any(), f"no joint state in the {(age_ns + slack_ns) / SECOND:.3f} s before"
            for point in (command.position, command.rest):
                assert np.isfinite(point).all()
                assert (point >= self.position_min[rows] - 1e-9).all()
                assert (point <= self.position_max[rows] + 1e-9).all()
                steps = np.abs(states[near][:, rows] - point) - self.max_step[rows]
                assert (steps <= 1e-8).all(axis=1).any(), (
                    f"{steps.max(axis=1).min():.4g} more than a step from every state reported in "
                    f"the {(age_ns + slack_ns) / SECOND:.3f} s before"
                )
            if not hold:  # which needs no image
                # A segment takes one more period, and an interval to begin.
                segment_ns = self.period_ns + self.interval_ns if self.interval_ns else 0
                age_ns = self.image_age_ns + late_ns + segment_ns
                seen = images[images <= command.at_ns]
                over_ns = command.at_ns - max(seen, default=0) - age_ns - slack_ns
                assert over_ns <= 0, f"its image is {over_ns / SECOND:.3f} s too old"
            if command.velocity is not None:
                assert np.isfinite(command.velocity).all()
                assert command.duration_ns >= self.period_ns
        assert set(grips) <= self.grips
