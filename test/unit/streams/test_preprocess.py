# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Crop, resize, scale, normalise: geometry, inverses, and the edge cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bag_making import colour
from hypothesis import given
from hypothesis import strategies as st

from sarnn_ros.errors import SpecError
from sarnn_ros.spec import CameraSpec, Crop
from sarnn_ros.streams.preprocess import (
    MIN_RANGE,
    JointNormaliser,
    crop_resize,
    eipl_bounds,
    scale_images,
    unscale_images,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("factor", [2, 4])
def test_shrinking_is_the_mean_of_the_area(factor: int):
    image = RNG.integers(0, 256, (16 * factor, 24 * factor, 3), np.uint8)
    got = crop_resize(image, CameraSpec(width=24, height=16))
    mean = image.reshape(16, factor, 24, factor, 3).mean(axis=(1, 3))
    assert np.abs(got - mean).max() <= 0.5


def test_crop_comes_first_and_width_is_not_height():
    image = colour(7, 40, 30)
    camera = CameraSpec(width=10, height=8, crop=Crop(x=5, y=3, width=10, height=8))
    assert np.array_equal(crop_resize(image, camera), image[3:11, 5:15])
    assert crop_resize(image, CameraSpec(width=20, height=10)).shape == (10, 20, 3)


def test_enlarging_is_linear():
    ramp = np.repeat(np.arange(8, dtype=np.uint8)[None, :, None] * 20, 8, axis=0).repeat(3, axis=2)
    got = crop_resize(ramp, CameraSpec(width=16, height=8))
    assert (np.diff(got[0, :, 0].astype(int)) >= 0).all()
    assert len(np.unique(got[0, :, 0])) > 8  # nearest neighbour would invent no values


def test_the_result_is_contiguous_and_safe_to_change():
    image = colour(1, 20, 20)
    got = crop_resize(image, CameraSpec(width=8, height=8, crop=Crop(x=1, y=1, width=8, height=8)))
    assert got.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("crop", [(10, 0, 10, 5), (0, 10, 5, 10), (0, 0, 17, 5), (16, 12, 1, 1)])
def test_a_crop_beyond_the_image_is_an_error(crop: tuple[int, int, int, int]):
    x, y, width, height = crop
    camera = CameraSpec(crop=Crop(x=x, y=y, width=width, height=height))
    with pytest.raises(SpecError, match="16 x 12") as error:
        crop_resize(colour(0, 16, 12), camera)
    assert error.value.remedy


@pytest.mark.parametrize("image_range", [(0.0, 1.0), (0.1, 0.9), (-1.0, 1.0)])
def test_scaling_is_exactly_invertible(image_range: tuple[float, float]):
    every = np.arange(256, dtype=np.uint8).reshape(8, 32, 1).repeat(3, axis=2)
    scaled = scale_images(every, image_range)
    assert scaled.dtype == np.float32 and scaled.shape == (3, 8, 32)
    assert scaled.min() == pytest.approx(image_range[0])
    assert scaled.max() == pytest.approx(image_range[1])
    assert np.array_equal(unscale_images(scaled, image_range), every)


@pytest.mark.parametrize("image_range", [(0.0, 1.0), (0.1, 0.9), (-1.0, 1.0), (0.05, 0.3)])
def test_tensors_and_arrays_scale_to_the_same_bits(image_range: tuple[float, float]):
    every = np.arange(256, dtype=np.uint8).reshape(8, 32, 1).repeat(3, axis=2)
    array = scale_images(every, image_range)
    tensor = scale_images(torch.from_numpy(every), image_range)
    assert tensor.dtype == torch.float32
    assert tensor.contiguous().numpy().tobytes() == array.tobytes()
    assert array.flags["C_CONTIGUOUS"]
    low, high = image_range
    assert np.allclose(array[0].ravel(), low + np.arange(256) / 255 * (high - low), atol=2e-7)


def test_unscale_clips_and_survives_nan():
    wild = np.full((3, 1, 3), np.nan, np.float32)
    wild[:, 0, 0], wild[:, 0, 1] = 99.0, -99.0
    assert unscale_images(wild, (0.0, 1.0))[0, :, 0].tolist() == [255, 0, 0]


bounds = st.floats(-100, 100)


@given(st.lists(st.tuples(bounds, bounds), min_size=1, max_size=6), st.data())
def test_normalising_is_invertible(pairs: list[tuple[float, float]], data: st.DataObject):
    low = np.array([min(pair) for pair in pairs])
    high = np.array([max(pair) for pair in pairs])
    normaliser = JointNormaliser.from_episodes([low[None], high[None]], (0.1, 0.9))
    values = np.array([data.draw(bounds) for _ in pairs])
    back = normaliser.denormalise(normaliser.normalise(values))
    # float32 keeps 24 bits of the normalised value
    unit = normaliser.maximum - normaliser.minimum
    scale = np.maximum(np.abs(values - normaliser.minimum) / unit, 1.0)
    assert (np.abs(back - values) <= 4e-7 * scale * unit + 1e-9).all()
    inside = normaliser.normalise(np.stack([low, high]))
    assert (inside >= 0.1 - 1e-6).all() and (inside <= 0.9 + 1e-6).all()


def test_a_constant_joint_maps_to_the_middle():
    joints = np.array([[1.0, 0.0], [1.0, 2.0]])
    normaliser = JointNormaliser.from_episodes([joints], (0.0, 1.0))
    assert normaliser.normalise(joints)[:, 0] == pytest.approx(0.5)
    assert normaliser.maximum[0] - normaliser.minimum[0] == pytest.approx(MIN_RANGE)
    stored = JointNormaliser([1.0], [1.0], (0.0, 1.0))  # as from a foreign file
    assert np.isfinite(stored.normalise(np.array([1.0]))).all()


@pytest.mark.parametrize(
    ("low", "high"), [([0.0], [1.0, 2.0]), ([np.nan], [1.0]), ([[0.0]], [[1.0]])]
)
def test_impossible_bounds(low: list, high: list):
    with pytest.raises(ValueError, match="bounds"):
        JointNormaliser(low, high, (0.0, 1.0))


class TestEipl:
    def test_bounds_are_those_of_get_bounds(self):
        """EIPL's own example: three sines of amplitude 0.1, 0.5, 0.8, clip 0.2."""
        x = np.arange(0, 10, 0.1)
        joints = np.stack([np.sin(x) * 0.1, np.sin(x + 1) * 0.5, np.sin(x + 2) * 0.8], axis=1)
        got = eipl_bounds([joints[:60], joints[60:]], (0.1, 0.9), clip=0.2)
        centred = joints - joints.mean(axis=0)
        assert got[0] == pytest.approx(joints.mean(axis=0))
        margin = np.array([(0.8 - 0.2) / 2, 0.0, 0.0])
        assert (joints[:, 0].max() - joints[:, 0].min()) < 0.2  # so the margin is in play
        assert got[1] == pytest.approx(centred.min(axis=0) - margin)
        assert got[2] == pytest.approx(centred.max(axis=0) + margin)

    @pytest.mark.parametrize("rows", [2, 3])
    def test_normalises_as_eipl_does(self, rows: int):
        joints = RNG.normal(size=(50, 4))
        if rows == 3:
            stored = eipl_bounds([joints], (0.1, 0.9))
            unit = (joints - stored[0] - stored[1]) / (stored[2] - stored[1])
        else:
            stored = np.stack([joints.min(axis=0), joints.max(axis=0)])
            unit = (joints - stored[0]) / (stored[1] - stored[0])
        got = JointNormaliser.from_eipl_bounds(stored, (0.1, 0.9)).normalise(joints)
        assert got == pytest.approx(unit * 0.8 + 0.1, abs=1e-6)

    def test_other_shapes_are_refused(self):
        with pytest.raises(ValueError, match="shape"):
            JointNormaliser.from_eipl_bounds(np.zeros((4, 2)), (0.0, 1.0))
