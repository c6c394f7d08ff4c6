# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An arm that does not do what it is told, and joint states that are none."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from control_bench import PERIOD, Bench
from hypothesis import given
from hypothesis import strategies as st

from sarnn_ros.control.following import FollowingWatch
from sarnn_ros.control.state import State
from sarnn_ros.control.tick import Tick
from sarnn_ros.spec import parse_spec

TICKS = 5
STILL = TICKS * PERIOD * 1e-9


def watch(moves, commands, *, noise=0.0, exempt=(), step=0.2) -> list[str]:
    """The faults of each tick of an arm of two joints, the second at rest."""
    looks = FollowingWatch(STILL, ("a", "b"), lambda: np.array([step, step]), exempt)
    random = np.random.default_rng(0)
    found = []
    for tick, (at, told) in enumerate(zip(moves, commands)):
        present = np.array([at, 0.0]) + noise * random.standard_normal(2)
        commanded = None if told is None else np.array([told, 0.0])
        found += looks.check(present, present, tick * PERIOD, tick, commanded)
    return found


@pytest.mark.parametrize(
    ("moves", "commands", "noise", "code"),
    [
        ([0.0] * 9, [0.1] * 9, 0.0, "frozen:joints"),
        ([0.0] * 9, [0.1] * 9, 1e-5, "not_following"),
        ([0.0] * 9, [0.03] * 9, 0.0, None),  # as near as gravity leaves it
        ([0.0] * 9, [None] * 9, 0.0, None),
        (np.arange(9) * 0.01, np.arange(9) * 0.01 + 0.1, 0.0, None),  # it lags
        ([0.0] * 5 + [0.1] * 4, [0.1] * 9, 0.0, None),  # it was slow
        ([0.0] * 9, [0.1, None] * 5, 0.0, None),
        ([0.0] * 40, [0.1, 0.03, 0.03, 0.03] * 10, 0.0, None),  # not in a row
        ([0.0] + [0.001] * 9, [0.1] * 10, 0.0, "frozen:joints"),  # came to rest, then froze
    ],
)
def test_no_movement_at_all(moves, commands, noise, code):
    found = watch(moves, commands, noise=noise)
    assert set(found) == ({code} if code else set())


def test_a_state_that_is_not_stamped_anew_is_no_frozen_driver():
    looks = FollowingWatch(STILL, ("a",), lambda: np.array([0.2]))
    zero, told = np.zeros(1), np.full(1, 0.1)
    found = [looks.check(zero, zero, t * PERIOD, min(t, 1), told) for t in range(9)]
    assert set().union(*found) == {"not_following"}


def test_a_gripper_may_be_stopped_by_what_it_holds():
    assert not watch([0.0] * 20, [0.1] * 20, exempt=(0,))


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_controller_latches_but_not_in_a_dry_run(dry_run):
    bench = Bench(watch__still_time=STILL, dry_run=dry_run)
    bench.follows = False
    bench.control.start()
    bench.policy.action = np.array([0.1, 0.0])
    bench.run(12)
    latched = [fault.code for fault in bench.control.faults.latched]
    assert latched == ([] if dry_run else ["frozen:joints"])
    if not dry_run:
        assert bench.control.state is State.FAULTED
        (fault,) = bench.control.faults.latched
        assert "a is at 0 rad or m and was commanded to 0.1" in fault.text
        assert (bench.label - fault.since_ns) > PERIOD


#: What the watch allows an arm, s, and its step limit, rad: the smallest by `guard.floor`.
STILL_S, STEP = 1.5, 0.03
HERTZ = pytest.mark.parametrize("hertz", [10, 30, 50])


class Servo:
    """A joint under a P-controller.

    :param droop: gravity leaves it so far below its command; :param friction: and this on either
        side; :param quantum: its encoder's; :param late: ticks until a command has come;
    :param follows: share of its way in a tick.
    """

    def __init__(self, droop=0.0, friction=0.0, quantum=0.0, late=0, follows=1.0, at=0.0) -> None:
        self.droop, self.friction, self.quantum, self.follows = droop, friction, quantum, follows
        self.at, self.dead = at, False
        self.goals = deque([None] * late, late + 1)

    def move(self, goal: float) -> None:
        self.goals.append(goal)
        if self.dead or self.goals[0] is None:
            return
        off = self.goals[0] - self.droop - self.at
        if abs(off) > self.friction:
            self.at += self.follows * (off - np.sign(off) * self.friction)

    @property
    def reads(self) -> float:
        return self.quantum * round(self.at / self.quantum) if self.quantum else self.at


