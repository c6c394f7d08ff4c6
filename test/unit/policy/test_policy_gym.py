# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A policy in a gymnasium environment, and a bag of what was done in one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import PassiveEnvChecker, TimeLimit

import sarnn_ros.policy
from sarnn_ros.data.write_bag import START_NS
from sarnn_ros.errors import ConfigError
from sarnn_ros.interop.gym import Outcome, record, rollout
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.spec import parse_spec

JOINTS = ("shoulder", "elbow", "gripper")


class Reach(gymnasium.Env):  # type: ignore[misc]
    """Three joints that go where they are told; succeeds when the first is at 0.5."""

    observation_space = gymnasium.spaces.Dict(
        {
            "pixels": gymnasium.spaces.Dict(
                {"camera0": gymnasium.spaces.Box(0, 255, (48, 64, 3), np.uint8)}
            ),
            "agent_pos": gymnasium.spaces.Box(-10, 10, (3,), np.float64),
        }
    )
    action_space = gymnasium.spaces.Box(-10, 10, (3,), np.float64)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.joints = self.np_random.uniform(0, 0.1, 3)
        self.actions: list[Any] = []
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.actions.append(np.array(action))
        self.joints[:] = np.asarray(action, np.float64)
        success = bool(self.joints[0] >= 0.5)
        return self._observation(), 0.25, success, False, {"is_success": success}

    def _observation(self) -> Any:
        image = np.zeros((48, 64, 3), np.uint8)
        image[..., 0] = len(self.actions)
        return {"pixels": {"camera0": image}, "agent_pos": self.joints.copy()}


class Own(Reach):
    """Gives its own array, as MuJoCo does."""

    def _observation(self) -> Any:
        return {**super()._observation(), "agent_pos": self.joints}


def make_env(steps: int = 100) -> Any:
    return TimeLimit(PassiveEnvChecker(Reach()), steps)


class Straight:
    """A control: the first joint ahead by a tenth at each tick; the gripper is not commanded."""

    spec = parse_spec(
        {
            "rate": 10,
            "cameras": [{"name": "camera0"}],
            "joints": [{"names": JOINTS[:2]}, {"topic": "hand", "names": ["gripper"],
                                               "command": False}],
        }
    )  # fmt: skip

    def reset(self) -> None:
        self.ticks: list[tuple[int, Any]] = []

    def step(self, images: Any, state: Any) -> tuple[Any, dict[str, Any]]:
        self.ticks.append((int(images["camera0"][0, 0, 0]), state))
        return np.array([0.1 * len(self.ticks), 0.0, 9.0]), {}


class Two(Reach):
    """Commands two joints of three."""

    action_space = gymnasium.spaces.Box(-10, 10, (2,), np.float64)

    def step(self, action: Any) -> Any:
        return super().step(np.array([*action, 0.0]))


def test_the_policy_acts_at_its_own_rate() -> None:
    env, policy = Two(), Straight()
    outcome = rollout(env, policy, rate=50, seed=3)
    assert outcome == Outcome(25, 25 * 0.25, True, True, False)
    assert [step for step, _ in policy.ticks] == [0, 5, 10, 15, 20]
    again = Two()
    start = again.reset(seed=3)[0]["agent_pos"]
    assert policy.ticks[0][1] == pytest.approx(start)
    actions = np.array(env.actions)
    assert actions[4::5, 0] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    between = np.diff(np.concatenate([start[:1], actions[:, 0]]))
    assert between[:5] == pytest.approx((0.1 - start[0]) / 5) and between[5:] == pytest.approx(
        0.02
    )


def test_it_ends_with_the_time() -> None:
    outcome = rollout(TimeLimit(Two(), 20), Straight(), rate=50)
    assert outcome.steps == 20 and outcome.truncated and outcome.success is False


@pytest.mark.parametrize("rate", [25, 9])
def test_rates_that_do_not_fit(rate: float) -> None:
    with pytest.raises(ConfigError, match=f"makes {rate} steps per second, the policy 10"):
        rollout(Two(), Straight(), rate=rate)


def test_a_state_that_does_not_fit() -> None:
    def short(observation: Any) -> Any:
        return {"camera0": observation["pixels"]}, observation["agent_pos"][:2]

    with pytest.raises(ConfigError, match="state has 2 values, the policy's 3"):
        rollout(Two(), Straight(), rate=50, observe=short)


