# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cores and priority of a thread, asked of this very kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from sarnn_ros.control.scheduling import schedule_this_thread

NOBODY = 65534


def in_thread(work: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_the_thread_gets_its_core_and_no_other_thread_does():
    before = os.sched_getaffinity(0)
    core = max(before)
    refused, got = in_thread(lambda: (schedule_this_thread([core], 0), os.sched_getaffinity(0)))
    assert refused == [] and got == {core}
    assert os.sched_getaffinity(0) == before


def test_a_core_that_is_not_there_is_refused_with_those_that_are():
    before = os.sched_getaffinity(0)
    refused, got = in_thread(lambda: (schedule_this_thread([1000], 0), os.sched_getaffinity(0)))
    assert got == before
    assert len(refused) == 1
    assert "[1000]" in refused[0] and ", ".join(map(str, sorted(before))) in refused[0]


WITHOUT_PRIVILEGE = f"""
import os
from sarnn_ros.control.scheduling import schedule_this_thread
if os.getuid() == 0:
    os.setuid({NOBODY})
refused = schedule_this_thread([], 99)
print(os.sched_getscheduler(0), *refused)
"""


def test_without_the_privilege_the_priority_is_refused_with_a_remedy_and_all_goes_on():
    text = subprocess.check_output([sys.executable, "-c", WITHOUT_PRIVILEGE], text=True)
    assert text.startswith(f"{os.sched_getscheduler(0)} ")
    assert "realtime_priority 99" in text and "rtprio 99" in text


def test_nothing_asked_nothing_done():
    assert in_thread(lambda: schedule_this_thread([], 0)) == []
