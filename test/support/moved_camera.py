# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A made-up scene, and what a camera shows of it that is moved by a known amount."""

from __future__ import annotations

import cv2
import numpy as np

from sarnn_ros.streams.registration import Reference, make_reference

WIDTH, HEIGHT = 160, 120
#: Of the whole scene, of which the camera sees the middle.
SCENE = 2 * WIDTH, 2 * HEIGHT


def scene(seed: int = 0) -> np.ndarray:
    """Blotches of all sizes, as walls and tables have, and some things with edges."""
    rng = np.random.default_rng(seed)
    picture = np.full((SCENE[1], SCENE[0], 3), 110.0, np.float32)
    for cells in (4, 8, 16, 32):
        noise = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        picture += 90 / np.sqrt(cells) * cv2.resize(noise, SCENE, interpolation=cv2.INTER_CUBIC)
    for _ in range(14):
        x, y = rng.integers(0, SCENE[0]), rng.integers(0, SCENE[1])
        w, h = rng.integers(10, 60, 2)
        cv2.rectangle(picture, (x, y), (x + w, y + h), rng.uniform(20, 230, 3).tolist(), -1)
    return picture.clip(0, 255).astype(np.uint8)


def with_things(picture: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Things that lie elsewhere each time, in the part that the camera sees."""
    picture = picture.copy()
    for _ in range(count):
        x = int(rng.integers(WIDTH // 2 + 20, 3 * WIDTH // 2 - 40))
        y = int(rng.integers(HEIGHT // 2 + 15, 3 * HEIGHT // 2 - 30))
        cv2.rectangle(picture, (x, y), (x + 14, y + 14), rng.uniform(0, 255, 3).tolist(), -1)
    return picture


def move(right: float, down: float, degrees: float, zoom: float) -> np.ndarray:
    """From pixels of the moved camera's image to those of the camera in its place.

    :param right, down: shares of the width by which the content is moved.
    """
    turn = np.deg2rad(degrees)
    linear = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / zoom
    middle = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    shift = np.array([right, down]) * WIDTH
    return np.vstack([np.column_stack([linear, middle - linear @ (middle + shift)]), [0, 0, 1]])


STILL = move(0, 0, 0, 1)


def shot(picture: np.ndarray, place: np.ndarray = STILL) -> np.ndarray:
    """What the camera shows of the scene."""
    into_scene = np.array([[1, 0, WIDTH / 2], [0, 1, HEIGHT / 2], [0, 0, 1]]) @ place
    return cv2.warpPerspective(
        picture, into_scene, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )


def reference(picture: np.ndarray) -> Reference:
    rng = np.random.default_rng(1)
    images = [shot(with_things(picture, rng, 1)) for _ in range(12)]
    return make_reference(images, (WIDTH, HEIGHT))
