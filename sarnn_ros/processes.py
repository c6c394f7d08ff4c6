# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Child processes: started in groups of their own, ended in any case, logged to files.

Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from sarnn_ros.errors import EnvironmentProblem

#: The signals that end a child, and how long it has after each, s.
ENDINGS = ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0))

#: ROS 2 domains that are safe on every platform with default port ranges.
DOMAINS = range(1, 102)
_PR_SET_PDEATHSIG = 1
#: How often a child that we wait for is polled, s.
POLL_SECONDS = 0.5


def path_parameter(name: str, path: Path) -> tuple[str, str]:
    """A node's argument, behind `--ros-args`. rcl reads a value as YAML, to which " #" begins a
    comment."""
    return "-p", f"{name}:={json.dumps(str(path.resolve()), ensure_ascii=False)}"


def parameters_file(node: str, values: Mapping[str, Any]) -> str:
    """What `--params-file` reads, for the file that comes last: these win over files before it.
    `-p` yields to a file's section for the node, and cannot name a node in a namespace.

    :param node: its full name.
    """
    sections = {name: {"ros__parameters": dict(values)} for name in ("/**", node)}
    return json.dumps(sections, ensure_ascii=False)


class Child:
    """A running command in a process group of its own.

    :param log: where its output goes, appended; None lets it use our terminal.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.name, self.log = name, log
        with log.open("ab") if log else contextlib.nullcontext() as output:
            # Its own group: Ctrl-C reaches us alone, and we end the children in order.
            self._process = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
                # It is of the thread that starts the child: that one has to live on, too.
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """:raises EnvironmentProblem: the process has ended; with the end of its log."""
        if self.code is None:
            return
        tail = ""
        if self.log:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            tail = "".join(f"\n  | {line}" for line in lines[-15:])
        raise EnvironmentProblem(
            f"the process '{self.name}' ended with code {self.code}{tail}",
            where=self.log,
            remedy=f"the whole log is in {self.log}" if self.log else "see its output above",
        )

    def wait(self) -> int:
        """Until it ends by itself; the exit code."""
        # With a timeout: a signal that another thread gets is handled only when this wait returns.
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(POLL_SECONDS)

    def stop(self) -> None:
        """End the whole group: SIGINT, then SIGTERM, then SIGKILL."""
        for number, patience in ENDINGS:
            if not _signal_group(self.pid, number):
                break
            end = time.monotonic() + patience
            while time.monotonic() < end and _group_lives(self._process):
                time.sleep(0.02)
        self._process.wait()


@contextlib.contextmanager
def children() -> Iterator[list[Child]]:
    """A list whose members are ended on leaving, last one first."""
    running: list[Child] = []
    try:
        yield running
    finally:
        # Further Ctrl-Cs do not stop the cleaning up, which takes seconds at most.
        with _handled((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN):
            for child in reversed(running):
                child.stop()


@contextlib.contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end us as Ctrl-C does, so that what is open gets closed."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    ends = (signal.SIGTERM, signal.SIGHUP)
    # Under nohup it stays ignored.
    numbers = [number for number in ends if signal.getsignal(number) != signal.SIG_IGN]
    with _handled(numbers, interrupt):
        yield


@contextlib.contextmanager
def _handled(numbers: Sequence[int], handler: Any) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def free_domain(domains: Sequence[int] = DOMAINS) -> int:
    """A ROS 2 domain that nobody on this machine uses now.

    The first participant of domain d listens on UDP port 7400 + 250 d + 10 (RTPS 9.6.1.1).

    :raises EnvironmentProblem: all are in use.
    """
    for domain in random.sample(domains, len(domains)):
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with probe, contextlib.suppress(OSError):
            probe.bind(("", 7400 + 250 * domain + 10))
            return domain
    raise EnvironmentProblem("every ROS domain is in use", remedy="name one with --domain-id")


def _die_with_parent() -> None:
    # Should we be killed outright, the kernel ends the child: nobody else would.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


_LIBC = ctypes.CDLL(None)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # a zombie would keep its group alive
    return _signal_group(process.pid, 0)