def test_a_real_policy(policy_dir: Path) -> None:
    policy = sarnn_ros.policy.load(policy_dir)
    seen: list[Any] = []

    def step(images: Any, state: Any) -> Any:
        seen.append(policy.step(images, state))
        return seen[-1]

    def enlarged(observation: Any) -> Any:
        """As in training."""
        image = observation["pixels"]["camera0"].repeat(10, 0).repeat(10, 1)
        return {"camera0": image}, observation["agent_pos"]

    watched = SimpleNamespace(spec=policy.spec, reset=policy.reset, step=step)
    outcomes = [
        rollout(make_env(20), watched, rate=policy.rate, seed=1, observe=enlarged)
        for _ in range(2)
    ]
    assert outcomes[0] == outcomes[1] and outcomes[0].steps in range(1, 21)
    half = len(seen) // 2
    for (action, points), (same, _) in zip(seen[:half], seen[half:], strict=True):
        assert action.shape == (3,) and np.array_equal(action, same)
        assert points["camera0"].shape == (4, 2)


def script(count: int) -> Iterator[Any]:
    for index in range(count):
        yield np.array([0.01 * index, 0.2, 0.0])


SPEC = {
    "rate": 20,
    "target": "command",
    "cameras": [{"name": "camera0", "topic": "camera0", "width": 64, "height": 48}],
    "joints": {"names": list(JOINTS)},
}


def test_a_recorded_episode_is_a_bag_like_any_other(tmp_path: Path) -> None:
    outcome = record(make_env(), script(30), tmp_path / "demo", joints=JOINTS, rate=20, seed=7)
    assert outcome == Outcome(30, 7.5, False, False, False)
    (episode,) = load_dataset([tmp_path], parse_spec(SPEC)).episodes
    assert episode.ticks.tolist() == [START_NS + index * 50_000_000 for index in range(30)]
    assert episode.images["camera0"][:, 0, 0, 0].tolist() == list(range(30))
    assert episode.joints[1:] == pytest.approx(episode.targets[:-1])  # this arm obeys at once
    assert episode.targets == pytest.approx(np.stack(list(script(30))))
    first = Reach().reset(seed=7)[0]["agent_pos"]
    assert episode.joints[0] == pytest.approx(first)


def test_a_person_may_act(tmp_path: Path) -> None:
    """And the episode ends when the environment says so."""

    def act(observation: Any) -> Any:
        return observation["agent_pos"] + [0.1, 0, 0]

    outcome = record(make_env(), act, tmp_path / "demo", joints=JOINTS, rate=20, only_success=True)
    assert outcome.success and outcome.steps in (4, 5) and (tmp_path / "demo").is_dir()


def test_states_of_an_environment_that_gives_its_own_array(tmp_path: Path) -> None:
    def act(observation: Any) -> Any:
        return observation["agent_pos"] + [0.1, 0, 0]

    record(TimeLimit(Own(), 100), act, tmp_path / "demo", joints=JOINTS, rate=20)
    (episode,) = load_dataset(
        [tmp_path / "demo"],
        parse_spec(
            {
                "rate": 20,
                "cameras": [{"name": "camera0", "topic": "camera0"}],
                "joints": [{"names": JOINTS}],
            }
        ),
    ).episodes
    assert np.diff(episode.joints[:, 0]) == pytest.approx(0.1)


def test_only_what_succeeds_is_kept(tmp_path: Path) -> None:
    outcome = record(
        make_env(), script(9), tmp_path / "demo", joints=JOINTS, rate=20, only_success=True
    )
    assert outcome.success is False and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"joints": JOINTS[:2]}, "2 joints are named, the state has 3 values and the action 3"),
        ({"act": script(0)}, "no step"),
        ({"env": TimeLimit(gymnasium.make("CartPole-v1"), 5)}, "not pixels and agent_pos"),
    ],
)
def test_what_does_not_fit(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    values = {"env": make_env(), "act": script(3), "joints": JOINTS} | change
    with pytest.raises(ConfigError, match=says):
        record(values["env"], values["act"], tmp_path / "demo", joints=values["joints"], rate=20)
    assert list(tmp_path.iterdir()) == []
