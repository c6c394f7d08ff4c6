# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where an attention point lies in an image. NumPy only.

Attention points are [x, y] in [0, 1] over the feature map from which they were extracted, not over
the image: unpadded convolutions eat a border. Everything that draws or publishes points goes
through here; image processing itself lives in `streams/preprocess.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarnn_ros.spec import CameraSpec

Points = NDArray[np.float64]


def feature_size(pixels: int, stride: int = 1) -> int:
    """Side of the feature map after three unpadded 3x3 convolutions, the first with `stride`."""
    return (pixels - 3) // stride + 1 - 4


def points_to_model_pixels(points: ArrayLike, width: int, height: int, stride: int = 1) -> Points:
    """Attention points to pixels of the model's image.

    A feature cell's receptive field is centred on its pixel: with stride 1 the first cell lies on
    pixel 3 and the last on pixel W-4, so that a pixel is 3 + p * (W - 7).

    :param points: (..., 2), [x, y] in [0, 1].
    :param stride: of the first convolution (the opt-in stride-2 variant).
    :returns: (..., 2) float64, [x, y]; pixel centres are integers, (0, 0) is the top left pixel.
    """
    cells = np.array([feature_size(width, stride) - 1, feature_size(height, stride) - 1])
    # The first convolution centres cell i on pixel stride * i + 1, the next two on cell i + 2.
    pixels: Points = 1.0 + stride * (2.0 + np.asarray(points, dtype=np.float64) * cells)
    return pixels


def model_to_source_pixels(
    pixels: ArrayLike, camera: CameraSpec, source_width: int, source_height: int
) -> Points:
    """Undo the camera's resize, then its crop.

    Pixel centres are integers on both sides, hence the half pixels.

    :param pixels: (..., 2), [x, y] in the model's image.
    :param source_width: of the image before cropping, pixels.
    :param source_height: of the image before cropping, pixels.
    :returns: (..., 2) float64, [x, y] in the source image.
    """
    crop = camera.crop
    offset = np.array([crop.x, crop.y] if crop else [0, 0], dtype=np.float64)
    size = np.array([crop.width, crop.height] if crop else [source_width, source_height])
    scale = size / np.array([camera.width, camera.height])
    source: Points = (np.asarray(pixels, dtype=np.float64) + 0.5) * scale - 0.5 + offset
    return source


def points_to_source_pixels(
    points: ArrayLike,
    camera: CameraSpec,
    source_width: int,
    source_height: int,
    stride: int = 1,
    moved: NDArray[np.float64] | None = None,
) -> Points:
    """Attention points (..., 2) in [0, 1] to [x, y] pixels of the camera's own image.

    :param moved: (3, 3), what was undone of a camera that was moved; see `crop_resize`.
    """
    pixels = points_to_model_pixels(points, camera.width, camera.height, stride)
    return _moved_back(model_to_source_pixels(pixels, camera, source_width, source_height), moved)


def crop_corners(
    camera: CameraSpec,
    source_width: int,
    source_height: int,
    moved: NDArray[np.float64] | None = None,
) -> Points:
    """The corners of what the model is shown, in pixels of the camera's own image.

    :param moved: as for `points_to_source_pixels`.
    :returns: (4, 2) float64, [x, y], from the top left one clockwise.
    """
    right, bottom = camera.width - 0.5, camera.height - 0.5
    corners = [[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]]
    return _moved_back(model_to_source_pixels(corners, camera, source_width, source_height), moved)


def _moved_back(source: Points, moved: NDArray[np.float64] | None) -> Points:
    if moved is None:
        return source
    back = np.linalg.inv(moved)
    lifted = source @ back[:, :2].T + back[:, 2]
    there: Points = lifted[..., :2] / lifted[..., 2:]
    return there
