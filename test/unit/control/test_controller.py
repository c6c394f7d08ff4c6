# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The control loop, tick by tick, with a policy, an arm and a clock that are set by hand: what is
sent, what is held, and what a fault stops."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from unittest.mock import Mock

import bag_making as make
import numpy as np
import pytest
from control_bench import MAX_STEP, PERIOD, Bench

from sarnn_ros.control.controller import Controller
from sarnn_ros.control.faults import Faults
from sarnn_ros.control.limits import JointLimiter, JointLimits
from sarnn_ros.control.motion import Motion
from sarnn_ros.control.outlet import Clocks, Command, Instant
from sarnn_ros.control.parts import Parts, Ports
from sarnn_ros.control.state import Refused, State
from sarnn_ros.control.tick import Tick
from sarnn_ros.errors import ConfigError, PolicyError
from sarnn_ros.spec import parse_spec

#: Ticks with the images of a camera, which may be older than a period.
IMAGES = parse_spec(
    {
        "tick": "image",
        "cameras": [{"name": "front", "max_age": 0.2}],
        "joints": [{"names": ["a", "b"], "max_age": 0.3}],
    }
)


def test_the_point_of_rest_obeys_position_and_step_limits():
    bench = Bench()
    bench.control.start()
    bench.policy.action = np.array([0.14, 0.0])
    # At 0.14 per tick it would come to rest 0.07 further on, 0.21 from the present position.
    command = bench.run().sent
    assert command.velocity[0] == pytest.approx(1.4)
    assert command.rest.tolist() == pytest.approx([0.9 * MAX_STEP, 0.0]), "off the limit"

    bench.present = np.array([0.85, -0.85])
    bench.control.start()
    bench.policy.action = np.array([0.97, -0.97])
    assert bench.run().sent.rest.tolist() == pytest.approx([1.0, -1.0])


def test_the_point_of_rest_is_half_a_period_further_on():
    bench = Bench()
    bench.control.start()
    bench.policy.action = np.array([0.1, -0.1])
    assert bench.run().sent.rest.tolist() == pytest.approx([0.15, -0.15])
    bench.policy.action = np.array([0.12, -0.1])
    assert bench.run().sent.rest.tolist() == pytest.approx([0.13, -0.1])


def test_a_fault_holds_the_last_set_point_once_at_rest_and_all_goes_on_after_it():
    bench = Bench()
    bench.control.start()
    bench.policy.action = np.array([0.1, 0.0])
    bench.run(3)
    bench.found = Faults(soft={"no_controller": "nobody"})
    bench.run(5)
    assert len(bench.sent) == 4
    hold = bench.sent[-1]
    assert hold.position.tolist() == hold.rest.tolist() == [0.1, 0.0]
    assert not hold.velocity.any()
    bench.found = Faults()
    assert bench.run().sent is not None


def test_what_goes_wrong_outside_while_the_policy_computes_counts_at_once():
    bench = Bench()
    bench.control.start()
    bench.run(3)
    rival = Faults(soft={"publishers:joint_states": "2 publishers"})
    bench.policy.meanwhile = lambda: setattr(bench, "found", rival)
    tick = bench.run()
    assert tick.sent is None and tick.state is State.HOLDING
    assert [fault.code for fault in tick.changes.appeared] == ["publishers:joint_states"]
    assert len(bench.sent) == 4 and bench.path[3].tolist() == bench.path[2].tolist(), "the hold"


