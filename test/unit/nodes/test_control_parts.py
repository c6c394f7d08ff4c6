# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The control loop's parts without ROS: the tick grid, the book of faults, the figures."""

from __future__ import annotations

import threading

import pytest

from sarnn_ros.nodes.faults import FaultBook
from sarnn_ros.nodes.statistics import LoopStatistics
from sarnn_ros.nodes.ticker import Ticker

PERIOD = 100


class Clock:
    """Simulated time, and the labels that a ticker made of it."""

    def __init__(self, now: int = 0) -> None:
        self.now = now
        self.labels: list[int] = []
        self.errors: list[Exception] = []
        self._ticked = threading.Condition()
        self.ticker = Ticker(
            PERIOD, lambda: self.now, self._tick, self.errors.append, simulated=lambda: True
        )

    def _tick(self, label: int) -> None:
        with self._ticked:
            self.labels.append(label)
            self._ticked.notify()
        if label == 1300:
            raise RuntimeError("a tick that fails")

    def go(self, now: int) -> None:
        self.now = now
        self.ticker.clock_moved()

    def wait(self, count: int) -> None:
        with self._ticked:
            assert self._ticked.wait_for(lambda: len(self.labels) >= count, timeout=10.0)


def test_ticks_lie_on_the_absolute_grid_and_late_ones_are_skipped():
    clock = Clock(now=1030)
    clock.ticker.start()
    for count, now in enumerate((1101, 1250, 1300, 1790, 500), 1):
        clock.go(now)
        clock.wait(count)
    clock.ticker.stop()
    # A jump makes one tick, not many; a failing tick ends nothing; time may go back.
    assert clock.labels == [1100, 1200, 1300, 1700, 500]
    assert [str(error) for error in clock.errors] == ["a tick that fails"]


def test_no_tick_within_the_period_of_the_start_nor_after_the_stop():
    clock = Clock(now=1000)
    clock.ticker.start()
    clock.go(1099)
    clock.go(1100)
    clock.wait(1)
    clock.ticker.stop()
    clock.go(1200)
    assert clock.labels == [1100]
    clock.ticker.stop()  # once more is harmless
    clock.ticker.start()
    clock.go(1300)
    clock.wait(2)
    clock.ticker.stop()
    assert clock.labels == [1100, 1300]


def test_a_soft_fault_is_said_once_and_so_is_its_end():
    book = FaultBook()
    first = book.update(1, {"late": "by 0.2 s"})
    assert [fault.code for fault in first.appeared] == ["late"]
    again = book.update(2, {"late": "by 0.3 s"})
    assert not again.appeared and not again.recovered
    assert book.active[0].text == "by 0.3 s" and book.active[0].since_ns == 1
    over = book.update(3, {})
    assert [fault.code for fault in over.recovered] == ["late"]
    assert not book.active
    assert book.counts == {"late": 1}


def test_a_hard_fault_stays_until_reset():
    book = FaultBook()
    book.update(1, {"guard": "a"}, {"jump": "b"})
    book.update(2, {})
    assert [fault.code for fault in book.active] == ["jump"]
    assert [fault.code for fault in book.reset()] == ["jump"]
    assert not book.active and not book.latched


def test_statistics_count_and_forget_a_clock_that_went_back():
    statistics = LoopStatistics()
    for label in (0, 10**8, 2 * 10**8):
        statistics.add(label, missed=0, stages={"a": 0.5}, ages=None, reset=False, sent=True)
    assert statistics.rate() == pytest.approx(10.0)
    assert statistics.percentiles()["a"] == (0.5, 0.5, 0.5)
    statistics.add(10**8, missed=3, stages={}, ages={"x": 0.1}, reset=True, sent=False)
    assert statistics.rate() == 0.0
    assert (statistics.total, statistics.missed, statistics.commands) == (4, 3, 3)
    assert statistics.resets == 1 and statistics.ages() == {"x": 0.1}
