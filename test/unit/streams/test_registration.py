# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where a camera has been moved to: pictures with known moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moved_camera import HEIGHT, SCENE, WIDTH, move, reference, scene, shot, with_things

from sarnn_ros.streams import registration
from sarnn_ros.streams.registration import (
    GOOD_SHARE,
    KINDS,
    MAX_UNCERTAINTY,
    Registration,
    describe,
    invert,
    make_reference,
    mapped,
    register,
    shrink,
    undo,
)


def error(matrix: np.ndarray, place: np.ndarray) -> float:
    """The largest in the inner part, as a share of the width."""
    x, y = np.meshgrid(np.linspace(0.1, 0.9, 5) * WIDTH, np.linspace(0.1, 0.9, 5) * HEIGHT)
    points = np.stack([x.ravel(), y.ravel()], 1)
    off = mapped(matrix, points) - mapped(place, points)
    return float(np.linalg.norm(off, axis=1).max() / WIDTH)


def hand(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    cv2.ellipse(image, (100, 70), (26, 18), 30, 0, 360, (200, 150, 120), -1)
    cv2.line(image, (100, 70), (150, 130), (190, 140, 110), 22)
    return image


def shadow(image: np.ndarray) -> np.ndarray:
    dark = np.ones((HEIGHT, WIDTH, 1), np.float32)
    cv2.fillPoly(dark, [np.array([(90, 0), (160, 0), (160, 120), (50, 120)])], 0.5)
    return (image * dark).astype(np.uint8)


def noise(image: np.ndarray) -> np.ndarray:
    off = np.random.default_rng(5).normal(0, 6, image.shape)
    return (image + off).clip(0, 255).astype(np.uint8)


MOVES = {
    "in its place": (0, 0, 0, 1),
    "right": (0.05, 0, 0, 1),
    "far": (0.08, -0.06, 0, 1),
    "turned": (0, 0, 6, 1),
    "closer": (0, 0, 0, 1.06),
    "all at once": (-0.06, 0.05, -5, 0.95),
}
DISTURBANCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda image: image,
    "brighter": lambda image: (image * 1.3).clip(0, 255).astype(np.uint8),
    "darker and warm": lambda image: (image * np.array([0.8, 0.7, 0.6])).astype(np.uint8),
    "noise": noise,
    "shadow": shadow,
    "hand": hand,
}


@pytest.mark.parametrize(
    ("moved", "disturbance"),
    [
        *((moved, "none") for moved in MOVES),
        *(("in its place", disturbance) for disturbance in DISTURBANCES if disturbance != "none"),
        *(("all at once", disturbance) for disturbance in DISTURBANCES if disturbance != "none"),
    ],
)
def test_it_is_found_where_it_was_moved_to(moved: str, disturbance: str) -> None:
    picture = scene()
    place = move(*MOVES[moved])
    image = with_things(picture, np.random.default_rng(9), 3)
    found = register(DISTURBANCES[disturbance](shot(image, place)), reference(picture))
    assert found is not None
    # The hand hides a quarter of the picture.
    assert error(found.matrix, place) < (0.01 if disturbance == "hand" else 0.004)
    assert found.uncertainty < MAX_UNCERTAINTY
    right, down, degrees, zoom = MOVES[moved]
    assert np.allclose(found.shift, (right * WIDTH, down * WIDTH), atol=0.6)
    assert np.degrees(found.turn) == pytest.approx(degrees, abs=0.3)
    assert found.zoom == pytest.approx(zoom, abs=0.005)
    if moved == "in its place":
        assert found.displacement < 0.005


def test_the_warp_brings_the_picture_back() -> None:
    picture, place = scene(), move(0.06, -0.04, 3, 1.04)
    inner = np.s_[20:-20, 20:-20]
    still, moved = shot(picture), shot(picture, place)
    off = np.abs(moved[inner].astype(int) - still[inner]).mean()
    back = np.abs(undo(moved, place)[inner].astype(int) - still[inner]).mean()
    assert back < 0.15 * off
    assert (undo(still, np.eye(3)) == still).all(), "no move, no change: to the bit"
    assert np.allclose(invert(invert(place)), place)


