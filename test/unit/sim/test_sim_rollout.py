# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Trials in simulated time: what a policy is shown, and that its commands move the arm."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import sarnn_ros
from benchmark.tasks.controls import Replay
from sarnn_ros.errors import SpecError
from sarnn_ros.sim.expert import plan
from sarnn_ros.sim.rollout import rollout
from sarnn_ros.sim.scene import JOINT_NAMES, LiftScene, home_joints
from sarnn_ros.sim.task import KINDS, Placement, plan_trials
from sarnn_ros.spec import load_spec, parse_spec

SPEC = load_spec(Path(sarnn_ros.__file__).parent.parent / "config" / "demo_spec.yaml")


@pytest.fixture(scope="module")
def scene() -> LiftScene:
    return LiftScene()


class Still:
    """Keeps the arm at home and everything it was shown."""

    def __init__(self) -> None:
        self.seen: list = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def step(self, observation) -> SimpleNamespace:
        self.seen.append(observation)
        return SimpleNamespace(action=home_joints())


def _demonstration(y: float) -> np.ndarray:
    return plan(Placement(0.42, y), np.random.default_rng(0))


@pytest.mark.parametrize("y", [-0.2, 0.05])
def test_the_right_trajectory_succeeds_and_another_does_not(scene, y):
    policy = Replay(_demonstration(y))
    right = rollout(policy, scene, Placement(0.42, y), SPEC)
    wrong = rollout(policy, scene, Placement(0.42, y + 0.1), SPEC)
    assert right.success
    assert right.max_lift > 0.1
    assert not wrong.success
    assert wrong.max_lift < 0.05


def test_what_the_policy_is_shown(scene):
    policy = Still()
    result = rollout(policy, scene, Placement(0.42, 0.1), SPEC, ticks=5, seed=3)
    assert policy.resets == 1
    assert len(policy.seen) == 5
    assert result.positions.shape == result.commands.shape == (5, 6)
    for tick, observation in enumerate(policy.seen, start=1):
        assert observation.tick_ns == tick * SPEC.period_ns
        assert observation.images["front"].shape == (64, 64, 3)
        assert observation.images["front"].dtype == np.uint8
        np.testing.assert_allclose(observation.state, home_joints(), atol=2e-3)
    scene.reset(0.42, 0.1)
    halves = scene.render().reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(policy.seen[0].images["front"] - halves).mean() < 1.0


def test_a_policy_of_image_ticks_is_asked_at_every_third_image(scene):
    policy = Still()
    spec = SPEC.model_copy(update={"tick": "image"})
    rollout(policy, scene, Placement(0.42, 0.1), spec, ticks=5, seed=3)
    ticks = [observation.tick_ns for observation in policy.seen]
    assert np.diff(ticks) == pytest.approx(1e8, abs=2)


def test_the_gripper_is_what_it_was_told_the_arm_what_it_measures(scene):
    class Closer(Still):
        def step(self, observation):
            super().step(observation)
            return SimpleNamespace(action=home_joints() + [0.05, 0, 0, 0, 0, -0.045])

    policy = Closer()
    rollout(policy, scene, Placement(0.42, 0.1), SPEC, ticks=3)
    last = policy.seen[-1].state - home_joints()
    assert last[5] == pytest.approx(-0.045, abs=1e-9)
    assert 0.01 < last[0] < 0.0499  # still on its way, for the arm lags


@pytest.mark.parametrize("vision", ["live", "hidden"])
def test_controls_of_vision(scene, vision):
    class Mover(Still):
        def step(self, observation):
            super().step(observation)
            return SimpleNamespace(action=home_joints() + [0.1 * len(self.seen), 0, 0, 0, 0, 0])

    policy = Mover()
    rollout(policy, scene, Placement(0.42, 0.0), SPEC, vision=vision, ticks=4)
    images = np.array([item.images["front"].astype(int) for item in policy.seen])
    red = (images[..., 0] > 120) & (images[..., 1] < 60)
    assert (red.sum() == 0) == (vision == "hidden")
    assert not (images[0] == images[-1]).all()
    assert policy.seen[-1].state[0] > 0.1


def test_trials_repeat_exactly_and_seeds_shift_the_sensors(scene):
    class Mover(Still):
        def step(self, observation):
            super().step(observation)
            return SimpleNamespace(action=home_joints() + 0.05 * len(self.seen))

    def joints_seen(seed: int) -> np.ndarray:
        policy = Mover()
        rollout(policy, scene, Placement(0.42, 0.0), SPEC, ticks=6, seed=seed)
        return np.array([observation.state for observation in policy.seen])

    np.testing.assert_array_equal(joints_seen(1), joints_seen(1))
    assert (joints_seen(1) != joints_seen(2)).any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"joints": [{"topic": "wrench", "names": ["joint1"]}]}, "'wrench'"),
        ({"joints": [{"topic": "joint_states", "names": ["elbow"]}]}, "'elbow'"),
        ({"cameras": [{"topic": "rear/image_raw"}]}, "rear/image_raw"),
    ],
)
def test_what_the_simulator_has_not_is_named(scene, change, said):
    base = {"cameras": [{}], "joints": [{"names": list(JOINT_NAMES)}]}
    with pytest.raises(SpecError, match=said):
        rollout(Still(), scene, Placement(0.42, 0.0), parse_spec(base | change), ticks=1)


def test_the_plan_of_an_evaluation():
    trials = plan_trials(repeats=2, others=6, seed=0)
    counts = {kind: sum(trial.kind == kind for trial in trials) for kind in KINDS}
    assert counts == {
        "taught": 10,
        "untaught": 8,
        "random": 6,
        "control_no_vision": 6,
        "control_replay": 6,
    }
    for trial in trials:
        assert (trial.vision != "live") == (trial.kind == "control_no_vision")
        assert (trial.driver == "replay") == (trial.kind == "control_replay")
        if trial.kind.startswith("control"):
            assert abs(trial.cube.y) > 0.03  # blind luck lives in the middle
    blind = [trial.vision for trial in trials if trial.kind == "control_no_vision"]
    assert blind == ["hidden"] * 6
    assert plan_trials(2, 6, 0) == trials
    assert plan_trials(2, 6, 1) != trials
