# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Attention that has collapsed is noticed, and training starts again, but not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.training import attention
from sarnn_ros.training.attention import AttentionCheck, attention_spread
from sarnn_ros.training.config import make_config
from sarnn_ros.training.run import make_trainer
from sarnn_ros.training.trainer import Trainer

MakeTask = Callable[..., Dataset]


def trainer_of(dataset: Dataset, **settings: Any) -> Trainer:
    values = {"k_dim": 2, "rec_dim": 8, "epochs": 4, "threads": 1, "device": "cpu",
              "inner_steps": 2, "encoder_frames": 12, "image_frames": 5}  # fmt: skip
    return make_trainer(dataset, make_config({**values, **settings}))


def test_the_spread_is_of_what_differs_between_episodes(make_task: MakeTask) -> None:
    trainer = trainer_of(make_task(validation=0))
    trainer.points = torch.zeros(5, 8, 4)
    assert attention_spread(trainer) == 0
    trainer.points[..., 1] = torch.arange(8)  # moves alike in every episode
    assert attention_spread(trainer) == 0
    trainer.points[:, :, 2] += torch.arange(5).unsqueeze(1) / 10
    assert attention_spread(trainer) == pytest.approx(torch.arange(5).div(10).std())
    assert attention_spread(trainer_of(make_task([9, 9], validation=0))) is None


@pytest.mark.parametrize("lengths", [[9, 9, 9, 2], [9, 9, 9, 1], [9, 3, 4, 2, 1]])
def test_the_spread_is_of_ticks_that_exist(make_task: MakeTask, lengths: list[int]) -> None:
    """Points that never move have none, however short an episode is."""
    trainer = trainer_of(make_task(lengths, validation=0))
    trainer.points = 0.4 * trainer.training.steps().unsqueeze(2).expand(-1, -1, 4)
    assert attention_spread(trainer) == pytest.approx(0, abs=1e-6)
    assert attention_spread(trainer_of(make_task([9, 9, 1], validation=0))) is None


@pytest.mark.parametrize(
    ("widest", "spread", "collapsed"),
    [(0.27, 0.26, False), (0.27, 0.09, True), (0.03, 0.03, True), (0.08, 0.07, False)],
)
def test_collapsed_is_less_than_before_or_next_to_nothing(
    make_task: MakeTask,
    monkeypatch: pytest.MonkeyPatch,
    widest: float,
    spread: float,
    collapsed: bool,
) -> None:
    monkeypatch.setattr(attention, "attention_spread", lambda trainer: spread)
    check = AttentionCheck(widest)
    assert check.collapsed(trainer_of(make_task(validation=0))) is collapsed


def test_it_starts_again_but_not_for_ever(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "attention_spread", lambda trainer: 0.0)
    trainer = trainer_of(make_task(validation=0), attention_check_epoch=2, restarts=2)
    check = AttentionCheck()
    first = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    numbers, rates = [], []
    for epoch in trainer.run(time.monotonic):
        numbers.append(epoch.number)
        rates.append(epoch.learning_rate)
        if check(trainer):  # other weights than the first, and as spread out
            now = trainer.model.state_dict()["pos_encoder.0.weight"]
            before = first["pos_encoder.0.weight"]
            assert not torch.equal(now, before)
            assert float(now.std()) == pytest.approx(float(before.std()), rel=0.2)
    assert numbers == [0, 1, 0, 1, 0, 1, 2, 3]
    assert rates[2] == rates[0]
    assert check.restarts == 2


def test_attention_that_sees_goes_on(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "attention_spread", lambda trainer: 0.3)
    trainer = trainer_of(make_task(validation=0), attention_check_epoch=2, restarts=2)
    check = AttentionCheck()
    assert not any(check(trainer) for _ in trainer.run(time.monotonic))
    assert check.widest == 0.3