class ServoBench(Bench):
    """Both joints are servos; with a step limit of `STEP`."""

    def __init__(self, hertz: float, servos: list[Servo], **parameters) -> None:
        spec = parse_spec({"rate": hertz, "cameras": [{"name": "front"}],
                           "joints": [{"names": ["a", "b"]}]})  # fmt: skip
        parameters = {"guard__step_margin": 0.15, "guard__floor": 0.01} | parameters
        super().__init__(spec=spec, **parameters)
        self.follows, self.servos, self.hertz = False, servos, hertz
        self.goal = None

    def run(self, ticks: int = 1) -> Tick:
        for _ in range(ticks):
            self.label += self.policy.spec.period_ns
            self.now = self.label
            self.present = np.array([servo.reads for servo in self.servos])
            self.tick(self.label, self.label)
            self.goal = self.sent[-1].position if self.sent else self.present
            for servo, goal in zip(self.servos, self.goal):
                servo.move(goal)
        return self.ticks[-1]

    def go(self, to: float, step: float) -> None:
        """The policy leads the first joint there."""
        while abs(to - self.policy.action[0]) > 1e-9:
            way = np.clip(to - self.policy.action[0], -step, step)
            self.policy.action = self.policy.action + [way, 0.0]
            self.run()

    def dwell(self, seconds: float) -> None:
        self.run(round(seconds * self.hertz))

    @property
    def latched(self) -> list[str]:
        return [fault.code for fault in self.control.faults.latched]


def ticks_until_found(bench: ServoBench, at_most_s: float) -> int:
    for tick in range(1, round(at_most_s * bench.hertz)):
        if bench.run().state is State.FAULTED:
            return tick
    raise AssertionError("it is not found")


def resting(droop: float, friction: float = 0.0, quantum: float = 0.0015) -> list[Servo]:
    return [Servo(droop, friction, quantum), Servo(-droop, 0.0, quantum)]


@HERTZ
@pytest.mark.parametrize("friction", [0.0, 0.012])
@pytest.mark.parametrize("droop", [0.005, 0.012, 0.017])
def test_an_arm_that_dwells_where_it_was_sent_is_healthy(droop, friction, hertz):
    """Whatever error it rests with, from tick to tick the same to the last bit; also after a hold,
    and back where it was before, where friction leaves it on the other side."""
    friction = min(friction, STEP - 0.012 - droop)  # or the guard refuses the commands
    bench = ServoBench(hertz, resting(droop, friction))
    bench.control.start()
    bench.dwell(1.3 * STILL_S)
    for goal in (0.1, 0.0):
        bench.go(goal, 0.01)
        bench.dwell(1.3 * STILL_S)
        bench.missing = {"front": "no image"}
        bench.run(2)
        bench.missing = {}
        bench.dwell(1.3 * STILL_S)
        assert bench.control.state is State.COMMANDING, bench.control.status()


@HERTZ
@pytest.mark.parametrize("droop", [0.0, 0.012, 0.017])
@pytest.mark.parametrize("when", ["at first", "in motion", "at rest"])
def test_a_driver_that_dies_is_found(when, droop, hertz):
    bench = ServoBench(hertz, resting(droop))
    bench.control.start()
    if when != "at first":
        bench.dwell(1.3 * STILL_S)
        bench.go(0.1, 0.01)
    if when == "at rest":
        bench.dwell(1.3 * STILL_S)
    for servo in bench.servos:
        servo.dead = True
    # As near as the guard lets it be led, and there it stays.
    bench.policy.action = bench.policy.action + [0.011, 0.0]
    assert ticks_until_found(bench, 2 * STILL_S) <= np.ceil(STILL_S * hertz) + 2
    assert bench.latched == ["frozen:joints"]


