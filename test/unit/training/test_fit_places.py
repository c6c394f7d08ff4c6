# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the policy knows of where points are to be expected, from its demonstrations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sarnn_ros.policy.expectation import Expectation
from sarnn_ros.training.expected_places import Told, fit_places

COUNT, EPISODES, CELLS = 12, 45, 40.0


@pytest.mark.parametrize("seed", range(4))
def test_new_scenes_are_told_right_although_filters_missed(seed: int) -> None:
    random = np.random.default_rng(seed)
    slope = random.normal(0, 0.1, (COUNT, 2, 3))

    def scenes(count: int) -> tuple[np.ndarray, np.ndarray]:
        z = random.normal(0, 1, (count, 3))
        return z, 0.5 + np.einsum("kic,ec->eki", slope, z)

    z, truth = scenes(EPISODES)
    points = truth + random.normal(0, 0.1 / CELLS, truth.shape)
    rates = np.zeros(COUNT)
    rates[:4] = 0.25
    missed = random.random((EPISODES, COUNT)) < rates
    points[missed] = random.uniform(0, 1, (missed.sum(), 2))
    told = Told(torch.from_numpy(z).float(), torch.zeros(EPISODES, 0))
    places = fit_places(torch.from_numpy(points).float(), told, CELLS)
    assert np.abs(np.array(places.missed) - missed.mean(0)).max() < 0.06
    assert max(places.deviation) < 1.5 / CELLS

    _, truth = scenes(20)
    for one in truth:
        seen = one.copy()
        wrong = random.choice(COUNT, 4, False)
        seen[wrong] = one[wrong] + 0.5
        found = Expectation(places, seen)
        where, reach = found.where, found.near
        assert np.linalg.norm(where - one, axis=1).max() < 2 / CELLS
        outside = np.linalg.norm(seen - where, axis=1) > reach
        assert set(np.flatnonzero(outside)) == set(wrong)


@pytest.mark.parametrize("count", [8, 10, 16, 45])
def test_new_scenes_are_hardly_ever_unlikely_however_few_were_demonstrated(count: int) -> None:
    """Few tell fewer numbers than the scenes differ by, and a fit to them fits them too well."""
    unlikely = []
    for seed in range(4):
        random = np.random.default_rng(seed)
        slope = random.normal(0, 0.1, (COUNT, 2, 4))
        z = random.normal(0, 1, (count + 50, 4))
        points = 0.5 + np.einsum("kic,ec->eki", slope, z)
        points += random.normal(0, 0.5 / CELLS, points.shape)
        missed = random.random(points.shape[:2]) < 0.1
        points[missed] = random.uniform(0, 1, (missed.sum(), 2))
        known = max(1, min(4, count // 6))  # as many as `tell` takes
        told = Told(torch.from_numpy(z[:count, :known]).float(), torch.zeros(count, 0))
        places = fit_places(torch.from_numpy(points[:count]).float(), told, CELLS)
        unlikely += [Expectation(places, one).unlikely for one in points[count:]]
    assert np.mean(np.array(unlikely) > 1) < 0.02
