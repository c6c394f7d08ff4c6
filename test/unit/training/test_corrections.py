# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training on episodes in which a person took over from a policy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import bag_making as make
import numpy as np
import pytest
import torch
from training_fixtures import MakeDataset as MakeTask

from sarnn_ros.data.dataset import Dataset, make_dataset
from sarnn_ros.errors import TrainingError
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.training import attention_search, batches
from sarnn_ros.training.attention_search import cross_validate
from sarnn_ros.training.config import TrainConfig, make_config
from sarnn_ros.training.evaluate import free_running, open_loop
from sarnn_ros.training.explained import trajectories
from sarnn_ros.training.recipe import RECIPE, decide, prepare
from sarnn_ros.training.run import make_trainer, train
from sarnn_ros.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick_search")

#: Of the corrections of 9 ticks, what a person led; and of that, where they left, a fifth of a
#: demonstration, is not learnt.
LED, LEARNT = slice(3, 7), [5, 6]


def settings(**more: Any) -> TrainConfig:
    return make_config(
        {"device": "cpu", "threads": 1, "rec_dim": 6, "k_dim": 2, "epochs": 2, "batch_size": 4}
        | more
    )


def corrected(dataset: Dataset, rows: Sequence[int]) -> Dataset:
    """The data set with a takeover in these episodes; a policy stood still before it."""
    episodes = list(dataset.episodes)
    for row in rows:
        led = np.zeros(len(episodes[row].ticks), np.bool_)
        led[LED] = True
        episodes[row] = replace(episodes[row], led=led)
    return make_dataset(dataset.spec, episodes, [], validation=0.2, seed=0)


def with_targets_of_the_policy(dataset: Dataset, value: float) -> Dataset:
    """The same, where the policy's part has other targets, with the same normalisation."""
    episodes = []
    for episode in dataset.episodes:
        targets = episode.targets.copy()
        if episode.led is not None:
            targets[~episode.led] = value
        episodes.append(replace(episode, targets=targets))
    return replace(dataset, episodes=tuple(episodes))


def gradient(trainer: Trainer, recurrent: bool) -> list[torch.Tensor]:
    """Of one update on all episodes."""
    found: list[torch.Tensor] = []
    trainer._step = lambda loss: found.extend(  # type: ignore[method-assign]
        torch.autograd.grad(loss, list(trainer.model.parameters()), allow_unused=True)
    )
    if trainer.points is None:
        trainer.points = trainer.encode_all(trainer.training)
    if recurrent:
        trainer.update_recurrent(trainer.draw_recurrent())
    else:
        trainer.update(torch.arange(len(trainer.training)))
    return [one for one in found if one is not None]


