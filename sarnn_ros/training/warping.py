# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which moments of two trajectories belong together, whatever the pace of each: dynamic time
warping (Sakoe and Chiba 1978)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: How many samples of the warped trajectory are passed per sample of the other one, at most.
MAX_WARP_SPEED = 3
#: Trajectories that are compared at once: it takes the memory of all pairs of their samples.
AT_ONCE = 32


def warp(
    square: Array, *, hurry: float = 0.0, first: int = 1, ends: bool = True
) -> tuple[Array, NDArray[np.int64]]:
    """The least sum of costs (E,) along a way from row to row, and the sample that each row is at
    on it, (E, N): never back, up to `MAX_WARP_SPEED` samples at once.

    :param square: what it costs E trajectories that row n is at sample m, (E, N, M), N > 0.
    :param hurry: it costs so much more to be at the same sample again, or to leave one out.
    :param first: the first row may be at so many samples.
    :param ends: the last row is at the last sample; else it may be at any. If there is no such
        way, the sum is infinite.
    """
    count, rows, samples = square.shape
    total: Array = np.full((count, samples), np.inf)
    total[:, :first] = square[:, 0, :first]
    came = np.zeros((rows, count, samples), np.int8)
    for row in range(1, rows):
        best = np.full_like(total, np.inf)
        for step in range(MAX_WARP_SPEED + 1):
            there = total[:, : samples - step] + hurry * (step - 1) ** 2
            better = there < best[:, step:]
            np.copyto(best[:, step:], there, where=better)
            np.copyto(came[row, :, step:], step, where=better)
        total = best + square[:, row]
    at = np.full((count, rows), samples - 1)
    if not ends:
        at[:, -1] = total.argmin(1)
    for row in range(rows - 1, 0, -1):
        at[:, row - 1] = at[:, row] - np.take_along_axis(came[row], at[:, row, None], 1)[:, 0]
    return np.take_along_axis(total, at[:, -1:], 1)[:, 0], at


def squares(here: Array, there: Array) -> Array:
    """Squared differences of each sample of trajectories (E, N, D) from each one of others (E, M,
    D): (E, N, M)."""
    found: Array = ((here[:, :, None] - there[:, None]) ** 2).sum(-1)
    return found


def go_along(these: Array, wanted: Array, hurry: float = 0.0) -> tuple[Array, NDArray[np.int64]]:
    """`warp` of the trajectories `wanted` (E, M, D) along these (E, N, D), by squared differences:
    (E,) and (E, N)."""
    parts = [slice(first, first + AT_ONCE) for first in range(0, len(these), AT_ONCE)]
    found = [warp(squares(these[part], wanted[part]), hurry=hurry) for part in parts]
    costs, at = zip(*found, strict=True)
    return np.concatenate(costs), np.concatenate(at)


def at_best_pace(predicted: Array, truth: Array) -> Array:
    """Trajectories (E, N, D) with their time warped so that the squared differences from the
    `truth` (E, N, D) are least in sum: from first sample to last."""
    return np.take_along_axis(predicted, go_along(truth, predicted)[1][..., None], 1)
