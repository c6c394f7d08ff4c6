# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Intervals and comparisons against known values."""

from __future__ import annotations

import math

import pytest

from sarnn_ros.data.scores import Score, comparison, exact_p, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 50, 0.0, 0.0714),
        (50, 50, 0.9286, 1.0),
        (25, 50, 0.3664, 0.6336),
        (7, 10, 0.3968, 0.8922),
        (3, 3, 0.4385, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson(successes: int, trials: int, low: float, high: float) -> None:
    """R: binom::binom.wilson."""
    assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-3)


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (6, 0, 0.03125), (0, 5, 0.0625), (8, 1, 0.0390625)],
)
def test_the_exact_test(wins: int, losses: int, p: float) -> None:
    """R: binom.test(wins, wins + losses)."""
    assert exact_p(wins, losses) == pytest.approx(p)


def test_what_may_be_claimed() -> None:
    assert Score(7, 10).claim.startswith("7 of 10: the success rate is 40 to 89 % (95 % interval)")
    assert "10 more trials that go alike would narrow that to 48 to 85 %" in Score(7, 10).claim
    assert Score(0, 0).claim == "no trial: nothing may be said" and math.isnan(Score(0, 0).rate)


@pytest.mark.parametrize(
    ("wins", "losses", "says"),
    [(6, 0, "a is better"), (0, 6, "b is better"), (5, 0, "does not say that one is better")],
)
def test_few_pairs_do_not_tell_two_policies_apart(wins: int, losses: int, says: str) -> None:
    assert says in comparison("a", "b", wins, losses, 10)
