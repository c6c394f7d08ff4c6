# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How well a policy predicts recorded episodes, and where it looks.

A low error on recorded episodes does not mean that the policy succeeds: it may follow the arm and
never look at the object. So the attention is reported, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.policy.health import replay
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.training.attention import start_spread


def open_loop(policy: Policy, dataset: Dataset, indices: Sequence[int]) -> dict[str, Any]:
    """Predict each tick of recorded episodes from the recorded inputs.

    :returns: per joint `rmse` in SI units, and of predicting that nothing changes (`still`); per
        camera and point `spread` (see `start_spread`; None of few episodes), and `motion`, how far
        (in [0, 1] of the image) it deviates within an episode.
    """
    episodes = [dataset.episodes[index] for index in indices]
    runs = [[prediction for _, prediction in replay(policy, episode)] for episode in episodes]
    errors, still, spread, motion = [], [], {}, {}
    for episode, predictions in zip(episodes, runs, strict=True):
        joints = np.array([prediction.action for prediction in predictions])
        errors.append(joints[:-1] - episode.targets[:-1])
        still.append(episode.joints[:-1] - episode.targets[:-1])
    for camera in dataset.spec.cameras:
        points = [np.array([p.encoder_points[camera.name] for p in run]) for run in runs]
        found = start_spread(run[:-1] for run in points)
        spread[camera.name] = None if found is None else found.round(4).tolist()
        motion[camera.name] = _distance(np.mean([run.std(axis=0) for run in points], axis=0))
    return {
        "episodes": len(episodes),
        "rmse": dict(zip(dataset.spec.joint_labels, _rms(errors), strict=True)),
        "still": dict(zip(dataset.spec.joint_labels, _rms(still), strict=True)),
        "spread": spread,
        "motion": motion,
    }


def _rms(errors: list[Any]) -> list[float]:
    values: list[float] = np.sqrt((np.concatenate(errors) ** 2).mean(axis=0)).tolist()
    return values


def _distance(deviations: Any) -> list[float]:
    """Of (k, 2) deviations in x and y, per point."""
    values: list[float] = np.hypot(deviations[:, 0], deviations[:, 1]).round(4).tolist()
    return values
