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
    :ivar observation: as measured.
    :ivar seen: as the policy saw it; of an arm that lags with the joints where they would be if it
        lagged as while demonstrating.
    :ivar interrupted: the segment to the last command was not finished.
    :ivar stages: how long each took, s.
    """

    label_ns: int
    state: State = State.STOPPED
    missed: int = 0
    reset: str | None = None
    observation: Observation | None = None
    seen: Observation | None = None
    prediction: Prediction | None = None
    sent: Command | None = None
    interrupted: bool = False
    changes: FaultChanges = field(default_factory=FaultChanges)
    stages: dict[str, float] = field(default_factory=dict)
    _last_s: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        """A stage has ended; `total` is all of them so far."""
        now = time.perf_counter()
        self.stages[stage] = now - self._last_s
        self.stages["total"] = self.stages.get("total", 0.0) + self.stages[stage]
        self._last_s = now

    def ages(self) -> dict[str, float]:
        """Of the messages observed at `label_ns`, s, by source."""
        stamps = self.observation.stamps if self.observation else {}
        return {source: (self.label_ns - stamp) * 1e-9 for source, stamp in stamps.items()}
