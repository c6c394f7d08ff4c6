# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Find, before training, attention filters whose points tell the demonstrations apart.

At temperature 1e-4 the spatial softmax is an arg-max: a point that does not start on the object
gets no gradient towards it. So filters are made from the data, and frozen:

1. *Candidates.* Patches of the feature map before the last convolution are drawn where the first
   images differ between episodes. Patches unlike each other become exemplars, so that a small
   object beside a large one has some, too. Each gives two filters: the linear discriminant
   (Fisher) of that patch against all others, w = C⁻¹(patch - mean), where C is the covariance of
   patches; and that of the mean of all patches that the first one finds. All are scaled by
   several gains, which decide how sharp the softmax is. Where other things lie about in each
   episode, hardly an exemplar would be of what matters. There many discriminants together tell
   where in each image the things are that the trajectories follow (`expected_places.py`), and
   filters are made of those places, which then learn them (`learnt_filters.py`).
2. *Choice.* The points in early images, also with other colours, shall explain how the episodes'
   trajectories differ, by ridge regression that leaves one episode out. Candidates are taken one
   by one, each time the one that adds most. Each camera chooses by itself, since one may see what
   the arm hides from another. Only a few are taken so: more would fit few episodes by chance. The
   other points are the candidates that move most like those few. Of few episodes those are taken
   that tell the motion most exactly (`few_places.py`).

What comes late is searched for in later images, where first ones leave much (`late_points.py`).

The layers below the searched one are random, scaled and shifted by the data. Of several searches
the best one by cross-validation is kept: its choice, made from some of the episodes, explains most
of the others, whatever their pace. If images and trajectories are exchanged between episodes, it
explains nothing.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sarnn_ros.data.differences import MIN_PIXEL_DIFFERENCE
from sarnn_ros.geometry import feature_size
from sarnn_ros.model.sarnn import SARNN, VisionBranch
from sarnn_ros.spec import CameraSpec
from sarnn_ros.training.augment import IMAGE_NOISE, add_noise, draw_jitter, jitter
from sarnn_ros.training.config import TrainConfig
from sarnn_ros.training.expected_places import (
    FOLDS,
    MIN_PLACE_DEVIATION,
    Told,
    as_expected,
    find_things,
    places_of_things,
    tell,
)
from sarnn_ros.training.explained import (
    Array,
    Regressions,
    Starts,
    explained_share,
    ridge_predictions,
)
from sarnn_ros.training.few_places import choose_few
from sarnn_ros.training.late_points import (
    MAX_LATE_SHARE,
    MOMENTS,
    Late,
    Moment,
    choose_late,
    moments,
    share_left,
)
from sarnn_ros.training.learnt_filters import learn_filters
from sarnn_ros.training.recipe import RECIPE, is_few
from sarnn_ros.training.sequences import Sequences

#: Moments whose images are used, as shares of a mean episode. Early ones, since later the robot's
#: own place tells where it goes; several, since at each of them it hides something else.
EARLY_MOMENTS = (0.0, 0.07, 0.13, 0.2)
#: Searches, of which the best one is kept.
SEARCHES = 2
#: Memory that it stays within: of large images it looks at fewer episodes than
#: `RECIPE.max_episodes_for_search`. With one camera of 119x119 pixels there are still 100, of
#: 128x128 87, of 320x240 18.
MAX_SEARCH_BYTES = 3 * 2**29
#: Patches per camera and search that discriminants are made for, and patches that these are chosen
#: from. Where episodes start differently it is twice as many exemplars, as most are of the arm.
EXEMPLARS, DRAWN_PATCHES = 96, 3000
#: Patches that exemplars are chosen from by whether the trajectories tell their places.
TOLD_PATCHES = 600
#: Filters are made for a thing's place, and for places around it: columns, and rows, cells.
PLACES_AROUND = (-4.0, -2.0, 0.0, 2.0, 4.0)
#: The same for filters that learn. They learn to find what has surely been found in so many of the
#: episodes, as a share, or what a discriminant finds in `MIN_HELD_OUT_SHARE`.
LEARNT_AROUND, MIN_SURE_SHARE = (-2.0, 0.0, 2.0), 0.55
#: Share of the episodes that a filter was not made from in which it must find its thing. In two
#: tasks those of things were at 0.7 to 1, those of what was expected by mistake below 0.6.
MIN_HELD_OUT_SHARE = 0.6
#: Weight of what a filter answers to where nothing lies, beside that of all patches.
MISTAKEN_WEIGHT = 0.4
#: Each unit of the layers below changes its sign at a quantile of its responses between these.
SIGN_CHANGE_SHARES = (0.1, 0.9)
#: Patches that the mean and the covariance of patches are estimated from.
BACKGROUND_PATCHES = 20_000
#: Share of the covariance's mean variance that is added to its diagonal.
SHRINKAGE = 0.03
#: Response of a discriminant above which a patch counts as the same thing; 1 at its exemplar.
MIN_ALIKE_RESPONSE = 0.5
#: Logit of the softmax at the exemplar; it is 0 at the mean patch. With 10 the rest of the image
#: outweighs many an exemplar, and the point lies between the object and the image's middle.
EXEMPLAR_LOGITS = (30.0, 100.0)
#: Candidates whose points differ less, as a share of the image, are copies: one of them is kept.
MAX_COPY_DISTANCE = 0.004


