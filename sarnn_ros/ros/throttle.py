# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A log that does not repeat itself."""

from __future__ import annotations

import time
from typing import Any

from sarnn_ros.errors import shorten

#: Characters; a traceback has fewer.
MAX_TEXT_LENGTH = 10_000
#: A message of the same key is not logged again within this time.
LOG_INTERVAL_SECONDS = 5.0


class ThrottledLog:
    """Logs a text unless something of its key was logged just now."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._logged: dict[str, float] = {}

    def __call__(self, level: str, key: str, text: str) -> bool:
        """:param level: error, warning or info. Returns whether it is logged."""
        now = time.monotonic()
        if now - self._logged.get(key, -LOG_INTERVAL_SECONDS) < LOG_INTERVAL_SECONDS:
            return False
        recent = {one: at for one, at in self._logged.items() if now - at < LOG_INTERVAL_SECONDS}
        self._logged = recent | {key: now}  # it does not grow with the number of keys
        text = shorten(text, MAX_TEXT_LENGTH)
        # One line each: rclpy refuses two severities from the same line of code.
        if level == "error":
            self._logger.error(text)
        elif level == "warning":
            self._logger.warning(text)
        else:
            self._logger.info(text)
        return True
