# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An arm that does not do what it is told, and joint states that are none."""

from __future__ import annotations

import numpy as np
import pytest
from control_bench import PERIOD, Bench

from sarnn_ros.control.following import FollowingWatch
from sarnn_ros.control.state import State

TICKS = 5


def watch(moves, commands, *, noise=0.0, exempt=()) -> list[str]:
    """The faults of each tick of an arm of two joints, the second at rest."""
    looks = FollowingWatch(TICKS, ("a", "b"), lambda: np.array([0.2, 0.2]), exempt)
    random = np.random.default_rng(0)
    found = []
    for tick, (at, told) in enumerate(zip(moves, commands)):
        present = np.array([at, 0.0]) + noise * random.standard_normal(2)
        commanded = None if told is None else np.array([told, 0.0])
        found += looks.check(present, present, tick, commanded)
    return found


@pytest.mark.parametrize(
    ("moves", "commands", "noise", "code"),
    [
        ([0.0] * 9, [0.1] * 9, 0.0, "frozen:joints"),
        ([0.0] * 9, [0.1] * 9, 1e-5, "not_following"),
        ([0.0] * 9, [0.03] * 9, 0.0, None),  # as near as gravity leaves it
        ([0.0] * 9, [None] * 9, 0.0, None),
        (np.arange(9) * 0.01, np.arange(9) * 0.01 + 0.1, 0.0, None),  # it lags
        ([0.0] * 5 + [0.1] * 4, [0.1] * 9, 0.0, None),  # it was slow
        ([0.0] * 9, [0.1, None] * 5, 0.0, None),
        ([0.0] * 40, [0.1, 0.03, 0.03, 0.03] * 10, 0.0, None),  # not in a row
        ([0.0] + [0.001] * 9, [0.1] * 10, 0.0, "frozen:joints"),  # came to rest, then froze
    ],
)
def test_no_movement_at_all(moves, commands, noise, code):
    found = watch(moves, commands, noise=noise)
    assert set(found) == ({code} if code else set())


def test_a_state_that_is_not_stamped_anew_is_no_frozen_driver():
    looks = FollowingWatch(TICKS, ("a",), lambda: np.array([0.2]))
    found = [looks.check(np.zeros(1), np.zeros(1), min(t, 1), np.full(1, 0.1)) for t in range(9)]
    assert set().union(*found) == {"not_following"}


def test_a_gripper_may_be_stopped_by_what_it_holds():
    assert not watch([0.0] * 20, [0.1] * 20, exempt=(0,))


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_controller_latches_but_not_in_a_dry_run(dry_run):
    bench = Bench(watch__still_ticks=TICKS, dry_run=dry_run)
    bench.follows = False
    bench.control.start()
    bench.policy.action = np.array([0.1, 0.0])
    bench.run(12)
    latched = [fault.code for fault in bench.control.faults.latched]
    assert latched == ([] if dry_run else ["frozen:joints"])
    if not dry_run:
        assert bench.control.state is State.FAULTED
        (fault,) = bench.control.faults.latched
        assert "a is at 0 rad or m and was commanded to 0.1" in fault.text
        assert (bench.label - fault.since_ns) > PERIOD
