# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the robot follows its commands: joint states that are frozen, or an arm that does not
move at all. No ROS.

An arm that rests is seldom where it was sent: gravity and friction leave an error, which may be
large beside a step limit. So an error of up to `SAG` tells nothing by itself, but by how much it
differs from the one with which the arm last came to rest: only a command that went on since then
asks for a movement. An arm that has not moved yet was asked for the whole of its error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

#: A joint is commanded to move if its command is further from its position than this many of its
#: step limits, and differs by as much from where it was to be when it came to rest.
COMMANDED_AWAY_STEPS = 0.2
#: It does not move while it stays within this many of its step limits.
STILL_STEPS = 0.02
#: It has followed if it went so far, and not away from its command. Less is an encoder's last
#: bit, or a brake that closes, and must not excuse the error of an arm that is switched off.
MOVED_STEPS = COMMANDED_AWAY_STEPS / 2
#: An arm may sag by so much, rad or m: when the first command is where it is, or by a load. Those
#: of `limits.STEP_FLOORS` do by two thirds. A larger error always counts.
SAG = 0.03
#: Fewer looks than this tell nothing, however long they took.
LEAST_TICKS = 5


@dataclass(frozen=True)
class _Rest:
    """Where the watched joints stand, and where they were sent, (n,) each."""

    present: Vector
    goal: Vector

    @property
    def error(self) -> Vector:
        return self.goal - self.present


class FollowingWatch:
    """See the module. For the control thread only.

    :param still_s: an arm that is commanded to move for so long, and does not, is a fault; 0
        switches it off.
    :param names: of the commanded joints.
    :param max_step: their step limits now, rad or m. A joint whose limit is 0 is sent nowhere.
    :param exempt: joints of a gripper: its fingers are stopped by what they hold.
    """

    def __init__(
        self,
        still_s: float,
        names: Sequence[str],
        max_step: Callable[[], Vector],
        exempt: Sequence[int] = (),
    ) -> None:
        self._still_ns = round(still_s * 1e9)
        self._names = names
        self._max_step = max_step
        self._rows = [row for row in range(len(names)) if row not in exempt]
        self.reset()

    def reset(self) -> None:
        """Forget all states so far."""
        self._stand: _Rest | None = None  # since it moved last
        self._rest: _Rest | None = None  # as it came to rest after it had followed
        self._followed = False  # since that rest
        self._last: tuple[Vector, int] | None = None  # the state and the stamp of the tick before
        self._start(0)

    def _start(self, label_ns: int) -> None:
        self._since_ns = label_ns  # it has been commanded away, and stood, at each tick after this
        self._count = self._repeats = 0

    def check(
        self,
        state: Vector,
        present: Vector,
        label_ns: int,
        stamp_ns: int,
        commanded: Vector | None,
        kept: Vector | None = None,
    ) -> dict[str, str]:
        """Look at one tick.

        :param state: the whole state, (D,).
        :param present: the commanded joints of it, (n,).
        :param commanded: the command of the tick before, (n,); None if there was none.
        :param kept: what the arm is held at then, (n,), NaN where that is not known; or None.
        :returns: hard faults, text by code.
        """
        if not self._still_ns or not self._rows:
            return {}
        last, self._last = self._last, (state, stamp_ns)
        repeated = last is not None and np.array_equal(state, last[0]) and stamp_ns != last[1]
        here, step = present[self._rows], self._max_step()[self._rows]
        step = np.where(step > 0.0, step, np.inf)
        goal = kept if commanded is None else commanded
        goal = here if goal is None else goal[self._rows]
        stand = _Rest(here, np.where(np.isnan(goal), here, goal))
        if self._rest is None:
            self._rest = _Rest(here, here)  # what it was sent before is not known
        if self._stand is None or (np.abs(here - self._stand.present) > STILL_STEPS * step).any():
            far = np.abs(here - self._rest.present) >= MOVED_STEPS * step
            self._followed = bool(self._followed or far.any()) and not self._astray(stand, step)
            self._stand = stand
            self._start(label_ns)
            return {}
        if self._followed:
            self._rest, self._followed = self._stand, False
        least, change = COMMANDED_AWAY_STEPS * step, stand.error - self._rest.error
        goes_on = (np.abs(change) >= least) | (np.abs(stand.error) > SAG)
        away = (np.abs(stand.error) >= least) & goes_on
        if commanded is None or not away.any():
            self._start(label_ns)
            return {}
        self._count += 1
        self._repeats += repeated
        seconds = (label_ns - self._since_ns) * 1e-9
        if label_ns - self._since_ns < self._still_ns or self._count < LEAST_TICKS:
            return {}
        worst = int(np.where(away, np.abs(stand.error) / step, 0.0).argmax())
        found = (
            f"{self._names[self._rows[worst]]} is at {here[worst]:.4g} rad or m and was commanded "
            f"to {goal[worst]:.4g}; for {seconds:.1f} s no joint has moved"
        )
        stopped = "is the arm blocked, or a finger that gripper.joints does not name?"
        if self._repeats >= self._count - 1:  # the first of alike states repeats none
            return {
                "frozen:joints": f"the joint states are stamped anew and the same to the last "
                f"bit: {found}: has the driver lost the robot, or is the controller switched off? "
                f"Or, if encoders have no noise: {stopped}"
            }
        return {
            "not_following": f"the arm does not follow: {found}: did its controller reject the "
            f"commands, is it switched off, or {stopped}"
        }

    def _astray(self, stand: _Rest, step: Vector) -> bool:
        """Whether the last movement led some joint away from its command, as of an arm that is
        switched off or pushed, or states that freeze where it is not."""
        before = (self._stand or stand).present
        further = np.abs(stand.error) > np.abs(stand.goal - before) + STILL_STEPS * step
        return bool((further & (np.abs(stand.error) > SAG)).any())
