# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Points on what comes late: on a thing that is uncovered, handed over or shown after an episode
has begun. No first image tells where it is.

So at several moments it is asked what is left: how the rest of the trajectories differs beside
what the first images and the robot's state at that moment tell. If that is much, filters are made
of what the images of those moments show, on the layers below that were found for the first ones,
and chosen by what they explain of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sarnn_ros.training.explained import (
    REGRESSION_SAMPLES,
    Array,
    Regressions,
    Starts,
    at_shares,
    first_shares,
    left_out_predictions,
    told_by,
)
from sarnn_ros.training.recipe import RECIPE
from sarnn_ros.training.sequences import Sequences

#: When it is asked, as shares of an episode.
MOMENTS = tuple(tenth / 10 for tenth in range(1, 10))
#: Of what first images tell, as many components as tell this share of it.
COMPONENT_SHARE = 0.98
#: A moment's points tell something if they leave no more than this share.
MAX_UNTOLD = 0.8
#: A point must explain so many times as much as the best one does by chance: of so many orders in
#: which the episodes' images are exchanged, the mean.
MIN_TIMES_CHANCE, ORDERS = 2.0, 4
#: Share of a camera's points that may be late ones.
MAX_LATE_SHARE = 1 / 3


class Late(NamedTuple):
    """Points that follow what comes late.

    :ivar points: their numbers among those of all cameras.
    :ivar untold: share of an episode up to which they tell nothing; `told`: by which they do.
    """

    points: tuple[int, ...] = ()
    untold: float = 1.0
    told: float = 1.0


class Moment(NamedTuple):
    """What is left at one moment of E episodes.

    :ivar ticks: its tick in each, (E,).
    :ivar known: what the first images and the state then tell, (E, K).
    :ivar wanted: the rest of the trajectories, (E, R).
    """

    ticks: Tensor
    known: Array
    wanted: Array

    def regressions(self, points: Array) -> Regressions:
        """:param points: of M candidates at this moment, (M, E, 2)."""
        return Regressions(points[None], self.wanted, self.known)


def moments(data: Sequences, episodes: NDArray[np.int64], first: Array) -> list[Moment]:
    """Of some of the demonstrations.

    :param episodes: their numbers among the demonstrations, (E,).
    :param first: points of their first images, (E, P).
    """
    rows = torch.nonzero(data.demonstrations)[:, 0][torch.from_numpy(episodes)]
    states = data.first_states()[episodes]
    starts = Starts(states)(states)
    whole = data.wanted[episodes]
    predicted, base = left_out_predictions(first, whole, starts)
    # Without the mean of the others, which tells what they sum up to with the one left out.
    told = _components(predicted[0] - base)
    found = []
    for share in MOMENTS:
        at = data.ticks_at(share)[torch.from_numpy(episodes)]
        then = data.joints[rows, at].double().cpu().numpy()
        then = first_shares(then, data.spec, data.weights)
        ahead = np.linspace(share, 1, REGRESSION_SAMPLES)
        rest = np.stack([at_shares(one, ahead) for one in whole])
        known = np.concatenate([Starts(then)(then), told], 1)
        found.append(Moment(at, known, rest.reshape(len(rest), -1)))
    return found


def _components(values: Array) -> Array:
    """Principal ones of values (E, ...), (E, C), each with a deviation of 1."""
    flat = values.reshape(len(values), -1)
    turned, sizes, _ = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    shares = np.cumsum(sizes**2) / max(float((sizes**2).sum()), 1e-9)
    kept = int((shares < COMPONENT_SHARE).sum()) + 1
    most = max(1, len(flat) // RECIPE.episodes_per_chosen_point)
    components: Array = turned[:, : min(kept, most)] * np.sqrt(len(flat))
    return components


def share_left(found: Sequence[Moment]) -> float:
    """Of how the rests of the trajectories differ, what is left of an episode left out."""
    parts = [one.regressions(np.zeros((1, len(one.known), 2))) for one in found]
    return sum(one.left for one in parts) / sum(one.total for one in parts)


def choose_late(
    points: Tensor, found: Sequence[Moment], most: int
) -> tuple[list[int], float, int]:
    """Up to `most` candidates, each the one that explains most of what is left then; what share is
    left after all; and the number of the first moment at which they tell something.

    :param points: of M candidates at each of the moments, (S, E, M, 2).
    """
    moved = points.double().cpu().permute(0, 2, 1, 3).numpy()  # (S, M, E, 2)
    parts = _regressions(found, moved)
    total, before = sum(one.total for one in parts), [one.left for one in parts]
    left = sum(before)
    random = np.random.default_rng(0)
    orders = [random.permutation(moved.shape[2]) for _ in range(ORDERS)]
    chance = left - np.mean(
        [_costs(_regressions(found, moved[:, :, order])).min() for order in orders]
    )
    least = max(RECIPE.min_gain_of_late_point * total, MIN_TIMES_CHANCE * chance)
    chosen: list[int] = []
    while len(chosen) < most:
        costs = _costs(parts)
        costs[chosen] = np.inf
        best = int(np.argmin(costs))
        if left - costs[best] < least:
            break
        left = float(costs[best])
        chosen.append(best)
        for one in parts:
            one.add(best)
    tell = [one.left < MAX_UNTOLD * then for one, then in zip(parts, before, strict=True)]
    return chosen, left / total, tell.index(True) if True in tell else len(tell) - 1


def _regressions(found: Sequence[Moment], points: Array) -> list[Regressions]:
    """At each moment, of points (S, M, E, 2)."""
    return [one.regressions(at) for one, at in zip(found, points, strict=True)]


def _costs(parts: Sequence[Regressions]) -> Array:
    """What each candidate leaves at all moments together, (M,)."""
    costs: Array = np.sum([one.total * one.unexplained()[0] for one in parts], 0)
    return costs


def beside(points: Array, found: Sequence[Moment]) -> tuple[Array, Array]:
    """What is not known of the points (S, E, P) at the moments, and of the trajectories' rests:
    (S * E, P) and (S * E, R)."""
    mine = [at - told_by(one.known, at, one.known)[0] for one, at in zip(found, points)]
    rests = [one.wanted - told_by(one.known, one.wanted, one.known)[0] for one in found]
    return np.concatenate(mine), np.concatenate(rests)
