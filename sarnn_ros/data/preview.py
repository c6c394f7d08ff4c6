# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Small source images: for the report, and the first ones to tell where a camera stood."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.spec import Crop
from sarnn_ros.streams.registration import Registration, invert, mapped, resized

#: Frames around what is shown, and around a crop that is proposed, RGB.
RED, GREEN = (255, 60, 60), (60, 220, 60)


def framed(
    small: NDArray[np.uint8],
    source: tuple[int, int],
    crop: Crop | None,
    color: tuple[int, int, int] = RED,
) -> NDArray[np.uint8]:
    """A preview, uint8 (h, w, 3) RGB, with the crop as a frame.

    :param source: (width, height) of the image that the preview was made of.
    """
    if crop is None:
        return small
    left, top, right, bottom = _scaled(crop, small.shape[1] / source[0])
    drawn = small.copy()
    cv2.rectangle(drawn, (left, top), (right - 1, bottom - 1), color, 2)
    return drawn


def cut_out(
    small: NDArray[np.uint8], source: tuple[int, int], crop: Crop, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Roughly what the network would see of a preview with this crop; for the rest see `framed`.

    :param size: (width, height) of the network's image.
    """
    left, top, right, bottom = _scaled(crop, small.shape[1] / source[0])
    part = small[top : max(bottom, top + 1), left : max(right, left + 1)]
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)


def outlined(image: NDArray[np.uint8], found: Registration) -> NDArray[np.uint8]:
    """A displaced preview, with a frame around what the camera shows in its place."""
    height, width = image.shape[:2]
    back = invert(resized(found.matrix, width / found.size[0]))
    corners = np.array([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)])
    there = mapped(back, corners).round().astype(np.int32)
    return np.asarray(cv2.polylines(image.copy(), [there], True, RED, 2), np.uint8)


def blended(usual: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two previews in one: what lies alike is seen once."""
    return np.asarray(cv2.addWeighted(usual, 0.5, image, 0.5, 0), np.uint8)


def _scaled(crop: Crop, scale: float) -> tuple[int, int, int, int]:
    """Left, top, right, bottom."""
    edges = (crop.x, crop.y, crop.x + crop.width, crop.y + crop.height)
    left, top, right, bottom = (round(edge * scale) for edge in edges)
    return left, top, right, bottom
