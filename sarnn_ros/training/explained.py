# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much of what differs between demonstrations is explained. Without torch.

1 is all of it. 0 is as much as replaying the mean demonstration explains: a policy that does not
see the object does no better. Less than 0 is worse than that. A small mean squared error proves
nothing, since most of a motion is the same in every demonstration.

Two things are measured: what the attention points of the first images explain (by ridge
regression), and what the whole policy explains when it runs on its own predictions. Pace does not
count: it differs more between a person's demonstrations than the places of things, and no image
tells it. So the times of a prediction and of the mean demonstration are warped to fit best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.differences import MIN_JOINT_RANGE, MIN_START_DEVIATION
from sarnn_ros.spec import Spec
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.training.recipe import RECIPE
from sarnn_ros.training.warping import go_along

#: Samples of a demonstration when its time runs from 0 to 1.
TRAJECTORY_SAMPLES = 100
#: The same where a regression predicts each of them.
REGRESSION_SAMPLES = 32
#: Ridge of the regressions by which points are chosen, as a share of a standardised point's
#: variance; and of those that figures are told of: with few episodes many points fit anything.
CHOICE_RIDGE, FIGURE_RIDGE = 0.01, 0.1
#: Points that deviate less, as a share of the image, count as if they deviated so much.
MIN_DEVIATION = 0.02
#: Times that trajectories are exchanged between episodes: a single exchange may fit by chance.
PERMUTATIONS = 20
#: Trajectories whose squared differences sum up to less do not differ, and nothing explains them.
MIN_SQUARED_DIFFERENCE = 1e-9

Array = NDArray[np.float64]


def stretch(values: NDArray[Any], length: int) -> NDArray[np.float64]:
    """A trajectory (T, D) with its time stretched to `length` ticks, linearly interpolated."""
    return _at(values, np.linspace(0, len(values) - 1, length))


def at_shares(values: NDArray[Any], shares: NDArray[np.floating]) -> NDArray[np.float64]:
    """A trajectory (T, D) after these shares of its time (N,), linearly interpolated: (N, D)."""
    return _at(values, shares * (len(values) - 1))


def _at(values: NDArray[Any], ticks: NDArray[np.floating]) -> NDArray[np.float64]:
    known = np.arange(len(values))
    return np.stack([np.interp(ticks, known, column) for column in np.asarray(values).T], 1)


def motion_weights(normaliser: JointNormaliser, spec: Spec) -> Array:
    """What each entry of normalised joints counts where motions are compared, (D,): a joint that
    moves less than `MIN_JOINT_RANGE` as much less, as it may be noise, and what does not say where
    the robot is, such as a force, nothing, unless there is nothing else."""
    moved = np.minimum((normaliser.maximum - normaliser.minimum) / MIN_JOINT_RANGE, 1.0)
    weights = np.zeros_like(moved)
    rows = list(spec.place_indices)
    weights[rows] = moved[rows]
    return weights if rows else np.ones_like(moved)


def first_shares(states: NDArray[Any], spec: Spec, weights: Array) -> Array:
    """Where the robot is in these states (E, D), normalised, as shares of the joints' ranges by
    what each counts: (E, K)."""
    low, high = spec.joint_range
    shares: Array = (np.asarray(states, np.float64) - low) / (high - low) * weights
    return shares[:, list(spec.place_indices)]


def unseen_demonstrations(
    demonstrations: Sequence[NDArray[Any]], states: NDArray[Any], others: NDArray[Any]
) -> Array:
    """The trajectories to expect where only the first state is known: the mean of the
    `demonstrations`, and what the first state tells beside it.

    :param demonstrations: E trajectories (T, D), of any length.
    :param states: their first states, (E, D), as shares of the joints' ranges.
    :param others: first states of the episodes in question, (F, D).
    :returns: (F, TRAJECTORY_SAMPLES, D).
    """
    starts = Starts(states)
    return told_by(starts(states), stretched(demonstrations), starts(others))[1]


def explained_variance(
    predicted: Sequence[NDArray[Any]],
    targets: Sequence[NDArray[Any]],
    base: Array,
    weights: Array | float = 1.0,
) -> float | None:
    """1 - (squared error of the predictions) / (squared error of `base`), both at the pace at
    which it is least.

    :param predicted: (T, D) per episode, normalised.
    :param targets: likewise.
    :param base: of the same episodes, see `unseen_demonstrations`.
    :param weights: what each joint counts, see `motion_weights`, (D,).
    :returns: None where the targets do not differ from it.
    """
    found, truth = stretched(predicted) * weights, stretched(targets) * weights
    base = base * weights
    differs = warped_squares(base, truth)
    return 1 - warped_squares(found, truth) / differs if differs > MIN_SQUARED_DIFFERENCE else None


def stretched(ways: Sequence[NDArray[Any]]) -> Array:
    """Trajectories (T, D) of E episodes, stretched to one length: (E, TRAJECTORY_SAMPLES, D)."""
    return np.stack([stretch(one, TRAJECTORY_SAMPLES) for one in ways])


