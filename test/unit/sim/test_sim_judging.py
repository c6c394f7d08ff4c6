# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The result of a trial: success, ticks that were missed, latencies."""

from __future__ import annotations

import numpy as np
import pytest

from sarnn_ros.sim.judging import PERIOD_NS, SILENCE_SECONDS, TrialTrace, has_ended, judge
from sarnn_ros.sim.task import RATE


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


@pytest.mark.parametrize(
    ("labels", "end"),
    [
        (list(range(200)), 20.0),  # no tick missed
        ([*range(10), *range(15, 200)], 25.0),  # five missed: they are made up for
        (list(range(0, 200, 4)), 40.0),  # most of them missed: twice as long
        (list(range(10)), 9 + SILENCE_SECONDS * RATE),  # stopped
    ],
)
def test_a_trial_ends_when_its_ticks_were_commanded(labels, end):
    """Here in ticks from the first command on."""
    ticks, period = 20, PERIOD_NS * 1e-9
    whole = _recording(labels)
    first = whole.commands[0][0]

    def ended(now: float) -> bool:
        heard = [command for command in whole.commands if command[0] <= now]
        return has_ended(TrialTrace(commands=heard), ticks, now)

    moments = np.arange(0.5, 80) * period + first
    assert not any(ended(now) for now in moments if now < first + (end - 1) * period)
    assert all(ended(now) for now in moments if now > first + (end + 1) * period)
