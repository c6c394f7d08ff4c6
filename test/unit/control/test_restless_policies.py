# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Policies that lie, with the default parameters and an arm that follows: what they ask for is
within the limits at most ticks, and no motion that anybody wants."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from control_bench import MAX_STEP, PERIOD, Bench

from sarnn_ros.control.state import State
from sarnn_ros.control.tick import Tick

#: As they are in the node; the bench has none by itself.
DEFAULTS = {"guard__position_margin": 0.1, "guard__step_margin": 1.5, "guard__floor": 0.01}
GRIPPER = {"gripper__joints": ["b"], "gripper__open": [0.0], "gripper__closed": [0.9]}


def started(**parameters: object) -> Bench:
    bench = Bench(**{**DEFAULTS, **parameters})
    bench.control.start()
    return bench


def drive(bench: Bench, ask: Callable[[int], object], ticks: int) -> list[Tick]:
    """Run that many ticks, or fewer if a fault latches.

    :param ask: what the policy predicts at a tick.
    """
    first = len(bench.ticks)
    for number in range(ticks):
        bench.policy.action = np.array(ask(number))
        bench.run()
        if bench.control.faults.latched:
            break
    return bench.ticks[first:]


def commanded(ticks: list[Tick]) -> int:
    return sum(tick.sent is not None for tick in ticks)


def latched(bench: Bench) -> tuple[str, str]:
    (fault,) = bench.control.faults.latched
    return fault.code, fault.text


def test_a_step_to_and_fro_at_every_tick_latches():
    bench = started()
    ticks = drive(bench, lambda number: [MAX_STEP / 2 * (-1) ** number, 0.0], 100)
    code, text = latched(bench)
    assert code == "guard" and "refused 5 times in" in text and "acceleration" in text
    # Refused at the third command of each motion, which begins anew after it.
    assert len(ticks) == 15 and commanded(ticks) == 10


def test_a_command_that_is_refused_at_every_other_tick_latches():
    """Around one pose: a command, a refusal, a command, for ever."""
    bench = started()
    ticks = drive(bench, lambda number: [0.05 + 2 * MAX_STEP * (number % 2), 0.0], 100)
    code, text = latched(bench)
    assert code == "guard" and "refused 5 times in 10 ticks" in text
    assert len(ticks) == 10 and bench.control.state is State.FAULTED


@pytest.mark.parametrize("every", [7, 10])
def test_a_refusal_now_and_then_does_not_latch(every):
    """At every 7th tick there are four in 25."""
    bench = started()
    ticks = drive(bench, lambda number: [2.0 * (number % every == every - 1), 0.0], 200)
    assert len(ticks) == 200 and commanded(ticks) >= 170


def test_a_ramp_and_what_follows_it_need_not_be_as_smooth_as_what_was_trained():
    """It stops within a tick, and the policy turns back at once."""
    bench = Bench(**DEFAULTS, start__ramp_speed=2.0, guard__acceleration_margin=1.0)
    bench.present = np.array([0.44, 0.0])
    bench.control.start()
    ticks = drive(bench, lambda number: [0.2 + 0.02 * number, 0.0], 12)
    assert commanded(ticks) == 12
    # 0.15 per tick, half of the step that is allowed; the trained acceleration is 0.1.
    assert bench.path[:3, 0] == pytest.approx([0.29, 0.14, 0.1])
    assert ticks[2].state is State.RAMPING and ticks[3].state is State.COMMANDING


def test_a_hiccup_does_not_latch():
    bench = started()
    drive(bench, lambda number: [0.02 * number, 0.0], 10)
    ticks = drive(bench, lambda number: [2.0, 0.0], 4)
    assert commanded(ticks) == 0
    ticks = drive(bench, lambda number: [0.2 + 0.01 * number, 0.0], 60)
    assert commanded(ticks) == 60


def test_refusals_are_forgotten_at_the_next_start():
    bench = started()
    for _ in range(5):
        drive(bench, lambda number: [2.0, 0.0], 4)
        bench.control.stop()
        bench.control.start()
    assert not bench.control.faults.latched


def test_in_a_dry_run_nothing_latches():
    bench = started(dry_run=True)
    drive(bench, lambda number: [2.0 * (number % 2), 0.0], 50)
    bench.present = np.array([1.1, 0.0])
    drive(bench, lambda number: [1.12, 0.0], 50)
    assert bench.ticks[-1].state is State.HOLDING
    assert "outside the trained -1 to 1" in bench.control.status().text
    assert not bench.control.faults.latched and not bench.sent


