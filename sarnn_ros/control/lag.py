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
from sarnn_ros.policy.envelope import LAG_UNEXPLAINED, LAG_WINDOW

Vector = NDArray[np.float64]

#: A joint tells its own that moved in them, or was to move, by so much of the largest change of
#: its command in a tick.
MOVED = 0.5
#: It does not follow if it moved by less than this much of what it was to move by.
STOOD = 0.25
#: And is told to the policy as it is measured if by less than this much: so it presses on.
PRESSES = 0.5
#: A joint that is further from its late command than this much of that change does not lag: it
#: does not follow.
ASTRAY = 0.3
#: In one of so many ticks.
LOOKED_AT = 2
#: After so many ticks without an observation nothing is on its way: an arm that waits arrives.
MISSED = 5


class LagWatch:
    """See the module. For the control thread only.

    A command is to be reached at the next tick. If a joint is each time where it was to be some
    ticks ago, then it follows, and what it was sent since is on its way.

    :param usual: ticks by which each joint lagged while demonstrating, (n,).
    :ivar ticks: of lag, (n,), as its last movement told it. Kept from run to run: it is the arm's.
    :ivar behind: how much further each joint would be by now if it lagged only as usual, (n,), but
        never further than it was sent; 0 for one that does not lag by more, or does not follow.
    """

    def __init__(self, usual: NDArray[np.intp], period_ns: int) -> None:
        self._usual = usual
        self.ticks: NDArray[np.intp] = np.zeros(len(usual), np.intp)
        self._period_ns = period_ns
        self.reset()

    @property
    def seconds(self) -> float:
        """The lag of the joint that lags most, s."""
        return float(self.ticks.max(initial=0)) * self._period_ns * 1e-9

    def reset(self) -> None:
        """Forget all commands so far."""
        self.behind: Vector = np.zeros(len(self.ticks))
        self._present = deque[Vector](maxlen=LAG_WINDOW)
        self._goals: list[Vector] = []  # in force before each tick, the oldest first
        self._command: Vector | None = None
        self._label_ns = 0

    def add(self, command: Vector) -> None:
        """Note what was sent at this tick."""
        self._command = command

    def see(
        self, label_ns: int, present: Vector, limits: JointLimits, more_s: float
    ) -> tuple[Vector, Vector]:
        """Look at the arm.

        :param present: its position at this tick, (n,).
        :param more_s: the lag that is allowed for beside the usual one, s; 0: none at all.
        :returns: how far below and above its position commands may be, (n,) each, beside what
            `limits.max_step` lets through; 0 for a joint that does not lag, or does not follow.
        """
        missed = round((label_ns - self._label_ns) / self._period_ns) - 1
        goal = self._command  # which was in force until now, whatever else is forgotten
        if not 0 <= missed <= MISSED:
            self.reset()
            missed = 0
        elif missed:
            self._present.clear()
        if goal is None:
            goal = self._goals[-1] if self._goals else present
        self._goals += [goal] * (1 + missed)
        self._present.append(present)
        self._label_ns, self._command = label_ns, None
        more = int(more_s * 1e9 / self._period_ns + 1e-6)
        most = self._usual + more if more else np.zeros_like(self._usual)
        longest = int(most.max(initial=0))
        del self._goals[: -(LAG_WINDOW + longest)]
        change = limits.max_velocity * (self._period_ns * 1e-9)
        missing = LAG_WINDOW + longest - len(self._goals)
        # By lag, 0 to the longest: the goals of the last ticks, the newest last.
        padded = np.stack(self._goals[:1] * missing + self._goals)
        late = np.stack(
            [padded[longest - n : longest - n + LAG_WINDOW] for n in range(longest + 1)]
        )
        self.ticks = np.minimum(self.ticks, most)
        if len(self._present) == LAG_WINDOW:
            self._tell(np.stack(self._present), late, change, most)
        return self._lead(late, limits, change)

    def _tell(self, present: Vector, late: Vector, change: Vector, most: NDArray[np.intp]) -> None:
        """The lag of each joint by the last ticks, if it moved in them, or was to move.

        :param present: (LAG_WINDOW, n). :param late: (N, LAG_WINDOW, n). :param most: ticks, (n,).
        """
        least = MOVED * change
        way, due = np.ptp(present, axis=0), np.ptp(late[-1], axis=0)
        moved = (way > 0.0) & (way >= least)
        off = np.square(present - late).sum(1)
        off[np.arange(len(off))[:, None] > most] = np.inf
        best = off.argmin(0)
        # While a hand moves the arm, or a motion turns round, several lags fit as well.
        against = np.where(best > 0, off[0], off[self.ticks, np.arange(len(best))])
        told = moved & (off.min(0) <= LAG_UNEXPLAINED * against)
        self.ticks = np.where(told, best, self.ticks)
        self.ticks[(due > 0.0) & (due >= least) & (way < STOOD * due)] = 0  # it does not follow

    def _lead(self, late: Vector, limits: JointLimits, change: Vector) -> tuple[Vector, Vector]:
        present, joints = np.stack(list(self._present)), np.arange(len(self.ticks))
        mine = late[self.ticks, -len(present) :, joints].T  # the goals of each joint at its lag
        off = np.abs(present - mine)[-LOOKED_AT:].max(axis=0)
        lags = (self.ticks > 0) & (off <= ASTRAY * change)
        presses = np.ptp(present, axis=0) < PRESSES * np.ptp(mine, axis=0)
        goal = late[np.minimum(self._usual, self.ticks), -1, joints]
        ways = np.sort([np.zeros_like(goal), goal - mine[-1]], axis=0)
        self.behind = np.where(lags & ~presses, np.clip(goal - present[-1], *ways), 0.0)
        on_its_way = late[0, -1] - mine[-1]
        below, above = np.maximum(change - on_its_way, 0.0), np.maximum(change + on_its_way, 0.0)
        most = np.where(lags, limits.max_lead, 0.0)
        return np.minimum(below, most), np.minimum(above, most)
