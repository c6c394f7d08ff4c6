# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Progress and results on the terminal. rich only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from sarnn_ros.training.trainer import Epoch, Losses, Trainer

#: Without a terminal (a log file, CI) a line is written at most this often, s.
LINE_SECONDS = 5.0
#: The remaining time follows from the mean speed over this time, s.
SPEED_SECONDS = 600.0


class _Bar(Progress):
    """:ivar below: lines below the bar: beside it they would leave it no room."""

    below: Sequence[str] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield from (Text(line, no_wrap=True, overflow="ellipsis") for line in self.below)


class ProgressBar:
    """A watcher for `run.train`: epoch, losses and remaining time.

    :param clock: seconds.
    """

    def __init__(
        self, epochs: int, console: Console, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._clock = clock
        self._written = clock()
        self._bar = _Bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            get_time=clock,
            speed_estimate_period=SPEED_SECONDS,
        )
        self._task = self._bar.add_task("", total=epochs)
        self._next: int | None = None  # the epoch that should follow
        self._validation = ""  # the last one: not every epoch has one

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, trainer: Trainer, epoch: Epoch) -> None:
        losses = f"loss {_text(epoch.training)}"
        if epoch.validation is not None:
            self._validation = f"validation {_text(epoch.validation)}"
            if epoch.explained is not None:
                self._validation += f", explained {epoch.explained:.2f}"
        if epoch.number != self._next:  # the first one, or resumed
            self._bar.reset(self._task, completed=epoch.number)
        self._next = epoch.number + 1
        self._bar.below = [losses, *filter(None, [self._validation])]
        self._bar.update(self._task, completed=trainer.epoch)
        now, epochs = self._clock(), trainer.config.epochs
        if not self._console.is_terminal and (
            now - self._written >= LINE_SECONDS or trainer.epoch == epochs
        ):
            self._written = now
            text = losses if epoch.validation is None else f"{losses}; {self._validation}"
            left = self._bar.tasks[0].time_remaining
            if left is not None:
                text += f"; {timedelta(seconds=round(left))} left"
            self._console.print(f"epoch {epoch.number + 1}/{epochs}: {text}", soft_wrap=True)


def _text(losses: Losses) -> str:
    return f"joint {losses.joint:.2e} point {losses.point:.2e} image {losses.image:.2e}"
