# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Filters, and the layers below them, that learn where things are in the first images.

A discriminant of a thing's mean patch, on random layers, finds a few dark pixels on anything dark,
too. Where it is known in which place of each image a thing is (`expected_places.py`), all three
layers can learn to tell it from whatever else is there. The places follow from the motions, so
there is no label by hand, and one image has thousands of places where the thing is not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sarnn_ros.training.augment import IMAGE_NOISE, add_noise
from sarnn_ros.training.chunks import sum_chunks

#: Updates, images of each, and Adam's largest step, which grows to this in the first updates, and
#: falls to nothing.
UPDATES, BATCH, STEP, WARM_UP = 150, 15, 1e-2, 10
#: Deviation of the wanted heat map from a place, cells.
MAP_DEVIATION = 1.5
#: Images of a chunk on the CPU, at most.
CHUNK = 3


@torch.enable_grad()
def learn_filters(
    trunk: nn.Sequential, images: Tensor, places: Tensor, span: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Train the layers below, and new filters upon them whose heat map, a softmax over the image,
    is to be at the place of each (cross entropy with a Gaussian there).

    :param trunk: changed in place; it begins as it is.
    :param images: S sets of the E first images, (S, E, 3, H, W).
    :param places: of M filters, (E, M, 2), cells. What is outside of an image is not learnt there.
    :param span: of the images' values.
    :returns: weight (M, C * 9) and bias (M,): they answer 1 at their places on average, and 0 on
        average of all.
    """
    first: Any = trunk[0]
    with torch.no_grad():
        _, channels, height, width = trunk(images[0, :1]).shape
        first.weight *= span  # so that a step is as large with whatever values
    size = images.new_tensor([width - 2, height - 2])
    inside = ((places > -0.5) & (places < size - 0.5)).all(2)
    weight = images.new_empty(places.shape[1], channels, 3, 3)
    weight.normal_(0.0, 0.01, generator=generator).requires_grad_()
    parameters = [*trunk.parameters(), weight]

    def misses(shown: Tensor, at: Tensor, counts: Tensor) -> Tensor:
        maps = functional.conv2d(trunk(shown), weight).flatten(2)
        wanted = _maps(at, height - 2, width - 2)
        return -(wanted * functional.log_softmax(maps, 2)).sum(2) * counts

    optimizer = torch.optim.Adam(parameters, STEP, betas=(0.9, 0.98))
    for update in range(UPDATES):
        share = min(1.0, (update + 1) / WARM_UP) * (1 - update / UPDATES)
        optimizer.param_groups[0]["lr"] = STEP * share
        which = torch.randperm(len(places), generator=generator, device=places.device)[:BATCH]
        row = torch.randint(len(images), (len(which),), generator=generator, device=places.device)
        shown = add_noise(images[row, which] / span, IMAGE_NOISE, generator)
        counts = inside[which].to(shown) / inside[which].sum().clamp(min=1)
        inputs = [shown, places[which], counts]
        loss = sum_chunks(misses, parameters, inputs, len(which), CHUNK)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    with torch.no_grad():
        first.weight /= span
    return _scaled(trunk, images[0], places, inside, weight.detach())


def _maps(places: Tensor, height: int, width: int) -> Tensor:
    """Gaussians at places (N, M, 2) that sum to 1, (N, M, height * width)."""
    across, down = (
        torch.exp(-((torch.arange(count, device=at.device) - at[..., None]) ** 2) / spread)
        for count, at, spread in zip(
            (width, height), places.unbind(2), (2 * MAP_DEVIATION**2,) * 2, strict=True
        )
    )
    maps = (down.unsqueeze(3) * across.unsqueeze(2)).flatten(2)
    return maps / maps.sum(2, keepdim=True).clamp(min=1e-9)


@torch.no_grad()
def _scaled(
    trunk: nn.Sequential, images: Tensor, places: Tensor, inside: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """The filters, answering 1 at their places and 0 on average, on the images (E, 3, H, W)."""
    answers = functional.conv2d(trunk(images), weight)
    usual = answers.mean((0, 2, 3))
    last = torch.tensor([answers.shape[3] - 1, answers.shape[2] - 1], device=places.device)
    column, row = places.round().long().clamp(min=0).minimum(last).unbind(2)
    cells = (row * answers.shape[3] + column).unsqueeze(2)
    there = answers.flatten(2).gather(2, cells)[..., 0] * inside
    span = (there.sum(0) / inside.sum(0).clamp(min=1) - usual).clamp(min=1e-6)
    return weight.flatten(1) / span.unsqueeze(1), -usual / span