@pytest.mark.parametrize("ending", ["stop", "fault", "start", "reset"])
def test_the_hold_is_the_last_set_point_of_the_segment_that_it_ends(ending):
    bench = Bench(interval=PERIOD // 10)
    bench.control.start()
    bench.policy.action = np.array([0.1, 0.0])
    bench.run()

    def send(set_points):
        for _ in range(set_points):
            bench.now += PERIOD // 10
            bench.interpolator.tick()

    send(4)
    assert bench.path[:, 0] == pytest.approx([0.01, 0.02, 0.03, 0.04])
    if ending == "fault":
        bench.found = Faults(soft={"no_controller": "nobody"})
        bench.run()
    else:
        getattr(bench.control, ending)()
    send(20)
    held = [0.04] * (ending in ("stop", "fault"))
    assert bench.path[4:, 0] == pytest.approx(held), "start and reset begin anew, without a hold"


class Following(Bench):
    """With set-points between the ticks, a velocity limit, and a policy that goes along with the
    arm: it predicts the measured joints, one of them a little further."""

    def __init__(self, **parameters) -> None:
        super().__init__(interval=PERIOD // 10, **parameters)
        limiter = self.control.parts.limiter
        limiter.limits = replace(limiter.limits, max_velocity=np.full(2, 2.0))

        def stay() -> None:
            self.policy.action = self.present + [0.02, 0.0]

        self.policy.meanwhile = stay

    def run(self, ticks: int = 1, meanwhile=lambda: None) -> Tick:
        """:param meanwhile: happens after the third set-point of each segment."""
        for _ in range(ticks):
            super().run()
            for number in range(9):
                if number == 3:
                    meanwhile()
                self.now += PERIOD // 10
                self.interpolator.tick()
        return self.ticks[-1]

    def push(self, distance: float) -> None:
        """And held there."""
        self.follows = False
        self.present = self.present + [distance, 0.0]


def test_a_pushed_arm_holds_for_a_tick_and_goes_on_from_where_it_is():
    bench = Following()
    bench.control.start()
    bench.run(3)
    bench.run(meanwhile=lambda: bench.push(0.45))
    sent = len(bench.sent)
    tick = bench.run()
    assert tick.sent is None and tick.interrupted
    (fault,) = tick.changes.appeared
    assert (
        fault.code == "guard"
        and "set-point refused: a: the step from the measured position" in fault.text
    )
    assert len(bench.sent) == sent, "nor a hold at the place that it was pushed away from"
    tick = bench.run()
    assert [fault.code for fault in tick.changes.resolved] == ["guard"]
    assert tick.sent.velocity == pytest.approx([0.2, 0.0]), "from the arm, not from what was sent"
    bench.run(30)
    assert len(bench.sent) > sent + 200
    steps = np.abs(bench.path[sent:] - bench.present).max(axis=0)
    assert (steps < 0.03).all(), "all of them where the arm is"
    assert not bench.control.faults.active


def test_segments_that_are_refused_again_and_again_latch():
    bench = Following(guard__latch_after=3)
    bench.control.start()
    bench.run(3)
    distance = iter(np.resize([0.45, -0.45], 99))
    sent = len(bench.sent)
    ticks = []
    while not bench.control.faults.latched:
        ticks.append(bench.run(meanwhile=lambda: bench.push(next(distance))))
        assert len(ticks) < 20
    assert [tick.interrupted for tick in ticks] == [False, True] * 3
    (fault,) = bench.control.faults.latched
    assert fault.code == "guard" and fault.text.startswith(
        "refused 3 times in 9 ticks, the last: set-point"
    )
    assert len(bench.sent) == sent + 9, "three of each"
    bench.run(20)
    assert len(bench.sent) == sent + 9


def test_segments_that_are_refused_now_and_then_do_not_latch():
    bench = Following(guard__latch_after=2, guard__latch_window=4)
    bench.control.start()
    for distance in (0.45, -0.45, 0.45):
        bench.run(3)
        bench.run(meanwhile=lambda distance=distance: bench.push(distance))
        bench.run()
        bench.follows = True
    assert not bench.control.faults.latched


def test_a_segment_without_fresh_joints_is_interrupted_and_never_latches():
    bench = Following()
    bench.control.start()

    def blink() -> None:
        bench.fresh = False

    for _ in range(10):
        bench.run(meanwhile=blink)
        bench.fresh = True
        tick = bench.run()
        (fault,) = tick.changes.appeared
        assert fault.code == "interpolation" and fault.text.endswith("no fresh joint state")
    assert not bench.control.faults.latched


@pytest.mark.parametrize("pause", [1, 15])  # short of the gap that makes it blend anew, and beyond
@pytest.mark.parametrize(("interval", "blend"), [(0, 0.5), (PERIOD // 10, 0.0)])
def test_a_hold_does_not_make_a_two_valued_gripper_drop_what_it_holds(interval, blend, pause):
    """Its fingers, open at 0.04 and closed at 0, are blocked at 0.03: by their measured position
    it would count as open."""
    gripper = {"gripper__joints": ["b"], "gripper__open": [0.04], "gripper__closed": [0.0]}
    bench = Bench(interval=interval, start__blend_time=blend, **gripper)
    decided = []

    def send(command: Command) -> None:
        decided.append(command.position[1])
        bench.present = np.array([command.position[0], 0.03])

    bench.send = send

    def run(ticks: int) -> None:
        for _ in range(ticks):
            bench.run()
            for _ in range(9 if interval else 0):
                bench.now += interval
                bench.interpolator.tick()

    bench.policy.action = np.array([0.02, 0.0])
    bench.control.start()
    run(8)
    bench.found = Faults(soft={"no_controller": "nobody"})
    run(pause)
    bench.found = Faults()
    count = len(decided)
    bench.policy.action = np.array([0.04, 0.001])
    run(8)
    assert len(decided) >= count + 8 and set(decided) == {0.0}
    bench.policy.action = np.array([0.04, 0.04])
    run(1)
    assert decided[-1] == 0.04, "and it opens when it is told to"


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("why", ["refused", "late", "fault", "nothing"])
def test_a_policy_does_not_run_ahead_of_an_arm_that_waits(why, dry_run):
    bench = Bench(dry_run=dry_run)
    bench.control.start()
    bench.run(3)
    assert bench.policy.steps == 3
    if why == "refused":
        bench.policy.action = np.array([0.9, 0.0])
    elif why == "late":
        bench.policy.meanwhile = lambda: setattr(bench, "now", bench.now + 2 * PERIOD)
    elif why == "fault":
        bench.found.soft["publishers"] = "two"
    bench.run()
    goes_on = why in ("nothing", "late") or dry_run  # late: see the next test
    assert bench.policy.steps == 3 + goes_on
    bench.policy.action, bench.policy.meanwhile = np.array([0.1, 0.0]), lambda: None
    bench.found.soft.clear()
    bench.run()
    assert bench.policy.steps == 4 + goes_on


@pytest.mark.parametrize("slow", [1, 20])
def test_a_step_that_is_slow_is_not_repeated_for_ever(slow):
    """The first of an episode runs the network twice, and fits where things are."""
    bench = Bench()
    bench.policy.meanwhile = lambda: setattr(
        bench, "now", bench.now + round((1.2 if bench.policy.steps == slow else 0.1) * PERIOD)
    )
    bench.control.start()
    bench.run(40)
    assert bench.ticks[-1].state is State.COMMANDING
    assert sum(tick.sent is None for tick in bench.ticks) == 1


def test_a_single_wild_prediction_does_not_latch():
    bench = Bench()
    bench.policy.meanwhile = lambda: setattr(
        bench.policy, "action", np.array([0.9 if bench.policy.steps == 10 else 0.05, 0.0])
    )
    bench.control.start()
    bench.run(40)
    assert bench.ticks[-1].state is State.COMMANDING
    assert len(bench.sent) >= 35


def test_a_policy_does_not_run_ahead_of_set_points_that_do_not_leave():
    bench = Bench(interval=PERIOD // 10)
    bench.control.start()
    bench.fresh = False
    for _ in range(20):
        bench.run()
        bench.interpolator.tick()
    assert not bench.sent and bench.policy.steps <= 2


def test_a_refused_command_does_not_move_a_two_valued_gripper():
    """It is closed, and the last prediction is between the thresholds; the next one, which would
    open it, comes too late. The hold keeps it closed."""
    gripper = {"gripper__joints": ["b"], "gripper__open": [0.0], "gripper__closed": [0.9]}
    bench = Bench(**gripper)
    bench.control.start()
    for predicted in (0.9, 0.45):
        bench.policy.action = np.array([0.1, predicted])
        bench.run()
    assert set(bench.path[:, 1]) == {0.9}
    bench.policy.action = np.array([0.1, 0.0])
    bench.policy.meanwhile = lambda: setattr(bench, "now", bench.now + 2 * PERIOD)
    tick = bench.run()
    assert [fault.code for fault in tick.changes.appeared] == ["late"]
    assert not bench.sent[-1].velocity.any() and bench.sent[-1].position[1] == 0.9, "the hold"


@pytest.mark.parametrize("two_valued", [True, False])
def test_a_gripper_of_mock_hardware_is_at_once_where_it_is_sent(two_valued):
    gripper = {"gripper__joints": ["b"]}
    if two_valued:
        gripper |= {"gripper__open": [0.0], "gripper__closed": [1.0]}
    bench = Bench(start__margin=1.0, **gripper)
    observe = bench.observe
    bench.control.parts.buffer.observe = lambda label: replace(
        observe(label), jumps=np.array([0.0, 1.0])
    )
    bench.control.start()
    bench.run(3)
    assert bool(bench.control.faults.latched) is not two_valued


@pytest.mark.parametrize("margin", [1.5, 10.0])
def test_how_far_commands_may_lead_an_arm_does_not_say_what_it_can_do(margin):
    jumps = []
    for largest in (4.0, 5.0):
        bench = Bench(start__margin=1.0, guard__step_margin=margin)
        observe, step = bench.observe, bench.policy.config.envelope.max_step[0]
        bench.control.parts.buffer.observe = lambda label, observe=observe, far=largest * step: (
            replace(observe(label), jumps=np.array([far, 0.0]))
        )
        bench.control.start()
        bench.run(3)
        jumps.append([fault.code for fault in bench.control.faults.latched])
    assert jumps == [[], ["jump"]]


@pytest.mark.parametrize(("age", "slow", "held"), [(0.05, 0.1, 1), (0.09, 0.1, 0), (0.09, 0.5, 1)])
def test_a_hold_counts_the_age_of_the_measurement_not_of_the_tick(age, slow, held):
    """:param slow: the largest age of the second joint's messages, s; of the first's 0.1."""
    joints = [{"names": ["a"], "max_age": 0.1}, {"names": ["b"], "topic": "b", "max_age": slow}]
    bench = Bench(spec=parse_spec({"cameras": [{"name": "front"}], "joints": joints}))
    bench.control.start()
    bench.age = round(age * 1e9)
    bench.policy.action = np.array([0.1, 0.0])
    bench.run(3)
    bench.missing, bench.fresh = {"joint_states": "nothing"}, False
    bench.label += PERIOD // 5  # a late tick, 0.12 s after the last
    bench.run()
    assert len(bench.sent) == 3 + held, "no older than a period and the largest age"


@pytest.mark.parametrize(
    ("why", "words"), [("far", "the step"), ("old", "no fresh joint state"), ("dry run", "")]
)
def test_no_hold_without_a_fresh_measurement_near_it_and_the_log_says_so(why, words):
    bench = Bench()
    bench.control.start()
    bench.follows = False
    bench.policy.action = np.array([0.1, 0.0])
    bench.run(3)
    if why == "far":
        bench.present = np.array([-0.15, 0.0])
        bench.found = Faults(soft={"no_controller": "nobody"})
        bench.run()
    elif why == "old":
        bench.now += 4 * PERIOD
        bench.fresh = False
        bench.control.stop()
    else:
        bench.settings = bench.settings.model_copy(update={"dry_run": True})
        bench.run()
    assert len(bench.sent) == 3
    texts = [text for _, text in bench.said if "no hold was sent" in text]
    assert len(texts) == bool(words) and all(words in text for text in texts)


def test_no_hold_after_an_interruption_that_no_tick_has_told_and_the_log_says_so():
    bench = Following()
    bench.control.start()

    def blink() -> None:
        bench.fresh = False

    bench.run()
    bench.run(meanwhile=blink)
    bench.fresh, count = True, len(bench.sent)
    bench.control.stop()
    assert len(bench.sent) == count
    (text,) = [text for _, text in bench.said if "no hold was sent" in text]
    assert "no set-points to the last command: no fresh joint state" in text


def test_that_no_hold_was_sent_is_said_also_just_after_one_that_was():
    keys = set()

    class Throttled(Bench):
        def log(self, level: str, key: str, text: str) -> bool:
            if key in keys:
                return False
            keys.add(key)
            return super().log(level, key, text)

    bench = Throttled()
    bench.control.start()
    for present, words in ((0.0, "a hold was sent"), (-0.25, "no hold was sent")):
        bench.found, bench.policy.action = Faults(), np.array([0.1, 0.0])
        bench.run(3)
        bench.present = bench.present + [present, 0.0]
        bench.found = Faults(soft={"no_controller": "nobody"})
        bench.run()
        assert any(words in text for _, text in bench.said), bench.said


def test_a_stop_while_a_tick_restarts_does_no_harm():
    bench = Bench()
    bench.control.start()
    bench.run(2)
    readings = iter([(bench.now, bench.present)])

    class Restarting(Controller):
        """The restart comes after the first look at where the arm is."""

        measured = property(lambda _: next(readings, None))

    bench.control.__class__ = Restarting
    bench.control.stop()
    assert len(bench.sent) == 3, "two commands and the hold"


def test_a_prediction_that_is_not_finite_latches_and_start_is_refused():
    bench = Bench()
    bench.control.start()
    bench.run(2)
    bench.policy.action = np.array([np.inf, 0.0])
    assert "non_finite" in [fault.code for fault in bench.run().changes.appeared]
    bench.policy.action = np.zeros(2)
    bench.run(3)
    assert len(bench.sent) == 3, "two commands and the hold"
    with pytest.raises(RuntimeError, match="reset"):
        bench.control.start()
    bench.control.reset()
    bench.run(3)
    assert len(bench.sent) == 3, "a reset alone moves nothing"
    bench.control.start()
    assert bench.run().sent is not None


@pytest.mark.parametrize(
    ("changes", "patience"), [({}, 0.5), ({"rate": 1.0}, 5.0), ({"tick": "image"}, 2.0)]
)
def test_ticks_that_do_not_come_are_no_commanding(changes, patience):
    camera = {"name": "front", "max_age": 1.5}
    spec = parse_spec({"cameras": [camera], "joints": [{"names": ["a", "b"]}], **changes})
    bench = Bench(spec=spec)
    bench.control.start()
    bench.run()

    def said() -> str:
        return bench.control.status().text

    assert said() == "commanding"
    bench.steady += round((patience - 0.01) * 1e9)
    assert said() == "commanding"
    bench.steady += 110_000_000
    assert said().startswith(f"commanding: no tick for {patience + 0.1:.1f} s: has the clock stop")
    assert bench.control.status().level == "faulted"
    bench.control.deactivate()
    bench.control.activate(start=True)
    assert said() == "holding: waits for the next tick", "from an activation on"
    bench.steady += round(2e9 * patience)
    assert said().startswith("holding: no tick")


def test_a_latched_fault_outlives_deactivation():
    bench = Bench(active=False)
    bench.control.activate(start=True)
    assert bench.run().sent is not None
    bench.found = Faults(hard={"jump": "a joint jumped"})
    bench.run()
    bench.control.stop()
    bench.control.deactivate()
    assert bench.control.state is State.INACTIVE_FAULTED
    bench.found = Faults()
    sent = len(bench.sent)
    bench.control.activate(start=True)
    bench.run(3)
    assert len(bench.sent) == sent and bench.control.state is State.FAULTED
    with pytest.raises(RuntimeError, match="a joint jumped"):
        bench.control.start()
    bench.control.reset()
    bench.run(3)
    assert len(bench.sent) == sent, "as after any reset"
    bench.control.start()
    assert bench.run().sent is not None
    bench.control.close()
    assert bench.control.state is State.UNCONFIGURED


@pytest.mark.parametrize("start", [True, False])
def test_activation_begins_anew(start):
    bench = Bench(active=False)
    bench.control.activate(start=start)
    tick = bench.run(5)
    assert (tick.sent is not None) == start and bench.ticks[0].reset == "activation"
    bench.control.deactivate()
    bench.label += 6000 * PERIOD
    bench.control.activate(start=start)
    assert bench.run().missed == 0, "nobody waited for ticks meanwhile"
    bench.label += 2 * PERIOD
    assert bench.run().missed == 2


def test_a_tick_under_way_does_not_undo_a_reset():
    bench = Bench()
    bench.control.start()
    bench.run()
    bench.found = Faults(soft={"late": "by a little"}, hard={"image_changed:front": "changed"})
    bench.run()

    def seen_and_reset():
        bench.found = Faults()
        assert [fault.code for fault in bench.control.reset()] == ["image_changed:front"]
        bench.control.start()

    bench.policy.meanwhile = seen_and_reset
    tick = bench.run()
    assert not bench.control.faults.active and not tick.changes.appeared and tick.sent is None
    bench.policy.meanwhile = lambda: None
    assert bench.run().sent is not None


def test_after_a_reset_the_images_that_come_then_are_the_first():
    bench = Bench()
    for encoding in ("rgb8", "bgr8"):
        image = make.image(make.START, np.zeros((30, 40, 3), np.uint8), encoding)
        bench.control.parts.formats.see("front", image)
    bench.run()
    assert [fault.code for fault in bench.control.reset()] == ["image_changed:front"]
    bench.run()
    assert not bench.control.faults.active


@pytest.mark.parametrize("call", ["stop", "start"])
def test_what_a_tick_under_way_finds_is_kept_over_stop_and_start(call):
    bench = Bench()
    bench.control.start()
    bench.run()
    bench.found = Faults(hard={"jump": "a joint jumped"})  # told once
    bench.policy.meanwhile = getattr(bench.control, call)
    bench.run()
    bench.found = Faults()
    assert [fault.code for fault in bench.control.faults.latched] == ["jump"]


def test_time_that_goes_back_resets_policy_and_buffer():
    bench = Bench()
    bench.control.start()
    bench.run(3)
    bench.label -= 30 * PERIOD
    tick = bench.run()
    assert tick.reset == "time went back by 2.900 s" and tick.missed == 0
    assert bench.rewound == [bench.now] and bench.policy.steps == 1
    assert bench.run().reset is None


def test_the_image_after_a_silence_is_no_time_that_goes_back():
    """With `tick: image` a silent camera's tick is labelled now; the next image by its stamp."""
    bench = Bench()
    bench.control.start()
    bench.run(3)
    bench.missing = {"front": "no image"}
    bench.label += 2 * PERIOD
    bench.run()
    bench.missing = {}
    bench.now += PERIOD // 4
    bench.tick(bench.label - PERIOD // 4, bench.now)
    tick = bench.ticks[-1]
    assert tick.reset is None and bench.policy.steps == 4 and not bench.rewound
    assert tick.sent is not None and tick.missed == 0


@pytest.mark.parametrize(("rate", "fine"), [(10.0, 9), (0.8, 0)])
def test_a_second_is_a_gap_but_the_next_tick_is_none(monkeypatch, rate, fine):
    """:param fine: so many ticks that are missed are no gap."""
    period = round(1e9 / rate)
    monkeypatch.setattr("control_bench.PERIOD", period)
    camera = {"name": "front", "max_age": 2.0}
    spec = parse_spec({"cameras": [camera], "joints": [{"names": ["a", "b"]}], "rate": rate})
    bench = Bench(spec=spec, start__wait=99.0)
    bench.control.start()
    bench.run(5)
    assert bench.policy.steps == 5
    bench.missing = {"front": "nothing"}
    bench.run(fine)
    bench.missing = {}
    assert bench.run().reset is None
    bench.missing = {"front": "nothing"}
    bench.run(fine + 1)
    bench.missing = {}
    assert bench.run().reset == "gap" and bench.policy.steps == 1


class TestStart:
    def ramping(self, **parameters) -> Bench:
        bench = Bench(start__ramp_speed=0.5, **parameters)
        bench.present = np.array([0.4, -0.05])
        bench.policy.action = np.array([-0.9, 0.9])  # far off: it is not asked yet
        bench.control.start()
        return bench

    def test_ramp_warm_up_blend_policy(self):
        bench = self.ramping(start__warm_up_ticks=3, start__blend_time=0.2)
        bench.run(6)
        assert bench.path[:, 0] == pytest.approx([0.35, 0.3, 0.25, 0.2, 0.15, 0.1])
        assert bench.path[:, 1] == pytest.approx(-0.05)
        assert bench.control.state is State.RAMPING
        bench.policy.action = np.array([0.16, 0.07])
        bench.run()
        assert bench.control.state is State.WARMING_UP and bench.policy.steps == 1
        assert len(bench.sent) == 7 and not bench.sent[-1].velocity.any(), "the hold"
        bench.run(2)
        assert len(bench.sent) == 7 and bench.control.state is State.WARMING_UP
        bench.run()
        assert bench.control.state is State.BLENDING
        bench.run(3)
        assert bench.path[7:, 0] == pytest.approx([0.12, 0.14, 0.16, 0.16])
        assert bench.path[7:, 1] == pytest.approx([-0.01, 0.03, 0.07, 0.07])
        assert bench.control.state is State.COMMANDING and bench.policy.steps == 7

    def test_what_interrupts_the_ramp_ends_it_until_start(self):
        bench = self.ramping()
        bench.run(2)
        bench.missing = {"front": "nothing"}
        bench.run()
        assert bench.control.status().code == "ramp" and not bench.control.started
        assert len(bench.sent) == 3 and not bench.sent[-1].velocity.any(), "the hold"
        bench.missing = {}
        bench.run(5)
        assert len(bench.sent) == 3
        bench.present = np.array([0.3, 0.2])
        bench.control.start()
        bench.run()
        np.testing.assert_allclose(bench.path[-1], [0.25, 0.175])

    def test_a_blocked_arm_ends_it_too(self):
        bench = self.ramping()
        bench.follows = False
        bench.run(6)
        assert bench.control.status().code == "ramp", "the next set-point is 0.25 ahead of the arm"
        assert bench.path[:, 0] == pytest.approx([0.35, 0.3, 0.25, 0.2, 0.2])
        assert not bench.control.started

    @pytest.mark.parametrize("restart", ["reset", "clock"])
    def test_an_interruption_right_after_a_restart_ends_it_too(self, restart):
        bench = self.ramping()
        bench.run(2)
        bench.missing = {"front": "nothing"}
        if restart == "reset":
            bench.control.reset()
        else:
            bench.label -= 5 * PERIOD
        bench.run()
        assert bench.control.status().code == "ramp" and not bench.control.started
        bench.missing = {}
        bench.run(5)
        assert len(bench.sent) == 2, "it does not go on by itself"

    def test_an_interrupted_segment_of_it_ends_it_too(self):
        bench = Following(start__ramp_speed=0.5)
        bench.present = np.array([0.4, -0.05])
        bench.control.start()
        bench.run()
        bench.run(meanwhile=lambda: bench.push(0.3))
        bench.run()
        assert bench.control.status().code == "ramp" and not bench.control.started

    def test_a_fault_before_it_begins_only_delays_it(self):
        bench = self.ramping()
        bench.found = Faults(soft={"no_controller": "nobody"})
        bench.run(3)
        assert not bench.control.statistics.violations, "nobody asked the policy, which is far off"
        bench.found = Faults()
        bench.run()
        assert bench.path.tolist() == [pytest.approx([0.35, -0.05])]

    def test_stop_then_start_ramps_again_and_reset_does_not(self):
        bench = self.ramping()
        bench.run(2)
        bench.control.stop()
        bench.run(2)
        bench.control.start()
        bench.run(4)
        assert bench.path[:, 0] == pytest.approx([0.35, 0.3, 0.3, 0.25, 0.2, 0.15, 0.1])
        bench.policy.action = np.array([0.25, 0.0])
        bench.run(2)
        bench.control.reset()
        bench.present = np.array([0.3, 0.0])
        assert bench.run().sent.position.tolist() == [0.25, 0.0], "the policy's, at once"

    def test_start_right_before_reset_still_ramps(self):
        bench = self.ramping()
        bench.control.reset()
        assert bench.run().sent.position.tolist() == pytest.approx([0.35, -0.05])

    def test_a_dry_run_shows_the_policy_and_the_start_after_it_begins_with_the_ramp(self):
        bench = self.ramping(dry_run=True)
        bench.policy.action = np.array([0.38, -0.05])
        bench.run(3)
        assert not bench.sent and bench.policy.steps == 3
        assert bench.ticks[-1].state is State.COMMANDING, "the policy, without a ramp"
        bench.control.stop()  # as the node does when the dry run ends
        bench.settings = bench.settings.model_copy(update={"dry_run": False})
        bench.run(3)
        assert not bench.sent
        bench.control.start()
        bench.run(6)
        assert bench.path[:, 0] == pytest.approx([0.35, 0.3, 0.25, 0.2, 0.15, 0.1])
        bench.policy.action = np.array([0.12, -0.05])
        bench.run()
        assert bench.policy.steps == 1, "what it saw before is forgotten"

    def test_the_policy_warms_up_again_after_a_gap(self):
        bench = Bench(start__warm_up_ticks=2)
        bench.control.start()
        bench.run(5)
        assert len(bench.sent) == 3
        bench.missing = {"front": "nothing"}
        bench.run(12)
        bench.missing = {}
        bench.run(2)
        assert len(bench.sent) == 4, "the hold; two ticks unheard"
        assert bench.run().sent is not None and bench.policy.steps == 3


def test_a_tick_that_fails_is_told_at_once_and_ends_no_other_fault():
    bench = Bench()
    bench.control.start()
    bench.run()
    bench.found = Faults(soft={"no_controller": "nobody"})
    bench.run()
    bench.control.failed(RuntimeError("no such thing"))
    assert [fault.code for fault in bench.control.faults.active] == ["internal", "no_controller"]
    assert bench.control.state is State.FAULTED
    (level, text), trace = bench.said[-2:]
    assert level == "error" and text.endswith("~/start: a tick failed: no such thing")
    assert "Traceback" not in text and "RuntimeError" in trace[1]


def test_limits_change_while_holding_and_are_refused_while_commanding():
    bench = Bench()
    bench.control.start()
    bench.policy.action = np.array([0.25, 0.0])
    tick = bench.run()
    assert tick.state is State.HOLDING and not bench.sent
    (fault,) = tick.changes.appeared
    words = "a: the step from the measured position 0.25 rad or m is beyond the limit 0.2 rad or m"
    assert words in fault.text and "factor of 1.25 (guard.step_margin)" in fault.text

    wider = bench.settings.guard.model_copy(update={"step_margin": 1.5})
    wider = bench.settings.model_copy(update={"guard": wider})
    bench.control.change_limits(wider)
    assert bench.run().state is State.COMMANDING
    with pytest.raises(RuntimeError, match="not while commanding"):
        bench.control.change_limits(bench.settings)
    assert bench.control.parts.limiter.limits.max_step[0] == pytest.approx(0.3)
    bench.control.stop()
    bench.control.change_limits(bench.settings)
    assert bench.control.parts.limiter.limits.max_step[0] == pytest.approx(0.2)


def test_what_was_judged_by_the_limits_of_before_is_not_sent():
    bench = Bench()
    bench.control.start()
    bench.policy.action = np.array([0.1, 0.0])
    tighter = bench.settings.guard.model_copy(update={"step_margin": 0.5})
    tighter = bench.settings.model_copy(update={"guard": tighter})
    bench.policy.meanwhile = lambda: bench.control.change_limits(tighter)
    assert bench.run().sent is None
    bench.policy.meanwhile = lambda: None
    bench.policy.action = np.array([0.05, 0.0])
    assert bench.run().sent is not None


def test_limits_that_change_between_runs_tell_nothing_of_the_last_one():
    bench = Bench(run_timeout=0.3)
    bench.control.start()
    bench.run(8)
    assert bench.control.state is State.STOPPED
    told = len(bench.said)
    set_live(bench, step_margin=1.4)
    bench.run(3)
    assert bench.said[told:] == []


def set_live(bench: Bench, **guard) -> None:
    """As the user does while the node is active."""
    settings = bench.settings.model_copy(
        update={"guard": bench.settings.guard.model_copy(update=guard)}
    )
    bench.control.change_limits(settings)
    bench.settings = settings


def test_an_arm_that_stands_is_found_by_the_limits_of_now():
    bench = Bench()
    bench.follows = False
    bench.policy.action = np.array([0.02, 0.0])
    set_live(bench, max_step=(0.02,))
    bench.control.start()
    bench.run(60)
    assert bench.control.state is State.FAULTED
    assert bench.control.status().code in ("not_following", "frozen:joints")


def test_a_ramp_keeps_the_limits_of_now():
    bench = Bench(start__ramp_speed=0.8)
    bench.present = np.array([0.8, 0.0])
    set_live(bench, max_velocity=(0.5,))
    bench.control.start()
    bench.run(3)
    assert bench.control.state is State.RAMPING
    assert bench.path[:, 0] == pytest.approx([0.75, 0.7, 0.65])


def test_limits_that_allow_no_ramp_are_refused_while_active():
    bench = Bench(start__ramp_speed=0.8)
    with pytest.raises(ConfigError, match="ramp_speed"):
        set_live(bench, position_max=(-0.5,))
    assert bench.control.parts.limiter.limits.position_max[0] == 1.0


@pytest.mark.parametrize("jitter", [0, 1_000_000, 20_000_000])
def test_a_ramp_by_images_that_are_not_quite_periodic_arrives(jitter):
    bench = Bench(spec=IMAGES, start__ramp_speed=0.5, guard__max_velocity=[0.5])
    bench.present, bench.policy.action = np.array([0.8, 0.0]), np.array([0.1, 0.0])
    bench.control.start()
    for number in range(25):
        bench.label += PERIOD + (jitter if number % 2 else -jitter)
        bench.now = bench.label
        bench.tick(bench.label, bench.label)
    assert bench.control.state is State.COMMANDING
    assert not [text for _, text in bench.said if "refused" in text or "interrupted" in text]


@pytest.mark.parametrize(
    ("latency", "computes", "said"),
    [
        (0.06, 0.0, ""),
        (0.12, 0.0, "its image took 0.120 s to arrive"),
        (0.06, 0.07, "was the process stopped"),
    ],
)
def test_images_that_come_too_late_are_told_from_a_process_that_is(latency, computes, said):
    bench = Bench(spec=IMAGES)

    def compute() -> None:
        bench.now += round(computes * 1e9)

    bench.policy.meanwhile = compute
    bench.control.start()
    for _ in range(4):
        bench.label += PERIOD
        bench.now = bench.label + round(latency * 1e9)
        bench.tick(bench.label, bench.now)
    assert (len(bench.sent) == 0) is bool(said)
    assert said in bench.control.status().text


def test_a_dry_run_judges_velocity_by_what_it_would_have_commanded_and_never_latches():
    bench = Bench(dry_run=True, guard__max_velocity=[1.0])
    bench.control.start()
    for step in range(1, 9):  # 0.8 rad/s, away from an arm that stands still
        bench.policy.action = np.array([0.08 * step, 0.0])
        bench.run()
        found = bench.control.statistics.violations
        assert found["step"] == max(0, step - 2) and (step > 2 or not found["velocity"])
    assert not bench.sent and not bench.control.faults.latched
    status = bench.control.status()
    assert status.text.startswith("holding (dry run): would have refused the command: a: the step")
    bench.policy.action = np.array([0.08, 0.0])
    bench.run()
    assert bench.control.status().text == "commanding (dry run)"


@pytest.mark.parametrize("simulated", [False, True])
def test_a_policy_that_does_not_return_latches_from_another_thread(simulated):
    bench = Bench(simulated=simulated)
    bench.control.start()
    bench.run(3)

    def hang() -> None:
        bench.steady += 11 * PERIOD
        bench.control.look_for_stall()
        assert bench.control.state is State.FAULTED
        bench.control.stop()

    bench.policy.meanwhile = hang
    tick = bench.run()
    assert tick.sent is None and tick.state is State.FAULTED
    assert len(bench.sent) == 4 and not bench.sent[-1].velocity.any(), "the hold"
    (fault,) = bench.control.faults.latched
    assert fault.code == "stalled" and "the policy has not returned" in fault.text
    assert bench.policy.cancelled


def test_a_slow_step_that_a_halt_cuts_short_is_no_fault():
    bench = Bench()
    cancelled = threading.Event()

    def slow() -> None:
        if cancelled.wait(10.0):
            raise PolicyError("cancelled")

    bench.policy.meanwhile, bench.policy.cancel = slow, cancelled.set
    bench.control.run()
    bench.now += PERIOD
    for _ in range(1000):
        bench.control.threads.clock_moved()
        if bench.control.ticking:
            break
        time.sleep(0.01)
    assert bench.control.halt()
    assert bench.control.state is State.INACTIVE and not bench.control.faults.latched


def test_the_clock_of_gaps_goes_on_while_the_computer_sleeps(monkeypatch):
    slept = Mock(return_value=7)
    monkeypatch.setattr(time, "clock_gettime_ns", slept)
    assert Clocks(lambda: 0).read() == Instant(0, 7)
    slept.assert_called_once_with(time.CLOCK_BOOTTIME)


def test_a_simulation_that_is_paused_goes_on_by_itself_but_not_a_ramp():
    bench = Bench(simulated=True)
    bench.control.start()
    bench.run(3)
    bench.steady += 11 * PERIOD
    bench.control.look_for_stall()
    assert bench.control.state is State.STALLED
    assert bench.run().state is State.COMMANDING
    bench = Bench(simulated=True, start__ramp_speed=0.5)
    bench.present = np.array([0.4, 0.0])
    bench.control.start()
    bench.run(2)
    bench.steady += 11 * PERIOD
    bench.control.look_for_stall()
    assert bench.control.state is State.STOPPED


def test_a_simulation_that_is_slow_does_not_stand():
    bench = Bench(simulated=True, start__ramp_speed=0.5, start__wait=0.55)
    bench.present = np.array([0.4, 0.0])
    bench.control.start()
    bench.run(2)
    for _ in range(9):
        bench.now += PERIOD // 10
        bench.steady += PERIOD
        bench.control.look_for_stall()
    assert bench.control.state is State.RAMPING
    assert bench.control.status().text.startswith("ramping")


def test_a_process_that_was_stopped_within_a_tick_does_not_go_on_by_itself():
    bench = Bench()
    bench.control.start()
    bench.run(3)

    def stopped() -> None:
        bench.now += 20 * PERIOD
        bench.policy.meanwhile = lambda: None

    bench.policy.meanwhile = stopped
    tick = bench.run()
    assert tick.sent is None and tick.state is State.FAULTED
    (fault,) = bench.control.faults.latched
    assert fault.code == "stalled" and "nothing was done for 2.00 s" in fault.text


@pytest.mark.parametrize("simulated", [False, True])
def test_a_run_ends_at_its_timeout_and_waits_for_another_start(simulated):
    bench = Bench(simulated=simulated, run_timeout=0.55)
    bench.run(20)  # stopped: no run has begun
    for _ in range(2):
        bench.control.start()
        bench.policy.action = bench.present + [0.01, 0.0]
        bench.run(5)
        assert bench.control.state is State.COMMANDING
        count = len(bench.sent)
        bench.run(3)
        assert bench.control.state is State.STOPPED
        assert len(bench.sent) == count + 1 and not bench.sent[-1].velocity.any(), "the hold"
        status = bench.control.status()
        assert status.code == "run_timeout" and "as long as run_timeout allows" in status.text
        assert bench.said[-1] == ("info", status.text)
    bench.control.start()
    bench.control.stop()
    assert bench.control.status().text == "stopped: call ~/start", "why it is stopped now"


def test_a_run_ends_at_the_limit_of_its_goal_or_at_its_timeout_if_that_is_sooner():
    for timeout, limit, code in ((0.0, 0.55, "time_limit"), (0.3, 0.55, "run_timeout")):
        bench = Bench(run_timeout=timeout)
        bench.control.start(limit)
        bench.run(8)
        assert bench.control.state is State.STOPPED
        assert bench.control.status().code == code
    bench = Bench()
    bench.control.start(0.55)
    bench.control.stop()
    bench.control.start()
    bench.run(20)
    assert bench.control.started, "the limit was that of the run before"
    bench.control.start(0.55)
    bench.control.deactivate()
    bench.control.activate(start=True)
    bench.run(20)
    assert bench.control.started, "likewise"


def test_the_time_of_a_run_is_that_of_the_robot():
    """A simulated clock may be paused; one of the computer may be set."""
    slow, real = Bench(simulated=True, run_timeout=1.0), Bench(run_timeout=1.0)
    for bench, sent in ((slow, True), (real, False)):
        bench.control.start()
        bench.run(3)
        bench.steady += 2_000_000_000
        assert (bench.run().sent is not None) == sent
    assert real.control.status().code == "run_timeout"
    slow.now = slow.label = 0  # the simulation begins anew, and with it the run
    slow.run(9)
    assert slow.control.started
    slow.run(3)
    assert slow.control.status().code == "run_timeout"


def test_another_policy_may_come_only_while_nothing_is_started():
    bench = Bench()
    bench.control.may_load()
    bench.control.start()
    with pytest.raises(Refused, match="refused while holding: call ~/stop first"):
        bench.control.may_load()
    bench.run(3)
    with pytest.raises(Refused, match="refused while commanding: call ~/stop first"):
        bench.control.may_load()
    bench.control.latch("jump", "by hand")
    bench.control.may_load()


@pytest.mark.parametrize("blocked", ["no image", "another publisher"])
def test_a_start_waits_for_a_bounded_time_and_nothing_moves_later(blocked):
    bench = Bench(start__wait=1.0)

    def block(on: bool) -> None:
        if blocked == "no image":
            bench.missing = {"front": "no message has arrived"} if on else {}
        else:
            bench.found = Faults(soft={"publishers:image_raw": "2 publishers"} if on else {})

    block(True)
    bench.run()
    bench.control.start()
    text = bench.control.status().text
    assert text.startswith("holding: ") and "the run ends after 1 s of this (start.wait)" in text
    bench.run(8)
    assert bench.control.state is State.HOLDING
    block(False)
    assert bench.run().sent is not None, "it came in time"

    # Also in the middle of a run, and from its last command on.
    count = len(bench.sent)
    block(True)
    bench.run(5)
    block(False)
    assert bench.run().sent is not None
    block(True)
    bench.run(11)
    status = bench.control.status()
    assert bench.control.state is State.STOPPED and status.code == "waited"
    assert "as long as start.wait allows; call ~/start; not yet: " in status.text
    assert bench.said[-1] == ("warning", status.text)
    block(False)
    bench.run(20)
    assert len(bench.sent) == count + 3, "a command, and two holds"
    assert bench.control.status().level == "fine"
    assert bench.control.status().text.startswith("stopped: nothing was commanded for as long as")
    bench.control.start()
    assert bench.run().sent is not None


def test_a_new_request_begins_the_wait_anew_and_a_dry_run_has_none():
    bench = Bench(start__wait=1.0)
    bench.missing = {"front": "nothing"}
    for call in (bench.control.start, bench.control.reset, bench.control.start):
        call()
        bench.run(9)
        assert bench.control.state is State.HOLDING
    bench.run(2)
    assert bench.control.state is State.STOPPED
    bench = Bench(start__wait=1.0, dry_run=True)
    bench.missing = {"front": "nothing"}
    bench.control.start()
    bench.run(30)
    assert bench.control.state is State.HOLDING
    assert "start.wait" not in bench.control.status().text


@pytest.mark.parametrize("simulated", [False, True])
def test_the_wait_is_measured_by_clocks_that_do_not_leap(simulated):
    """A computer's clock may be set, a simulated one begins somewhere."""
    bench = Bench(start__wait=1.0, simulated=simulated)
    bench.missing = {"front": "nothing"}
    bench.control.start()
    bench.run()
    bench.now += 60 * PERIOD
    bench.steady -= 60 * PERIOD
    bench.label += 60 * PERIOD
    bench.run(5)
    assert bench.control.state is State.HOLDING
    bench.run(5)
    assert bench.control.state is State.STOPPED


def test_while_stopped_the_status_warns_of_what_a_start_would_wait_for():
    bench = Bench()
    bench.run()
    assert bench.control.status().level == "fine"
    bench.missing = {"front": "no message has arrived on '/image_raw'"}
    bench.run()
    status = bench.control.status()
    words = "stopped: call ~/start; not yet: front: no message has arrived on '/image_raw'"
    assert (status.level, status.text) == ("waiting", words)


class TestFarFromTheStart:
    """The demonstrations began between -0.1 and 0.1; the trained range is 2 rad wide."""

    def bench(self, **parameters) -> Bench:
        bench = Bench(**{"start__margin": 0.1} | parameters)
        bench.present = np.array([0.25, 0.8])
        bench.policy.action = bench.present + [0.01, 0.0]
        bench.run()
        return bench

    def test_a_start_is_refused_by_the_joint_and_the_distance(self):
        bench = self.bench()
        with pytest.raises(Refused) as refusal:
            bench.control.start()
        text = str(refusal.value)
        assert text.startswith("not started: b is at 0.8, 0.7 rad or m from where the demonstr")
        assert "(-0.1 to 0.1, 0.2 around it" in text and "start.ramp_speed" in text
        assert bench.control.state is State.STOPPED
        status = bench.control.status()
        assert status.level == "waiting" and "not yet: b is at 0.8" in status.text
        bench.present = np.array([0.25, 0.29])
        bench.policy.action = bench.present
        bench.control.start()
        assert bench.run().sent is not None
        bench.present = np.array([0.25, 0.8])  # in the middle of a run it may be anywhere
        bench.policy.action = bench.present
        assert bench.run(2).sent is not None

    def test_a_start_in_mid_run_stops_it_as_somebody_is_told_to_move_the_arm(self):
        bench = Bench(start__margin=0.1)
        bench.control.start()
        bench.run(2)
        bench.present = bench.policy.action = np.array([0.25, 0.8])
        assert bench.run(2).state is State.COMMANDING
        with pytest.raises(Refused, match=r"^stopped: b is at 0.8, .* bring the arm there"):
            bench.control.start()
        sent = len(bench.sent)
        assert bench.run(3).state is State.STOPPED and len(bench.sent) == sent

    @pytest.mark.parametrize(
        "parameters",
        [
            {"start__margin": 1.0},
            {"start__ramp_speed": 0.5},
            {"hold_joints": ["b"]},
            {"gripper__joints": ["b"]},
        ],
    )
    def test_what_allows_it(self, parameters):
        bench = self.bench(**parameters)
        bench.control.start()
        assert bench.run().sent is not None

    def test_nor_does_a_dry_run_refuse_it(self):
        bench = self.bench(dry_run=True)
        bench.control.start()
        assert bench.run().state is State.COMMANDING

    def test_a_start_at_activation_is_judged_by_the_first_observation(self):
        bench = Bench(active=False, start__margin=0.1)
        bench.present = np.array([0.0, 0.8])
        bench.policy.action = bench.present
        bench.missing = {"front": "nothing"}
        bench.control.activate(start=True)
        bench.run(2)
        assert bench.control.state is State.HOLDING
        bench.missing = {}
        bench.run(3)
        assert not bench.sent and bench.control.state is State.STOPPED
        status = bench.control.status()
        assert status.code == "away" and "not yet: b is at 0.8" in status.text
        assert bench.said[-1] == ("warning", status.text)

    def test_an_arm_that_was_moved_while_it_held_does_not_begin_elsewhere(self):
        bench = Bench(start__margin=0.1)
        bench.missing = {"front": "nothing"}
        bench.control.start()
        bench.run(2)
        bench.missing = {}
        bench.present = bench.policy.action = np.array([0.0, 0.8])
        bench.run(3)
        assert not bench.sent and bench.control.status().code == "away"


class TestBeginningAnewInMidRun:
    """The demonstrations began between -0.1 and 0.1."""

    def bench(self, at: float = 0.6, **parameters) -> Bench:
        bench = Bench(start__margin=0.1, guard__max_step=(0.2,), **parameters)
        bench.control.start()
        while bench.present[0] < at:
            bench.policy.action = bench.present + [0.1, 0.0]
            bench.run()
        bench.policy.action = bench.present + [0.1, 0.0]
        return bench

    def forget(self, bench: Bench, how: str) -> None:
        if how == "gap":
            bench.missing = {"front": "nothing"}
            bench.run(15)
            bench.missing = {}
        elif how == "reset":
            bench.control.reset()
        else:
            bench.now -= round(1.9e9)
            bench.label = bench.now

    @pytest.mark.parametrize("how", ["gap", "reset", "clock"])
    def test_the_run_ends_where_the_arm_is_elsewhere(self, how):
        bench = self.bench()
        assert bench.control.state is State.COMMANDING
        self.forget(bench, how)
        sent = len(bench.sent)
        bench.run(3)
        assert bench.control.state is State.STOPPED
        assert all(command.is_hold for command in bench.sent[sent:])
        (text,) = [text for _, text in bench.said if text.startswith("stopped")]
        assert (
            "demonstrations began: the policy would begin anew; call ~/start; not yet: a is at 0.6"
            in text
        )

    @pytest.mark.parametrize("how", ["gap", "reset", "clock"])
    @pytest.mark.parametrize("where", [{"at": 0.1}, {"dry_run": True, "at": 0.0}])
    def test_it_goes_on_where_it_may_begin(self, how, where):
        bench = self.bench(**where)
        bench.run()
        self.forget(bench, how)
        bench.run(3)
        assert bench.control.state is State.COMMANDING

    def test_a_ramp_does_not_come_again_by_itself(self):
        bench = Bench(start__margin=0.1, start__ramp_speed=1.0)
        bench.present = np.array([0.5, 0.0])
        bench.control.start()
        bench.run(12)
        assert bench.control.state is State.COMMANDING
        while bench.present[0] < 0.6:
            bench.policy.action = bench.present + [0.1, 0.0]
            bench.run()
        self.forget(bench, "gap")
        bench.run(3)
        assert bench.control.state is State.STOPPED
        (text,) = [text for _, text in bench.said if text.startswith("stopped")]
        assert text.endswith("began: the policy would begin anew; call ~/start")


class TestWarmUp:
    @pytest.mark.parametrize("ramp", [0.0, 1.0])
    def test_an_arm_that_is_moved_meanwhile_does_not_begin_elsewhere(self, ramp):
        bench = Bench(start__margin=0.1, start__ramp_speed=ramp, start__warm_up_ticks=20)
        bench.present = np.array([0.3 if ramp else 0.0, 0.0])
        bench.policy.action = np.array([0.9, 0.0])
        bench.control.start()
        bench.run(12)
        assert bench.control.state is State.WARMING_UP
        sent = len(bench.sent)
        bench.present = np.array([0.8, 0.0])
        bench.run(15)
        assert bench.control.state is State.STOPPED
        assert all(command.is_hold for command in bench.sent[sent:])

    @pytest.mark.parametrize("ramp", [0.0, 1.0])
    def test_nor_one_that_is_moved_in_a_short_hold_after_it(self, ramp):
        bench = Bench(start__margin=0.1, start__ramp_speed=ramp, start__warm_up_ticks=3)
        bench.present = np.array([0.15 if ramp else 0.0, 0.0])
        bench.control.start()
        while bench.control.state is not State.WARMING_UP:
            bench.run()
        bench.run(2)
        assert bench.control.state is State.WARMING_UP
        bench.missing = {"front": "nothing"}
        bench.run(3)
        bench.missing = {}
        bench.present = bench.policy.action = np.array([0.8, 0.0])
        sent = len(bench.sent)
        bench.run(2)
        assert bench.control.state is State.STOPPED
        assert all(command.is_hold for command in bench.sent[sent:])

    def test_a_run_that_never_gets_through_ends_after_its_wait(self):
        bench = Bench(start__warm_up_ticks=20, start__wait=3.0)
        bench.control.start()
        for _ in range(3):
            bench.missing = {}
            bench.run(15)
            bench.missing = {"front": "nothing"}
            bench.run(12)
            bench.control.end_overdue_run()
        assert bench.control.state is State.STOPPED


def test_the_log_tells_where_ticks_lead_and_that_a_hold_was_sent():
    bench = Bench(start__warm_up_ticks=2)
    bench.control.start()
    bench.run(6)
    assert bench.said == [("info", "warming up"), ("info", "commanding")]
    bench.control.stop()
    hold = ("info", "a hold was sent: the last command, at rest")
    assert bench.said[2:] == [hold]
    bench.control.deactivate()
    nothing = ("info", "no hold is sent: it was stopped, and commanded nothing")
    assert bench.said[3:] == [nothing]
    bench.control.activate(start=True)
    bench.run(6)
    bench.control.deactivate()
    assert bench.said[4:] == [("info", "warming up"), ("info", "commanding"), hold]


def test_the_point_of_rest_is_checked_by_the_newest_joints_too():
    """The arm was put elsewhere (a simulation was reset) while the policy computed: the command is
    within a step of the arm as it is now, where it would come to rest is not."""
    bench = Bench()
    bench.control.start()
    bench.policy.action = np.array([0.1, 0.0])
    bench.run()
    bench.follows = False

    def put_back() -> None:
        bench.present = np.array([0.04, 0.0])

    bench.policy.meanwhile = put_back
    bench.policy.action = np.array([0.22, 0.0])
    tick = bench.run()
    assert tick.sent is None and bench.control.statistics.violations["step"] == 0
    assert "the step from the measured position" in bench.control.status().text
    bench.policy.meanwhile = lambda: None


def parts_of(bench: Bench) -> Parts:
    """With the real buffer, and names of topics in a namespace."""
    ports = Ports(
        Clocks(bench.read_now),
        prepare=lambda command: lambda: None,
        topic_name=lambda name: f"/arm/{name}",
    )
    return Parts(bench.policy, lambda: bench.settings, ports)


def test_a_description_is_waited_for_only_if_one_is_asked_for_by_its_whole_name():
    assert not parts_of(Bench()).description.faults().soft
    found = parts_of(Bench(robot_description_topic="description")).description.faults().soft
    assert "'/arm/description'" in found["robot_description"]


def test_how_far_ahead_a_stamp_may_be_is_what_the_parameter_says():
    joints = [{"names": ["a", "b"], "max_age": 1.0}]
    spec = parse_spec({"cameras": [{"name": "front"}], "joints": joints})
    buffer = parts_of(Bench(spec=spec, watch__max_ahead=0.3)).buffer
    for ahead, void in ((0.29, False), (0.31, True)):
        message = make.joint_state(make.START + round(ahead * 1e9), [0.0, 0.0], ["a", "b"])
        assert bool(buffer.push("joint_states", message, make.START).refused) == void


def feeling(**parameters):
    """The second joint was demonstrated with efforts of -2 to 2; it now has 9."""
    bench = Bench(effort=(None, (-2.0, 2.0)), watch__effort=1.0, **parameters)
    bench.effort = np.array([99.0, 9.0])
    return bench


def test_an_arm_that_touches_something_holds_and_latches():
    bench = feeling()
    bench.run(10)  # stopped: somebody leans on it
    bench.control.start()
    tick = bench.run(2)
    assert tick.state is State.COMMANDING
    tick = bench.run()
    assert tick.state is State.FAULTED and not bench.sent[-1].velocity.any()
    (fault,) = bench.control.faults.latched
    assert fault.code == "effort" and fault.text.startswith("b has an effort of 9,")
    bench.control.reset()
    bench.control.start()
    assert bench.run(2).state is State.COMMANDING, "it counts anew"


def test_efforts_before_a_hold_count_no_more_after_it():
    bench = feeling()
    bench.effort = np.zeros(2)
    bench.control.start()
    assert bench.run(2).state is State.COMMANDING
    for _ in range(3):
        bench.effort = np.array([0.0, 9.0])
        assert bench.run().state is not State.FAULTED
        bench.effort = None  # unknown, so that nothing but the hold ends the count
        bench.found = Faults(soft={"frozen:front": "front: frozen"})
        assert bench.run().state is State.HOLDING
        bench.found = Faults()
        assert bench.run(5).state is State.COMMANDING


def test_what_a_dry_run_does_not_move_touches_nothing():
    bench = feeling(dry_run=True)
    bench.control.start()
    assert bench.run(10).state is State.COMMANDING


def test_a_ramp_from_elsewhere_may_need_other_efforts_than_the_demonstrations():
    for start, state in ((2.0, State.RAMPING), (0.5, State.FAULTED)):
        bench = feeling(start__ramp_speed=0.5, guard__position_margin=1.0)
        bench.present = np.array([start, 0.0])
        bench.control.start()
        assert bench.run(6).state is state


def test_health_latches_nothing_while_stopped_and_the_end_of_a_run_is_told():
    bench = Bench()
    scene, ended, seen = bench.control.parts.scene, [], []
    scene.see = seen.append
    scene.faults = lambda: Faults(hard={"health": "prediction health 3.00 is above 1"})
    assert bench.run(3).state is State.STOPPED
    bench.control.start()
    assert bench.run(2).state is State.FAULTED
    scene.end_run = lambda: ended.append(bench.control.state)
    bench.control.deactivate()
    assert ended == [State.INACTIVE_FAULTED], "there is no further tick"
    assert seen == bench.ticks


def test_a_joint_a_hair_beyond_its_limit_does_not_stop_the_others():
    interval = PERIOD // 10
    bench = Bench(interval=interval, guard__position_min=[-1.0, 0.0])
    bench.present, bench.policy.action = np.array([0.0, -0.0003]), np.array([0.05, 0.0005])
    bench.control.start()
    for _ in range(3):
        bench.run()
        for _ in range(9):
            bench.now += interval
            bench.interpolator.tick()
    assert bench.control.state is State.COMMANDING
    assert bench.path[-1] == pytest.approx([0.05, 0.0005]) and bench.path[:, 1].min() >= 0.0


USUAL = {"guard__position_margin": 0.1, "guard__step_margin": 1.5, "guard__floor": 0.01}
URDF = """<robot name="r">
<joint name="a" type="revolute"><limit lower="-2" upper="2" velocity="5"/></joint>
<joint name="b" type="prismatic"><limit lower="{low}" upper="{high}" velocity="5"/></joint>
</robot>"""


@pytest.mark.parametrize(("accelerates", "goes_on"), [(4.0, True), (6.0, False), (-10.0, False)])
def test_the_acceleration_is_limited_from_the_first_command_on(accelerates, goes_on):
    """From rest at 4 rad/s², or to one side at 5 and back."""
    bench = Bench(**USUAL, guard__max_acceleration=[5.0])
    bench.control.start()
    for step in range(1, 5):
        to_and_fro = 0.05 * (step % 2)
        steady = accelerates * 0.01 * step * (step + 1) / 2
        bench.policy.action = np.array([steady if accelerates > 0 else to_and_fro, 0.0])
        bench.run()
    path = np.concatenate([np.zeros(2), [command.position[0] for command in bench.sent]])
    assert np.abs(np.diff(path, 2)).max(initial=0.0) <= 5.0 * 0.01 + 1e-9
    assert bool(bench.control.statistics.violations["acceleration"]) is not goes_on


@pytest.mark.parametrize("reads", [-1.0005, -1.0, -0.9995])
@pytest.mark.parametrize(
    "how",
    [{"start__ramp_speed": 0.5}, {"start__blend_time": 1.0}, {"hold_joints": ["b"]}, {}],
    ids=str,
)
def test_a_joint_at_its_stop_may_read_a_hair_beyond_it(how, reads):
    bench = Bench(
        low=(-0.1, -1.0), high=(0.1, -0.98), robot_description_topic="robot", **USUAL, **how
    )
    bench.control.parts.description.take(URDF.format(low=-1.0, high=2.0))
    bench.present = np.array([0.3 if "start__ramp_speed" in how else 0.0, reads])
    bench.control.start()
    bench.policy.action = np.array([0.05, -1.0])
    bench.run(8)
    assert len(bench.sent) == 8 and not bench.control.faults.counts
    assert bench.path[:, 1].min() >= -1.0


def test_fingers_that_read_a_hair_beyond_their_end_can_be_opened():
    bench = Bench(
        low=(-0.1, 0.0), high=(0.1, 0.04), robot_description_topic="robot", gripper__joints=["b"],
        gripper__open=[0.04], gripper__closed=[0.0], **USUAL,
    )  # fmt: skip
    bench.control.parts.description.take(URDF.format(low=0.0, high=0.04))
    bench.follows, bench.present = False, np.array([0.0, -0.0002])
    bench.control.start()
    for wanted in (0.0, 0.0, 0.03999, 0.03999):
        bench.policy.action = np.array([0.0, wanted])
        bench.run()
    assert bench.path[:, 1].tolist() == [0.0, 0.0, 0.04, 0.04]


@pytest.mark.parametrize("every", [1, 2, 3])
def test_an_arm_that_does_not_follow_is_noticed_whatever_the_cameras_rate(every):
    spec = parse_spec({"rate": 30, "tick": "image", "cameras": [{"name": "front"}],
                       "joints": [{"names": ["a", "b"]}]})  # fmt: skip
    bench = Bench(spec=spec, **USUAL)
    bench.follows = False
    bench.control.start()
    bench.policy.action = np.array([0.15, 0.0])
    for _ in range(60):  # 2 s at least, by `watch.still_time`
        bench.label += every * spec.period_ns
        bench.now = bench.label
        bench.tick(bench.label, bench.label)
    assert [fault.code for fault in bench.control.faults.latched] == ["frozen:joints"]


def test_after_a_missed_tick_an_arm_that_lags_goes_on():
    """A motion begins anew then, from where the arm is: so does what is exempt at its begin."""
    bench = Bench(**USUAL, guard__acceleration_margin=1.0)
    bench.follows = False
    bench.control.start()
    for step in range(1, 16):
        if step == 8:
            bench.label += PERIOD
        bench.policy.action = np.array([0.05 * (bench.label / PERIOD - 49), 0.0])
        bench.run()
        bench.present = np.array([bench.policy.action[0] - 0.12, 0.0])
    assert not bench.control.statistics.violations
    assert len(bench.sent) == 15 and bench.control.state is State.COMMANDING


@pytest.mark.parametrize("interval", [0, PERIOD // 10])
@pytest.mark.parametrize("ticks", [1, 20])
def test_what_a_finger_presses_on_is_not_let_go_after_a_hold(ticks, interval):
    """What was sent last is in force. By its velocity from where the finger stands, a command to
    press on would be refused again and again."""

    class Gripping(Bench):
        def send(self, command):
            super().send(command)
            self.present[1] = max(self.present[1], 0.0)  # there is something in between

        def run(self, ticks=1):
            for _ in range(ticks):
                super().run()
                for _ in range(9 if interval else 0):
                    self.now += interval
                    self.interpolator.tick()
            return self.ticks[-1]

    bench = Gripping(interval=interval, guard__max_velocity=[1.0, 1.0])
    bench.control.start()
    for wanted in (0.05, 0.02, -0.02, -0.06, -0.1, -0.14, -0.16, -0.16):
        bench.policy.action = np.array([0.0, wanted])
        assert bench.run().sent
    bench.missing = {"front": "no image"}
    bench.run(ticks)
    bench.missing = {}
    before = len(bench.sent)
    assert bench.run().state is State.COMMANDING
    assert len(bench.sent) > before
    for sent in bench.sent[before:]:
        assert sent.position == pytest.approx([0.0, -0.16])
        assert sent.velocity.tolist() == [0.0, 0.0]

    bench.control.stop()
    bench.run()
    bench.present = np.array([0.0, 0.03])  # somebody else opened it
    bench.control.start()
    assert bench.run().sent is None, "a motion that begins, begins where the arm is"


def test_after_an_interrupted_segment_a_motion_begins_where_the_arm_is():
    bench = Bench(interval=PERIOD // 10, guard__max_velocity=[1.0, 1.0])
    bench.control.start()
    bench.follows = False
    for _ in range(4):
        bench.policy.action = np.array([0.09, 0.0])
        bench.run()
    bench.fresh = False
    bench.now += PERIOD // 10
    bench.interpolator.tick()
    bench.fresh = True
    assert bench.run().interrupted
    bench.policy.action = np.array([0.105, 0.0])
    assert bench.run().sent is None, "0.015 from the last command, but 0.105 from the arm"


@pytest.mark.parametrize(
    ("kept", "here"),
    [
        ((0.2, -0.3), (0.2, -0.3)),
        ((0.5, -0.3), (0.0, -0.3)),  # not within its reach
        ((0.2, -0.41), (0.2, 0.0)),
        ((-0.3, 0.2), (0.0, 0.0)),  # reaches differ by side
    ],
)
def test_each_joint_goes_on_from_its_last_command_within_reach(kept, here):
    limits = JointLimits(*(np.full(2, value) for value in (-9, 9, 0.1, 9, np.inf)))
    lead = np.array([0.0, 0.4]), np.array([0.4, 0.0])
    limiter = JointLimiter(limits, ("a", "b"), lead)
    motion = Motion(PERIOD, kept=np.array(kept))
    assert motion.here(PERIOD, np.zeros(2), limiter).tolist() == list(here)


class Stepped(Bench):
    """With set-points every 10 ms, at most 0.01 apart."""

    def __init__(self):
        super().__init__(interval=PERIOD // 10, guard__max_velocity=[1.0, 1.0])
        self.control.start()

    def go(self, *wanted, set_points=9):
        for one in wanted:
            self.policy.action = np.array([one, 0.0])
            tick = self.run()
            for number in range(set_points):
                self.now += PERIOD // 10
                self.fresh = number < 4 or set_points == 9  # joint states are late once
                self.interpolator.tick()
            self.fresh = True
        return tick

    def go_blind(self, ticks=1):
        self.missing = {"front": "no image"}
        self.go(*[0.0] * ticks)
        self.missing = {}

    def smooth(self, since, last):
        path = [last, *(command.position[0] for command in self.sent[since:])]
        return np.abs(np.diff(path)).max(initial=0.0) < 0.0101


def test_after_an_interruption_no_motion_begins_at_a_hold_of_before():
    bench = Stepped()
    bench.go(0.02, 0.05, 0.05)
    bench.go_blind()
    bench.go(0.05, 0.07, 0.10, 0.13, 0.16, 0.18, 0.20)
    bench.go(0.22, set_points=5)
    sent, last = len(bench.sent), bench.present[0]
    assert bench.go(0.14).interrupted and bench.control.held is None
    bench.go(0.14, 0.14, 0.10)
    assert len(bench.sent) > sent and bench.smooth(sent, last)


def test_an_interruption_while_the_tick_is_judged_counts():
    bench = Stepped()
    bench.go(0.05, 0.05, 0.05)
    bench.go(0.13, set_points=3)
    sent, last, check = len(bench.sent), bench.present[0], bench.control.parts.limiter.check

    def interrupted(*values, **options):
        bench.control.parts.limiter.check = check
        result = check(*values, **options)
        bench.fresh = False
        bench.interpolator.tick()
        bench.fresh = True
        return result

    bench.control.parts.limiter.check = interrupted
    assert bench.go(0.14).sent is None and len(bench.sent) == sent
    bench.go(0.14)
    assert len(bench.sent) > sent and bench.smooth(sent, last)


@pytest.mark.parametrize("wanted", [0.05, 0.16])
def test_an_arm_that_was_moved_in_a_hold_goes_on_from_where_it_is(wanted):
    """By hand, or by its controller, which was switched off and on."""
    bench = Stepped()
    bench.go(0.0, 0.0, 0.0)
    bench.go_blind(2)
    bench.present = np.array([0.15, 0.0])
    bench.go_blind(5)
    sent = len(bench.sent)
    bench.go(wanted, wanted)
    assert len(bench.sent) > sent and bench.smooth(sent, 0.15)


def test_from_beyond_its_limit_a_joint_goes_back_no_faster():
    bench = Stepped()
    bench.present = np.array([1.09, 0.0])
    for _ in range(3):
        bench.go(0.995)
    assert not bench.sent and bench.interpolator.interruptions["velocity"]


@pytest.mark.parametrize("periods", [0.7, 1.0, 1.2, 1.4])
def test_a_trajectory_is_judged_by_the_period_in_which_it_is_to_be_done(periods):
    """Where an image was lost the next one's tick is later than a period."""
    bench = Bench(spec=IMAGES, guard__max_velocity=[1.0], guard__on_velocity="clamp")
    bench.control.start()
    moved = 0
    for number in range(8):
        bench.policy.action = bench.present + [0.14 * (number >= 3), 0.0]
        bench.label += round(periods * PERIOD)
        bench.now, before = bench.label, bench.present.copy()
        bench.tick(bench.label, bench.label)
        sent = bench.ticks[-1].sent
        assert sent is not None, bench.control.status().text
        (position, velocity, at_ns), *_ = sent.trajectory([0, 1], PERIOD)
        assert abs(position[0] - before[0]) <= 1.0 * at_ns * 1e-9 + 1e-9
        assert abs(velocity[0]) <= 1.0 + 1e-9
        moved += abs(position[0] - before[0]) > 0.05
    assert moved >= 4


def test_a_simulation_that_pauses_does_not_renew_the_wait():
    bench = Bench(simulated=True, start__wait=1.0)
    bench.control.start()
    bench.found = Faults(soft={"no_controller": "nobody takes commands"})
    for _ in range(2):
        bench.run(6)
        bench.steady += 20 * PERIOD
        bench.control.look_for_stall()
    bench.run()
    assert bench.control.state is State.STOPPED
    assert bench.control.status().code == "waited"


def test_a_run_that_stalls_while_it_moves_waits_as_long_as_any_other():
    bench = Bench(simulated=True, start__wait=1.0)
    bench.control.start()
    bench.run(15)
    assert bench.control.state is State.COMMANDING
    bench.steady += 20 * PERIOD
    bench.control.look_for_stall()
    assert bench.control.state is State.STALLED
    bench.found = Faults(soft={"no_controller": "nobody takes commands"})
    bench.run(9)
    assert bench.control.state is State.HOLDING
    bench.run(3)
    assert bench.control.state is State.STOPPED
