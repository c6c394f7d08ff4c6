# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The gripper: when it opens and closes, where its joints go, and what the guard allows it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarnn_ros.control.gripper import TwoValuedGripper, two_valued_gripper
from sarnn_ros.control.limits import JointLimiter, JointLimits
from sarnn_ros.control.outlet import Command
from sarnn_ros.control.resolve import command_topics
from sarnn_ros.control.settings import GuardSettings, build_settings
from sarnn_ros.errors import ConfigError
from sarnn_ros.spec import parse_spec

SPEC = parse_spec(
    {"cameras": [{"name": "front"}], "joints": [{"names": ["j1", "left", "j2", "right"]}]}
)


def limits_of(low, high, step) -> JointLimits:
    names = ("position_min", "position_max", "max_step", "max_change", "second_difference")
    free = np.full(len(low), np.inf)
    trained = dict(zip(names, (*map(np.array, (low, high, step)), free, free)))
    return JointLimits.from_training(
        trained, GuardSettings(position_margin=0.0, step_margin=1.0, floor=0.001), 1.0
    )


LIMITS = limits_of([-1.0, 0.0, -1.0, 0.0], [1.0, 0.04, 1.0, 0.04], [0.1, 0.01, 0.1, 0.01])
GRIPPER = {"gripper.joints": ["left", "right"]}
VALUES = {"gripper.open": [0.04], "gripper.closed": [0.0, 0.002]}
ACTIONS = {**GRIPPER, **VALUES, "gripper.interface": "gripper_command"}
RIGHT = {**ACTIONS, "gripper.joints": ["right"], "gripper.closed": [0.0]}


def to(value: float) -> Command:
    return Command(np.array([value]), np.zeros(1), np.array([value]))


def tell(gripper: TwoValuedGripper, value: float, at_s: float = 0.0) -> float:
    """Publish what it makes of a prediction; the position it was sent to."""
    command, commit = gripper.prepare(to(value), round(at_s * 1e9))
    commit()
    return float(command.position[0])


def test_it_stays_between_the_thresholds():
    gripper = TwoValuedGripper((0,), np.array([0.04]), np.array([0.0]), 0.7, 0.3)
    shares = [0.45, 0.65, 0.71, 0.65, 0.31, 0.29, 0.5, 0.69, 0.75, -3.0, 9.0]
    got = [tell(gripper, 0.04 * (1 - share)) for share in shares]
    assert got == [0.04, 0.04, 0.0, 0.0, 0.0, 0.04, 0.04, 0.04, 0.0, 0.04, 0.0]


def test_a_hold_leaves_it_as_it_is():
    """The last command wanted it open, and was sent as closed: it had closed just before."""
    gripper = TwoValuedGripper((0,), np.array([0.04]), np.array([0.0]), min_dwell_s=0.5)
    tell(gripper, 0.04)
    assert tell(gripper, 0.0, 1.0) == tell(gripper, 0.04, 1.45) == 0.0
    held, commit = gripper.prepare(Command.standing(np.array([0.04])), round(1.52e9))
    commit()
    assert held.position[0] == 0.0
    assert tell(gripper, 0.04, 1.6) == 0.04, "the next command may"


def test_after_a_reset_it_goes_to_the_nearer_of_the_two():
    gripper = TwoValuedGripper((0,), np.array([0.04]), np.array([0.0]), 0.7, 0.3)
    between = 0.024  # 0.4 of the way
    tell(gripper, 0.0)
    assert tell(gripper, between) == 0.0
    gripper.reset()
    assert tell(gripper, between) == 0.04


def test_what_was_not_published_changes_nothing():
    gripper = TwoValuedGripper((0,), np.array([0.04]), np.array([0.0]), 0.7, 0.3)
    tell(gripper, 0.0)
    command, _ = gripper.prepare(to(0.04), 0)
    assert command.position[0] == 0.04
    assert tell(gripper, 0.02) == 0.0, "between the two: closed, as it was"


def test_it_does_not_switch_sooner_than_it_may():
    gripper = TwoValuedGripper((0,), np.array([0.04]), np.array([0.0]), min_dwell_s=1.0)
    wishes = [(0.0, 0.04), (0.1, 0.0), (0.2, 0.04), (1.0, 0.04), (1.1, 0.04), (1.2, 0.0)]
    wishes += [(2.0, 0.02), (2.2, 0.02)]  # no wish of its own: as before
    got = [tell(gripper, value, at) for at, value in wishes]
    # The first prediction switches nothing, so the first switch may come at once.
    assert got == [0.04, 0.0, 0.0, 0.0, 0.04, 0.04, 0.04, 0.0]
    assert tell(gripper, 0.04, 0.5) == 0.04, "the clock was set back: nobody knows how long"


