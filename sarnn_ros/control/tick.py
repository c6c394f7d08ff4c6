# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What happened at one tick, and how long it took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sarnn_ros.control.faults import FaultChanges
from sarnn_ros.control.outlet import Command
from sarnn_ros.control.state import State
from sarnn_ros.policy.runtime import Prediction
from sarnn_ros.streams.observe import Observation


@dataclass
class Tick:
    """All about one tick: for statistics, display, and tests. Fields stay None where a tick
    did not get that far.

    :ivar state: after it.
    :ivar interrupted: the segment to the last command was not finished.
    """

    label_ns: int
    state: State = State.STOPPED
    missed: int = 0
    reset: str | None = None
    observation: Observation | None = None
    prediction: Prediction | None = None
    sent: Command | None = None
    interrupted: bool = False
    changes: FaultChanges = field(default_factory=FaultChanges)
    stages: dict[str, float] = field(default_factory=dict)

    def ages(self) -> dict[str, float] | None:
        """Of the messages observed at `label_ns`, s, by source."""
        if self.observation is None:
            return None
        return {
            str(source): (self.label_ns - stamp) * 1e-9
            for source, stamp in self.observation.stamps.items()
        }


class StopWatch:
    """Seconds between laps, on the monotonic clock."""

    def __init__(self, laps: dict[str, float]) -> None:
        self._laps = laps
        self._start = self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = now - self._last
        self._last = now

    def total(self) -> float:
        return time.perf_counter() - self._start
