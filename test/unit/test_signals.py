# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What ends a node's process."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from sarnn_ros.signals import stop_event

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_each_is_a_wish_to_stop(number: signal.Signals) -> None:
    stop = stop_event()
    assert not stop.is_set()
    assert signal.getsignal(number) != signal.SIG_DFL, "it would end pytest"
    signal.raise_signal(number)
    assert stop.is_set()


def test_nohup_stays_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = stop_event()
    signal.raise_signal(signal.SIGHUP)
    assert not stop.is_set()