@HERTZ
def test_one_that_is_led_to_and_fro_as_well(hertz):
    bench = ServoBench(hertz, resting(0.012))
    bench.control.start()
    bench.go(0.1, 0.01)
    for servo in bench.servos:
        servo.dead = True
    for tick in range(round(2 * STILL_S * hertz)):
        up = 0.5 - 0.5 * np.cos(2 * np.pi * tick / (3 * hertz))
        bench.policy.action = np.array([0.1 + 0.015 * up, 0.0])
        if bench.run().state is State.FAULTED:
            break
    assert bench.latched in (["frozen:joints"], ["guard"])


def test_at_10_hz_no_later_than_before():
    """Fifteen ticks in a row were asked for, of which the first was the second that saw it."""
    bench = ServoBench(10, resting(0.0))
    bench.servos[0].dead = True
    bench.control.start()
    bench.policy.action = np.array([0.02, 0.0])
    bench.run()
    assert ticks_until_found(bench, 3.0) <= 16


@pytest.mark.parametrize("seconds", [0.2, 1.0])
@pytest.mark.parametrize("at", [0.0, 0.2])
def test_an_arm_that_is_switched_off_and_pushed_away_is_found(at, seconds):
    """Or whose states freeze where it is not: it moved, but not where it was sent."""
    bench = ServoBench(10, resting(0.012), guard__step_margin=1.5)
    bench.control.start()
    bench.policy.action = np.array([at, 0.0])
    bench.dwell(seconds)  # or while it still moves
    for servo in bench.servos:
        servo.dead = True
    bench.servos[0].at += 0.2
    assert ticks_until_found(bench, 2 * STILL_S) <= 17


@pytest.mark.parametrize("by", [0.0, 0.001, -0.001, 0.0025])
def test_a_brake_that_closes_does_not_excuse_it(by):
    bench = ServoBench(10, resting(0.0, quantum=0.0))
    bench.control.start()
    bench.dwell(1.0)
    for servo in bench.servos:
        servo.dead = True
    bench.policy.action = np.array([0.02, 0.0])
    bench.run(5)
    bench.servos[0].at += by
    assert ticks_until_found(bench, 2 * STILL_S) <= 17


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("never", [0, 1])
def test_a_joint_that_may_not_move_is_sent_nowhere(never, dead):
    limits = [STEP, STEP]
    limits[never] = 0.0
    bench = ServoBench(10, [Servo(), Servo()], guard__max_step=limits)
    bench.servos[1 - never].dead = dead
    bench.control.start()
    bench.policy.action = np.where(np.arange(2) == never, 0.0, 0.02)
    bench.dwell(4 * STILL_S)
    assert bench.latched == (["frozen:joints"] if dead else [])


def test_a_finger_that_has_closed_may_press():
    """What it holds stopped it while its command stood already."""
    looks = FollowingWatch(STILL_S, ("arm", "finger"), lambda: np.full(2, 0.03))
    for tick in range(100):
        present = np.array([0.0, min(0.003 * tick, 0.015)])
        found = looks.check(present, present, tick * PERIOD, tick, np.array([0.0, 0.028]))
        assert not found


@pytest.mark.parametrize("speed", [0.0025, 0.004, 0.02])
def test_an_arm_that_is_switched_off_and_sinks_is_found(speed):
    bench = ServoBench(10, resting(0.012, quantum=0.0), guard__step_margin=0.5)
    bench.control.start()
    bench.go(0.05, 0.01)
    for servo in bench.servos:
        servo.dead = True
    while bench.servos[0].at > -0.02:
        bench.servos[0].at -= speed
        bench.run()
    assert ticks_until_found(bench, 2 * STILL_S) <= 17


@HERTZ
@pytest.mark.parametrize("back", [0.006, 0.012, 0.017])
def test_where_friction_holds_it_a_command_may_come_back(back, hertz):
    bench = ServoBench(hertz, resting(0.0, friction=0.012))
    bench.control.start()
    bench.dwell(0.5)
    bench.go(0.1, 0.01)
    bench.dwell(1.3 * STILL_S)
    bench.go(0.1 - back, 0.003)
    bench.dwell(1.3 * STILL_S)
    bench.go(0.2, 0.01)
    bench.go(0.1 - back, 0.01)
    bench.dwell(1.3 * STILL_S)
    assert bench.control.state is State.COMMANDING, bench.control.status()


