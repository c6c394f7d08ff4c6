# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A person takes over from the policy and hands back: what is sent, and what is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from control_bench import MAX_STEP, PERIOD, Bench

from sarnn_ros.control.controller import Controller
from sarnn_ros.control.state import Refused, State


class Led(Bench):
    """A bench with a person: `lead` is the command that they give before every tick."""

    def __init__(self, **parameters: Any) -> None:
        self.lead: Any = None
        super().__init__(takeover__command_topic="leader", **parameters)
        self.policy.action = np.array([0.05, 0.0])

    @property
    def teleoperator(self) -> Any:
        return self.control.parts.teleoperator

    def hear(self, position: Any, steady_ns: int, names: Any = ("a", "b")) -> None:
        message = SimpleNamespace(name=list(names), position=list(position))
        self.teleoperator.take(message, steady_ns)

    def run(self, ticks: int = 1) -> Any:
        for _ in range(ticks):
            if self.lead is not None:
                self.hear(self.lead, self.read_steady() + PERIOD)
            super().run()
        return self.ticks[-1]

    def started(self, lead: Any = (0.05, 0.0)) -> Led:
        """Commanding since a tick, and a person holds their leader."""
        self.control.start()
        self.lead = lead
        assert self.run(2).state is State.COMMANDING
        return self


def test_a_persons_commands_are_sent_while_they_lead_and_the_policy_observes() -> None:
    bench = Led(start__blend_time=0.3)
    bench.control.start()
    bench.lead = (0.05, 0.0)
    bench.run(6)
    steps = bench.policy.steps
    bench.control.take_over(True)
    bench.lead = (0.15, 0.1)
    tick = bench.run()
    assert tick.state is State.TAKEN_OVER
    np.testing.assert_allclose(tick.sent.position, [0.15, 0.1])
    assert "to hand back, call ~/takeover" in bench.control.status().text
    bench.run(4)
    assert bench.policy.steps == steps + 5, "it has seen every tick, and was not reset"
    bench.control.take_over(False)
    bench.lead = (0.9, 0.9)
    tick = bench.run()
    assert tick.state is State.BLENDING and tick.reset is None
    share = 1 / 4
    np.testing.assert_allclose(tick.sent.position, [0.15 - 0.1 * share, 0.1 - 0.1 * share])
    assert bench.run(3).state is State.COMMANDING
    np.testing.assert_allclose(bench.sent[-1].position, [0.05, 0.0])
    assert bench.policy.steps == steps + 9
    assert np.abs(np.diff(bench.path, axis=0)).max() <= MAX_STEP


def test_a_persons_commands_go_as_far_as_the_limits_allow() -> None:
    bench = Led(guard__max_velocity=[1.0]).started()
    bench.control.take_over(True)
    bench.lead = (7.0, 0.0)
    for expected in (0.15, 0.25, 0.35):
        tick = bench.run()
        assert tick.state is State.TAKEN_OVER
        np.testing.assert_allclose(tick.sent.position, [expected, 0.0])
    bench.run(20)
    np.testing.assert_allclose(bench.present, [1.0, 0.0])
    assert not bench.control.faults.active, "nor has it latched that they stay at a limit"


@pytest.mark.parametrize(
    ("lead", "words"),
    [
        (None, "no command has come on 'leader'"),
        ((0.4, 0.0), "a is at 0.05, and 'leader' commands 0.4"),
        ("stale", "no command on 'leader' for 0.5 s, at most 0.3 s are allowed"),
        (
            "void",
            "no command has come on 'leader'; the last message is void: joint 'a' is missing",
        ),
        ("two", "2 publishers on 'leader'"),
    ],
)
def test_when_nobody_can_take_over(lead: Any, words: str) -> None:
    bench = Led(start__margin=0.1)
    bench.started(lead if isinstance(lead, tuple) else None)
    if lead == "stale":
        bench.hear((0.0, 0.0), bench.read_steady() - 5 * PERIOD)
    elif lead == "void":
        bench.hear((0.0, 0.0), bench.read_steady(), ("c", "b"))
    elif lead == "two":
        bench.teleoperator.publishers = lambda: 2
    with pytest.raises(Refused, match=words):
        bench.control.take_over(True)
    assert bench.run().state is State.COMMANDING, "the policy goes on"


def test_nobody_takes_over_what_is_not_started_or_without_a_topic() -> None:
    bench = Led()
    with pytest.raises(Refused, match="no run to take over: stopped: call ~/start"):
        bench.control.take_over(True)
    other = Bench()
    other.control.start()
    with pytest.raises(Refused, match=r"takeover\.command_topic is not set"):
        other.control.take_over(True)


