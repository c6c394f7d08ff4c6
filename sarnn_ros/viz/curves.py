# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Plots of a training and of a policy: learning curves, joints, losses and states over an episode.
Matplotlib only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = ("joint", "point", "image")
DPI = 100
#: How each line of `plot_joints` is drawn, in their order.
STYLES = ("-", "--", ":")
#: More episodes have no numbers in a plot.
MAX_NAMED = 10
#: Matplotlib's font has letters up to Cyrillic.
LAST_LETTER = "\u0530"


def plot_curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the losses of every epoch, one panel per part, logarithmic.

    :param history: per epoch `number`, `training` and, some of them, `validation` (both with
        `image`, `joint` and `point`).
    :param path: PNG to write.
    """
    figure, panels = _loss_panels("epoch")
    for part, axes in panels.items():
        for split in ("training", "validation"):
            rows = [row for row in history if row[split] is not None and row[split][part] > 0]
            if rows:
                epochs = [row["number"] + 1 for row in rows]
                axes.plot(epochs, [row[split][part] for row in rows], label=split)
        axes.set_yscale("log")
        if axes.lines:
            axes.legend()
    figure.savefig(path, dpi=110)


def plot_joints(
    lines: Mapping[str, NDArray[Any]], labels: Sequence[str], seconds: NDArray[Any], title: str
) -> Figure:
    """Each joint over an episode.

    :param lines: what is compared, by name: (T, D) or fewer rows.
    :param labels: of the D panels.
    :param seconds: (T,), since the episode's beginning.
    """
    figure = _figure(8, 1.4 * len(labels) + 0.8)
    panels = figure.subplots(len(labels), 1, sharex=True, squeeze=False)[:, 0]
    for index, (axes, label) in enumerate(zip(panels, labels, strict=True)):
        for style, (name, values) in zip(STYLES, lines.items()):
            axes.plot(seconds[: len(values)], values[:, index], style, label=name)
        axes.set_title(_plain(label.replace("\n", "  ")), loc="left", fontsize=9)
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    figure.suptitle(_plain(title), x=0.01, ha="left")
    panels[-1].set_xlabel("time (s)")
    panels[-1].set_xlim(seconds[0], seconds[-1])
    return figure


def plot_losses(losses: Sequence[Mapping[str, NDArray[Any]]], period: float) -> Figure:
    """The losses of each tick, one panel per part: every episode, and their median.

    :param losses: per episode, each part of `PARTS` (T,).
    :param period: of a tick, s.
    """
    figure, panels = _loss_panels("time (s)")
    for part, axes in panels.items():
        longest = max(len(one[part]) for one in losses)
        stacked = np.full((len(losses), longest), np.nan)
        for row, one in zip(stacked, losses):
            row[: len(one[part])] = one[part]
        seconds = np.arange(longest) * period
        axes.plot(seconds, stacked.T, color="0.75", linewidth=0.8)
        axes.plot(seconds, np.nanmedian(stacked, axis=0), color="C3", linewidth=2, label="median")
        if (stacked > 0).any():
            axes.set_yscale("log")
        axes.legend()
    return figure


def plot_states(states: Sequence[NDArray[Any]]) -> Figure:
    """The recurrent state over each episode, in the first three principal components of all.

    :param states: per episode (T, R). A few have their numbers in the legend, from 1 on.
    """
    from matplotlib import colormaps

    projected, shares = principal_components(states)
    figure = _figure(11, 5)
    panels = figure.subplots(1, 2)
    colors = colormaps["turbo"](np.linspace(0.05, 0.95, len(states)))
    for axes, second in zip(panels, (1, 2)):
        for number, (one, color) in enumerate(zip(projected, colors), 1):
            axes.plot(one[:, 0], one[:, second], "-", color=color, linewidth=1, label=f"{number}")
            axes.plot(one[0, 0], one[0, second], "o", color=color)
            axes.plot(one[-1, 0], one[-1, second], "s", color=color)
        axes.set_xlabel(f"component 1 ({shares[0]:.0%} of the variance)")
        axes.set_ylabel(f"component {second + 1} ({shares[second]:.0%})")
        axes.grid(alpha=0.3)
    figure.suptitle("LSTM state h of each episode; circle: begin, square: end")
    if len(states) <= MAX_NAMED:
        panels[1].legend(fontsize=7)
    return figure


def _plain(text: str) -> str:
    """For Matplotlib, which takes what is between two $ for a formula, and whose font has no
    letters of Asia."""
    shown = "".join(one if one < LAST_LETTER else "?" for one in text)
    return shown.replace("$", r"\$")


def principal_components(
    states: Sequence[NDArray[Any]],
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """:param states: each (T, R).
    :returns: each (T, 3), in the directions in which all of them vary most; and which share of
        their variance each direction has.
    """
    count = 3
    stacked = np.concatenate(states).astype(np.float64)
    mean = stacked.mean(axis=0)
    _, strength, found = np.linalg.svd(stacked - mean, full_matrices=False)
    # A state of fewer numbers has fewer directions.
    variance, directions = np.zeros(count), np.zeros((count, stacked.shape[1]))
    variance[: len(strength)] = strength[:count] ** 2
    directions[: len(found)] = found[:count]
    shares = variance / max(float((strength**2).sum()), np.finfo(float).tiny)
    return [(one - mean) @ directions.T for one in states], shares


def to_png(figure: Figure) -> bytes:
    """The figure as the content of a file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _loss_panels(across: str) -> tuple[Figure, dict[str, Any]]:
    figure = _figure(11, 3.4)
    panels = dict(zip(PARTS, figure.subplots(1, len(PARTS))))
    for part, axes in panels.items():
        axes.set_title(f"{part} loss (MSE)")
        axes.set_xlabel(across)
        axes.grid(alpha=0.3)
    return figure, panels


def _figure(width: float, height: float) -> Figure:
    """Width and height are in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
