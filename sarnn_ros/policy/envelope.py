# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the training data did, as a few figures that are stored with the policy. NumPy only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sarnn_ros.policy.directory import MAX_LAG_SECONDS, CameraEnvelope, Envelope

if TYPE_CHECKING:
    from sarnn_ros.data.dataset import Dataset, Episode
    from sarnn_ros.spec import Spec

#: Frames looked at per episode and camera: brightness needs no more.
FRAMES_PER_EPISODE = 16
#: Of the episodes' largest second differences this quantile counts. A tick that a busy recorder
#: missed shows as one five times as large as any of the motion.
SHARE_WITHOUT_MISSED_TICKS = 0.9
#: Shares of its range below and above which a joint is in that half of it, as a two-valued gripper
#: is by default (`gripper.open_below`, `gripper.close_above`).
LOWER_HALF, UPPER_HALF = 0.4, 0.6
#: So many ticks tell how late a joint follows its commands. A lag is believed that leaves at most
#: so much of the squared distances between them. Of a joint that is slow, or hangs below its
#: commands, it leaves 0.1 to 0.25: such a joint would do all of its lead at once, when it is free.
LAG_WINDOW, LAG_UNEXPLAINED = 5, 0.1
#: A joint lagged while demonstrating if so much of its movement tells it.
LAG_TOLD = 0.25


def envelope_from_dataset(dataset: Dataset) -> Envelope:
    """The `Envelope` of what persons did, validation included: what was demonstrated was safe.
    What a policy did before somebody took over may not have been."""
    episodes = [part for episode in dataset.episodes for part in episode.parts]
    # The last row's target repeats its state: harmless here.
    motions = [np.concatenate([episode.joints, episode.targets]) for episode in episodes]
    everything = np.concatenate(motions)
    starts = np.stack([one.joints[0] for one in dataset.episodes if one.led is None])
    start = starts.mean(axis=0)
    # A smoothed target's ramp is made up: how far the arm may go at once is told by the states.
    moved = [_unsmoothed(dataset.spec, episode) for episode in episodes]
    max_step = _max_step(moved, dataset.spec.rate)
    max_change = np.max([_largest(episode, 1) for episode in moved], axis=0)
    # A correction begins in mid-motion, where commands are ahead.
    begun = [_unsmoothed(dataset.spec, one) for one in dataset.episodes if one.led is None]
    first_leads = [np.abs(one.targets[0] - one.joints[0]) for one in begun]
    return Envelope(
        position_min=_vector(everything.min(axis=0)),
        position_max=_vector(everything.max(axis=0)),
        max_step=_vector(max_step),
        first_lead=_vector(np.minimum(np.max(first_leads, axis=0), max_step)),
        max_change=_vector(max_change),
        second_difference=_vector(
            np.quantile([_largest(one, 2) for one in moved], SHARE_WITHOUT_MISSED_TICKS, axis=0)
        ),
        lag=tuple(_lag(moved, max_change, dataset.spec.rate)),
        min_dwell=tuple(_shortest_dwell(moved, dataset.spec)),
        effort=dataset.effort_spans,
        start_pose=_vector(start),
        start_pose_spread=_vector(np.abs(starts - start).max(axis=0)),
        cameras={camera.name: _camera(camera.name, episodes) for camera in dataset.spec.cameras},
    )


def _unsmoothed(spec: Spec, episode: Episode) -> Episode:
    targets = episode.targets.copy()
    for column in spec.smooth:
        targets[:-1, column] = episode.joints[1:, column]
        targets[-1, column] = episode.joints[-1, column]
    return replace(episode, targets=targets)


