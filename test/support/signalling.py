# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Signals as a process may really get them, sent from outside. Linux."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

from in_time import NotInTime

_LIBC = ctypes.CDLL(None, use_errno=True)


def other_thread(pid: int, number: int) -> int:
    """A thread of the process, not its main one, that takes the signal.

    :raises AssertionError: there is none.
    """
    for task in sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name)):
        fields = dict(
            line.split(":", 1)
            for line in (task / "status").read_text().splitlines()
            if ":" in line
        )
        blocked = int(fields["SigBlk"], 16) & (1 << (number - 1))
        if int(task.name) != pid and not blocked:
            return int(task.name)
    raise AssertionError(f"process {pid} has no other thread that takes signal {number}")


def state(pid: int, thread: str = "") -> str:
    """Of the main thread or another, as `ps` shows it. T: stopped, S: waits, Z: has ended."""
    folder = f"/proc/{pid}/task/{thread}" if thread else f"/proc/{pid}"
    return Path(f"{folder}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for_state(pid: int, wanted: str, *, stays: float = 0.02, timeout: float = 10.0) -> None:
    """Until the main thread is in that state, and stays in it for so long, s."""
    end, since = time.monotonic() + timeout, None
    while since is None or time.monotonic() - since < stays:
        now = time.monotonic()
        if now >= end:
            raise NotInTime(f"process {pid} is in state {state(pid)}, not {wanted}")
        since = (since or now) if state(pid) == wanted else None
        time.sleep(0.002)


def to_the_process(pid: int, number: int) -> None:
    """As `kill` and the terminal do; the kernel chooses the thread."""
    os.kill(pid, number)


def to_another_thread(pid: int, number: int) -> None:
    """Not to the main thread, which alone runs Python's handlers."""
    wait_for_state(pid, "S")  # or it would run the handler before it begins to wait
    assert _LIBC.tgkill(pid, other_thread(pid, number), number) == 0, ctypes.get_errno()


def while_it_is_stopped(pid: int, number: int) -> None:
    """As Ctrl-Z, the signal, `fg`: whichever thread wakes first takes it."""
    wait_for_state(pid, "S")
    os.kill(pid, signal.SIGSTOP)
    # At once: joints that are too old when it goes on would show no place to hold at.
    wait_for_state(pid, "T", stays=0.0)
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)


def stop_while_it_waits(pid: int, timeout: float = 10.0) -> None:
    """SIGSTOP at a moment in which all of its threads wait. One that is stopped while it takes a
    message out of Fast DDS's shared memory keeps a lock, for which writers wait for a second.

    Returns when all are stopped: until the thread that takes the signal has got a core, the others
    go on."""
    end = time.monotonic() + timeout

    def until_all(wanted: str) -> None:
        while any(state(pid, task.name) != wanted for task in Path(f"/proc/{pid}/task").iterdir()):
            assert time.monotonic() < end, f"process {pid} never is in state {wanted}"
            time.sleep(0.001)

    until_all("S")
    os.kill(pid, signal.SIGSTOP)
    until_all("T")


def many_times(pid: int, number: int) -> None:
    """An impatient user: again and again until it is gone, all through its teardown."""
    end = time.monotonic() + 10.0
    while time.monotonic() < end:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        if state(pid) == "Z":
            return
        time.sleep(0.01)


DELIVERIES = (to_the_process, to_another_thread, while_it_is_stopped, many_times)
