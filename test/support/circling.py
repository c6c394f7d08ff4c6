# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A policy that moves the first two joints of `ros_testing.JOINTS` in a circle, and how far a
robot is from one that was commanded the circle itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from controllers import jerk, rms
from policies import make_linear
from ros_testing import SECOND

#: Of the circle, rad and s.
CENTRE, RADIUS, ROUND = 0.3, 0.2, 2.5
START = (CENTRE + RADIUS, CENTRE, CENTRE)
PERIOD = SECOND // 10
SETPOINTS = 50  # per second, for forward_position
#: Names of the interfaces, and how long after its arrival a set-point is to be reached.
DELAYS = {"joint_trajectory": PERIOD, "forward_position": SECOND // SETPOINTS}


def go_round(model: Any) -> None:
    """For `make_policy`."""
    angle = 2.0 * np.pi * PERIOD / SECOND / ROUND
    turn = np.zeros((3, 3))
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    make_linear(model, turn, 0.62)  # 0.3 rad, normalised


def follows(robot: Any, node: Any, interface: str, jerky: float, wait: Any) -> None:
    """Wait until one second of the arm's is as it should be; for a minute of the robot's.

    :param jerky: so many times more than commanded it may jerk.
    """
    found = np.inf, np.inf
    while found[0] > 0.01 or found[1] > jerky:
        more = len(robot.commands) + SECOND // DELAYS[interface]  # a second
        assert len(robot.passed) * robot.spacing_ms < 58_000, (found, node.output)
        wait(lambda more=more: len(robot.commands) > more, lambda: node.output)
        found = compared(robot, DELAYS[interface])
        print(interface, found)


def compared(robot: Any, delay_ns: int) -> tuple[float, float]:
    """How far the arm is from where it would be if it were commanded the circle itself, rad, and
    how many times more it jerks: in the best second so far, since a busy machine delays messages.

    :param robot: with `record`, `commands`, `passed`, `lag` and `spacing_ms` as `ControlledRobot`.
    """
    best = np.min([(np.inf, np.inf), *each_second(robot, delay_ns)], axis=0)
    return float(best[0]), float(best[1])


def each_second(robot: Any, delay_ns: int) -> Iterator[tuple[float, float]]:
    """As `compared`, of each second; a new one begins every fifth of one.

    The plane of the two joints is that of complex numbers.
    """
    with robot.record:
        commands, passed = list(robot.commands), list(robot.passed)
    told_ns = np.array([command.at_ns + delay_ns for command in commands])
    told = np.array([complex(*command.position[:2]) for command in commands])
    at_ns = np.array([time_ns for time_ns, _ in passed])
    here = np.array([complex(*position[:2]) for _, position in passed])
    middle, speed = complex(CENTRE, CENTRE), 2.0 * np.pi / ROUND
    for end_ns in range(told_ns[0] + 2 * SECOND, at_ns[-1], SECOND // 5):
        set_points, cycles = (
            (times > end_ns - SECOND) & (times <= end_ns) for times in (told_ns, at_ns)
        )
        if set_points.sum() < 5:
            continue
        # The circle through the set-points, and how the arm's lag turns it.
        turns = np.exp(1j * speed * (told_ns[set_points] - end_ns) / SECOND)
        radius = np.mean((told[set_points] - middle) / turns)
        lag = 1.0 / (1.0 + 0.5j * speed * robot.lag) ** 2
        turns = np.exp(1j * speed * (at_ns[cycles] - end_ns) / SECOND)
        reference = middle + lag * radius * turns
        jerky = jerk(here[cycles], robot.spacing_ms) / jerk(reference, robot.spacing_ms)
        yield rms(here[cycles] - reference), jerky
