# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which points tell the motion, where first images let expect them, and how well they tell it, by
few demonstrations.

With ten demonstrations a regression of the motion on the 48 numbers of 24 points fits anything.
The other way round it is determined: a point follows one thing, and where that is the robot is at
some moment. So each point is regressed on where the robot is then, a few numbers, and what all
points together say of the motion follows (classical calibration).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sarnn_ros.policy.directory import ANYWHERE_DEVIATION, Places
from sarnn_ros.policy.expectation import Expectation
from sarnn_ros.training.expected_places import MAX_MISS, Told
from sarnn_ros.training.explained import Array

#: Ridge, as a share of a number's variance, and the miss in shares of the image that counts for
#: half in the robust regressions, of so many rounds.
RIDGE, MISS_SCALE, ROUNDS = 0.01, 0.05, 15
#: What an episode's own place counts for in what is fitted to it, at most.
MAX_OWN = 0.9
#: Directions in which the robot's place at a moment deviates less, as a share of the largest, tell
#: nothing of where a thing is.
MIN_DIRECTION = 0.05
#: A point is on a thing if it is where that lets expect it in this share of the demonstrations.
FOUND_SHARE = 0.8
#: Smallest deviation of a point, as a share of the image.
MIN_DEVIATION = 0.015
#: A point is regressed on the whole motion, which are more numbers, if it is better by so much.
BETTER = 1.3
#: A point has missed if it is so many deviations from where it is expected.
MISSED_DEVIATIONS = 4.0
#: By how much nine demonstrations understate how badly points may fit: Student's t of eight
#: degrees of freedom for the normal distribution, at `expectation.MAX_COST_DEVIATIONS`.
COST_SPREAD = 1.6
#: A motion is told if its trajectory is off by less than this share of how much one usually
#: deviates: the median, which one odd demonstration does not change.
NEAR = 0.4


class Lines(NamedTuple):
    """Where K points are to be expected, in shares of the image, by E episodes.

    :ivar mean: if all numbers are 0, (K, 2).
    :ivar slope: how far from there per unit of the motions and the starts, (C + S, 2, K).
    :ivar deviation: of those that are on their things, (K,).
    :ivar off: by how much each is off from where the other episodes let expect it, (E, K).
    """

    mean: Array
    slope: Array
    deviation: Array
    off: Array


def choose_few(points: Tensor, told: Told, count: int) -> list[int]:
    """`count` of M candidates that together tell the motion most exactly: each adds most to the
    determinant of its information (D-optimal design, Wald 1943).

    :param points: on S sets of images, the first of them clean, (S, E, M, 2), shares of the image.
    """
    where = _numbers(points)
    lines = fit_lines(where[0], told)
    trembles = ((where - where[0]) ** 2).sum(3).mean((0, 1)) / 2
    exact = lines.slope[: told.motions.shape[1]] / np.sqrt(lines.deviation**2 + trembles)
    exact = np.moveaxis(exact, 2, 0)  # (M, C, 2)
    adds = exact @ exact.swapaxes(1, 2)
    chosen: list[int] = []
    known = np.eye(adds.shape[1])
    for _ in range(min(count, len(adds))):
        gains = np.linalg.slogdet(known + adds)[1]
        gains[chosen] = -np.inf
        chosen.append(int(gains.argmax()))
        known = known + adds[chosen[-1]]
    return chosen


def fit_few_places(
    points: Tensor, told: Told, cells: Tensor, anywhere: Sequence[int] = ()
) -> Places:
    """As `expected_places.fit_places`, by few demonstrations.

    :param points: (E, K, 2), shares of the image.
    :param cells: as there.
    """
    episodes = torch.arange(len(points), device=points.device)
    ways = _numbers(told.ways)
    costs, off, size = [], np.zeros(len(points)), np.zeros(len(points))
    for one in episodes.tolist():
        others = episodes != one
        places = _fit(points[others], told.of(others), cells, anywhere)
        found = Expectation(places, _numbers(points[one]))
        costs.append(found.cost)
        right = _numbers(told.motions[one])
        off[one] = np.linalg.norm(np.tensordot(found.z[: len(right)] - right, ways, 1))
        size[one] = np.linalg.norm(np.tensordot(right, ways, 1))
    median, high = np.quantile(costs, (0.5, 0.95)).tolist()
    high = median + COST_SPREAD * (high - median)
    share = float((off < NEAR * np.median(size)).mean())
    return _fit(points, told, cells, anywhere).model_copy(
        update={"cost": (median, high), "told": share}
    )


