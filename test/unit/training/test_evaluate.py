# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation says of policies whose predictions are known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.training.config import make_config
from sarnn_ros.training.evaluate import open_loop
from sarnn_ros.training.run import make_trainer

MakeTask = Callable[..., Dataset]


def look(image: np.ndarray) -> np.ndarray:
    """The brightest pixel of (H, W, 3), and the corner, as points (2, 2) in [0, 1]."""
    height, width = image.shape[:2]
    row, column = np.unravel_index(image[..., 0].argmax(), (height, width))
    return np.array([[column / width, row / height], [0.0, 0.0]])


class Known:
    """Predicts `offset` beside the present state; looks at the brightest pixel and a corner."""

    def __init__(self, offset: float) -> None:
        self.offset = offset
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def step(self, observation: Any) -> Any:
        points = look(observation.images["camera0"])
        return SimpleNamespace(
            action=observation.state + self.offset, encoder_points={"camera0": points}
        )


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


def test_spread_is_what_the_trainer_calls_it(make_task: MakeTask) -> None:
    """One definition: of the same points, the figure in the policy's config.json."""
    dataset = make_task([9, 6, 2, 12], validation=0)
    config = make_config({"k_dim": 2, "rec_dim": 4, "epochs": 1, "threads": 1, "device": "cpu"})
    trainer = make_trainer(dataset, config)
    trainer.points = torch.zeros(4, 11, 4)
    for row, episode in enumerate(dataset.episodes):
        for tick, image in enumerate(episode.images["camera0"][:-1]):
            trainer.points[row, tick, :2] = torch.from_numpy(look(image)[0])
    found = open_loop(Known(0.0), dataset, range(4))["spread"]  # type: ignore[arg-type]
    assert max(found["camera0"]) == pytest.approx(trainer.attention_spread(), abs=1e-4)
    few = open_loop(Known(0.0), dataset, range(2))  # type: ignore[arg-type]
    assert few["spread"] == {"camera0": None}


def test_attention_that_follows_stands_out(make_task: MakeTask) -> None:
    result = open_loop(Known(0.0), make_task([9] * 6), range(6))  # type: ignore[arg-type]
    following, corner = result["spread"]["camera0"]
    assert following > 0.05
    assert corner == 0
    following, corner = result["motion"]["camera0"]
    assert following > 0.01
    assert corner == 0
