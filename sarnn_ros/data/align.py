# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which message belongs to which tick: causal, exact, in int nanoseconds. No messages here.

A tick uses, of each source, the newest message with stamp <= tick that is no older than the
source's `max_age` (DESIGN §3). Ticks are the multiples of the period since the clock's epoch, so
that a bag and a live node number them alike.
"""

from __future__ import annotations

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


def tick_grid(start_ns: int, end_ns: int, period_ns: int) -> Stamps:
    """The multiples of `period_ns` in [start_ns, end_ns], int64 (T,)."""
    first = -(-start_ns // period_ns)
    last = end_ns // period_ns
    return np.arange(first, last + 1, dtype=np.int64) * period_ns
