# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation says of policies whose predictions are known beforehand."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bag_making as make
import numpy as np
import pytest
from moved_camera import HEIGHT, WIDTH, move, scene, shot, with_things

from sarnn_ros.data.dataset import Dataset, Episode
from sarnn_ros.policy.reference import references_from_dataset
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.training import evaluate
from sarnn_ros.training.config import make_config
from sarnn_ros.training.evaluate import (
    free_run,
    free_running,
    judge_cameras,
    open_loop,
)
from sarnn_ros.training.evaluation_page import _joint_table
from sarnn_ros.training.explained import (
    explained_variance,
    stretch,
    stretched,
    unseen_demonstrations,
)
from sarnn_ros.training.recipe import decide
from sarnn_ros.training.run import make_trainer, train
from sarnn_ros.training.warping import at_best_pace

pytestmark = pytest.mark.usefixtures("quick_search")

MakeTask = Callable[..., Dataset]


def look(image: np.ndarray) -> np.ndarray:
    """The brightest pixel of (H, W, 3), and the corner, as points (2, 2) in [0, 1]."""
    height, width = image.shape[:2]
    row, column = np.unravel_index(image[..., 0].argmax(), (height, width))
    return np.array([[column / width, row / height], [0.0, 0.0]])


class Known:
    """Predicts `offset` beside the present state; looks at the brightest pixel and a corner."""

    def __init__(self, offset: float, largest: Any = (1.0, 1.0, 1.0)) -> None:
        self.offset = offset
        self.resets = 0
        self.normaliser = JointNormaliser((0.0, 0.0, 0.0), largest, (0.0, 1.0))

    def reset(self) -> None:
        self.resets += 1

    def step(self, observation: Any) -> Any:
        points = look(observation.images["camera0"])
        return SimpleNamespace(
            action=observation.state + self.offset, encoder_points={"camera0": points}
        )


@pytest.mark.parametrize(("right", "undone"), [(0.0, None), (0.06, True), (0.3, False)])
def test_a_camera_that_was_moved_since_is_found(right: float, undone: bool | None) -> None:
    rng, room = np.random.default_rng(0), scene()

    def episode(name: str, picture: np.ndarray) -> Any:
        ticks, nothing = np.arange(2), np.zeros((2, 1))
        return Episode(name, ticks, {}, nothing, nothing, {"front": (WIDTH, HEIGHT)},
                       previews={"front": (picture,)})  # fmt: skip

    spec = make.spec()
    shown = [episode(f"demo_{row}", shot(with_things(room, rng, 2))) for row in range(8)]
    made = references_from_dataset(
        SimpleNamespace(spec=spec, episodes=shown, displacements=(), moves=lambda camera: False)
    )
    policy: Any = SimpleNamespace(
        spec=spec,
        references={"front": made["front"][0]},
        config=SimpleNamespace(references={"front": made["front"][1]}),
    )
    new = [episode(f"new_{row}", shot(with_things(room, rng, 2), move(right, 0, 0, 1)))
           for row in range(4)]  # fmt: skip
    found, said = judge_cameras(policy, [*shown, *new])
    told = " ".join(said)
    if undone is None:
        assert not found and not told
        return
    assert [one.episodes for one in found] == [(f"new_{row}",) for row in range(4)]
    assert all(one.undone == undone for one in found)
    assert [one.found.displacement for one in found] == pytest.approx([right] * 4, abs=0.01)
    assert "in 4 episodes (new_0, new_1, new_2 and 1 more)" in told
    assert ("undone, as the node does it" in told) == undone
    other = dataclasses.replace(new[0], source_sizes={"front": (64, 48)})
    away = episode(
        "away",
        np.random.default_rng(1).integers(0, 255, new[0].previews["front"][0].shape, np.uint8),
    )
    found, said = judge_cameras(policy, [other, away])
    assert not found and len(said) == 2 and all("the node begins no run" in one for one in said)
    assert judge_cameras(policy, [dataclasses.replace(new[0], previews={})]) == ((), ())

    def relit(factor: float) -> list[Any]:
        return [
            dataclasses.replace(one, previews={"front": ((one.previews["front"][0] * factor)
                                                         .astype(np.uint8),)})
            for one in new
        ]  # fmt: skip

    found, said = judge_cameras(policy, relit(0.4))
    assert all(one.undone == undone for one in found)
    assert any("light in 4 episodes" in one and "and this does not" in one for one in said)
    found, said = judge_cameras(policy, relit(0.12))
    assert not any(one.undone for one in found)
    assert any("the node begins no run, but its picture is 0.1" in one for one in said), said


