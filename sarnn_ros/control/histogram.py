# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Durations counted in fixed buckets, for as long as a node runs: the tail that a window of the
last ticks forgets. Standard library only.
"""

from __future__ import annotations

from bisect import bisect_left

#: Upper ends of the buckets, s: two per octave, 16 us to 1.5 s. What is longer counts as infinite.
BOUNDS = (*(16e-6 * 2 ** (step / 2) for step in range(34)), float("inf"))


class Histogram:
    """Counts by bucket. One thread adds, another may read."""

    def __init__(self) -> None:
        self._counts = [0] * len(BOUNDS)

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1

    def at_most(self, share: float) -> float:
        """What that share of the durations did not exceed, s: the upper end of its bucket. NaN if
        there are none."""
        remaining = share * sum(self._counts)
        for bound, count in zip(BOUNDS, self._counts):
            remaining -= count
            if count and remaining <= 0:
                return bound
        return float("nan")
