# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where objects lay in first images, and where the next demonstration should be."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarnn_ros.data.places import (
    CORNERS,
    Coverage,
    First,
    best_map,
    find_objects,
    hull,
    map_places,
    region,
)

RED, BLUE = (200, 30, 30), (30, 40, 210)
CORNERS_OF_IT = [(40, 30), (120, 30), (120, 90), (40, 90)]


def image(*objects: tuple[float, float, tuple[int, int, int]]) -> np.ndarray:
    """A table with a square of each colour around its place."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(90, 110, (120, 160, 3)).astype(np.uint8)
    for x, y, colour in objects:
        cv2.rectangle(
            drawn, (round(x) - 4, round(y) - 4), (round(x) + 4, round(y) + 4), colour, -1
        )
    return drawn


def first(*objects, start: float = 0.0, **kind) -> First:
    return First(image(*objects), np.array([start]), np.array([1.0]), **kind)


def shown(places, **kind) -> list[First]:
    return [first((x, y, RED), **kind) for x, y in places]


@given(st.integers(0, 1000))
def test_no_object_is_to_be_put_where_another_one_lies(seed: int):
    random = np.random.default_rng(seed)
    places = random.uniform(0, 100, (8, 4))
    apart = np.linalg.norm(places[:, :2] - places[:, 2:], axis=1)
    places = places[apart > 20]
    if len(places) < 3:
        return
    proposed = region(places)
    assert len(proposed)
    nearest = np.linalg.norm(places[:, :2] - places[:, 2:], axis=1).min()
    assert (np.linalg.norm(proposed[:, :2] - proposed[:, 2:], axis=1) >= nearest - 1e-9).all()


def test_an_object_is_where_its_pixels_are():
    places = [(30, 20), (90, 50), (130, 100), (60, 80)]
    found = find_objects(np.stack([image((x, y, RED)) for x, y in places]))
    assert found.places[:, 0] == pytest.approx(np.array(places), abs=1)
    assert found.colours[0] == pytest.approx(RED, abs=25)


def test_objects_are_told_by_their_colours_whichever_is_larger_in_the_image():
    red = [(30, 20), (60, 60), (40, 100), (50, 30), (20, 70)]
    blue = [(110, 90), (100, 20), (140, 60), (120, 40), (130, 110)]
    images = [image((*a, RED), (*b, BLUE)) for a, b in zip(red, blue)]
    images[1][56:65, 56:61] = 100  # half of the red one is hidden
    found = find_objects(np.stack(images))
    order = np.argsort(found.colours[:, 2])
    assert found.places[:, order[0]] == pytest.approx(np.array(red), abs=4)
    assert found.places[:, order[1]] == pytest.approx(np.array(blue), abs=1)


def test_what_is_hidden_in_one_episode_is_unknown_there():
    places = [(30, 20), (90, 50), (130, 100), (60, 80)]
    images = [image((x, y, RED)) for x, y in places] + [image()]
    found = find_objects(np.stack(images))
    assert np.isnan(found.places[4]).all() and not np.isnan(found.places[:4]).any()
    result = map_places("front", [*shown(places), first()])
    assert result is not None and result.text.startswith("5 demonstrated; next:")


def test_where_nothing_differs_no_place_is_proposed():
    result = map_places("front", [first() for _ in range(6)])
    assert result is not None and result.place is None and "do not differ" in result.text


def test_nothing_is_said_of_two_images_or_of_two_sizes():
    assert map_places("front", shown(CORNERS_OF_IT[:2])) is None
    other = First(image()[:60], np.zeros(1), np.ones(1))
    assert map_places("front", [*shown(CORNERS_OF_IT), other]) is None


def test_the_corners_come_first():
    result = map_places("front", shown(CORNERS_OF_IT[: CORNERS - 1]))
    assert result is not None and result.place is None and "corners" in result.text


def test_after_the_corners_comes_what_lies_furthest_from_them():
    """Between, that is: a motion that bends is not known from corners."""
    result = map_places("front", shown(CORNERS_OF_IT))
    assert result is not None and result.place is not None
    assert "of the image" in result.text
    x, y = result.place[0]
    assert 39 <= x <= 121 and 29 <= y <= 91, "never outside of what was shown"
    apart = np.linalg.norm(np.array(CORNERS_OF_IT) - result.place[0], axis=1).min()
    assert apart > 20


def test_the_side_where_little_was_shown_comes_next():
    left = [(x, y) for x in (40, 50, 60) for y in (30, 60, 90)]
    result = map_places("front", shown([*left, (120, 60)]))
    assert result is not None and result.place is not None and result.place[0, 0] > 75


def test_misses_where_little_was_shown_draw_the_mark():
    """Both ends are as little known; trials missed at one of them."""
    middle = [(x, y) for x in (70, 80, 90) for y in (50, 60, 70)]
    ends = [(20, 60), (140, 60)]
    for miss, side in ((24, -1), (136, 1)):
        missed = shown([(miss, 58 + one) for one in range(5)], missed=True, shown=False)
        result = map_places("front", [*shown([*middle, *ends]), *missed])
        assert result is not None and result.place is not None
        assert "5 misses, most where little was demonstrated" in result.text
        assert side * (result.place[0, 0] - 80) > 30


def test_misses_amid_demonstrations_are_no_lack_of_them():
    places = [(x, y) for x in range(40, 121, 20) for y in range(30, 91, 15)]
    missed = shown([(80, 60), (75, 55), (85, 65), (80, 70)], missed=True, shown=False)
    result = map_places("front", [*shown(places), *missed])
    assert result is not None and result.place is None
    assert "more demonstrations are not what is missing" in result.text


def test_a_takeover_is_a_miss_and_a_demonstration():
    places = [*CORNERS_OF_IT, (80, 60)]
    taken = [first((60, 45, RED), missed=True)]
    result = map_places("front", [*shown(places), *taken])
    assert result is not None and result.text.startswith("6 demonstrated")


def test_many_demonstrations_cover_the_region():
    places = [(x, y) for x in range(40, 121, 10) for y in range(30, 91, 10)]
    result = map_places("front", shown(places))
    assert result is not None and "covers" in result.text


def test_a_robot_that_starts_elsewhere_is_no_object():
    firsts = [first((x, y, RED), start=x / 100) for x, y in CORNERS_OF_IT]
    result = map_places("front", firsts)
    assert result is not None and result.place is None and "starts elsewhere" in result.text


def test_the_map_shows_places_misses_and_the_mark():
    missed = shown([(100, 80)], missed=True, shown=False)
    result = map_places("front", [*shown(CORNERS_OF_IT), *missed])
    assert result is not None and result.place is not None
    drawn, scale = result.picture, result.picture.shape[1] / 160

    def at(x: float, y: float) -> np.ndarray:
        return drawn[round((y + 0.5) * scale), round((x + 0.5) * scale)].astype(int)

    for x, y in CORNERS_OF_IT:
        assert at(x, y) == pytest.approx(RED, abs=30)
    reach = 11 * (drawn.shape[1] // 320) / scale
    assert at(result.place[0, 0] + reach, result.place[0, 1]) == pytest.approx(
        (255, 220, 0), abs=60
    )
    assert at(100 + 8 / scale, 80 + 8 / scale) == pytest.approx((230, 40, 40), abs=60)


def test_the_camera_that_shows_most_is_taken():
    near = shown(CORNERS_OF_IT)
    far = shown([(70 + x / 8, 50 + y / 8) for x, y in CORNERS_OF_IT])
    found = best_map({"far": far, "near": near, "dark": [None, None]})
    assert found is not None and found.camera == "near"
    assert "from the top of the image of camera 'near'" in found.text
    assert best_map({"dark": [None] * 5}) is None
    # In one that shows it in all images, if not as far apart.
    leaves = [*shown(CORNERS_OF_IT), *shown([(80, 60)]), *[first()] * 2]
    found = best_map({"leaves": leaves, "stays": [*far, *far[:3]]})
    assert found is not None and found.camera == "stays"
    found = best_map({"leaves": leaves})
    assert found is not None and "In 2 of these it was not found in the image." in found.text


places_of_two = st.lists(
    st.tuples(*[st.integers(0, 40).map(float)] * 2), min_size=1, max_size=12
).map(np.array)


@given(places_of_two)
def test_a_region_is_within_what_was_shown(places: np.ndarray):
    """One place, several that are alike, and places on a line, too."""
    found = region(places)
    assert len(found) and np.isfinite(found).all()
    slack = np.ptp(places, axis=0).max() / 20 + 1e-3
    assert (found >= places.min(0) - slack).all() and (found <= places.max(0) + slack).all()
    for corner in hull(places):
        assert np.abs(found - corner).sum(1).min() < 1e-3


@given(places_of_two, st.integers(0, 10_000))
def test_the_gain_is_by_how_much_the_uncertainty_falls(places: np.ndarray, seed: int):
    """That of one more demonstration, reckoned anew."""
    among = region(places)
    weights = np.random.default_rng(seed).uniform(0.1, 3, len(among))
    coverage = Coverage(places, among, weights)
    gains = coverage.gains(among)
    assert ((gains >= 0) & (gains < 1)).all()
    best = int(gains.argmax())
    after = Coverage(np.vstack([places, among[best : best + 1]]), among, weights)
    assert 1 - after.mean_variance / coverage.mean_variance == pytest.approx(gains[best], rel=1e-5)
    mean = (weights * coverage.variance(among)).sum() / weights.sum()
    assert mean == pytest.approx(coverage.mean_variance)


@given(places_of_two, st.floats(0.1, 50), st.floats(-100, 100))
def test_the_best_place_does_not_depend_on_the_unit(
    places: np.ndarray, scale: float, shift: float
):
    among = region(places)
    gains = Coverage(places, among).gains(among)
    scaled = among * scale + shift
    assert Coverage(places * scale + shift, scaled).gains(scaled) == pytest.approx(gains, rel=1e-3)
