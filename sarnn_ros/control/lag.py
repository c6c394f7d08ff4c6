# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""By how much the arm lags its commands, as it shows while it moves: a driver, a network or a
controller that passes them on late. No ROS.

Vectors have one entry per commanded joint, rad or m.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.limits import JointLimits
from sarnn_ros.control.motion import CONTIGUOUS_PERIODS

Vector = NDArray[np.float64]

#: So many ticks tell the lag.
WINDOW = 5
#: A joint tells it that moved in them by so much of the largest change of its command in a tick.
MOVED = 0.5
#: A lag is believed that leaves at most so much of the squared distances between the arm and its
#: commands.
UNEXPLAINED = 0.25
#: A joint that is further from its late command than this much of that change does not lag: it
#: does not follow.
ASTRAY = 0.3
#: In one of so many ticks.
LOOKED_AT = 2


class LagWatch:
    """See the module. For the control thread only.

    A command is to be reached at the next tick. If the arm is each time where it was to be some
    ticks ago, then it follows, and what it was sent since is on its way.

    :ivar ticks: of lag, as the last movement told it. Kept from run to run: it is the arm's.
    """

    def __init__(self, period_ns: int) -> None:
        self.ticks = 0
        self._period_ns = period_ns
        self.reset()

    @property
    def seconds(self) -> float:
        """The lag, s."""
        return self.ticks * self._period_ns * 1e-9

    def reset(self) -> None:
        """Forget all commands so far."""
        self._present = deque[Vector](maxlen=WINDOW)
        self._goals: list[Vector] = []  # in force before each tick, the oldest first
        self._command: Vector | None = None
        self._label_ns = 0

    def add(self, command: Vector) -> None:
        """Note what was sent at this tick."""
        self._command = command

    def see(
        self, label_ns: int, present: Vector, limits: JointLimits, longest_s: float
    ) -> tuple[Vector, Vector]:
        """Look at the arm.

        :param present: its position at this tick, (n,).
        :param longest_s: the lag that is allowed for, s.
        :returns: how far below and above its position commands may be, (n,) each, beside what
            `limits.max_step` lets through; 0 for a joint that does not lag, or does not follow.
        """
        if label_ns - self._label_ns > CONTIGUOUS_PERIODS * self._period_ns:
            self.reset()
        last = self._goals[-1] if self._goals else present
        self._goals.append(last if self._command is None else self._command)
        self._present.append(present)
        self._label_ns, self._command = label_ns, None
        longest = int(longest_s * 1e9 / self._period_ns + 1e-6)
        del self._goals[: -(WINDOW + longest)]
        change = limits.max_velocity * (self._period_ns * 1e-9)
        missing = WINDOW + longest - len(self._goals)
        goals = np.stack(self._goals[:1] * missing + self._goals)
        if len(self._present) == WINDOW:
            self._tell(np.stack(self._present), goals, change)
        self.ticks = min(self.ticks, longest)
        return self._lead(goals, limits, change)

    def _tell(self, present: Vector, goals: Vector, change: Vector) -> None:
        """The lag by the last ticks, if the arm moved in them.

        :param present: (WINDOW, n). :param goals: (WINDOW + the longest lag, n).
        """
        way = np.ptp(present, axis=0)
        moved = (way > 0.0) & (way >= MOVED * change)
        if not moved.any():
            return
        longest = len(goals) - WINDOW
        off = [
            float(
                np.square(
                    (present - goals[begin : begin + WINDOW])[:, moved] / change[moved]
                ).sum()
            )
            for begin in range(longest, -1, -1)
        ]
        best = int(np.argmin(off))
        if best == 0 or off[best] <= UNEXPLAINED * off[0]:
            self.ticks = best

    def _lead(self, goals: Vector, limits: JointLimits, change: Vector) -> tuple[Vector, Vector]:
        none = np.zeros_like(change)
        if not self.ticks:
            return none, none
        late = goals[len(goals) - self.ticks - LOOKED_AT : len(goals) - self.ticks]
        here = np.stack(list(self._present)[-LOOKED_AT:])
        off = np.abs(here - late[-len(here) :]).max(axis=0)
        lags = off <= ASTRAY * change
        on_its_way = goals[-1] - goals[-1 - self.ticks]
        below, above = np.maximum(change - on_its_way, 0.0), np.maximum(change + on_its_way, 0.0)
        most = np.where(lags, limits.max_lead, 0.0)
        return np.minimum(below, most), np.minimum(above, most)
