# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Dynamic time warping, against trying every way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sarnn_ros.training.warping import MAX_WARP_SPEED, at_best_pace, squares, warp


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 6), st.integers(1, 6), st.sampled_from([0.0, 0.3]), st.integers(1, 6),
    st.booleans(), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_it_is_the_best_of_all_ways(
    rows: int, samples: int, hurry: float, first: int, ends: bool, seed: int
) -> None:
    square = np.random.default_rng(seed).uniform(size=(2, rows, samples))
    cost, at = warp(square, hurry=hurry, first=first, ends=ends)
    assert at.shape == (2, rows)
    for one, told, way in zip(square, cost, at, strict=True):
        costs = {}
        for begin in range(min(first, samples)):
            for steps in itertools.product(range(MAX_WARP_SPEED + 1), repeat=rows - 1):
                tried = np.cumsum([begin, *steps])
                if tried[-1] < samples and (not ends or tried[-1] == samples - 1):
                    paces = hurry * ((np.array(steps) - 1) ** 2).sum()
                    costs[tuple(tried)] = one[range(rows), tried].sum() + paces
        if not costs:
            assert told == np.inf
            continue
        assert told == pytest.approx(min(costs.values()))
        assert costs[tuple(way)] == pytest.approx(told)


def test_at_its_best_pace_a_path_is_the_same() -> None:
    shares = np.linspace(0, 1, 200)
    path = np.stack([np.sin(3 * shares), shares], 1)[None]
    slow = np.stack([np.sin(1.5 * (shares + shares**2)), (shares + shares**2) / 2], 1)[None]
    assert np.abs(slow - path).max() > 0.1
    assert np.abs(at_best_pace(slow, path) - path).max() < 0.01


def test_each_sample_is_compared_with_each() -> None:
    here, there = np.array([[[0.0, 1], [2, 3]]]), np.array([[[0.0, 0], [2, 3], [1, 1]]])
    assert squares(here, there).tolist() == [[[1, 8, 1], [13, 0, 5]]]