def warped_squares(predicted: Array, truth: Array) -> float:
    """Sum of squared differences of trajectories (E, N, D), each prediction `at_best_pace`."""
    return float(go_along(truth, predicted)[0].sum())


class Starts:
    """Where episodes start, as far as they start differently: the first principal components of
    the first states. The policy measures its state, so what this tells is known without looking.

    :param states: the first ones of E episodes, (E, D), as shares of the joints' ranges.
    :ivar count: of the components, K; 0 where all start alike.
    """

    def __init__(self, states: NDArray[Any]) -> None:
        states = np.asarray(states, np.float64)
        self._middle = states.mean(0)
        _, sizes, directions = np.linalg.svd(states - self._middle, full_matrices=False)
        deviations = sizes / np.sqrt(len(states))
        self.count = min(
            int((deviations > MIN_START_DEVIATION).sum()),
            len(states) // RECIPE.episodes_per_start_direction,
        )
        self._matrix: Array = directions[: self.count].T / deviations[: self.count]

    def __call__(self, states: NDArray[Any]) -> Array:
        """Of first states (F, D) the K components, each with a deviation of 1: (F, K)."""
        components: Array = (np.asarray(states, np.float64) - self._middle) @ self._matrix
        return components


def told_by(starts: Array, values: Array, others: Array) -> tuple[Array, Array]:
    """What the ridge regression of `values` (E, ...) on `starts` (E, K) predicts: of them, (E,
    ...), and of the starts `others`, (F, ...). It is their mean if K is 0."""
    flat = values.reshape(len(values), -1)
    slope = ridge_slope(starts, flat, FIGURE_RIDGE)
    mine, theirs = (
        ((one - starts.mean(0)) @ slope + flat.mean(0)).reshape(-1, *values.shape[1:])
        for one in (starts, others)
    )
    return mine, theirs


def trajectories(targets: Sequence[NDArray[Any]]) -> Array:
    """Trajectories (T, D) of E episodes, stretched to one length: (E, REGRESSION_SAMPLES, D)."""
    return np.stack([stretch(one, REGRESSION_SAMPLES) for one in targets])


class Regressions:
    """What ridge regression on the points chosen so far and one more of M does not explain of an
    episode that was left out: for all M at once, in each of S sets by itself.

    With M = I - Z(ZᵀZ + λI)⁻¹Zᵀ of the chosen Z, the residuals of all episodes are M·Y, and
    those of an episode that is left out are these over the diagonal of M - 1/E. Two more columns B
    take M·B(BᵀM·B + λI)⁻¹BᵀM from M (Woodbury), and M·B is kept for each candidate.

    What the start tells is not to be explained by points: its columns come first.

    :param points: (S, M, E, 2).
    :param wanted: (E, R).
    :param starts: (E, K), see `Starts`.
    :ivar total: sum of squares of what `wanted` differs by from its mean.
    """

    def __init__(self, points: Array, wanted: Array, starts: Array) -> None:
        sets, _, count, _ = points.shape
        inputs = points - points.mean(2, keepdims=True)
        deviation = np.maximum(inputs.std(2, keepdims=True), MIN_DEVIATION)
        self._inputs: Array = inputs / deviation
        self._projected = self._inputs.copy()  # M·B of each candidate
        wanted = wanted - wanted.mean(0)
        # As much in fewer columns: sums of squares stay if the columns are turned.
        turned, sizes, _ = np.linalg.svd(wanted, full_matrices=False)
        self._left = np.repeat((turned * sizes)[None], sets, 0)  # M·Y, (S, E, R)
        self._kept = np.full((sets, count), 1 - 1 / count)
        self._ridge = CHOICE_RIDGE * count * np.eye(2)
        self.total = max(float((wanted**2).sum()), 1e-9)
        starts = starts - starts.mean(0)
        inner = starts.T @ starts + CHOICE_RIDGE * count * np.eye(starts.shape[1])
        gain = starts @ np.linalg.inv(inner)
        self._left = self._left - gain @ (starts.T @ self._left)
        self._kept = self._kept - (gain * starts).sum(-1)
        self._projected = self._projected - gain @ (starts.T @ self._inputs)

    @property
    def left(self) -> float:
        """What the chosen points do not explain, in the first set; of `total`."""
        return float(((self._left[0] ** 2).sum(-1) / self._kept[0] ** 2).sum())

    def unexplained(self) -> Array:
        """Share of `wanted`, (S, M)."""
        gain = self._gain(slice(None))  # (S, M, E, 2)
        # What each candidate takes from the residuals: gain · (BᵀM·Y).
        taken = np.swapaxes(self._inputs, -1, -2) @ self._left[:, None]  # (S, M, 2, R)
        kept = np.maximum(self._kept[:, None] - (gain * self._projected).sum(-1), 0.05)
        # |left - gain·taken|² per episode, without an array of (S, M, E, R).
        squares = (self._left**2).sum(-1)[:, None]
        crossed = (gain * (self._left[:, None] @ np.swapaxes(taken, -1, -2))).sum(-1)
        again = ((gain @ (taken @ np.swapaxes(taken, -1, -2))) * gain).sum(-1)
        share: Array = ((squares - 2 * crossed + again) / kept**2).sum(-1) / self.total
        return share

    def add(self, one: int) -> None:
        """Add the point `one` in each set."""
        gain = self._gain(slice(one, one + 1))
        projected = self._projected[:, one : one + 1].copy()
        across = np.swapaxes(self._inputs[:, one : one + 1], -1, -2)
        self._left = self._left - (gain @ (across @ self._left[:, None]))[:, 0]
        self._kept = self._kept - (gain * projected).sum(-1)[:, 0]
        self._projected = self._projected - gain @ (np.swapaxes(projected, -1, -2) @ self._inputs)

    def _gain(self, which: slice) -> Array:
        """M·B(BᵀM·B + λI)⁻¹, (S, M, E, 2)."""
        projected, inputs = self._projected[:, which], self._inputs[:, which]
        inner = np.swapaxes(inputs, -1, -2) @ projected + self._ridge
        gain: Array = projected @ np.linalg.inv(inner)
        return gain


