# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What all tests need of the process they run in."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest
from reruns import Reruns

HERE = Path(__file__).parent

# A busy machine makes examples slow; no test is about how long they take.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

# Read when torch is first imported, here and in child processes. Most networks of the tests are
# too small for more, and there is a test process per core already.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell without job control starts background jobs with SIGINT ignored, nohup everything with
# SIGHUP ignored, and so would we and all children that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reruns(HERE / "ros", HERE / "system"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, so that no worker is left with them when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