@pytest.fixture
def all_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Corrected runs are in every recurrent update."""
    monkeypatch.setattr(batches, "MAX_CORRECTED_SHARE", 0.99)


@pytest.mark.usefixtures("all_drawn")
@pytest.mark.parametrize("recurrent", [False, True], ids=["full", "recurrent"])
@pytest.mark.parametrize("recipe", ["fast", "eipl"])
def test_what_the_policy_did_has_no_gradient(
    recipe: str, recurrent: bool, make_task: MakeTask
) -> None:
    dataset = corrected(make_task([9] * 6), [1, 3])
    config = settings(recipe=recipe, joint_noise=0.0)
    told = [
        gradient(make_trainer(decide(one, config)), recurrent)
        for one in (dataset, with_targets_of_the_policy(dataset, 5.0))
    ]
    assert all(torch.equal(one, other) for one, other in zip(*told, strict=True))
    # What the person did counts; and what the policy did leads the recurrent state there.
    for change in ("targets", "joints"):
        episodes = list(dataset.episodes)
        values = getattr(episodes[1], change).copy()
        values[LED if change == "targets" else slice(0, 2)] += 0.3
        episodes[1] = replace(episodes[1], **{change: values})
        other = replace(dataset, episodes=tuple(episodes))
        moved = gradient(make_trainer(decide(other, config)), recurrent)
        assert not all(torch.equal(one, two) for one, two in zip(told[0], moved, strict=True))


def test_neither_the_image_nor_the_points_of_the_policys_part_are_learnt(
    make_task: MakeTask,
) -> None:
    """The loss of an episode of which little counts is that of this little."""
    dataset = corrected(make_task([9] * 6), [1])
    trainer = make_trainer(decide(dataset, settings(recipe="eipl", joint_noise=0.0)))
    row = trainer.training.names.index("e1")
    learnt = trainer.training.learnt()
    assert learnt[row].nonzero()[:, 0].tolist() == LEARNT
    assert learnt.sum() == 8 * (len(trainer.training) - 1) + len(LEARNT)
    batch = trainer.batches.draw(torch.tensor([row]), torch.zeros(1, 8, 4), frozen=False)
    assert len(batch.row) == 8, (
        "all frames are encoded: the state is to be what it is at the robot"
    )
    assert torch.equal(batch.learnt, learnt[row : row + 1])


@pytest.mark.parametrize(
    ("led", "learnt"),
    [
        ([(0, 9)], range(8)),  # a demonstration
        ([(1, 7)], range(1, 7)),  # taken over at once
        ([(2, 9)], range(4, 8)),
        ([(1, 3), (4, 8)], [1, 2, 6, 7]),
        ([(3, 5)], []),
    ],
)
def test_how_a_person_leaves_is_not_learnt(
    make_task: MakeTask, led: list[tuple[int, int]], learnt: Sequence[int]
) -> None:
    """Of demonstrations of 9 ticks, the first two of a takeover."""
    dataset = make_task([9] * 3, validation=0)
    trainer = make_trainer(decide(dataset, settings()))
    data = replace(trainer.training, led=trainer.training.led.clone())
    data.led[1] = False
    for begin, end in led:
        data.led[1, begin:end] = True
    assert data.learnt()[1].nonzero()[:, 0].tolist() == list(learnt)
    assert data.learnt()[[0, 2]].all()


@pytest.mark.parametrize("corrections", [1, 4, 7])
def test_few_sequences_are_corrected_runs(make_task: MakeTask, corrections: int) -> None:
    """However many there are; and if there are very few, none is drawn more often than others."""
    dataset = corrected(make_task([9] * 12, validation=0), range(corrections))
    trainer = make_trainer(decide(dataset, settings()))
    demonstrations = trainer.training.demonstrations
    points = torch.zeros(len(demonstrations), trainer.training.ticks - 1, 4)
    drawn = torch.stack([trainer.batches.draw_recurrent(4, points).learnt for _ in range(500)])
    share = float((drawn.sum(-1) == len(LEARNT)).double().mean())
    alike = corrections / len(demonstrations)
    assert share == pytest.approx(min(alike, batches.MAX_CORRECTED_SHARE), abs=0.04)


@pytest.mark.usefixtures("all_drawn")
def test_corrections_are_mixed_with_nothing(make_task: MakeTask) -> None:
    for neighbours in (True, False):
        dataset = corrected(make_task([9] * 10), [2, 5])
        plan = decide(dataset, settings(mixup=1.0, joint_noise=0, pad_after=0.2))
        trainer = make_trainer(replace(plan, mix_neighbours=neighbours, mixup=1.0))
        data = trainer.training
        fixed = [row for row, name in enumerate(data.names) if name in ("e2", "e5")]
        assert data.demonstrations.sum() == len(data) - 2
        # Only they have this in their points, and nothing else in any of them.
        points = torch.zeros(len(data), data.ticks - 1, 4)
        points[fixed] = 1.0
        for _ in range(20):
            drawn = trainer.batches.draw_recurrent(len(data), points)
            values = drawn.points[:, :, 0]
            assert bool(((values == 0) | (values == 1)).all())
            own = values[:, 0] == 1
            assert own.sum() == 2
            ticks = [row.nonzero()[:, 0].tolist() for row in drawn.learnt[own]]
            assert ticks == [LEARNT] * 2, "nor is it learnt to rest where the policy went on"


def test_figures_are_of_demonstrations_and_the_search_counts_what_is_known(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that went right, until somebody led on as before, has a completion."""
    count = RECIPE.min_episodes_for_search
    few = corrected(make_task([9] * (count + 3)), [0, 1, 2])
    assert len(few.training) >= count
    assert not decide(few, settings()).search_attention
    enough = corrected(make_task([9] * (count + 5)), [0, 1])
    plan = decide(enough, settings())
    assert plan.search_attention
    trainer = make_trainer(plan)
    said: list[str] = []
    counted: list[int] = []

    def validated(candidates: Any, wanted: Any, *others: Any) -> Any:
        counted.append(len(wanted))
        return cross_validate(candidates, wanted, *others)

    monkeypatch.setattr(attention_search, "cross_validate", validated)
    trainer.search_attention(said.append)
    assert trainer.encoder_frozen and "search 2/2" in said[2]
    data = trainer.training
    episodes, wanted, _ = data.scenes
    shown = int(data.demonstrations.sum())
    told = len(episodes) - shown
    assert counted == [len(episodes)] * 2
    assert told and said[0].startswith(f"of 2 corrected runs {told} tell")
    assert len(set(episodes.tolist())) == len(episodes)
    assert bool(data.demonstrations[episodes[:shown]].all())
    of_shown = trajectories(data.unpad(data.targets[:, :-1]))
    np.testing.assert_array_equal(wanted[:shown], of_shown)
    assert np.isfinite(wanted).all() and np.abs(wanted).max() < 2
    assert len(trainer.training.first_states()) == len(enough.training) - 2
    runs, targets = trainer.free_runs(trainer.final_model())
    assert len(runs) == len(targets) == len(enough.validation)


