# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Random events on the real controller: whatever comes in which order, what leaves is safe.

Time jumps between any two readings of the clock, as in a process that is stopped and goes on; the
arm is moved meanwhile.
"""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from control_bench import MAX_STEP, PERIOD, Bench
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sarnn_ros.control.faults import Faults
from sarnn_ros.control.outlet import Command
from sarnn_ros.control.state import ACTIVE, LATCHED, MAY_COMMAND, Refused, State

STALL = 10 * PERIOD


class Watched(Bench):
    """Asserts of every command what must hold of it. The clock can jump at any reading."""

    def __init__(self, **parameters: Any) -> None:
        self.wanted = False  # by the user
        self.readings = 0  # until the clock jumps
        self.jump: tuple[int, int] = (0, 0)  # of the ROS clock and of the steady one, ns
        self.push = 0.0
        self.began_steady = 0
        super().__init__(active=False, **parameters)
        self.reported = self.present  # as the node was told last
        present = self.control.parts.outlet.present

        def look(now: int) -> Any:
            found = present(now)
            self.reported = self.reported if found is None else found
            return found

        self.control.parts.outlet.present = look

    def observe(self, label: int) -> Any:
        if not self.missing:
            self.reported = self.present
        return super().observe(label)

    def _reading(self) -> None:
        if self.readings:
            self.readings -= 1
            if not self.readings:
                self.freeze()

    def freeze(self) -> None:
        ros, steady = self.jump
        self.now += ros
        self.steady += steady - ros
        self.present = np.clip(self.present + [self.push, 0.0], -1.2, 1.2)

    def read_now(self) -> int:
        self._reading()
        return self.now

    def read_steady(self) -> int:
        self._reading()
        steady = self.now + self.steady
        self.began_steady = self.began_steady or steady
        return steady

    def run(self, ticks: int = 1) -> Any:
        for _ in range(ticks):
            self.label = max(self.label + PERIOD, self.now // PERIOD * PERIOD)
            self.now = max(self.label, self.now)
            self.began_steady = 0  # the tick's first look at the clock
            self.tick(self.label, self.label)
        return self.ticks[-1]

    def send(self, command: Command) -> None:
        assert not self.settings.dry_run
        for point in (command.position, command.rest):
            assert np.isfinite(point).all()
            assert (np.abs(point) <= 1.0 + 1e-9).all()
        hold = not command.velocity.any() and self.sent and np.array_equal(
            command.position, self.sent[-1].position
        )  # fmt: skip
        assert (self.control.state in MAY_COMMAND and self.wanted) or hold, self.control.state
        for point in (command.position, command.rest):
            step = np.abs(point - self.reported).max()
            assert step <= MAX_STEP + 1e-8, "not where the robot is"
        if not hold and self.interpolator.ticker is None:
            assert self.now + self.steady <= self.began_steady + PERIOD, "stale"
        super().send(command)


class Operation(RuleBasedStateMachine):
    """See the module."""

    interval = 0

    def __init__(self) -> None:
        super().__init__()
        self.latched = False
        self.reset_now = False

    @initialize(
        ramp=st.sampled_from([0.0, 0.5]),
        warm_up=st.integers(0, 2),
        blend=st.sampled_from([0, 0.2]),
    )
    def begin(self, ramp, warm_up, blend):
        self.bench = Watched(
            interval=self.interval,
            start__ramp_speed=ramp,
            start__warm_up_ticks=warm_up,
            start__blend_time=blend,
            guard__latch_after=3,
            takeover__command_topic="leader",
        )
        self.bench.present = np.array([0.4, 0.0])

    @rule(start=st.booleans())
    @precondition(lambda self: self.bench.control.state not in ACTIVE)
    def activate(self, start):
        self.bench.wanted = start and self.bench.control.state is State.INACTIVE
        self.bench.control.activate(start=start)

    @rule()
    @precondition(lambda self: self.bench.control.state in ACTIVE)
    def deactivate(self):
        sent = len(self.bench.sent)
        self.bench.control.deactivate()
        assert len(self.bench.sent) <= sent + 1, "at most the hold"

    @rule(ticks=st.integers(0, 12), aim=st.floats(-1.0, 1.0))
    def put_right_and_start(self, ticks, aim):
        """Random faults alone would hardly ever let it command."""
        bench = self.bench
        self.no_fault()
        self.sensors(False, True)
        bench.follows, bench.readings = True, 0
        bench.present = np.clip(bench.present, -0.9, 0.9)
        if bench.control.state not in ACTIVE:
            self.activate(False)
        self.call("reset")
        self.call("start")
        self.tick(ticks, (aim, 0.0), True)

    @rule(call=st.sampled_from(["start", "stop", "reset"]))
    @precondition(lambda self: self.bench.control.state in ACTIVE)
    def serve(self, call):
        self.call(call)

    def call(self, name):
        control = self.bench.control
        latched, sent = control.state in LATCHED, len(self.bench.sent)
        if name == "stop" or (name == "reset" and latched):
            self.bench.wanted = False
        elif name == "start" and not latched:
            self.bench.wanted = True
        try:
            getattr(control, name)()
        except Refused:
            assert latched and name == "start"
        assert len(self.bench.sent) <= sent + (name == "stop")
        self.reset_now |= name == "reset"

    @rule(
        ticks=st.integers(1, 6),
        action=st.tuples(st.floats(-1.1, 1.1), st.floats(-0.1, 0.1)),
        near=st.booleans(),
    )
    @precondition(lambda self: self.bench.control.state in ACTIVE)
    def tick(self, ticks, action, near):
        bench = self.bench
        for _ in range(ticks):
            bench.policy.action = np.array(action)
            if near:
                bench.policy.action = np.clip(bench.present + 0.1 * np.array(action), -1, 1)
            bench.run()
            for _ in range(9 if self.interval else 0):
                bench.now += self.interval
                bench.interpolator.tick()

    @rule(
        position=st.tuples(st.floats(-9.0, 9.0), st.floats(-0.1, 0.1)), age=st.sampled_from([0, 9])
    )
    def person_commands(self, position, age):
        teleoperator = self.bench.control.parts.teleoperator
        message = SimpleNamespace(name=["a", "b"], position=position)
        teleoperator.take(message, self.bench.read_steady() - age * PERIOD)

    @rule(led=st.booleans())
    @precondition(lambda self: self.bench.control.state in ACTIVE)
    def take_over(self, led):
        with suppress(Refused):
            self.bench.control.take_over(led)

    @rule(call=st.sampled_from(["start", "stop", "reset"]))
    @precondition(lambda self: self.bench.control.state in ACTIVE)
    def serve_while_it_computes(self, call):
        self.put_right_and_start(3, 0.5)
        self.bench.policy.meanwhile = lambda: self.call(call)
        assert self.bench.run().sent is None, "what it computes is of before"
        self.bench.policy.meanwhile = lambda: None

    @rule(
        after=st.integers(1, 25),
        ros=st.sampled_from([0, PERIOD // 2, 2 * PERIOD, 30 * PERIOD, -30 * PERIOD]),
        steady=st.sampled_from([0, PERIOD // 2, 2 * PERIOD, 30 * PERIOD]),
        push=st.floats(-0.8, 0.8),
    )
    def freeze_at_a_reading(self, after, ros, steady, push):
        self.put_right_and_start(5, 0.5)
        self.bench.readings, self.bench.jump, self.bench.push = after, (ros, steady), push
        self.tick(3, (0.5, 0.0), True)

    @rule(hard=st.booleans())
    def fault(self, hard):
        self.bench.found = Faults(**{"hard" if hard else "soft": {"image_changed": "changed"}})

    @rule()
    def no_fault(self):
        self.bench.found = Faults()

    @rule(missing=st.booleans(), fresh=st.booleans())
    def sensors(self, missing, fresh):
        self.bench.missing = {"front": "no image"} if missing else {}
        self.bench.fresh = fresh

    @rule(action=st.sampled_from([np.nan, np.inf]))
    @precondition(lambda self: self.bench.control.state in ACTIVE)
    def overflow(self, action):
        self.bench.policy.action = np.array([0.0, action])
        self.bench.run()

    @rule(push=st.floats(-0.5, 0.5), follows=st.booleans())
    def push(self, push, follows):
        self.bench.follows = follows
        self.bench.present = np.clip(self.bench.present + [push, 0.0], -1.2, 1.2)

    @rule()
    def home(self):
        self.bench.present, self.bench.follows = np.zeros(2), True

    @rule(dry_run=st.booleans())
    def parameters(self, dry_run):
        if dry_run != self.bench.settings.dry_run:
            if self.bench.control.started:  # as the node does
                self.bench.control.stop()
            self.bench.settings = self.bench.settings.model_copy(update={"dry_run": dry_run})

    @rule(steady=st.sampled_from([PERIOD, STALL - 1, STALL + PERIOD]))
    def nothing_happens(self, steady):
        bench = self.bench
        bench.now += steady
        bench.control.look_for_stall()
        if steady > STALL:
            assert not bench.control.started, "it latches from another thread"

    @invariant()
    def a_latched_fault_leaves_only_by_reset(self):
        if not hasattr(self, "bench"):
            return
        control = self.bench.control
        latched = control.state in LATCHED
        assert not self.latched or latched or self.reset_now
        assert bool(control.faults.latched) == latched
        self.latched, self.reset_now = latched, False
        assert control.status().text
        if control.state is State.HOLDING:
            assert control.status().reason


class Interpolated(Operation):
    """With set-points between the ticks."""

    interval = PERIOD // 10


@pytest.mark.parametrize("machine", [Operation, Interpolated])
def test_whatever_happens(machine):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
