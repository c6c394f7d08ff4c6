# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A gripper that is either open or closed, out of a prediction that lies between. No ROS."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.limits import GuardLimits
from sarnn_ros.control.settings import NodeParameters
from sarnn_ros.errors import ConfigError, join_problems
from sarnn_ros.spec import Spec

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class GripperValues:
    """What a gripper's joints are sent, (k,) each, rad or m.

    :param close_above: it closes where the prediction has gone more than this part of the way from
        open to closed; :param open_below: it opens at less than this. Between the two it stays.
    """

    open: Vector
    closed: Vector
    close_above: float
    open_below: float


@dataclass(frozen=True)
class Gripper:
    """The joints, by index among the commanded ones, that are sent one of two values."""

    indices: tuple[int, ...]
    values: GripperValues


class Hysteresis:
    """Remembers, per joint, whether it is closed. One thread at a time."""

    def __init__(self, values: GripperValues) -> None:
        self._values = values
        self.reset()

    def reset(self) -> None:
        """Forget it: somebody else may have opened or closed it."""
        self._closed: NDArray[np.bool_] | None = None

    def decide(self, predicted: Vector) -> Vector:
        """Open or closed values, (k,). The first prediction goes to the nearer of the two."""
        values = self._values
        share = (predicted - values.open) / (values.closed - values.open)
        before = share >= 0.5 if self._closed is None else self._closed
        self._closed = np.where(before, share >= values.open_below, share > values.close_above)
        return np.where(self._closed, values.closed, values.open)


def two_valued_gripper(
    parameters: NodeParameters, spec: Spec, limits: GuardLimits
) -> Gripper | None:
    """The joints that are sent one of two values; None if all follow the prediction.

    :raises ConfigError: values that are missing, equal, outside the guard's limits, or of the
        wrong count; thresholds the wrong way round; all of them at once.
    """
    grip = parameters.gripper
    if not grip.open and not grip.closed:
        return None
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
    values = GripperValues(
        np.array(grip.open, np.float64), np.array(grip.closed, np.float64),
        grip.close_above, grip.open_below,
    )  # fmt: skip
    if not problems:
        ends = [np.broadcast_to(end, count) for end in (values.open, values.closed)]
        values = dataclasses.replace(values, open=ends[0], closed=ends[1])
        for row, index in enumerate(indices):
            low, high = limits.position_min[index], limits.position_max[index]
            problems += [
                f"{names[index]}: {end[row]:g} is outside the guard's {low:.4g} to {high:.4g}"
                for end in ends
                if not low <= end[row] <= high
            ]
            if ends[0][row] == ends[1][row]:
                problems.append(f"{names[index]}: open and closed are both {ends[0][row]:g}")
    if problems:
        raise ConfigError(
            join_problems(problems),
            where="parameters gripper.*",
            remedy="give the positions in which it was open and closed while demonstrating",
        )
    return Gripper(indices, values)


def with_gripper(limits: GuardLimits, gripper: Gripper | None) -> GuardLimits:
    """The guard's limits with the steps, velocities and accelerations of a two-valued gripper
    open: it is sent end positions, and how fast it goes there is its controller's business."""
    if gripper is None:
        return limits
    rows = list(gripper.indices)
    step, velocity, acceleration = (
        array.copy() for array in (limits.max_step, limits.max_velocity, limits.max_acceleration)
    )
    step[rows] = (limits.position_max - limits.position_min)[rows]
    velocity[rows] = acceleration[rows] = np.inf
    return dataclasses.replace(
        limits, max_step=step, max_velocity=velocity, max_acceleration=acceleration
    )
