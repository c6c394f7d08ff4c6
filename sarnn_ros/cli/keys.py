# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Single keys from the terminal, for the commands that a person runs beside a robot."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


class Keys:
    """Single keys from the terminal, without Enter; none if there is no terminal."""

    def __enter__(self) -> Keys:
        self.usable = sys.stdin.isatty()
        if self.usable:
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *_: object) -> None:
        if self.usable:  # still: it may have been closed
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def read(self, timeout: float) -> str:
        """The next key, or nothing after `timeout` seconds."""
        if not self.usable:
            time.sleep(timeout)
            return ""
        ready, _, _ = select.select([sys.stdin], [], [], timeout)
        if not ready:
            return ""
        key = b""
        with suppress(OSError):  # the terminal was closed
            # Not sys.stdin.read: its buffer would hide further keys from select.
            key = os.read(sys.stdin.fileno(), 1)
        self.usable = bool(key)
        return key.decode(errors="replace")


def show_answer(console: Console, text: str) -> None:
    """What a key led to, or went wrong: `error: …`."""
    style = "red" if text.startswith("error: ") else None
    console.print(text, style=style, markup=False, highlight=False)
