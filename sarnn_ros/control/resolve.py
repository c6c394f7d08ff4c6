# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What follows from the parameters and the policy together, checked for contradictions. No ROS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.limits import JointLimits
from sarnn_ros.control.settings import GRIPPER_ACTIONS, GripperSettings, Settings
from sarnn_ros.control.start import StartPoses
from sarnn_ros.control.urdf import joint_limits, missing_limits
from sarnn_ros.errors import ConfigError, join_problems
from sarnn_ros.spec import NANOSECONDS, SHARED_TYPES, Spec

if TYPE_CHECKING:
    from sarnn_ros.policy.runtime import Policy


@dataclass(frozen=True)
class CommandTopic:
    """One topic of commands, or the action of one gripper.

    :param interface: `command_interface` or `gripper.interface`: names the message's type.
    :param indices: into the policy's commanded joints, in the controller's order.
    """

    name: str
    interface: str
    indices: tuple[int, ...]


def load_policy(settings: Settings) -> Policy:
    """The policy, ready to step.

    :raises PolicyError: missing, damaged, or unfit.
    :raises ConfigError: when no directory is given, or the backend cannot use the device.
    """
    from sarnn_ros.policy.runtime import Policy

    if not settings.policy:
        raise ConfigError(
            "no policy is given",
            where="parameter 'policy'",
            remedy="set it to the directory that 'sarnn train --out' wrote, as policy:=/path",
        )
    path = Path(settings.policy).expanduser()
    return Policy.load(
        path,
        backend=settings.backend,
        device="auto",
        sha256=settings.policy_sha256 or None,
    )


def command_topics(settings: Settings, spec: Spec) -> tuple[CommandTopic, ...]:
    """Which joints are sent where, in the order the controllers want them.

    :raises ConfigError: unless `command_joints` are those of the policy, less those of a gripper
        with a topic of its own, in any order; or for a gripper that is not the policy's.
    """
    names = list(spec.command_names)
    grip = settings.gripper
    unknown = [name for name in grip.joints if name not in names]
    if unknown or len(set(grip.joints)) != len(grip.joints):
        raise ConfigError(
            f"{list(grip.joints)} are not joints that the policy commands, {names}",
            where="parameter 'gripper.joints'",
            remedy="name each of the gripper's joints once, as the policy calls it",
        )
    apart = list(grip.joints) if grip.interface != "with_arm" else []
    by_action = grip.interface in GRIPPER_ACTIONS
    if by_action:
        _check_gripper_actions(grip)
    elif grip.interface != "with_arm" and not apart:
        raise ConfigError(
            f"{grip.interface}, but no joint is named as the gripper's",
            where="parameter 'gripper.interface'",
            remedy="name its joints in gripper.joints",
        )
    if grip.interface == "float64" and len(apart) > 1:
        raise ConfigError(
            f"{apart} are {len(apart)} joints, a Float64 is one",
            where="parameter 'gripper.interface'",
            remedy="use forward_position",
        )
    rest = [name for name in names if name not in apart]
    wanted = list(settings.command_joints) or rest
    if sorted(wanted) != sorted(rest) or not rest:
        raise ConfigError(
            f"{wanted} are not the joints that the policy commands there, {rest}",
            where="parameter 'command_joints'",
            remedy="name each of the policy's joints once, in the controller's order; at least "
            "one that is not the gripper's",
        )

    def topic(name: str, interface: str, joints: list[str]) -> CommandTopic:
        return CommandTopic(name, interface, tuple(names.index(joint) for joint in joints))

    topics = [topic("joint_command", settings.command_interface, wanted)]
    if by_action:
        topics += [
            topic(name, grip.interface, [joint])
            for name, joint in zip(grip.actions, grip.joints, strict=True)
        ]
    elif apart:
        topics.append(topic("gripper_command", grip.interface, apart))
    return tuple(topics)


def _check_gripper_actions(grip: GripperSettings) -> None:
    """:raises ConfigError: what a goal of an action needs is missing; all of it at once."""
    problems = []
    if not (grip.joints and grip.open and grip.closed):
        problems.append(
            "an action has one goal at a time, and cannot follow a prediction: give "
            "gripper.joints, gripper.open and gripper.closed"
        )
    if len(grip.actions) != len(grip.joints) or len(set(grip.actions)) != len(grip.actions):
        problems.append(
            f"gripper.actions {list(grip.actions)} for the joints {list(grip.joints)}: name one "
            "action server for each"
        )
    if grip.interface == "franka_grasp" and not (grip.max_effort and grip.max_velocity):
        problems.append("Grasp needs gripper.max_effort, N, and gripper.max_velocity, m/s")
    if grip.interface == "gripper_command" and grip.max_velocity:
        problems.append("gripper.max_velocity: GripperCommand has no velocity")
    if problems:
        raise ConfigError(
            join_problems(problems),
            where=f"parameter 'gripper.interface', {grip.interface}",
            remedy="docs/reference/node.md#a-gripper-with-an-action has an example",
        )


