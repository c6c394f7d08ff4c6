# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The executor's thread outlives a callback that fails."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from rclpy.executors import ExternalShutdownException

from sarnn_ros.ros.spinning import spin


def test_it_goes_on_after_any_exception_and_ends_with_the_executor():
    said: list[str] = []
    node = SimpleNamespace(get_logger=lambda: SimpleNamespace(error=said.append))
    endings = iter([FileNotFoundError("no such bag"), ValueError("odd"), None])

    def work() -> None:
        error = next(endings, ExternalShutdownException())
        if error is not None:
            raise error

    stop = threading.Event()
    spin(SimpleNamespace(context=SimpleNamespace(ok=lambda: True), spin=work), node, stop)
    assert stop.is_set() and len(said) == 2
    assert "no such bag" in said[0] and "Traceback" in said[0]
