# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Alignment against an oracle that looks at every message for every tick."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sarnn_ros.streams.align import ImageTicks, grid_tick, newest, tick_grid, with_silences
from sarnn_ros.streams.ingest import Stream

BASE = 1_700_000_000_000_000_000


def oracle(stamps: list[int], tick: int, max_age: int) -> int:
    """The rule in words: the newest stamp that is not after the tick, if it is not too old."""
    best = -1
    for index, stamp in enumerate(stamps):
        if stamp <= tick and (best < 0 or stamp >= stamps[best]):
            best = index
    return best if best >= 0 and tick - stamps[best] <= max_age else -1


near = st.integers(-60, 60) | st.integers(-(10**9), 10**9)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(near, max_size=40).map(sorted),
    st.lists(near, max_size=40),
    st.integers(0, 50) | st.integers(0, 10**9),
)
def test_newest_is_the_rule(stamps: list[int], ticks: list[int], max_age: int):
    got = [newest([BASE + stamp for stamp in stamps], BASE + tick, max_age) for tick in ticks]
    assert got == [oracle(stamps, tick, max_age) for tick in ticks]


@settings(max_examples=200, deadline=None)
@given(near, st.integers(-5, 300), st.integers(1, 97))
def test_tick_grid_is_every_multiple(start: int, length: int, period: int):
    got = tick_grid(start, start + length, period)
    assert got.tolist() == [t for t in range(start, start + length + 1) if t % period == 0]


@pytest.mark.parametrize(("age", "found"), [(0, 0), (99, 0), (100, 0), (101, -1)])
def test_an_age_of_exactly_max_age_is_usable(age: int, found: int):
    assert newest([1000], 1000 + age, 100) == found


def test_a_stamp_on_the_tick_is_used_and_one_after_is_not():
    assert [newest([10, 20, 21], tick, 100) for tick in (9, 10, 20)] == [-1, 0, 1]


def test_node_and_bag_share_the_grid():
    period = 33_333_333
    now = BASE + 12_345
    assert grid_tick(now, period) in tick_grid(BASE - 10**9, BASE + 10**9, period)


def image_ticks(stamps: list[float] | np.ndarray, period: float) -> np.ndarray:
    """Seconds in, seconds out."""
    rule = ImageTicks(round(period * 1e9))
    return np.array([stamp for stamp in stamps if rule.take(BASE + round(float(stamp) * 1e9))])


@pytest.mark.parametrize("policy_hz", [10.0, 30.0])
@pytest.mark.parametrize("camera_hz", [29.9, 30.0, 30.1, 59.9, 60.1, 119.0])
@pytest.mark.parametrize("jitter", [0.0, 0.003])
def test_images_and_policy_do_not_beat(policy_hz: float, camera_hz: float, jitter: float):
    """Ten minutes, and every tick is the same number of images after the last one."""
    jitter = min(jitter, 0.1 / camera_hz)
    count = round(600 * camera_hz)
    noise = np.random.default_rng(0).uniform(-jitter, jitter, count)
    stamps = np.arange(count) / camera_hz + noise
    ticks = image_ticks(stamps, 1 / policy_hz)
    every = round(camera_hz / policy_hz)
    assert ticks.tolist() == stamps[::every].tolist()


@pytest.mark.parametrize(
    ("ratio", "every"), [(0.5, 1), (0.9, 1), (1.2, 1), (1.5, 2), (2, 2), (2.5, 2), (4, 4)]
)
def test_other_rates_take_the_nearest_whole_number_of_images(ratio: float, every: int):
    stamps = np.arange(1000) / ratio
    assert np.diff(image_ticks(stamps, 1.0)) == pytest.approx(every / ratio)


def test_a_lost_image_leaves_its_tick_to_the_next_one_and_invents_none():
    stamps = np.arange(40) / 30
    kept = np.delete(stamps, [6, 13])
    ticks = image_ticks(kept, 0.1)
    assert set(ticks) <= set(kept)
    # Every third, but 6 is lost: 7, 10; 13 is lost: 14, 17.
    assert np.round(ticks[:8] * 30).tolist() == [0, 3, 7, 10, 14, 17, 20, 23]


def test_only_the_first_of_equal_stamps_and_no_older_one_is_a_tick():
    assert image_ticks([5, 5, 4.95, 5.1, 5.1, 5.05, 4, 5.2], 0.1).tolist() == [5, 5.1, 5.2]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(-50, 400), max_size=60), st.integers(5, 97))
def test_whatever_comes_ticks_ascend_by_no_less_than_most_of_a_period(
    steps: list[int], period: int
):
    stamps = (BASE + np.cumsum([0, *steps])).tolist()
    rule = ImageTicks(period)
    ticks = [stamp for stamp in stamps if rule.take(stamp)]
    assert ticks[0] == stamps[0]
    assert (np.diff(ticks) >= 0.7 * period - 1).all()
    for tick, following in pairwise(ticks):  # none is passed over that was due
        between = stamps[stamps.index(tick) + 1 : stamps.index(following)]
        assert all(stamp < tick + period for stamp in between)


def test_a_silence_is_one_tick_with_nothing_in_it():
    ticks = np.array([0, 100, 200, 501, 600, 901, 1500], np.int64)
    got = with_silences(ticks, 300)
    assert got.tolist() == [0, 100, 200, 500, 501, 600, 900, 901, 1201, 1500]
    assert with_silences(ticks[:0], 300).tolist() == []


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 120), min_size=1, max_size=40), st.integers(1, 30))
def test_what_is_dropped_as_superseded_no_tick_would_see(stamps: list[int], period: int):
    """In any order of arrival; of equal stamps the later one counts."""

    def stream() -> Stream:
        return Stream("joints", "joints", "", lambda msg, now: (msg, msg), 25)

    whole, short = stream(), stream()
    for number, stamp in enumerate(stamps):
        whole.add(stamp, number)
        short.add(stamp, number)
        short.forget_superseded(stamp, period)
    for tick in range(0, 160, period):
        seen = [(one.contents[row] if (row := one.newest(tick)) >= 0 else None)
                for one in (whole, short)]  # fmt: skip
        assert seen[0] == seen[1]
    assert len(short.stamps) <= 120 // period + 2
