# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""When demonstrations are at the same moment of the task, though each has a pace of its own.

No person moves twice at one speed, and each waits now and then. At one share of their time two
demonstrations are at two moments, so how they differ there tells little of where the things are,
and halfway between them lies no motion at all. No image tells the pace. So each is brought to
the moments of the motion that its first image tells, by a regression on the others (dynamic time
warping, Sakoe and Chiba 1978), and what then differs is what is to be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.training.explained import (
    Array,
    at_shares,
    ridge_predictions,
    stretch,
)
from sarnn_ros.training.warping import go_along

#: Samples of the trajectories that are compared; rounds of the regression and the alignment by it.
SAMPLES, ROUNDS = 64, 4
#: Episodes are told by all others, or, if there are more, by those of all other parts, so many.
PARTS = 50
#: What it costs to be a sample earlier or later than the sample before was, squared shares of the
#: joints' ranges.
HURRY = 0.002
#: Samples on either side of which the mean time is taken.
SMOOTH = 2
#: Paces differ if alignment leaves less than this share of what was unexplained before. It is 0.08
#: and 0.14 of Fetch's pick-and-place and push by hand (`benchmark/tasks/by_hand.py`), 0.29 of
#: Meta-World's pick-place, whose expert looks, and 0.53 to 1.4 of seven others of scripts and
#: experts. Of gym-aloha's transfer by hand it is 0.61: there joints that hardly move differ most.
MAX_LEFT_SHARE = 0.5
#: And if so much was unexplained before. On a straight way alignment halves what is left of one
#: pace, too: by how far off the points are. That is 0.02 and 0.06 if they are off by 6 and 10 % of
#: the image; paces that differ by a fifth leave 0.1 to 0.17.
MIN_UNEXPLAINED = 0.08


def compare_paces(
    trajectories: Sequence[NDArray[Any]], points: Array, starts: Array
) -> Array | None:
    """`moments_alike` at `SAMPLES` samples if paces differ; else None.

    :param trajectories: E times (T, D), as shares of the joints' ranges; else as there.
    """
    wanted = np.stack([stretch(one, SAMPLES) for one in trajectories])
    at = moments_alike(wanted, points, starts)
    before, after = (
        left_unexplained(points, one, starts) for one in (wanted, aligned_at(wanted, at))
    )
    return at if before > MIN_UNEXPLAINED and after < MAX_LEFT_SHARE * before else None


def moments_alike(wanted: Array, points: Array, starts: Array) -> Array:
    """At which share of its time each of E demonstrations is where the mean one is at sample n,
    (E, N): from 0 to 1, never back.

    :param wanted: trajectories (E, N, D), as shares of the joints' ranges.
    :param points: of the first images, (E, P).
    :param starts: (E, K), see `explained.Starts`.
    """
    aligned = wanted
    for _ in range(ROUNDS):
        _, along = go_along(_expected(points, aligned, starts), wanted, HURRY)
        at = _centred(_smooth(along)) / (wanted.shape[1] - 1)
        aligned = aligned_at(wanted, at)
    return at


def aligned_at(trajectories: Iterable[NDArray[Any]], shares: Iterable[Array]) -> Array:
    """E trajectories (T, D), each after its shares of its time (N,): (E, N, D)."""
    pairs = zip(trajectories, shares, strict=True)
    return np.stack([at_shares(*pair) for pair in pairs])


def left_unexplained(points: Array, wanted: Array, starts: Array) -> float:
    """Which share of how trajectories differ the points of the others do not tell; arguments as of
    `moments_alike`."""
    expected = _expected(points, wanted, starts)
    differs = float(((wanted - wanted.mean(0)) ** 2).sum())
    return float(((expected - wanted) ** 2).sum()) / max(differs, 1e-9)


def _expected(points: Array, wanted: Array, starts: Array) -> Array:
    """What the points of the others tell of each trajectory, (E, N, D)."""
    found = np.empty_like(wanted)
    parts = np.arange(len(wanted)) % PARTS
    for part in range(min(PARTS, len(wanted))):
        out = parts == part
        found[out] = ridge_predictions(
            points[~out], wanted[~out], points[out], starts[~out], starts[out], permutations=0
        )[0][0]
    return found


def _smooth(at: NDArray[np.int64]) -> Array:
    """Running means, which begin and end where `at` does."""
    first, last = at[:, :1], at[:, -1:]
    around = [2 * first - at[:, SMOOTH:0:-1], at, 2 * last - at[:, -2 : -2 - SMOOTH : -1]]
    sums = np.cumsum(np.pad(np.concatenate(around, 1), ((0, 0), (1, 0))), 1)
    mean: Array = (sums[:, 2 * SMOOTH + 1 :] - sums[:, : -2 * SMOOTH - 1]) / (2 * SMOOTH + 1)
    return np.maximum.accumulate(np.clip(mean, 0, at.shape[1] - 1), 1)


def _centred(at: Array) -> Array:
    """The same moments, told by the mean demonstration's time."""
    samples = np.arange(at.shape[1])
    mean = np.interp(samples, at.mean(0), samples)
    return np.stack([np.interp(mean, samples, one) for one in at])