def test_without_a_fresh_command_the_robot_holds_and_says_so() -> None:
    bench = Led().started()
    bench.control.take_over(True)
    bench.run(2)
    bench.lead = None
    assert bench.run(2).state is State.TAKEN_OVER, "for as long as takeover.max_age"
    sent, steps = len(bench.sent), bench.policy.steps
    tick = bench.run(20)
    assert (
        tick.state is State.HOLDING and "taken over, but no command" in bench.control.status().text
    )
    assert len(bench.sent) == sent + 1 and not bench.sent[-1].velocity.any(), "the hold alone"
    bench.lead = (0.05, 0.1)
    tick = bench.run()
    assert tick.state is State.TAKEN_OVER and tick.reset is None
    assert bench.policy.steps == steps + 1, "it has waited with the arm, and remembers"


def test_a_takeover_ends_with_the_run() -> None:
    def stop(control: Controller) -> None:
        control.stop()

    def wait(control: Controller) -> None:
        bench.lead = None
        bench.run(60)  # start.wait is 5 s

    for end in (stop, wait, Controller.deactivate):
        bench = Led().started()
        bench.control.take_over(True)
        bench.run()
        end(bench.control)
        assert not bench.control.led
    bench = Led().started()
    bench.control.take_over(True)
    bench.run()
    bench.control.start()
    assert bench.run().state is State.COMMANDING, "a new run is the policy's"


@pytest.mark.parametrize("led", [True, False])
def test_what_is_computed_while_it_changes_hands_is_not_sent(led: bool) -> None:
    bench = Led().started()
    if not led:
        bench.control.take_over(True)
        bench.run()
    sent = len(bench.sent)
    bench.policy.meanwhile = lambda: bench.control.take_over(led)
    assert bench.run().sent is None and len(bench.sent) == sent
    bench.policy.meanwhile = lambda: None
    assert bench.run().state is (State.TAKEN_OVER if led else State.COMMANDING)


def test_held_joints_stay_and_no_ramp_follows_a_takeover() -> None:
    bench = Led(start__ramp_speed=1.0, hold_joints=["b"])
    bench.control.start()
    bench.lead = (0.05, 0.0)
    assert bench.run(2).state is State.COMMANDING
    bench.control.take_over(True)
    for ahead in (0.2, 0.4, 0.5):
        bench.lead = (ahead, 0.3)
        assert bench.run().state is State.TAKEN_OVER
    assert (bench.path[:, 1] == 0.0).all()
    bench.control.take_over(False)
    bench.policy.action = np.array([0.45, 0.0])
    assert bench.run().state is State.COMMANDING, "from where the person left it"


@pytest.mark.parametrize("before", ["the ramp ends", "the first tick"])
def test_a_policy_that_has_yet_to_begin_is_handed_no_arm_that_is_elsewhere(before: str) -> None:
    """The demonstrations began between -0.1 and 0.1."""
    ramps = before == "the ramp ends"
    bench = Led(start__margin=0.1, start__ramp_speed=1.0 if ramps else 0.0).started()
    bench.control.stop()  # in the run before it had
    bench.present = bench.policy.action = np.array([0.6 if ramps else 0.0, 0.0])
    bench.control.start()
    if ramps:
        assert bench.run().state is State.RAMPING
    bench.lead = tuple(bench.present)
    bench.hear(bench.present, bench.read_steady())
    bench.control.take_over(True)
    while abs(bench.present[0] - 0.5) > 1e-9:
        bench.lead = (bench.present[0] + np.clip(0.5 - bench.present[0], -0.1, 0.1), 0.0)
        assert bench.run().state is State.TAKEN_OVER
    words = "the policy has yet to begin, and a is at 0.5, .* lead the arm there"
    with pytest.raises(Refused, match=f"^not handed back: {words}"):
        bench.control.take_over(False)
    assert bench.run().state is State.TAKEN_OVER
    bench.fresh = False
    with pytest.raises(Refused, match=r"^not handed back: no fresh joint"):
        bench.control.take_over(False)
    bench.fresh = True
    while bench.present[0] > 0.2:
        bench.lead = (bench.present[0] - 0.1, 0.0)
        bench.run()
    bench.control.take_over(False)
    bench.policy.action = bench.present + [0.05, 0.0]
    assert bench.run().state is State.COMMANDING


