# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Durations counted in fixed buckets, for as long as a node runs: the tail that a window of the
last ticks forgets. As text it goes into one diagnostic value. Standard library only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

#: Upper ends of the buckets, s: two per octave, 16 us to 1.5 s. What is longer counts as infinite.
BOUNDS = (*(16e-6 * 2 ** (step / 2) for step in range(34)), float("inf"))


class Histogram:
    """Counts by bucket. One thread adds, another may read."""

    def __init__(self) -> None:
        self._counts = [0] * len(BOUNDS)

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1

    def __str__(self) -> str:
        """`0.5:12 0.71:3`: upper end in ms and count, of the buckets that are not empty."""
        return " ".join(
            f"{bound * 1e3:.3g}:{count}" for bound, count in zip(BOUNDS, self._counts) if count
        )


def parse(text: str) -> dict[float, int]:
    """Counts by upper end in ms, ascending, from the text of a `Histogram`.

    :raises ValueError: for another text.
    """
    pairs = (entry.split(":") for entry in text.split())
    return {float(bound): int(count) for bound, count in pairs}


def at_most(counts: Mapping[float, int], share: float) -> float:
    """What that share of the durations did not exceed, ms: the upper end of its bucket."""
    left = share * sum(counts.values())
    for bound, count in counts.items():
        left -= count
        if left <= 0:
            return bound
    return float("nan")