def ridge_slope(points: Array, wanted: Array, ridge: float) -> Array:
    """Slope (P, R) of the ridge regression of `wanted` (E, R) on `points` (E, P).

    :param ridge: share of a standardised point's variance that is added to it.
    """
    inputs = points - points.mean(0)
    deviation = np.maximum(inputs.std(0), MIN_DEVIATION)
    inputs = inputs / deviation
    gram = inputs.T @ inputs + ridge * len(inputs) * np.eye(len(deviation))
    slope: Array = np.linalg.solve(gram, inputs.T @ (wanted - wanted.mean(0))) / deviation[:, None]
    return slope


def ridge_predictions(
    points: Array,
    wanted: Array,
    others: Array,
    starts: Array,
    their_starts: Array,
    *,
    permutations: int = PERMUTATIONS,
) -> tuple[Array, Array]:
    """What ridge regression fitted to `points` (E, P) and trajectories `wanted` (E, N, D) predicts
    from the points `others` (F, P), beside what the starts tell, (E, K) and (F, K): (1 +
    `permutations`, F, N, D), the first as it is, then with what is left of the trajectories
    exchanged between the episodes; and what the starts alone tell of each, (F, N, D)."""
    rng = np.random.default_rng(0)
    known, base = told_by(starts, wanted, their_starts)
    wanted = wanted - known
    mine, theirs = told_by(starts, points, their_starts)
    points, others = points - mine, others - theirs
    orders = [np.arange(len(wanted)), *(rng.permutation(len(wanted)) for _ in range(permutations))]
    flat = np.concatenate([wanted[order].reshape(len(wanted), -1) for order in orders], 1)
    found = others @ ridge_slope(points, flat, FIGURE_RIDGE)
    found = np.moveaxis(found.reshape(len(others), len(orders), *base.shape[1:]), 1, 0)
    return base + found, base


def explained_share(found: Array, base: Array, truth: Array) -> tuple[float, float]:
    """What `ridge_predictions`, (1 + K, F, N, D), explain of the true trajectories (F, N, D) that
    their starts alone do not, `base`: the first ones, and the others on average. The latter is
    about 0 or less, or the former means nothing. Both are 0 if nothing is left to explain."""
    differs = warped_squares(base, truth)
    if differs <= MIN_SQUARED_DIFFERENCE:
        return 0.0, 0.0
    shares = [1 - warped_squares(one, truth) / differs for one in found]
    return shares[0], float(np.mean(shares[1:]))


def left_out_explained(points: Array, wanted: Array, starts: Array) -> tuple[float, float]:
    """`explained_share` of each of the trajectories `wanted` (E, N, D) by the points (E, P) and
    trajectories of the others."""
    return explained_share(*left_out_predictions(points, wanted, starts), wanted)


def left_out_predictions(points: Array, wanted: Array, starts: Array) -> tuple[Array, Array]:
    """`ridge_predictions` of each episode by all others."""
    parts = []
    for one in range(len(wanted)):
        kept, out = np.arange(len(wanted)) != one, slice(one, one + 1)
        parts.append(
            ridge_predictions(points[kept], wanted[kept], points[out], starts[kept], starts[out])
        )
    found, base = zip(*parts, strict=True)
    return np.concatenate(found, 1), np.concatenate(base)


def new_explained(points: Array, wanted: Array, starts: Array, is_new: NDArray[np.bool_]) -> float:
    """`explained_share` of the new ones of the trajectories `wanted` (E, N, D), by the points
    (E, P) and trajectories of the others.

    :param starts: (E, K), see `Starts`.
    :param is_new: (E,).
    """
    old = ~is_new
    told = ridge_predictions(points[old], wanted[old], points[is_new], starts[old], starts[is_new])
    return explained_share(*told, wanted[is_new])[0]
