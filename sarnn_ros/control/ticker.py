# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Wakes a thread at every multiple of a period, or when an image has arrived that is a tick: the
control thread at the policy's ticks (`Spec.tick`). No ROS here: the clock, its jumps and the
images are handed in.

The grid is absolute (k * period since the clock's epoch), the one the dataset was cut on, so
that a live tick and a tick of a replayed bag are the same tick. An rclpy timer counts from its
creation instead, and its callback would wait for whatever the executor is doing.
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from sarnn_ros.errors import PolicyError
from sarnn_ros.streams.align import grid_tick, silence_ns

#: How long a thread may take to end, s. Only a policy that does not return takes longer.
JOIN_SECONDS = 0.5
#: The shortest wait, s: a clock read just before a tick must not make the thread spin.
SHORTEST_WAIT = 5e-5


class Repeat:
    """A thread that calls something every so often, by the steady clock.

    :param period_s: between two calls.
    :param on_error: called with what `work` raised; the thread goes on.
    :param waits: whether `stop` waits for the call under way. False for work that changes nothing
        at the robot: it may end later.
    """

    def __init__(
        self,
        period_s: float,
        work: Callable[[], None],
        name: str,
        on_error: Callable[[Exception], None],
        *,
        waits: bool = True,
    ) -> None:
        self._period_s = period_s
        self._work = work
        self._name = name
        self._on_error = on_error
        self._waits = waits
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopping = threading.Event()  # an earlier thread may not have ended yet
        self._thread = threading.Thread(
            target=self._run, args=(self._stopping,), name=self._name, daemon=True
        )
        self._thread.start()

    def stop(self) -> bool:
        """True if the thread has ended, or `waits` is false. It may be started again."""
        self._stopping.set()
        if self._thread is None or not self._waits:
            return True
        self._thread.join(JOIN_SECONDS)
        return not self._thread.is_alive()

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.wait(self._period_s):
            try:
                self._work()
            except Exception as error:
                with contextlib.suppress(Exception):
                    self._on_error(error)


class Ticker(ABC):
    """A thread that calls `on_tick(label_ns, due_ns)` once for each new tick: which one it is, and
    when it could have begun, both on the given clock.

    A tick that was missed is skipped, never made up for. When the clock goes backwards the labels
    do too. After an exception, which is handed to `on_error`, it goes on.

    :param now_ns: reads the clock, ns.
    :param simulated: true while the clock only moves by `clock_moved()`.
    :param name: of the thread.
    :param on_start: called first, in the thread.
    """

    def __init__(
        self,
        period_ns: int,
        now_ns: Callable[[], int],
        on_tick: Callable[[int, int], None],
        on_error: Callable[[Exception], None],
        *,
        simulated: Callable[[], bool] = lambda: False,
        name: str = "control",
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._on_start = on_start
        self._period_ns = period_ns
        self._now_ns = now_ns
        self.on_tick = on_tick
        self._on_error = on_error
        self._simulated = simulated
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Nothing from before the start makes a tick.

        :raises PolicyError: the tick that was under way at the stop has not ended.
        """
        if self._thread is not None and self._thread.is_alive():
            raise PolicyError(
                "the tick that was under way at the last stop has not ended: the policy does not "
                "return",
                remedy="end this process and start it again",
            )
        self._stopping = False
        self._begin()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """No tick begins any more. Returns whether the one under way has ended."""
        if self._thread is None:
            return True
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(JOIN_SECONDS)
        return not self._thread.is_alive()

    def clock_moved(self) -> None:
        """To be called whenever a simulated clock moves, and when any clock jumps."""
        with self._wake:
            self._wake.notify()

    def image(self, label_ns: int, receive_ns: int) -> None:
        """To be called when an image has arrived that is a tick."""
        raise NotImplementedError

    def _run(self) -> None:
        self._on_start()
        while True:
            with self._wake:
                tick = None
                while not self._stopping and tick is None:
                    tick = self._take(self._now_ns())
                    if tick is None:
                        self._wake.wait(self._remaining())
                if tick is None or self._stopping:
                    return
            try:
                self.on_tick(*tick)
            except Exception as error:  # the control thread must outlive any tick
                with contextlib.suppress(Exception):
                    self._on_error(error)

    def _remaining(self) -> float | None:
        if self._simulated():
            return None
        now = self._now_ns()
        return max((self._next_ns(now) - now) * 1e-9, SHORTEST_WAIT)

    @abstractmethod
    def _begin(self) -> None:
        """Forget the past."""

    @abstractmethod
    def _take(self, now_ns: int) -> tuple[int, int] | None:
        """The tick to be run now (label, when it was due), each once. The lock is held."""

    @abstractmethod
    def _next_ns(self, now_ns: int) -> int:
        """When to look again, if nothing happens before."""


class GridTicker(Ticker):
    """Ticks at the multiples of the period."""

    def _begin(self) -> None:
        self._last = self._label(self._now_ns())

    def _take(self, now_ns: int) -> tuple[int, int] | None:
        label = self._label(now_ns)
        if label == self._last:
            return None
        self._last = label
        return label, label

    def _next_ns(self, now_ns: int) -> int:
        return self._label(now_ns) + self._period_ns

    def _label(self, now_ns: int) -> int:
        return grid_tick(now_ns, self._period_ns)


class ImageTicker(Ticker):
    """Ticks when an image is handed in; of several the newest. When none comes for `max_age_ns`
    after it was due, there is a tick every period all the same, labelled by the clock: it finds no
    image, which is how the silence is noticed.
    """

    def __init__(self, *arguments: Any, max_age_ns: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._patience_ns = silence_ns(self._period_ns, max_age_ns)
        self._image: tuple[int, int] | None = None

    def image(self, label_ns: int, receive_ns: int) -> None:
        with self._wake:
            self._image = (label_ns, receive_ns)
            self._wake.notify()

    def _begin(self) -> None:
        self._image = None
        self._silent_ns = self._now_ns() + self._patience_ns

    def _take(self, now_ns: int) -> tuple[int, int] | None:
        image, self._image = self._image, None
        if image is not None:
            self._silent_ns = now_ns + self._patience_ns
            return image
        # A clock that was set back must not make the silence last.
        self._silent_ns = min(self._silent_ns, now_ns + self._patience_ns)
        if now_ns < self._silent_ns:
            return None
        self._silent_ns = now_ns + self._period_ns
        return now_ns, now_ns

    def _next_ns(self, now_ns: int) -> int:
        return self._silent_ns


class Threads:
    """The threads of a robot's side, started and stopped together.

    :param ticker: that of the control thread.
    :param tickers: further ones by the same clock.
    """

    def __init__(self, ticker: Ticker, *tickers: Ticker, others: Sequence[Repeat]) -> None:
        self.ticker = ticker
        self._tickers = (*tickers, ticker)
        self._all: tuple[Repeat | Ticker, ...] = (*others, *self._tickers)

    def start(self) -> None:
        for thread in self._all:
            thread.start()

    def stop(self) -> bool:
        """Returns whether they have ended."""
        ended = [thread.stop() for thread in self._all]
        return all(ended)

    def clock_moved(self) -> None:
        """To be called whenever a simulated clock moves, and when any clock jumps."""
        for ticker in self._tickers:
            ticker.clock_moved()