def test_demonstrations_and_a_correction_train_in_one_go(
    make_task: MakeTask, tmp_path: Path
) -> None:
    dataset = corrected(make_task([9] * 4, validation=0), [3])
    assert 3 in dataset.training
    train(decide(dataset, settings()), tmp_path / "policy")
    policy = Policy.load(tmp_path / "policy")
    about = json.loads((tmp_path / "policy" / "config.json").read_text())
    assert about["training"]["episodes"] == {"training": 3, "validation": 1}
    figures = open_loop(policy, dataset, range(4))
    assert figures["episodes"] == 4 and np.isfinite(list(figures["rmse"].values())).all()
    assert free_running(policy, dataset, range(4), range(4))["episodes"] == 3


def test_a_folder_of_both_trains_without_a_setting(tmp_path: Path) -> None:
    """As `sarnn train` does it: the bags as they were recorded, and the spec of before."""
    for number in range(4):
        made = make.recording(start=make.START + number * 60 * make.SECOND)
        if number == 3:
            for ms, leads in ((700, True), (1500, False)):
                stamp = make.START + number * 60 * make.SECOND + ms * 1_000_000
                kind = "std_msgs/msg/Bool"
                made.add("/recorder/takeover", kind, stamp, make.T[kind](data=leads))
        made.write(tmp_path / "bags" / f"episode_{number:03d}")
    plan = prepare([tmp_path / "bags"], make.spec(), settings(epochs=1))
    assert [one.learnt.partition(":")[0] for one in plan.dataset.bags] == ["all"] * 3 + [
        "7 of 19 ticks"
    ]
    train(plan, tmp_path / "policy")
    assert Policy.load(tmp_path / "policy").config.health is not None


def test_without_demonstrations_nothing_is_trained(make_task: MakeTask) -> None:
    dataset = corrected(make_task([9] * 3), [0, 1, 2])
    assert dataset.validation == ()
    with pytest.raises(TrainingError, match="none of 3 training episodes is a demonstration"):
        make_trainer(decide(dataset, settings()))
