# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which message belongs to which tick: causal, exact, in int nanoseconds. No messages here.

A tick uses, of each source, the newest message with stamp <= tick that is no older than the
source's `max_age`. Ticks are the multiples of the period since the clock's epoch, or images of the
first camera (`Spec.tick`); either way a bag and a live node have the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Stamps = NDArray[np.int64]


def newest(stamps: Sequence[int], tick_ns: int, max_age_ns: int) -> int:
    """The index of the newest usable stamp, -1 if there is none.

    :param stamps: ns, ascending; of equal ones the last is the newest.
    :param max_age_ns: an age of exactly this is still usable.
    """
    index = bisect_right(stamps, tick_ns) - 1
    return index if index >= 0 and tick_ns - stamps[index] <= max_age_ns else -1


def grid_tick(now_ns: int, period_ns: int) -> int:
    """The last tick of the grid at or before this moment, ns."""
    return now_ns // period_ns * period_ns


def tick_grid(start_ns: int, end_ns: int, period_ns: int) -> Stamps:
    """The multiples of `period_ns` in [start_ns, end_ns], int64 (T,)."""
    first = grid_tick(start_ns + period_ns - 1, period_ns)
    return np.arange(first, end_ns + 1, period_ns, dtype=np.int64)


class ImageTicks:
    """Which images are ticks when `Spec.tick` is "image". Call `take` in the order of arrival.

    The first image is one, and then always the image nearest to one period after the last tick: of
    two neighbours the earlier one, if it comes at most half their interval too early. The next
    image is not known yet, so the interval to the one before stands for it. Counting from the
    last tick, and not from a grid, a camera of 29.9 Hz never beats against a policy of 10 or
    30 Hz: the ticks keep to every third, or every, image. A lost image leaves its tick to the next
    image. An image stamped no later than one before it is never a tick, so ticks ascend.
    """

    #: Of the period: no tick is earlier than this. A camera of 1.5 times the rate should give
    #: every other image (1/3 too early is too much), and one of the same rate may jitter.
    EARLIEST = 0.3

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._earliest_ns = round(self.EARLIEST * period_ns)
        self._tick: int | None = None
        self._newest = 0  # of all images

    def take(self, stamp_ns: int) -> bool:
        """Whether this image is a tick, whose time is then its stamp, ns."""
        if self._tick is None:
            self._tick = self._newest = stamp_ns
            return True
        early = min((stamp_ns - self._newest) // 2, self._earliest_ns)
        self._newest = max(self._newest, stamp_ns)
        if stamp_ns < self._tick + self._period_ns - early:
            return False
        self._tick = stamp_ns
        return True


def silence_ns(period_ns: int, max_age_ns: int) -> int:
    """Where images are ticks: a tick this long after the last one has no image to use, ns."""
    return period_ns + max_age_ns


def with_silences(ticks: Stamps, limit_ns: int) -> Stamps:
    """Ticks that are images, and one more without an image wherever the next one came later than
    `silence_ns`: the node has such a tick, too.

    :param ticks: (T,) int64 ns, ascending.
    """
    silent = np.flatnonzero(np.diff(ticks) > limit_ns)
    return np.insert(ticks, silent + 1, ticks[silent] + limit_ns)
