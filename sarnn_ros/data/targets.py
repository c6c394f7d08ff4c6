# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the prediction made at a tick should be: the next state, or the recorded command."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.dataset import Int
from sarnn_ros.spec import Spec
from sarnn_ros.streams.ingest import Stream

Array = NDArray[np.float64]


def commands_at(spec: Spec, command: Stream, ticks: Int, since_ns: int | None = None) -> Array:
    """Per tick t the newest command in (t, t + period]. If none was sent then, the controller
    still followed the one before, so that is it.

    :param since_ns: commands of until then were of another episode.
    :return: (T, n), rad or m; NaN before any command, and where it is unreadable.
    """
    unknown = np.full(len(spec.command_indices), np.nan)
    sent = [unknown if joints is None else joints.values for joints in command.contents]
    # Row -1 is the last one: unknown.
    values = [*sent, unknown]
    rows = [command.newest(tick + spec.period_ns) for tick in ticks.tolist()]
    if since_ns is not None:
        rows = [row if row >= 0 and command.stamps[row] > since_ns else -1 for row in rows]
    return np.stack([values[row] for row in rows])


def targets_of(spec: Spec, commands: Array, joints: Array) -> Array:
    """See `Episode.targets`.

    next_state: the state at the next tick. command: for the commanded joints `commands_at`; before
    any command, and for joints that are not commanded, the next state.

    :param joints: (T, D), SI units.
    :return: (T, D), SI units.
    """
    targets = np.concatenate([joints[1:], joints[-1:]])
    if spec.target == "command":
        indices = list(spec.command_indices)
        targets[:, indices] = np.where(np.isnan(commands), targets[:, indices], commands)
    for column, seconds in spec.smooth.items():
        steps = max(1, round(seconds * spec.rate))
        targets[:, column] = smooth_switches(targets[:, column], steps)
    return targets


def lead_of(spec: Spec, commands: Array, joints: Array) -> tuple[float, ...]:
    """See `Episode.lead`."""
    indices = list(spec.command_indices)
    distance = np.fmax.reduce(np.abs(commands - joints[:, indices]), axis=0)  # skips NaN
    if np.isnan(distance).all():
        return ()
    lead = np.zeros(spec.joint_dim)
    lead[indices] = distance
    return tuple(lead.tolist())


def smooth_switches(values: Array, steps: int) -> Array:
    """A two-valued signal with cosine ramps, `steps` ticks before to `steps` after each switch.

    EIPL's `cos_interpolation` does it to inputs as well; that looks ahead, which no robot can, so
    here only targets are smoothed. Ramps that overlap meet where they cross.

    :param values: (T,), lowest and highest are the two levels.
    """
    low, high = values.min(), values.max()
    switches = np.flatnonzero(np.diff(values > (low + high) / 2))
    smoothed = values.copy()
    for number, switch in enumerate(switches.tolist()):
        # Half way to the next switch, or to the end: there a ramp is cut off, but does not jump.
        first = (switches[number - 1] + switch) // 2 + 1 if number else 0
        last = len(values) - 1
        if number + 1 < len(switches):
            last = (switch + switches[number + 1]) // 2
        start, stop = max(switch - steps + 1, first), min(switch + steps, last)
        rows = np.arange(start, stop + 1)
        phase = (rows - (switch - steps + 1)) / (2 * steps - 1)  # 0 … 1 over the whole ramp
        ramp = (1 - np.cos(np.pi * phase)) / 2
        level, end = (low, high) if values[switch + 1] > values[switch] else (high, low)
        smoothed[rows] = level + (end - level) * ramp
    return smoothed
