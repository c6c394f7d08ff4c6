# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Set-points between two commands: when they are due, and what keeps them from being sent."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarnn_ros.control.interpolator import SetpointInterpolator
from sarnn_ros.control.limits import JointLimiter, JointLimits
from sarnn_ros.control.outlet import Basis, Clocks, Command, CommandOutlet, Interruption

MS = 1_000_000
PERIOD = 100 * MS
INTERVAL = 10 * MS


class Bench:
    """An interpolator whose clock and arm are set by hand."""

    def __init__(self, interval=INTERVAL, kind="linear", max_velocity=np.inf, max_step=0.2):
        self.now = 7 * PERIOD
        self.present = np.array([0.0, 1.0])
        self.fresh = True
        self.doubt = ""
        self.sent: list[tuple[int, Command]] = []
        limits = JointLimits(
            position_min=np.array([-1.0, -1.0]),
            position_max=np.array([2.0, 2.0]),
            max_step=np.full(2, max_step),
            max_velocity=np.full(2, max_velocity),
            max_acceleration=np.full(2, 1.0),  # would refuse all that is streamed
            clamp=frozenset({"step", "position"}),
        )
        self.limiter = JointLimiter(limits, ("a", "b"))
        outlet = CommandOutlet(
            lambda command: (lambda: self.sent.append((self.now, command)), lambda: None),
            self.limiter,
            Clocks(lambda: self.now, lambda: self.now),
            present=lambda now: self.present if self.fresh else None,
            doubt=lambda: self.doubt,
            fresh_ns=2 * PERIOD,
        )
        self.interpolator = SetpointInterpolator(PERIOD, interval, kind, outlet)

    def go(self, *position):
        last = self.sent[-1][1].position if self.sent else self.present
        wanted = np.array(position)
        command = Command(wanted, (wanted - last) / 0.1, wanted)
        since = Clocks(lambda: self.now, lambda: self.now).read()
        basis = Basis(since, PERIOD, (self.now, self.present))
        send = self.interpolator.ready(command, basis, self.present)
        if isinstance(send, Interruption):
            return send
        return send()

    def run(self, intervals, follow=True):
        for _ in range(intervals):
            self.now += INTERVAL
            self.interpolator.tick()
            if follow and self.sent:
                self.present = self.sent[-1][1].position

    @property
    def path(self):
        return np.array([command.position for _, command in self.sent])


def test_stopped_while_a_command_is_checked():
    """The process may be stopped after the clock was read, and go on with what was fresh then."""
    bench = Bench(interval=0)
    check = bench.limiter.check_step

    def stopped(*given):
        bench.now += 3 * PERIOD
        return check(*given)

    bench.limiter.check_step = stopped
    refused = bench.go(0.1, 1.0)
    assert refused.code == "late" and not bench.sent


def test_without_a_rate_each_command_goes_out_as_it_is():
    bench = Bench(interval=0)
    assert bench.interpolator.ticker is None and Bench().interpolator.ticker is not None
    bench.go(0.1, 1.0)
    bench.interpolator.tick()
    assert len(bench.sent) == 1
    assert bench.sent[0][1].position.tolist() == [0.1, 1.0]
    assert bench.sent[0][1].velocity.tolist() == [1.0, 0.0]


def test_a_segment_takes_one_period_and_no_longer():
    bench = Bench()
    bench.go(0.1, 0.9)
    bench.run(30)
    # The last one is sent one period after the command, to be reached one interval later.
    assert bench.path[:, 0] == pytest.approx(np.arange(1, 11) / 100)
    assert bench.path[:, 1] == pytest.approx(1.0 - np.arange(1, 11) / 100)
    assert [at for at, _ in bench.sent] == [7 * PERIOD + k * INTERVAL for k in range(1, 11)]
    assert bench.path[-1].tolist() == [0.1, 0.9]


