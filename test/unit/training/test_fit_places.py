# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the policy knows of where points are to be expected, from its demonstrations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sarnn_ros.policy.directory import Places
from sarnn_ros.policy.expectation import Expectation
from sarnn_ros.training.expected_places import Told, fit_places, tell
from sarnn_ros.training.few_places import choose_few, fit_few_places

COUNT, EPISODES, CELLS = 12, 45, 40.0
SIDES = torch.full((1, 2), CELLS)
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
    places = fit_places(torch.from_numpy(points).float(), told, SIDES)
    assert np.abs(np.array(places.missed) - missed.mean(0)).max() < 0.06
    assert max(places.deviation[0]) < 1.5 / CELLS

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


@pytest.mark.parametrize(("count", "known"), [(45, 6), (90, 8)])
def test_more_demonstrations_tell_more_numbers(count: int, known: int) -> None:
    """Four things lie about, and are taken one after the other."""
    random = np.random.default_rng(0)
    z = random.normal(0, 1, (count, 8))
    ways = np.repeat(np.eye(8).reshape(8, 4, 2), 8, 1)  # each at its own time
    told = tell(np.einsum("ec,cnd->end", z, ways), np.zeros((count, 0)), torch.device("cpu"))
    assert told.motions.shape == (count, known)
    points = 0.5 + 0.12 * np.repeat(z.reshape(count, 4, 2), 3, 1)
    points += random.normal(0, 0.2 / CELLS, points.shape)
    places = fit_places(torch.from_numpy(points).float(), told, SIDES)
    assert (places.told > 0.9) == (known == 8)


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
        places = fit_places(torch.from_numpy(points[:count]).float(), told, SIDES)
        unlikely += [Expectation(places, one).unlikely for one in points[count:]]
    assert np.mean(np.array(unlikely) > 1) < 0.02


def reaches(
    random: np.random.Generator, count: int, things: int = 3, follows: bool = True, starts: int = 0
) -> tuple[np.ndarray, Told]:
    """The robot reaches one thing after the other, each somewhere in a plane. Six points are on
    each, and move with where the robot starts; or they follow something else."""
    z, start = random.normal(0, 1, (count, 2 * things)), random.normal(0, 1, (count, starts))
    ways = np.zeros((2 * things, 2 * things, 2))
    for number in range(2 * things):
        ways[number, number // 2 * 2 : number // 2 * 2 + 2, number % 2] = 0.1
    place = z if follows else random.normal(0, 1, z.shape)
    seen = []
    for thing in range(things):
        view = random.normal(0, 0.1, (6, 2, 2))
        seen.append(np.einsum("kij,ej->eki", view, place[:, 2 * thing : 2 * thing + 2]))
    points = 0.5 + np.concatenate(seen, 1) + 0.1 * start.sum(1)[:, None, None]
    points += random.normal(0, 0.3 / CELLS, points.shape)
    told = (torch.from_numpy(one).float() for one in (z, start, ways))
    return points, Told(*told)


def off_by(points: np.ndarray, told: Told, count: int) -> tuple[Places, np.ndarray]:
    """Fitted to the first `count` episodes; and by how much the motions of the others are off."""
    shown = torch.arange(len(points)) < count
    places = fit_few_places(torch.from_numpy(points[:count]).float(), told.of(shown), SIDES)
    right = told.motions[count:].numpy()
    found = [Expectation(places, one).z[: right.shape[1]] for one in points[count:]]
    return places, np.abs(np.array(found) - right).max(1)


@pytest.mark.parametrize("starts", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_ten_demonstrations_tell_where_three_things_are(seed: int, starts: int) -> None:
    """Though every third point missed in one of them, and one of each thing is wrong now."""
    random = np.random.default_rng(seed)
    points, told = reaches(random, 10 + 20, starts=starts)
    missed = np.zeros((10, 18), bool)
    missed[random.integers(0, 10, 6), np.arange(0, 18, 3)] = True
    points[:10][missed] = random.choice([0.02, 0.98], (6, 2))
    points[10:, [1, 7, 13]] = random.uniform(0, 1, (20, 3, 2))
    places, off = off_by(points, told, 10)
    assert places.told >= 0.8
    assert np.median(off) < 0.35
    assert np.quantile(off, 0.9) < 1.0
    assert sum(map(len, places.missed_at)) <= 6 + 2
    for row, point in np.argwhere(missed):
        assert places.missed[point] >= 2 / 12
        assert np.abs(np.array(places.missed_at[point]) - points[row, point]).max(1).min() < 1e-6


def test_points_between_two_things_tell_of_both() -> None:
    """Where the robot never is."""
    random = np.random.default_rng(0)
    points, told = reaches(random, 12 + 20, things=2)
    view = random.normal(0, 0.1, (24, 2, 4))
    points = 0.5 + np.einsum("kij,ej->eki", view, told.motions.numpy())
    points += random.normal(0, 0.3 / CELLS, points.shape)
    places, off = off_by(points, told, 12)
    assert places.told >= 0.8
    assert np.median(off) < 0.35


@pytest.mark.parametrize("seed", range(6))
def test_of_ten_demonstrations_points_on_both_things_are_chosen(seed: int) -> None:
    """Among 100 that are anywhere, and twelve on the things that tremble with the light."""
    random = np.random.default_rng(seed)
    points, told = reaches(random, 10, things=2)
    anywhere = random.uniform(0, 1, (10, 100, 2))
    still = np.concatenate([anywhere, points, points], 1)
    jittered = still.copy()
    jittered[:, 100:112] += random.normal(0, 0.05, points.shape)
    sets = torch.from_numpy(np.stack([still, jittered])).float()
    chosen = choose_few(sets, told, 6)
    assert len(set(chosen)) == 6
    assert min(chosen) >= 112
    assert {one < 118 for one in chosen} == {True, False}


@pytest.mark.parametrize("count", [9, 16])
def test_what_points_do_not_follow_few_of_them_do_not_tell(count: int) -> None:
    """Though they fit those that the lines were fitted to."""
    for seed in range(6):
        points, told = reaches(np.random.default_rng(seed), count, follows=False)
        assert fit_few_places(torch.from_numpy(points).float(), told, SIDES).told < 0.3


@pytest.mark.parametrize("size", [4, 10])
def test_one_odd_demonstration_does_not_make_the_others_told(size: float) -> None:
    """Points that never move are nearly right of them, beside it."""
    random = np.random.default_rng(0)
    points, told = reaches(random, 16)
    told.motions[4] *= size
    still = 0.5 + random.normal(0, 0.3 / CELLS, points.shape)
    assert fit_few_places(torch.from_numpy(still).float(), told, SIDES).told < 0.3


@pytest.mark.parametrize("count", [9, 16])
def test_new_scenes_are_hardly_ever_unlikely_by_few(count: int) -> None:
    unlikely = []
    for seed in range(6):
        points, told = reaches(np.random.default_rng(seed), count + 40)
        places, _ = off_by(points, told, count)
        unlikely += [Expectation(places, one).unlikely for one in points[count:]]
    assert np.mean(np.array(unlikely) > 1) < 0.02


def test_points_of_what_comes_late_may_be_anywhere() -> None:
    points, told = reaches(np.random.default_rng(0), 10)
    places = fit_few_places(torch.from_numpy(points).float(), told, SIDES, anywhere=[5])
    assert places.deviation[0][5] == 1
    assert not np.array(places.slope)[..., 5].any()
    assert places.missed_at[5] == ()
