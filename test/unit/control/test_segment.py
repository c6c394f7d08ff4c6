# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The segment between two set-points: where it begins and ends, and what it never leaves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarnn_ros.control.segment import Segment

SECOND = 1_000_000_000
VALUES = st.lists(st.floats(-10, 10), min_size=2, max_size=2).map(np.array)


@given(st.sampled_from(["linear", "cubic"]), VALUES, VALUES, VALUES, VALUES)
def test_it_goes_from_set_point_to_set_point_and_never_back(kind, start, end, v0, v1):
    path = Segment(kind, 5, 5 + SECOND // 10, start, end, v0, v1)
    np.testing.assert_array_equal(path.position(0), start)
    np.testing.assert_array_equal(path.position(5), start)
    np.testing.assert_array_equal(path.position(5 + SECOND // 10), end)
    np.testing.assert_array_equal(path.position(SECOND), end)
    points = np.array([path.position(5 + k * SECOND // 1000) for k in range(101)])
    ahead = np.diff(points, axis=0) * np.sign(end - start)
    assert (ahead >= -1e-12).all()
    assert (points >= np.minimum(start, end)).all() and (points <= np.maximum(start, end)).all()


def test_linear_is_a_straight_line_whatever_the_velocities():
    path = Segment(
        "linear", 0, 100, np.array([1.0]), np.array([2.0]), np.array([9.0]), np.zeros(1)
    )
    assert [path.position(t)[0] for t in (25, 50, 75)] == pytest.approx([1.25, 1.5, 1.75])
    assert path.velocity(30)[0] == pytest.approx(1.0 / 100e-9)


def test_cubic_keeps_the_velocity_where_two_segments_meet():
    a, b, c = np.array([0.0]), np.array([0.1]), np.array([0.15])
    arriving = (b - a) / 0.1
    first = Segment("cubic", 0, SECOND // 10, a, b, np.zeros(1), arriving)
    second = Segment("cubic", SECOND // 10, SECOND // 5, b, c, arriving, (c - b) / 0.1)
    meet = SECOND // 10
    assert first.velocity(0)[0] == 0.0
    assert first.velocity(meet)[0] == second.velocity(meet)[0] == pytest.approx(1.0)


@given(st.floats(0.01, 0.99), VALUES, VALUES, VALUES, VALUES)
def test_the_velocity_is_the_derivative(u, start, end, v0, v1):
    path = Segment("cubic", 0, SECOND, start, end, v0, v1)
    step = 1000
    time = round(u * SECOND)
    numeric = (path.position(time + step) - path.position(time - step)) / (2 * step * 1e-9)
    np.testing.assert_allclose(path.velocity(time), numeric, atol=1e-3)
