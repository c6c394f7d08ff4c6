# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The signals that end a node's process properly. Standard library only."""

from __future__ import annotations

import signal
import threading


def stop_event() -> threading.Event:
    """Set by Ctrl-C, SIGTERM and SIGHUP (the terminal was closed, the ssh session broke off).

    To be called in the main thread. An ignored SIGHUP stays ignored: nohup.
    """
    stop = threading.Event()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, lambda *_: stop.set())
    return stop
