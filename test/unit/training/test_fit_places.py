# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the policy knows of where points are to be expected, from its demonstrations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sarnn_ros.policy.expectation import Expectation
from sarnn_ros.training.expected_places import MIN_TOLD, Told, fit_places
from sarnn_ros.training.few_places import choose_few, fit_few_places

COUNT, EPISODES, CELLS = 12, 45, 40.0
#: Of motions of which a regression needs no more.
WAYS = torch.zeros(4, 1, 1)


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
    told = Told(torch.from_numpy(z).float(), torch.zeros(EPISODES, 0), WAYS)
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
        told = Told(torch.from_numpy(z[:count, :known]).float(), torch.zeros(count, 0), WAYS)
        places = fit_places(torch.from_numpy(points[:count]).float(), told, CELLS)
        unlikely += [Expectation(places, one).unlikely for one in points[count:]]
    assert np.mean(np.array(unlikely) > 1) < 0.02


def reaches(
    random: np.random.Generator, count: int, follows: bool = True
) -> tuple[np.ndarray, Told]:
    """The robot reaches one thing, then another, each somewhere in a plane. Twelve points, half of
    them on each thing; or what they show has nothing to do with it."""
    z = random.normal(0, 1, (count, 4))
    ways = np.zeros((4, 6, 2))
    ways[:2, 2:4] = ways[2:, 4:] = 0.1 * np.eye(2)[:, None]
    view = random.normal(0, 0.1, (COUNT, 2, 2))
    place = z if follows else random.normal(0, 1, z.shape)
    points = np.concatenate(
        [np.einsum("kij,ej->eki", view[:6], place[:, :2]),
         np.einsum("kij,ej->eki", view[6:], place[:, 2:])], 1
    )  # fmt: skip
    points += 0.5 + random.normal(0, 0.3 / CELLS, points.shape)
    told = (torch.from_numpy(one).float() for one in (z, np.zeros((count, 0)), ways))
    return points, Told(*told)


@pytest.mark.parametrize("seed", range(4))
def test_ten_demonstrations_tell_where_two_things_are(seed: int) -> None:
    """Though a point of the first thing missed in one, and one of the second is wrong now."""
    random = np.random.default_rng(seed)
    points, told = reaches(random, 10 + 20)
    shown = torch.arange(30) < 10
    points[3, 0] = 0.95
    places = fit_few_places(torch.from_numpy(points[:10]).float(), told.of(shown), CELLS)
    assert places.told >= 0.8
    off = []
    for seen, right in zip(points[10:], told.motions[10:].numpy(), strict=True):
        seen[8] = random.uniform(0, 1, 2)
        off.append(np.abs(Expectation(places, seen).z - right).max())
    assert np.median(off) < 0.25
    assert np.quantile(off, 0.9) < 0.6


@pytest.mark.parametrize("seed", range(6))
def test_of_ten_demonstrations_points_on_both_things_are_chosen(seed: int) -> None:
    """Among 100 that are anywhere, and twelve on the things that tremble with the light."""
    random = np.random.default_rng(seed)
    points, told = reaches(random, 10)
    anywhere = random.uniform(0, 1, (10, 100, 2))
    still = np.concatenate([anywhere, points, points], 1)
    jittered = still.copy()
    jittered[:, 100:112] += random.normal(0, 0.05, points.shape)
    sets = torch.from_numpy(np.stack([still, jittered])).float()
    chosen = choose_few(sets, told, 6)
    assert len(set(chosen)) == 6
    assert min(chosen) >= 112
    assert {one < 118 for one in chosen} == {True, False}


@pytest.mark.parametrize("count", [9, 22])
def test_what_points_do_not_follow_few_of_them_do_not_tell(count: int) -> None:
    told = []
    for seed in range(6):
        points, motions = reaches(np.random.default_rng(seed), count, follows=False)
        told.append(fit_few_places(torch.from_numpy(points).float(), motions, CELLS).told)
    assert max(told) < MIN_TOLD


@pytest.mark.parametrize("count", [9, 16])
def test_new_scenes_are_hardly_ever_unlikely_by_few(count: int) -> None:
    unlikely = []
    for seed in range(4):
        points, told = reaches(np.random.default_rng(seed), count + 50)
        shown = torch.arange(len(points)) < count
        places = fit_few_places(torch.from_numpy(points[:count]).float(), told.of(shown), CELLS)
        unlikely += [Expectation(places, one).unlikely for one in points[count:]]
    assert np.mean(np.array(unlikely) > 1) < 0.02


def test_points_of_what_comes_late_may_be_anywhere() -> None:
    points, told = reaches(np.random.default_rng(0), 10)
    places = fit_few_places(torch.from_numpy(points).float(), told, CELLS, anywhere=[5])
    assert places.deviation[5] == 1
    assert not np.array(places.slope)[..., 5].any()
    assert places.missed_at[5] == ()
