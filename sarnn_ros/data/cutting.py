# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which ticks of a recording make an episode: windows, trimming, holes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.dataset import MIN_TICKS, Int, led_runs
from sarnn_ros.data.problems import BagReport
from sarnn_ros.errors import DecodeError
from sarnn_ros.spec import NANOSECONDS, Spec
from sarnn_ros.streams.ingest import Stream


@dataclass
class Cut:
    """An episode in the making. `chosen`: per source, the index of each tick's message."""

    name: str
    ticks: Int
    chosen: list[Int]
    images: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    sizes: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    undecodable: list[tuple[int, int, DecodeError]] = field(default_factory=list)  # camera, row
    previews: dict[str, dict[int, NDArray[np.uint8]]] = field(default_factory=dict)  # by row

    def trim(self, report: BagReport, spec: Spec) -> None:
        """Keep what lies from the first to the last tick at which every source is observable."""
        usable = np.flatnonzero(np.all([rows >= 0 for rows in self.chosen], axis=0))
        if len(usable) < MIN_TICKS:
            raise report.with_voids(
                f"at {spec.rate:g} Hz, {len(usable)} of its ticks have every source; an episode "
                f"needs {MIN_TICKS}",
                "record longer, or check that all streams run at the same time and stamp by the "
                "same clock",
                report.void,
            )
        first, end = int(usable[0]), int(usable[-1]) + 1
        window = slice(first, end)
        before, after = report.trimmed
        report.trimmed = (before + first, after + len(self.ticks) - end)
        self.ticks = self.ticks[window]
        self.chosen = [rows[window] for rows in self.chosen]
        self.images = {camera: array[window] for camera, array in self.images.items()}
        self.undecodable = [
            (camera, row - first, error)
            for camera, row, error in self.undecodable
            if first <= row < end
        ]
        self.previews = {
            camera: {row - first: image for row, image in some.items() if first <= row < end}
            for camera, some in self.previews.items()
        }

    def check_holes(self, report: BagReport, streams: Sequence[Stream]) -> None:
        """:raises BagError: a source is not observable at a tick in the middle."""
        holes: dict[str, str] = {}
        for stream, rows in zip(streams, self.chosen):
            missing = np.flatnonzero(rows < 0)
            if len(missing):
                after = (self.ticks[missing[0]] - self.ticks[0]) / NANOSECONDS
                age = stream.max_age_ns / NANOSECONDS
                recent = f"nothing usable of the last {age:g} s" if age else "no image"
                holes[stream.topic] = (
                    f"'{stream.topic}' has {recent} at {len(missing)} of {len(self.ticks)} ticks, "
                    f"first {after:.2f} s after the start"
                )
        if holes:
            raise report.with_voids(
                "a hole in the middle: " + "; ".join(holes.values()),
                "record it again; if such gaps are harmless, raise the source's 'max_age', or "
                "split the recording there ('episodes: {gap: 1.0}')",
                holes,
            )


def windows(spec: Spec, name: str, grid: Int, chosen: Sequence[Int]) -> list[tuple[str, slice]]:
    """Names and rows of the episodes in one bag."""
    split = spec.episodes
    usable = np.flatnonzero(np.all([rows >= 0 for rows in chosen], axis=0))
    spans: list[tuple[int, int]] = []  # of time, both ends included
    if split.gap is not None and len(usable):
        breaks = np.flatnonzero(np.diff(grid[usable]) > split.gap * NANOSECONDS)
        parts = np.split(usable, breaks + 1)
        spans = [(int(grid[part[0]]), int(grid[part[-1]])) for part in parts]
    elif split.times is not None:
        origin = int(grid[0]) if len(grid) else 0
        spans = [
            (origin + round(start * NANOSECONDS), origin + round(end * NANOSECONDS))
            for start, end in split.times
        ]
    else:
        return [(name, slice(0, len(grid)))]
    return [
        (
            f"{name}#{number}",
            slice(int(np.searchsorted(grid, start)), int(np.searchsorted(grid, end, "right"))),
        )
        for number, (start, end) in enumerate(spans)
    ]


def run_began(takeovers: Iterable[Stream]) -> int | None:
    """When the policy began to lead, ns; None if it may have led from the start. What came before,
    it has not seen."""
    began = [one.stamps[0] for one in takeovers if one.stamps and not one.contents[0]]
    return min(began, default=None)


def led_by_person(takeovers: Iterable[Stream], ticks: Int) -> NDArray[np.bool_] | None:
    """See `Episode.led`.

    :param takeovers: their contents say whether a person leads from then on.
    :returns: None: a person led all the time. False throughout: nobody took over.
    """
    streams = [stream for stream in takeovers if stream.stamps]
    if not streams:
        return None
    led = np.zeros(len(ticks), np.bool_)
    for stream in streams:
        said = [False, *stream.contents]  # before the first message the policy led
        led |= np.array([said[stream.newest(tick) + 1] for tick in ticks.tolist()])
    # What is done in the period of a tick counts if the person led to its end.
    led[:-1] &= led[1:]
    if led.all():
        return None
    return led if led_runs(led) else np.zeros_like(led)
