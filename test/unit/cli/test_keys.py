# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Keys of a terminal that is there, and of one that was closed."""

from __future__ import annotations

import os
import pty
import sys
import time

import pytest

from sarnn_ros.cli.keys import Keys


def test_a_terminal_that_was_closed_gives_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave) as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", terminal)
        with Keys() as keys:
            os.write(master, b"sf")
            assert [keys.read(5.0) for _ in range(2)] == ["s", "f"]
            assert keys.read(0.0) == "" and keys.usable
            os.close(master)
            assert keys.read(5.0) == "" and not keys.usable
            begun = time.monotonic()
            assert keys.read(0.05) == ""
            assert time.monotonic() - begun >= 0.05, "whoever asks in a loop takes a whole core"
