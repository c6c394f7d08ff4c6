# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a person watching a training sees on the terminal. rich only."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from sarnn_ros.training.eta import Eta, duration_text
from sarnn_ros.training.seeds import Comparison, SeedResult
from sarnn_ros.training.trainer import Epoch, Losses, Trainer

#: Without a terminal (a log file, CI) a line is written at most this often, s.
LINE_SECONDS = 5.0


class ProgressBar:
    """A watcher for `run.train`: epoch, losses and remaining time.

    :param label: which training it is, where there are several.
    :param clock: seconds.
    """

    def __init__(
        self,
        epochs: int,
        console: Console,
        label: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefix = f"{label}: " if label else ""
        self._console = console
        self._epochs = epochs
        self._clock = clock
        self._eta: Eta | None = None
        self._last: float | None = None  # when the epoch before ended
        self._written = clock()
        self._bar = Progress(
            TextColumn(label or "training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[losses]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=epochs, left="", losses="")

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
        left = self._left(trainer, epoch)
        done = trainer.epoch  # 0 where it starts afresh
        text = f"loss {_text(epoch.training)}"
        if epoch.validation is not None:
            text += f"; validation {_text(epoch.validation)}"
        self._bar.update(self._task, completed=done, left=left, losses=text)
        now = self._clock()
        if not self._console.is_terminal and (
            now - self._written >= LINE_SECONDS or done == self._epochs
        ):
            self._written = now
            number = epoch.number + 1
            self._console.print(
                f"{self._prefix}epoch {number}/{self._epochs}: {text}; {left}", soft_wrap=True
            )

    def _left(self, trainer: Trainer, epoch: Epoch) -> str:
        """Remaining time. From end to end of epochs: checkpoints and pictures take their time."""
        if self._eta is None:
            self._eta = Eta(self._epochs, trainer.config.validate_every)
        now = self._clock()
        self._eta.see(epoch.number, epoch.seconds if self._last is None else now - self._last)
        self._last = now
        # Training may end before, for want of patience.
        roughly = "about" if trainer.config.patience is None else "at most"
        return f"{roughly} {duration_text(self._eta.left(trainer.epoch))} left"


def _text(losses: Losses) -> str:
    return f"joint {losses.joint:.2e} point {losses.point:.2e} image {losses.image:.2e}"


def seeds_table(comparison: Comparison) -> Table:
    """What came of each seed, the chosen one marked, and what the choice rests on."""
    tried = any(row.success is not None for row in comparison.rows)
    table = Table(title="Seeds", caption=_caption(comparison, tried), caption_justify="left")
    for head in ("", "seed", "epochs", "restarts", "error", "spread", "motion", "attention"):
        table.add_column(head)
    kinds = list(next((row.success for row in comparison.rows if row.success), {}))
    for kind in kinds:
        table.add_column(kind)
    for row in comparison.rows:
        chosen = row.seed == comparison.chosen
        table.add_row(
            "→" if chosen else "", *_cells(row, kinds), style="bold green" if chosen else None
        )
    return table


def _cells(row: SeedResult, kinds: list[str]) -> list[str]:
    if row.failure is not None:
        return [str(row.seed), "failed"]
    return [
        str(row.seed),
        str(row.epochs),
        str(row.restarts),
        f"{row.error:.2%}",
        "" if row.attention_spread is None else f"{row.attention_spread:.2f}",
        f"{row.motion:.2f}",
        "unknown" if row.attention_spread is None else "blind" if row.blind else "sees",
        *(f"{row.success[kind]:.0%}" if row.success else "" for kind in kinds),
    ]


def _caption(comparison: Comparison, tried: bool) -> str:
    where = "held-out episodes" if comparison.held_out else "TRAINING episodes (none held out)"
    text = (
        f"error: RMS of the joints, of their range, and motion of points: on {where}. "
        "spread: of a point between the starts of the training episodes."
    )
    if not tried:
        text += (
            " No trials in a simulator: chosen by attention and error alone, which do not predict "
            "success."
        )
    return text