def test_errors_are_in_the_joints_unit(make_task: MakeTask) -> None:
    dataset = make_task([9, 6, 7])
    policy = Known(0.0)
    result = open_loop(policy, dataset, (0, 1, 2))  # type: ignore[arg-type]
    assert policy.resets == result["episodes"] == 3
    # Saying that nothing changes is as bad as `still`, which is the episodes' own speed.
    assert result["rmse"] == pytest.approx(result["still"])
    steps = np.concatenate([np.diff(episode.joints, axis=0) for episode in dataset.episodes])
    assert list(result["still"].values()) == pytest.approx(np.sqrt((steps**2).mean(0)))
    assert list(result["rmse"]) == ["a", "b", "c"]
    worse = open_loop(Known(0.5), dataset, (0, 1, 2))  # type: ignore[arg-type]
    assert all(error > 0.4 for error in worse["rmse"].values())


def test_of_corrections_alone_what_a_person_did_is_told(make_task: MakeTask) -> None:
    dataset = make_task([9, 8])
    episodes = tuple(
        dataclasses.replace(one, led=np.arange(len(one.ticks)) > 4) for one in dataset.episodes
    )
    dataset = dataclasses.replace(dataset, episodes=episodes)
    policy: Any = Known(0.5)
    result = open_loop(policy, dataset, (0, 1))
    assert result["points_explain"] is None
    led = np.concatenate([one.joints[5:-1] + 0.5 - one.targets[5:-1] for one in episodes])
    assert list(result["rmse"].values()) == pytest.approx(np.sqrt((led**2).mean(0)))
    free = free_running(policy, dataset, (0, 1), (0, 1))
    assert free["episodes"] == 0 and free["rmse"] == {}
    traces: Any = [SimpleNamespace(error=np.ones((3, 3)))]
    shown = _joint_table(traces, dataset, {"open_loop": result, "free_running": free})
    assert shown.count("unknown") == 3


def test_attention_that_follows_stands_out(make_task: MakeTask) -> None:
    result = open_loop(Known(0.0), make_task([9] * 6), range(6))  # type: ignore[arg-type]
    following, corner = result["motion"]["camera0"]
    assert following > 0.01
    assert corner == 0


def test_points_that_see_explain_how_episodes_differ(make_task: MakeTask) -> None:
    """In this task the joints follow from where the square is and how fast it moves."""
    dataset = make_task([9] * 30, sizes=((64, 60),))
    policy: Any = Known(0.0)
    told = open_loop(policy, dataset, range(30))
    assert told["points_explain"] < 0.1  # as the first joints tell it, too
    for episode in dataset.episodes:
        episode.joints[0] = 0.5
    result = open_loop(policy, dataset, range(30))
    assert result["points_explain"] > 0.3 > 0.1 > result["with_episodes_exchanged"]
    few = open_loop(policy, dataset, range(5))
    assert few["points_explain"] is few["with_episodes_exchanged"] is None


def test_of_episodes_that_do_not_differ_nothing_is_explained(make_task: MakeTask) -> None:
    """Wherever the points are: the mean demonstration is all that there is."""
    dataset = make_task([9] * 6)
    for episode in dataset.episodes:
        episode.targets[:] = 0.3
    result = open_loop(Known(0.0), dataset, range(6))  # type: ignore[arg-type]
    assert result["points_explain"] is result["with_episodes_exchanged"] is None


