# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a process of ours ends on a signal. Standard library only."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

#: A process that has not ended this long after the first signal is ended by force, s.
ENDING_SECONDS = 5.0


@contextmanager
def stop_on_signals(deadline: float = ENDING_SECONDS) -> Iterator[threading.Event]:
    """An event that Ctrl-C, Ctrl-\\ (SIGQUIT), SIGTERM and SIGHUP (the terminal or the ssh session
    is gone) set.

    To be entered in the main thread, before anything starts other threads or waits. Python runs
    signal handlers in the main thread only, and only between two of its instructions: while that
    thread waits, a signal that the kernel gave to another thread goes unnoticed. The wakeup file
    descriptor is written to at once, in whichever thread gets the signal. So a thread reads it.

    An ignored SIGHUP stays ignored, as nohup wants it. Further signals change nothing: a second
    Ctrl-C must not cut off the hold or the end of a bag. They are ignored from the end of the
    block on, until the process is gone.

    :param deadline: a process that lives this long after the first signal, s, prints what its
        threads are doing and exits with code 1.
    """
    numbers = [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    stop = threading.Event()
    readable, writable = os.pipe()
    os.set_blocking(writable, False)

    def watch() -> None:
        while received := os.read(readable, 64):
            if not stop.is_set() and any(number in received for number in numbers):
                # In C, and without the interpreter's lock: it works whatever hangs.
                faulthandler.dump_traceback_later(deadline, exit=True, file=2)
                stop.set()
        os.close(readable)

    before = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        yield stop
    finally:
        sys.unraisablehook = partial(_without_the_race, sys.unraisablehook)
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(before)
        os.close(writable)
        watcher.join()


def _without_the_race(before: Callable[[Any], object], unraisable: Any) -> None:
    """Where a signal came just before it was ignored, CPython prints a traceback; it is none."""
    if unraisable.object is not None or "ignored due to race" not in str(unraisable.exc_value):
        before(unraisable)
