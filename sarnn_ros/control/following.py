# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the robot follows its commands: joint states that are frozen, or an arm that does not
move at all. No ROS."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

#: A joint is commanded to move if its command is further from its position than this many of its
#: step limits. The error that gravity and friction leave is smaller.
COMMANDED_AWAY_STEPS = 0.2
#: It does not move while it stays within this many of its step limits.
STILL_STEPS = 0.02


class FollowingWatch:
    """See the module. For the control thread only.

    :param ticks: so many in a row that command a movement, and none in them, are a fault; 0
        switches it off.
    :param names: of the commanded joints.
    :param max_step: their step limits now, rad or m.
    :param exempt: joints of a gripper: its fingers are stopped by what they hold.
    """

    def __init__(
        self,
        ticks: int,
        names: Sequence[str],
        max_step: Callable[[], Vector],
        exempt: Sequence[int] = (),
    ) -> None:
        self._ticks = ticks
        self._names = names
        self._max_step = max_step
        self._rows = [row for row in range(len(names)) if row not in exempt]
        self.reset()

    def reset(self) -> None:
        """Forget all states so far."""
        self._anchor: Vector | None = None  # where it stands
        self._last: tuple[Vector, int] | None = None  # the state and the stamp of the tick before
        self._count = self._repeats = 0

    def check(
        self, state: Vector, present: Vector, stamp_ns: int, commanded: Vector | None
    ) -> dict[str, str]:
        """Look at one tick.

        :param state: the whole state, (D,).
        :param present: the commanded joints of it, (n,).
        :param commanded: the command of the tick before, (n,); None if there was none.
        :returns: hard faults, text by code.
        """
        if commanded is None or not self._ticks or not self._rows:
            self.reset()
            return {}
        rows = self._rows
        repeated = (
            self._last is not None
            and np.array_equal(state, self._last[0])
            and stamp_ns != self._last[1]
        )
        self._last = state, stamp_ns
        away = np.abs(commanded - present)[rows] / self._max_step()[rows]
        worst = rows[int(away.argmax())]
        if self._anchor is None or not self._stands(present, self._anchor):
            self._anchor, self._count, self._repeats = present, 0, 0
            return {}
        if away.max() < COMMANDED_AWAY_STEPS:
            self._count = self._repeats = 0
            return {}
        self._count += 1
        self._repeats += repeated
        if self._count < self._ticks:
            return {}
        found = (
            f"{self._names[worst]} is at {present[worst]:.4g} rad or m and was commanded to "
            f"{commanded[worst]:.4g}; for {self._count} ticks no joint has moved"
        )
        if self._repeats >= self._ticks - 1:  # the first of alike states repeats none
            return {
                "frozen:joints": f"the joint states are stamped anew and the same to the last "
                f"bit: {found}: has the driver lost the robot, or is the controller switched off?"
            }
        return {
            "not_following": f"the arm does not follow: {found}: did its controller reject the "
            "commands, is it switched off, or the arm blocked?"
        }

    def _stands(self, present: Vector, anchor: Vector) -> bool:
        moved = np.abs(present - anchor)[self._rows]
        return bool((moved <= STILL_STEPS * self._max_step()[self._rows]).all())