@given(
    st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=50),
    st.floats(0.0, 0.06),
)
def test_noise_smaller_than_the_gap_never_makes_it_chatter(path, noise):
    """A prediction that goes one way, with noise on it, switches once at most."""
    gripper = TwoValuedGripper((0,), np.array([0.0]), np.array([1.0]), 0.6, 0.4)
    random = np.random.default_rng(0)
    rising = np.sort(path) + random.uniform(-noise, noise, len(path))
    decided = [tell(gripper, value) for value in rising]
    assert np.count_nonzero(np.diff(decided)) <= 1
    assert set(decided) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("given", "topics"),
    [
        ({}, {"joint_command": ("joint_state", (0, 1, 2, 3))}),
        (
            {"command_joints": ["right", "left", "j2", "j1"], **GRIPPER},
            {"joint_command": ("joint_state", (3, 1, 2, 0))},
        ),
        (
            {**GRIPPER, "gripper.interface": "forward_position", "command_joints": ["j2", "j1"]},
            {
                "joint_command": ("joint_state", (2, 0)),
                "gripper_command": ("forward_position", (1, 3)),
            },
        ),
        (
            {"gripper.joints": ["right"], "gripper.interface": "float64"},
            {"joint_command": ("joint_state", (0, 1, 2)), "gripper_command": ("float64", (3,))},
        ),
        (
            {**ACTIONS, "gripper.actions": ["/l", "r"]},
            {
                "joint_command": ("joint_state", (0, 2)),
                "/l": ("gripper_command", (1,)),
                "r": ("gripper_command", (3,)),
            },
        ),
    ],
)
def test_which_joints_go_where(given, topics):
    found = command_topics(build_settings(given), SPEC)
    assert {one.name: (one.interface, one.indices) for one in found} == topics


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"gripper.joints": ["hand"]}, ["hand", "gripper.joints"]),
        ({"gripper.joints": ["left", "left"]}, ["left"]),
        ({"gripper.interface": "forward_position"}, ["forward_position", "gripper.joints"]),
        ({**GRIPPER, "gripper.interface": "float64"}, ["Float64", "forward_position"]),
        ({**GRIPPER, "gripper.interface": "joint_state", "command_joints": ["j1", "left"]},
         ["command_joints", "j2"]),
        ({"gripper.joints": ["j1", "j2", "left", "right"], "gripper.interface": "joint_state"},
         ["at least one that is not the gripper's"]),
        (ACTIONS, ["gripper.actions ['gripper_command'] for the joints ['left', 'right']"]),
        ({**ACTIONS, "gripper.actions": ["/l", "/l"]}, ["name one action server for each"]),
        ({"gripper.interface": "parallel_gripper_command"}, ["gripper.joints", "one goal"]),
        ({**RIGHT, "gripper.closed": []}, ["cannot follow a prediction"]),
        ({**RIGHT, "gripper.interface": "franka_grasp", "gripper.max_effort": 20.0},
         ["gripper.max_velocity"]),
        ({**RIGHT, "gripper.max_velocity": 0.1}, ["GripperCommand has no velocity"]),
    ],
)  # fmt: skip
def test_topics_that_cannot_be(given, words):
    with pytest.raises(ConfigError) as caught:
        command_topics(build_settings(given), SPEC)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({**VALUES}, ["2 values for 0 joints"]),
        ({**GRIPPER, "gripper.open": [0.04]}, ["closed: 0 values for 2"]),
        ({**GRIPPER, **VALUES, "gripper.closed": [0.0, 0.0, 0.0]}, ["3 values for 2"]),
        ({**GRIPPER, **VALUES, "gripper.open": [0.08]}, ["left: 0.08", "right: 0.08"]),
        ({**GRIPPER, **VALUES, "gripper.open": [0.0]}, ["left: open and closed are both 0"]),
        ({**GRIPPER, **VALUES, "gripper.open_below": 0.6}, ["open_below 0.6 must be less"]),
    ],
)
def test_values_that_cannot_be(given, words):
    with pytest.raises(ConfigError) as caught:
        two_valued_gripper(build_settings(given), SPEC, LIMITS, (None,) * 4)
    for word in words:
        assert word in str(caught.value)


def test_the_shortest_dwell_is_that_of_the_joint():
    """Where not all that is observed is commanded."""
    watched = [{"names": ["base"], "topic": "base", "command": False}, {"names": ["j1", "left"]}]
    spec = parse_spec({"cameras": [{"name": "front"}], "joints": watched})
    limits = limits_of([-1.0, 0.0], [1.0, 0.04], [0.1, 0.01])
    given = {"gripper.joints": ["left"], "gripper.open": [0.04], "gripper.closed": [0.0]}
    made = two_valued_gripper(build_settings(given), spec, limits, (9.0, None, 4.0))
    assert made.min_dwell_s.tolist() == [2.0]


def test_the_guard_lets_a_two_valued_gripper_go_from_end_to_end_but_no_further():
    gripper = two_valued_gripper(
        build_settings({**GRIPPER, **VALUES}), SPEC, LIMITS, (None, 4.0, None, None)
    )
    assert gripper.indices == (1, 3)
    assert gripper.opened.tolist() == [0.04, 0.04]
    assert gripper.min_dwell_s.tolist() == [2.0, 0.5], "as demonstrated, or what is usual"
    assert gripper.closed.tolist() == [0.0, 0.002]
    given = {**GRIPPER, **VALUES, "gripper.min_dwell": 3.0}
    own = two_valued_gripper(build_settings(given), SPEC, LIMITS, (None, 4.0, None, None))
    assert own.min_dwell_s.tolist() == [3.0, 3.0]
    guard = JointLimiter(gripper.widen(LIMITS), SPEC.command_names)
    here = [0.0, 0.04, 0.0, 0.04]
    assert guard.check([0.1, 0.0, 0.0, 0.0], here, 0.1).ok
    assert not guard.check([0.1, 0.05, 0.0, 0.0], here, 0.1).ok, "outside its range"
    assert not guard.check([0.2, 0.0, 0.0, 0.0], here, 0.1).ok, "the arm has its limits"
    assert not JointLimiter(LIMITS, SPEC.command_names).check([0, 0, 0, 0.0], here, 0.1).ok
    follows = two_valued_gripper(build_settings(GRIPPER), SPEC, LIMITS, (None,) * 4)
    assert not follows.indices and follows.widen(LIMITS) is LIMITS
