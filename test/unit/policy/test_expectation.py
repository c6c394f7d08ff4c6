# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Points that found something else are told from the others, and where they should be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sarnn_ros.policy.directory import Places
from sarnn_ros.policy.expectation import PLAUSIBLE, Expectation, best_gain

COUNT, DIMENSIONS, DEVIATION = 16, 3, 0.01


def make_places(
    slope: np.ndarray, missed: float = 0.05, depth: np.ndarray | None = None
) -> Places:
    """Of slopes (K, 2, C), around the middle of the image, and depths (K, C)."""
    count = len(slope)
    depth = np.zeros(slope[:, 0].shape) if depth is None else depth
    return Places(
        mean=(tuple([0.5] * count),) * 2,
        slope=tuple(tuple(map(tuple, one.T)) for one in np.moveaxis(slope, 2, 0)),
        depth=tuple(map(tuple, depth.T)),
        deviation=((DEVIATION,) * count,) * 2,
        missed=(missed,) * count,
        missed_at=((),) * count,
        cost=(0.0, 5.0),
        told=1.0,
        usual_gain=(0.0,),
    )


def expect(places: Places, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = Expectation(places, points)
    return found.where, found.near


def elsewhere(random: np.random.Generator, count: int) -> np.ndarray:
    """So far from where a point should be, (count, 2), that none is there by chance."""
    angle = random.uniform(0, 2 * np.pi, count)
    return 0.4 * np.stack([np.cos(angle), np.sin(angle)], 1)


@given(st.integers(0, 10_000), st.integers(0, 6))
def test_who_is_wrong_and_where_it_should_be(seed: int, wrong: int) -> None:
    random = np.random.default_rng(seed)
    slope = random.normal(0, 0.12, (COUNT, 2, DIMENSIONS))
    z = random.normal(0, 1, DIMENSIONS)
    truth = 0.5 + slope @ z
    points = truth + random.normal(0, DEVIATION / 2, truth.shape)
    missed = random.choice(COUNT, wrong, False)
    points[missed] += elsewhere(random, wrong)
    where, reach = expect(make_places(slope), points)
    assert np.linalg.norm(where - truth, axis=1).max() < 4 * DEVIATION
    outside = np.linalg.norm(points - where, axis=1) > reach
    assert set(np.flatnonzero(outside)) == set(missed)


def contradicting() -> tuple[Places, np.ndarray]:
    """Half of the points say the one, half the other."""
    slope = np.zeros((8, 2, 1))
    slope[:, 0, 0] = 0.1
    points = np.full((8, 2), 0.5)
    points[:4, 0] += 0.1
    points[4:, 0] -= 0.1
    return make_places(slope), points


def test_two_that_contradict_each_other_are_both_let_in() -> None:
    """Nothing tells who is right."""
    places, points = contradicting()
    where, reach = expect(places, points)
    assert (np.linalg.norm(points - where, axis=1) <= reach).all()


def test_a_filter_that_often_misses_is_believed_less() -> None:
    places, points = contradicting()
    places = places.model_copy(update={"missed": (0.02,) * 4 + (0.6,) * 4})
    where, reach = expect(places, points)
    outside = np.linalg.norm(points - where, axis=1) > reach
    assert outside.tolist() == [False] * 4 + [True] * 4


def test_points_that_always_stay_where_they_are() -> None:
    points = np.full((COUNT, 2), 0.5)
    points[3] = 0.9
    where, reach = expect(make_places(np.zeros((COUNT, 2, 0))), points)
    np.testing.assert_allclose(where, 0.5)
    assert (np.linalg.norm(points - where, axis=1) > reach).tolist() == [
        row == 3 for row in range(COUNT)
    ]


def one_thing_of_two(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Slopes of two things' points, half of them on each, and which are on the second."""
    slope = np.zeros((COUNT, 2, 4))
    second = np.arange(COUNT) >= COUNT // 2
    slope[~second, :, :2] = random.normal(0, 0.03, (COUNT // 2, 2, 2)) + 0.12 * np.eye(2)
    slope[second, :, 2:] = random.normal(0, 0.03, (COUNT // 2, 2, 2)) + 0.12 * np.eye(2)
    return slope, second


@given(st.integers(0, 10_000))
def test_a_thing_that_is_moved_is_followed(seed: int) -> None:
    random = np.random.default_rng(seed)
    slope, _ = one_thing_of_two(random)
    z = random.uniform(-1, 1, 4)
    found = Expectation(make_places(slope), 0.5 + slope @ z)
    assert not found.follow(0.5 + slope @ z, 0.0)
    angle = random.uniform(0, 2 * np.pi)
    z[2:] += np.array([np.cos(angle), np.sin(angle)])
    points = 0.5 + slope @ z
    assert found.follow(points, 0.0)
    assert np.linalg.norm(found.where - points, axis=1).max() < DEVIATION
    assert not found.follow(points, 0.0), "nothing has been moved since"


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_points_that_leave_a_thing_are_not(seed: int, wrong: int) -> None:
    """Fewer than stay on it."""
    random = np.random.default_rng(seed)
    slope, second = one_thing_of_two(random)
    truth = 0.5 + slope @ random.uniform(-1, 1, 4)
    found = Expectation(make_places(slope), truth)
    points = truth.copy()
    points[np.flatnonzero(second)[:wrong]] = random.uniform(0, 1, 2)
    found.follow(points, 0.0)
    assert np.linalg.norm(found.where - truth, axis=1).max() < 2 * DEVIATION


@given(st.integers(0, 10_000))
def test_what_the_robot_itself_does_to_things_is_not_followed(seed: int) -> None:
    """It carries one of them. A thing that is moved more than that tells is followed."""
    random = np.random.default_rng(seed)
    slope, second = one_thing_of_two(random)
    places = make_places(slope)
    z = random.uniform(-1, 1, 4)
    points = 0.5 + slope @ z
    carried = points.copy()
    carried[second] += (0.1, 0.1)
    usual = best_gain(places, carried, z)
    assert usual > 0
    found = Expectation(places, points)
    assert not found.follow(carried, usual)
    np.testing.assert_allclose(found.where, points, atol=DEVIATION)
    assert found.follow(carried, 0.0)
    assert best_gain(places, points, z) < PLAUSIBLE


def test_by_few_demonstrations_no_other_fit_counts() -> None:
    """Nothing is followed; and where a few points agree exactly on something else, and the others
    tremble, it is not taken for that."""
    off = []
    for seed in range(30):
        random = np.random.default_rng(seed)
        slope = random.normal(0, 0.12, (COUNT, 2, DIMENSIONS))
        z = random.normal(0, 1, DIMENSIONS)
        many = make_places(slope)
        few = many.model_copy(update={"other_fits": False})
        moved = 0.5 + slope @ (z + 1)
        assert Expectation(many, 0.5 + slope @ z).follow(moved, 0.0)
        assert not Expectation(few, 0.5 + slope @ z).follow(moved, 0.0)

        seen = 0.5 + slope @ z + random.normal(0, 4 * DEVIATION, (COUNT, 2))
        seen[:6] = 0.5 + slope[:6] @ (z - 3 * np.sign(z))
        off.append([np.abs(Expectation(one, seen).z - z).max() for one in (few, many)])
    by_few, by_many = np.median(off, 0)
    assert by_few < 1.5
    assert by_many > 2.5


@given(st.integers(0, 10_000))
def test_near_things_are_larger_and_move_further(seed: int) -> None:
    """As a pinhole camera shows them; a third of the filters have found something else."""
    random = np.random.default_rng(seed)
    slope = random.normal(0, 0.12, (COUNT, 2, DIMENSIONS))
    depth = random.normal(0, 0.06, (COUNT, DIMENSIONS))
    z = np.clip(random.normal(0, 1, DIMENSIONS), -1.5, 1.5)
    truth = (0.5 + slope @ z) / (1 + depth @ z)[:, None]
    points = truth.copy()
    missed = random.choice(COUNT, 5, False)
    points[missed] += elsewhere(random, 5)
    found = Expectation(make_places(slope, depth=depth), points)
    np.testing.assert_allclose(found.z, z, atol=0.01)
    assert np.linalg.norm(found.where - truth, axis=1).max() < DEVIATION / 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"deviation": ((0.0,) * 4,) * 2}, "deviation must be above 0"),
        ({"missed": (1.0,) * 4}, "missed between 0 and 1"),
        ({"depth": ()}, "depth for 0 z, slope for 1"),
        ({"usual_gain": ()}, "usual_gain"),
        ({"missed_at": ((),) * 3}, "must all be of as many"),
        ({"slope": (((1.0,) * 4, (1.0,) * 5),)}, "must all be of as many"),
        ({"mean": ((np.nan,) * 4, (0.5,) * 4)}, "finite"),
    ],
)
def test_places_that_make_no_sense_are_refused(change: dict[str, object], problem: str) -> None:
    good = make_places(np.zeros((4, 2, 1))).model_dump()
    with pytest.raises(ValidationError, match=problem):
        Places(**{**good, **change})


def test_how_unlike_the_demonstrations_an_image_is() -> None:
    """As demonstrated, and with points that are anywhere."""
    random = np.random.default_rng(0)
    slope = random.normal(0, 0.12, (COUNT, 2, DIMENSIONS))
    places = make_places(slope)

    def points() -> np.ndarray:
        found = 0.5 + slope @ random.normal(0, 1, DIMENSIONS)
        return found + random.normal(0, DEVIATION, found.shape)

    costs = [Expectation(places, points()).cost for _ in range(50)]
    median, high = np.quantile(costs, (0.5, 0.95)).tolist()
    places = places.model_copy(update={"cost": (median, high)})
    usual = [Expectation(places, points()).unlikely for _ in range(50)]
    assert np.median(usual) == pytest.approx(0, abs=0.2)
    assert max(usual) < 1
    nothing = [Expectation(places, random.uniform(size=(COUNT, 2))).unlikely for _ in range(20)]
    assert min(nothing) > 1
