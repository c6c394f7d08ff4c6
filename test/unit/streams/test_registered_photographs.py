# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Photographs of real surfaces and rooms (scikit-image's), seen by a camera that was moved by a
known homography, and that sets its exposure by itself."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage

from sarnn_ros.streams.light import in_one_light
from sarnn_ros.streams.registration import (
    MAX_UNCERTAINTY,
    Image,
    Matrix,
    Reference,
    invert,
    make_reference,
    mapped,
    register,
)

WIDTH, HEIGHT = SIZE = 320, 240
MIDDLE = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
#: Fine and regular textures, text, faces, a table, a workshop, what a microscope sees.
NAMES = (
    "gravel.png", "brick.png", "grass.png", "page.png", "astronaut.png", "camera.png",
    "chelsea.png", "coffee.png", "motorcycle_left.png", "coins.png", "ihc.png",
    "hubble_deep_field.jpg",
)  # fmt: skip
EXPOSURE, NOISE = 0.15, 4.0
#: Move in shares of the width, degrees, zoom and tilt, at most.
MOVES = {"little": (0.05, 3, 0.03, 0.02), "far": (0.1, 6, 0.06, 0.05)}


def moved_by(random: np.random.Generator, far: float, degrees: float, zoom: float, tilt: float):
    """From pixels of the moved camera's image to those of the camera in its place."""
    turn, larger = np.deg2rad(random.uniform(-degrees, degrees)), 1 + random.uniform(-zoom, zoom)
    linear = larger * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    way = random.uniform(0, 2 * np.pi)
    shift = MIDDLE - linear @ MIDDLE + far * WIDTH * np.array([np.cos(way), np.sin(way)])
    tilted, centre = np.eye(3), np.eye(3)
    tilted[2, :2], centre[:2, 2] = random.uniform(-tilt, tilt, 2) / WIDTH, MIDDLE
    affine = np.vstack([np.column_stack([linear, shift]), [0, 0, 1]])
    return affine @ centre @ tilted @ np.linalg.inv(centre)


def shot(photograph: Image, place: Matrix, random: np.random.Generator) -> Image:
    """The middle of it, with two things that lie anywhere, in some light, and noise."""
    height, width = photograph.shape[:2]
    scale = 1.3 * max(WIDTH / width, HEIGHT / height)
    down, right = HEIGHT / 2 - scale * height / 2, WIDTH / 2 - scale * width / 2
    into = np.array([[scale, 0, right], [0, scale, down], [0, 0, 1]])
    image = cv2.warpPerspective(
        photograph, invert(place) @ into, SIZE, flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    for colour in ((200, 30, 30), (30, 30, 200)):
        x, y = random.uniform((90, 90), (230, 180))
        corners = [(x - 9, y - 9), (x + 9, y - 9), (x + 9, y + 9), (x - 9, y + 9)]
        seen = (16 * mapped(invert(place), corners)).round().astype(int)
        cv2.fillConvexPoly(image, seen, colour, cv2.LINE_AA, 4)
    light = random.uniform(1 - EXPOSURE, 1 + EXPOSURE)
    noise = random.normal(0, NOISE, image.shape)
    return (image * light + noise).clip(0, 255).astype(np.uint8)


def known(photograph: Image, random: np.random.Generator) -> Reference:
    first = [shot(photograph, np.eye(3), random) for _ in range(20)]
    return make_reference(in_one_light(first), SIZE)


@pytest.mark.parametrize("moves", MOVES)
@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_is_found_where_it_was_moved_to(name: str, moves: str) -> None:
    path = Path(skimage.__file__).parent / "data" / name
    photograph = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    random = np.random.default_rng(5)
    reference = known(photograph, random)
    place = moved_by(random, *MOVES[moves])
    found = register(shot(photograph, place, random), reference)
    assert found is not None
    assert found.uncertainty < MAX_UNCERTAINTY
    there = mapped(found.matrix, mapped(invert(place), reference.where))
    off = np.linalg.norm(there - reference.where, axis=1).max() / WIDTH
    assert off < 0.0015
