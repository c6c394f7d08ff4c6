# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is recorded of a trial, and its result. No ROS."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.sim.task import RATE, is_success
from sarnn_ros.spec import NANOSECONDS

PERIOD_NS = round(NANOSECONDS / RATE)
#: A driver that has been silent for this long has stopped, s. On a slow machine it may hold for a
#: while.
SILENCE_SECONDS = 2.0


@dataclass
class TrialTrace:
    """The messages of a trial, for its result and the film. Times are receive times, s."""

    cube: list[tuple[float, float]] = field(default_factory=list)  # time, lift in m
    commands: list[tuple[float, int, NDArray[np.float64]]] = field(default_factory=list)
    joints: list[tuple[float, NDArray[np.float64]]] = field(default_factory=list)
    images: list[tuple[float, int, NDArray[np.uint8]]] = field(default_factory=list)
    markers: list[tuple[float, int, str, NDArray[np.float64]]] = field(default_factory=list)


@dataclass(frozen=True)
class Trial:
    """The result of one trial."""

    success: bool
    max_lift: float  # m
    ticks: int
    missed: int
    latencies: tuple[float, ...]  # tick to command, s
    camera_latencies: tuple[float, ...]  # camera stamp to command, s
    problem: str | None = None


def has_ended(recording: TrialTrace, ticks: int, now: float) -> bool:
    """Whether a trial is over: the driver has commanded in so many ticks.

    On a machine that is too slow for some of them, that takes longer than the ticks, and the
    policy still gets all the steps that a task needs. At most twice as long, and not if it has
    stopped.

    :param recording: with at least one command.
    :param now: receive time, s.
    """
    late = now - recording.commands[0][0] - ticks / RATE
    if late <= 0:
        return False
    commanded = {stamp // PERIOD_NS for _, stamp, _ in recording.commands}
    stopped = now - recording.commands[-1][0] > SILENCE_SECONDS
    return len(commanded) >= ticks or stopped or late > ticks / RATE


def judge(recording: TrialTrace, problem: str | None, ticks: int) -> Trial:
    """The result of a trial, from its recording.

    A command belongs to the tick in which its stamp lies.

    :param problem: why the trial ended early, or None.
    """
    lifts = _once_per_tick(recording.cube)
    arrivals: dict[int, float] = {}
    for arrival, stamp, _ in recording.commands:
        arrivals.setdefault(stamp // PERIOD_NS, arrival)
    labels = sorted(arrivals)
    expected = labels[-1] - labels[0] + 1 if labels else 0
    # The points of a tick are published right after its command, with the image's stamp.
    stamps: dict[int, int] = {}
    for arrival, stamp, name, _ in recording.markers:
        if name == "encoder":
            stamps.setdefault(int(arrival * RATE), stamp)
    return Trial(
        success=is_success(lifts),
        max_lift=max(lifts, default=0.0),
        ticks=max(expected, ticks - 1),
        missed=max(expected, ticks - 1) - len(labels),
        latencies=tuple(arrivals[label] - label * PERIOD_NS / NANOSECONDS for label in labels),
        camera_latencies=tuple(
            arrivals[label] - stamps[label] / NANOSECONDS for label in labels if label in stamps
        ),
        problem=problem,
    )


def _once_per_tick(cube: list[tuple[float, float]]) -> list[float]:
    """Lifts at the first message of each tick's time."""
    lifts: dict[int, float] = {}
    for arrival, lift in cube:
        lifts.setdefault(int(arrival * RATE), lift)
    return list(lifts.values())