def _max_step(episodes: Sequence[Episode], rate: float) -> NDArray[np.float64]:
    """Per joint, the largest step in a tick; or how far the recorded commands led, if that is
    more. An arm that lags keeps up its demonstrated speed only behind such a lead. A joint
    whose commands led by more than `MAX_LAG_SECONDS` explains says nothing about lag."""
    # Of the state, of the target, and from the state to its target: what a command makes it do.
    changes = [
        change
        for one in episodes
        for change in (
            np.diff(one.joints, axis=0), np.diff(one.targets, axis=0), one.targets - one.joints
        )
    ]  # fmt: skip
    step: NDArray[np.float64] = np.abs(np.concatenate(changes)).max(axis=0)
    leads = [episode.lead for episode in episodes if episode.lead]
    if not leads:
        return step
    lead = np.max(leads, axis=0)
    explained = lead <= step * (1.0 + rate * MAX_LAG_SECONDS)
    return np.where(explained, np.maximum(step, lead), step)


def _lag(
    episodes: Sequence[Episode], max_change: NDArray[np.float64], rate: float
) -> Iterator[int]:
    """See `Envelope.lag`: as `control.lag.LagWatch` would have found it, in the median window."""
    longest = int(rate * MAX_LAG_SECONDS + 1e-6)
    found: list[list[int]] = [[] for _ in max_change]
    moves = np.zeros(len(max_change), np.int64)
    for one in episodes:
        reached = one.joints[1 + longest :]
        if len(reached) < LAG_WINDOW:
            continue
        windows = sliding_window_view(reached, LAG_WINDOW, axis=0)  # (W, D, LAG_WINDOW)
        late = [one.targets[longest - n :][: len(reached)] for n in range(longest + 1)]
        off = np.stack(
            [
                sliding_window_view(np.square(reached - goals), LAG_WINDOW, axis=0).sum(-1)
                for goals in late
            ]
        )
        way = np.ptp(windows, axis=-1)
        moved = (way > 0.0) & (way >= max_change)
        told = moved & ((off.argmin(0) == 0) | (off.min(0) <= LAG_UNEXPLAINED * off[0]))
        moves += moved.sum(0)
        for column, ticks in enumerate(found):
            ticks += off[:, told[:, column], column].argmin(0).tolist()
    for ticks, many in zip(found, moves.tolist()):
        yield int(np.median(ticks)) if ticks and len(ticks) >= LAG_TOLD * many else 0


def _largest(episode: Episode, order: int) -> NDArray[np.float64]:
    """Per joint, the largest difference of that order between targets that follow one another. The
    last target is not one: it repeats the state."""
    differences = np.abs(np.diff(episode.targets[:-1], n=order, axis=0))
    largest: NDArray[np.float64] = differences.max(axis=0, initial=0.0)
    return largest


def _shortest_dwell(episodes: Sequence[Episode], spec: Spec) -> Iterator[float | None]:
    """See `Envelope.min_dwell`. The time before the first change and after the last one does not
    count: nobody knows how much of it was recorded."""
    targets = [episode.targets[:-1] for episode in episodes]
    everything = np.concatenate(targets)
    low = everything.min(axis=0, initial=np.inf)
    high = everything.max(axis=0, initial=-np.inf)
    for column in range(spec.joint_dim):
        span = high[column] - low[column]
        dwells = []
        for path in targets:
            share = (path[:, column] - low[column]) / (span or 1.0)
            decided = np.flatnonzero((share < LOWER_HALF) | (share > UPPER_HALF))
            changed = np.flatnonzero(np.diff(share[decided] > UPPER_HALF))
            dwells += np.diff(decided[changed + 1]).tolist()
        yield min(dwells) / spec.rate if dwells else None


def _camera(name: str, episodes: Iterable[Episode]) -> CameraEnvelope:
    colors = []  # mean R, G, B per frame
    for episode in episodes:
        images = episode.images[name]
        rows = np.unique(np.linspace(0, len(images) - 1, FRAMES_PER_EPISODE).astype(np.int64))
        colors.append(images[rows].mean(axis=(1, 2), dtype=np.float64))
        width, height = episode.source_sizes[name]
    color = np.concatenate(colors)
    brightness = color.mean(axis=1)
    return CameraEnvelope(
        width=width,
        height=height,
        brightness_mean=float(brightness.mean()),
        brightness_std=float(brightness.std()),
        color_mean=tuple(color.mean(axis=0).tolist()),
    )


def _vector(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(values.tolist())
