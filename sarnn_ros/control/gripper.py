# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A gripper that is either open or closed, from a prediction between the two. All that is
particular about it is here: which joints, their limits, and what they are sent. No ROS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.limits import JointLimits
from sarnn_ros.control.outlet import Command
from sarnn_ros.control.settings import Settings
from sarnn_ros.errors import ConfigError, join_problems
from sarnn_ros.spec import Spec

Vector = NDArray[np.float64]

#: It stays open or closed for at least this part of the shortest time that was demonstrated.
DWELL_PART = 0.5
#: And for so long, s, if the demonstrations do not tell.
UNKNOWN_DWELL_S = 0.5


@dataclass(frozen=True)
class Grip:
    """What a two-valued gripper has been told; k joints.

    :param wanted: (k,), whether the prediction wants it closed.
    :param closed: (k,), whether it was sent to the closed position.
    :param switched_ns: (k,), when that changed last, ns; minus infinity: never.
    """

    wanted: NDArray[np.bool_]
    closed: NDArray[np.bool_]
    switched_ns: Vector


class TwoValuedGripper:
    """The joints that are sent one of two values. Without joints it changes nothing.

    :param indices: of the gripper's joints among the commanded ones, k of them.
    :param opened, closed: (k,), rad or m.
    :param close_above: it closes where the prediction is above this fraction of the range from
        open to closed.
    :param open_below: it opens below this fraction. Between the two it stays.
    :param min_dwell_s: (k,), for so long it stays open or closed at least, s.
    :ivar grip: what was published last; None: nothing since the last reset.
    """

    def __init__(
        self,
        indices: tuple[int, ...] = (),
        opened: Vector | None = None,
        closed: Vector | None = None,
        close_above: float = 0.6,
        open_below: float = 0.4,
        min_dwell_s: Vector | float = 0.0,
    ) -> None:
        self.indices = indices
        self.opened = np.zeros(0) if opened is None else opened
        self.closed = np.zeros(0) if closed is None else closed
        self.min_dwell_s = np.broadcast_to(min_dwell_s, self.opened.shape)
        self._close_above, self._open_below = close_above, open_below
        self.reset()

    def reset(self) -> None:
        """Forget whether it is closed: somebody else may have opened it."""
        self.grip: Grip | None = None

    def _decide(self, predicted: Vector, now_ns: int) -> Grip:
        """What to tell it. The first prediction goes to the nearer of the two.

        :param predicted: (k,), rad or m.
        :param now_ns: when that would be published.
        """
        share = (predicted - self.opened) / (self.closed - self.opened)
        last = self.grip
        if last is None:
            nearer = share >= 0.5
            return Grip(nearer, nearer, np.full(len(share), -np.inf))
        wanted = np.where(last.wanted, share >= self._open_below, share > self._close_above)
        waited = now_ns - last.switched_ns
        # Less than nothing: the clock was set back.
        early = (waited >= 0.0) & (waited < self.min_dwell_s * 1e9)
        closed = np.where(early, last.closed, wanted)
        switched_ns = np.where(closed != last.closed, float(now_ns), last.switched_ns)
        return Grip(wanted, closed, switched_ns)

    def prepare(self, command: Command, now_ns: int) -> tuple[Command, Callable[[], None]]:
        """The command with this gripper's joints open or closed, and what is to be called when
        that has been published. Before that nothing changes."""
        if not self.indices:
            return command, lambda: None
        rows = list(self.indices)
        position, velocity, rest = (
            array.copy() for array in (command.position, command.velocity, command.rest)
        )
        grip = self.grip if command.is_hold else None
        grip = grip or self._decide(command.position[rows], now_ns)
        position[rows] = rest[rows] = np.where(grip.closed, self.closed, self.opened)
        velocity[rows] = 0.0
        told = replace(command, position=position, velocity=velocity, rest=rest)

        def commit() -> None:
            self.grip = grip

        return told, commit

    def widen(self, limits: JointLimits) -> JointLimits:
        """The limits with all but the positions of this gripper open: it is sent end positions,
        and how fast it goes there is its controller's business."""
        if not self.indices:
            return limits
        infinite = np.full_like(limits.max_step, np.inf)
        free = ("max_velocity", "max_acceleration", "trained_acceleration")
        return limits.replaced(
            self.indices,
            {
                # Closed fingers may read a hair beyond their end.
                "max_step": 2.0 * (limits.position_max - limits.position_min),
                "trained_min": limits.position_min,
                "trained_max": limits.position_max,
                **dict.fromkeys(free, infinite),
            },
        )


def two_valued_gripper(
    settings: Settings, spec: Spec, limits: JointLimits, demonstrated_s: Sequence[float | None]
) -> TwoValuedGripper:
    """The gripper of these parameters; one without joints if all follow the prediction.

    :param demonstrated_s: see `Envelope.min_dwell`.
    :raises ConfigError: values that are missing, equal, outside the limits, or of the wrong count;
        thresholds the wrong way round; all of them at once.
    """
    grip = settings.gripper
    if not grip.open and not grip.closed:
        return TwoValuedGripper()
    count, names = len(grip.joints), spec.command_names
    indices = tuple(names.index(name) for name in grip.joints)
    problems = [
        f"gripper.{name}: {len(values)} values for {count} joints: give 1 or {count}"
        for name, values in (("open", grip.open), ("closed", grip.closed))
        if len(values) not in (1, count) or not count
    ]
    if grip.open_below >= grip.close_above:
        problems.append(
            f"gripper.open_below {grip.open_below:g} must be less than gripper.close_above "
            f"{grip.close_above:g}"
        )
    opened, closed = np.array(grip.open, np.float64), np.array(grip.closed, np.float64)
    if not problems:
        opened, closed = (np.broadcast_to(end, count) for end in (opened, closed))
        for row, index in enumerate(indices):
            low, high = limits.position_min[index], limits.position_max[index]
            problems += [
                f"{names[index]}: {end[row]:g} is outside the limits {low:.4g} to {high:.4g}"
                for end in (opened, closed)
                if not low <= end[row] <= high
            ]
            if opened[row] == closed[row]:
                problems.append(f"{names[index]}: open and closed are both {opened[row]:g}")
    if problems:
        raise ConfigError(
            join_problems(problems),
            where="parameters gripper.*",
            remedy="give the positions in which it was open and closed while demonstrating",
        )
    shortest_s = [demonstrated_s[spec.command_indices[index]] for index in indices]
    dwell_s = [
        grip.min_dwell or (UNKNOWN_DWELL_S if one is None else DWELL_PART * one)
        for one in shortest_s
    ]
    return TwoValuedGripper(
        indices, opened, closed, grip.close_above, grip.open_below, np.array(dwell_s)
    )
