# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Attention points to pixels: hand-computed corners, and a round trip through real resizing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sarnn_ros.geometry import (
    crop_corners,
    feature_size,
    model_to_source_pixels,
    points_to_model_pixels,
    points_to_source_pixels,
)
from sarnn_ros.spec import CameraSpec, Crop
from sarnn_ros.streams.registration import mapped


def test_corners_of_the_feature_map() -> None:
    points = [[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5]]
    pixels = points_to_model_pixels(points, width=64, height=48)
    assert pixels.tolist() == [[3, 3], [60, 3], [3, 44], [60, 44], [31.5, 23.5]]


def test_stride_two_corners() -> None:
    # 64 -> 31 cells on pixels 1, 3, … 61; two more convolutions leave those on 5 … 57.
    assert feature_size(64, 2) == 27
    assert points_to_model_pixels([[0, 1]], 64, 64, stride=2).tolist() == [[5, 57]]


def test_any_leading_shape_is_kept() -> None:
    assert points_to_model_pixels(np.zeros((2, 3, 5, 2)), 64, 64).shape == (2, 3, 5, 2)


def test_without_crop_or_resize_source_and_model_pixels_are_the_same() -> None:
    camera = CameraSpec(width=64, height=48)
    pixels = [[0, 0], [63, 47], [12.25, 5.5]]
    np.testing.assert_allclose(model_to_source_pixels(pixels, camera, 64, 48), pixels)


@pytest.mark.parametrize(
    ("source", "crop"),
    [((640, 480), None), ((640, 480), Crop(x=100, y=40, width=320, height=400)), ((32, 24), None)],
)
@pytest.mark.parametrize("place", [(0.2, 0.7), (0.7, 0.3)])
def test_a_blob_is_found_where_it_was(
    source: tuple[int, int], crop: Crop | None, place: tuple[float, float]
) -> None:
    width, height = source
    cut = crop or Crop(x=0, y=0, width=width, height=height)
    x, y = cut.x + place[0] * cut.width, cut.y + place[1] * cut.height
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    image = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (width / 64) ** 2))
    image = image[cut.y : cut.y + cut.height, cut.x : cut.x + cut.width].astype(np.float32)
    camera = CameraSpec(width=64, height=56, crop=crop)
    method = cv2.INTER_AREA if cut.width > 64 else cv2.INTER_LINEAR
    small = cv2.resize(image, (64, 56), interpolation=method)
    columns, rows = np.meshgrid(np.arange(64), np.arange(56))
    centre = np.array([(small * columns).sum(), (small * rows).sum()]) / small.sum()
    found = model_to_source_pixels(centre, camera, width, height)
    # Within a tenth of a model pixel, in source pixels.
    np.testing.assert_allclose(found, [x, y], atol=0.1 * cut.width / 64)


def test_points_to_source_pixels_is_both_steps() -> None:
    camera = CameraSpec(width=64, height=64, crop=Crop(x=10, y=20, width=128, height=128))
    # Model pixel 3 is covered by source pixels 6 and 7 of the crop: their middle is 6.5.
    assert points_to_source_pixels([0, 0], camera, 640, 480).tolist() == [16.5, 26.5]


def test_a_point_in_a_camera_that_was_moved_lies_where_undoing_it_took_it_from() -> None:
    camera, moved = (
        CameraSpec(width=64, height=48),
        np.array([[0.0, -2.0, 30.0], [1.0, 0.5, -4.0], [1e-3, 2e-3, 1.0]]),
    )
    points = np.array([[0.1, 0.2], [0.9, 0.4]])
    found = points_to_source_pixels(points, camera, 64, 48, moved=moved)
    there = points_to_source_pixels(points, camera, 64, 48)
    np.testing.assert_allclose(mapped(moved, found), there)


@pytest.mark.parametrize("crop", [None, Crop(x=10, y=20, width=50, height=40)])
def test_the_corners_of_what_is_shown_are_where_undoing_the_move_took_them_from(crop) -> None:
    camera = CameraSpec(width=25, height=20, crop=crop)
    x, y, width, height = (10, 20, 50, 40) if crop else (0, 0, 160, 120)
    still = np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)]) - 0.5
    np.testing.assert_allclose(crop_corners(camera, 160, 120), still)
    moved = np.array([[1.0, -0.2, 3.0], [0.2, 1.0, -4.0], [1e-3, 2e-3, 1.0]])
    np.testing.assert_allclose(mapped(moved, crop_corners(camera, 160, 120, moved)), still)
