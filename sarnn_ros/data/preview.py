# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Thumbnails of source images with the crop drawn, for the report."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.spec import CameraSpec, Crop

WIDTH = 200


def preview(source: NDArray[np.uint8], camera: CameraSpec) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB to the same in `WIDTH` pixels, the crop as a frame."""
    height = max(1, round(source.shape[0] * WIDTH / source.shape[1]))
    small: NDArray[np.uint8] = np.ascontiguousarray(
        cv2.resize(source, (WIDTH, height), interpolation=cv2.INTER_AREA), dtype=np.uint8
    )
    if camera.crop is not None:
        left, top, right, bottom = _scaled(camera.crop, WIDTH / source.shape[1])
        cv2.rectangle(small, (left, top), (right - 1, bottom - 1), (255, 60, 60), 2)
    return small


def framed_and_cut(
    small: NDArray[np.uint8], source: tuple[int, int], crop: Crop, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A preview with another crop as a frame, and roughly what the network would see of it.

    :param source: (width, height) of the image that the preview was made of.
    :param size: (width, height) of the network's image.
    """
    left, top, right, bottom = _scaled(crop, small.shape[1] / source[0])
    part = small[top : max(bottom, top + 1), left : max(right, left + 1)]
    cut = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
    framed = small.copy()
    cv2.rectangle(framed, (left, top), (right - 1, bottom - 1), (60, 220, 60), 2)
    return framed, cut


def _scaled(crop: Crop, scale: float) -> tuple[int, int, int, int]:
    """Left, top, right, bottom."""
    edges = (crop.x, crop.y, crop.x + crop.width, crop.y + crop.height)
    left, top, right, bottom = (round(edge * scale) for edge in edges)
    return left, top, right, bottom