def test_larger_images_are_told_in_their_own_pixels() -> None:
    picture = cv2.resize(scene(), None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    size = 640, 480
    still, moved = (
        picture[300 - dy : 780 - dy, 400 - dx : 1040 - dx] for dx, dy in ((0, 0), (32, -16))
    )
    known = make_reference([shrink(still)] * 3, size)
    assert known.image.shape == (240, 320, 3)
    found = register(shrink(moved), known)
    assert found is not None and found.size == size
    assert np.allclose(found.shift, (32, -16), atol=1.0)
    corners = np.array([(0, 0), (639, 0), (0, 479), (639, 479)])
    assert np.allclose(mapped(found.matrix, corners), corners + (-32, 16), atol=1.5)


def test_another_scene_is_not_taken_for_this_one() -> None:
    known = reference(scene(0))
    usual = register(shot(scene(0)), known)
    assert usual is not None and usual.correlation > 0.9
    for seed in range(1, 5):
        found = register(shot(scene(seed)), known)
        assert found is None or found.correlation < 0.4


def test_what_the_picture_does_not_determine_is_not_claimed() -> None:
    """Stripes tell nothing along them."""
    stripes = np.repeat(np.random.default_rng(0).integers(0, 255, (1, WIDTH, 1)), HEIGHT, axis=0)
    image = np.repeat(cv2.GaussianBlur(stripes.astype(np.uint8), (5, 1), 0)[..., None], 3, axis=2)
    found = register(np.ascontiguousarray(image), make_reference([image] * 2, (WIDTH, HEIGHT)))
    assert found is None or found.uncertainty > MAX_UNCERTAINTY


@pytest.mark.parametrize(
    ("tiles", "kind"), [((3, 2), "translation"), ((3, 3), "similarity"), ((4, 4), "affine")]
)
def test_of_a_small_part_no_more_is_asked_than_it_tells(tiles: tuple[int, int], kind: str) -> None:
    """Only so many of the 10 x 10 tiles look alike in all demonstrations."""
    picture, mask = scene(), np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[48 : 48 + 12 * tiles[1], 64 : 64 + 16 * tiles[0]] = True
    known = replace(reference(picture), mask=mask)
    found = register(shot(picture, move(0.05, -0.03, 0, 1)), known)
    assert found is not None and found.kind == kind
    assert found.uncertainty < MAX_UNCERTAINTY
    assert np.allclose(found.shift, (8.0, -4.8), atol=0.2)


def test_the_uncertainty_is_as_large_as_the_errors_are() -> None:
    picture, place = scene(), move(0.05, -0.03, 0, 1)
    known = reference(picture)
    told, errors = [], []
    for seed in range(6):
        off = np.random.default_rng(seed).normal(0, 12, (HEIGHT, WIDTH, 3))
        found = register((shot(picture, place) + off).clip(0, 255).astype(np.uint8), known)
        assert found is not None
        told.append(found.uncertainty)
        off = mapped(found.matrix, known.where) - mapped(place, known.where)
        errors.append(np.linalg.norm(off, axis=1).max())
    assert 0.25 < np.mean(told) / (np.sqrt(np.mean(np.square(errors))) / WIDTH) < 4


def test_what_is_said_of_a_move_and_what_to_do_with_the_camera() -> None:
    def said(*moved: float) -> list[tuple[str, str]]:
        found = Registration(move(*moved), "affine", 0.0, 1.0, 1.0, (WIDTH, HEIGHT))
        return [(one.where, f"{one.move}: {one.amount}") for one in describe(found)]

    assert said(-0.05, 0.04, -3, 0.97) == [
        ("8 px (5.0% of the width) too far left", "turn it left: 8 px"),
        ("6 px (4.0% of the width) too far down", "turn it down: 6 px"),
        ("turned counter-clockwise by 3.0°", "roll it counter-clockwise: 3.0°"),
        ("3.0% too small", "move it closer: 3.0%"),
    ]
    assert said(0.05, -0.04, 3, 1.03) == [
        ("8 px (5.0% of the width) too far right", "turn it right: 8 px"),
        ("6 px (4.0% of the width) too far up", "turn it up: 6 px"),
        ("turned clockwise by 3.0°", "roll it clockwise: 3.0°"),
        ("3.0% too large", "move it back: 3.0%"),
    ]
    assert said(0, 0, 0, 1) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_goes_where_its_derivative_says(kind: str) -> None:
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 2))
    one, zero = np.ones(20), np.zeros(20)
    right = registration._derivatives(kind, one, zero, *points.T)
    down = registration._derivatives(kind, zero, one, *points.T)
    for number in range(len(right)):
        step = np.zeros(len(right))
        step[number] = 1e-6
        went = (mapped(registration._step(kind, step), points) - points) / 1e-6
        assert np.allclose(went.T, [right[number], down[number]], atol=1e-5)
    assert np.allclose(
        registration._derivatives(kind, 2 * one, -3 * one, *points.T), 2 * right - 3 * down
    )


