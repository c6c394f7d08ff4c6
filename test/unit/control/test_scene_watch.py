# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""When prediction health and camera drift warn, and when they stop the robot."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sarnn_ros.control import scene_watch
from sarnn_ros.control.outlet import Command
from sarnn_ros.control.scene_watch import SceneWatch
from sarnn_ros.control.settings import build_settings
from sarnn_ros.control.state import STARTED, State
from sarnn_ros.control.tick import Tick
from sarnn_ros.policy.directory import CameraEnvelope, Health, Quantiles
from sarnn_ros.policy.runtime import Prediction
from sarnn_ros.streams.observe import Observation

PERIOD = 100_000_000


def config(*, known: bool = True) -> Any:
    """One camera and joint, p99 of 0.1."""
    known_errors = Quantiles(p50=(0.05,), p95=(0.05,), p99=(0.1,), max=(0.1,))
    errors = dict.fromkeys(("joints", "points:front", "image:front"), known_errors)
    camera = CameraEnvelope(
        width=8, height=6, brightness_mean=100, brightness_std=2, color_mean=(100, 100, 100)
    )
    return SimpleNamespace(
        spec=SimpleNamespace(period_ns=PERIOD, rate=10.0, command_indices=(0,)),
        normalisation=SimpleNamespace(minimum=(0.0,), maximum=(1.0,)),
        training={},
        envelope=SimpleNamespace(cameras={"front": camera}),
        health=Health(source="validation", episodes=1, ticks=9, errors=errors) if known else None,
    )


@pytest.fixture(autouse=True)
def two_ticks_of_drift(monkeypatch):
    monkeypatch.setattr(scene_watch, "DRIFT_WINDOW_S", 0.2)


class Scene:
    """A watch, and a world in which the points miss by `points` and the joint by `joint`."""

    def __init__(self, *, known: bool = True, **parameters: Any) -> None:
        self.values = {"health.window": 0.1, **parameters}
        self.said: list[tuple[str, str]] = []
        self.silent = False  # the log has just said the same
        self.number = 0
        self.watch = SceneWatch(config(known=known), lambda: build_settings(self.values), self.log)
        self.watch.reset()

    def log(self, level: str, key: str, text: str) -> bool:
        if not self.silent:
            self.said.append((level, text))
        return not self.silent

    @property
    def warnings(self) -> list[str]:
        return [text for level, text in self.said if level == "warning"]

    def tick(
        self,
        points: float = 0.0,
        *,
        joint: float = 0.0,
        light: int = 100,
        sent: float | None = 0.0,
        reset: str | None = None,
        blind: bool = False,
        left: bool = False,
        unlikely: float | None = None,
        state: State = State.COMMANDING,
    ) -> None:
        self.number += 1
        pixels = {"front": np.full((6, 8, 3), light, np.uint8)}
        here = {"front": np.zeros((1, 2))}
        seen = {"front": np.array([[points, 0.0]])}
        tick = Tick(self.number * PERIOD, state, reset=reset, interrupted=left)
        if not blind:
            tick.seen = Observation(tick.label_ns, pixels, np.array([joint]), {}, {})
            # Of an arm that lags, health goes by what the policy saw.
            tick.observation = replace(tick.seen, state=tick.seen.state + 9.0)
            tick.prediction = Prediction(np.zeros(1), seen, here, seen, unlikely=unlikely)
        commanded = state is State.COMMANDING and sent is not None
        tick.sent = None if not commanded else Command.standing(np.array([sent]))
        self.watch.see(tick)

    @property
    def faults(self) -> tuple[dict[str, str], dict[str, str]]:
        found = self.watch.faults()
        return found.soft, found.hard


def test_by_default_it_tells_once_in_a_run_and_stops_nothing():
    scene = Scene()
    for points in (0.0, 0.05, 0.3, 0.3, 0.05, 0.3, 0.05):
        scene.tick(points)
    assert scene.faults == ({}, {})
    (warning, over) = scene.said
    assert warning[0] == "warning" and warning[1].startswith(
        "prediction health 3.00 is above 1 (points:front); does the scene"
    )
    assert over == ("info", "prediction health is back at 0.50 (points:front)")
    scene.tick(0.3)
    well, text, values = scene.watch.health_status()
    assert not well and "3.00" in text and values["ratio points:front"] == pytest.approx(3.0)
    # The next run tells again.
    scene.tick(0.3, reset="start")
    for _ in range(2):
        scene.tick(0.3)
    assert len(scene.warnings) == 2


def test_first_images_in_which_something_is_missing_are_told_once_it_runs():
    scene = Scene()
    scene.tick(reset="start", unlikely=1.4)
    assert not scene.said
    for _ in range(3):
        scene.tick()
    (warning,) = scene.warnings
    assert warning.startswith("prediction health 1.40 is above 1 (places)")
    assert "something is missing, covered" in warning
    scene.tick(reset="start", unlikely=0.3)
    scene.tick()
    assert len(scene.warnings) == 1 and scene.watch.health.score == pytest.approx(0.3)


