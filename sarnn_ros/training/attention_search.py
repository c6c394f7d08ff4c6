# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Find, before training, attention filters whose points tell the demonstrations apart.

At temperature 1e-4 the spatial softmax is an arg-max: a point that does not start on the object
gets no gradient towards it. So filters are made from the data, and frozen:

1. *Candidates.* Where the first images differ between episodes, patches of the feature map before
   the last convolution are drawn. For each one, the linear discriminant (Fisher) of that patch
   against all others: w = C⁻¹(patch - mean), where C is the covariance of patches. It is scaled
   by several gains, which decide how sharp the softmax is.
2. *Choice.* One by one, over all cameras, the candidate whose point adds most to how well the
   points in the first images, also under colour jitter, explain how the episodes' trajectories of
   targets differ: ridge regression, leaving one episode out.

The layers below keep their initial weights. Several searches start from other ones; episodes that
no search has seen decide which is kept. What was found explains as much on further episodes, and
nothing if images and trajectories are exchanged between episodes (`permuted`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sarnn_ros.errors import TrainingError
from sarnn_ros.model.sarnn import SARNN, VisionBranch
from sarnn_ros.training.augment import add_noise, draw_jitter, jitter
from sarnn_ros.training.config import TrainConfig
from sarnn_ros.training.explained import stretch
from sarnn_ros.training.sequences import Sequences

#: Ticks at the start, of which images are used: the robot has hardly moved.
EARLY_TICKS = (0, 2)
SEARCHES = 2
#: Patches that discriminants are made for, per camera and search.
EXEMPLARS = 96
#: Patches that the mean and the covariance are estimated from.
BACKGROUND = 20_000
#: Of the covariance's mean variance, added to its diagonal.
SHRINKAGE = 0.03
#: Logit of the softmax at the exemplar; it is 0 at the mean patch.
GAINS = (10.0, 30.0, 100.0)
#: Points that differ less, as a share of the image, are copies: one of them is a candidate.
NEAR_COPY = 0.004
RIDGE = 1e-2
#: Times that trajectories are exchanged between episodes: a single one can look like the truth.
PERMUTATIONS = 20
#: Every so many episodes one is held out to decide between searches.
FOLD = 5
#: Fewer episodes do not tell what they differ by.
MIN_EPISODES = 6
#: Points that deviate less, as a share of the image, count as if they deviated so much.
MIN_DEVIATION = 2e-4
#: Samples of a trajectory that is explained.
SAMPLES = 32


@dataclass(frozen=True)
class SearchResult:
    """What the points in the first images explain of how the episodes differ, of 1.

    :param chosen: on the episodes that the points were chosen by, leaving one out.
    :param held_out: on episodes that no choice has seen. :param permuted: the same, with the
        trajectories exchanged between the episodes, mean of several times: about 0 or less, or the
        figures mean nothing.
    """

    chosen: float
    held_out: float
    permuted: float


@dataclass(frozen=True)
class Candidates:
    """Filters of the last convolution of one camera's attention.

    :param weight: (M, C, 3, 3). :param bias: (M,). :param points: what they give on each of S sets
        of images of the E episodes, (S, E, M, 2).
    """

    weight: Tensor
    bias: Tensor
    points: Tensor


def differences(targets: Sequence[NDArray[np.float32]]) -> Tensor:
    """How the trajectories (T, D) of E episodes differ: stretched to one length, less their mean;
    (E, SAMPLES * D)."""
    rows = np.stack([stretch(one, SAMPLES).ravel() for one in targets])
    return torch.from_numpy(rows - rows.mean(0)).float()


def unexplained(points: Tensor, wanted: Tensor) -> float:
    """Share of `wanted` (E, R) that ridge regression on `points` (E, P) does not explain of an
    episode that was left out; by the closed form of the leave-one-out residual."""
    count = len(points)
    inputs = points - points.mean(0)
    inputs = inputs / inputs.std(0).clamp(min=MIN_DEVIATION)
    wanted = wanted - wanted.mean(0)
    gram = inputs.T @ inputs + RIDGE * count * torch.eye(inputs.shape[1], device=inputs.device)
    hat = inputs @ torch.linalg.solve(gram, inputs.T) + 1 / count
    rest = (wanted - hat @ wanted) / (1 - hat.diagonal()).clamp(min=0.05).unsqueeze(1)
    return float((rest**2).sum() / (wanted**2).sum().clamp(min=1e-9))


def explained(points: Tensor, wanted: Tensor, others: Tensor, others_wanted: Tensor) -> float:
    """Share of `others_wanted` that ridge regression fitted to `points` (E, P) and `wanted` (E, R)
    explains from the points `others`."""
    mean, middle = points.mean(0), wanted.mean(0)
    factor = 1 / points.std(0).clamp(min=MIN_DEVIATION)
    inputs = (points - mean) * factor
    gram = inputs.T @ inputs + RIDGE * len(inputs) * torch.eye(len(mean), device=inputs.device)
    slope = torch.linalg.solve(gram, inputs.T @ (wanted - middle))
    rest = others_wanted - middle - (others - mean) * factor @ slope
    return 1 - float((rest**2).sum() / ((others_wanted - middle) ** 2).sum().clamp(min=1e-9))


def make_candidates(
    branch: VisionBranch, sets: Sequence[Tensor], generator: torch.Generator
) -> Candidates:
    """Discriminants of patches where the first set of images differs between the episodes.

    :param sets: S times images (E, 3, H, W) of the same episodes; the first set is clean.
    """
    trunk, softmax = branch.pos_encoder[:4], branch.pos_encoder[-1]
    features = [trunk(images) for images in sets]
    background = torch.cat(
        [_patches(one, _uniform(one, BACKGROUND // len(sets), generator)) for one in features]
    )
    mean = background.mean(0)
    covariance = (background - mean).T @ (background - mean) / len(background)
    ridge = SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(mean), device=mean.device)
    inverse = torch.linalg.inv(covariance + ridge)

    clean = features[0]
    differs = ((clean - clean.median(0).values) ** 2).sum(1, keepdim=True)
    differs = functional.avg_pool2d(differs, 3, stride=1).flatten()
    exemplars = torch.multinomial(differs + 1e-12, EXEMPLARS, True, generator=generator)
    offsets = _patches(clean, exemplars) - mean
    weight = offsets @ inverse
    weight = weight / (weight * offsets).sum(1, keepdim=True).clamp(min=1e-9)
    bias = -(weight @ mean)
    # The softmax divides by the temperature: a logit of `gain` at the exemplar needs this factor.
    factors = weight.new_tensor(GAINS).repeat_interleave(EXEMPLARS) * softmax.temperature
    weight = weight.repeat(len(GAINS), 1) * factors.unsqueeze(1)
    bias = bias.repeat(len(GAINS)) * factors
    weight = weight.reshape(-1, clean.shape[1], 3, 3)
    points = [
        torch.cat(
            [
                softmax(functional.leaky_relu(functional.conv2d(one, *part), 0.3))[0]
                for part in zip(weight.split(32), bias.split(32), strict=True)
            ],
            1,
        )
        for one in features
    ]
    return Candidates(weight, bias, torch.stack(points))


def choose(
    candidates: Sequence[Candidates], wanted: Tensor, count: int
) -> tuple[list[list[int]], float]:
    """`count` candidates of each camera, greedily.

    :returns: their numbers per camera, and what all points together explain.
    """

    def cost(chosen: Sequence[tuple[int, int]]) -> float:
        """Mean over the sets of images."""
        points = torch.stack([candidates[camera].points[:, :, one] for camera, one in chosen], 2)
        return sum(unexplained(one.flatten(1), wanted) for one in points) / len(points)

    # All of them at every choice: what explains most alone may all be on one object, and what a
    # second object adds shows only when the first one is known.
    pool = [
        (camera, one)
        for camera, its in enumerate(candidates)
        for one in _without_copies(its.points, count)
    ]
    chosen: list[tuple[int, int]] = []
    left = 1.0
    while pool and len(chosen) < count * len(candidates):
        trial = {one: cost([*chosen, one]) for one in pool}
        best = min(trial, key=trial.__getitem__)
        chosen, left = [*chosen, best], trial[best]
        full = sum(camera == best[0] for camera, _ in chosen) == count
        pool = [one for one in pool if one != best and not (full and one[0] == best[0])]
    by_camera = [[one for at, one in chosen if at == camera] for camera in range(len(candidates))]
    return by_camera, 1 - left


def _without_copies(points: Tensor, least: int) -> list[int]:
    """Numbers of the candidates whose points (S, E, M, 2) are not near copies of earlier ones';
    at least `least`."""
    flat = points.permute(2, 0, 1, 3).flatten(1)
    near = torch.cdist(flat, flat, p=1) / flat.shape[1] < NEAR_COPY
    kept: list[int] = []
    for one in range(len(flat)):
        if not bool(near[one, kept].any()):
            kept.append(one)
    return kept + [one for one in range(len(flat)) if one not in kept][: max(0, least - len(kept))]


@torch.no_grad()
def search_attention(
    model: SARNN,
    data: Sequences,
    config: TrainConfig,
    generator: torch.Generator,
    say: Callable[[str], None] = lambda text: None,
) -> SearchResult:
    """Change the model's attention, and nothing else of it, to filters that were searched for.

    :param data: episodes to search by.
    :raises TrainingError: too few episodes.
    """
    usable = torch.nonzero(data.lengths > 1)[:, 0]
    if len(usable) < MIN_EPISODES:
        raise TrainingError(
            f"{len(usable)} training episodes are too few to search for attention",
            where="attention: search",
            remedy=f"give at least {MIN_EPISODES}, or set attention=train",
        )
    wanted = differences(data.unpad(data.targets[:, :-1])).to(usable.device)
    held = torch.arange(len(usable), device=usable.device) % FOLD == FOLD - 1
    sets = _image_sets(data, usable, config, generator)
    found: tuple[SearchResult, dict[str, Tensor]] | None = None
    for number in range(SEARCHES):
        if number:
            _new_trunk(model, generator)
        candidates = [
            make_candidates(branch, [images[camera][~held] for images in sets], generator)
            for camera, branch in enumerate(model.branches)
        ]
        chosen, explains = choose(candidates, wanted[~held], model.k_dim)
        for branch, its, which in zip(model.branches, candidates, chosen, strict=True):
            _, _, last = _convolutions(branch)
            last.weight.copy_(its.weight[which])
            last.bias.copy_(its.bias[which])
        points = model.encode(sets[0])
        fitted = points[~held], wanted[~held]
        others = points[held], wanted[held]
        exchanged = [
            explained(fitted[0], fitted[1][order], *others)
            for order in (
                torch.randperm(len(fitted[1]), generator=generator, device=generator.device)
                for _ in range(PERMUTATIONS)
            )
        ]
        result = SearchResult(
            chosen=explains,
            held_out=explained(*fitted, *others),
            permuted=sum(exchanged) / PERMUTATIONS,
        )
        say(
            f"attention search {number + 1}/{SEARCHES}: the points explain {result.held_out:.2f} "
            f"of how held-out episodes differ ({result.permuted:.2f} with episodes exchanged)"
        )
        if found is None or result.held_out > found[0].held_out:
            weights = {name: value.clone() for name, value in model.state_dict().items()}
            found = result, weights
    assert found is not None
    model.load_state_dict(found[1])
    return found[0]


def _image_sets(
    data: Sequences, episodes: Tensor, config: TrainConfig, generator: torch.Generator
) -> list[list[Tensor]]:
    """Sets of images per camera, (E, 3, H, W): the early ticks, clean and then with jitter."""
    sets = []
    noise = config.image_noise * data.image_span
    for distorted in (False, True):
        for tick in EARLY_TICKS:
            ticks = torch.minimum(torch.full_like(episodes, tick), data.lengths[episodes] - 1)
            frames = data.frames(episodes, ticks)
            if distorted:
                factors = [draw_jitter(len(episodes), config, generator) for _ in frames]
                frames = [jitter(*pair) for pair in zip(frames, factors, strict=True)]
            frames = [data.scale(images) for images in frames]
            if distorted:
                frames = [add_noise(images, noise, generator) for images in frames]
            sets.append(frames)
    return sets


def _new_trunk(model: SARNN, generator: torch.Generator) -> None:
    """Other weights of the layers below the searched one, drawn as the first ones were."""
    for branch in model.branches:
        for layer in _convolutions(branch)[:2]:
            weight = layer.weight
            fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
            weight.uniform_(-1, 1, generator=generator).mul_((6 / (fan_in + fan_out)) ** 0.5)
            layer.bias.zero_()


def _convolutions(branch: VisionBranch) -> list[Any]:
    """The three convolutions of the attention."""
    return [layer for layer in branch.pos_encoder if isinstance(layer, nn.Conv2d)]


def _uniform(features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Numbers of `count` random patches of features (E, C, h, w)."""
    episodes, _, height, width = features.shape
    patches = episodes * (height - 2) * (width - 2)
    return torch.randint(patches, (count,), generator=generator, device=generator.device)


def _patches(features: Tensor, numbers: Tensor) -> Tensor:
    """3x3 patches (N, C * 9), by their number among all of (E, C, h, w) features."""
    height, width = features.shape[2] - 2, features.shape[3] - 2
    episode, cell = numbers // (height * width), numbers % (height * width)
    row, column = (cell // width).reshape(-1, 1, 1), (cell % width).reshape(-1, 1, 1)
    offset = torch.arange(3, device=features.device)
    found = features[
        episode.reshape(-1, 1, 1), :, row + offset.reshape(1, 3, 1), column + offset
    ]  # (N, 3, 3, C)
    return found.permute(0, 3, 1, 2).flatten(1)
