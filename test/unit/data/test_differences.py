# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What differs between first images where the robot starts elsewhere in each episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from sarnn_ros.data import differences
from sarnn_ros.data.dataset import Episode
from sarnn_ros.data.differences import Difference, difference
from sarnn_ros.spec import CameraSpec

HEIGHT, WIDTH = 72, 96
CAMERA = CameraSpec(name="camera", topic="image", width=WIDTH, height=HEIGHT)
#: Where the object's corner may lie, (x, y); it is `SIZE` large.
LOW, HIGH, SIZE = np.array([40, 44]), np.array([56, 60]), 4


def episodes(
    count: int,
    *,
    spread: float,
    ticks: int = 20,
    carried: bool = False,
    object_: bool = True,
    taken: int = 0,
    rest: int = 0,
) -> list[Episode]:
    """An arm, grey stripes from the upper edge to the hand, goes to a red square.

    :param spread: it starts up to so many pixels from the middle.
    :param carried: the square goes with the hand from the beginning.
    :param taken: at last it lies at the left edge for so many ticks.
    :param rest: ticks for which nothing moves at first.
    """
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        place = rng.integers(LOW, HIGH + 1)
        start = np.array([48, 20]) + spread * rng.uniform(-1, 1, 2)
        share = np.concatenate([np.zeros(rest), np.linspace(0, 1, ticks), np.ones(taken)])[:, None]
        hand = (1 - share) * start + share * place
        frames = rng.integers(100, 106, (len(hand), HEIGHT, WIDTH, 3)).astype(np.uint8)
        for tick, (frame, (x, y)) in enumerate(zip(frames, hand.astype(int), strict=True)):
            if object_:
                column, row = (x + 8, y) if carried else place if tick < rest + ticks else (4, 40)
                frame[row : row + SIZE, column : column + SIZE] = (230, 20, 20)
            stripes = 40 + 30 * (np.arange(10) % 2)
            frame[:y, x - 5 : x + 5] = stripes[:, None]
        made.append(
            Episode(
                name=f"e{number}",
                ticks=np.arange(len(hand), dtype=np.int64) * 100_000_000,
                images={"camera": frames},
                joints=hand,
                targets=hand,
                source_sizes={"camera": (4 * WIDTH, 4 * HEIGHT)},
                digest=f"e{number}",
            )
        )
    return made


def found_in(shown: list[Episode], places: Sequence[int] = (0, 1)) -> Difference:
    found = difference(CAMERA, shown, places)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("count", "spread", "how"),
    [
        (20, 14, {}),
        (25, 14, {}),
        (130, 14, {}),
        (25, 14, {"taken": 60}),
        (25, 14, {"taken": 100}),
        (25, 14, {"taken": 180}),
        (25, 14, {"rest": 2}),
        (25, 14, {"ticks": 80, "rest": 30}),
        (25, 14, {"taken": 100, "rest": 10}),
        (25, 25, {}),
        (25, 25, {"ticks": 80, "rest": 4}),
    ],
)
def test_the_crop_is_of_the_objects_and_not_of_an_arm_that_starts_elsewhere(
    count: int, spread: float, how: dict[str, int]
) -> None:
    """Taken for 100 ticks, all have been moved when a fifth of the episode is over. Where an arm
    rests at first, it is not what lies still."""
    found = found_in(episodes(count, spread=spread, **how))
    assert found.crop is not None
    left, upper = found.crop.x / 4, found.crop.y / 4
    right, lower = left + found.crop.width / 4, upper + found.crop.height / 4
    assert left <= LOW[0] and right >= HIGH[0] + SIZE
    assert upper <= LOW[1] and lower >= HIGH[1] + SIZE
    assert upper > 30, "the arm is above"
    # Of the object, and in a few episodes of an arm before it.
    assert SIZE**2 / 2 <= found.pixels <= 3 * SIZE**2


@pytest.mark.parametrize("spread", [0, 14])
def test_an_object_that_moves_at_once_is_not_cut_off(spread: float) -> None:
    """Then what differs is as much as ever: arm and object."""
    shown = episodes(25, spread=spread, carried=True)
    first = np.stack([one.images["camera"][0] for one in shown]).astype(float)
    off = np.abs(first - np.median(first, 0)).max(-1)
    assert found_in(shown).pixels == np.median((off > 20).sum((1, 2)))


def test_an_arm_that_starts_elsewhere_is_all_there_is() -> None:
    """Nothing else differs: the crop is as of any difference, or none, and nothing fails."""
    shown = episodes(25, spread=14, object_=False)
    assert found_in(shown).pixels > 50


