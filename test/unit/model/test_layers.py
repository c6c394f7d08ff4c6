# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The layers against NumPy computations written from the papers' text, not from our code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sarnn_ros.model.layers import (
    ConvTranspose2d,
    InverseSpatialSoftmax,
    SpatialSoftmax,
    create_position_encoding,
)


def expected_position(features: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax-weighted mean of x = column / (W - 1), y = row / (H - 1), one cell at a time."""
    count, channels, height, width = features.shape
    keys = np.zeros((count, channels, 2))
    for n in range(count):
        for c in range(channels):
            logits = features[n, c].astype(np.float64) / temperature
            weights = np.exp(logits - logits.max())
            weights /= weights.sum()
            for row in range(height):
                for column in range(width):
                    keys[n, c, 0] += weights[row, column] * column / (width - 1)
                    keys[n, c, 1] += weights[row, column] * row / (height - 1)
    return keys


@pytest.mark.parametrize(("height", "width"), [(6, 6), (5, 9), (9, 4), (2, 2)])
@pytest.mark.parametrize("temperature", [1e-4, 0.1, 1.0])
def test_spatial_softmax_is_the_expected_position(
    height: int, width: int, temperature: float
) -> None:
    features = np.random.default_rng(0).normal(size=(3, 2, height, width)).astype(np.float32)
    keys, attention = SpatialSoftmax(width, height, temperature)(torch.from_numpy(features))
    np.testing.assert_allclose(keys, expected_position(features, temperature), atol=1e-5)
    assert attention.shape == features.shape
    np.testing.assert_allclose(attention.sum((2, 3)), np.ones((3, 2)), atol=1e-5)


@given(row=st.integers(0, 6), column=st.integers(0, 10))
def test_spatial_softmax_finds_a_peak(row: int, column: int) -> None:
    features = torch.zeros(1, 1, 7, 11)
    features[0, 0, row, column] = 1.0
    keys, attention = SpatialSoftmax(width=11, height=7)(features)
    assert keys[0, 0].tolist() == pytest.approx([column / 10, row / 6], abs=1e-6)
    assert attention[0, 0, row, column] == pytest.approx(1.0)


def test_learnable_temperature_is_a_parameter_that_gets_a_gradient() -> None:
    layer = SpatialSoftmax(5, 4, temperature=None)
    features = torch.rand(2, 3, 4, 5)
    layer(features)[0].sum().backward()
    assert isinstance(layer.temperature, nn.Parameter)
    assert layer.temperature.grad is not None
    assert float(layer.temperature.grad.abs()) > 0
    fixed = SpatialSoftmax(5, 4, temperature=1.0)
    assert torch.equal(layer(features)[0], fixed(features)[0])


@pytest.mark.parametrize("convex", [True, False])
@pytest.mark.parametrize(("height", "width"), [(6, 6), (5, 8)])
def test_heat_map_falls_off_with_the_distance(height: int, width: int, convex: bool) -> None:
    keys = np.random.default_rng(1).uniform(-0.2, 1.2, size=(2, 3, 2)).astype(np.float32)
    layer = InverseSpatialSoftmax(width, height, heatmap_size=0.05, convex=convex)
    heat = layer(torch.from_numpy(keys)).numpy()
    assert heat.shape == (2, 3, height, width)
    for n, c, row, column in np.ndindex(heat.shape):
        x, y = column / (width - 1), row / (height - 1)
        expected = np.exp(-((x - keys[n, c, 0]) ** 2 + (y - keys[n, c, 1]) ** 2) / 0.05)
        assert heat[n, c, row, column] == pytest.approx(
            expected if convex else 1 - expected, abs=1e-6
        )


def test_unnormalised_positions_are_cell_indices() -> None:
    pos_xy, pos_x, pos_y = create_position_encoding(3, 2, normalized=False)
    assert pos_xy.tolist() == [[[0, 1, 2], [0, 1, 2]], [[0, 0, 0], [1, 1, 1]]]
    assert pos_x.tolist() == [0, 1, 2, 0, 1, 2]
    assert pos_y.tolist() == [0, 0, 0, 1, 1, 1]


def test_transposed_convolution_equals_torchs() -> None:
    torch.manual_seed(0)
    ours = ConvTranspose2d(4, 3, 3)
    theirs = nn.ConvTranspose2d(4, 3, 3)
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(2, 4, 7, 9)
    results = []
    for layer in (ours, theirs):
        results.append(layer(images))
        results[-1].square().sum().backward()
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, atol=1e-4, rtol=1e-4)
