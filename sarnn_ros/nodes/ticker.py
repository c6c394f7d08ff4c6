# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Wakes a thread at every multiple of a period: the control thread at the policy's. No ROS here:
the clock and its jumps are handed in.

The grid is absolute (k * period since the clock's epoch), the one the dataset was cut on, so
that a live tick and a tick of a replayed bag are the same tick. An rclpy timer counts from its
creation instead, and its callback would wait for whatever the executor is doing.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

#: Ends a thread that does not; only a hung network can use it up.
JOIN_SECONDS = 5.0


class Ticker:
    """A thread that calls `on_tick(label_ns)` once for each new tick.

    A tick missed is missed: its label is skipped, never made up for. When the clock goes
    backwards the labels do too. An exception ends nothing: it is handed to `on_error`.

    :param now_ns: reads the clock, ns.
    :param simulated: true while the clock only moves by `clock_moved()`.
    :param name: of the thread.
    """

    def __init__(
        self,
        period_ns: int,
        now_ns: Callable[[], int],
        on_tick: Callable[[int], None],
        on_error: Callable[[Exception], None],
        *,
        simulated: Callable[[], bool] = lambda: False,
        name: str = "control",
    ) -> None:
        self._name = name
        self._period_ns = period_ns
        self._now_ns = now_ns
        self._on_tick = on_tick
        self._on_error = on_error
        self._simulated = simulated
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Ticks begin at the next multiple of the period."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when no tick is running and none will come.

        :raises TimeoutError: when a tick does not end.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._wake:
            self._stopping = True
            self._wake.notify()
        thread.join(JOIN_SECONDS)
        if thread.is_alive():
            raise TimeoutError(f"a tick has not ended after {JOIN_SECONDS:g} s")

    def clock_moved(self) -> None:
        """To be called whenever a simulated clock moves, and when any clock jumps."""
        with self._wake:
            self._wake.notify()

    def _run(self) -> None:
        last = self._label()
        while True:
            with self._wake:
                while not self._stopping and (label := self._label()) == last:
                    self._wake.wait(self._remaining(label))
                if self._stopping:
                    return
            last = label
            try:
                self._on_tick(label)
            except Exception as error:  # the control thread must outlive any tick
                with contextlib.suppress(Exception):
                    self._on_error(error)

    def _label(self) -> int:
        return self._now_ns() // self._period_ns * self._period_ns

    def _remaining(self, label: int) -> float | None:
        if self._simulated():
            return None
        # At least a moment: a clock that is read just before its edge must not spin.
        return max((label + self._period_ns - self._now_ns()) * 1e-9, 5e-5)