@pytest.mark.parametrize("before", ["a gap", "a warm-up"])
def test_a_policy_that_begins_anew_is_handed_no_arm_that_is_elsewhere(before: str) -> None:
    warm_up = before == "a warm-up"
    bench = Led(start__margin=0.1, start__warm_up_ticks=99 if warm_up else 0)
    bench.control.start()
    bench.lead = (0.0, 0.0)
    bench.run(3)
    bench.control.take_over(True)
    bench.run()
    while bench.present[0] < 0.5:
        bench.lead = (bench.present[0] + 0.1, 0.0)
        assert bench.run().state is State.TAKEN_OVER
    if not warm_up:
        bench.missing = {"front": "nothing"}
        bench.run(15)
        bench.missing = {}
        assert bench.run().state is State.TAKEN_OVER, "a person leads on"
    with pytest.raises(Refused, match=r"^not handed back: the policy has yet to begin"):
        bench.control.take_over(False)


def test_in_a_dry_run_a_person_hands_back_anywhere() -> None:
    bench = Led(start__margin=0.1, dry_run=True)
    bench.present = bench.lead = bench.policy.action = np.array([0.5, 0.0])
    bench.control.start()
    bench.hear(bench.present, bench.read_steady())
    bench.control.take_over(True)
    bench.run()
    bench.control.take_over(False)
    assert bench.run().state is State.COMMANDING


def test_what_would_be_strange_of_a_policy_is_a_persons_right() -> None:
    """To stay far out in the position margin, and to close the gripper again and again."""
    bench = Led(
        guard__position_margin=0.5,
        gripper__joints=["b"],
        gripper__open=[0.0],
        gripper__closed=[0.9],
    ).started()
    bench.control.take_over(True)
    for tick in range(60):  # guard.max_outside is 3 s
        bench.lead = (1.9, 0.9 * (tick % 2))
        assert bench.run().state is State.TAKEN_OVER, bench.control.status().text
    assert bench.present[0] > 1.85


@pytest.mark.parametrize("lost", ["image", "leader"])
def test_after_a_hold_a_leader_that_is_elsewhere_is_not_followed(lost: str) -> None:
    bench = Led(start__margin=0.1, takeover__max_age=0.25).started()
    bench.control.take_over(True)
    bench.run(2)
    if lost == "image":
        bench.missing = {"front": "no image"}
        bench.lead = (0.95, 0.0)
    else:
        bench.lead = None
    bench.run(5)
    assert bench.control.state is State.HOLDING
    sent = len(bench.sent)
    bench.missing, bench.lead = {}, (0.95, 0.0)
    bench.run(3)
    assert len(bench.sent) == sent and bench.control.state is State.HOLDING
    text = bench.control.status().text
    assert "a is at 0.05" in text and "commands 0.95" in text and "bring the leader" in text
    bench.lead = (0.1, 0.0)
    assert bench.run().state is State.TAKEN_OVER
    bench.lead = (0.95, 0.0)  # it may go on ahead of the arm
    bench.run(3)
    assert bench.control.state is State.TAKEN_OVER and len(bench.sent) == sent + 4
    bench.label += PERIOD  # a tick is missed: that is no hold
    assert bench.run().state is State.TAKEN_OVER


def test_a_person_who_opens_the_gripper_again_and_again_is_no_policy_that_wavers() -> None:
    two = {"gripper__joints": ["b"], "gripper__open": [-0.5], "gripper__closed": [0.5]}
    bench = Led(**two)
    bench.control.start()
    bench.policy.action = np.array([0.0, 0.5])
    bench.run(10)
    for _ in range(4):
        bench.lead = np.array([0.0, 0.5])
        bench.hear(bench.lead, bench.read_steady())
        bench.control.take_over(True)
        bench.run(2)
        bench.lead = np.array([0.0, -0.5])
        bench.run(8)
        bench.control.take_over(False)
        assert bench.run(8).state is State.COMMANDING, bench.control.status().text
    for number in range(8):  # but this one does
        bench.policy.action = np.array([0.0, -0.5 if number % 2 else 0.5])
        bench.run()
    assert [fault.code for fault in bench.control.faults.latched] == ["gripper"]


def test_while_a_leader_is_silent_the_policy_waits_with_the_arm() -> None:
    bench = Led(watch__still_time=0.0).started()
    bench.policy.meanwhile = lambda: setattr(
        bench.policy, "action", np.array([min(0.02 * bench.policy.steps, 0.95), 0.0])
    )
    bench.run()
    bench.lead = bench.present.copy()
    bench.control.take_over(True)
    bench.run(2)
    bench.lead = None
    tick = bench.run(2)
    assert tick.state is State.TAKEN_OVER, "for as long as takeover.max_age"
    steps, led = bench.policy.steps, tick.prediction.action
    assert bench.run(40).state is State.HOLDING
    assert bench.policy.steps == steps
    bench.control.take_over(False)
    tick = bench.run()
    assert tick.state is State.COMMANDING
    np.testing.assert_allclose(tick.prediction.action, led + [0.02, 0.0])
