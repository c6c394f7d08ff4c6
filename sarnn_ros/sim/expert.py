# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The scripted expert, which is given the cube's pose: reach, descend, grasp, lift.

Minimum-jerk motion of the tool centre point between waypoints that are a little different each
time, as a teleoperator's would be. The result is a table of joint commands; no physics here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarnn_ros.sim.kinematics import solve_top_down
from sarnn_ros.sim.scene import CUBE_HALF, GRIPPER_CLOSED, GRIPPER_OPEN, HOME_POSITION
from sarnn_ros.sim.task import DEMONSTRATION_TICKS, Placement

#: Height of the hand over the cube before it descends, and of the lift, m.
HOVER_HEIGHT = 0.14
RAISE_HEIGHT = 0.16
#: Where the fingers grasp the cube, m below its centre.
GRASP_BELOW_CENTRE = 0.002
UP = np.array([0.0, 0.0, 1.0])
#: Standard deviation of the waypoints, m: where the hand hovers and lifts to, where it grasps.
HOVER_NOISE = (0.01, 0.01, 0.01)
GRASP_NOISE = (0.003, 0.003, 0.002)


def plan(
    cube: Placement,
    rng: np.random.Generator,
    ticks: int = DEMONSTRATION_TICKS,
    start: ArrayLike = HOME_POSITION,
    grip: float = GRIPPER_OPEN,
) -> NDArray[np.float64]:
    """One joint command per tick, (ticks, 6), starting one tick after the start.

    :param start: of the tool centre point, (3,) m.
    :param grip: the gripper's opening there, m.
    """
    centre = np.array([cube.x, cube.y, CUBE_HALF])
    above = centre + HOVER_HEIGHT * UP + rng.normal(0.0, HOVER_NOISE)
    grasp = centre - GRASP_BELOW_CENTRE * UP + rng.normal(0.0, GRASP_NOISE)
    lifted = grasp + RAISE_HEIGHT * UP + rng.normal(0.0, HOVER_NOISE)
    # Share of the episode; hand and gripper at its end.
    segments = (
        (0.30, above, GRIPPER_OPEN),  # reach
        (0.05, above, GRIPPER_OPEN),  # settle
        (0.20, grasp, GRIPPER_OPEN),  # descend
        (0.03, grasp, GRIPPER_OPEN),  # settle
        (0.12, grasp, GRIPPER_CLOSED),  # close
        (0.22, lifted, GRIPPER_CLOSED),  # lift
        (0.08, lifted, GRIPPER_CLOSED),  # hold
    )
    shares = [share for share, _, _ in segments]
    edges = np.round(np.cumsum((0.0, *shares)) / sum(shares) * ticks).astype(int)
    commands = []
    start, grip_from = np.asarray(start, dtype=np.float64), grip
    for (_, end, grip_to), count in zip(segments, np.diff(edges), strict=True):
        for step in range(1, count + 1):
            position = start + (end - start) * _minimum_jerk(step / count)
            opening = grip_from + (grip_to - grip_from) * _minimum_jerk(step / count)
            commands.append(np.append(solve_top_down(position), opening))
        start, grip_from = end, grip_to
    return np.array(commands)


def _minimum_jerk(share: float) -> float:
    """Share of the path after `share` of the time, both in [0, 1].

    10 s^3 - 15 s^4 + 6 s^5: Flash and Hogan (1985).
    """
    return share**3 * (10.0 - 15.0 * share + 6.0 * share**2)
