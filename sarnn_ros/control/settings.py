# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of the robot's side: declared here once, read everywhere as a frozen dataclass.

A field is a ROS parameter: its annotation is the type, its default the default, its metadata the
description and the range; a nested dataclass is a name prefix (`guard.step_margin`). The table in
the documentation, the descriptors that `ros2 param describe` shows, and the checks all come from
these fields. What a parameter *does* lives elsewhere.
"""

from __future__ import annotations

import array
import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sarnn_ros.errors import ConfigError, join_problems


def _parameter(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
    read_only: bool = False,
) -> Any:
    """A dataclass field that is a ROS parameter. `live` ones may change while configured,
    `read_only` ones never; all others take effect at the next configure."""
    metadata = {
        "description": description,
        "low": low,
        "high": high,
        "choices": choices,
        "live": live,
        "read_only": read_only,
    }
    return field(default=default, metadata=metadata)


ACTIONS = ("refuse", "clamp")


@dataclass(frozen=True)
class GuardParameters:
    """Limits of the command guard; see docs/explanation/safety.md for how they combine."""

    position_margin: float = _parameter(
        0.1, "widens the trained position range on each side, by this part of it", low=0, high=1
    )
    step_margin: float = _parameter(
        1.5, "largest step from the present position, in largest trained steps", low=0, high=10
    )
    velocity_margin: float = _parameter(
        2.0,
        "largest change from one command to the next, in largest trained ones",
        low=1,
        high=100,
    )
    floor: float = _parameter(
        0.01,
        "smallest position margin and smallest step limits, rad or m: a joint that hardly moved "
        "in training must not be stopped by its own measurement noise",
        low=0,
        high=1,
    )
    position_min: tuple[float, ...] = _parameter(
        (), "own lower position limits, rad or m: one value, or one per commanded joint"
    )
    position_max: tuple[float, ...] = _parameter(
        (), "own upper position limits, rad or m: one value, or one per commanded joint"
    )
    max_step: tuple[float, ...] = _parameter(
        (), "own limit of the step from the present position, rad or m per tick", low=0
    )
    max_velocity: tuple[float, ...] = _parameter(
        (), "own limit of the commanded velocity, rad/s or m/s", low=0
    )
    max_acceleration: tuple[float, ...] = _parameter(
        (), "limit of the commanded acceleration, rad/s^2 or m/s^2; empty: none", low=0
    )
    on_position: str = _parameter(
        "refuse", "a command outside the position limits is refused or clamped", choices=ACTIONS
    )
    on_step: str = _parameter("refuse", "a step too large is refused or clamped", choices=ACTIONS)
    on_velocity: str = _parameter(
        "refuse", "a velocity too high is refused or clamped", choices=ACTIONS
    )
    on_acceleration: str = _parameter(
        "refuse", "an acceleration too high is refused or clamped", choices=ACTIONS
    )
    latch_after: int = _parameter(
        5,
        "refused commands, or ways to them, in a row after which the fault latches until ~/reset",
        low=1,
        high=1000,
    )


@dataclass(frozen=True)
class WatchParameters:
    """Watchdogs; see docs/explanation/safety.md for which fault latches."""

    max_latency: float = _parameter(
        0.0,
        "a command later than this after its tick is not sent, s; 0: one period of the policy",
        low=0,
        high=10,
    )
    reset_gap: float = _parameter(
        1.0,
        "the recurrent state is reset after this long without permission to command, s; one and a "
        "half periods of the policy if that is longer",
        low=0,
        high=60,
    )
    frozen_ticks: int = _parameter(
        10,
        "images alike, byte for byte, at so many ticks while the robot moves mean that the camera "
        "is frozen; 0: never",
        low=0,
        high=1000,
    )
    jump_steps: float = _parameter(
        3.0,
        "a joint that moves further within one tick than this many of its largest steps latches "
        "a fault; 0: never",
        low=0,
        high=100,
    )
    image_size: bool = _parameter(
        True, "the camera must have the size it had in training; otherwise it is resized"
    )
    single_publisher: bool = _parameter(
        True, "more than one publisher on a sensor's topic holds the robot"
    )
    single_commander: bool = _parameter(
        True, "more than one publisher on a topic of commands holds the robot; not in a dry run"
    )
    require_controller: bool = _parameter(
        True, "nothing is sent, and the policy does not begin, while nobody takes the command"
    )
    min_rate: float = _parameter(
        0.0, "a sensor that comes less often holds the robot, Hz; 0: its age decides alone",
        low=0, high=1000,
    )  # fmt: skip


@dataclass(frozen=True)
class StartParameters:
    """How a motion begins; see docs/reference/node.md."""

    ramp_speed: float = _parameter(
        0.0,
        "after ~/start first to where the demonstrations began, straight in joint positions, "
        "heedless of obstacles; speed of the fastest joint, rad/s or m/s; 0: no ramp",
        low=0, high=10,
    )  # fmt: skip
    warm_up_ticks: int = _parameter(
        0, "ticks that the policy sees before it commands, after each reset of its state",
        low=0, high=1000,
    )  # fmt: skip
    blend_time: float = _parameter(
        0.0, "then from the present position into the policy's commands over this time, s",
        low=0, high=60,
    )  # fmt: skip


@dataclass(frozen=True)
class GripperParameters:
    """A gripper among the commanded joints; see docs/reference/node.md."""

    joints: tuple[str, ...] = _parameter(
        (), "the gripper's joints, among those that the policy commands; empty: there is none"
    )
    interface: str = _parameter(
        "with_arm",
        "in joint_command with the other joints, or alone on gripper_command: as "
        "command_interface names the types, or std_msgs/Float64 for a single joint",
        choices=("with_arm", "joint_state", "joint_trajectory", "forward_position", "float64"),
    )
    open: tuple[float, ...] = _parameter(
        (),
        "position of the open gripper, rad or m: one value, or one per gripper joint. With "
        "'closed' it makes the gripper two-valued; both empty: it follows the prediction",
    )
    closed: tuple[float, ...] = _parameter(
        (), "position of the closed gripper, rad or m: likewise"
    )
    close_above: float = _parameter(
        0.6, "it closes where the prediction is beyond this part of the way from open to closed",
        low=0, high=1,
    )  # fmt: skip
    open_below: float = _parameter(
        0.4, "it opens where the prediction is below this part of the way; between, it stays",
        low=0, high=1,
    )  # fmt: skip


@dataclass(frozen=True)
class HealthParameters:
    """Prediction health; see docs/explanation/safety.md."""

    window: float = _parameter(
        1.0, "the score is smoothed over this long by its median, s", low=0, high=60
    )
    warn_above: float = _parameter(
        1.0,
        "warn when the score is above this; 1: errors as large as the largest hundredth on "
        "validation episodes; 0: never",
        low=0,
        high=100,
        live=True,
    )
    stop_above: float = _parameter(
        0.0, "hold the robot while the score is above this; 0: never", low=0, high=100, live=True
    )
    latch: bool = _parameter(
        False, "such a stop latches until ~/reset, instead of ending with its cause", live=True
    )
    image: bool = _parameter(
        False, "predict the image at every tick, so that it counts too; costs the full graph"
    )


@dataclass(frozen=True)
class DriftParameters:
    """Camera drift: warnings only."""

    window: float = _parameter(
        5.0, "brightness and colour are averaged over this long, s", low=0, high=600
    )
    brightness: float = _parameter(
        0.25,
        "warn when the mean brightness differs from training by more than this part of it, and "
        "training never saw such; 0: never",
        low=0,
        high=10,
        live=True,
    )
    color: float = _parameter(
        0.1,
        "warn when a colour channel's share of the light differs from training by more than this "
        "part of it; 0: never",
        low=0,
        high=10,
        live=True,
    )


@dataclass(frozen=True)
class NodeParameters:
    """Everything that can be set from outside."""

    policy: str = _parameter("", "policy directory, as written by 'sarnn train'")
    backend: str = _parameter(
        "onnxruntime", "what runs the network", choices=("onnxruntime", "torch")
    )
    device: str = _parameter(
        "auto",
        "of the backend torch; auto: a GPU where there is one. onnxruntime runs on the CPU",
        choices=("auto", "cpu", "cuda"),
    )
    compile: bool = _parameter(
        False, "have the backend torch compile the network; configure takes a minute longer"
    )
    threads: int = _parameter(
        1, "threads of the network; more than one makes the tail worse on a busy machine",
        low=1, high=64,
    )  # fmt: skip
    cpu_affinity: tuple[int, ...] = _parameter(
        (), "cores that the control thread may use; empty: all that the process may", low=0
    )
    realtime_priority: int = _parameter(
        0,
        "SCHED_FIFO priority of the control thread, which needs a privilege; 0: none",
        low=0,
        high=99,
    )
    autostart: bool = _parameter(
        False,
        "configure and activate at start-up, without a lifecycle manager; fixed from then on",
        read_only=True,
    )
    start_on_activate: bool = _parameter(
        True, "command as soon as active; otherwise wait for ~/start"
    )
    dry_run: bool = _parameter(
        False,
        "do everything except sending the command; a change stops, and takes another ~/start",
        live=True,
    )
    command_interface: str = _parameter(
        "joint_state",
        "type of joint_command: sensor_msgs/JointState, trajectory_msgs/JointTrajectory (for "
        "joint_trajectory_controller) or std_msgs/Float64MultiArray (for "
        "forward_command_controller)",
        choices=("joint_state", "joint_trajectory", "forward_position"),
    )
    command_joints: tuple[str, ...] = _parameter(
        (),
        "order of the joints in joint_command, as the controller has it; empty: the policy's",
    )
    command_rate: float = _parameter(
        0.0,
        "set-points per second on the way to each command, Hz; 0: the commands alone. Not for "
        "joint_trajectory, whose controller interpolates by itself",
        low=0,
        high=1000,
    )
    interpolation: str = _parameter(
        "linear",
        "the way to a command: straight, or a cubic that keeps the velocity where two ways meet",
        choices=("linear", "cubic"),
    )
    reliability: str = _parameter(
        "best_effort",
        "reliability asked of the sensors; best_effort connects to every publisher",
        choices=("best_effort", "reliable"),
    )
    input_param_joints: float = _parameter(
        1.0,
        "share of the measured joints in the next input; the rest is what was predicted",
        low=0,
        high=1,
        live=True,
    )
    input_param_image: float = _parameter(
        1.0,
        "share of the camera in the next input; the rest is the predicted image",
        low=0,
        high=1,
        live=True,
    )
    robot_description: str = _parameter(
        "", "URDF text; its joint limits narrow the guard's. Empty: none"
    )
    robot_description_topic: str = _parameter(
        "",
        "topic with the URDF (std_msgs/String, transient local), e.g. robot_description; nothing "
        "is commanded before it has come. Empty: none",
    )
    start: StartParameters = field(default_factory=StartParameters)
    gripper: GripperParameters = field(default_factory=GripperParameters)
    guard: GuardParameters = field(default_factory=GuardParameters)
    watch: WatchParameters = field(default_factory=WatchParameters)
    health: HealthParameters = field(default_factory=HealthParameters)
    drift: DriftParameters = field(default_factory=DriftParameters)


@dataclass(frozen=True)
class Declaration:
    """One ROS parameter, flattened out of the dataclasses."""

    name: str
    kind: Any
    default: Any
    description: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    live: bool
    read_only: bool

    def convert(self, value: Any) -> Any:
        """The value in the type of the field.

        Whole numbers are taken where a float is asked, since YAML's `rate: 5` is an integer.

        :raises ValueError: of another type, out of range, not finite, or not among the choices.
        """
        if typing.get_origin(self.kind) is tuple:
            items = _items(value)
            if items is None:
                raise ValueError(f"{value!r} is not a list")
            element = typing.get_args(self.kind)[0]
            return tuple(self._scalar(item, element) for item in items)
        return self._scalar(value, self.kind)

    def _scalar(self, value: Any, kind: Any) -> Any:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not kind:
            raise ValueError(f"{value!r} is not of type {TYPE_NAMES[kind]}")
        if kind is float and not math.isfinite(value):
            raise ValueError(f"{value} is not finite")
        if self.choices and value not in self.choices:
            raise ValueError(f"{value!r} is not one of {', '.join(self.choices)}")
        if kind in (int, float):
            if self.low is not None and value < self.low:
                raise ValueError(f"{value} is less than {self.low:g}")
            if self.high is not None and value > self.high:
                raise ValueError(f"{value} is more than {self.high:g}")
        return value

    @property
    def constraint(self) -> str:
        """The range or the choices, in words."""
        if self.choices:
            return ", ".join(self.choices)
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        if self.low is not None:
            return f"at least {self.low:g}"
        return ""


TYPE_NAMES: dict[Any, str] = {
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    tuple[int, ...]: "int[]",
    tuple[float, ...]: "double[]",
    tuple[str, ...]: "string[]",
}


def _items(value: Any) -> list[Any] | None:
    # rclpy hands number lists over as array.array, and an empty YAML list as nothing at all.
    if value is None:
        return []
    if isinstance(value, (list, tuple, array.array)):
        return list(value)
    return None


def _declarations(kind: Any = NodeParameters, prefix: str = "") -> Iterable[Declaration]:
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        hint = hints[item.name]
        if dataclasses.is_dataclass(hint):
            yield from _declarations(hint, f"{prefix}{item.name}.")
        else:
            yield Declaration(prefix + item.name, hint, item.default, **item.metadata)


DECLARATIONS: dict[str, Declaration] = {item.name: item for item in _declarations()}


def build_parameters(values: Mapping[str, Any]) -> NodeParameters:
    """Parameters from a flat mapping of ROS names; those that are missing keep their default.

    :raises ConfigError: listing every unknown name and every wrong value at once.
    """
    problems = []
    converted: dict[str, Any] = {}
    for name, value in values.items():
        if name not in DECLARATIONS:
            problems.append(_unknown(name))
            continue
        try:
            converted[name] = DECLARATIONS[name].convert(value)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ConfigError(
            join_problems(problems),
            where="parameters",
            remedy="correct them in the parameter file or on the command line; "
            "docs/reference/parameters.md lists all of them",
        )
    return _build(NodeParameters, converted, "")


def _build(kind: Any, values: Mapping[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(kind)
    arguments = {}
    for item in dataclasses.fields(kind):
        name = prefix + item.name
        if dataclasses.is_dataclass(hints[item.name]):
            arguments[item.name] = _build(hints[item.name], values, f"{name}.")
        elif name in values:
            arguments[item.name] = values[name]
    return kind(**arguments)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, DECLARATIONS, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{name}: there is no such parameter{hint}"
