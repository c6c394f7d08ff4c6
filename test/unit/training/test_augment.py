# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Colour jitter and rectangles as torchvision documents them, and noise of the right size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sarnn_ros.training.augment import (
    add_noise,
    distort,
    draw_boxes,
    draw_jitter,
    erase,
    jitter,
)
from sarnn_ros.training.config import make_config

NEUTRAL = (1.0, 1.0, 1.0, 0.0)


def adjusted(
    image: np.ndarray, brightness: float, contrast: float, saturation: float
) -> np.ndarray:
    """(3, H, W): blends with black, with the mean grey, with the pixel's grey; clipped each time.

    Checked against torchvision 0.28's adjust_brightness, adjust_contrast and adjust_saturation.
    """

    def grey(image: np.ndarray) -> np.ndarray:
        return 0.2989 * image[0] + 0.587 * image[1] + 0.114 * image[2]

    image = np.clip(image * brightness, 0, 1)
    image = np.clip(contrast * image + (1 - contrast) * grey(image).mean(), 0, 1)
    return np.clip(saturation * image + (1 - saturation) * grey(image), 0, 1)


@pytest.mark.parametrize(
    "factors",
    [(1, 1, 1), (0.6, 1, 1), (1.5, 1, 1), (1, 0.5, 1), (1, 1.4, 1), (1, 1, 0.2), (1, 1, 1.9),
     (0.7, 1.3, 1.1)],
)  # fmt: skip
def test_jitter_blends_as_torchvision(factors: tuple[float, float, float]) -> None:
    images = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    expected = np.stack([adjusted(image, *factors) for image in images.numpy()])
    ours = jitter(images, torch.tensor([(*factors, 0.0)] * 2))
    np.testing.assert_allclose(ours, expected, atol=1e-5)


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


def test_erase_blackens_its_rectangle_alone() -> None:
    images = torch.rand(3, 3, 9, 7, generator=torch.Generator().manual_seed(0)) + 0.1
    boxes = torch.tensor([[2, 1, 5, 7], [0, 0, 0, 0], [8, 6, 9, 7]])
    expected = images.clone()
    expected[0, :, 2:5, 1:7] = 0
    expected[2, :, 8, 6] = 0
    assert torch.equal(erase(images, boxes), expected)
    fast = images.to(memory_format=torch.channels_last)
    assert erase(fast, boxes).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(64, 64), (24, 60), (16, 14)])
def test_boxes_are_those_of_torchvision(size: tuple[int, int]) -> None:
    """Area 2 to 33 %, height / width 0.3 to 3.3, anywhere in the image; by `chance`."""
    height, width = size
    boxes = draw_boxes(4000, size, 0.3, torch.Generator().manual_seed(0))
    drawn = boxes[(boxes != 0).any(1)]
    assert len(drawn) / 4000 == pytest.approx(0.3, abs=0.03)
    assert bool((drawn == drawn.round()).all())
    rows, columns = drawn[:, 2] - drawn[:, 0], drawn[:, 3] - drawn[:, 1]
    assert float(rows.min()) >= 1
    assert float(columns.min()) >= 1
    assert (drawn[:, :2].min(0).values == 0).all()
    assert drawn[:, 2:].max(0).values.tolist() == [height, width]
    share = rows * columns / (height * width)
    assert float(share.mean()) == pytest.approx(0.17, abs=0.02)
    slack = 1 / min(size)
    assert 0.01 <= float(share.min())
    assert float(share.max()) <= 0.33 + slack
    ratio = rows / columns
    inner = (rows > 5) & (columns > 5)  # less is coarse
    assert float(ratio[inner].min()) > 0.25
    assert float(ratio[inner].max()) < 3.8


def test_a_sequence_is_distorted_alike_and_no_other_is() -> None:
    config = make_config({"erase": 1.0, "brightness": 0.3, "contrast": 0.0, "saturation": 0.0})
    row = torch.tensor([0, 1, 0, 2])
    images = torch.full((4, 3, 16, 16), 0.5)
    done = distort(images, row, 3, config, torch.Generator().manual_seed(0))
    assert torch.equal(done[0], done[2])
    assert not torch.equal(done[0], done[1])
    assert not torch.equal((done[1] == 0), (done[3] == 0))
    for image in done:  # black where it is erased, one other grey elsewhere
        assert sorted(image.unique().tolist())[0] == 0
        assert len(image.unique()) == 2
    assert float(images.min()) == 0.5


def test_without_erasing_nothing_is_drawn_for_it() -> None:
    """So that the fast recipe's trainings are what they were."""
    config = make_config({"erase": 0.0})
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    done = distort(images, torch.tensor([0, 1]), 2, config, generators[0])
    assert torch.equal(done, jitter(images, draw_jitter(2, config, generators[1])))


def test_noise_has_its_deviation_and_follows_the_generator() -> None:
    values = torch.full((300, 300), 0.5)
    noisy = add_noise(values, 0.05, torch.Generator().manual_seed(3))
    assert float(noisy.std()) == pytest.approx(0.05, rel=0.02)
    assert float(noisy.mean()) == pytest.approx(0.5, abs=0.001)
    assert torch.equal(noisy, add_noise(values, 0.05, torch.Generator().manual_seed(3)))
    assert torch.equal(add_noise(values, 0.0, torch.Generator()), values)
    assert torch.equal(values, torch.full((300, 300), 0.5))


def test_noise_does_not_depend_on_the_layout_in_memory() -> None:
    values = torch.rand(4, 3, 9, 9)
    other = values.to(memory_format=torch.channels_last)
    plain, last = (
        add_noise(one, 0.1, torch.Generator().manual_seed(1)) for one in (values, other)
    )
    assert torch.equal(plain, last)
    assert last.is_contiguous(memory_format=torch.channels_last)
