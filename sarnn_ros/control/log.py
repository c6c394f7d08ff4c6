# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the controller has to say. It is written when its lock is free: a log may wait for the
network."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sarnn_ros.control.faults import Fault

#: Takes a level (error, warning, info), a stable key and a text. Logs unless it has just logged
#: something of that key; returns whether it did.
Log = Callable[[str, str, str], bool]


@dataclass(frozen=True)
class Standing:
    """What is true from a moment on: a state, a fault.

    :param level, key, text: see `Log`; no two that are true at a time have one key.
    :param since_ns: when it began.
    :param end: logged when it is no longer true; empty: nothing is.
    """

    level: str
    key: str
    text: str
    since_ns: int = 0
    end: str = ""


def of_faults(state: str, faults: Iterable[Fault]) -> Iterator[Standing]:
    """What there is to say of faults that are active.

    :param state: the word for it.
    """
    for fault in faults:
        if fault.hard:  # it ends by ~/reset, whose answer is logged
            text = f"{state}: call ~/reset, then ~/start: {fault.text}"
            yield Standing("error", f"error:{fault.code}", text, fault.since_ns)
        else:
            text, end = f"{state}: {fault.text}", f"resolved: {fault.text}"
            yield Standing("warning", f"warning:{fault.code}", text, fault.since_ns, end)


class ControlLog:
    """See the module. For any thread."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._queue: deque[tuple[str, str, str]] = deque()
        self._lock = threading.Lock()
        self._said: dict[str, Standing] = {}  # what is true, by the log

    def note(self, level: str, key: str, text: str) -> None:
        """Something has happened. Returns at once."""
        self._queue.append((level, key, text))

    def write(self) -> None:
        """What was noted. No lock may be held."""
        while True:
            try:
                line = self._queue.popleft()
            except IndexError:  # another thread writes, too
                return
            self._log(*line)

    def see(self, standing: Iterable[Standing]) -> None:
        """Write what was noted, and all that is true and was not said yet. What the log suppresses
        is written later if it is still so: the last line must not be "resolved" while the robot
        holds. No other lock may be held.

        :param standing: all that is true now.
        """
        self.write()
        with self._lock:
            now = {one.key: one for one in standing}
            for key in self._said.keys() - now.keys():
                end = self._said[key].end
                if not end or self._log("info", f"resolved:{key}", end):
                    del self._said[key]
            for key, one in now.items():
                said = self._said.get(key)
                begun = said is None or said.since_ns != one.since_ns
                if begun and self._log(one.level, key, one.text):
                    self._said[key] = one
