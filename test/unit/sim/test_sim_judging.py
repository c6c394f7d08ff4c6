# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The result of a trial: success, ticks that were missed, latencies."""

from __future__ import annotations

import numpy as np
import pytest

from sarnn_ros.sim.judging import PERIOD_NS, TrialTrace, judge


def _recording(labels: list[int], delay: float = 0.004) -> TrialTrace:
    period = PERIOD_NS * 1e-9
    nothing = np.zeros(6)
    return TrialTrace(
        cube=[(tick * period, 0.1) for tick in range(20)],
        commands=[
            (label * period + delay, label * PERIOD_NS + 3_000_000, nothing) for label in labels
        ],
        markers=[
            (label * period + delay + 0.001, label * PERIOD_NS - 20_000_000, "encoder", nothing)
            for label in labels
        ],
    )


def test_latencies_and_ticks_are_counted_from_the_stamps():
    trial = judge(_recording(list(range(10, 30))), None, 20)
    assert (trial.success, trial.ticks, trial.missed) == (True, 20, 0)
    np.testing.assert_allclose(trial.latencies, 0.004, atol=1e-6)
    np.testing.assert_allclose(trial.camera_latencies, 0.024, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "ticks", "missed"),
    [
        ([10, 11, 13, 14], 5, 1),
        ([10, 10, 11, 12, 13, 14], 5, 0),  # two commands in a tick
        ([10, 11], 20, 17),  # gave up: the trial's own length counts
        ([], 20, 19),
    ],
)
def test_missed_ticks(labels, ticks, missed):
    assert judge(_recording(labels), None, ticks).missed == missed
