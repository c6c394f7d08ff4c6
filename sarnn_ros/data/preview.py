# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Thumbnails of source images with the crop drawn, for the report."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.spec import CameraSpec

WIDTH = 200


def preview(source: NDArray[np.uint8], camera: CameraSpec) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB to the same in `WIDTH` pixels, the crop as a frame."""
    scale = WIDTH / source.shape[1]
    height = max(1, round(source.shape[0] * scale))
    small: NDArray[np.uint8] = np.ascontiguousarray(
        cv2.resize(source, (WIDTH, height), interpolation=cv2.INTER_AREA), dtype=np.uint8
    )
    if camera.crop is not None:
        crop = camera.crop
        first = (round(crop.x * scale), round(crop.y * scale))
        last = (
            round((crop.x + crop.width) * scale) - 1,
            round((crop.y + crop.height) * scale) - 1,
        )
        cv2.rectangle(small, first, last, (255, 60, 60), 2)
    return small
