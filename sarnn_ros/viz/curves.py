# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Learning curves, and joints over time, as pictures. Matplotlib only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = ("joint", "point", "image")


def plot_curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the losses of every epoch, one panel per part, logarithmic.

    :param history: per epoch `number`, `training` and, some of them, `validation` (both with
        `image`, `joint` and `point`).
    :param path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, part in zip(figure.subplots(1, len(PARTS)), PARTS, strict=True):
        for split in ("training", "validation"):
            rows = [row for row in history if row[split] is not None and row[split][part] > 0]
            if rows:
                axes.plot(
                    [row["number"] + 1 for row in rows],
                    [row[split][part] for row in rows],
                    label=split,
                )
        axes.set_title(f"{part} loss (MSE)")
        axes.set_xlabel("epoch")
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.savefig(path, dpi=110)


def plot_joints(recorded: NDArray[Any], predicted: NDArray[Any], labels: Sequence[str]) -> Figure:
    """Each joint over an episode, what was recorded and what was predicted for the same tick.

    :param recorded, predicted: (T, D), normalised. :param labels: D names.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 * len(labels) + 0.6), layout="constrained")
    panels = figure.subplots(len(labels), 1, sharex=True, squeeze=False)[:, 0]
    for index, (axes, label) in enumerate(zip(panels, labels, strict=True)):
        axes.plot(recorded[:, index], label="recorded")
        axes.plot(predicted[:, index], "--", label="predicted")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    panels[0].legend(loc="upper right")
    panels[-1].set_xlabel("tick")
    return figure
