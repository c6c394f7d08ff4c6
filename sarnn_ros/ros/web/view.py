# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the page shows: the newest of what was heard, a short history, and what became of each
call. No ROS, no HTTP. The ROS side writes, the server reads; every method returns at once."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sarnn_ros.control.statistics import from_text
from sarnn_ros.errors import shorten

#: What a user may do, and whose service it is: action -> (node or recorder, service).
TRIGGERS = {
    "start": ("node", "start"),
    "stop": ("node", "stop"),
    "reset": ("node", "reset"),
    "episode_start": ("recorder", "start_episode"),
    "episode_stop": ("recorder", "stop_episode"),
    "episode_takeover": ("recorder", "takeover"),
    "episode_success": ("recorder", "label_success"),
    "episode_failure": ("recorder", "label_failure"),
    "episode_discard": ("recorder", "discard_episode"),
    "episode_check": ("recorder", "preflight"),
    # Only while a lesson is led.
    "lesson_train": ("recorder", "train"),
    "lesson_dry_run": ("recorder", "dry_run"),
    "lesson_run": ("recorder", "run"),
    "lesson_end_run": ("recorder", "end_run"),
    "lesson_advice": ("recorder", "advice"),
}
#: In place of a camera; no camera has such a name.
MAP = "map of places"
#: Values of the parameter `dry_run`.
DRY_RUN = {"dry_run_on": True, "dry_run_off": False}
#: The plots show so much, s.
HISTORY_SECONDS = 120.0
#: Who has not asked for a camera's picture for so long, s, does not look at it.
LOOKING_SECONDS = 2.0
MAX_CALLS = 20
#: Of a history: whoever publishes faster than 80 Hz fills no memory.
MAX_ROWS = 10_000
#: Characters and values of a status. The node's own are far below.
MAX_TEXT_LENGTH, MAX_VALUES = 2000, 100


class Busy(RuntimeError):
    """The same was asked for before, and there is no answer yet."""


@dataclass
class Call:
    """What a user asked for.

    :param ok: None: no answer yet.
    """

    number: int
    action: str
    text: str = "no answer yet"
    ok: bool | None = None


class View:
    """See the module.

    :param node: the inference node's full name.
    :param recorder: the recorder's.
    :param clock: steady, s.
    """

    def __init__(
        self, node: str, recorder: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._names = {"node": node, "recorder": recorder}
        self._parts = {
            f"{node}: {part}": part for part in ("control", "timing", "health", "cameras")
        }
        self._parts |= {f"{recorder}: session": "recorder", f"{recorder}: lesson": "lesson"}
        self._clock = clock
        self._lock = threading.Lock()
        #: Statuses of /diagnostics, and when they came, s.
        self._said: dict[str, tuple[float, dict[str, Any]]] = {}
        #: Rows of (s, value, …).
        self._scores: deque[tuple[float, float | None]] = deque(maxlen=MAX_ROWS)
        self._latencies: deque[tuple[float, float, float]] = deque(maxlen=MAX_ROWS)
        self._cameras: tuple[str, ...] = ()
        self._asked: dict[str, float] = {}
        self._pictures: dict[str, tuple[int, bytes]] = {}
        self._count = 0
        self._calls: deque[Call] = deque(maxlen=MAX_CALLS)

    # -- the ROS side ---------------------------------------------------------------------------

    def say(self, name: str, level: int, text: str, values: Mapping[str, str]) -> None:
        """A status of /diagnostics; those of others are passed over."""
        part = self._parts.get(name)
        if part is None:
            return
        with self._lock:
            now = self._clock()
            kept = list(values.items())[:MAX_VALUES]
            bounded = {
                shorten(key, MAX_TEXT_LENGTH): shorten(value, MAX_TEXT_LENGTH)
                for key, value in kept
            }
            said = {"level": level, "text": shorten(text, MAX_TEXT_LENGTH), "values": bounded}
            self._said[part] = now, said
            total = from_text(bounded).get("total", {}) if part == "timing" else {}
            p50, p99 = total.get("p50", math.nan), total.get("p99", math.nan)
            if math.isfinite(p50) and math.isfinite(p99):  # JSON has no other numbers
                self._latencies.append((now, p50, p99))
                _forget(self._latencies, now)

    def health(self, score: float) -> None:
        """:param score: of a tick; NaN: unknown."""
        with self._lock:
            now = self._clock()
            self._scores.append((now, score if math.isfinite(score) else None))
            _forget(self._scores, now)

    def found(self, cameras: tuple[str, ...]) -> None:
        """The cameras that have an overlay; '' where there is only one. `MAP` stands for the map
        of places."""
        with self._lock:
            self._cameras = cameras

    def looked_at(self) -> set[str]:
        """The cameras whose pictures somebody is looking at."""
        with self._lock:
            since = self._clock() - LOOKING_SECONDS
            looked = {one for one in self._cameras if self._asked.get(one, -math.inf) >= since}
            # What is no longer fetched must not be taken for live when somebody looks again.
            self._pictures = {one: kept for one, kept in self._pictures.items() if one in looked}
            return looked

    def show(self, camera: str, jpeg: bytes) -> None:
        with self._lock:
            # A picture that comes when nobody looks any more would be taken for live later.
            if self._clock() - self._asked.get(camera, -math.inf) <= LOOKING_SECONDS:
                self._count += 1
                self._pictures[camera] = (self._count, jpeg)

    # -- the server's side ----------------------------------------------------------------------

    def picture(self, camera: str, after: int) -> tuple[int, bytes] | None:
        """The newest picture and its number, if it is another one than `after`. Asking says that
        somebody looks."""
        with self._lock:
            if camera in self._cameras:
                self._asked[camera] = self._clock()
            newest = self._pictures.get(camera)
            return None if newest is None or newest[0] == after else newest

    def begin(self, action: str) -> Call:
        """:raises Busy: it has been asked for, and has no answer. A stop is never refused."""
        with self._lock:
            waiting = any(one.action == action and one.ok is None for one in self._calls)
            if waiting and action != "stop":
                raise Busy(f"{action}: no answer yet")
            self._count += 1
            call = Call(self._count, action)
            self._calls.append(call)
            return call

    def end(self, call: Call, ok: bool, text: str) -> None:
        with self._lock:
            call.ok, call.text = ok, text

    def age(self, at: str) -> float:
        """How long ago a time was that a page has from `now`, s; NaN: it is none."""
        try:
            return self._clock() - float(at)
        except ValueError:
            return math.nan

    def state(self, since: float) -> dict[str, Any]:
        """All that the page shows, for JSON.

        :param since: of the histories only what is newer, s on the clock of `now`.
        """
        with self._lock:
            now = self._clock()
            return {
                "now": now,
                **self._names,
                "parts": {
                    part: {"age": now - came, **said} for part, (came, said) in self._said.items()
                },
                "scores": [row for row in self._scores if row[0] > since],
                "latencies": [row for row in self._latencies if row[0] > since],
                "cameras": self._cameras,
                "calls": [vars(call).copy() for call in self._calls],
                "possible": self._possible(),
            }

    def _possible(self) -> list[str]:
        """Actions that the lesson would take now; of no meaning without one."""
        _, lesson = self._said.get("lesson", (0.0, {"values": {}}))
        services = lesson["values"].get("possible", "").split()
        return [
            action
            for action, (owner, service) in TRIGGERS.items()
            if owner == "recorder" and service in services
        ]


def _forget(rows: deque[Any], now: float) -> None:
    while rows and rows[0][0] < now - HISTORY_SECONDS:
        rows.popleft()