@pytest.mark.parametrize("forget", ["gap", "reset"])
def test_what_the_first_images_told_stays_in_a_run(forget: str):
    scene = Scene()
    scene.tick(reset="start", unlikely=0.3)
    scene.tick()
    if forget == "reset":
        scene.watch.reset()
    scene.tick(reset=forget, unlikely=7.0, state=State.HOLDING)  # the object is carried by now
    scene.tick()
    scene.tick()
    assert scene.watch.health.score == pytest.approx(0.3) and not scene.warnings
    scene.tick(reset="start", unlikely=7.0)
    scene.tick()
    assert len(scene.warnings) == 1, "another run"


def test_a_line_that_the_log_left_out_is_told_later():
    scene = Scene()
    scene.silent = True
    for _ in range(3):
        scene.tick(0.3)
    scene.silent = False
    scene.tick(0.3)
    assert len(scene.warnings) == 1


AT_REST = [State.STOPPED, State.FAULTED, State.HOLDING, State.RAMPING, State.WARMING_UP]


@pytest.mark.parametrize("state", AT_REST)
def test_where_the_policy_commands_nothing_health_is_unknown(state):
    """As when somebody moves the arm home by hand: nothing is said, and nothing latches."""
    scene = Scene(**{"health.stop_above": 2.0, "health.latch": True})
    for _ in range(5):
        scene.tick(0.3, joint=0.5, state=state)
    assert scene.watch.health.score is None and scene.faults == ({}, {}) and not scene.said
    assert scene.watch.health_status()[:2] == (True, "unknown: nothing is commanded")
    # Nor is the first tick of the motion compared with what was predicted before.
    scene.tick(0.3)
    assert scene.watch.health.score is None
    scene.tick(0.3)
    assert scene.watch.health.score == pytest.approx(3.0)


@pytest.mark.parametrize("state", AT_REST)
def test_the_tick_after_the_last_command_is_compared_while_started(state):
    """Refused and sent in turn, an arm that is blocked still shows."""
    scene = Scene()
    for _ in range(4):
        scene.tick(0.0)
        scene.tick(0.3, state=state)
    assert (scene.watch.health.score is None) == (state not in STARTED)
    assert len(scene.warnings) == (state in STARTED)


def test_the_end_of_a_run_says_how_large_the_score_was_and_proposes_a_threshold():
    scene = Scene()
    for number, points in enumerate((0.06, 0.04)):
        scene.tick(reset="start")
        scene.tick(points)
        scene.tick(0.01)
        values = scene.watch.health_status()[2]
        assert values["largest of this run"] == pytest.approx(points / 0.1)
        assert len(scene.said) == number
        scene.tick(state=State.STOPPED)
    text = (
        "prediction health of this run: at most {} (points:front), of all since configure 0.60; "
        "if they went well, health.stop_above could be 0.9"
    )
    assert scene.said == [("info", text.format("0.60")), ("info", text.format("0.40"))]
    values = scene.watch.health_status()[2]
    assert values["largest of the run before"] == pytest.approx(0.4)
    assert values["largest of all runs"] == pytest.approx(0.6)
    assert values["health.stop_above proposed"] == 0.9
    assert "largest of this run" not in values
    # Deactivated or ended in the middle of a run, there is no further tick.
    for _ in range(2):
        scene.tick(0.01)
    scene.watch.end_run()
    assert "at most 0.10" in scene.said[-1][1]
    scene.watch.end_run()
    assert len(scene.said) == 3


def test_a_dry_run_is_no_measure_of_runs_and_looks_only_where_the_arm_is_led_along():
    scene = Scene(dry_run=True)
    for _ in range(3):
        scene.tick(0.3, joint=0.5, sent=None)
    assert scene.watch.health.score is None and not scene.said
    assert "in a dry run nobody moves the arm" in scene.watch.health_status()[1]
    for _ in range(3):
        scene.tick(0.3, joint=0.05, sent=None)
    assert scene.watch.health.score == pytest.approx(3.0) and len(scene.warnings) == 1
    scene.tick(state=State.STOPPED)
    assert len(scene.said) == 1


def test_a_stop_holds_and_ends_with_its_cause():
    scene = Scene(**{"health.stop_above": 2.0})
    scene.tick()
    scene.tick(0.15)
    assert scene.faults == ({}, {})
    scene.tick(0.3)
    assert scene.faults[0]["health"].startswith("prediction health 3.00 is above 2")
    # While it holds for that, it goes on to look; a tick that sees nothing changes nothing.
    for blind in (False, False, True, False):
        scene.tick(0.3, state=State.HOLDING, blind=blind)
        assert "health" in scene.faults[0]
    scene.tick(0.15, state=State.HOLDING)
    assert scene.faults == ({}, {})
    scene.tick(0.3, state=State.HOLDING)
    assert scene.watch.health.score is None and scene.faults == ({}, {}), "another fault holds it"


