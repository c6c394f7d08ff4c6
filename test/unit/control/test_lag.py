# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An arm that follows its commands late, and one that only seems to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from control_bench import MAX_STEP, PERIOD, Bench
from hypothesis import given
from hypothesis import strategies as st

from sarnn_ros.control.lag import LagWatch
from sarnn_ros.control.limits import JointLimiter, JointLimits
from sarnn_ros.control.state import State
from sarnn_ros.control.tick import Tick

#: Twice what was demonstrated, by `guard.velocity_margin`.
CHANGE = 2 * MAX_STEP


class LateArm(Bench):
    """What is sent is reached some ticks late. A policy leads the first joint to and fro, as fast
    as was demonstrated.

    :param late: so many ticks.
    """

    def __init__(self, late: int, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.late, self.follows, self.blocked = late, False, False
        self.goals = [self.present]
        self.leads: list[float] = []
        self.moves = 0
        self.control.start()

    def run(self, ticks: int = 1) -> Tick:
        for _ in range(ticks):
            self.policy.action = np.array([0.8 * np.sin(0.25 * self.moves), 0.0])
            sent = super().run().sent
            if sent is not None:
                self.moves += 1
                self.leads.append(float(abs(sent.position[0] - self.present[0])))
            self.goals.append(self.goals[-1] if sent is None else sent.position)
            if not self.blocked:
                self.present = self.goals[max(len(self.goals) - 1 - self.late, 0)]
        return self.ticks[-1]

    @property
    def unsent(self) -> int:
        return sum(tick.sent is None for tick in self.ticks)

    def told(self) -> bool:
        return any("late" in text for level, text in self.said if level == "warning")


@pytest.mark.parametrize("late", [0, 1, 2])
def test_an_arm_that_follows_late_is_led_on(late):
    arm = LateArm(late)
    assert arm.run(100).state is State.COMMANDING
    assert arm.unsent <= 4, "until it has shown that it lags"
    assert arm.control.parts.lag.ticks.tolist() == [late, 0], "the other one did not move"
    assert arm.told() == (late > 0)
    assert max(arm.leads) <= (late + 1) * MAX_STEP + 1e-9

    again = len(arm.ticks)
    arm.control.stop()
    arm.run()
    arm.present, arm.goals, arm.moves = np.zeros(2), [np.zeros(2)], 0
    arm.control.start()
    arm.run(50)
    assert all(tick.sent for tick in arm.ticks[again + 1 :]), "it is known by now"


@pytest.mark.parametrize(
    ("late", "parameters"),
    [
        (2, {"guard__max_lag": 0.0}),
        (2, {"guard__max_step": [0.2]}),  # the user's own: it only ever narrows
        (5, {}),
    ],
)
def test_it_is_halted_where_that_is_not_allowed(late, parameters):
    arm = LateArm(late, **parameters)
    assert arm.run(100).state is State.FAULTED
    assert max(arm.leads) <= MAX_STEP + 1e-9 or not parameters


@pytest.mark.parametrize("after", range(40, 65, 3))
def test_one_that_is_blocked_meanwhile_is_led_no_further(after):
    arm = LateArm(2)
    arm.run(after)
    arm.blocked = True
    arm.run(30)
    assert arm.control.state is State.FAULTED
    assert max(arm.leads) <= (2 + 1) * CHANGE + 1e-9
    assert arm.leads[-1] <= 3 * MAX_STEP


@pytest.mark.parametrize("late", [0, 1, 2])
@pytest.mark.parametrize("usual", [0, 1, 2, None])
def test_the_policy_sees_an_arm_that_lags_as_while_demonstrating(late, usual):
    """As where it was trained. What is measured is judged, recorded and shown as it is."""
    arm = LateArm(late, lag=usual if usual is None else (usual, 0))
    arm.run(60)
    for _ in range(20):
        measured = arm.present.copy()
        tick = arm.run()
        known = late if usual is None else min(usual, late)
        assert arm.policy.saw == pytest.approx(arm.goals[-2 - known], abs=1e-12)
        assert np.array_equal(tick.observation.state, measured)

    arm.blocked = True
    arm.run(3)
    assert np.array_equal(arm.policy.saw, arm.present), "it does not do what it was sent"


@pytest.mark.parametrize("at", range(40, 65, 3))
def test_after_an_image_that_was_lost_it_goes_on(at):
    arm = LateArm(2)
    arm.run(at)
    before = arm.unsent
    arm.missing = {"front": "no image"}
    arm.run()
    arm.missing = {}
    arm.run(15)
    assert arm.unsent == before + 1
    arm.missing = {"front": "no image"}
    arm.run(8)
    arm.missing = {}
    arm.run()
    assert np.array_equal(arm.policy.saw, arm.present), "meanwhile it arrived"


def test_an_arm_that_never_moves_has_no_lag():
    arm = LateArm(0)
    arm.blocked = True
    arm.run(30)
    assert arm.control.state is State.FAULTED
    assert not arm.control.parts.lag.ticks.any()
    assert max(arm.leads) <= MAX_STEP + 1e-9


@given(st.integers(0, 4), st.integers(0, 2**32 - 1), st.floats(0.0, 0.3))
def test_whatever_the_arm_does_the_lead_has_a_bound(late, seed, blocked):
    """The commands of the time that is allowed for, and one."""
    random, watch = np.random.default_rng(seed), LagWatch(np.zeros(3, np.intp), PERIOD)
    limits = JointLimits(*(np.full(3, value) for value in (-9, 9, 0.2, CHANGE / 0.1, np.inf)))
    limiter = JointLimiter(limits, ("a", "b", "c"))
    goals = [np.zeros(3)]
    present = goals[0]
    for tick in range(40):
        limiter.lead = watch.see(tick * PERIOD, present, limits, 0.2)
        below, above = limiter.reach()
        assert (below + above <= 2 * max(CHANGE, 0.2) + 2 * 2 * CHANGE + 1e-9).all()
        wanted = goals[-1] + random.uniform(-CHANGE, CHANGE, 3)
        result = limiter.check(wanted, present, 0.1, goals[-1])
        if result.ok:
            watch.add(result.command)
            assert (np.abs(result.command - present) <= 3 * CHANGE + 1e-9).all()
        goals.append(result.command if result.ok else goals[-1])
        moves = random.random(3) >= blocked
        present = np.where(moves, goals[max(len(goals) - 1 - late, 0)], present)


@pytest.mark.parametrize(
    ("missed", "at", "coming", "lead"),
    [
        (1, 1.9, 0.1, CHANGE),
        (4, 2.0, 0.0, CHANGE),
        (4, 0.0, 0.0, 0.0),  # somebody moved it
        (9, 0.0, 0.0, 0.0),
        (9, 2.0, 0.0, CHANGE),
    ],
)
def test_what_is_on_its_way_arrives_while_nothing_is_seen(missed, at, coming, lead):
    watch, limits = LagWatch(np.zeros(2, np.intp), PERIOD), Bench().control.parts.limiter.limits
    for tick in range(20):
        watch.see(tick * PERIOD, np.array([max(0.1 * (tick - 2), 0.0), 0.0]), limits, 0.2)
        watch.add(np.array([0.1 * (tick + 1), 0.0]))
    assert watch.ticks.tolist() == [2, 0] and watch.behind == pytest.approx([0.2, 0.0])
    found = watch.see((20 + missed) * PERIOD, np.array([at, 0.0]), limits, 0.2)
    assert watch.behind == pytest.approx([coming, 0.0])
    assert found[0] == pytest.approx([lead - coming, 0.0])
    assert found[1] == pytest.approx([lead + coming, 0.0])


@pytest.mark.parametrize(
    ("follow", "name"),
    [
        (lambda goal, at: goal - 0.1, "it hangs below its commands"),
        (lambda goal, at: at + 0.76 * (goal - at), "it trails them by 70 ms, as it did then"),
        (lambda goal, at: at + np.sign(goal - at) * max(abs(goal - at) - 0.1, 0.0), "friction"),
    ],
)
def test_what_only_looks_like_lag_is_none(follow, name):
    """Free, such a joint would do all of its lead at once."""
    watch = LagWatch(np.zeros(1, np.intp), PERIOD)
    limits = JointLimits(*(np.full(1, value) for value in (-9, 9, 0.2, CHANGE / 0.1, np.inf)))
    at, found = 0.0, []
    for tick in range(100):
        watch.see(tick * PERIOD, np.array([at]), limits, 0.2)
        found.append(int(watch.ticks[0]))
        goal = 0.8 * np.sin(0.25 * tick)
        watch.add(np.array([goal]))
        at = float(follow(goal, at))
    assert np.mean(np.array(found) > 0) < 0.1, name


def test_fingers_that_close_late_do_not_make_the_arm_late():
    watch = LagWatch(np.zeros(2, np.intp), PERIOD)
    limits = JointLimits(*(np.full(2, value) for value in (-9, 9, 0.2, CHANGE / 0.1, np.inf)))
    for tick in range(20):
        lead = watch.see(tick * PERIOD, np.array([0.0, 0.1 * max(tick - 3, 0)]), limits, 0.2)
        watch.add(np.array([0.0, 0.1 * tick]))
    assert watch.ticks.tolist() == [0, 2]
    assert lead[1][0] == 0.0 and lead[1][1] > 0.2


def test_a_lag_is_forgotten_by_an_arm_that_is_blocked():
    arm = LateArm(2)
    arm.run(60)
    assert arm.control.parts.lag.ticks[0] == 2
    arm.blocked = True
    arm.run(20)
    assert arm.control.state is State.FAULTED
    for _ in range(2):
        arm.control.reset()
        arm.run()
        arm.control.start()
        arm.leads, arm.moves = [], round(np.arcsin(arm.present[0] / 0.8) / 0.25)
        arm.goals = [arm.present]
        arm.run(20)
        assert arm.control.state is State.FAULTED
    assert not arm.control.parts.lag.ticks.any()
    assert max(arm.leads) <= MAX_STEP + 1e-9


def test_a_hold_goes_by_the_step_alone():
    """Of an arm from which nothing was heard for a while nothing is on its way any more."""
    arm = LateArm(2)
    for _ in range(200):
        arm.run()
        if arm.leads[-1] > 1.5 * MAX_STEP:
            break
    sent = len(arm.sent)
    arm.now += 10 * PERIOD
    arm.control.look_for_stall()
    assert arm.control.state is State.FAULTED and len(arm.sent) == sent
    assert any("no hold was sent" in text for _, text in arm.said)


def test_an_arm_that_a_hand_moves_tells_nothing_of_its_lag():
    watch, limits = LagWatch(np.zeros(2, np.intp), PERIOD), Bench().control.parts.limiter.limits
    for tick in range(20):
        watch.add(np.array([0.1 * tick, 0.0]))
        watch.see(tick * PERIOD, np.array([max(0.1 * (tick - 2), 0.0), 0.0]), limits, 0.2)
    watch.reset()  # as while it is stopped
    for tick in range(20, 40):
        watch.see(tick * PERIOD, np.array([0.1 * (tick - 20), 0.0]), limits, 0.2)
        assert watch.ticks.tolist() == [2, 0]


def see_all(watch, present, sent, more_s=0.2):
    """At each tick: what is measured, and what is sent then, (T, n) each."""
    count = np.shape(present)[1]
    limits = JointLimits(*(np.full(count, one) for one in (-9, 9, 0.2, CHANGE / 0.1, np.inf)))
    for tick, (here, goal) in enumerate(zip(np.asarray(present), np.asarray(sent))):
        watch.see((tick + 1) * PERIOD, here, limits, more_s)
        watch.add(goal)
    return watch


def late(path, ticks):
    """Where an arm is that reaches what it was sent so many ticks late."""
    path = np.asarray(path)
    return np.concatenate([np.zeros(1 + ticks), path])[: len(path)]


RISING = 0.1 * np.arange(1, 21)


@pytest.mark.parametrize(
    ("usual", "actual", "more", "ticks", "behind"),
    [
        ([0, 0], [1, 2], 0.2, [1, 2], [0.1, 0.2]),
        ([1, 2], [1, 2], 0.2, [1, 2], [0.0, 0.0]),
        ([2, 0], [3, 1], 0.2, [3, 1], [0.1, 0.1]),
        ([2, 0], [4, 2], 0.2, [4, 2], [0.2, 0.2]),
        ([2, 1], [1, 1], 0.2, [1, 1], [0.0, 0.0]),  # it is faster now
        ([2, 0], [2, 0], 0.0, [0, 0], [0.0, 0.0]),
    ],
)
def test_each_joint_has_its_own_usual_lag(usual, actual, more, ticks, behind):
    present = np.stack([late(RISING, one) for one in actual], axis=1)
    watch = LagWatch(np.array(usual, np.intp), PERIOD)
    see_all(watch, present, np.stack([RISING, RISING], axis=1), more)
    assert watch.ticks.tolist() == ticks and watch.behind == pytest.approx(behind)


def test_what_lags_by_more_than_it_may_is_no_lag():
    watch = LagWatch(np.array([2, 0], np.intp), PERIOD)
    see_all(watch, np.stack([late(RISING, 4)] * 2, axis=1), np.stack([RISING] * 2, axis=1))
    assert watch.ticks[0] == 4 and watch.ticks[1] <= 2 and watch.behind[1] == 0.0


def test_a_joint_that_is_blocked_beside_one_that_lags_is_told_as_it_is():
    present = np.stack([late(RISING, 2), late(RISING, 2)], axis=1)
    present[14:, 1] = present[14, 1]
    sent = np.stack([RISING, RISING], axis=1)
    assert see_all(LagWatch(np.zeros(2, np.intp), PERIOD), present[:14], sent[:14]).behind[1] > 0.1
    watch = see_all(LagWatch(np.zeros(2, np.intp), PERIOD), present[:18], sent[:18])
    assert watch.behind == pytest.approx([0.2, 0.0])


@pytest.mark.parametrize("blocked", [False, True])
def test_a_joint_that_presses_on_gently_is_told_as_it_is(blocked):
    """It is not astray yet: so slowly its commands go on."""
    path = np.concatenate([RISING, RISING[-1] + 0.02 * np.arange(1, 11)])[:, None]
    present = late(path[:, 0], 2)[:, None]
    if blocked:
        present[26:] = present[26]
    watch = see_all(LagWatch(np.zeros(1, np.intp), PERIOD), present, path)
    assert watch.ticks.tolist() == [2]
    assert watch.behind == pytest.approx([0.0 if blocked else 0.04])


@pytest.mark.parametrize("ticks", [0.8, 1.0, 1.5, 1.8, 2.0])
def test_a_policy_never_sees_an_arm_further_than_it_was_sent(ticks):
    """It would go on from there, faster and faster."""
    path = np.sin(0.15 * np.arange(60.0))
    present = np.interp(np.arange(60.0) - 1 - ticks, np.arange(60.0), path)
    watch = LagWatch(np.zeros(1, np.intp), PERIOD)
    limits = JointLimits(*(np.full(1, one) for one in (-9, 9, 0.2, CHANGE / 0.1, np.inf)))
    told = 0
    for tick in range(60):
        watch.see((tick + 1) * PERIOD, present[tick : tick + 1], limits, 0.2)
        seen, goal = present[tick] + watch.behind[0], path[max(tick - 1, 0)]
        assert min(present[tick], goal) - 1e-12 <= seen <= max(present[tick], goal) + 1e-12
        told += watch.behind[0] != 0.0
        watch.add(path[tick : tick + 1])
    assert told > 20


@pytest.mark.parametrize("step", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("ticks", [1, 2])
def test_what_presses_on_something_does_not_hammer(ticks, step):
    """The policy wants a little further, as where a peg sits on its hole."""
    arm = LateArm(ticks, start__wait=3600.0, watch__still_time=0.0)
    arm.present = np.array([-0.9, 0.0])
    arm.goals, commands = [arm.present], []
    for number in range(150):
        fast = 0.15 if number < 12 else step
        arm.policy.meanwhile = lambda fast=fast: setattr(
            arm.policy, "action", np.array([arm.policy.saw[0] + fast, 0.0])
        )
        Bench.run(arm)
        sent = arm.ticks[-1].sent
        arm.goals.append(arm.goals[-1] if sent is None else sent.position)
        free = arm.goals[max(len(arm.goals) - 1 - ticks, 0)]
        arm.present = np.minimum(free, [0.3, 9.0])
        commands.append(arm.goals[-1][0])
    assert np.ptp(commands[60:]) < 1e-6 and commands[-1] == pytest.approx(0.3 + step)


@pytest.mark.parametrize("label", [5 * PERIOD, 21 * PERIOD])
def test_after_a_clock_that_was_set_back_nothing_is_on_its_way(label):
    watch = LagWatch(np.zeros(2, np.intp), PERIOD)
    see_all(watch, np.stack([late(RISING, 2)] * 2, axis=1), np.stack([RISING] * 2, axis=1))
    limits = JointLimits(*(np.full(2, one) for one in (-9, 9, 0.2, CHANGE / 0.1, np.inf)))
    watch.see(label, np.array([1.8, 1.8]), limits, 0.2)
    assert bool(watch.behind.any()) is (label > 20 * PERIOD)