def test_limits_that_come_later_count_in_a_segment_under_way_too():
    """As those of a robot description do."""
    bench = Bench()
    high = np.array([0.04, 2.0])
    bench.limiter.limits = dataclasses.replace(bench.limiter.limits, position_max=high)
    bench.go(0.1, 1.0)
    bench.run(30)
    assert bench.path[:, 0].max() <= 0.04 + 1e-9


def test_a_command_beyond_what_was_trained_was_slowed_down_already():
    """Its set-points are not, once more."""
    bench = Bench()
    bench.limiter.limits = dataclasses.replace(
        bench.limiter.limits,
        position_max=np.array([0.12, 2.0]),
        trained_min=np.full(2, -1.0),
        trained_max=np.array([0.0, 2.0]),
    )
    bench.go(0.1, 1.0)
    bench.run(30)
    assert bench.path[:, 0] == pytest.approx(np.arange(1, 11) / 100)


@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_segments_that_meet_make_one_motion(kind):
    bench = Bench(kind=kind)
    for tick in range(1, 6):
        bench.go(0.05 * tick, 1.0)
        bench.run(10)
    steps = np.diff(bench.path[:, 0])
    assert len(steps) == 49 and (steps > 0).all(), "it never stands between two ticks"
    if kind == "linear":
        assert steps == pytest.approx(0.005)
    else:
        assert steps[10:] == pytest.approx(0.005), "at a steady speed the cubic is straight"
        assert steps[0] < 0.003, "and it starts gently"


def test_it_goes_on_smoothly_when_commands_come_at_any_time_between_the_set_points():
    bench = Bench()
    for tick in range(1, 6):
        bench.now += 3 * MS  # what the network took
        bench.go(0.05 * tick, 1.0)
        bench.now -= 3 * MS
        bench.run(10)
    assert np.diff(bench.path[:, 0]) == pytest.approx(0.005)


def test_a_new_command_changes_the_motion_where_it_is():
    bench = Bench()
    bench.go(0.1, 1.0)
    bench.run(4)
    bench.go(-0.05, 1.0)
    bench.run(1)
    turn = bench.path[-2, 0]
    assert bench.path[-1, 0] == pytest.approx(turn - (turn + 0.05) / 10)
    bench.run(12)
    assert bench.path[-1].tolist() == [-0.05, 1.0]


@pytest.mark.parametrize(("pause", "gentle"), [(2, False), (3, True), (10, True)])
def test_a_motion_goes_on_at_its_speed_only_right_after_a_set_point(pause, gentle):
    """After three intervals without one the arm has come to rest."""
    bench = Bench(kind="cubic")
    bench.go(0.05, 1.0)
    bench.run(10)
    assert bench.path[-1, 0] == 0.05
    bench.now += (pause - 1) * INTERVAL
    bench.run(1)  # nothing is due
    assert len(bench.sent) == 10
    bench.go(0.1, 1.0)
    bench.run(1)
    step = bench.path[-1, 0] - 0.05
    assert (step < 0.002) == gentle, step


@pytest.mark.parametrize(("ahead_ns", "sent"), [(0, True), (1, False), (-2 * PERIOD - 1, False)])
def test_a_measurement_from_the_future_or_too_old_is_none(ahead_ns, sent):
    """Where there is no newer one than that of the observation."""
    bench = Bench(interval=0)
    bench.fresh = False
    outlet = bench.interpolator._outlet
    command = Command.standing(np.array([0.1, 1.0]))
    measured = (bench.now + ahead_ns, bench.present)
    found = outlet.send(command, Basis(outlet.clocks.read(), PERIOD, measured))
    assert len(bench.sent) == sent and (found is None) == sent
    assert sent or found.code == "no_fresh_joints"


