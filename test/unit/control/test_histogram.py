# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Durations in buckets, against the durations themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sarnn_ros.control.statistics import BOUNDS, Histogram

durations = st.lists(st.floats(0.0, 1.4), min_size=1, max_size=50)


@settings(deadline=None)
@given(durations, st.sampled_from([0.5, 0.99, 1.0]))
def test_what_a_share_stays_below_is_right_to_half_an_octave(seconds: list[float], share: float):
    histogram = Histogram()
    for one in seconds:
        histogram.add(one)
    exact = np.sort(seconds)[int(np.ceil(share * len(seconds))) - 1]
    assert exact <= histogram.at_most(share) <= max(exact * 2**0.5, BOUNDS[0]) * 1.000001


def test_what_is_too_long_is_counted_and_shown():
    histogram = Histogram()
    assert np.isnan(histogram.at_most(0.5))
    histogram.add(100.0)
    histogram.add(0.0005)
    assert histogram.at_most(0.5) == pytest.approx(0.000512)
    assert histogram.at_most(1.0) == float("inf")