def creep(number: int) -> list[float]:
    """To the edge of the envelope, -1.2, and stay there."""
    return [-min(0.05 * number, 1.199), 0.0]


def test_a_creep_to_the_edge_is_slowed_down_warned_of_and_latches():
    bench = started()
    ticks = drive(bench, creep, 200)
    code, text = latched(bench)
    assert code == "outside"
    for word in ("a is commanded to -1.1", "outside the trained -1 to 1", "for 3.0 s"):
        assert word in text
    warnings = [text for level, text in bench.said if level == "warning"]
    assert len(warnings) == 1 and "for 1.0 s" in warnings[0] and "a is commanded" in warnings[0]
    path = -bench.path[:, 0]
    beyond = path[:-1] > 1.0
    assert (np.diff(path)[beyond] <= 0.5 * (1.2 - path[:-1][beyond]) + 1e-9).all()
    # 1.1 is half of the margin; that takes 23 ticks, and 30 more are 3 s.
    assert len(ticks) == pytest.approx(53, abs=3)
    assert commanded(ticks) == len(ticks) - 1


@pytest.mark.parametrize(
    ("parameters", "aim"),
    [({}, 1.09), ({"guard__max_outside": 0.0}, 1.19), ({"hold_joints": ["a"]}, 1.19)],
)
def test_what_may_stay_beyond_what_was_trained(parameters, aim):
    """A little; all of it, if told so; and a joint that is held where it stands."""
    bench = started(**parameters)
    bench.present = np.array([aim if "hold_joints" in parameters else 0.9, 0.0])
    ticks = drive(bench, lambda number: [aim, 0.0], 100)
    assert commanded(ticks) == 100 and not bench.control.parts.outside.warning
    assert bench.path[-1, 0] == pytest.approx(aim)


def test_a_slow_ramp_from_outside_is_no_stay_outside():
    bench = Bench(**DEFAULTS, start__ramp_speed=0.01)
    bench.present = np.array([1.15, 0.0])
    bench.control.start()
    ticks = drive(bench, lambda number: [0.0, 0.0], 45)
    assert commanded(ticks) == 45 and ticks[-1].state is State.RAMPING
    assert bench.path[-1, 0] > 1.1 and not bench.control.parts.outside.warning


def test_a_narrower_limit_of_ones_own_is_no_edge_of_what_was_trained():
    bench = started(guard__position_max=[0.5])
    ticks = drive(bench, lambda number: [min(0.05 * number, 0.5), 0.0], 100)
    assert commanded(ticks) == 100 and not bench.control.parts.outside.warning


def test_a_visit_inside_does_not_end_a_stay_outside_and_a_start_does():
    bench = started()
    bench.present = np.array([1.1, 0.0])

    def flicker(number: int) -> list[float]:
        return [1.09 if number % 4 == 0 else 1.12, 0.0]

    drive(bench, flicker, 40)
    assert bench.control.parts.outside.warning
    bench.control.stop()
    bench.control.start()
    drive(bench, flicker, 2)
    assert not bench.control.parts.outside.warning
    drive(bench, flicker, 100)
    assert latched(bench)[0] == "outside"


@pytest.mark.parametrize("interval", [0, PERIOD // 10])
def test_a_gripper_that_is_to_open_and_close_at_every_tick_switches_once_and_latches(interval):
    bench = started(interval=interval, **GRIPPER)
    sent = []

    def ask(number: int) -> list[float]:
        for _ in range(9 if interval else 0):
            bench.now += interval
            bench.interpolator.tick()
        return [0.1, 0.9 * (number % 2)]

    ticks = drive(bench, ask, 100)
    code, text = latched(bench)
    assert code == "gripper" and "changed between open and closed 5 times in 6 ticks" in text
    assert "0.5 s at least (gripper.min_dwell)" in text
    sent = bench.path[:, 1]
    assert np.count_nonzero(np.diff(sent)) <= 1 and len(ticks) <= 8
    warnings = [text for level, text in bench.said if level == "warning"]
    assert any("opens and closes the gripper in quick succession" in text for text in warnings)


def test_a_gripper_that_grasps_and_lets_go_is_no_fault():
    bench = started(**GRIPPER)
    ticks = drive(bench, lambda number: [0.1, 0.9 * (number // 8 % 2)], 100)
    assert commanded(ticks) == 100
    assert np.count_nonzero(np.diff(bench.path[:, 1])) == 12
    assert not [text for level, text in bench.said if level == "warning"]
