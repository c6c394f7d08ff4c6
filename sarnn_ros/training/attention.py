# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What attention points tell of a network that looks at what matters. NumPy only.

The robot stands still at the start of an episode: a point that differs there between episodes
looks at what makes them differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Ticks at the start of an episode, in which the robot has hardly moved.
START_TICKS = 5
#: Of fewer episodes a deviation says nothing.
MIN_EPISODES = 3


def start_spread(episodes: Iterable[NDArray[Any]]) -> NDArray[np.float64] | None:
    """How far each point at the start of an episode deviates between episodes (sample standard
    deviation, x and y together), as a share of the image.

    :param episodes: points (T, k, 2) in [0, 1] of each episode's ticks that have a next one.
    :returns: (k,); None of fewer than `MIN_EPISODES` episodes with such a tick.
    """
    starts = [points[:START_TICKS].mean(0, dtype=np.float64) for points in episodes if len(points)]
    if len(starts) < MIN_EPISODES:
        return None
    spread: NDArray[np.float64] = np.linalg.norm(np.std(starts, axis=0, ddof=1), axis=-1)
    return spread
