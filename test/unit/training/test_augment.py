# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Colour jitter against torchvision, and that noise is what was asked for."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as vision

from sarnn_ros.training.augment import add_noise, draw_jitter, jitter
from sarnn_ros.training.config import make_config

NEUTRAL = (1.0, 1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    "factors",
    [NEUTRAL, (0.6, 1.0, 1.0, 0.0), (1.5, 1.0, 1.0, 0.0), (1.0, 0.5, 1.0, 0.0),
     (1.0, 1.4, 1.0, 0.0), (1.0, 1.0, 0.2, 0.0), (1.0, 1.0, 1.9, 0.0), (0.7, 1.3, 1.1, 0.0)],
)  # fmt: skip
def test_jitter_equals_torchvisions(factors: tuple[float, ...]) -> None:
    images = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    expected = vision.adjust_brightness(images, factors[0])
    expected = vision.adjust_contrast(expected, factors[1])
    expected = vision.adjust_saturation(expected, factors[2])
    ours = jitter(images, torch.tensor([factors, factors]))
    torch.testing.assert_close(ours, expected, atol=2e-4, rtol=0)


def test_each_image_has_its_own_factors() -> None:
    images = torch.full((3, 3, 4, 4), 0.5)
    factors = torch.tensor([NEUTRAL, (0.5, 1, 1, 0), (1.5, 1, 1, 0)])
    assert jitter(images, factors).mean((1, 2, 3)).tolist() == pytest.approx([0.5, 0.25, 0.75])


def test_hue_turns_colours_and_leaves_grey() -> None:
    images = torch.tensor([[0.9, 0.1, 0.1], [0.4, 0.4, 0.4]]).reshape(2, 3, 1, 1)
    third = torch.tensor([[1.0, 1.0, 1.0, 1 / 3]] * 2)
    turned = jitter(images, third).reshape(2, 3)
    torch.testing.assert_close(turned, torch.tensor([[0.1, 0.9, 0.1], [0.4, 0.4, 0.4]]))


def test_factors_stay_in_their_spans() -> None:
    config = make_config({"brightness": 0.3, "contrast": 0.2, "saturation": 0.0, "hue": 0.1})
    factors = draw_jitter(2000, config, torch.Generator().manual_seed(0))
    low, high = factors.min(0).values, factors.max(0).values
    torch.testing.assert_close(low, torch.tensor([0.7, 0.8, 1.0, -0.1]), atol=0.01, rtol=0)
    torch.testing.assert_close(high, torch.tensor([1.3, 1.2, 1.0, 0.1]), atol=0.01, rtol=0)


def test_noise_has_its_deviation_and_follows_the_generator() -> None:
    values = torch.full((300, 300), 0.5)
    noisy = add_noise(values, 0.05, torch.Generator().manual_seed(3))
    assert float(noisy.std()) == pytest.approx(0.05, rel=0.02)
    assert float(noisy.mean()) == pytest.approx(0.5, abs=0.001)
    assert torch.equal(noisy, add_noise(values, 0.05, torch.Generator().manual_seed(3)))
    assert torch.equal(add_noise(values, 0.0, torch.Generator()), values)
    assert torch.equal(values, torch.full((300, 300), 0.5))
