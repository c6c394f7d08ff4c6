# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""When demonstrations are at the same moment of the task, though each has a pace of its own.

A person is never twice as fast, and waits now and then. At one share of their time two
demonstrations are at two moments, so how they differ there tells little of where the things are,
and halfway between them lies no motion at all. No image tells the pace. So each is brought to
the moments of the motion that its first image tells, by a regression on the others (dynamic time
warping, Sakoe and Chiba 1978), and what then differs is what is to be seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.training.explained import MAX_WARP_SPEED, Array, left_out_predictions

#: Rounds of the regression and the alignment by it.
ROUNDS = 4
#: What it costs to be a sample earlier or later than the sample before was, squared shares of the
#: joints' ranges.
HURRY = 0.005
#: Samples on either side of which the mean time is taken.
SMOOTH = 2
#: Paces differ if alignment leaves less than this share of what it left unexplained before. It is
#: 0.13 of pick-and-place by hand, 0.9 to 1.05 of scripts.
MAX_LEFT_SHARE = 0.6


def moments_alike(wanted: Array, points: Array, starts: Array) -> Array:
    """At which sample of each of E demonstrations the task is where it is in the mean one at
    sample n, (E, N): from 0 to N - 1, never back.

    :param wanted: trajectories (E, N, D), as shares of the joints' ranges.
    :param points: of the first images, (E, P).
    :param starts: (E, K), see `explained.Starts`.
    """
    aligned = wanted
    for _ in range(ROUNDS):
        expected = left_out_predictions(points, aligned, starts)[0][0]
        at = _centred(_smooth(_along(expected, wanted)))
        aligned = sampled(wanted, at)
    return at


def left_unexplained(points: Array, wanted: Array, starts: Array) -> float:
    """Which share of how trajectories differ the points of the others do not tell; arguments as of
    `moments_alike`."""
    expected = left_out_predictions(points, wanted, starts)[0][0]
    differs = float(((wanted - wanted.mean(0)) ** 2).sum())
    return float(((expected - wanted) ** 2).sum()) / max(differs, 1e-9)


def sampled(values: Array, at: Array) -> Array:
    """Values (E, N, D) at these samples, (E, M, D) at (E, M), linearly interpolated."""
    before = np.minimum(at.astype(int), values.shape[1] - 2)[..., None]
    early = np.take_along_axis(values, before, 1)
    late = np.take_along_axis(values, before + 1, 1)
    mixed: Array = early + (at[..., None] - before) * (late - early)
    return mixed


def _along(expected: Array, wanted: Array) -> NDArray[np.int64]:
    """Which samples of the trajectories `wanted` (E, N, D) go along the `expected` ones, (E, N):
    from the first to the last, never back, up to `MAX_WARP_SPEED` at once."""
    count, samples = wanted.shape[:2]
    square = ((expected[:, :, None] - wanted[:, None]) ** 2).sum(-1)
    total = np.full((count, samples), np.inf)
    total[:, 0] = square[:, 0, 0]
    came = np.zeros((samples, count, samples), np.int64)
    for now in range(1, samples):
        least = np.full_like(total, np.inf)
        for step in range(MAX_WARP_SPEED + 1):
            there = np.full_like(total, np.inf)
            there[:, step:] = total[:, : samples - step] + HURRY * (step - 1) ** 2
            came[now] = np.where(there < least, step, came[now])
            least = np.minimum(least, there)
        total = least + square[:, now]
    at = np.full((count, samples), samples - 1)
    for now in range(samples - 1, 0, -1):
        at[:, now - 1] = at[:, now] - np.take_along_axis(came[now], at[:, now, None], 1)[:, 0]
    return at


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
