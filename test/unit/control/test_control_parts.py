# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The control loop's parts without ROS: the tick grid, the active faults, the figures."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest

from sarnn_ros.control import ticker
from sarnn_ros.control.faults import ActiveFaults
from sarnn_ros.control.motion import Motion
from sarnn_ros.control.outlet import Command
from sarnn_ros.control.statistics import WINDOW_TICKS, LoopStatistics, as_text, from_text
from sarnn_ros.control.tick import Tick
from sarnn_ros.control.ticker import GridTicker, ImageTicker, Repeat, Ticker
from sarnn_ros.streams.observe import Observation

PERIOD = 100


class Clock:
    """Simulated time, and the labels that a ticker made of it."""

    def __init__(self, now: int = 0, kind: type[Ticker] = GridTicker, **options: int) -> None:
        self.now = now
        self.labels: list[int] = []
        self.due: list[int] = []
        self.errors: list[Exception] = []
        self._ticked = threading.Condition()
        self.ticker = kind(
            PERIOD,
            lambda: self.now,
            self._tick,
            self.errors.append,
            simulated=lambda: True,
            **options,
        )

    def _tick(self, label: int, due: int) -> None:
        with self._ticked:
            self.labels.append(label)
            self.due.append(due)
            self._ticked.notify()
        if label == 1300:
            raise RuntimeError("a tick that fails")

    def go(self, now: int) -> None:
        self.now = now
        self.ticker.clock_moved()

    def wait(self, count: int) -> None:
        with self._ticked:
            assert self._ticked.wait_for(lambda: len(self.labels) >= count, timeout=10.0)


def test_ticks_lie_on_the_absolute_grid_and_late_ones_are_skipped(monkeypatch):
    monkeypatch.setattr(ticker, "JOIN_SECONDS", 10.0)
    clock = Clock(now=1030)
    clock.ticker.start()
    for count, now in enumerate((1101, 1250, 1300, 1790, 500), 1):
        clock.go(now)
        clock.wait(count)
    assert clock.ticker.stop()
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


def test_an_image_is_a_tick_when_it_has_arrived():
    clock = Clock(now=1000, kind=ImageTicker, max_age_ns=200)
    clock.ticker.image(900, 950)
    clock.ticker.start()  # what came before does not count
    for count, (stamp, receive) in enumerate([(1010, 1030), (1110, 1125), (700, 1300)], 1):
        clock.now = receive
        clock.ticker.image(stamp, receive)
        clock.wait(count)
    clock.ticker.stop()
    assert clock.labels == [1010, 1110, 700] and clock.due == [1030, 1125, 1300]


def test_a_silent_camera_is_noticed_every_period_until_the_next_image():
    clock = Clock(now=1000, kind=ImageTicker, max_age_ns=200)
    clock.ticker.start()
    clock.go(1299)
    clock.go(1300)  # a period and max_age after the start
    clock.wait(1)
    clock.go(1399)
    clock.go(1450)
    clock.wait(2)
    clock.ticker.image(1440, 1450)
    clock.wait(3)
    clock.go(1749)
    clock.go(1750)
    clock.wait(4)
    clock.go(20)  # the clock is set back: the silence is counted from there
    while len(clock.labels) < 5 and clock.now < 1840:
        clock.go(clock.now + 1)
        threading.Event().wait(0.001)
    clock.wait(5)
    clock.ticker.stop()
    assert clock.labels[:4] == [1300, 1450, 1440, 1750] and clock.labels[4] < 1800


def test_without_a_simulated_clock_the_silence_ends_by_itself():
    ticked = threading.Event()
    ticker = ImageTicker(
        10**6, time.monotonic_ns, lambda label, due: ticked.set(), print, max_age_ns=10**7
    )
    ticker.start()
    assert ticked.wait(10.0)
    ticker.stop()


@pytest.mark.parametrize(("options", "waits"), [({}, True), ({"waits": False}, False)])
def test_a_repeat_goes_on_after_an_error_and_ends_at_the_stop(options, waits, monkeypatch):
    entered, leave, errors = threading.Semaphore(0), threading.Semaphore(0), []

    def work() -> None:
        entered.release()
        assert leave.acquire(timeout=10.0)
        raise RuntimeError("a look that fails")

    repeat = Repeat(0.001, work, "looks", errors.append, **options)
    assert repeat.stop(), "never started"
    for _ in range(2):  # it may be started again
        repeat.start()
        for _ in range(2):
            assert entered.acquire(timeout=10.0)
            leave.release()
        assert entered.acquire(timeout=10.0)
        monkeypatch.setattr(ticker, "JOIN_SECONDS", 0.01)
        assert repeat.stop() != waits, "a call is under way"
        monkeypatch.setattr(ticker, "JOIN_SECONDS", 10.0)
        leave.release()
        assert repeat.stop()
        repeat._thread.join(10.0)
        assert not repeat._thread.is_alive() and not entered.acquire(blocking=False)
    assert {str(error) for error in errors} == {"a look that fails"} and len(errors) == 6