def test_a_plane_that_is_seen_from_elsewhere_is_found_exactly() -> None:
    picture, place = scene(), move(0.03, -0.02, 3, 1.02)
    place[2, :2] = 4e-4, -6e-4
    place[:2] += np.outer([(WIDTH - 1) / 2, (HEIGHT - 1) / 2], place[2] - [0, 0, 1])
    found = register(shot(picture, place), reference(picture))
    assert found is not None and found.kind == "homography"
    assert error(found.matrix, place) < 0.004
    assert found.uncertainty < 0.001


def test_objects_are_masked() -> None:
    picture = scene()
    known = reference(picture)
    assert 0.5 < known.mask.mean() < 1.0
    assert np.abs(known.image.astype(int) - shot(picture)).mean() < 2


@pytest.mark.parametrize("deviation", [0, 3, 8, 15])
def test_noise_is_no_object(deviation: float) -> None:
    picture, rng = scene(), np.random.default_rng(3)
    images = [
        (shot(with_things(picture, rng, 1)) + rng.normal(0, deviation, (HEIGHT, WIDTH, 3)))
        .clip(0, 255)
        .astype(np.uint8)
        for _ in range(20)
    ]
    known = make_reference(images, (WIDTH, HEIGHT))
    assert 0.5 < known.mask.mean() < 0.97, "and an object is none of the noise"


