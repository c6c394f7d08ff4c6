# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A command on a terminal of its own, as a person has it."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess


class Terminal:
    """A process on a terminal of its own, which keys are typed into."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            command, env=environment, stdin=slave, stdout=slave, stderr=slave, close_fds=True
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self.output = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def says(self, text: str) -> bool:
        # A terminal that is closed, or has nothing to say, raises.
        with contextlib.suppress(OSError):
            self.output += os.read(self._master, 65536).decode(errors="replace")
        return text in self.output

    def kill(self) -> None:
        self._process.kill()
        self.end()

    def end(self) -> int:
        try:
            return self._process.wait(30)
        finally:
            self._process.kill()
            self._process.wait()
            if self._master >= 0:
                os.close(self._master)
            self._master = -1
