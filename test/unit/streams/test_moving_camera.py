# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A camera on the hand is told from one that stands, whatever moves before it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from moved_camera import move, scene, shot, with_things

from sarnn_ros.streams.moving_camera import moves_along

PICTURE = scene()
Pair = tuple[np.ndarray, np.ndarray]


def with_arm(picture: np.ndarray, x: int, width: int = 60) -> np.ndarray:
    drawn = cv2.line(picture.copy(), (x, 0), (x + 40, 150), (225, 225, 230), width)
    return cv2.line(drawn, (x, 0), (x + 40, 150), (40, 40, 40), width // 4)


def standing(number: int, light: float = 1.0) -> Pair:
    """An arm passes, and the things that lie there are moved."""
    random = np.random.default_rng(number)
    first = shot(with_arm(with_things(PICTURE, random, 2), 60))
    later = shot(with_arm(with_things(PICTURE, random, 2), 200)) * light
    return first, later.clip(0, 255).astype(np.uint8)


def on_the_hand(number: int, turn: float = 0.0) -> Pair:
    """The scene goes by; a finger at the lower border stays."""
    random = np.random.default_rng(number)
    picture = with_things(PICTURE, random, 2)
    place = move(random.uniform(0.1, 0.2), random.uniform(-0.1, 0.1), turn, 1.2)
    images = [shot(picture), shot(picture, place)]
    for image in images:
        cv2.rectangle(image, (110, 200), (150, 239), (30, 30, 30), -1)
    first, later = images
    return first, later


@pytest.mark.parametrize("light", [1.0, 0.7, 1.3, 0.45, 1.6])
def test_one_that_stands(light: float) -> None:
    assert not moves_along([standing(number, light) for number in range(8)])


@pytest.mark.parametrize("turn", [0.0, 10.0])
def test_one_on_the_hand(turn: float) -> None:
    assert moves_along([on_the_hand(number, turn) for number in range(8)])


def test_most_demonstrations_decide() -> None:
    stands, moves = standing(0), on_the_hand(0)
    assert not moves_along([stands, stands, moves])
    assert moves_along([stands, moves, moves])


def test_what_shows_no_edge_or_nothing_stands() -> None:
    plain = np.full((240, 320, 3), 90, np.uint8)
    assert not moves_along([(plain, plain + 50)])
    assert not moves_along([])
