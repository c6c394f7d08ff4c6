# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The commands of the motion so far, and what follows from them for the next one. Pure arithmetic.

Vectors have one entry per commanded joint, rad or m.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.limits import CLAMPED_STEP, JointLimiter
from sarnn_ros.control.outlet import Command

Vector = NDArray[np.float64]

#: Ticks that are remembered: the largest `guard.latch_window`.
LARGEST_WINDOW = 1000
#: Between two ticks that are this many periods apart, or more, one was missed.
CONTIGUOUS_PERIODS = 1.5


class Recent:
    """In which of the last ticks something was found."""

    def __init__(self) -> None:
        self._found: deque[bool] = deque(maxlen=LARGEST_WINDOW)

    def add(self, found: bool, window: int) -> tuple[int, int]:
        """Enter one tick.

        :returns: in how many of the last `window` ticks something was found; how many there were.
        """
        self._found.append(found)
        last = list(self._found)[-window:]
        return sum(last), len(last)


class Held:
    """What an arm is held at: its last set-point, at rest. A joint that comes nearer to it, or
    stays, may be late or press on something. One that goes away from it is held no longer:
    somebody moved it, or its controller was switched.

    :ivar set_point: as sent, (n,).
    """

    def __init__(self, set_point: Vector, present: Vector) -> None:
        self.set_point = set_point
        self._kept, self._nearest = set_point, np.abs(set_point - present)

    def see(self, present: Vector, tolerance: Vector) -> Vector:
        """The set-point, NaN for joints that are held no longer.

        :param tolerance: that of a joint which stands still, (n,).
        """
        off = np.abs(self.set_point - present)
        self._nearest = np.minimum(self._nearest, off)
        self._kept = np.where(off > self._nearest + tolerance, np.nan, self._kept)
        return self._kept


@dataclass
class Motion:
    """What has to be forgotten when the motion is interrupted.

    :ivar allowed_ns: the last tick with permission to command.
    :ivar commands: the last two, with the ticks they were sent at; of a motion's first one, before
        it where it began. None, or two.
    :ivar kept: the last command, or what the arm is held at, see `Held`; None: not known.
    :ivar followed: how many commands since the last ramp were the policy's.
    :ivar refusals: the ticks at which the limits refused the command, or a set-point to it.
    :ivar flips: the ticks at which the prediction wanted a two-valued gripper to change.
    :ivar wanted: closed, by the prediction, at the tick before, (k,).
    """

    period_ns: int
    allowed_ns: int | None = None
    commands: list[tuple[int, Vector]] = field(default_factory=list)
    kept: Vector | None = None
    followed: int = 0
    refusals: Recent = field(default_factory=Recent)
    flips: Recent = field(default_factory=Recent)
    wanted: NDArray[np.bool_] | None = None

    def past(self, label_ns: int) -> tuple[float, Vector | None, Vector | None]:
        """The motion up to this tick: seconds since the tick of the command before (one
        period if there is none, and at most: a command is to be reached within one, also where an
        image was lost), that command, and where the motion was so long before it. A command counts
        if no tick was missed since: after a missed tick the motion begins anew.
        """
        if not self.commands:
            return self.period_ns * 1e-9, None, None
        (earlier, before), (label, last) = self.commands
        elapsed = label_ns - label
        if not 0 < elapsed < CONTIGUOUS_PERIODS * self.period_ns:
            return self.period_ns * 1e-9, None, None
        elapsed = min(elapsed, self.period_ns)
        # The same velocity, over as long a time as has passed now: images are not quite periodic.
        return elapsed * 1e-9, last, last - (last - before) * (elapsed / (label - earlier))

    def here(self, label_ns: int, present: Vector, limiter: JointLimiter) -> Vector:
        """Where the motion is: at the command of the tick before. Where it begins anew each joint
        is at its last command if a command may be there now: a finger that presses on something
        does not let go first, and an arm that lags will be there. Else at its present position."""
        _, previous, _ = self.past(label_ns)
        if previous is not None or self.kept is None:
            return present if previous is None else previous
        below, above = limiter.reach()
        may_be = (present - below <= self.kept) & (self.kept <= present + above)  # not if NaN
        return np.where(may_be, self.kept, present)

    def command(
        self, label_ns: int, position: Vector, present: Vector, limiter: JointLimiter
    ) -> Command:
        """The command to a position that the limits let through."""
        last = self.here(label_ns, present, limiter)
        elapsed_s, _, _ = self.past(label_ns)
        # From speed to rest at a constant rate takes half the distance of a period at speed; the
        # point of rest obeys the limits of the command itself. It keeps off the step's, by which
        # newer joints judge it once more.
        limits, (below, above) = limiter.limits, limiter.reach(CLAMPED_STEP)
        rest = np.clip(
            position + 0.5 * (position - last),
            np.maximum(limits.position_min, np.minimum(position, present - below)),
            np.minimum(limits.position_max, np.maximum(position, present + above)),
        )
        return Command(position, (position - last) / elapsed_s, rest)

    def add(self, label_ns: int, position: Vector, here: Vector) -> None:
        """Note a command that was sent. A motion begins at rest, `here`."""
        if self.past(label_ns)[1] is None:
            self.commands = [(label_ns - self.period_ns, here)]
            self.followed = 0
        self.commands = [*self.commands[-1:], (label_ns, position)]
        self.kept = position
