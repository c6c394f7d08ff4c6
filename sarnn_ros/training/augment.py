# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Noise, colour jitter and erased rectangles on a batch of frames, on the training device.

As EIPL: one draw of brightness, contrast, saturation, hue and rectangle per sequence, Gaussian
noise per pixel and per joint; inputs only, targets stay clean. torchvision's transforms draw once
per call, on the CPU, and would need a loop over the sequences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sarnn_ros.training.config import TrainConfig

#: Standard deviation of the noise per pixel, as a share of the value range: EIPL's.
IMAGE_NOISE = 0.02
_LUMA = (0.2989, 0.587, 0.114)
#: Of an erased rectangle: share of the image's area, and height / width (torchvision's defaults).
_ERASED_AREA = (0.02, 0.33)
_ERASED_RATIO = (0.3, 3.3)


def distort(
    images: Tensor, row: Tensor, count: int, config: TrainConfig, generator: torch.Generator
) -> Tensor:
    """Erase, then jitter, alike in all images of a sequence; EIPL's order.

    :param images: (N, 3, H, W) in [0, 1].
    :param row: the sequence of each image, (N,), of `count`.
    :returns: (N, 3, H, W) in [0, 1].
    """
    if config.erase:
        images = erase(images, draw_boxes(count, images.shape[-2:], config.erase, generator)[row])
    return jitter(images, draw_jitter(count, config, generator)[row])


def draw_boxes(
    count: int, size: Sequence[int], chance: float, generator: torch.Generator
) -> Tensor:
    """Rectangles (count, 4): first row, first column, and the row and column after the last; empty
    with probability 1 - `chance`. torchvision draws again if one does not fit; here it is cut.

    :param size: height and width of the image.
    """
    draws = torch.rand(5, count, generator=generator, device=generator.device)
    height, width = size
    low, high = _ERASED_AREA
    area = height * width * (low + (high - low) * draws[0])
    low, high = map(math.log, _ERASED_RATIO)
    ratio = torch.exp(low + (high - low) * draws[1])
    rows = (area * ratio).sqrt().round().clamp(1, height)
    columns = (area / ratio).sqrt().round().clamp(1, width)
    top = (draws[2] * (height - rows + 1)).floor()
    left = (draws[3] * (width - columns + 1)).floor()
    boxes = torch.stack([top, left, top + rows, left + columns], dim=1)
    return boxes * (draws[4] < chance).unsqueeze(1)


def erase(images: Tensor, boxes: Tensor) -> Tensor:
    """Black rectangles.

    :param images: (N, 3, H, W).
    :param boxes: (N, 4) as from `draw_boxes`, one row per image.
    """
    top, left, bottom, right = boxes.to(images.device).reshape(-1, 4, 1).unbind(1)
    row, column = (torch.arange(side, device=images.device) for side in images.shape[-2:])
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    inside = rows.unsqueeze(2) & columns.unsqueeze(1)
    return images * ~inside.unsqueeze(1)


def draw_jitter(count: int, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Factors (count, 4) of brightness, contrast, saturation (around 1) and hue (around 0)."""
    spans = torch.tensor([config.brightness, config.contrast, config.saturation, config.hue])
    centres = torch.tensor([1.0, 1.0, 1.0, 0.0])
    draws = torch.rand(count, 4, generator=generator, device=generator.device)
    return centres.to(draws) + spans.to(draws) * (2 * draws - 1)


def jitter(images: Tensor, factors: Tensor) -> Tensor:
    """Colour jitter; brightness, contrast and saturation as torchvision's `adjust_*`.

    :param images: (N, 3, H, W) in [0, 1].
    :param factors: (N, 4) as from `draw_jitter`, one row per image.
    :returns: (N, 3, H, W) in [0, 1].
    """
    brightness, contrast, saturation, hue = factors.to(images).reshape(-1, 4, 1, 1, 1).unbind(1)
    images = (images * brightness).clamp(0, 1)
    images = torch.lerp(_grey(images).mean((2, 3), keepdim=True), images, contrast).clamp(0, 1)
    images = torch.lerp(_grey(images).expand_as(images), images, saturation).clamp(0, 1)
    if bool((hue == 0).all()):
        return images
    return _rotate_hue(images, hue).clamp(0, 1)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(1)


def _rotate_hue(images: Tensor, hue: Tensor) -> Tensor:
    """Rotate colours about the grey axis by `hue` turns (Rodrigues' formula; needs no HSV)."""
    angle = 2 * math.pi * hue
    axis = 1 / math.sqrt(3)
    red, green, blue = images.unbind(1)
    cross = torch.stack([blue - green, red - blue, green - red], dim=1) * axis
    mean = images.mean(1, keepdim=True)
    return mean + (images - mean) * torch.cos(angle) + cross * torch.sin(angle)


def add_noise(values: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise of the given standard deviation, in the values' own (normalised) unit."""
    if deviation == 0:
        return values
    # Contiguous whatever the values are: the order in which numbers are drawn must not vary.
    return values + values.new_empty(values.shape).normal_(0.0, deviation, generator=generator)