def test_the_past_of_a_motion_on_the_grid_and_between():
    def past(label: int, *commands: tuple[int, float]) -> tuple[float, ...]:
        motion = Motion(PERIOD)
        for at, value in commands:
            motion.add(at, np.array([value]), np.array([0.5]))  # where the arm is
        elapsed, *vectors = motion.past(label)
        return (elapsed * 1e9, *(float(v[0]) for v in vectors if v is not None))

    assert past(300) == pytest.approx((100,))
    assert past(300, (200, 2.0)) == pytest.approx((100, 2.0, 0.5)), "it begins there, at rest"
    assert past(300, (100, 1.0), (200, 2.0)) == pytest.approx((100, 2.0, 1.0))
    assert past(280, (100, 1.0), (200, 2.0)) == pytest.approx((80, 2.0, 1.2))  # at 1 in 100
    assert past(300, (0, 9.0), (100, 1.0), (200, 2.0)) == pytest.approx((100, 2.0, 1.0))
    assert past(400, (100, 1.0), (200, 2.0)) == pytest.approx((100,))  # a tick is missing
    assert past(300, (0, 1.0), (200, 2.0)) == pytest.approx((100, 2.0, 0.5))
    assert past(100, (200, 2.0)) == pytest.approx((100,))


def test_a_soft_fault_is_said_once_and_so_is_its_end():
    faults = ActiveFaults()
    first = faults.update(1, {"late": "by 0.2 s"})
    assert [fault.code for fault in first.appeared] == ["late"]
    again = faults.update(2, {"late": "by 0.3 s"})
    assert not again.appeared and not again.resolved
    assert faults.active[0].text == "by 0.3 s" and faults.active[0].since_ns == 1
    over = faults.update(3, {})
    assert [fault.code for fault in over.resolved] == ["late"]
    assert not faults.active
    assert faults.counts == {"late": 1}


def test_a_fault_that_the_reference_does_not_explain_is_a_mistake():
    with pytest.raises(ValueError, match="'guards:a' is not in CODES"):
        ActiveFaults().update(1, {"guards:a": "refused"})


def test_a_hard_fault_stays_until_reset():
    faults = ActiveFaults()
    faults.update(1, {"guard": "a"}, {"jump": "b"})
    faults.update(2, {})
    assert [fault.code for fault in faults.active] == ["jump"]
    assert [fault.code for fault in faults.reset()] == ["jump"]
    assert not faults.active and not faults.latched


def test_statistics_know_how_long_nothing_came_and_whether_a_tick_was_missed():
    now = 100.0
    statistics = LoopStatistics(lambda: now)

    def tick(missed: int) -> None:
        statistics.add(Tick(0, missed=missed))

    now = 103.0
    assert statistics.silence_s == 3.0 and not statistics.missed_lately
    statistics.expect()
    assert statistics.silence_s == 0.0
    now = 104.0
    tick(missed=2)
    assert statistics.silence_s == 0.0 and statistics.missed_lately
    now = 108.0
    tick(missed=0)
    assert statistics.missed_lately
    now = 109.0
    assert statistics.silence_s == 1.0 and not statistics.missed_lately


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ('{"p50": 1, "max": Infinity}', {"p50": 1.0, "max": math.inf}),
        ('{"p50": "2.5"}', {"p50": 2.5}),
        ("not JSON", None),
        ("", None),
        ("[1, 2]", None),
        ("7", None),
        ('{"p50": null}', None),
        ('{"p50": {"p50": 1}}', None),
        ('{"p50": "fast"}', None),
        ('{"p50": 1' + 400 * "0" + "}", None),
        ('{"p50": 1' + 5000 * "0" + "}", None),
        (100_000 * "[", None),
    ],
)
def test_a_stage_that_is_no_object_of_numbers_is_left_out(text, figures):
    sound = {"latency decode (ms)": '{"p50": 3.0}'}
    found = from_text({"latency total (ms)": text, **sound})
    assert found == ({"decode": {"p50": 3.0}} | ({"total": figures} if figures else {}))


def test_the_total_of_a_tick_is_that_of_its_stages():
    began = time.perf_counter()
    tick = Tick(0)
    for stage in ("observe", "policy", "guard"):
        tick.lap(stage)
    total = tick.stages.pop("total")
    assert list(tick.stages) == ["observe", "policy", "guard"]
    assert 0.0 < total <= time.perf_counter() - began
    assert total == pytest.approx(sum(tick.stages.values()))


def test_statistics_count_and_forget_a_clock_that_went_back():
    statistics = LoopStatistics()
    for label in (0, 10**8, 2 * 10**8):
        statistics.add(Tick(label, stages={"a": 0.5}, sent=Command.standing(np.zeros(1))))
    assert statistics.rate() == pytest.approx(10.0)
    latencies = {"a": dict.fromkeys(("p50", "p95", "p99", "max"), 500.0)}
    assert from_text({"rate (Hz)": "10.0", **as_text(statistics.latencies())}) == latencies
    seen = Observation(10**8, {}, np.zeros(1), {"x": 0}, {})
    statistics.add(Tick(10**8, missed=3, reset="gap", observation=seen))
    assert statistics.rate() == 0.0
    assert (statistics.total, statistics.missed, statistics.commands) == (4, 3, 3)
    assert statistics.resets == 1 and statistics.ages() == {"x": 0.1}


def test_the_longest_is_remembered_for_longer_than_the_window():
    statistics = LoopStatistics()
    for label, seconds in enumerate([0.75, *[0.5] * WINDOW_TICKS]):
        statistics.add(Tick(label, stages={"a": seconds}))
    found = statistics.latencies()["a"]
    assert found["p99"] == pytest.approx(500.0) and found["max"] == pytest.approx(750.0)
