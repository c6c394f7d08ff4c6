# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What ends a process of ours: real processes, real signals. The nodes are in test/ros."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from signalling import DELIVERIES

#: Waits as our nodes do, beside a thread that takes signals as DDS's and OpenBLAS's do.
CHILD = """
import sys, threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
from sarnn_ros.signals import stop_on_signals
with stop_on_signals({deadline}) as stop:
    print("waiting", flush=True)
    stop.wait()
    {teardown}
    print("cleaned up", flush=True)
time.sleep(0.2)  # as long as an interpreter may take to go
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    children = []

    def start(teardown: str = "pass", deadline: float = 30.0, ignored: int | None = None):
        def inherit() -> None:
            # The test run itself may have inherited an ignored SIGHUP (nohup) or SIGINT (&).
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN if number == ignored else signal.SIG_DFL)

        child = subprocess.Popen(
            [sys.executable, "-c", CHILD.format(teardown=teardown, deadline=deadline)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=inherit,
        )  # fmt: skip
        children.append(child)
        assert child.stdout is not None and child.stdout.readline() == "waiting\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("deliver", DELIVERIES, ids=lambda one: one.__name__)
def test_it_ends_whichever_thread_gets_the_signal(start: Start, deliver, number: int):
    child = start("time.sleep(0.1)")
    deliver(child.pid, number)
    output, error = child.communicate(timeout=30)
    assert (child.returncode, output, error) == (0, "cleaned up\n", "")


def test_a_signal_that_comes_just_before_it_is_ignored_prints_nothing():
    """CPython tells that race as an error. The more blocks end, the likelier it is."""
    blocks = """
from sarnn_ros.signals import stop_on_signals
for _ in range(200):
    with stop_on_signals():
        print("waiting", flush=True)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", blocks],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None and child.stdout.readline() == "waiting\n"
    while child.poll() is None:
        child.send_signal(signal.SIGINT)
    assert (child.returncode, child.communicate()[1]) == (0, "")


def test_nohup_stays_nohup(start: Start):
    child = start(ignored=signal.SIGHUP)
    child.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        child.communicate(timeout=0.5)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0


def test_an_ignored_sigint_ends_it_all_the_same(start: Start):
    # Shells start background jobs so.
    child = start(ignored=signal.SIGINT)
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 0


def test_whoever_hangs_in_its_teardown_is_ended_and_says_where(start: Start):
    child = start("threading.Event().wait()", deadline=0.3)
    child.send_signal(signal.SIGINT)
    output, error = child.communicate(timeout=30)
    assert (child.returncode, output) == (1, "")
    assert 'File "<string>", line 8' in error and "Timeout" in error
