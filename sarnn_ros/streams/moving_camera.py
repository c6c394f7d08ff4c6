# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a camera moves with the robot, as one on its hand does. Where it stands can then be told
neither from the first images of other demonstrations nor at the robot. OpenCV and NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.streams.light import in_one_light
from sarnn_ros.streams.registration import Image, shrink

#: Edges are looked for at this width, pixels, in images smoothed by one pixel; grey levels per
#: pixel of the weakest.
WIDTH, MIN_EDGE = 160, 3.0
#: An edge has gone if its gradient has changed by more than this share of its own.
MAX_CHANGE = 0.5
#: A camera moves if more than this share of the edges has gone in most demonstrations. Of three
#: cameras on hands it was 0.75, 1.0 and 1.0; of eight that stand, 0.19 to 0.48, where arms fill
#: half of the image; and 0.65 where things lie about and people walk by behind a large arm.
MAX_EDGES_GONE = 0.7


def moves_along(pairs: Sequence[tuple[Image, Image]]) -> bool:
    """Whether the camera moves.

    :param pairs: of each demonstration, its first image and one of its middle, uint8 (h, w, 3)
        RGB.
    """
    # A camera that sets its exposure by itself does so in the middle of a demonstration, too.
    gone = [_edges_gone(*map(_gradient, in_one_light(pair))) for pair in pairs]
    return bool(gone) and float(np.median(gone)) > MAX_EDGES_GONE


def _gradient(image: Image) -> NDArray[np.float32]:
    """Grey levels per pixel to the right and down, (h, w, 2)."""
    gray = cv2.cvtColor(shrink(image, WIDTH), cv2.COLOR_RGB2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0)
    parts = [cv2.Sobel(smooth, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1))]
    return np.stack(parts, -1).astype(np.float32)


def _edges_gone(first: NDArray[np.float32], later: NDArray[np.float32]) -> float:
    """Share of the first one's edges that the later one does not have; 0 without edges."""
    size = np.linalg.norm(first, axis=-1)
    gone = np.linalg.norm(later - first, axis=-1) > MAX_CHANGE * size
    edges = size > MIN_EDGE
    return float(gone[edges].mean()) if edges.any() else 0.0