@dataclass(frozen=True)
class Candidates:
    """Filters of the last convolution of one camera's attention.

    :param weight: (M, C, 3, 3).
    :param bias: (M,).
    :param points: what they give on each of S sets of images of the E episodes, (S, E, M, 2).
    :param things: where the motions tell that things are, (E, T, 2), cells; None if nothing lies
        about.
    :param shares: in which share of the episodes that they were not made from filters find each of
        these, (T,): the mean of as many as would learn to, the best ones.
    """

    weight: Tensor
    bias: Tensor
    points: Tensor
    things: Tensor | None = None
    shares: Tensor | None = None


def make_candidates(
    branch: VisionBranch,
    sets: Sequence[Tensor],
    told: Told,
    span: float,
    exemplars: int,
    cluttered: bool,
    generator: torch.Generator,
) -> Candidates:
    """Discriminants of patches where the first set of images differs between the episodes, on
    other layers below than before. Where it is cluttered, of what the trajectories follow alone,
    if there are as many as the branch has points.

    :param sets: S times images (E, 3, H, W) of the same episodes; the first set is clean.
    :param told: of the episodes.
    :param span: of the images' values.
    :param exemplars: for so many patches.
    :param cluttered: other things lie elsewhere in each episode.
    """
    trunk = branch.pos_encoder[:4]
    softmax: Any = branch.pos_encoder[-1]
    _draw_trunk(branch, sets, generator)

    def features() -> Iterator[Tensor]:
        """Of one set at a time: to keep all would take much memory."""
        return (trunk(images) for images in sets)

    mean, covariance, root = _background(features(), len(sets), generator)
    inverse = torch.cholesky_inverse(root)

    clean = trunk(sets[0])
    parts, things, shares = [], None, None
    if cluttered:
        differ = _differ(sets[0], branch, span)
        filters, things, shares = _told(clean, differ, told, mean, covariance, inverse, generator)
        parts.append(filters)
    count = _convolutions(branch)[2].out_channels
    if sum(len(bias) for _, bias in parts) * len(EXEMPLAR_LOGITS) < count:
        drawn = _patches(clean, _differing(clean, DRAWN_PATCHES, generator))
        parts += _of_exemplars(drawn, features(), mean, root, exemplars, generator)
    return replace(_candidates(softmax, parts, features()), things=things, shares=shares)


