# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Controls that every success rate is to be compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmark.tasks.task import Array
from sarnn_ros.streams.observe import Observation
from sarnn_ros.training.explained import stretch

#: Of ridge regressions on standardised features.
RIDGE = 1e-2


class Ridge:
    """Ridge regression of rows y (E, R) on features x (E, P)."""

    def __init__(self, x: Array, y: Array) -> None:
        self._middle, self._spread = x.mean(0), np.maximum(x.std(0), 1e-3)
        self._mean = y.mean(0)
        x = (x - self._middle) / self._spread
        gram = x.T @ x + RIDGE * len(x) * np.eye(x.shape[1])
        self._weights = np.linalg.solve(gram, x.T @ (y - self._mean))

    def __call__(self, x: Array) -> Array:
        predicted: Array = self._mean + (x - self._middle) / self._spread @ self._weights
        return predicted


class Replay:
    """A control that ignores its observations: the same actions in every trial, then the last one.

    :param actions: (T, D) in the spec's order.
    """

    def __init__(self, actions: Array) -> None:
        self._actions = actions
        self.reset()

    def reset(self) -> None:
        self._tick = -1

    def step(self, observation: Observation) -> Replay:
        self._tick = min(self._tick + 1, len(self._actions) - 1)
        return self

    @property
    def action(self) -> Array:
        return self._actions[self._tick]


class LinearPlan(Replay):
    """A control without recurrence: all commands are a linear function of what the first tick
    shows, and are then replayed.

    :param features: of the first tick, (P,): attention points, or true positions.
    :param seen: the features of each demonstration, (E, P).
    :param plans: the commands of each demonstration, (E, T, D), all of one length.
    """

    def __init__(
        self, features: Callable[[Observation], Array], seen: Array, plans: Array
    ) -> None:
        self._features = features
        self._plan = Ridge(seen, plans.reshape(len(plans), -1))
        super().__init__(plans.mean(0))

    def step(self, observation: Observation) -> Replay:
        if self._tick < 0:
            self._actions = self._plan(self._features(observation)).reshape(self._actions.shape)
        return super().step(observation)


def same_length(commands: Sequence[Array]) -> Array:
    """Commands of E demonstrations (T_e, D) at the ticks of their mean length, (E, T, D)."""
    length = round(float(np.mean([len(one) for one in commands])))
    return np.stack([stretch(one, length) for one in commands])
