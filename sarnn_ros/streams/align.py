# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which message belongs to which tick: causal, exact, in int nanoseconds. No messages here.

A tick uses, of each source, the newest message with stamp <= tick that is no older than the
source's `max_age` (DESIGN §3). Ticks are the multiples of the period since the clock's epoch, or
images of the first camera (`Spec.tick`); either way a bag and a live node have the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Stamps = NDArray[np.int64]


def newest_at(stamps: Stamps, ticks: Stamps, max_age_ns: int) -> Stamps:
    """For each tick the newest usable stamp.

    :param stamps: (N,) int64 ns, ascending; of equal ones the last is the newest.
    :param ticks: (T,) int64 ns, in any order.
    :param max_age_ns: an age of exactly this is still usable.
    :return: (T,) int64, indices into `stamps`, -1 where none is usable.
    """
    newest = np.searchsorted(stamps, ticks, side="right") - 1
    if len(stamps) == 0:
        return np.full(len(ticks), -1, dtype=np.int64)
    ages = ticks - stamps[newest]  # where newest is -1 the age is negative or meaningless
    return np.where((newest >= 0) & (ages <= max_age_ns), newest, -1).astype(np.int64)


def newest_for(stamps: Sequence[int], tick_ns: int, max_age_ns: int) -> int:
    """`newest_at` for one tick and a list, where arrays would cost more than the search does. The
    tests hold the two equal."""
    index = bisect_right(stamps, tick_ns) - 1
    return index if index >= 0 and tick_ns - stamps[index] <= max_age_ns else -1


def tick_grid(start_ns: int, end_ns: int, period_ns: int) -> Stamps:
    """The multiples of `period_ns` in [start_ns, end_ns], int64 (T,)."""
    first = -(-start_ns // period_ns)
    last = end_ns // period_ns
    return np.arange(first, last + 1, dtype=np.int64) * period_ns


class ImageTicks:
    """Which images are ticks when `Spec.tick` is "image". To be asked in the order of arrival.

    The first image is one, and then always the image nearest to one period after the last tick: of
    two neighbours the earlier one, if it comes at most half their interval too early. The next
    image is not known yet, so the interval to the one before stands for it. Counting from the
    last tick, and not from a grid, a camera of 29.9 Hz never beats against a policy of 10 or
    30 Hz: the ticks keep to every third, or every, image. A lost image leaves its tick to the next
    image. An image stamped no later than one before it is never a tick, so ticks ascend.
    """

    #: Of the period: no tick is earlier than this. A camera of 1.5 times the rate shall give every
    #: other image (1/3 too early is too much), and one of the same rate may jitter.
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


def with_silences(ticks: Stamps, period_ns: int, max_age_ns: int) -> Stamps:
    """Ticks that are images, and one more wherever none came for so long that the node notices:
    `max_age_ns` after it was due. There it has no image, as the node then has none.

    :param ticks: (T,) int64 ns, ascending.
    """
    limit = period_ns + max_age_ns
    silent = np.flatnonzero(np.diff(ticks) > limit)
    return np.insert(ticks, silent + 1, ticks[silent] + limit)
