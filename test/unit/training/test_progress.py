# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The remaining time: right by the clock, after resuming and after starting again."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from sarnn_ros.training.config import make_config
from sarnn_ros.training.progress import ProgressBar
from sarnn_ros.training.trainer import Epoch, Losses


class Training:
    """A clock that epochs advance, and what the bar printed."""

    def __init__(self, *, terminal: int = 0, **settings: Any) -> None:
        self.now, self.validated = 1000.0, False
        self.config = make_config({"epochs": 40, "validate_every": 100, **settings})
        self.out = io.StringIO()
        console = Console(file=self.out, width=terminal or 200, force_terminal=bool(terminal))
        self.bar = ProgressBar(self.config.epochs, console, clock=lambda: self.now)

    def epoch(self, number: int, seconds: float, *, besides: float = 0.0, afresh: bool = False):
        self.now += seconds
        trainer: Any = SimpleNamespace(epoch=0 if afresh else number + 1, config=self.config)
        losses = Losses(1, 2, 3, 4)
        validation, explained = (losses, 0.5) if self.validated else (None, None)
        self.bar(trainer, Epoch(number, losses, validation, explained, 1e-3, seconds))
        self.now += besides  # checkpoint, pictures

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()


def test_nothing_pushes_the_bar_off_a_narrow_terminal() -> None:
    training = Training(terminal=80)
    with training.bar:
        for number in range(40):
            training.validated = number == 20
            training.epoch(number, 2.0)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", training.out.getvalue())
    bar, losses, validation = plain.replace("\r", "\n").splitlines()[-3:]
    assert re.match(r"training ━+ +40/40 epochs 0:01:18 0:00:00", bar)
    assert losses == "loss joint 2.00e+00 point 3.00e+00 image 1.00e+00"
    assert validation.strip().endswith("image 1.00e+00, explained 0.50")
    assert max(len(line) for line in (bar, losses, validation)) <= 80


def test_lines_say_what_is_left_by_the_clock() -> None:
    training = Training()
    for number in range(40):
        training.epoch(number, 2.0, besides=1.0)
    assert re.match(r"epoch 4/40: loss joint 2\.00e\+00.*; 0:01:4[58] left", training.lines[1])
    assert training.lines[-1].startswith("epoch 40/40")
    assert training.lines[-1].endswith("0:00:00 left")
    assert len(training.lines) == 20  # one in 5 s at most


def test_the_speed_is_that_of_epochs_trained_here() -> None:
    """Resumed, and after starting again, the epochs before do not count."""
    training = Training()
    for number in range(30, 35):
        training.epoch(number, 6.0)
    assert training.lines[-1].startswith("epoch 35/40")
    assert training.lines[-1].endswith("0:00:30 left")
    training.epoch(35, 6.0, afresh=True)
    for number in range(3):
        training.epoch(number, 6.0)
    assert training.lines[-1].startswith("epoch 3/40")
    assert training.lines[-1].endswith("0:03:42 left")


def test_an_epoch_now_and_then_that_takes_longer_does_not_shake_it() -> None:
    training = Training()
    for number in range(30):
        training.epoch(number, 34.0 if number % 5 == 3 else 4.0)
    assert training.lines[-1].startswith("epoch 29/40")
    minutes, seconds = map(int, re.findall(r"0:(\d+):(\d+) left", training.lines[-1])[0])
    assert 85 < 60 * minutes + seconds < 135  # 11 epochs of 10 s on average