def test_out_and_back_without_a_rest_friction_is_on_the_other_side():
    out = np.linspace(0.0, 0.1, 6)
    moves = [-0.025, 0.0, *[0.0] * 9, *out, *out[-2::-1], *[0.0] * 40]
    commands = [0.0, *[0.025] * 10, *(out + 0.025), *(out[-2::-1] - 0.025), *[-0.025] * 40]
    assert not watch(moves, commands, step=0.1)


def test_an_arm_that_dies_under_way_is_found_though_it_is_sent_no_further():
    """What it is told follows from its measured state, which stays."""
    moves = np.array([0.0, 0.05, 0.1, *[0.15] * 12])
    assert set(watch(moves, moves + 0.05)) == {"frozen:joints"}
    assert not watch(moves, moves + 0.025, step=0.1), "it may sag by so much"


def test_few_looks_tell_nothing():
    looks = FollowingWatch(STILL_S, ("a",), lambda: np.full(1, 0.03))
    zero, told = np.zeros(1), np.full(1, 0.02)
    found = [bool(looks.check(zero, zero, t * 1_000_000_000, t, told)) for t in range(7)]
    assert found == [False] * 5 + [True] * 2


@given(
    hertz=st.sampled_from([10, 30, 50]),
    droop=st.floats(-0.021, 0.021),
    quantum=st.sampled_from([0.0, 0.0015]),
    late_s=st.floats(0.0, 0.2),
    tau_s=st.floats(0.0, 0.2),
    ways=st.lists(
        st.tuples(st.floats(-0.3, 0.3), st.floats(0.02, 0.6), st.booleans()), max_size=5
    ),
)
def test_whatever_a_healthy_arm_is_told_it_is_none(hertz, droop, quantum, late_s, tau_s, ways):
    """An arm with droop, lag and a coarse encoder goes from place to place and dwells there."""
    follows = 1.0 - np.exp(-1.0 / (hertz * tau_s)) if tau_s else 1.0
    servo = Servo(droop, 0.0, quantum, round(late_s * hertz), follows)
    looks = FollowingWatch(STILL_S, ("a",), lambda: np.array([STEP]))
    tick, goal, at = 0, 0.0, np.zeros(1)
    looks.check(at, at, 0, 0, None)
    for to, speed, hold in ((0.0, 1.0, False), *ways):
        count = int(abs(to - goal) / speed * hertz) + 1
        path = [*np.linspace(goal, to, count + 1)[1:], *[to] * (3 * hertz)]
        for number, command in enumerate(path):
            tick += 1
            servo.move(command)
            at, told = np.array([servo.reads]), np.array([command])
            held = hold and 0 < number - count - hertz < 3
            label = round(tick * 1e9 / hertz)
            assert not looks.check(at, at, label, tick, None if held else told, told)
        goal = to


@given(
    hertz=st.sampled_from([10, 30, 50]),
    droop=st.floats(-0.021, 0.021),
    before=st.lists(st.floats(-0.3, 0.3), max_size=3),
    way=st.floats(0.014, 0.3),
    outwards=st.booleans(),
)
def test_whatever_it_has_done_an_arm_that_dies_is_found(hertz, droop, before, way, outwards):
    """The command goes on, and stays."""
    looks = FollowingWatch(STILL_S, ("a",), lambda: np.array([STEP]))
    servo, goal, tick, found, at = Servo(droop), 0.0, 0, {}, np.zeros(1)
    looks.check(at, at, 0, 0, None)
    # Not to where it rests.
    way = np.copysign(way if outwards else way + 2 * abs(droop), droop if outwards else -droop)
    for to, dead in (*((one, False) for one in (0.0, *before)), (goal, True)):
        servo.dead = dead
        to = goal + way if dead else to
        count = int(abs(to - goal) / 0.01) + 1
        for command in (*np.linspace(goal, to, count + 1)[1:], *[to] * (2 * hertz)):
            tick += 1
            servo.move(command)
            at, told = np.array([servo.reads]), np.array([command])
            found = looks.check(at, at, round(tick * 1e9 / hertz), tick, told)
            assert dead or not found
        goal = to
    assert set(found) == {"frozen:joints"}
    assert "gripper.joints" in found["frozen:joints"]
