# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How a motion begins: a ramp to where the demonstrations began, ticks in which the recurrent
state warms up while nothing is commanded, and a blend into the policy. Pure arithmetic; what it
asks for passes the limits like any prediction, and what interrupts it is decided in `state`.

Vectors have one entry per commanded joint, rad or m.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.limits import JointLimits
from sarnn_ros.control.settings import StartSettings
from sarnn_ros.control.state import Event
from sarnn_ros.errors import ConfigError

Vector = NDArray[np.float64]


def most_beyond(
    distance: Vector, allowed: Vector, names: Sequence[str], free: Sequence[int]
) -> tuple[int, str] | None:
    """The joint that is furthest beyond what is allowed: its row, and its name with how many more
    there are. None if no joint is, those that are `free` aside."""
    distance = distance.copy()
    distance[list(free)] = 0.0
    over = np.flatnonzero(distance > allowed)
    if not over.size:
        return None
    worst = int(over[np.argmax(distance[over] / allowed[over])])
    return worst, names[worst] + (f" (and {over.size - 1} more)" if over.size > 1 else "")


@dataclass(frozen=True)
class StartPoses:
    """Where the demonstrations began. Without a ramp a motion begins nowhere else: of what is far
    from there the policy has seen nothing.

    :param names: of the commanded joints.
    :param low, high: the box in which the demonstrations began.
    :param span: the trained range of each joint.
    :param free: joints that may be anywhere.
    """

    names: Sequence[str]
    low: Vector
    high: Vector
    span: Vector
    free: Sequence[int] = ()

    def away(self, here: Vector, margin: float, floor: float) -> str:
        """What keeps a motion from beginning here; empty: nothing does.

        :param here: the present position.
        :param margin: of the box on each side, as a fraction of the trained range.
        :param floor: the smallest margin, rad or m.
        """
        allowed = np.maximum(margin * self.span, floor)
        distance = np.abs(here - np.clip(here, self.low, self.high))
        found = most_beyond(distance, allowed, self.names, self.free)
        if found is None:
            return ""
        worst, joint = found
        return (
            f"{joint} is at {here[worst]:.4g}, {distance[worst]:.3g} rad or m "
            f"from where the demonstrations began ({self.low[worst]:.4g} to "
            f"{self.high[worst]:.4g}, {allowed[worst]:.3g} around it are allowed)"
        )


def within(limits: JointLimits, low: Vector, high: Vector) -> tuple[Vector, Vector]:
    """What the limits leave of a box."""
    return np.maximum(low, limits.position_min), np.minimum(high, limits.position_max)


def ramp_step(speed: float, limits: JointLimits, period_s: float) -> Vector:
    """How far a ramp goes in a tick at most, (n,)."""
    step = np.full_like(limits.max_step, speed * period_s)
    for limit in (
        0.5 * limits.max_step,
        limits.max_velocity * period_s,
        limits.max_acceleration * period_s**2,
    ):
        step = np.minimum(step, limit)
    return step


def check_ramp(settings: StartSettings, poses: StartPoses, limits: JointLimits) -> None:
    """:raises ConfigError: there is a ramp, and the limits do not allow it."""
    low, high = within(limits, poses.low, poses.high)
    step = ramp_step(settings.ramp_speed, limits, 1.0)
    if settings.ramp_speed and ((low > high).any() or (step <= 0.0).any()):
        raise ConfigError(
            "the limits do not allow the pose in which the demonstrations began",
            where="parameter 'start.ramp_speed'",
            remedy="widen the limits (guard.*), or set it to 0",
        )


