# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What drives an arm in a trial: a policy, or a control to compare it with."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.streams.observe import Observation


class Prediction(Protocol):
    """What a driver says at a tick: the next action, (D,) in the spec's order, rad or m."""

    @property
    def action(self) -> NDArray[np.float64]: ...


class Driver(Protocol):
    """What is tried: `sarnn_ros.policy.runtime.Policy`, or a control."""

    def reset(self) -> None: ...

    def step(self, observation: Observation) -> Prediction: ...


class Replay:
    """A control that ignores its observations: the same actions in every trial, then the last one.

    :param actions: (T, D) in the spec's order.
    """

    def __init__(self, actions: NDArray[np.float64]) -> None:
        self._actions = actions
        self.reset()

    def reset(self) -> None:
        self._tick = -1

    def step(self, observation: Observation) -> Replay:
        self._tick = min(self._tick + 1, len(self._actions) - 1)
        return self

    @property
    def action(self) -> NDArray[np.float64]:
        return self._actions[self._tick]
