# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The remaining time: calm on a busy machine, right about validation, restarts and resuming."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from sarnn_ros.training.config import make_config
from sarnn_ros.training.eta import Eta, duration_text
from sarnn_ros.training.progress import ProgressBar
from sarnn_ros.training.trainer import Epoch, Losses


def test_a_busy_machine_does_not_shake_it() -> None:
    """Every fifth epoch takes seven times as long."""
    eta, rng = Eta(200, 200), np.random.default_rng(0)
    shown = []
    for number in range(100):
        eta.see(number, 7.0 if number % 5 == 3 else rng.uniform(0.9, 1.1))
        shown.append(eta.left(number + 1) / (199 - number))
    assert 0.9 < min(shown[5:])
    assert max(shown[5:]) < 1.1


def test_it_follows_a_machine_that_gets_slower() -> None:
    eta = Eta(100, 100)
    for number in range(60):
        eta.see(number, 1.0 if number < 30 else 3.0)
    assert eta.left(60) == pytest.approx(40 * 3.0)


@pytest.mark.parametrize("start", [0, 35])  # from the beginning, and resumed
@pytest.mark.parametrize("every", [1, 10, 7, 300])
def test_validation_is_counted_where_it_comes(every: int, start: int) -> None:
    """Known costs: 1 s an epoch, 4 s more with validation."""

    def cost(number: int) -> float:
        return 5.0 if (number + 1) % every == 0 else 1.0

    eta = Eta(100, every)
    for number in range(start, start + 30):
        eta.see(number, cost(number))
        if number > start + every or every in (1, 300):
            assert eta.left(number + 1) == sum(cost(later) for later in range(number + 1, 100))
    assert eta.left(0) == sum(cost(later) for later in range(100))  # started afresh
    assert eta.left(100) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "60 s"), (119.4, "119 s"), (125, "2 min"), (3590, "1 h 00 min"),
     (3541, "59 min"), (5400, "1 h 30 min"), (100_000, "27 h 47 min")],
)  # fmt: skip
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


class Training:
    """A clock that epochs advance, and what the bar printed."""

    def __init__(self, **settings: Any) -> None:
        self.now = 1000.0
        self.config = make_config({"epochs": 40, "validate_every": 100, **settings})
        self.out = io.StringIO()
        console = Console(file=self.out, width=200)
        self.bar = ProgressBar(self.config.epochs, console, clock=lambda: self.now)

    def epoch(self, number: int, seconds: float, *, besides: float = 0.0, afresh: bool = False):
        self.now += seconds
        trainer: Any = SimpleNamespace(epoch=0 if afresh else number + 1, config=self.config)
        self.bar(trainer, Epoch(number, Losses(1, 2, 3, 4), None, 1e-3, seconds))
        self.now += besides  # checkpoint, pictures

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


def test_lines_say_what_is_left_by_the_clock() -> None:
    training = Training()
    for number in range(40):
        training.epoch(number, 2.0, besides=1.0)
    assert re.match(r"epoch 4/40: loss joint 2\.00e\+00.*; about 108 s left", training.lines[1])
    assert training.lines[-1].startswith("epoch 40/40")
    assert training.lines[-1].endswith("about 0 s left")
    assert len(training.lines) == 20  # one in 5 s at most


def test_a_training_that_starts_afresh_has_all_epochs_before_it() -> None:
    training = Training()
    for number in range(9):
        training.epoch(number, 6.0)
    training.epoch(9, 6.0, afresh=True)
    assert training.lines[-1].startswith("epoch 10/40")
    assert training.lines[-1].endswith("about 4 min left")
    training.epoch(0, 6.0)
    assert training.lines[-1].startswith("epoch 1/40")
    assert training.lines[-1].endswith("about 4 min left")


def test_with_patience_it_is_at_most() -> None:
    training = Training(recipe="eipl", epochs=100, patience=5)
    training.epoch(0, 600.0)
    assert training.lines[-1].endswith("at most 16 h 30 min left")