class StartSequence:
    """See the module. For the control thread only.

    The ramp is so slow that the limits let it pass: at most half of the allowed step, so that the
    arm may lag, and within velocity and acceleration limits.

    :param low, high: the box in which the demonstrations began.
    :param limits: the current ones.
    :param immediate: joints that are not blended; see `SetpointInterpolator`.
    :param held: joints that stay where they are when a motion begins.
    :ivar ramp_to_come: a ramp leads to where the demonstrations began, before all else.
    """

    def __init__(
        self,
        settings: StartSettings,
        low: Vector,
        high: Vector,
        limits: Callable[[], JointLimits],
        period_s: float,
        immediate: Sequence[int] = (),
        held: Sequence[int] = (),
    ) -> None:
        self._speed, self._period_s = settings.ramp_speed, period_s
        self._low, self._high, self._limits = low, high, limits
        self._immediate, self._held = list(immediate), list(held)
        self._warm_up_ticks = settings.warm_up_ticks
        self._blend_ticks = math.ceil(settings.blend_time / period_s - 1e-9)
        self.ramp_to_come = False
        self.restart()

    def begin(self) -> None:
        """From the ramp on: the user asked for a motion."""
        self.ramp_to_come = self._speed > 0.0
        self.restart()

    def restart(self) -> None:
        """Warm up and blend again: the recurrent state was reset. A ramp goes on."""
        self._anchor: Vector | None = None
        self._held_at: Vector | None = None
        self._warmed = self._blended = 0

    def undo_warm_up(self) -> None:
        """The last tick was a warm-up that the policy has forgotten."""
        self._warmed -= 1

    def lead(self, commanded: Vector, here: Vector) -> Vector:
        """A person leads: the set-point instead of their command. When they hand back, the policy
        is blended in from there, without a ramp."""
        self.ramp_to_come = False
        self._anchor, self._blended = None, 0
        return self._hold(commanded, here)

    def ramps(self, here: Vector) -> bool:
        """Whether this tick belongs to the ramp. The ramp ends when a pose was commanded in which
        a demonstration may have begun: the limits keep the arm within a step of it.

        :param here: where the motion is: the last set-point, or the present position.
        """
        self.ramp_to_come = self.ramp_to_come and bool((self._nearest(here) != here).any())
        return self.ramp_to_come

    def ramp(self, here: Vector, elapsed_s: float) -> Vector:
        """The next set-point on the straight line to the nearest pose of the box; all joints
        arrive together.

        :param elapsed_s: since the set-point before: images are not quite periodic.
        """
        here = self._inside(here)
        nearest = self._nearest(here)
        distance = nearest - here
        step = ramp_step(self._speed, self._limits(), min(elapsed_s, self._period_s))
        ticks = float((np.abs(distance) / step).max())
        point: Vector = nearest if ticks <= 1.0 + 1e-12 else here + distance / ticks
        return point

    def _hold(self, predicted: Vector, here: Vector) -> Vector:
        if self._held_at is None:
            self._held_at = self._inside(here)[self._held]
        predicted = predicted.copy()
        predicted[self._held] = self._held_at
        return predicted

    def _inside(self, here: Vector) -> Vector:
        """A joint at its stop may read a hair beyond its limit, where nothing may be commanded."""
        limits = self._limits()
        inside: Vector = np.clip(here, limits.position_min, limits.position_max)
        return inside

    def _nearest(self, here: Vector) -> Vector:
        low, high = within(self._limits(), self._low, self._high)
        nearest = np.clip(here, low, high)
        nearest[self._held] = here[self._held]  # no ramp for these
        return nearest

    def follow(self, predicted: Vector, here: Vector) -> tuple[Event, Vector]:
        """After the ramp: what this tick does, and the set-point instead of the prediction."""
        predicted = self._hold(predicted, here)
        if self._warmed < self._warm_up_ticks:
            self._warmed += 1
            return Event.WARM_UP, predicted
        if self._blended >= self._blend_ticks:
            return Event.COMMAND, predicted
        if self._anchor is None:
            self._anchor = self._inside(here)
        self._blended += 1
        share = self._blended / (self._blend_ticks + 1)
        blended: Vector = self._anchor + share * (predicted - self._anchor)
        blended[self._immediate] = predicted[self._immediate]
        return Event.BLEND, blended
