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
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Mapping

import numpy as np

#: Percentiles cover about the last minute at 10 Hz.
WINDOW = 600
#: For so long a missed tick is reported, s: diagnostics come once a second.
NEWS_S = 5.0
#: Upper ends of the buckets, s: two per octave, 16 us to 1.5 s. What is longer counts as infinite.
BOUNDS = (*(16e-6 * 2 ** (step / 2) for step in range(34)), float("inf"))


class Histogram:
    """Durations counted in buckets for as long as a node runs: the tail that a window of the last
    ticks forgets. One thread adds, another may read."""

    def __init__(self) -> None:
        self._counts = [0] * len(BOUNDS)

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1

    def at_most(self, share: float) -> float:
        """What that share of the durations did not exceed, s: the upper end of its bucket. NaN if
        there are none."""
        remaining = share * sum(self._counts)
        for bound, count in zip(BOUNDS, self._counts):
            remaining -= count
            if count and remaining <= 0:
                return bound
        return float("nan")


class LoopStatistics:
    """Ticks and histograms since the start, and the durations of the last `WINDOW` ticks.

    :param steady_s: a clock that nobody sets or stops, s.
    :ivar violations: of the limits, by `LimitViolation.reason`.
    """

    def __init__(self, steady_s: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._steady_s = steady_s
        self._ticked_s = steady_s()
        self._missed_s = -math.inf
        self._stages: dict[str, deque[float]] = {}
        self._histograms: dict[str, Histogram] = {}
        self._ages: dict[str, float] = {}
        self._labels: deque[int] = deque(maxlen=WINDOW)
        self.total = 0
        self.missed = 0
        self.commands = 0
        self.resets = 0
        self.violations: Counter[str] = Counter()

    def add(
        self,
        label_ns: int,
        *,
        missed: int,
        stages: Mapping[str, float],
        ages: Mapping[str, float] | None,
        reset: bool,
        sent: bool,
    ) -> None:
        """Enter one tick.

        :param missed: ticks skipped before it.
        :param stages: seconds by stage.
        :param ages: seconds by source, if there was an observation.
        """
        with self._lock:
            self._ticked_s = self._steady_s()
            if missed:
                self._missed_s = self._ticked_s
            if self._labels and label_ns <= self._labels[-1]:
                self._labels.clear()
            self._labels.append(label_ns)
            self.total += 1
            self.missed += missed
            self.resets += reset
            self.commands += sent
            self._ages = dict(ages or {})
            for stage, seconds in stages.items():
                if stage not in self._stages:
                    self._stages[stage] = deque(maxlen=WINDOW)
                    self._histograms[stage] = Histogram()
                self._stages[stage].append(seconds)
                self._histograms[stage].add(seconds)

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
        """Whether a tick was found missing in the last `NEWS_S`."""
        with self._lock:
            return self._steady_s() - self._missed_s < NEWS_S

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
        """By stage, in ms: `p50`, `p95` and `p99` of the last `WINDOW` ticks; `p99.9` and `max` of
        all since the start, which are exact to half an octave (see `Histogram`)."""
        with self._lock:
            samples = {stage: list(values) for stage, values in self._stages.items()}
            tails = {
                stage: {"p99.9": one.at_most(0.999) * 1e3, "max": one.at_most(1.0) * 1e3}
                for stage, one in self._histograms.items()
            }
        recent = ("p50", "p95", "p99")
        return {
            stage: {
                **dict(zip(recent, (np.percentile(values, (50, 95, 99)) * 1e3).tolist())),
                **tails[stage],
            }
            for stage, values in samples.items()
        }


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
