# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Other light on a made-up scene: how much is told, whatever lies about and wherever the camera
stands, and that it is undone."""

from __future__ import annotations

import numpy as np
import pytest
from moved_camera import HEIGHT, STILL, WIDTH, move, reference, scene, shot, with_things

from sarnn_ros.streams.light import compare_colours, measure_light, measure_lights, relight
from sarnn_ros.streams.registration import make_reference

SCENE = scene()
REFERENCE = reference(SCENE)


def lit(image: np.ndarray, factors: tuple[float, ...]) -> np.ndarray:
    return (image * np.array(factors)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("place", [STILL, move(0.06, -0.04, 4, 1.03)], ids=["still", "moved"])
@pytest.mark.parametrize(
    "factors", [(0.5,) * 3, (0.2,) * 3, (1.0, 0.9, 0.6), (1.3,) * 3, (1.0,) * 3]
)
def test_the_light_is_measured_beside_other_things(
    factors: tuple[float, ...], place: np.ndarray
) -> None:
    there = shot(with_things(SCENE, np.random.default_rng(9), 3), place)
    found = measure_light(lit(there, factors), REFERENCE, place)
    assert found is not None
    assert found * factors == pytest.approx(1, abs=0.05)


def other_wall(image: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    painted = image.copy()
    painted[: HEIGHT * 55 // 100] = colour
    return painted


def test_other_colours_are_no_light() -> None:
    image = shot(SCENE)
    shaded = image.copy()
    shaded[:, : WIDTH * 6 // 10] = shaded[:, : WIDTH * 6 // 10] // 2
    for same in (image, lit(image, (0.5,) * 3), lit(image, (1.0, 0.9, 0.6)), shaded):
        assert compare_colours(same, REFERENCE, STILL) == "alike"
    grey = np.repeat(image.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    assert compare_colours(grey, REFERENCE, STILL) == "grey"
    assert compare_colours(image[..., ::-1], REFERENCE, STILL) == "swapped"
    assert compare_colours(other_wall(image, (235, 200, 120)), REFERENCE, STILL) == "unlike"
    plain = np.full_like(image, 255)
    assert compare_colours(plain, REFERENCE, STILL) == "alike", "it tells nothing"


@pytest.mark.parametrize("darker", [1.0, 0.5])
def test_red_and_blue_are_swapped_over_a_bench_of_one_colour(darker: float) -> None:
    grain = SCENE.mean(-1, keepdims=True) / SCENE.max()
    wood = (60 + 120 * grain * np.array([1.0, 0.75, 0.5])).astype(np.uint8)
    image = shot(with_things(wood, np.random.default_rng(9), 2))
    now = lit(image, (darker,) * 3)
    assert compare_colours(now, reference(wood), STILL) == "alike"
    assert compare_colours(now[..., ::-1], reference(wood), STILL) == "swapped"
    for warm in ((1.0, 0.8, 0.6), (0.6, 0.8, 1.0)):
        assert compare_colours(lit(now, warm), reference(wood), STILL) == "alike"


def test_it_is_undone() -> None:
    image = shot(SCENE)
    dark = lit(image, (0.5, 0.4, 0.6))
    found = measure_light(dark, REFERENCE, STILL)
    assert found is not None
    off = np.abs(relight(dark, found).astype(int) - image)
    assert off.mean() < 3 and np.abs(dark.astype(int) - image).mean() > 30


def test_the_larger_part_decides_beside_a_shadow() -> None:
    image = shot(SCENE)
    image[:, : WIDTH // 3] = image[:, : WIDTH // 3] // 2
    found = measure_light(image, REFERENCE, STILL)
    assert found == pytest.approx(np.ones(3), abs=0.03)


@pytest.mark.parametrize("level", [0, 3, 255])
def test_a_black_or_white_picture_tells_nothing(level: int) -> None:
    plain = np.full((HEIGHT, WIDTH, 3), level, np.uint8)
    assert measure_light(plain, REFERENCE, STILL) is None
    dark = make_reference([plain] * 3, (WIDTH, HEIGHT))
    assert measure_light(shot(SCENE), dark, STILL) is None


def test_a_factor_of_one_changes_no_bit_and_white_stays_white() -> None:
    image = shot(SCENE)
    assert (relight(image, np.ones(3)) == image).all()
    bright = relight(image, np.array([1.0, 3.0, 300.0]))
    assert bright.dtype == np.uint8 and (bright[..., 1:] >= image[..., 1:]).all()


def test_pictures_of_one_camera_are_brought_to_one_light() -> None:
    random = np.random.default_rng(3)
    gains = random.uniform(0.75, 1.25, (20, 3))
    pictures = [lit(shot(with_things(SCENE, random, 3)), tuple(row)) for row in gains]
    found = measure_lights(pictures)
    assert found.shape == (20, 3)
    even = found * gains
    assert np.abs(even / np.median(even, 0) - 1).max() < 0.04
    assert np.abs(gains / np.median(gains, 0) - 1).max() > 0.2


def test_in_the_same_light_no_picture_is_touched() -> None:
    random = np.random.default_rng(3)
    pictures = [with_things(SCENE, random, 3) for _ in range(6)]
    noisy = [(one + random.normal(0, 3, one.shape)).clip(0, 255) for one in pictures]
    assert (measure_lights([one.astype(np.uint8) for one in noisy]) == 1.0).all()


@pytest.mark.parametrize("level", [0, 255])
def test_of_black_and_white_pictures_no_light_is_told(level: int) -> None:
    assert (measure_lights([np.full((9, 12, 3), level, np.uint8)] * 3) == 1.0).all()