def perforated(things: int, pitch: int = 16) -> np.ndarray:
    """A plate of the scene's size, full of holes, and some things on it that are fixed."""
    picture = np.full((SCENE[1], SCENE[0], 3), 150, np.uint8)
    for y in range(pitch // 2, SCENE[1], pitch):
        for x in range(pitch // 2, SCENE[0], pitch):
            cv2.circle(picture, (x, y), pitch // 6, (45, 45, 48), -1, cv2.LINE_AA)
    rng = np.random.default_rng(1)
    for _ in range(things):
        x, y = rng.integers((WIDTH // 2 + 10, HEIGHT // 2 + 10), (WIDTH + 50, HEIGHT + 30))
        width, height = rng.integers(8, 30, 2)
        colour = rng.uniform(10, 240, 3).tolist()
        cv2.rectangle(picture, (x, y), (x + width, y + height), colour, -1)
    return picture


@pytest.mark.parametrize("moved", [(16, 0), (-16, 2), (15, 16), (0, -16)])
def test_on_a_perforated_plate_a_camera_is_not_one_hole_off(moved: tuple[int, int]) -> None:
    picture = perforated(3)
    known = reference(picture)
    assert 0.7 < known.repeats < 0.97
    place = move(moved[0] / WIDTH, moved[1] / WIDTH, 0, 1)
    still = register(shot(picture), known)
    assert still is not None
    image = noise(with_things(picture, np.random.default_rng(4), 1))
    found = register(shot(image, place), known, None, known.sure(still.correlation))
    assert found is not None and error(found.matrix, place) < 0.005


def test_a_scene_that_repeats_is_known() -> None:
    usual, plate = reference(scene()), reference(perforated(0))
    assert usual.repeats < 0.6 < 0.97 < plate.repeats
    assert usual.sure(0.9) == 0.9 * GOOD_SHARE and plate.sure(0.9) > 0.88


def on_plane(height: float, turn: float) -> np.ndarray:
    """Homography from (x, y) in m at that height to pixels of a camera 0.9 m from the table's
    middle, looking down on it by 35°, that was turned round it and up by so many degrees."""
    azimuth, down = np.deg2rad(turn), np.deg2rad(35 + turn)
    level = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    ahead = np.cos(down) * level - np.array([0, 0, np.sin(down)])
    right = np.cross(level, [0, 0, 1])
    axes = np.stack([right, np.cross(ahead, right), ahead])
    lens = np.array([[HEIGHT, 0, WIDTH / 2 - 0.5], [0, HEIGHT, HEIGHT / 2 - 0.5], [0, 0, 1]])
    there = -axes @ (np.array([0, 0, 0.4]) - 0.9 * ahead)
    return np.asarray(lens @ np.column_stack([axes[:, :2], axes[:, 2] * height + there]))


def table_in_a_room(turn: float, thing: tuple[float, float]) -> np.ndarray:
    """A white table of 0.5 m on a patterned floor, with a red thing on it at (x, y) m."""
    floor = scene(0)
    scale = np.array([[0.01, 0, -SCENE[0] * 0.005], [0, 0.01, -SCENE[1] * 0.005], [0, 0, 1]])
    image = cv2.warpPerspective(floor, on_plane(0, turn) @ scale, (WIDTH, HEIGHT))
    for height, half, middle, colour in (
        (0.4, 0.25, (0, 0), (240, 240, 235)), (0.4, 0.02, thing, (200, 20, 20)),
    ):  # fmt: skip
        x, y = middle
        square = np.array([(x + i * half, y + j * half) for i, j in SQUARE])
        seen = cv2.perspectiveTransform(square[None], on_plane(height, turn))
        cv2.fillPoly(image, [np.rint(seen[0] * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
    return image


SQUARE = ((-1, -1), (1, -1), (1, 1), (-1, 1))


@pytest.mark.parametrize(
    ("turn", "most"), [(2.0, 0.008), (4.0, 0.01), (-4.0, 0.02), (6.0, 0.012), (-6.0, 0.034)]
)
def test_where_the_things_are_counts_most(turn: float, most: float) -> None:
    """A camera that was moved in space: near and far are moved differently."""
    rng = np.random.default_rng(0)
    things = rng.uniform(-0.2, 0.2, (20, 2))
    known = make_reference([table_in_a_room(0, tuple(one)) for one in things], (WIDTH, HEIGHT))
    found = register(table_in_a_room(turn, (0.05, 0.1)), known)
    assert found is not None
    spots = np.array([[(0.2 * i, 0.2 * j) for i, j in SQUARE]])
    now, then = (cv2.perspectiveTransform(spots, on_plane(0.4, t))[0] for t in (turn, 0.0))
    off = np.linalg.norm(mapped(found.matrix, now) - then, axis=1)
    # With all pixels alike 0.017, 0.033, 0.038, 0.050 and 0.062.
    assert off.max() < most * WIDTH
    assert found.correlation > 0.73, "also at -6, where the whole has 0.72"
    assert not known.plain


@pytest.mark.parametrize("moved", ["in its place", "turned"])
def test_without_depth_the_whole_picture_tells(
    moved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is more exact: where it fits nothing else is tried, and what is tried behind a hand that
    hides a quarter of a moved picture is no better."""
    whole, tried = [], []
    determined = registration._Pair.determined

    def noted(pair: Any, matrix: Any, kinds: Any, counts: Any = None) -> Any:
        fit = determined(pair, matrix, kinds, counts)
        if kinds != (registration.ROUGH,):  # not where to begin
            (whole if counts is None else tried).append(fit.matrix)
        return fit

    monkeypatch.setattr(registration._Pair, "determined", noted)
    known, picture = reference(scene()), shot(scene(), move(*MOVES[moved]))
    assert register(picture, known) is not None
    assert not tried
    whole.clear()
    found = register(hand(shot(scene(), move(*MOVES["all at once"]))), known)
    assert found is not None and tried
    assert np.allclose(found.matrix, whole[0])  # the next one is of a camera that stands


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["flat", "noise", "black", "half"]),
    st.integers(0, 3),
)
def test_any_picture_gives_an_answer(width: int, height: int, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = {
        "flat": np.full((height, width, 3), 128, np.uint8),
        "noise": rng.integers(0, 256, (height, width, 3), np.uint8),
        "black": np.zeros((height, width, 3), np.uint8),
        "half": np.where(np.arange(width) < width / 2, 0, 255)[None, :, None]
        * np.ones((height, 1, 3), np.uint8),
    }[kind].astype(np.uint8)
    known = make_reference([image, rng.integers(0, 256, image.shape, np.uint8)], (width, height))
    for shown in (image, known.image, image[::-1].copy(), image[:, : width // 2]):
        found = register(shown, known)
        assert found is None or np.isfinite(found.matrix).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("grey", [90, 128, 200])
def test_a_plain_wall_is_no_correlation_of_rounding(grey: int) -> None:
    """As simulators draw it: beside the object all is one colour."""

    def picture(x: int, y: int) -> np.ndarray:
        image = np.full((60, 80, 3), grey, np.uint8)
        image[y : y + 6, x : x + 6] = (200, 30, 30)
        return image

    known = make_reference([picture(10, 10), picture(40, 30), picture(60, 20)], (80, 60))
    found = register(picture(30, 20), known)
    assert found is None or np.isfinite(found.correlation)


@pytest.mark.parametrize("near", ["there", "elsewhere"])
def test_an_earlier_place_helps_and_never_misleads(near: str) -> None:
    picture, place = scene(), move(0.06, -0.04, 3, 1.04)
    earlier = place if near == "there" else move(-0.08, 0.05, -5, 0.96)
    found = register(shot(picture, place), reference(picture), earlier)
    assert found is not None
    assert error(found.matrix, place) < 0.004


def test_a_homography_is_judged_by_what_it_does_to_the_middle() -> None:
    """Its upper left part tells nothing of how much it enlarges; and it is found again."""
    picture, place = scene(), move(0, 0, 0, 0.66)
    place[2, :2] = np.array([0.2, 0.15]) / WIDTH
    middle = (np.array([WIDTH, HEIGHT]) - 1) / 2
    there = np.eye(3)
    there[:2, 2] = middle - mapped(place, middle)
    place = there @ place
    known, image = reference(picture), shot(picture, place / place[2, 2])
    near = None
    for _ in range(2):
        found = register(image, known, near)
        assert found is not None and found.uncertainty <= MAX_UNCERTAINTY
        assert error(found.matrix, place) < 0.01
        assert np.linalg.norm(found.matrix[:2, :2], 2) > registration.MAX_ZOOM
        near = found.matrix


@pytest.mark.parametrize("seed", range(4))
def test_another_wall_around_the_table_is_no_moved_camera(seed: int) -> None:
    """What is near to the objects is as it was; all else is another scene."""
    known, other = reference(scene()), shot(scene(20 + seed))
    near = known.near() > 0.3
    assert 0.3 < near.mean() < 0.9
    seen = shot(with_things(scene(), np.random.default_rng(seed), 1))
    found = register(np.where(near[..., None], seen, other), known)
    assert found is not None
    assert found.uncertainty <= MAX_UNCERTAINTY
    assert found.displacement < 0.005


@pytest.mark.parametrize("matched", [np.diag([0.0, 0.0, 1.0]), np.diag([-1.0, -1.0, 1.0])])
def test_matches_that_are_no_plausible_map_do_no_harm(
    matched: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All on one point, or upside down, as of a picture of little texture."""
    monkeypatch.setattr(registration, "match", lambda *images: matched)
    place = move(*MOVES["all at once"])
    # So sure that all places to begin are tried.
    found = register(hand(shot(scene(), place)), reference(scene()), sure=1.0)
    assert found is not None
    assert error(found.matrix, place) < 0.01
