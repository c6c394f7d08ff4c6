# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A node that waits says so in its log, with the next step: often at first, then rarely."""

from __future__ import annotations

import time
from collections.abc import Callable

#: After so long in the same state the first reminder, then after twice as long each time, s.
FIRST_S = 3.0
LONGEST_S = 60.0


class Reminder:
    """See the module.

    :param log: called with the reminder.
    :param now: seconds that never step.
    """

    def __init__(
        self, log: Callable[[str], object], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._now = now
        self._state = ""
        self._due = self._pause = 0.0

    def see(self, state: str, text: str) -> None:
        """To be called about once a second.

        :param state: a stable name; another one begins anew.
        :param text: what it waits for, and the next step; empty if it does not wait.
        """
        if state != self._state:
            self._state, self._pause = state, FIRST_S
            self._due = self._now() + self._pause
        if text and self._now() >= self._due:
            self._log(text)
            self._pause = min(2 * self._pause, LONGEST_S)
            self._due = self._now() + self._pause
