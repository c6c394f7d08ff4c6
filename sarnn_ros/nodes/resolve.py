# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What follows from the parameters and the policy together, checked for contradictions. No ROS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sarnn_ros.errors import ConfigError
from sarnn_ros.nodes.parameters import NodeParameters
from sarnn_ros.policy.guard import Action, Check, GuardLimits
from sarnn_ros.policy.urdf import joint_limits
from sarnn_ros.spec import NANOSECONDS, Spec

if TYPE_CHECKING:
    from sarnn_ros.policy.runtime import Policy


def load_policy(parameters: NodeParameters) -> Policy:
    """The policy, ready to step.

    :raises PolicyError: missing, damaged, or unfit.
    :raises ConfigError: when no directory is given.
    """
    from sarnn_ros.policy.runtime import Policy

    if not parameters.policy:
        raise ConfigError(
            "no policy is given",
            where="parameter 'policy'",
            remedy="set it to the directory that 'sarnn train --out' wrote, as policy:=/path",
        )
    path = Path(parameters.policy).expanduser()
    return Policy.load(path, backend=parameters.backend, threads=parameters.threads)


def command_order(parameters: NodeParameters, spec: Spec) -> tuple[int, ...]:
    """Indices into the policy's commanded joints, in the order the controller wants them.

    :raises ConfigError: unless the controller's joints are the policy's, in any order.
    """
    names = list(spec.command_names)
    wanted = list(parameters.command_joints) or names
    if sorted(wanted) != sorted(names):
        raise ConfigError(
            f"{wanted} are not the joints that the policy commands, {names}",
            where="parameter 'command_joints'",
            remedy="name each of the policy's joints once, in the controller's order",
        )
    return tuple(names.index(name) for name in wanted)


def command_interval_ns(parameters: NodeParameters, spec: Spec) -> int:
    """Time between set-points, ns; 0 if each command is sent as it is.

    :raises ConfigError: a command rate below the policy's, or for a trajectory.
    """
    rate = parameters.command_rate
    if rate == 0.0:
        return 0
    where = "parameter 'command_rate'"
    if parameters.command_interface == "joint_trajectory":
        raise ConfigError(
            f"{rate:g} Hz, but a trajectory is interpolated by its controller",
            where=where,
            remedy="leave it at 0 with command_interface:=joint_trajectory",
        )
    if rate < spec.rate:
        raise ConfigError(
            f"{rate:g} Hz is less than the policy's {spec.rate:g} Hz",
            where=where,
            remedy="give at least the policy's rate, usually the controller's, or 0",
        )
    return round(NANOSECONDS / rate)


def guard_limits(parameters: NodeParameters, spec: Spec, envelope: Any) -> GuardLimits:
    """Training envelope and margins, narrowed by the user's own limits.

    :raises ConfigError: for limits of the wrong count, or that leave no room.
    """
    guard = parameters.guard
    actions = {
        "position": guard.on_position,
        "step": guard.on_step,
        "velocity": guard.on_velocity,
        "acceleration": guard.on_acceleration,
    }
    clamp = frozenset(
        cast(Check, check) for check, action in actions.items() if cast(Action, action) == "clamp"
    )
    indices = list(spec.command_indices)
    limits = GuardLimits.from_training(
        *(
            np.asarray(values, np.float64)[indices]
            for values in (envelope.position_min, envelope.position_max, envelope.max_step)
        ),
        position_margin=guard.position_margin,
        step_margin=guard.step_margin,
        floor=guard.floor,
        clamp=clamp,
    )
    if parameters.robot_description:
        where = "parameter 'robot_description'"
        urdf = joint_limits(parameters.robot_description, spec.command_names, where=where)
        limits = limits.narrowed(spec.command_names, urdf, where=where)
    names = ("position_min", "position_max", "max_step", "max_velocity", "max_acceleration")
    own = {name: getattr(guard, name) for name in names}
    return limits.narrowed(spec.command_names, own, where="parameters guard.*")
