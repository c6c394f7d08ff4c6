# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Progress and results on the terminal. rich only."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from sarnn_ros.training.seeds import Comparison, SeedResult
from sarnn_ros.training.trainer import Epoch, Losses, Trainer

#: Without a terminal (a log file, CI) a line is written at most this often, s.
LINE_SECONDS = 5.0
#: The remaining time follows from the mean speed over this time, s.
SPEED_SECONDS = 600.0


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
        self._clock = clock
        self._written = clock()
        self._bar = Progress(
            TextColumn(label or "training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=console,
            disable=not console.is_terminal,
            get_time=clock,
            speed_estimate_period=SPEED_SECONDS,
        )
        self._task = self._bar.add_task("", total=epochs, losses="")
        self._next: int | None = None  # the epoch that should follow

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, trainer: Trainer, epoch: Epoch) -> None:
        text = f"loss {_text(epoch.training)}"
        if epoch.validation is not None:
            text += f"; validation {_text(epoch.validation)}"
        if epoch.explained is not None:
            text += f", explained {epoch.explained:.2f}"
        if epoch.number != self._next:  # the first one, resumed, or started again
            self._bar.reset(self._task, completed=epoch.number)
        self._next = epoch.number + 1
        self._bar.update(self._task, completed=trainer.epoch, losses=text)
        now, epochs = self._clock(), trainer.config.epochs
        if not self._console.is_terminal and (
            now - self._written >= LINE_SECONDS or trainer.epoch == epochs
        ):
            self._written = now
            left = self._bar.tasks[0].time_remaining
            if left is not None:
                text += f"; {timedelta(seconds=round(left))} left"
            self._console.print(
                f"{self._prefix}epoch {epoch.number + 1}/{epochs}: {text}", soft_wrap=True
            )


def _text(losses: Losses) -> str:
    return f"joint {losses.joint:.2e} point {losses.point:.2e} image {losses.image:.2e}"


def seeds_table(comparison: Comparison) -> Table:
    """A row per seed, the chosen one marked, and what the choice is based on."""
    tried = any(row.success is not None for row in comparison.rows)
    where = "held-out episodes" if comparison.held_out else "TRAINING episodes (none held out)"
    caption = (
        "explained: of how the episodes differ, the share that the policy explains running on its "
        f"own predictions. error: RMS of the actions, of their range. Both on {where}."
    )
    if not tried:
        caption += " No trials in a simulator: chosen by the explained share alone."
    table = Table(title="Seeds", caption=caption, caption_justify="left")
    kinds = list(next((row.success for row in comparison.rows if row.success), {}))
    for head in ("", "seed", "epochs", "restarts", "explained", "error", *kinds):
        table.add_column(head)
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
        "" if row.explained is None else f"{row.explained:.2f}",
        f"{row.error:.2%}",
        *(f"{row.success[kind]:.0%}" if row.success else "" for kind in kinds),
    ]
