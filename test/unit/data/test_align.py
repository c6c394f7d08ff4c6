# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Alignment against an oracle that looks at every message for every tick."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sarnn_ros.data.align import newest_at, tick_grid

BASE = 1_700_000_000_000_000_000


def oracle(stamps: list[int], tick: int, max_age: int) -> int:
    """The rule in words: the newest stamp that is not after the tick, if it is not too old."""
    best = -1
    for index, stamp in enumerate(stamps):
        if stamp <= tick and (best < 0 or stamp >= stamps[best]):
            best = index
    return best if best >= 0 and tick - stamps[best] <= max_age else -1


near = st.integers(-60, 60) | st.integers(-(10**9), 10**9)


@settings(max_examples=400)
@given(
    st.lists(near, max_size=40).map(sorted),
    st.lists(near, max_size=40),
    st.integers(0, 50) | st.integers(0, 10**9),
)
def test_newest_at_is_the_rule(stamps: list[int], ticks: list[int], max_age: int):
    got = newest_at(np.array(stamps, np.int64) + BASE, np.array(ticks, np.int64) + BASE, max_age)
    assert got.dtype == np.int64
    assert got.tolist() == [oracle(stamps, tick, max_age) for tick in ticks]


@settings(max_examples=200)
@given(near, st.integers(-5, 300), st.integers(1, 97))
def test_tick_grid_is_every_multiple(start: int, length: int, period: int):
    got = tick_grid(start, start + length, period)
    assert got.tolist() == [t for t in range(start, start + length + 1) if t % period == 0]


@pytest.mark.parametrize(("age", "found"), [(0, 0), (99, 0), (100, 0), (101, -1)])
def test_an_age_of_exactly_max_age_is_usable(age: int, found: int):
    assert newest_at(np.array([1000]), np.array([1000 + age]), 100).tolist() == [found]


def test_a_stamp_on_the_tick_is_used_and_one_after_is_not():
    assert newest_at(np.array([10, 20, 21]), np.array([9, 10, 20]), 100).tolist() == [-1, 0, 1]


def test_nanoseconds_survive_at_the_epoch_of_today():
    """float64 would merge stamps less than 256 ns apart."""
    stamps = BASE + np.arange(4, dtype=np.int64)
    assert newest_at(stamps, stamps, 10).tolist() == [0, 1, 2, 3]


def test_node_and_bag_share_the_grid():
    period = 33_333_333
    now = BASE + 12_345
    label = now // period * period
    assert label in tick_grid(BASE - 10**9, BASE + 10**9, period)