def check_topics(
    spec: Spec,
    commands: Iterable[CommandTopic],
    resolve: Callable[[str], str],
    namespace: str,
    teleoperator: str,
) -> None:
    """Refuse topics with which a node would watch one arm and move another, or would take its own
    commands for the measured state.

    :param resolve: the full name of a topic, remapped.
    :param namespace: of the node, e.g. `/left`; `/` is the root.
    :param teleoperator: `takeover.command_topic`.
    :raises ConfigError: a source of joints, or the teleoperator, is a topic that is commanded; or
        the node is in a namespace and commands there, and a source of joints is elsewhere.
    """
    sent = [resolve(one.name) for one in commands]
    if teleoperator and resolve(teleoperator) in sent:
        raise ConfigError(
            f"a person's commands are to come from '{resolve(teleoperator)}', where this node "
            "publishes its own",
            where="parameter 'takeover.command_topic'",
            remedy="give the teleoperation's commands a topic of their own",
        )
    inside = namespace.rstrip("/") + "/"
    for source in spec.joints:
        topic = resolve(source.topic)
        if topic in sent:
            raise ConfigError(
                f"the joints are to come from '{topic}', where this node publishes its commands: "
                "it would take them for the measured state",
                where="topics",
                remedy="remap the command, e.g. -r joint_command:=/arm/commands, or the joints, "
                f"e.g. -r {source.topic}:=/arm/joint_states",
            )
        own_commands = [one for one in sent if one.startswith(inside)]
        elsewhere = not topic.startswith(inside) and source.type not in SHARED_TYPES
        if inside != "/" and own_commands and elsewhere:
            own = source.topic.rpartition("/")[2]
            raise ConfigError(
                f"the joints come from '{topic}', but the commands go to '{own_commands[0]}': the "
                f"node in the namespace '{namespace}' may watch one arm and move another",
                where="topics",
                remedy=f"if the arm is in the namespace, remap the joints: -r {source.topic}:="
                f"{own}, or record with relative topics; if not, name the command's topic in "
                "full: -r joint_command:=/arm/commands",
            )


def command_interval_ns(settings: Settings, spec: Spec) -> int:
    """Time between set-points, ns; 0 if each command is sent as it is.

    :raises ConfigError: a command rate below the policy's, or for a trajectory.
    """
    rate = settings.command_rate
    if rate == 0.0:
        return 0
    where = "parameter 'command_rate'"
    if "joint_trajectory" in (settings.command_interface, settings.gripper.interface):
        raise ConfigError(
            f"{rate:g} Hz, but a trajectory is interpolated by its controller",
            where=where,
            remedy="leave it at 0 with the interface joint_trajectory",
        )
    if rate < spec.rate:
        raise ConfigError(
            f"{rate:g} Hz is less than the policy's {spec.rate:g} Hz",
            where=where,
            remedy="give at least the policy's rate, usually the controller's, or 0",
        )
    return round(NANOSECONDS / rate)


def held_indices(settings: Settings, spec: Spec) -> tuple[int, ...]:
    """Which of the commanded joints are held.

    :raises ConfigError: unless they are commanded joints, at least one of which is not held, and
        none the gripper's.
    """
    names, held = spec.command_names, settings.hold_joints
    wrong = [name for name in held if name not in names or name in settings.gripper.joints]
    if wrong or len(set(held)) != len(held) or len(held) == len(names):
        raise ConfigError(
            f"{list(held)} cannot be held: each must be a joint that the policy commands, named "
            f"once and not the gripper's, and at least one must move. Commanded: "
            f"{', '.join(names)}",
            where="parameter 'hold_joints'",
            remedy="name the joints that never moved in the demonstrations; 'sarnn inspect' "
            "lists them",
        )
    return tuple(names.index(name) for name in held)


def start_poses(settings: Settings, spec: Spec, envelope: Any) -> StartPoses:
    """Where the demonstrations began; the gripper and joints that are held may begin elsewhere."""
    names = spec.command_names
    pose, spread = (
        _commanded(spec, values) for values in (envelope.start_pose, envelope.start_pose_spread)
    )
    span = _commanded(spec, envelope.position_max) - _commanded(spec, envelope.position_min)
    free = [*held_indices(settings, spec), *map(names.index, settings.gripper.joints)]
    return StartPoses(names, pose - spread, pose + spread, span, free)


def _commanded(spec: Spec, values: Any) -> NDArray[np.float64]:
    """Of the values of all joints, (D,), those of the commanded ones, (n,)."""
    return np.asarray(values, np.float64)[list(spec.command_indices)]


def guard_limits(
    settings: Settings,
    spec: Spec,
    envelope: Any,
    description: str | None = None,
    *,
    warn: Callable[[str], object] = lambda text: None,
) -> JointLimits:
    """Training envelope and margins, narrowed by the robot's and the user's own limits.

    :param description: URDF text that came on `robot_description_topic`.
    :param warn: called with a text about joints that have no limits in the description.

    :raises ConfigError: for limits of the wrong count, or that leave no room; or refusals could
        never latch.
    """
    guard = settings.guard
    if guard.latch_window < guard.latch_after:
        raise ConfigError(
            f"guard.latch_after is {guard.latch_after}, guard.latch_window {guard.latch_window}: "
            "of so few ticks not so many can be refused, and nothing would ever latch",
            remedy="raise guard.latch_window, or lower guard.latch_after",
        )
    names = ("position_min", "position_max", "max_step", "max_change", "second_difference")
    trained = {name: _commanded(spec, getattr(envelope, name)) for name in names}
    if envelope.first_lead is not None:
        trained["first_lead"] = _commanded(spec, envelope.first_lead)
    limits = JointLimits.from_training(trained, settings.guard, spec.period_ns * 1e-9)
    if description is not None:
        where = f"topic '{settings.robot_description_topic}'"
        urdf = joint_limits(description, spec.command_names, where=where)
        limits = limits.narrowed(spec.command_names, urdf, where=where)
        if missing := missing_limits(urdf, spec.command_names):
            warn(
                f"{where}: {missing}: only those of training and guard.* hold; does it have "
                "another name there, or no <limit>?"
            )
    names = ("position_min", "position_max", "max_step", "max_velocity", "max_acceleration")
    own = {name: getattr(settings.guard, name) for name in names}
    return limits.narrowed(spec.command_names, own, where="guard.*")
