# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command guard: what it lets through, what it refuses, and that it says why."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from sarnn_ros.control.limits import JointLimiter, JointLimits
from sarnn_ros.control.settings import GuardSettings
from sarnn_ros.errors import ConfigError

NAMES = ("shoulder", "elbow")
PERIOD = 0.1


def limits(**changes: object) -> JointLimits:
    values: dict[str, object] = {
        "position_min": np.array([-1.0, -2.0]),
        "position_max": np.array([1.0, 2.0]),
        "max_step": np.array([0.1, 0.2]),
        "max_velocity": np.array([np.inf, np.inf]),
        "max_acceleration": np.array([np.inf, np.inf]),
    }
    return JointLimits(**{**values, **changes})  # type: ignore[arg-type]


def guard(**changes: object) -> JointLimiter:
    return JointLimiter(limits(**changes), NAMES)


def reasons(result: object) -> list[tuple[str, str]]:
    return [(trip.reason, trip.joint) for trip in result.violations]  # type: ignore[attr-defined]


def test_a_sound_command_passes_unchanged():
    result = guard().check([0.05, -0.1], [0.0, 0.0], PERIOD)
    assert result.ok and not result.violations
    np.testing.assert_array_equal(result.command, [0.05, -0.1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_is_refused_whatever_clamps(bad: float):
    everything = frozenset({"position", "step", "velocity", "acceleration"})
    result = guard(clamp=everything).check([0.0, bad], [0.0, 0.0], PERIOD)
    assert not result.ok
    assert reasons(result) == [("non_finite", "elbow")]


@pytest.mark.parametrize(
    ("command", "present", "expected"),
    [
        ([1.05, 0.0], [1.0, 0.0], [("position", "shoulder")]),
        ([-1.05, 0.0], [-1.0, 0.0], [("position", "shoulder")]),
        ([0.11, 0.0], [0.0, 0.0], [("step", "shoulder")]),
        ([0.0, -0.21], [0.0, 0.0], [("step", "elbow")]),
        ([0.11, 0.21], [0.0, 0.0], [("step", "shoulder"), ("step", "elbow")]),
        ([1.0, 0.0], [1.5, 0.0], [("present", "shoulder"), ("step", "shoulder")]),
    ],
)
def test_each_violation_is_refused_by_name(command, present, expected):
    result = guard().check(command, present, PERIOD)
    assert not result.ok
    assert reasons(result) == expected
    assert expected[0][1] in result.reason


def test_degrees_from_the_driver_are_seen_in_the_present_position():
    result = guard().check([0.5, 0.5], np.rad2deg([0.5, 0.5]), PERIOD)
    assert ("present", "shoulder") in reasons(result) and not result.ok
    assert "degrees" in result.reason


def test_the_present_position_may_overshoot_a_limit_by_one_step():
    assert guard().check([1.0, 0.0], [1.09, 0.0], PERIOD).ok


def test_the_step_is_measured_from_the_present_not_from_the_last_command():
    # The arm was held back at 0 while the commands went on to 0.3.
    result = guard().check([0.35, 0.0], [0.0, 0.0], PERIOD, previous=[0.3, 0.0])
    assert reasons(result) == [("step", "shoulder")]


def test_velocity_is_measured_between_commands():
    fast = guard(max_velocity=np.array([0.5, np.inf]))
    assert fast.check([0.05, 0.0], [0.0, 0.0], PERIOD).ok
    assert reasons(fast.check([0.06, 0.0], [0.0, 0.0], PERIOD)) == [("velocity", "shoulder")]
    assert reasons(fast.check([0.03, 0.0], [0.0, 0.0], PERIOD, previous=[-0.03, 0.0])) == [
        ("velocity", "shoulder")
    ]


def test_acceleration_is_measured_against_the_velocity_so_far():
    smooth = guard(max_acceleration=np.array([5.0, np.inf]))
    assert smooth.check([0.05, 0.0], [0.0, 0.0], PERIOD).ok  # from rest to 0.5 rad/s
    refused = smooth.check([0.0, 0.0], [0.0, 0.0], PERIOD, previous=[0.05, 0.0], before=[0.0, 0.0])
    assert reasons(refused) == [("acceleration", "shoulder")]
    assert refused.violations[0].value == pytest.approx(10.0)


def test_clamping_pulls_to_the_limit_and_still_tells():
    limiter = guard(clamp=frozenset({"position", "step"}))
    result = limiter.check([5.0, -5.0], [0.95, 0.0], PERIOD)
    assert result.ok
    np.testing.assert_allclose(result.command, [1.0, -0.18])
    tremble = np.array([0.0, 0.01])
    assert limiter.check_step(result.command, [0.95, 0.0] + tremble).ok, "by newer joints, too"
    assert {reason for reason, _ in reasons(result)} == {"position", "step"}


def test_the_last_check_allows_exactly_the_limit():
    limiter = guard()
    assert limiter.check_step(np.array([0.1, -0.2]), np.zeros(2)).ok
    result = limiter.check_step(np.array([0.1, -0.2001]), np.zeros(2))
    assert not result.ok and reasons(result) == [("step", "elbow")]
    assert not limiter.check_step(np.zeros(2), np.array([np.nan, 0.0])).ok


def test_a_clamp_that_would_undo_an_earlier_limit_is_refused():
    # Braking within the acceleration limit would leave the position limit.
    clamping = guard(
        max_acceleration=np.array([1.0, 1.0]), clamp=frozenset({"position", "acceleration"})
    )
    result = clamping.check(
        [1.2, 0.0], [0.99, 0.0], PERIOD, previous=[0.99, 0.0], before=[0.91, 0.0]
    )
    assert not result.ok


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_clamp_that_leads_away_from_the_arm_is_refused(side):
    """Within the velocity of the command before it would be four steps from the arm."""
    fast = guard(max_velocity=np.array([1.0, np.inf]), clamp=frozenset({"velocity"}))
    previous = np.array([0.5 * side, 0.0])
    result = fast.check([0.05 * side, 0.0], [0.0, 0.0], PERIOD, previous=previous)
    assert not result.ok and reasons(result) == [("velocity", "shoulder")]


def test_the_trained_acceleration_holds_from_the_third_command_on():
    smooth = guard(trained_acceleration=np.array([5.0, np.inf]))
    here, turn = [0.0, 0.0], [-0.05, 0.0]
    assert smooth.check(turn, here, PERIOD).ok
    assert smooth.check(turn, here, PERIOD, previous=[0.05, 0.0]).ok
    assert smooth.check(here, here, PERIOD, previous=[0.05, 0.0], before=here).violations
    assert smooth.check([0.1, 0.0], here, PERIOD, previous=[0.05, 0.0], before=here).ok
    refused = smooth.check(turn, here, PERIOD, previous=[0.05, 0.0], before=here)
    assert reasons(refused) == [("acceleration", "shoulder")] and not refused.ok
    assert "guard.acceleration_margin" in refused.reason
    own = guard(max_acceleration=np.array([4.0, 9.0]), trained_acceleration=np.array([5.0, 5.0]))
    assert not own.check([0.05, 0.0], here, PERIOD).ok, "one's own holds from rest"
    assert not own.check(here, here, PERIOD, previous=[0.05, 0.0]).ok
    moving = {"previous": [0.05, 0.0], "before": here}
    assert smooth.check(turn, here, PERIOD, **moving, ramp=True).ok
    assert not own.check(turn, here, PERIOD, **moving, ramp=True).ok
    found = own.check([0.0, 0.1], here, PERIOD, previous=here, before=[0.05, 0.0])
    assert [(trip.joint, trip.limit) for trip in found.violations] == [
        ("shoulder", 4.0), ("elbow", 5.0)
    ]  # fmt: skip


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(
    ("previous", "wanted", "sent"),
    [
        (0.7, 0.8, 0.8),  # as far as was trained, at once
        (0.7, 0.85, 0.85),  # half of what was left is more
        (0.75, 0.9, 0.875),  # half of what was left
        (0.8, 0.9, 0.9),
        (0.9, 0.99, 0.95),
        (0.95, 1.0, 0.975),
        (0.95, 0.9, 0.9),  # back
        (1.0, 1.0, 1.0),
    ],
)
def test_beyond_what_was_trained_it_slows_down_towards_the_limit(side, previous, wanted, sent):
    soft = guard(
        max_step=np.array([0.3, 0.3]),
        trained_min=np.array([-0.8, -2.0]),
        trained_max=np.array([0.8, 2.0]),
    )
    here = np.array([side * previous, 0.0])
    result = soft.check([side * wanted, 0.0], here, PERIOD, previous=here)
    assert result.ok and result.command[0] == pytest.approx(side * sent)
    assert reasons(result) == [("approach", "shoulder")] * (sent != wanted)


def test_to_slow_down_towards_a_limit_is_no_acceleration_to_refuse():
    soft = guard(
        max_step=np.array([0.3, 0.3]),
        max_acceleration=np.array([1.0, 1.0]),
        trained_max=np.array([0.8, 2.0]),
    )
    moving = {"previous": [0.9, 0.0], "before": [0.8, 0.0]}
    result = soft.check([0.98, 0.0], [0.9, 0.0], PERIOD, **moving)
    assert result.ok and result.command[0] == pytest.approx(0.95)
    assert not soft.check([0.98, 0.05], [0.9, 0.0], PERIOD, **moving).ok, "of the other joint"
    assert not soft.check([0.94, 0.0], [0.9, 0.0], PERIOD, **moving).ok, "by itself"


def test_what_is_beyond_the_position_limit_is_still_refused():
    soft = guard(trained_max=np.array([0.8, 2.0]))
    result = soft.check([1.01, 0.0], [0.95, 0.0], PERIOD)
    assert not result.ok and ("position", "shoulder") in reasons(result)


def joint_near(low: float, high: float, step: float) -> st.SearchStrategy[tuple[float, ...]]:
    """(command, present, previous, before) of a joint that moves about as fast as it may."""
    near = st.floats(-step, step)
    return st.tuples(st.floats(1.05 * low, 1.05 * high), near, near, near).map(
        lambda drawn: (
            drawn[0] + drawn[1],
            drawn[0] + 0.5 * drawn[2],
            drawn[0],
            drawn[0] + 0.5 * drawn[3],
        )
    )


#: So that about half of the commands pass: see --hypothesis-show-statistics.
joints = st.tuples(joint_near(-1.0, 1.0, 0.115), joint_near(-2.0, 2.0, 0.14))
anything = st.none() | st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 2)
clamps = st.frozensets(st.sampled_from(["position", "step", "velocity", "acceleration"]))


@example(((0.06, 0.0, 0.0, 0.04), (0.0,) * 4), 1, None, 2, frozenset())
@given(joints, st.integers(0, 9), anything, st.integers(0, 2), clamps)
def test_whatever_comes_in_what_goes_out_is_safe(drawn, wild, absurd, known, clamp):
    """:param known: how many of the commands before are known."""
    command, present, previous, before = np.array(drawn).T
    if not wild and absurd is not None:
        command = np.array(absurd)
    bounds = limits(
        max_velocity=np.array([1.0, 1.0]),
        max_acceleration=np.array([8.0, 8.0]),
        trained_min=np.array([-0.8, -1.8]),
        trained_max=np.array([0.8, 1.8]),
        clamp=clamp,
    )
    last, earlier = (previous, before)[:known] + (None,) * (2 - known)
    result = JointLimiter(bounds, NAMES).check(command, present, PERIOD, last, earlier)
    event("passes" if result.ok else "is refused")
    if not result.ok:
        assert result.violations and result.reason
        return
    out = result.command
    assert np.isfinite(out).all()
    assert (out >= bounds.position_min - 1e-6).all() and (out <= bounds.position_max + 1e-6).all()
    assert (np.abs(out - present) <= bounds.max_step + 1e-6).all()
    last = present if last is None else last
    held_back = (np.abs(out) >= [0.8, 1.8]) & (np.abs(out) < np.abs(command))
    if not clamp:
        assert (np.abs(out - last) <= 0.1 + 1e-6).all()
        # Only the approach to a position limit changes a command without being asked to.
        assert ((out == command) | held_back).all()
    if earlier is not None and "acceleration" not in clamp:
        now, was = out - last, last - earlier
        slows = (now * was >= -1e-9) & (np.abs(now) <= np.abs(was) + 1e-6)
        assert ((np.abs(now - was) <= 8.0 * PERIOD**2 + 1e-6) | (held_back & slows)).all()


@pytest.mark.parametrize(
    ("before", "wanted", "sent"),
    [
        (0.96, 0.95, None),  # it reverses
        (0.96, 1.19, None),  # the same, further
        (0.86, 1.19, None),  # from rest
        (0.56, 1.19, 1.03),  # outwards already: it slows down, faster than it otherwise may
    ],
)
def test_only_slowing_down_beyond_the_trained_range_may_exceed_the_acceleration(
    before, wanted, sent
):
    made = from_training([-1.0, -1.0], [1.0, 1.0], [0.4, 0.4], [0.4, 0.4], [0.05, 0.05])
    own = made.narrowed(NAMES, {"max_acceleration": [5.0]}, where="guard.*")
    result = JointLimiter(own, NAMES).check(
        [wanted, 0.0], [0.86, 0.0], 0.1, [0.86, 0.0], [before, 0.0]
    )
    assert result.ok == (sent is not None)
    if sent is None:
        assert "beyond the limit 5 per s^2" in result.reason
        assert "(guard.max_acceleration)" in result.reason
    else:
        assert result.command[0] == pytest.approx(sent)
        assert [one.reason for one in result.violations] == ["approach"]


def from_training(low, high, step, change, second) -> JointLimits:
    names = ("position_min", "position_max", "max_step", "max_change", "second_difference")
    trained = dict(zip(names, map(np.array, (low, high, step, change, second))))
    return JointLimits.from_training(trained, GuardSettings(), 0.1)


def test_limits_from_training_have_a_margin_and_a_floor():
    made = from_training([0.0, 3.0], [2.0, 3.0], [0.4, 0.0], [np.inf, np.inf], [np.inf, np.inf])
    np.testing.assert_allclose(made.position_min, [-0.2, 2.99])
    np.testing.assert_allclose(made.position_max, [2.2, 3.01])
    np.testing.assert_allclose(made.max_step, [0.6, 0.03])
    assert np.isinf(made.max_velocity).all()


def test_commands_may_not_change_much_faster_than_the_demonstrated_ones():
    made = from_training([-1.0, -1.0], [1.0, 1.0], [0.4, 0.4], [0.05, 0.0], [0.02, 0.0])
    np.testing.assert_allclose(made.max_velocity, [1.0, 0.3])
    np.testing.assert_allclose(made.trained_acceleration, [6.0, 6.0])
    shaken = JointLimiter(made, NAMES)
    # As far as the step allows to either side of the arm, in turns.
    result = shaken.check([0.3, 0.0], [0.0, 0.0], 0.1, previous=[-0.3, 0.0])
    assert [trip.reason for trip in result.violations] == ["velocity"] and not result.ok
    assert shaken.check([0.1, 0.0], [0.0, 0.0], 0.1, previous=[0.0, 0.0]).ok


def test_an_arm_that_sags_may_be_commanded_as_it_was():
    """Its command is off its position before it moves, further than a tick goes."""
    values = {"position_min": -1.0, "position_max": 1.0, "max_step": 0.4, "max_change": 0.03}
    values |= {"second_difference": 0.01, "first_lead": 0.3}
    trained = {name: np.full(2, value) for name, value in values.items()}
    made = JointLimits.from_training(trained, GuardSettings(), 0.1)
    here = [0.0, 0.0]
    first = JointLimiter(made, NAMES).check([0.4, 0.0], here, 0.1)
    assert first.ok and not first.violations
    assert not JointLimiter(made, NAMES).check([0.5, 0.0], here, 0.1).ok
    later = JointLimiter(made, NAMES).check([0.4, 0.0], here, 0.1, previous=here)
    assert [one.reason for one in later.violations] == ["velocity"]
    own = made.narrowed(NAMES, {"max_velocity": [2.0]}, where="guard.*")
    assert not JointLimiter(own, NAMES).check([0.4, 0.0], here, 0.1).ok, "the user's holds"
    unknown = {name: value for name, value in trained.items() if name != "first_lead"}
    plain = JointLimits.from_training(unknown, GuardSettings(), 0.1)
    assert not JointLimiter(plain, NAMES).check([0.4, 0.0], here, 0.1).ok


def test_own_limits_only_ever_tighten():
    narrowed = limits().narrowed(
        NAMES, {"max_step": [], "position_min": [-5.0, -0.5], "position_max": [0.5]}, where="x"
    )
    np.testing.assert_allclose(narrowed.position_min, [-1.0, -0.5])
    np.testing.assert_allclose(narrowed.position_max, [0.5, 0.5])
    np.testing.assert_allclose(narrowed.max_step, [0.1, 0.2])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"position_min": [1.0, 2.0, 3.0]}, ["position_min", "3 values", "2 joints"]),
        ({"max_step": [np.nan]}, ["max_step", "not a number"]),
        ({"position_min": [2.0, -2.0]}, ["shoulder", "no position is left"]),
        ({"max_step": [1, 2, 3], "max_velocity": [1, 2, 3]}, ["max_step", "max_velocity"]),
    ],
)
def test_limits_that_make_no_sense_are_refused(values, words):
    with pytest.raises(ConfigError) as caught:
        limits().narrowed(NAMES, values, where="parameters guard.*")
    for word in words:
        assert word in str(caught.value)


