# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Running figures of the control loop: how long each stage takes, and how regular the ticks are.

Written by one thread, read by another. Cheap enough to be always on: a tick adds one row.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sarnn_ros.control.tick import Tick

#: Percentiles cover about the last minute at 10 Hz.
WINDOW_TICKS = 600
#: For so long a missed tick is reported, s: diagnostics come once a second.
MISSED_TICK_NEWS_S = 5.0


class LoopStatistics:
    """Ticks since the start, and the durations of the last `WINDOW_TICKS` of them.

    :param steady_s: a clock that nobody sets or stops, s.
    :ivar violations: of the limits, by `LimitViolation.reason`.
    """

    def __init__(self, steady_s: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._steady_s = steady_s
        self._ticked_s = steady_s()
        self._missed_s = -math.inf
        self._stages: dict[str, deque[float]] = {}
        self._longest: dict[str, float] = {}  # since the start, s, by stage
        self._ages: dict[str, float] = {}
        self._labels: deque[int] = deque(maxlen=WINDOW_TICKS)
        self.total = 0
        self.missed = 0
        self.commands = 0
        self.resets = 0
        self.violations: Counter[str] = Counter()

    def add(self, tick: Tick) -> None:
        """Enter one tick."""
        with self._lock:
            self._ticked_s = self._steady_s()
            if tick.missed:
                self._missed_s = self._ticked_s
            if self._labels and tick.label_ns <= self._labels[-1]:
                self._labels.clear()
            self._labels.append(tick.label_ns)
            self.total += 1
            self.missed += tick.missed
            self.resets += tick.reset is not None
            self.commands += tick.sent is not None
            self._ages = tick.ages()
            for stage, seconds in tick.stages.items():
                self._stages.setdefault(stage, deque(maxlen=WINDOW_TICKS)).append(seconds)
                self._longest[stage] = max(seconds, self._longest.get(stage, 0.0))

    def expect(self) -> None:
        """A tick begins, or ticks are to come from now on."""
        with self._lock:
            self._ticked_s = self._steady_s()

    @property
    def silence_s(self) -> float:
        """Since the last tick, or since `expect`, by the steady clock."""
        with self._lock:
            return self._steady_s() - self._ticked_s

    @property
    def missed_lately(self) -> bool:
        """Whether a tick was found missing in the last `MISSED_TICK_NEWS_S`."""
        with self._lock:
            return self._steady_s() - self._missed_s < MISSED_TICK_NEWS_S

    def rate(self) -> float:
        """Ticks per second over the window, Hz; 0 before the second tick."""
        with self._lock:
            if len(self._labels) < 2:
                return 0.0
            return (len(self._labels) - 1) / ((self._labels[-1] - self._labels[0]) * 1e-9)

    def ages(self) -> dict[str, float]:
        """Age of each source at the last tick, s; empty if it had no observation."""
        with self._lock:
            return dict(self._ages)

    def latencies(self) -> dict[str, dict[str, float]]:
        """By stage, ms: `p50`, `p95`, `p99` of the last `WINDOW_TICKS`, `max` since the start."""
        with self._lock:
            samples = {stage: list(values) for stage, values in self._stages.items()}
            longest = dict(self._longest)
        figures = {}
        for stage, values in samples.items():
            p50, p95, p99 = (np.percentile(values, (50, 95, 99)) * 1e3).tolist()
            figures[stage] = {"p50": p50, "p95": p95, "p99": p99, "max": longest[stage] * 1e3}
        return figures


_KEY, _UNIT = "latency ", " (ms)"


def as_text(latencies: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """`latencies` as keys and values for /diagnostics: one JSON object per stage, in ms."""
    return {
        f"{_KEY}{stage}{_UNIT}": json.dumps(
            {name: float(f"{value:.3g}") for name, value in figures.items()}
        )
        for stage, figures in latencies.items()
    }


def from_text(values: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """The inverse of `as_text`, of a status that holds other values, too. `total` comes last.

    Anybody may publish a status: a stage is left out whose text is no JSON object of numbers.
    Figures may be missing, or not finite.
    """
    found = {}
    for key, value in values.items():
        if key.startswith(_KEY) and (figures := _figures(value)) is not None:
            found[key.removeprefix(_KEY).removesuffix(_UNIT)] = figures
    if "total" in found:
        found["total"] = found.pop("total")
    return found


def _figures(text: str) -> dict[str, float] | None:
    """None if the text is no JSON object of numbers."""
    try:
        return {str(name): float(value) for name, value in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
