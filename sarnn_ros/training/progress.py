# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a person watching a training sees on the terminal. rich only."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sarnn_ros.training.trainer import Epoch, Losses, Trainer

#: Without a terminal (a log file, CI) a line is written at most this often, s.
LINE_SECONDS = 5.0


class ProgressBar:
    """A watcher for `run.train`: epoch, losses and remaining time."""

    def __init__(self, epochs: int, console: Console) -> None:
        self._console = console
        self._epochs = epochs
        self._spent = self._written = 0.0
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=epochs, losses="")

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, trainer: Trainer, epoch: Epoch) -> None:
        done = epoch.number + 1
        text = f"loss {_text(epoch.training)}"
        if epoch.validation is not None:
            text += f"; validation {_text(epoch.validation)}"
        self._bar.update(self._task, completed=done, losses=text)
        self._spent += epoch.seconds
        if not self._console.is_terminal and (
            self._spent - self._written >= LINE_SECONDS or done == self._epochs
        ):
            self._written = self._spent
            left = (self._epochs - done) * epoch.seconds
            self._console.print(
                f"epoch {done}/{self._epochs}: {text}; about {left:.0f} s left", soft_wrap=True
            )


def _text(losses: Losses) -> str:
    return f"joint {losses.joint:.2e} point {losses.point:.2e} image {losses.image:.2e}"
