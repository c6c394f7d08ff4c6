# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The scripted expert and the rule of success."""

from __future__ import annotations

import numpy as np
import pytest

from sarnn_ros.sim.expert import plan
from sarnn_ros.sim.kinematics import solve_top_down, tool_position
from sarnn_ros.sim.scene import LiftScene, home_joints
from sarnn_ros.sim.task import (
    DEMONSTRATION_TICKS,
    LIFT_HEIGHT,
    POSITIONS_Y,
    TAUGHT_Y,
    UNTAUGHT_Y,
    Placement,
    is_success,
    place,
    place_anywhere,
)


def test_taught_and_untaught_positions_alternate():
    assert POSITIONS_Y == (-0.2, -0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2)
    assert len(TAUGHT_Y) == 5
    assert len(UNTAUGHT_Y) == 4
    assert not set(TAUGHT_Y) & set(UNTAUGHT_Y)


@pytest.mark.parametrize("y", POSITIONS_Y)
def test_the_expert_succeeds_everywhere(y):
    scene = LiftScene()
    for seed in range(4):
        rng = np.random.default_rng([seed, 7])
        cube = place(y, rng)
        scene.reset(cube.x, cube.y, cube.yaw)
        lifts = []
        for tick, command in enumerate(plan(cube, rng), start=1):
            scene.command(command)
            scene.advance_to(tick * 0.1)
            lifts.append(scene.cube_lift)
        assert is_success(lifts), (seed, lifts[-5:])


def test_the_plan_is_smooth_and_starts_at_home():
    commands = plan(Placement(0.42, 0.2), np.random.default_rng(0))
    assert commands.shape == (DEMONSTRATION_TICKS, 6)
    steps = np.abs(np.diff(np.vstack([home_joints(), commands]), axis=0))
    assert steps.max() < 0.12  # rad in a tick
    assert steps[0].max() < 0.005


def test_a_plan_begins_anywhere():
    """Beside the cube, low, with the gripper half closed: where a policy has failed."""
    cube, start = Placement(0.42, 0.05), (0.40, -0.06, 0.05)
    scene = LiftScene()
    scene.reset(cube.x, cube.y)
    scene.command([*solve_top_down(start), 0.02])
    scene.advance_to(2.0)
    np.testing.assert_allclose(tool_position(scene.references), start, atol=1e-9)
    lifts = []
    commands = plan(
        cube, np.random.default_rng(0), start=tool_position(scene.positions),
        grip=scene.positions[-1],
    )  # fmt: skip
    assert np.abs(commands[0] - scene.positions).max() < 0.02
    for tick, command in enumerate(commands, start=1):
        scene.command(command)
        scene.advance_to(2.0 + tick * 0.1)
        lifts.append(scene.cube_lift)
    assert is_success(lifts), lifts[-5:]


def test_no_two_plans_are_alike_and_each_can_be_repeated():
    cube = Placement(0.42, 0.0)
    first, again, other = (plan(cube, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.005


def test_random_placements_stay_where_they_are_taught_to_reach():
    rng = np.random.default_rng(0)
    placements = [place_anywhere(rng) for _ in range(300)]
    assert max(abs(cube.y) for cube in placements) < 0.21
    assert max(abs(cube.x - 0.42) for cube in placements) < 0.02
    assert np.std([cube.y for cube in placements]) > 0.09


HIGH, LOW = LIFT_HEIGHT + 0.01, LIFT_HEIGHT - 0.01


@pytest.mark.parametrize(
    ("lifts", "expected"),
    [
        ([0.0] * 50 + [HIGH] * 5, True),
        ([0.0] * 50 + [LOW] * 5, False),
        ([HIGH] * 50 + [0.0], False),  # dropped at the end
        ([0.0] * 50 + [HIGH] * 4, False),  # thrown up, not held
        ([HIGH] * 3, False),
        ([], False),
        ([HIGH] * 5 + [float("nan")], False),
    ],
)
def test_success_is_a_cube_held_up_at_the_end(lifts, expected):
    assert is_success(lifts) is expected