def test_a_stop_by_the_user_ends_what_held_the_robot():
    scene = Scene(**{"health.stop_above": 2.0})
    for _ in range(2):
        scene.tick(0.3)
    scene.tick(0.3, state=State.HOLDING)
    assert "health" in scene.faults[0]
    scene.tick(0.3, state=State.STOPPED)
    assert scene.faults == ({}, {}) and scene.watch.health.score is None


def test_a_stop_latches_where_told_to():
    scene = Scene(**{"health.stop_above": 2.0, "health.latch": True})
    scene.tick()
    scene.tick(0.3)
    assert "health" in scene.faults[1] and not scene.faults[0]


def test_a_stop_asked_of_a_policy_without_reference_holds():
    scene = Scene(known=False)
    scene.tick()
    assert scene.faults == ({}, {})
    well, text, _ = scene.watch.health_status()
    assert well and text.startswith("unknown") and "--resume" in text
    scene.values["health.stop_above"] = 2.0  # live
    assert "--resume" in scene.faults[0]["health"]


def test_a_held_robot_is_not_expected_to_move():
    scene = Scene()
    scene.tick()
    scene.tick(joint=0.5, sent=None)
    assert scene.watch.health.worst == "joints"
    scene.tick(joint=0.5, sent=None)
    assert "joints" not in scene.watch.health.ratios
    scene.tick(joint=0.5)
    assert "joints" not in scene.watch.health.ratios
    scene.tick(joint=0.5)
    assert scene.watch.health.ratios["joints"] == pytest.approx(5.0)


def test_a_command_that_is_not_the_prediction_is_not_expected_to_come_true():
    """A ramp, a blend, a clamp."""
    scene = Scene(**{"health.stop_above": 2.0})
    scene.tick(sent=0.5)
    scene.tick(joint=0.5, sent=0.3)
    scene.tick(joint=0.5)
    assert "joints" not in scene.watch.health.ratios and scene.faults == ({}, {})
    scene.tick(joint=0.5)
    assert "health" in scene.faults[0]


def test_a_way_that_was_left_is_not_expected_to_be_walked():
    scene = Scene()
    scene.tick()
    scene.tick(joint=0.5, left=True)
    assert "joints" not in scene.watch.health.ratios


def test_a_reset_in_the_middle_of_a_tick_leaves_nothing_of_it():
    scene = Scene(**{"health.stop_above": 2.0, "health.latch": True})
    scene.tick()
    resetting = threading.Thread(target=scene.watch.reset)
    see = scene.watch._health.see

    def seen(*arguments, **options):
        reading = see(*arguments, **options)
        resetting.start()
        resetting.join(0.1)  # it has to wait for the tick
        return reading

    scene.watch._health.see = seen
    scene.tick(0.3)
    resetting.join()
    assert scene.watch.health.score is None and scene.faults == ({}, {})


def test_a_reset_and_a_tick_without_observation_are_no_comparison():
    scene = Scene()
    scene.tick()
    scene.tick(0.3, reset="gap")
    assert scene.watch.health.score is None
    scene.tick(0.3)
    assert scene.watch.health.score == pytest.approx(3.0)
    scene.tick(blind=True)
    scene.tick(joint=0.5)
    assert "joints" not in scene.watch.health.ratios


def test_drift_warns_once_with_what_to_do():
    scene = Scene()
    scene.tick(light=60)
    assert scene.watch.drift_status()[:2] == (True, "unknown yet")
    for _ in range(3):
        scene.tick(light=60)
    (warning,) = scene.warnings
    assert warning.startswith(
        "front: the image is 40% darker than in training (60 of 255, then 100)"
    )
    assert "white balance" in warning
    well, text, values = scene.watch.drift_status()
    assert not well and text == warning
    assert values["brightness change front"] == pytest.approx(-0.4)
    assert scene.faults == ({}, {}), "never a stop"
    for _ in range(2):
        scene.tick(light=80)
    assert scene.watch.drift_status()[:2] == (True, "as in training")


def test_light_that_training_saw_is_no_drift(monkeypatch):
    monkeypatch.setattr(scene_watch, "MAX_BRIGHTNESS_CHANGE", 0.01)
    scene = Scene()
    for _ in range(2):
        scene.tick(light=95)
    assert not scene.warnings
    for _ in range(2):
        scene.tick(light=93)
    assert scene.warnings[0].startswith("front: the image is 7% darker")