@pytest.mark.parametrize("ticks", [1, 2, 5])
def test_short_episodes_are_compared_too(ticks: int) -> None:
    assert found_in(episodes(20, spread=14, ticks=ticks)).pixels > 0


@pytest.mark.parametrize(("count", "spread"), [(25, 0), (19, 14)])
def test_of_few_or_where_all_start_alike_nothing_is_left_out(
    count: int, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*given: object) -> None:
        raise AssertionError("it was looked for the arm")

    monkeypatch.setattr(differences, "_objects", no)
    shown = episodes(count, spread=spread)
    noise = np.random.default_rng(1).normal(scale=1e-4, size=(count, 20, 1))  # of a joint at rest
    shown = [
        replace(one, joints=np.hstack([one.joints, off]))
        for one, off in zip(shown, noise, strict=True)
    ]
    assert found_in(shown, (0, 1, 2)).pixels >= SIZE**2


def test_a_force_that_is_noise_is_no_other_start(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = episodes(25, spread=0)
    usual = found_in(shown).crop
    noise = np.random.default_rng(1).normal(size=(25, 20, 1))
    shown = [
        replace(one, joints=np.hstack([one.joints, force]))
        for one, force in zip(shown, noise, strict=True)
    ]
    assert found_in(shown).crop == usual
    places: list[int] = []
    assert found_in(shown, places).crop == usual, "nothing says where the robot is"


def test_single_pixels_are_no_object() -> None:
    """They are left of an arm's edges; an object has `BLOB` that touch."""
    pixels = np.zeros((20, 20), bool)
    pixels[2, 2] = pixels[5, 5] = pixels[5, 6] = True
    object_ = np.zeros_like(pixels)
    object_[10, 10] = object_[11, 11] = object_[12, 11] = True
    np.testing.assert_array_equal(differences._blobs(pixels | object_), object_)


@pytest.mark.parametrize("spread", [0, 14])
def test_another_exposure_in_each_episode_does_not_hide_where_the_object_lies(
    spread: float,
) -> None:
    shown, random = episodes(25, spread=spread), np.random.default_rng(2)
    lit = []
    for one in shown:
        gains = random.uniform(0.7, 1.1) * random.uniform(0.95, 1.05, 3)
        frames = (one.images["camera"] * gains).clip(0, 255).astype(np.uint8)
        lit.append(replace(one, images={"camera": frames}))
    found, usual = found_in(lit), found_in(shown)
    assert usual.crop is not None and found.crop is not None
    for side in ("x", "y", "width", "height"):
        assert abs(getattr(found.crop, side) - getattr(usual.crop, side)) <= 8  # of 384


@pytest.mark.parametrize("factor", [0.8, 0.6, 0.4])
def test_one_dark_episode_changes_little(factor: float) -> None:
    shown = episodes(25, spread=0)
    dark = (shown[0].images["camera"] * factor).astype(np.uint8)
    found = found_in([replace(shown[0], images={"camera": dark}), *shown[1:]])
    assert found.crop == found_in(shown).crop
    assert found.pixels == found_in(shown).pixels


def test_a_dull_object_is_told_in_any_light_beside_what_is_white() -> None:
    """White is clipped, so it keeps another light when that is undone; the object is not white."""
    shown, random, lit = episodes(25, spread=0), np.random.default_rng(2), []
    bright = random.uniform(160, 255, (10, 20, 1))
    for one in shown:
        frames = one.images["camera"].astype(np.float32)
        frames[(frames == (230, 20, 20)).all(-1)] = (150, 60, 60)
        frames[:, 10:20, 70:90] = 255
        frames[:, 60:70, 5:25] = bright
        frames = (frames * random.uniform(0.8, 1.2)).clip(0, 255).astype(np.uint8)
        lit.append(replace(one, images={"camera": frames}))
    found, usual = found_in(lit), found_in(shown)
    assert usual.crop is not None and found.crop is not None
    assert found.pixels == pytest.approx(usual.pixels, abs=2)
    for side in ("x", "y", "width", "height"):
        assert abs(getattr(found.crop, side) - getattr(usual.crop, side)) <= 8


def test_the_light_is_measured_among_episodes_of_one_place() -> None:
    """Elsewhere the same wall lies elsewhere in the image, and seems brighter or darker."""
    wall = np.tile(np.linspace(40, 215, WIDTH)[:, None], (12, HEIGHT, 1, 3)).astype(np.uint8)
    wall[8:] = np.roll(wall[8:], 19, axis=2)
    elsewhere = [number >= 8 for number in range(12)]
    assert (differences.in_even_light(wall, [elsewhere])[0] == 1).all()
    assert (differences.in_even_light(wall)[0][8:] != 1).any()
