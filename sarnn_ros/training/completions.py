# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a demonstration would have been in the scene of a corrected run.

Where a policy went wrong, nothing in its first image says how. But until then it went where it
should, and the person went from there to where the things are. Demonstrations are a mean and a few
principal components. Of a run those weights of the components are found with which both its parts,
each at its own pace, go along the demonstration: a person may have begun it anew. What fits
neither part, as the way from where the policy went wrong, does not count. A run that no weights
fit has no completion.

Of 41 corrected runs of Fetch's push and pick-and-place, ten demonstrations each, 38 have one. It
is off by 1.6 and 2.0 cm (medians; root mean square of the hand), the mean demonstration by 15.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.training.explained import Array, stretch
from sarnn_ros.training.warping import MAX_WARP_SPEED, squares, warp

#: Components: as many as have this share of how demonstrations differ, at most so many, and one
#: per so many demonstrations.
COMPONENT_SHARE, MAX_COMPONENTS, EPISODES_PER_COMPONENT = 0.9995, 6, 2
#: What is further off than this share of the joints' ranges (root mean square) counts as if it
#: were just that far: in the first round, and in the last.
FIRST_OFF, MAX_OFF = 0.6, 0.1
#: A completion counts if the person's part is no further off than this share, root mean square,
#: so that most of it goes along. Of the 41 runs 38 have one then, the worst is 4 cm off.
MAX_MISS = 0.06
#: Of the regression, in units of a component's variance.
RIDGE = 0.004
#: Fits begin with the mean demonstration and those of so many; each has so many rounds.
STARTS, ROUNDS = 12, 15


class Run(NamedTuple):
    """Targets of a run, as shares of the joints' ranges: what the policy did until a person took
    over, (P, D), and all after that, (L, D)."""

    policy: NDArray[np.floating]
    person: NDArray[np.floating]


def complete(
    shown: Array, runs: Sequence[Run], ticks: float, entries: float
) -> list[Array | None]:
    """What a demonstration would have been in the scene of each run.

    :param shown: trajectories of E demonstrations, (E, N, D), as shares of the joints' ranges.
    :param ticks: how long they are on average.
    :param entries: how many of the D count: one that counts half, as much as its square.
    :returns: of each run a trajectory (N, D), or None where none fits.
    """
    count, samples = shown.shape[:2]
    mean = shown.mean(0)
    turned, sizes, directions = np.linalg.svd(
        (shown - mean).reshape(count, -1), full_matrices=False
    )
    shares = np.cumsum(sizes**2) / max(float((sizes**2).sum()), 1e-12)
    many = 1 + int(np.searchsorted(shares, COMPONENT_SHARE))
    many = min(many, MAX_COMPONENTS, count // EPISODES_PER_COMPONENT)
    scale = sizes[:many] / np.sqrt(count)
    along = (directions[:many].T * scale).reshape(samples, -1, many)
    starts = np.vstack([np.zeros(many), turned[:STARTS, :many] * np.sqrt(count)])
    pace = samples / ticks
    return [
        _complete(mean, along, starts, entries, *(_resample(part, pace) for part in run))
        for run in runs
    ]


def _resample(values: NDArray[np.floating], pace: float) -> Array:
    """With as many ticks per sample as the demonstrations'; of nothing, nothing."""
    count = min(len(values), max(2, round(len(values) * pace)))
    return stretch(values, count) if count else np.asarray(values, np.float64)


def _complete(
    mean: Array, along: Array, starts: Array, entries: float, policy: Array, person: Array
) -> Array | None:
    if not len(person):
        return None
    weights = starts
    both = np.concatenate([policy, person])
    for far in np.geomspace(FIRST_OFF, MAX_OFF, ROUNDS):
        most = far**2 * entries
        whole = mean + np.einsum("ndc,bc->bnd", along, weights)
        found = [_align(policy, whole, most, True), _align(person, whole, most, False)]
        at = np.concatenate([rows for _, rows in found], 1)  # (B, rows)
        slope = along[at]
        off = both - np.take_along_axis(whole, at[..., None], 1)
        near = ((off**2).sum(-1) < most).astype(np.float64)
        gram = np.einsum("br,brdc,brde->bce", near, slope, slope)
        wanted = np.einsum("br,brdc,brd->bc", near, slope, both - mean[at])
        ridge = RIDGE * np.eye(len(gram[0]))
        weights = np.linalg.solve(gram + ridge, wanted[..., None])[..., 0]
    costs = np.stack([cost for cost, _ in found])
    best = int((costs * [[len(policy)], [len(person)]]).sum(0).argmin())
    if costs[1, best] > MAX_MISS**2 * entries:
        return None
    completed: Array = mean + along @ weights[best]
    return completed


def _align(rows: Array, whole: Array, most: float, begins: bool) -> tuple[Array, NDArray[np.intp]]:
    """Which samples of trajectories (B, N, D) the rows (L, D) are at, (B, L): never back, up to
    `MAX_WARP_SPEED` at once; and the mean squared distance, (B,).

    :param most: a larger squared distance counts as this.
    :param begins: the first row is at the begin, and the last one anywhere; else the last row is
        at the end, and the first one anywhere.
    """
    if not len(rows):
        return np.zeros(len(whole)), np.zeros((len(whole), 0), np.intp)
    square = squares(rows[None], whole).clip(max=most)
    first = MAX_WARP_SPEED + 1 if begins else whole.shape[1]
    cost, at = warp(square, first=first, ends=not begins)
    return cost / len(rows), at
