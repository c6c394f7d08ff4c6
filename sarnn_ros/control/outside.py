# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether commands stay outside what was trained: between the trained range of a joint and its
position limit, where the policy has never been. Pure arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.limits import JointLimits
from sarnn_ros.control.settings import GuardSettings

Vector = NDArray[np.float64]

#: A joint is outside in this outer part of the margin. A motion that ends where the demonstrations
#: ended, at the end of a joint's range, is a little beyond it as often as not.
OUTER_PART = 0.5
#: Part of the longest time after which there is a warning.
WARN_PART = 1.0 / 3.0


class OutsideWatch:
    """See the module. For the control thread; `warning` may be read anywhere.

    :param names: of the commanded joints.
    :ivar warning: which joint has been outside for how long; empty if none has for long.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self.reset()

    def reset(self) -> None:
        self._seconds = np.zeros(len(self._names))
        self.warning = ""

    def see(
        self, command: Vector, limits: JointLimits, guard: GuardSettings, tick_s: float
    ) -> str:
        """Look at one command, (n,), rad or m. Time outside counts up, time inside counts down:
        a visit inside for a tick changes nothing.

        :param tick_s: what one tick counts, s.
        :returns: a fault, if it has been outside for `guard.max_outside`.
        """
        longest_s = guard.max_outside
        # A joint that was trained to its stop has no margin that could be halved.
        below = np.maximum(limits.trained_min - limits.position_min, guard.floor)
        above = np.maximum(limits.position_max - limits.trained_max, guard.floor)
        low = limits.trained_min - OUTER_PART * below
        high = limits.trained_max + OUTER_PART * above
        outside = (command < low) | (command > high)
        self._seconds = np.clip(self._seconds + np.where(outside, tick_s, -tick_s), 0.0, longest_s)
        row = int(self._seconds.argmax())
        spent = float(self._seconds[row])
        rounding = 1e-6
        if not longest_s or spent < WARN_PART * longest_s - rounding:
            self.warning = ""
            return ""
        self.warning = (
            f"{self._names[row]} is commanded to {command[row]:.4g} rad or m, outside the trained "
            f"{limits.trained_min[row]:.4g} to {limits.trained_max[row]:.4g}, for {spent:.1f} s: "
            "does the scene look as in the demonstrations?"
        )
        return self.warning if spent >= longest_s - rounding else ""
