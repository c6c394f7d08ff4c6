# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Joint limits from a robot description (URDF). Standard library and NumPy; no ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.errors import ConfigError

Vector = NDArray[np.float64]


def joint_limits(description: str, names: Sequence[str], *, where: str) -> dict[str, Vector]:
    """Position and velocity limits of the named joints, as `JointLimits.narrowed` takes them.

    A joint that the description lacks, and one without an end (continuous), stay unlimited; a
    `safety_controller`'s soft limits count where they are tighter.

    :returns: `position_min`, `position_max` (rad or m) and `max_velocity` (rad/s or m/s), (n,).
    :raises ConfigError: not XML, not a robot, none of the joints, one of any name twice, or a
        limit that is no number.
    """
    try:
        root = ElementTree.fromstring(description)
    except ElementTree.ParseError as error:
        raise ConfigError(
            f"not a URDF: {error}",
            where=where,
            remedy="give the robot description itself (XML, after xacro), not its path",
        ) from error
    if root.tag != "robot":
        raise ConfigError(f"not a URDF: its root is <{root.tag}>, not <robot>", where=where)
    low, high = np.full(len(names), -np.inf), np.full(len(names), np.inf)
    speed = np.full(len(names), np.inf)
    joints: dict[str, ElementTree.Element] = {}
    # Children only: ros2_control, transmissions and Gazebo name the joints again, without limits.
    for joint in root.findall("joint"):
        name = joint.get("name", "")
        if name in joints:
            raise ConfigError(
                f"describes the joint '{name}' twice",
                where=where,
                remedy="leave one <joint> of that name in <robot>; was a macro expanded twice?",
            )
        joints[name] = joint
    if not joints.keys() & set(names):
        raise ConfigError(
            f"describes none of the commanded joints {', '.join(names)}",
            where=where,
            remedy="give the description of the robot that the policy was trained on",
        )
    for index, name in enumerate(names):
        if name not in joints:
            continue
        joint = joints[name]
        limit, safety = joint.find("limit"), joint.find("safety_controller")
        ends = joint.get("type") != "continuous"
        if limit is not None:
            if ends:
                low[index] = _number(limit, "lower", 0.0, name, where)
                high[index] = _number(limit, "upper", 0.0, name, where)
            speed[index] = _number(limit, "velocity", np.inf, name, where) or np.inf
            if speed[index] < 0.0:
                raise ConfigError(
                    f"joint '{name}': its velocity limit is {speed[index]:g}",
                    where=where,
                    remedy="a limit is not negative, and 0 is none: mend its <limit>",
                )
        if safety is not None and ends:
            low[index] = max(low[index], _number(safety, "soft_lower_limit", -np.inf, name, where))
            high[index] = min(
                high[index], _number(safety, "soft_upper_limit", np.inf, name, where)
            )
    return {"position_min": low, "position_max": high, "max_velocity": speed}


def missing_limits(limits: Mapping[str, Vector], names: Sequence[str]) -> str:
    """What `joint_limits` found no limit for, a part of a sentence: joints without any, and those
    without one of their velocity."""
    bounded = np.any([np.isfinite(values) for values in limits.values()], axis=0)
    slow = np.isfinite(limits["max_velocity"])
    kinds = {"no limits": ~bounded, "no velocity limit (0 is none)": bounded & ~slow}
    return ", ".join(
        f"{kind} for {', '.join(np.array(names)[which])}"
        for kind, which in kinds.items()
        if which.any()
    )


def _number(
    element: ElementTree.Element, key: str, default: float, joint: str, where: str
) -> float:
    text = element.get(key)
    if text is None:
        return default
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"joint '{joint}': {key} is '{text}'", where=where) from error
