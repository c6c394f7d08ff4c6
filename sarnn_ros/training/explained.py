# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much of what differs between demonstrations is explained. NumPy only.

1: all of it. 0: no more than replaying the mean demonstration explains; a policy that does not see
the object does no better. Less than 0: worse than that. A small mean squared error proves nothing,
since most of a motion is the same in every demonstration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Samples of a demonstration when its time runs from 0 to 1.
SAMPLES = 100


def stretch(values: NDArray[Any], length: int) -> NDArray[np.float64]:
    """A trajectory (T, D) with its time stretched to `length` ticks, linearly interpolated."""
    at, ticks = np.linspace(0, len(values) - 1, length), np.arange(len(values))
    return np.stack([np.interp(at, ticks, column) for column in np.asarray(values).T], 1)


def mean_demonstration(demonstrations: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """The mean of trajectories (T, D) of any length, (SAMPLES, D)."""
    mean: NDArray[np.float64] = np.mean([stretch(one, SAMPLES) for one in demonstrations], axis=0)
    return mean


def explained_variance(
    predicted: Sequence[NDArray[Any]], targets: Sequence[NDArray[Any]], mean: NDArray[np.float64]
) -> float | None:
    """1 - (squared error of the predictions) / (squared error of the mean demonstration).

    :param predicted, targets: (T, D) per episode, normalised, so that every joint counts alike.
    :param mean: of the training episodes, see `mean_demonstration`.
    :returns: None where the targets do not differ from the mean demonstration.
    """
    error = sum(((one - truth) ** 2).sum() for one, truth in zip(predicted, targets, strict=True))
    differs = sum(((stretch(mean, len(truth)) - truth) ** 2).sum() for truth in targets)
    return float(1 - error / differs) if differs > 1e-9 else None
