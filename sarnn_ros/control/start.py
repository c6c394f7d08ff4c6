# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a motion begins: a ramp to where the demonstrations began, ticks in which the recurrent
state warms up unheard, and a blend into the policy. Pure arithmetic; what it asks for passes the
guard like any prediction, and what interrupts it is for `control`.

Vectors have one entry per commanded joint, rad or m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.limits import GuardLimits
from sarnn_ros.control.settings import StartParameters
from sarnn_ros.errors import ConfigError

Vector = NDArray[np.float64]


class StartSequence:
    """See the module. For the control thread only.

    :param low, high: the box in which the demonstrations began.
    :param step: of the ramp, per tick and joint; None: no ramp.
    :param at_once: joints that are not blended; see `Streamer`.
    """

    def __init__(
        self,
        low: Vector,
        high: Vector,
        step: Vector | None,
        *,
        warm_up_ticks: int,
        blend_ticks: int,
        at_once: Sequence[int] = (),
    ) -> None:
        self._low, self._high = low, high
        self._step = step
        self._warm_up_ticks = warm_up_ticks
        self._blend_ticks = blend_ticks
        self._at_once = list(at_once)
        self._ramp_pending = self._ramp_moved = False
        self.restart()

    def begin(self) -> None:
        """From the ramp on: the user asked for a motion."""
        self._ramp_pending, self._ramp_moved = self._step is not None, False
        self.restart()

    def commanded(self) -> None:
        """Something was sent. If the ramp's, it is under way from now on, over every restart."""
        self._ramp_moved = self._ramp_pending

    def restart(self) -> None:
        """Warm up and blend again: the recurrent state was reset. A ramp under way goes on."""
        self._anchor: Vector | None = None
        self._warmed = self._blended = 0

    @property
    def phase(self) -> str:
        """`ramping`, `warming up` or `blending`; empty once the policy alone commands."""
        if self._ramp_pending:
            return "ramping"
        if self._warmed < self._warm_up_ticks:
            return "warming up"
        return "blending" if self._blended < self._blend_ticks else ""

    @property
    def ramp_under_way(self) -> bool:
        """Whether the ramp has moved the arm and is not over."""
        return self._ramp_pending and self._ramp_moved

    def ramps(self, here: Vector) -> bool:
        """Whether this tick belongs to the ramp. It is over when a pose was commanded in which a
        demonstration may have begun: the guard has kept the arm within a step of it.

        :param here: where the motion is: the last set-point, or the present position.
        """
        self._ramp_pending = self._ramp_pending and bool((self._nearest(here) != here).any())
        return self._ramp_pending

    def ramp(self, here: Vector) -> Vector:
        """The next set-point on the straight line to the nearest pose of the box; all joints
        arrive together."""
        assert self._step is not None
        nearest = self._nearest(here)
        way = nearest - here
        ticks = float((np.abs(way) / self._step).max())
        point: Vector = nearest if ticks <= 1.0 + 1e-9 else here + way / ticks
        return point

    def _nearest(self, here: Vector) -> Vector:
        return np.clip(here, self._low, self._high)

    def follow(self, predicted: Vector, here: Vector) -> Vector | None:
        """What to ask for instead of the prediction; None while warming up."""
        if self._warmed < self._warm_up_ticks:
            self._warmed += 1
            return None
        if self._blended >= self._blend_ticks:
            return predicted
        if self._anchor is None:
            self._anchor = here
        self._blended += 1
        share = self._blended / (self._blend_ticks + 1)
        blended: Vector = self._anchor + share * (predicted - self._anchor)
        blended[self._at_once] = predicted[self._at_once]
        return blended


def start_sequence(
    parameters: StartParameters,
    low: Vector,
    high: Vector,
    limits: GuardLimits,
    period_s: float,
    at_once: Sequence[int] = (),
) -> StartSequence:
    """The sequence of these parameters, its ramp so slow that the guard lets it pass: at most half
    of the allowed step, so that the arm may lag, and within velocity and acceleration limits.

    :raises ConfigError: the demonstrations began where the guard lets nothing be sent.
    """
    step = None
    if parameters.ramp_speed > 0.0:
        step = np.full_like(low, parameters.ramp_speed * period_s)
        for limit in (
            0.5 * limits.max_step,
            limits.max_velocity * period_s,
            limits.max_acceleration * period_s**2,
        ):
            step = np.minimum(step, limit)
        low, high = np.maximum(low, limits.position_min), np.minimum(high, limits.position_max)
        if (low > high).any() or (step <= 0.0).any():
            raise ConfigError(
                "the guard's limits leave no way to the pose in which the demonstrations began",
                where="parameter 'start.ramp_speed'",
                remedy="widen the limits (guard.*), or set it to 0",
            )
    return StartSequence(
        low,
        high,
        step,
        warm_up_ticks=parameters.warm_up_ticks,
        blend_ticks=math.ceil(parameters.blend_time / period_s - 1e-9),
        at_once=at_once,
    )
