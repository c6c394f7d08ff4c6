# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Draws attention points over the camera's image. OpenCV and NumPy only; no ROS.

Each point has its own hue, the same in every image of a policy: a filled disc is where the
network looks now (encoder), a ring where it expects to look next (decoder).
"""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

#: cv2 takes coordinates in fixed point with this many fractional bits.
_SHIFT = 4


def point_colors(count: int) -> list[tuple[int, int, int]]:
    """Hues spread evenly over the circle: RGB, 0 to 255."""
    colors = [colorsys.hsv_to_rgb(index / max(count, 1), 0.9, 1.0) for index in range(count)]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colors]


def draw_overlay(
    image: NDArray[np.uint8],
    encoder: NDArray[np.float64],
    decoder: NDArray[np.float64] | None = None,
    *,
    trails: NDArray[np.float64] | None = None,
    min_side: int = 256,
) -> NDArray[np.uint8]:
    """A copy of the image with the points drawn on it.

    :param image: RGB uint8 (H, W, 3); a small one is enlarged by a whole factor, so that the
        points can be told apart, until its shorter side has at least `min_side` pixels.
    :param encoder: (k, 2), x and y in pixels of `image`.
    :param decoder: (k, 2) likewise, or None.
    :param trails: (t, k, 2) earlier encoder points, oldest first, or None.
    :returns: RGB uint8.
    """
    height, width = image.shape[:2]
    factor = max(1, -(-min_side // min(height, width)))
    canvas: NDArray[np.uint8] = np.ascontiguousarray(
        cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
        if factor > 1
        else image.copy()
    )
    radius = max(3, min(canvas.shape[:2]) // 60)

    def place(points: NDArray[np.float64]) -> NDArray[np.int32]:
        # Pixel centres are integers on both sides of the enlargement.
        scaled = (np.asarray(points, np.float64) + 0.5) * factor - 0.5
        return np.round(scaled * (1 << _SHIFT)).astype(np.int32)

    colors = point_colors(len(encoder))
    if trails is not None and len(trails) > 1:
        paths = place(trails)
        for index, color in enumerate(colors):
            path = np.ascontiguousarray(paths[:, index])
            cv2.polylines(canvas, [path], False, color, 1, cv2.LINE_AA, _SHIFT)
    for (x, y), color in zip(place(encoder).tolist(), colors):
        cv2.circle(canvas, (x, y), radius << _SHIFT, color, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, (x, y), radius << _SHIFT, (255, 255, 255), 1, cv2.LINE_AA, _SHIFT)
    if decoder is not None:
        for (x, y), color in zip(place(decoder).tolist(), colors):
            ring = (radius + 2) << _SHIFT
            cv2.circle(canvas, (x, y), ring, color, 2, cv2.LINE_AA, _SHIFT)
    return canvas