def test_nothing_comes_after_the_end_and_the_next_segment_begins_at_the_arm():
    bench = Bench()
    bench.go(0.1, 1.0)
    bench.run(4)
    count = len(bench.sent)
    sent = bench.interpolator.end()
    np.testing.assert_array_equal(sent.command.position, bench.path[-1])
    bench.run(20)
    assert len(bench.sent) == count
    assert bench.interpolator.end() is None
    bench.present = np.array([0.0, 1.2])
    bench.go(0.0, 1.3)
    bench.run(1, follow=False)
    assert bench.path[-1].tolist() == pytest.approx([0.0, 1.21])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda b: setattr(b, "fresh", False), "no_fresh_joints"),
        (lambda b: setattr(b, "doubt", "two publishers"), "sensors_in_doubt"),
        (lambda b: setattr(b, "present", np.array([0.3, 1.0])), "step"),
        (lambda b: setattr(b, "present", np.array([0.0, 9.0])), "present"),
        (lambda b: setattr(b, "present", np.array([np.nan, 1.0])), "present"),
        (lambda b: setattr(b, "now", b.now + 10 * PERIOD), "clock"),
        (lambda b: setattr(b, "now", b.now - 10 * PERIOD), "clock"),
    ],
)
def test_a_segment_that_cannot_be_finished_safely_is_ended_for_good(spoil, reason):
    bench = Bench()
    bench.go(0.1, 1.0)
    bench.run(3)
    count = len(bench.sent)
    good = bench.present
    spoil(bench)
    bench.run(1, follow=False)
    assert len(bench.sent) == count
    assert bench.interpolator.interruptions == {reason: 1}
    bench.fresh, bench.doubt, bench.present = True, "", good
    bench.run(20)
    assert len(bench.sent) == count, "only a new command begins a new segment"
    found = bench.interpolator.interruption()
    assert found.refused == (reason in ("step", "present")) and found.text
    assert bench.interpolator.interruption() is None, "it is told once"


def test_the_segment_after_an_interrupted_one_begins_at_the_arm():
    """At the set-point sent last it would be refused as long as the arm is away from there."""
    bench = Bench()
    bench.go(0.1, 1.0)
    bench.run(3)
    bench.present = np.array([0.48, 1.0])  # pushed
    bench.run(1, follow=False)
    assert bench.interpolator.interruptions == {"step": 1}
    count = len(bench.sent)
    bench.go(0.5, 1.0)
    bench.run(10)
    assert bench.path[count:, 0] == pytest.approx(np.linspace(0.482, 0.5, 10))
    assert bench.interpolator.interruptions == {"step": 1}


def test_an_interrupted_segment_has_nothing_to_hold_and_its_end_nothing_to_tell():
    bench = Bench()
    bench.go(0.1, 1.0)
    bench.run(3)
    bench.present = np.array([0.48, 1.0])
    bench.run(1, follow=False)
    assert bench.interpolator.end() is None
    assert bench.interpolator.interruption() is None


def test_a_prediction_that_is_not_finite_never_leaves():
    bench = Bench()
    bench.go(np.nan, 1.0)
    bench.run(12)
    assert not bench.sent


def test_a_velocity_limit_makes_the_segment_longer_not_shorter():
    bench = Bench(max_velocity=0.8)
    bench.go(0.1, 1.0)
    bench.run(30)
    assert np.abs(np.diff(bench.path[:, 0])).max() <= 0.8 * 0.01 + 1e-9
    assert bench.path[-1].tolist() == [0.1, 1.0]
    assert not bench.interpolator.interruptions


@given(
    st.lists(st.tuples(st.floats(-0.5, 0.5), st.integers(1, 25)), min_size=1, max_size=8),
    st.sampled_from(["linear", "cubic"]),
    st.floats(0.0, 1.0),
)
def test_whatever_is_commanded_every_set_point_is_near_the_arm(commands, kind, gain):
    """Also for one that hardly follows."""
    bench = Bench(kind=kind, max_velocity=3.0)
    for position, intervals in commands:
        bench.go(position, 1.0)
        for _ in range(intervals):
            before = len(bench.sent)
            bench.run(1, follow=False)
            for _, command in bench.sent[before:]:
                assert np.isfinite(command.position).all()
                assert (np.abs(command.position - bench.present) <= 0.2 + 1e-8).all()
                bench.present = bench.present + gain * (command.position - bench.present)