def test_joints_that_count_nothing_explain_nothing(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_task([9] * 6)
    policy: Any = Known(0.1)
    told = open_loop(policy, dataset, range(6)), free_running(policy, dataset, [0], range(6))
    assert told[0]["points_explain"] is not None and told[1]["explained_variance"] is not None
    monkeypatch.setattr(evaluate, "motion_weights", lambda normaliser, spec: np.zeros(3))
    still = open_loop(policy, dataset, range(6)), free_running(policy, dataset, [0], range(6))
    assert still[0]["points_explain"] is still[1]["explained_variance"] is None
    assert still[1]["rmse"] == told[1]["rmse"]


@pytest.mark.parametrize("count", [5, 7])
def test_a_policy_that_plays_the_mean_demonstration_explains_nothing_of_new_ones(
    make_task: MakeTask, count: int
) -> None:
    """Of few recordings the mean knows each a little."""
    found = []
    shares = np.linspace(0, 1, 21)[:, None]
    rng = np.random.default_rng(0)
    dataset = make_task([21] * count)
    for _ in range(12):
        for episode in dataset.episodes:
            episode.joints[:] = shares * rng.normal(0, 0.2, 3)
            episode.targets[:] = np.concatenate([episode.joints[1:], episode.joints[-1:]])
        policy: Any = Replayed(np.zeros((21 * count, 3)))
        result = free_running(policy, dataset, range(count), range(count))
        found.append(result["explained_variance"])
    if count == 5:
        assert found == [None] * 12
    else:
        assert abs(np.median(found)) < 0.1, found


def test_running_free_its_errors_add_up(make_task: MakeTask) -> None:
    """What an action is off by, the next state is off by."""
    dataset = make_task([9, 6, 7, 1])
    policy: Any = Known(0.1)
    for episode in dataset.episodes[:3]:
        found = free_run(policy, episode)
        steps = np.arange(1, len(episode.ticks))[:, None]
        np.testing.assert_allclose(found, episode.joints[0] + 0.1 * steps, rtol=1e-6)
    result = free_running(policy, dataset, range(4), range(4))
    assert result["episodes"] == 3  # of the fourth there is nothing to predict
    nothing = free_running(policy, dataset, [3], range(4))
    assert nothing["explained_variance"] is None


class Replayed(Known):
    """Predicts these actions (T, D), whatever it sees."""

    def __init__(self, actions: np.ndarray) -> None:
        super().__init__(0.0)
        self.actions = iter(actions)

    def step(self, observation: Any) -> Any:
        points = look(observation.images["camera0"])
        return SimpleNamespace(action=next(self.actions), encoder_points={"camera0": points})


def test_a_run_at_another_pace_is_hardly_off(make_task: MakeTask) -> None:
    """No image tells a person's pace, so how far it is off is told at the one that fits best."""
    dataset = make_task([41, 41])
    shares = np.linspace(0, 1, 41)[:, None]
    dataset.episodes[0].targets[:] = shares * [0.3, 0.2, 0.1]
    policy: Any = Replayed(shares**1.5 * [0.3, 0.2, 0.1])
    result = free_running(policy, dataset, [0], range(2))
    far = np.abs(shares - shares**1.5).max() * 0.3
    assert max(result["rmse"].values()) < 0.1 * far


def test_a_joint_that_hardly_moves_does_not_set_the_pace(make_task: MakeTask) -> None:
    """Joints count by the ranges of the policy's demonstrations, not of a few recordings."""
    few = JointNormaliser((0.0, 0.0, -3e-4), (0.3, 0.2, 3e-4), (0.0, 1.0))
    dataset = dataclasses.replace(make_task([41, 41]), normaliser=few)
    shares = np.linspace(0, 1, 41)[:, None]
    trembles = 3e-4 * np.sin(20.0 * shares) * [0, 0, 1]
    dataset.episodes[0].targets[:] = shares * [0.3, 0.2, 0.0] + trembles
    policy: Any = Replayed(shares**1.5 * [0.3, 0.2, 0.0] + trembles)
    result = free_running(policy, dataset, [0], range(2))
    far = np.abs(shares - shares**1.5).max() * 0.3
    assert max(result["rmse"].values()) < 0.1 * far


def unseen(demonstrations: list[np.ndarray]) -> np.ndarray:
    """Where all start alike."""
    states = np.zeros((len(demonstrations), 1))
    return unseen_demonstrations(demonstrations, states, states)


def test_explained_variance_is_against_the_mean_demonstration() -> None:
    # The first joint leaves no other pace; the second tells the episodes apart.
    targets = [
        np.stack([np.linspace(0, 10, length), np.full(length, float(place))], 1)
        for place, length in enumerate((9, 14, 20))
    ]
    mean = unseen(targets)
    assert explained_variance(targets, targets, mean) == 1
    replayed = [stretch(one, len(truth)) for one, truth in zip(mean, targets, strict=True)]
    assert explained_variance(replayed, targets, mean) == pytest.approx(0)
    halfway = [(one + truth) / 2 for one, truth in zip(replayed, targets, strict=True)]
    assert explained_variance(halfway, targets, mean) == pytest.approx(0.75)
    still = [np.zeros((5, 2))] * 3
    assert explained_variance(still, still, unseen(still)) is None


def test_the_mean_of_demonstrations_at_different_speeds_is_their_path() -> None:
    path = [np.linspace(0, 1, length)[:, None] for length in (5, 50, 300)]
    np.testing.assert_allclose(stretch(unseen(path)[0], 7)[:, 0], np.linspace(0, 1, 7))


def test_the_training_and_the_policy_explain_the_same(make_task: MakeTask, tmp_path: Path) -> None:
    """Torch on padded batches while training, the policy's own steps afterwards."""
    config = make_config({"k_dim": 2, "rec_dim": 8, "epochs": 20, "threads": 1, "device": "cpu",
                          "inner_steps": 5, "learning_rate": 0.01})  # fmt: skip
    dataset = make_task([9, 5, 12, 7, 9, 3, 9])
    said: list[str] = []
    train(decide(dataset, config), tmp_path / "policy", warn=said.append)
    policy = Policy.load(tmp_path / "policy")
    result = free_running(policy, dataset, dataset.validation, dataset.training)
    told = policy.config.training["explained"]
    assert result["explained_variance"] == pytest.approx(told["free_run"], abs=1e-3)
    assert result["rmse"] == pytest.approx(told["rmse"], rel=1e-3)
    assert told["episodes"] == "validation" and told["points"] is not None
    last = [line for line in said if "root mean square error" in line]
    assert len(last) == 1
    normaliser = dataset.normaliser
    held_out = [normaliser.normalise(dataset.episodes[i].targets[:-1]) for i in dataset.validation]
    mean = at_best_pace(make_trainer(decide(dataset, config)).unseen, stretched(held_out))
    off = normaliser.denormalise(mean[0]) - normaliser.denormalise(stretched(held_out)[0])
    far = np.sqrt((off**2).mean(0))
    assert [f"({error:.2g})" for error in far] == re.findall(r"\([\d.e-]+\)", last[0])
    for name, error in told["rmse"].items():
        assert f"{name} {error:.2g} (" in last[0]
        assert f"{name} {error:.2g}" in (tmp_path / "policy" / "README.md").read_text()


def test_a_free_run_beyond_the_tolerance_is_told(make_task: MakeTask, tmp_path: Path) -> None:
    config = make_config({"k_dim": 2, "rec_dim": 8, "epochs": 2, "threads": 1, "device": "cpu"})
    dataset = make_task([9, 5, 12, 7, 9, 3, 9])

    def told() -> tuple[list[str], dict[str, float]]:
        said: list[str] = []
        out = tmp_path / f"policy_{len(dataset.spec.tolerance)}"
        train(decide(dataset, config), out, warn=said.append)
        rmse = Policy.load(out).config.training["explained"]["rmse"]
        return [one for one in said if "off by more" in one], rmse

    nothing, rmse = told()
    assert not nothing
    [source] = dataset.spec.joints
    over, within = source.names[:2]
    allowed = {over: 0.9 * rmse[over], within: 1.1 * rmse[within]}
    source = source.model_copy(update={"tolerance": allowed})
    spec = dataset.spec.model_copy(update={"joints": (source,)})
    dataset = dataclasses.replace(dataset, spec=spec)
    [warned], _ = told()
    assert f"{over} by {rmse[over]:.2g} (tolerance" in warned and f"{within} by" not in warned


@pytest.mark.parametrize(
    ("episodes", "odd", "named"), [(30, 1, True), (30, 6, False), (10, 1, False)]
)
def test_the_demonstration_that_is_not_foreseen_is_named(
    episodes: int, odd: int, named: bool, make_task: MakeTask, tmp_path: Path
) -> None:
    """Where the policy explains too little, and nearly all of its error is of one of six. Of two
    one always has half."""
    dataset = make_task([12] * episodes)
    held_out = [dataset.episodes[index] for index in dataset.validation]
    assert len(held_out) == episodes // 5
    for one in held_out[-odd:]:  # it goes elsewhere, which no image tells
        one.targets[:] += np.linspace(0, 5, 12)[:, None]
    said: list[str] = []
    config = make_config({"k_dim": 2, "rec_dim": 8, "epochs": 2, "threads": 1, "device": "cpu"})
    train(decide(dataset, config), tmp_path / "policy", warn=said.append)
    [warned] = [line for line in said if "may not see what it needs" in line]
    assert ("of the free run's squared error is in" in warned) == named
    assert (f"error is in {held_out[-1].name}" in warned) == named
