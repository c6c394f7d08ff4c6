# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a motion begins: ramp, warm-up, blend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sarnn_ros.control.limits import JointLimits
from sarnn_ros.control.settings import StartSettings
from sarnn_ros.control.start import StartPoses, StartSequence, check_ramp
from sarnn_ros.control.state import Event
from sarnn_ros.errors import ConfigError

LOW, HIGH = np.array([-0.1, 0.9]), np.array([0.1, 1.1])
POSES = st.lists(st.floats(-3, 3), min_size=2, max_size=2).map(np.array)


def limits(**changes):
    values = {
        "position_min": [-3.0, -3.0],
        "position_max": [3.0, 3.0],
        "max_step": [0.2, 0.02],
        "max_velocity": [np.inf, np.inf],
        "max_acceleration": [np.inf, np.inf],
    }
    return JointLimits(**{key: np.array(value) for key, value in {**values, **changes}.items()})


def sequence(changes=None, **parameters):
    return StartSequence(
        StartSettings(**parameters), LOW, HIGH, lambda: limits(**changes or {}), 0.1
    )


def walk(ramp: StartSequence, here):
    path = [here]
    while ramp.ramps(path[-1]):
        path.append(ramp.ramp(path[-1], 0.1))
        assert len(path) < 2000
    return np.array(path)


@given(POSES, st.floats(0.2, 5.0))
@example(np.array([0.0, -1.2307427158222718e-12]), 1.0)  # the last step was a little longer
def test_the_ramp_goes_straight_to_the_nearest_start_at_no_more_than_its_speed(here, speed):
    ramp = sequence(ramp_speed=speed)
    assert not ramp.ramps(here), "only after begin()"
    ramp.begin()
    path = walk(ramp, here)
    np.testing.assert_array_equal(path[-1], np.clip(here, LOW, HIGH))
    steps = np.abs(np.diff(path, axis=0))
    assert (steps <= min(speed * 0.1, 0.1) + 1e-12).all()
    assert (steps[:, 1] <= 0.01 + 1e-12).all(), "half of what the guard allows"
    if len(path) > 2:
        along = (path[-1] - here) / np.linalg.norm(path[-1] - here)
        assert np.linalg.norm(path - here - np.outer((path - here) @ along, along)) < 1e-9
    assert not ramp.ramps(here), "once"


@pytest.mark.parametrize(
    ("changes", "largest"),
    [({}, 0.1), ({"max_velocity": [0.5, 9.0]}, 0.05), ({"max_acceleration": [2.0, 99.0]}, 0.02)],
)
def test_the_ramp_is_as_slow_as_the_guard_wants(changes, largest):
    ramp = sequence(changes, ramp_speed=5.0)
    ramp.begin()
    path = walk(ramp, np.array([2.0, 1.0]))
    assert np.diff(path[:, 0]).min() == pytest.approx(-largest)


def test_warm_up_then_blend_then_the_policy_alone():
    start = sequence(warm_up_ticks=2, blend_time=0.3)
    predicted, here = np.array([1.0, 2.0]), np.array([0.0, 1.0])
    assert [start.follow(predicted, here)[0] for _ in range(2)] == [Event.WARM_UP] * 2
    events, points = zip(*(start.follow(predicted, here + k) for k in range(5)))
    assert events == (Event.BLEND,) * 3 + (Event.COMMAND,) * 2
    got = [point[0] for point in points]
    assert got == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0]), "from where it began"
    start.restart()
    assert start.follow(predicted, here)[0] is Event.WARM_UP


def test_what_goes_at_once_is_not_blended():
    start = StartSequence(StartSettings(blend_time=0.2), LOW, HIGH, limits, 0.1, (1,))
    here = np.array([0.0, 1.0])
    got = [start.follow(np.array([1.0, 2.0 + k]), here)[1].tolist() for k in range(3)]
    assert got == [[pytest.approx(1 / 3), 2.0], [pytest.approx(2 / 3), 3.0], [1.0, 4.0]]


def test_without_parameters_the_policy_commands_at_once():
    start = sequence()
    start.begin()
    assert not start.ramps(np.array([2.0, 2.0]))
    event, point = start.follow(HIGH, LOW)
    assert event is Event.COMMAND
    np.testing.assert_array_equal(point, HIGH)


def test_limits_that_leave_no_way_to_the_start_are_refused():
    poses = StartPoses(("a", "b"), LOW, HIGH, HIGH - LOW)
    for changes in ({"position_max": [3.0, 0.5]}, {"max_step": [0.0, 0.1]}):
        with pytest.raises(ConfigError, match="ramp_speed"):
            check_ramp(StartSettings(ramp_speed=0.1), poses, limits(**changes))
        check_ramp(StartSettings(), poses, limits(**changes))


@pytest.mark.parametrize(("elapsed", "step"), [(0.1, 0.05), (0.08, 0.04), (0.14, 0.05)])
def test_the_ramp_goes_less_far_in_less_time(elapsed, step):
    ramp = sequence({"max_velocity": [0.5, 9.0]}, ramp_speed=5.0)
    here = np.array([2.0, LOW[1]])
    assert here[0] - ramp.ramp(here, elapsed)[0] == pytest.approx(step)


def test_held_joints_stay_where_the_motion_began():
    start = StartSequence(StartSettings(ramp_speed=1.0), LOW, HIGH, limits, 0.1, held=(0,))
    start.begin()
    here = np.array([0.5, 0.0])
    path = walk(start, here)
    assert (path[:, 0] == 0.5).all() and path[-1, 1] == LOW[1], "the ramp moves the other joint"
    for measured in (0.5, 0.52):  # it sags, or the measurement is noisy
        wanted = start.follow(np.array([0.0, 1.0]), np.array([measured, 0.9]))[1]
        np.testing.assert_array_equal(wanted, [0.5, 1.0])
    start.restart()
    wanted = start.follow(np.array([0.0, 1.0]), np.array([0.7, 0.9]))[1]
    np.testing.assert_array_equal(wanted, [0.7, 1.0])