def learn_candidates(
    branch: VisionBranch,
    sets: Sequence[Tensor],
    before: Candidates,
    span: float,
    generator: torch.Generator,
) -> tuple[Candidates, Candidates] | None:
    """Filters that learn, with the layers below, where the things are that `before` has found.

    :param sets: S times images (E, 3, H, W); the first half of the sets is clean.
    :param before: what discriminants find, on the layers below as they are; these are changed.
    :returns: the candidates; and the same with points of other filters in each episode, which have
        learnt from the other half of the episodes. None, and the branch as it was, if those find
        the things no more often than `before` does, by one half or by both, or lose one that it
        finds; and if fewer filters than the branch has points find their places.
    """
    things, shares = before.things, before.shares
    assert things is not None and shares is not None
    wanted = _around(things, LEARNT_AROUND)
    count = _convolutions(branch)[2].out_channels
    if wanted.shape[1] * len(EXEMPLAR_LOGITS) < count:
        return None
    first = torch.stack([sets[0], sets[len(sets) // 2]])  # later the arm may be before a thing

    def learn(some: Tensor, wanted: Tensor) -> tuple[VisionBranch, Candidates]:
        other = copy.deepcopy(branch)
        trunk: Any = other.pos_encoder[:4]
        filters = learn_filters(trunk, first[:, some], wanted[some], span, generator)
        features = (trunk(images) for images in sets)
        return other, _candidates(other.pos_encoder[-1], [filters], features)

    stride = _convolutions(branch)[0].stride[0]
    cells = wanted.new_tensor(
        [feature_size(side, stride) - 1 for side in reversed(branch.im_size)]
    )

    def find(points: Tensor, wanted: Tensor) -> Tensor:
        """In which share of the episodes the sharpest filters are at their places, (M,)."""
        sharp = points[0, :, -wanted.shape[1] :]
        return as_expected(sharp * cells, wanted).double().mean(0)

    every_second = torch.arange(len(wanted), device=wanted.device) % 2 == 0
    by_one = learn(every_second, wanted)[1].points
    if find(by_one[:, ~every_second], wanted[~every_second]).mean() <= shares.mean():
        return None  # most often it is clear by now, and half of the time is saved
    by_other = learn(~every_second, wanted)[1].points
    points = torch.where(every_second.reshape(-1, 1, 1), by_other, by_one)
    found = find(points, wanted)
    good, of_things = found > MIN_HELD_OUT_SHARE, found.reshape(things.shape[1], -1)
    lost = (shares > MIN_HELD_OUT_SHARE) & ~good.reshape(of_things.shape).any(1)
    too_few = int(good.sum()) * len(EXEMPLAR_LOGITS) < count
    if too_few or lost.any() or of_things.mean() <= shares.mean():
        return None
    learnt, candidates = learn(torch.ones_like(every_second), wanted[:, good])
    if (find(candidates.points, wanted[:, good]) <= MIN_HELD_OUT_SHARE).any():
        return None
    branch.load_state_dict(learnt.state_dict())
    return candidates, replace(candidates, points=points[:, :, good.repeat(len(EXEMPLAR_LOGITS))])


def _around(things: Tensor, steps: Sequence[float]) -> Tensor:
    """Places (E, T, 2), and those around each, (E, T * steps * steps, 2)."""
    around = torch.tensor(steps, device=things.device)
    return (things.unsqueeze(2) + torch.cartesian_prod(around, around)).flatten(1, 2)


def make_late_candidates(
    branch: VisionBranch, sets: Sequence[Tensor], exemplars: int, generator: torch.Generator
) -> Candidates:
    """Discriminants of patches where any set of images differs between the episodes, on the
    layers below as they are.

    :param sets: S times images (E, 3, H, W) of the same episodes.
    """
    trunk = branch.pos_encoder[:4]

    def features() -> Iterator[Tensor]:
        return (trunk(images) for images in sets)

    mean, _, root = _background(features(), len(sets), generator)
    count = DRAWN_PATCHES // len(sets)
    drawn = torch.cat([_patches(one, _differing(one, count, generator)) for one in features()])
    parts = _of_exemplars(drawn, features(), mean, root, exemplars, generator)
    return _candidates(branch.pos_encoder[-1], parts, features())


def _background(
    features: Iterable[Tensor], sets: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and covariance of patches of these sets of features, and the root of the latter."""
    count = BACKGROUND_PATCHES // sets
    patches = torch.cat([_patches(one, _uniform(one, count, generator)) for one in features])
    mean = patches.mean(0)
    covariance = (patches - mean).T @ (patches - mean) / len(patches)
    variance = covariance.diagonal().mean().clamp(min=1e-12)  # 0 of images that are all black
    covariance += SHRINKAGE * variance * torch.eye(len(mean), device=mean.device)
    return mean, covariance, torch.linalg.cholesky(covariance)


def _of_exemplars(
    drawn: Tensor,
    features: Iterable[Tensor],
    mean: Tensor,
    root: Tensor,
    exemplars: int,
    generator: torch.Generator,
) -> list[tuple[Tensor, Tensor]]:
    """Discriminants of those of the drawn patches that are unlike each other, and of the mean of
    what each finds.

    :param root: of the patches' covariance.
    """
    offsets = drawn - mean
    white = torch.linalg.solve_triangular(root, offsets.T, upper=False).T
    offsets = offsets[_unlike(white, exemplars, generator)]
    inverse = torch.cholesky_inverse(root)
    weight, bias = _discriminants(offsets, mean, inverse)
    typical = _typical(features, weight, bias, offsets, mean)
    return [(weight, bias), _discriminants(typical, mean, inverse)]


def _candidates(
    softmax: Any, parts: Sequence[tuple[Tensor, Tensor]], features: Iterable[Tensor]
) -> Candidates:
    """Of filters (weight, bias), each with several gains."""
    weight, bias = (torch.cat(all_parts) for all_parts in zip(*parts, strict=True))
    # The softmax divides by the temperature: a logit of `gain` at the exemplar needs this factor.
    factors = [gain * softmax.temperature for gain in EXEMPLAR_LOGITS]
    found = []
    for one in features:
        channels = one.shape[1]
        found.append(_points(softmax, one, weight, bias, factors))
    weight, bias = (torch.cat([factor * part for factor in factors]) for part in (weight, bias))
    return Candidates(weight.reshape(-1, channels, 3, 3), bias, torch.stack(found))


def is_cluttered(images: Tensor, camera: CameraSpec, span: float) -> bool:
    """Whether more differs between the first images (E, 3, H, W) of a whole camera than what the
    task is about."""
    share = float(_pixels_that_differ(images, span).double().mean())
    return camera.crop is None and share > RECIPE.min_share_for_clutter


def _pixels_that_differ(images: Tensor, span: float) -> Tensor:
    """Of images (E, 3, H, W), from the median of the episodes, bool (E, 1, H, W)."""
    off = (images - images.median(0).values).abs().amax(1, keepdim=True)
    return off > MIN_PIXEL_DIFFERENCE / 255 * span


def _differ(images: Tensor, branch: VisionBranch, span: float) -> Tensor:
    """Of images (E, 3, H, W), where the filters see a pixel that differs from the median of the
    episodes, bool (E, h - 2, w - 2)."""
    differs = _pixels_that_differ(images, span).to(images)
    stride = _convolutions(branch)[0].stride[0]
    return functional.max_pool2d(differs, 3 + 4 * stride, stride)[:, 0] > 0


def _told(
    features: Tensor,
    differ: Tensor,
    told: Told,
    mean: Tensor,
    covariance: Tensor,
    inverse: Tensor,
    generator: torch.Generator,
) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """Discriminants of what is where the trajectories tell that something must be: of the mean
    patch there, and of those around it, against what they find elsewhere. Those that find it in
    most episodes that they were not made from.

    Where other things lie about in each episode, few patches are of what matters, and those of
    much else are more unlike each other. A first discriminant of each is also against what it
    answers to most where the images do not differ: a small thing may look like a part of the
    robot.

    :param features: of the first images, (E, C, h, w).
    :param differ: where they differ from the median, (E, h - 2, w - 2).
    :param covariance: of patches; and its inverse.
    :returns: weight and bias; and `Candidates.things` and `shares`.
    """
    offsets = _patches(features, _differing(features, TOLD_PATCHES, generator, differ)) - mean
    weight, bias = _discriminants(offsets, mean, inverse)
    looked = slice(None, None, 2)  # half of the episodes, which is enough
    numbers = _places(features[looked], weight, bias, ~differ[looked])
    weight, bias = _discriminants_against(
        offsets, mean, covariance, features[looked], numbers, torch.ones_like(numbers)
    )
    things, sure = find_things(_cells(features, _places(features, weight, bias)), told)
    if not things.shape[1]:
        return (offsets[:0], mean[:0]), things, mean[:0]
    told_places = places_of_things(things, sure, told)
    often = (sure & as_expected(things, told_places)).double().mean(0) > MIN_SURE_SHARE
    moves = told_places.std(0).norm(dim=1) > MIN_PLACE_DEVIATION
    wanted = _around(things, PLACES_AROUND)
    numbers, inside = _numbers(features, wanted)
    sure = sure.repeat_interleave(len(PLACES_AROUND) ** 2, 1) & inside

    def discriminants(some: Tensor) -> tuple[Tensor, Tensor]:
        """Made from some of the episodes, bool (E, 1)."""
        there = sure & some
        typical = torch.stack(
            [
                _patches(features, row[which]).mean(0) - mean if which.any() else 0 * mean
                for row, which in zip(numbers.T, there.T, strict=True)
            ]
        )
        first = _discriminants(typical, mean, inverse)
        found = _places(features, *first)
        wrong = ~as_expected(_cells(features, found), wanted) & some
        return _discriminants_against(typical, mean, covariance, features, found, wrong)

    every_second = (torch.arange(len(features), device=mean.device) % 2 == 0).unsqueeze(1)
    # Where nothing has voted there is no place: what finds more is judged by what motions tell.
    told_wanted = _around(told_places, PLACES_AROUND)
    hits, told_hits = torch.zeros_like(sure), torch.zeros_like(sure)
    for some in (every_second, ~every_second):
        found = _cells(features, _places(features, *discriminants(some)))
        hits |= as_expected(found, wanted) & ~some
        told_hits |= as_expected(found, told_wanted) & ~some
    good = hits.double().mean(0) > MIN_HELD_OUT_SHARE
    weight, bias = discriminants(torch.ones_like(every_second))
    by_thing = told_hits.double().mean(0).reshape(len(often), -1)
    best = by_thing.topk(len(LEARNT_AROUND) ** 2, 1).values
    known = (often | (best[:, 0] > MIN_HELD_OUT_SHARE)) & moves
    return (weight[good], bias[good]), told_places[:, known], best.mean(1)[known]


def _discriminants_against(
    offsets: Tensor,
    mean: Tensor,
    covariance: Tensor,
    features: Tensor,
    numbers: Tensor,
    wrong: Tensor,
) -> tuple[Tensor, Tensor]:
    """`_discriminants` that answer little to some patches of the features, too, (n, M) for each of
    the M filters: those of these `numbers` that are `wrong`."""
    weights = []
    for some, rows, which in zip(
        torch.split(offsets, 32),
        torch.split(numbers, 32, 1),
        torch.split(wrong, 32, 1),
        strict=True,
    ):
        patches = _patches(features, rows.T.flatten()) - mean
        patches = patches.reshape(len(some), len(rows), -1)
        shares = which.T.unsqueeze(2) / which.sum(0).clamp(min=1).reshape(-1, 1, 1)
        mistaken = (patches * shares).mT @ patches
        both = (1 - MISTAKEN_WEIGHT) * covariance + MISTAKEN_WEIGHT * mistaken
        # Not `torch.linalg.solve`: of several large matrices at once it is wrong, or raises, with
        # more than one thread (MKL; pytorch/pytorch#142815).
        root = torch.linalg.cholesky(both)
        weights.append(torch.cholesky_solve(some.unsqueeze(2), root)[..., 0])
    weight = torch.cat(weights)
    weight = weight / (weight * offsets).sum(1, keepdim=True).clamp(min=1e-9)
    return weight, -(weight @ mean)


def _places(features: Tensor, weight: Tensor, bias: Tensor, where: Tensor | None = None) -> Tensor:
    """Numbers (E, M), among all patches of features (E, C, h, w), of the one in each episode that
    each filter (M, C * 9) answers to most; only `where`, bool (E, h - 2, w - 2), if given."""
    found = []
    for part in _responses(features, weight, bias):
        if where is not None:
            part = part.masked_fill(~where.unsqueeze(1), -torch.inf)
        found.append(part.flatten(2).argmax(2))
    places = torch.cat(found, 1)
    cells = (features.shape[2] - 2) * (features.shape[3] - 2)
    return places + cells * torch.arange(len(places), device=places.device).unsqueeze(1)


def _cells(features: Tensor, numbers: Tensor) -> Tensor:
    """Column and row (E, M, 2) of patches, by their numbers (E, M) among all of the features."""
    height, width = features.shape[2] - 2, features.shape[3] - 2
    cell = numbers % (height * width)
    return torch.stack([cell % width, cell // width], 2).to(features)


def _numbers(features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """The reverse of `_cells`, and which of them are within the image, bool (E, M)."""
    height, width = features.shape[2] - 2, features.shape[3] - 2
    last = torch.tensor([width - 1, height - 1], device=cells.device)
    cells = cells.round().long()
    inside = ((cells >= 0) & (cells <= last)).all(2)
    column, row = cells.clamp(min=0).minimum(last).unbind(2)
    episode = torch.arange(len(cells), device=cells.device).unsqueeze(1)
    return (episode * height + row) * width + column, inside


def _unlike(patches: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Numbers of `count` of the patches (N, D) that are unlike each other: the first one, then
    each with a chance that grows with the square of its distance to the nearest one before
    (k-means++, Arthur and Vassilvitskii 2007)."""
    chosen = [torch.zeros(1, dtype=torch.long, device=patches.device)]
    nearest = torch.full_like(patches[:, 0], torch.inf)
    for _ in range(count - 1):
        nearest = torch.minimum(nearest, ((patches - patches[chosen[-1]]) ** 2).sum(1))
        chosen.append(torch.multinomial(nearest + 1e-12, 1, generator=generator))
    return torch.cat(chosen)


def _points(
    softmax: nn.Module, features: Tensor, weight: Tensor, bias: Tensor, factors: Sequence[float]
) -> Tensor:
    """Of filters (M, C * 9) times each factor, on features (E, C, h, w): (E, factors * M, 2)."""
    found: list[list[Tensor]] = [[] for _ in factors]
    for part in _responses(features, weight, bias):
        active = functional.leaky_relu(part, 0.3)  # of a positive multiple it is that multiple
        for scaled, factor in zip(found, factors, strict=True):
            scaled.append(softmax(factor * active)[0])
    return torch.cat([torch.cat(scaled, 1) for scaled in found], 1)


def _discriminants(offsets: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Linear discriminants w = C⁻¹(patch - mean) and their bias: 1 at the patch, 0 at the mean.

    :param offsets: patch - mean, (M, C * 9).
    :param inverse: C⁻¹.
    """
    weight = offsets @ inverse
    weight = weight / (weight * offsets).sum(1, keepdim=True).clamp(min=1e-9)
    return weight, -(weight @ mean)


def _responses(features: Tensor, weight: Tensor, bias: Tensor) -> Iterator[Tensor]:
    """Of filters (M, C * 9) on features (E, C, h, w), some at a time: (E, m, h - 2, w - 2)."""
    filters = weight.reshape(-1, features.shape[1], 3, 3)
    for part in zip(torch.split(filters, 32), torch.split(bias, 32), strict=True):
        yield functional.conv2d(features, *part)


def _typical(
    features: Iterable[Tensor], weight: Tensor, bias: Tensor, offsets: Tensor, mean: Tensor
) -> Tensor:
    """Offsets (M, C * 9) of the mean patch that each discriminant finds, over all images where it
    finds one like its exemplar: a single patch has the light and the position of one episode."""
    total, found = torch.zeros_like(offsets), offsets.new_zeros(len(offsets), 1)
    for one in features:
        count, _, height, width = one.shape
        best, place = torch.cat(list(_responses(one, weight, bias)), 1).flatten(2).max(2)  # (E, M)
        episode = torch.arange(count, device=one.device).unsqueeze(1)
        there = _patches(one, (place + episode * (height - 2) * (width - 2)).flatten()) - mean
        alike = (best > MIN_ALIKE_RESPONSE).to(there.dtype).unsqueeze(2)
        total += (there.reshape(count, len(offsets), -1) * alike).sum(0)
        found += alike.sum(0)
    return torch.where(found > 0, total / found.clamp(min=1), offsets)


def count_exemplars(data: Sequences) -> int:
    """How many patches discriminants are made for."""
    return EXEMPLARS * (2 if Starts(data.first_states()).count else 1)


def episode_bytes(model: SARNN, exemplars: int) -> int:
    """Bytes that the search takes for an episode: its sets of images and, of one camera at a time,
    two maps of features and two of all exemplars' responses. Measured: as much, and some 50 MB
    besides."""
    pixels = [height * width for height, width in (branch.im_size for branch in model.branches)]
    maps = (2 * 32 + 2 * exemplars) * max(pixels) // model.stride**2
    return 4 * (2 * len(EARLY_MOMENTS) * 3 * sum(pixels) + maps)


def most_episodes(model: SARNN, exemplars: int) -> int:
    """How many episodes the search looks at, if there are as many."""
    most = min(RECIPE.max_episodes_for_search, MAX_SEARCH_BYTES // episode_bytes(model, exemplars))
    return max(RECIPE.min_episodes_for_search, most)


def choose(
    points: Tensor, wanted: Array, starts: Array, count: int, exact: Told | None = None
) -> list[int]:
    """`count` candidates of one camera: first some that together explain most, chosen greedily,
    and then, in turn, those that move most like each of these.

    What would be chosen later fits by chance, and is elsewhere in other scenes. If several points
    follow the same thing, it is rarer that all of them lose it. Of few episodes any may fit by
    chance: then those that tell the motion most exactly, see `few_places.py`.

    :param points: of M candidates, (S, E, M, 2).
    :param wanted: what they are to explain, (E, R).
    :param starts: what is known without them, (E, K).
    :param exact: of few episodes.
    """
    # All candidates at every choice: those that explain most alone may all be on one object. What
    # a second object adds shows only when the first one is known.
    kept = _without_copies(points, count)
    if exact is not None:
        return [kept[one] for one in choose_few(points[:, :, kept], exact, count)]
    free = points[:, :, kept].double().cpu().permute(0, 2, 1, 3)  # (S, M, E, 2)
    regressions = Regressions(free.numpy(), wanted, starts)
    chosen: list[int] = []
    most = max(RECIPE.min_chosen_points, round(len(wanted) / RECIPE.episodes_per_chosen_point))
    for _ in range(min(count, most)):
        costs = regressions.unexplained().mean(0)  # over the sets of images
        costs[chosen] = np.inf
        best = int(np.argmin(costs))
        regressions.add(best)
        chosen.append(best)
    return _with_alike(points, [kept[one] for one in chosen], count)


def _with_alike(points: Tensor, chosen: list[int], count: int) -> list[int]:
    """The chosen ones, and, in turn, the candidate that moves most like each: `count` in all."""
    moves = (points - points.mean((0, 1))).permute(2, 0, 1, 3).flatten(1)
    apart = torch.cdist(moves[chosen], moves, p=1)
    found = list(chosen)
    for row in islice(cycle(apart), count - len(chosen)):
        row[found] = torch.inf
        found.append(int(row.argmin()))
    return found


def _without_copies(points: Tensor, least: int) -> list[int]:
    """Numbers of the candidates whose points (S, E, M, 2) are not near copies of earlier ones';
    at least `least`."""
    flat = points.permute(2, 0, 1, 3).flatten(1)
    near = (torch.cdist(flat, flat, p=1) / flat.shape[1] < MAX_COPY_DISTANCE).cpu().numpy()
    kept: list[int] = []
    copies = np.zeros(len(flat), dtype=bool)  # of one that is kept
    for one in range(len(flat)):
        if not copies[one]:
            kept.append(one)
            copies |= near[:, one]
    return kept + [one for one in range(len(flat)) if one not in kept][: max(0, least - len(kept))]


class Searched(NamedTuple):
    """What `search_attention` tells.

    :ivar explains, permuted: what `cross_validate` does.
    :ivar held_out: of the first images of all episodes, (E, P / 2, 2), points by filters that
        have not learnt from that episode; NaN where the model's own have not. None if none have.
    """

    explains: float
    permuted: float
    held_out: Tensor | None


@torch.no_grad()
def search_attention(
    model: SARNN,
    data: Sequences,
    config: TrainConfig,
    generator: torch.Generator,
    say: Callable[[str], None] = lambda text: None,
    moving: Collection[str] = (),
) -> Searched:
    """Change the model's attention, and nothing else of it, to filters that were searched for.

    :param data: episodes to search by, of which at least `RECIPE.min_episodes_for_search` are
        demonstrations; of more than `most_episodes` so many are drawn.
    :param moving: names of the cameras that move with the robot. All differs in their images where
        starts differ, which does not mean that other things lie about.
    """
    usable, wanted, states = data.scenes
    shown = int(data.demonstrations.sum())
    if corrected := len(data) - shown:
        say(
            f"of {corrected} corrected runs {len(usable) - shown} tell what a demonstration would "
            "have been there: the search counts these"
        )
    exemplars = count_exemplars(data)
    most = most_episodes(model, exemplars)
    numbers = _drawn(len(usable), most, generator)
    if len(numbers) < len(usable):
        why = "that is enough"
        if most < RECIPE.max_episodes_for_search:
            why = "images of this size leave no memory for more: ask for smaller ones in the spec"
        say(f"attention is searched for in {most} of {len(usable)} episodes: {why}")
    usable = usable[torch.from_numpy(numbers).to(usable.device)]
    wanted, states = wanted[numbers], states[numbers]
    starts = Starts(states)(states)
    told = tell(wanted, starts, data.joints.device)
    few = is_few(min(shown, len(usable)))
    exact = tell(wanted, starts, data.joints.device, exact=True) if few else None
    sets = _image_sets(data, usable, config, generator)
    cluttered = [
        camera.name not in moving and is_cluttered(images, camera, data.image_span)
        for images, camera in zip(sets[0], data.spec.cameras, strict=True)
    ]
    explains = permuted = -np.inf
    best: dict[str, Tensor] = {}

    def keep(camera: int, found: Candidates) -> list[int]:
        """The weights of the candidates that are chosen, and their numbers."""
        by = wanted.reshape(len(wanted), -1)
        chosen = choose(found.points, by, starts, model.k_dim, exact)
        _, _, last = _convolutions(model.branches[camera])
        last.weight.copy_(found.weight[chosen])
        last.bias.copy_(found.bias[chosen])
        return chosen

    for number in range(SEARCHES):
        found = [
            make_candidates(
                branch,
                [images[camera] for images in sets],
                told,
                data.image_span,
                exemplars,
                cluttered[camera],
                generator,
            )
            for camera, branch in enumerate(model.branches)
        ]
        figures = cross_validate([one.points for one in found], wanted, starts, model.k_dim, exact)
        say(
            f"attention search {number + 1}/{SEARCHES}: the points explain {figures[0]:.2f} of "
            f"how held-out episodes differ ({figures[1]:.2f} with episodes exchanged)"
        )
        if figures[0] <= explains:
            continue
        (explains, permuted), kept = figures, found
        for camera, one in enumerate(found):
            keep(camera, one)
        best = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best)
    learnt = {}
    for camera, branch in enumerate(model.branches):
        things, name = kept[camera].things, data.spec.cameras[camera].name
        if things is None or not things.shape[1] or shown < RECIPE.min_episodes_for_learning:
            continue
        if len(usable) < RECIPE.min_episodes_for_learning:
            height, width = branch.im_size
            say(
                f"{name}: filters do not learn what demonstrations follow: of images of "
                f"{width}x{height} pixels memory holds {len(usable)} episodes, and they need "
                f"{RECIPE.min_episodes_for_learning}: ask for smaller ones in the spec"
            )
            continue
        say(f"{name}: filters learn where {things.shape[1]} things are that demonstrations follow")
        images = [one[camera] for one in sets]
        better = learn_candidates(branch, images, kept[camera], data.image_span, generator)
        if better is None:
            say(
                f"{name}: these filters are not taken: they find no more in episodes that they "
                "have not learnt from, or too few of them find anything"
            )
        else:
            learnt[camera] = better
    if not learnt:
        return Searched(explains, permuted, None)
    judged = [learnt[n][1] if n in learnt else one for n, one in enumerate(kept)]
    explains, permuted = cross_validate(
        [one.points for one in judged], wanted, starts, model.k_dim, exact
    )
    say(f"these explain {explains:.2f} ({permuted:.2f} with episodes exchanged)")
    held_out = data.joints.new_full((len(data), len(model.branches), model.k_dim, 2), torch.nan)
    for camera, (candidates, others) in learnt.items():
        chosen = keep(camera, candidates)
        held_out[usable, camera] = others.points[0][:, chosen]
    return Searched(explains, permuted, held_out.flatten(1, 2))


@torch.no_grad()
def search_late(
    model: SARNN,
    data: Sequences,
    points: Array,
    generator: torch.Generator,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Late, float, float]:
    """After `search_attention`: make some points follow what comes late, if anything does.

    :param points: of the first images of the demonstrations, (E, P).
    :returns: these points; what the first images leave, see `late_points.share_left`; and how much
        of it they explain: nan if there are too few episodes, or memory holds too few, to tell.
    """
    exemplars = count_exemplars(data)
    numbers = _drawn(len(points), most_episodes(model, exemplars), generator)
    if len(numbers) < RECIPE.min_episodes_for_late_points:
        return Late(), math.nan, math.nan
    found = moments(data, numbers, points[numbers])
    left = share_left(found)
    if left < RECIPE.min_left_for_late_points:
        return Late(), left, 0.0
    shown = torch.nonzero(data.demonstrations)[:, 0]
    shown = shown[torch.from_numpy(numbers).to(shown.device)]
    late, after = _search_late(model, data, shown, found, exemplars, generator)
    explained = "nothing" if not late.points else f"{left - after:.2f}"
    say(
        f"the first images and where the robot is leave {left:.2f} of how episodes differ; "
        f"of it points that were looked for in later images explain {explained}"
    )
    return late, left, left - after


def _drawn(count: int, most: int, generator: torch.Generator) -> NDArray[np.int64]:
    """Numbers of all episodes, or of `most` of them."""
    if count <= most:
        return np.arange(count)
    drawn = torch.randperm(count, generator=generator, device=generator.device)
    numbers: NDArray[np.int64] = drawn[:most].cpu().numpy()
    return numbers


def _search_late(
    model: SARNN,
    data: Sequences,
    episodes: Tensor,
    found: Sequence[Moment],
    exemplars: int,
    generator: torch.Generator,
) -> tuple[Late, float]:
    """Make the last of each camera's points follow what comes late, where any do; and what is left
    then.

    :param episodes: numbers (E,) of those that the moments are of.
    """
    most = round(MAX_LATE_SHARE * model.k_dim)
    late: list[int] = []
    first = len(found) - 1
    left = share_left(found)
    for camera, branch in enumerate(model.branches):
        sets = [data.scaled_frames(episodes, one.ticks)[camera] for one in found]
        candidates = make_late_candidates(branch, sets, exemplars, generator)
        chosen, left_after, tell = choose_late(candidates.points, found, most)
        if not chosen:
            continue
        chosen = _with_alike(candidates.points, chosen, most)
        _, _, last = _convolutions(branch)
        last.weight[-most:] = candidates.weight[chosen]
        last.bias[-most:] = candidates.bias[chosen]
        end = (camera + 1) * model.k_dim
        late += range(end - most, end)
        left, first = min(left, left_after), min(first, tell)
    return Late(tuple(late), MOMENTS[first - 1] if first else 0.0, MOMENTS[first]), left


def cross_validate(
    candidates: Sequence[Tensor],
    wanted: Array,
    starts: Array,
    count: int,
    exact: Told | None = None,
) -> tuple[float, float]:
    """What the points in the first images explain of how held-out episodes' trajectories differ
    (`explained_share`): each fold by a choice from, and a regression on, the others.

    :param candidates: points (S, E, M, 2) of each camera.
    :param wanted: trajectories (E, N, D).
    :param starts: (E, K), see `explained.Starts`.
    :param exact: of few episodes, by which points are then chosen.
    """
    folds = np.arange(len(wanted)) % FOLDS
    found, bases, truth = [], [], []
    for fold in range(FOLDS):
        out = folds == fold
        known = torch.from_numpy(np.flatnonzero(~out))
        by = wanted[~out].reshape(len(known), -1)
        told = None if exact is None else exact.of(known)
        chosen = [
            one[0][:, choose(one[:, known], by, starts[~out], count, told)] for one in candidates
        ]
        points = torch.cat([one.flatten(1) for one in chosen], 1).double().cpu().numpy()
        predicted, base = ridge_predictions(
            points[~out], wanted[~out], points[out], starts[~out], starts[out]
        )
        found.append(predicted)
        bases.append(base)
        truth.append(wanted[out])
    return explained_share(np.concatenate(found, 1), np.concatenate(bases), np.concatenate(truth))


def _image_sets(
    data: Sequences, episodes: Tensor, config: TrainConfig, generator: torch.Generator
) -> list[list[Tensor]]:
    """Sets of images per camera, (E, 3, H, W): the moments, clean and then with jitter."""
    sets = []
    noise = IMAGE_NOISE * data.image_span
    for distorted in (False, True):
        for tick in early_ticks(data):
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


def early_ticks(data: Sequences) -> list[int]:
    """`EARLY_MOMENTS` in ticks, the first one 0."""
    mean = float(data.lengths[data.demonstrations].double().mean())
    return sorted({round(moment * mean) for moment in EARLY_MOMENTS})


def _draw_trunk(branch: VisionBranch, sets: Sequence[Tensor], generator: torch.Generator) -> None:
    """Other weights of the layers below the searched one: random ones, but scaled and shifted by
    the data, so that over patches of it each unit's input to its nonlinearity has a deviation of 1
    and changes sign somewhere between them (data-dependent initialization, Krähenbühl et al.
    2016). With biases of 0 a filter has the same sign at nearly all patches, as images are
    positive, and nothing is nonlinear."""
    for depth, layer in enumerate(_convolutions(branch)[:2]):
        below = branch.pos_encoder[: 2 * depth]
        clean = below(sets[0])
        parts = [_patches(clean, _differing(clean, DRAWN_PATCHES, generator))]
        for one in map(below, sets):
            parts.append(_patches(one, _uniform(one, DRAWN_PATCHES // len(sets), generator)))
        drawn = torch.cat(parts)
        weight = drawn.new_empty(layer.out_channels, drawn.shape[1])
        weight.uniform_(-1, 1, generator=generator)
        responses = drawn @ weight.T
        deviation = responses.std(0).clamp(min=0.01)  # 0 of images that are all black
        level = drawn.new_empty(layer.out_channels).uniform_(
            *SIGN_CHANGE_SHARES, generator=generator
        )
        ordered = (responses / deviation).sort(0).values
        at = (level * (len(drawn) - 1)).long()
        layer.weight.copy_((weight / deviation[:, None]).reshape(layer.weight.shape))
        layer.bias.copy_(-ordered.gather(0, at[None])[0])


def _convolutions(branch: VisionBranch) -> list[Any]:
    """The three convolutions of the attention."""
    return [layer for layer in branch.pos_encoder if isinstance(layer, nn.Conv2d)]


def _uniform(features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Numbers of `count` random patches of features (E, C, h, w)."""
    episodes, _, height, width = features.shape
    patches = episodes * (height - 2) * (width - 2)
    return torch.randint(patches, (count,), generator=generator, device=generator.device)


def _differing(
    features: Tensor, count: int, generator: torch.Generator, where: Tensor | None = None
) -> Tensor:
    """Numbers of `count` patches of features (E, C, h, w), drawn by how much they differ between
    the episodes. If `where` they do is given, (E, h - 2, w - 2), only there, and half of the
    patches there with the same chance: something may be pale."""
    differs = ((features - features.median(0).values) ** 2).sum(1, keepdim=True)
    differs = functional.avg_pool2d(differs, 3, stride=1)[:, 0]
    if where is not None and where.any():
        differs = differs.clamp(max=differs[where].median()) * where
    return torch.multinomial(differs.flatten() + 1e-12, count, True, generator=generator)


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