def test_vectors_of_another_length_are_a_programming_mistake():
    with pytest.raises(ValueError, match="2 joints"):
        guard().check([0.0], [0.0, 0.0], PERIOD)


def test_of_many_joints_the_worst_of_each_check_is_named():
    names = tuple(f"joint{row}" for row in range(1, 8))
    limits = JointLimits(*(np.full(7, bound) for bound in (-1.0, 1.0, 0.1, 5.0, np.inf)))
    found = JointLimiter(limits, names).check(
        [0.2, 0.2, 0.4, 0.2, 0.2, 0.2, 0.0], np.zeros(7), 0.1
    )
    assert len(found.violations) == 6 and found.reason.count("joint") == 1
    assert found.reason.startswith("joint3: the step from the measured position 0.4")
    assert "factor of 4 (guard.step_margin) (and 5 more): does" in found.reason


@pytest.mark.parametrize(
    ("own", "check", "names"),
    [
        ({}, "velocity", "guard.velocity_margin"),
        ({"max_velocity": [9.0]}, "velocity", "guard.velocity_margin"),
        ({"max_velocity": [0.5]}, "velocity", "guard.max_velocity"),
        ({"max_step": [0.05]}, "step", "guard.max_step"),
        ({}, "acceleration", "guard.acceleration_margin"),
        ({"max_acceleration": [99.0]}, "acceleration", "guard.acceleration_margin"),
        ({"max_acceleration": [1.0]}, "acceleration", "guard.max_acceleration"),
    ],
)
def test_a_refusal_names_what_set_the_limit(own, check, names):
    made = from_training([-1.0, -1.0], [1.0, 1.0], [0.1, 0.1], [0.1, 0.1], [0.05, 0.05])
    made = made.narrowed(NAMES, {"max_velocity": [3.0]}, where="topic '/robot_description'")
    made = made.narrowed(NAMES, own, where="guard.*")
    command = [-0.12 if check == "acceleration" else 0.25, 0.0]
    before = [-0.1, 0.0] if check == "acceleration" else None
    result = JointLimiter(made, NAMES).check(command, [0.0, 0.0], 0.1, [0.0, 0.0], before)
    (found,) = (one for one in result.violations if one.reason == check)
    assert str(found).endswith(f"({names})")
    clamps = f"guard.on_{check}:=clamp goes on at {names}" in result.reason
    assert clamps == (names in ("guard.max_velocity", "guard.max_acceleration"))


def test_a_refusal_names_the_description_that_set_the_limit():
    urdf = {"max_velocity": [0.5, np.inf]}
    made = limits().narrowed(NAMES, urdf, where="topic '/robot_description'")
    result = JointLimiter(made, NAMES).check([0.09, 0.0], [0.0, 0.0], 0.1)
    assert "a factor of 1.8 (topic '/robot_description')" in result.reason


def test_an_arm_that_sags_begins_with_a_larger_step_but_does_not_go_on_so():
    """The first command of an episode leads it by what it sags. After a hold it is led already."""
    limits = JointLimits(*(np.full(1, value) for value in (-9, 9, 9, 0.4, np.inf)))
    limiter = JointLimiter(dataclasses.replace(limits, first_velocity=np.full(1, 1.0)), ["a"])
    assert limiter.check([0.078], [-0.02], 0.1).ok
    assert limiter.check([0.078], [-0.02], 0.1, start=[-0.02]).ok
    assert limiter.check([0.11], [-0.02], 0.1, start=[0.08]).ok
    assert not limiter.check([0.13], [-0.02], 0.1, start=[0.08]).ok