def _fit(points: Tensor, told: Told, cells: Tensor, anywhere: Sequence[int]) -> Places:
    """As `fit_few_places`, but for what other demonstrations tell of it."""
    where = _numbers(points)
    mean, slope, deviation, off = fit_lines(where, told)
    cell = np.sqrt((_numbers(cells) ** -2.0).mean(1))  # its side as a share of the image
    astray = off > np.maximum(MISSED_DEVIATIONS * deviation, MAX_MISS * cell)
    missed = (astray.sum(0) + 1) / (len(astray) + 2)
    free = list(anywhere)
    slope[..., free], astray[:, free] = 0, False
    deviation[free], missed[free] = ANYWHERE_DEVIATION, 0.99
    at: Any = [where[astray[:, point], point].tolist() for point in range(len(missed))]
    return Places(
        mean=mean.T.tolist(),
        slope=slope.tolist(),
        depth=np.zeros_like(slope[:, 0]).tolist(),
        deviation=(deviation.tolist(),) * 2,
        missed=missed.tolist(),
        missed_at=at,
        cost=(0.0, 0.0),
        told=1.0,
        usual_gain=(0.0,),
        other_fits=False,
    )


def fit_lines(where: Array, told: Told) -> Lines:
    """The best regression of each of K points, on where the robot is at some moment or on the
    whole motion.

    :param where: the points, (E, K, 2), shares of the image.
    """
    motions, starts, ways = (_numbers(part) for part in told)
    turns = [(BETTER, np.eye(motions.shape[1]))]
    for way in ways.swapaxes(0, 1)[1:]:  # where the robot is at this moment, per motion
        _, sizes, directions = np.linalg.svd(motions @ way, full_matrices=False)
        kept = sizes > max(MIN_DIRECTION * sizes[0], 1e-6)
        turns.append((1.0, way @ directions[kept].T * np.sqrt(len(motions)) / sizes[kept]))
    count, known = len(where), motions.shape[1]
    best = np.full(where.shape[1], np.inf)
    mean, deviation, off = np.zeros_like(where[0]), best.copy(), np.zeros_like(where[..., 0])
    slope = np.zeros((known + starts.shape[1], 2, len(best)))
    for factor, turn in turns:
        found, misses = _robust_ridge(np.concatenate([motions @ turn, starts], 1), where)
        nearest = np.sort(misses**2, 0)[: int(np.ceil(FOUND_SHARE * count))]
        one = np.sqrt(nearest.mean(0) / 2)
        better = factor * one < best
        best[better], deviation[better] = factor * one[better], one[better]
        mean[better], off[:, better] = found[0].T[better], misses[:, better]
        slope[:known, :, better] = np.tensordot(turn, found[1 : 1 + turn.shape[1]], 1)[..., better]
        slope[known:, :, better] = found[1 + turn.shape[1] :][..., better]
    return Lines(mean, slope, np.maximum(deviation, MIN_DEVIATION), off)


def _robust_ridge(inputs: Array, where: Array) -> tuple[Array, Array]:
    """The regressions (1 + F, 2, K) of K points (E, K, 2) on numbers (E, F), with the weights of
    Cauchy's distribution (Holland and Welsch 1977); and by how much each is off that its own is
    not fitted to, (E, K)."""
    count = len(inputs)
    rows = np.concatenate([np.ones((count, 1)), inputs], 1)
    ridge = RIDGE * count * np.diag([0.0] + [1.0] * inputs.shape[1])
    points = np.ascontiguousarray(where.swapaxes(0, 1))  # (K, E, 2)
    weight = np.ones(points.shape[:2])
    for _ in range(ROUNDS):
        weighted = weight[..., None] * rows  # (K, E, 1 + F)
        inverse = np.linalg.inv(weighted.swapaxes(1, 2) @ rows + ridge)
        found = inverse @ (weighted.swapaxes(1, 2) @ points)  # (K, 1 + F, 2)
        own = (weighted @ inverse * rows).sum(2)
        apart = np.linalg.norm(points - rows @ found, axis=2)
        off = apart / (1 - own.clip(max=MAX_OWN))
        weight = 1 / (1 + (off / MISS_SCALE) ** 2)
    return found.transpose(1, 2, 0), off.T


def _numbers(values: Tensor) -> Array:
    numbers: Array = values.double().cpu().numpy()
    return numbers
