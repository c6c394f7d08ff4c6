# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of the robot's side: declared here once, read everywhere as a frozen model.

A field is a ROS parameter: its annotation gives the type, the range and the choices, its default
the default; a nested model is a name prefix (`guard.step_margin`). The reference in docs, the
descriptors that `ros2 param describe` shows, and the checks all come from these fields. What a
setting *does* lives elsewhere.
"""

from __future__ import annotations

import array
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sarnn_ros.errors import ConfigError, join_problems
from sarnn_ros.spec import Topic, topic_name
from sarnn_ros.validation import describe, did_you_mean

T = TypeVar("T")


def _from_ros(value: Any) -> Any:
    # rclpy hands number lists over as array.array, and an empty YAML list as nothing at all.
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, array.array)) else value


#: A list. It is a tuple inside, since the settings do not change.
List = Annotated[tuple[T, ...], BeforeValidator(_from_ros)]
Number = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=1, le=100)]
Ratio = Annotated[float, Field(ge=0, le=100)]
Hertz = Annotated[float, Field(ge=0, le=1000)]
Ticks = Annotated[int, Field(ge=0, le=1000)]
Action = Literal["refuse", "clamp"]
#: Of a topic, or empty.
Name = Annotated[str, AfterValidator(lambda name: name and topic_name(name))]

#: Those of `gripper.interface` that are actions.
GRIPPER_ACTIONS = ("gripper_command", "parallel_gripper_command", "franka_grasp")


class _Group(BaseModel):
    # Strict: `dry_run: 1` is a mistake. An integer still passes for a float: YAML's `rate: 5`.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _LiveGroup(_Group):
    """Its settings may change while configured."""


def _setting(
    default: Any,
    description: str,
    *,
    live: bool = False,
    on_load: bool = False,
    read_only: bool = False,
) -> Any:
    """A field that is a ROS parameter. `live` ones, and those of a `_LiveGroup`, may change while
    configured, `read_only` ones never; all others take effect at the next configure, those that
    are `on_load` at the next `~/load` as well."""
    extra: dict[str, Any] = {"live": live, "on_load": on_load, "read_only": read_only}
    return Field(default, description=description, json_schema_extra=extra)


class GuardSettings(_LiveGroup):
    """The command limits; see docs/explanation/safety.md for how they combine. Live, but refused
    while the robot is commanded."""

    position_margin: Share = _setting(
        0.1, "widens the trained position range on each side, by this fraction of it"
    )
    step_margin: Annotated[float, Field(ge=0, le=10)] = _setting(
        1.5, "largest step from the present position, in largest trained steps"
    )
    max_lag: Annotated[float, Field(ge=0, le=1)] = _setting(
        0.2,
        "an arm that follows its commands late, as it has shown, may be led by what it was sent "
        "in the time that it lags and one command more, if it is later than while demonstrating "
        "by no more than this, s; 0: by a step as demonstrated only",
    )
    velocity_margin: Factor = _setting(
        2.0, "largest change from one command to the next, in largest trained ones"
    )
    acceleration_margin: Factor = _setting(
        3.0,
        "largest change of that change, in largest trained ones (a tenth of the episodes aside); "
        "from the third command of a motion on",
    )
    floor: Share = _setting(
        0.01,
        "smallest position margin, and a third of the smallest step limits, rad or m: a joint "
        "that hardly moved in training must not be stopped by noise, or where contact moves it",
    )
    position_min: List[float] = _setting(
        (),
        "own lower position limits, rad or m: one for all, or per joint in the policy's order",
    )
    position_max: List[float] = _setting(
        (),
        "own upper position limits, rad or m: one for all, or per joint in the policy's order",
    )
    max_step: List[Number] = _setting(
        (), "own limit of the step from the present position, rad or m per tick; likewise"
    )
    max_velocity: List[Number] = _setting(
        (), "own limit of the commanded velocity, rad/s or m/s; likewise"
    )
    max_acceleration: List[Number] = _setting(
        (), "own limit of the commanded acceleration, rad/s^2 or m/s^2; likewise"
    )
    on_position: Action = _setting(
        "refuse", "a command outside the position limits is refused or clamped"
    )
    on_step: Action = _setting("refuse", "a step too large is refused or clamped")
    on_velocity: Action = _setting("refuse", "a velocity too high is refused or clamped")
    on_acceleration: Action = _setting("refuse", "an acceleration too high is refused or clamped")
    latch_after: Annotated[int, Field(ge=1, le=1000)] = _setting(
        5,
        "refused commands or interrupted segments, among the last guard.latch_window, after which "
        "the fault latches until ~/reset; so do as many reversals of what is predicted for a "
        "two-valued gripper",
    )
    latch_window: Annotated[int, Field(ge=1, le=1000)] = _setting(
        25, "ticks of a motion that guard.latch_after looks at"
    )
    max_outside: Annotated[float, Field(ge=0, le=3600)] = _setting(
        3.0,
        "a command that stays in the outer half of the position margin for so long latches a "
        "fault, s; a third of it warns; 0: never",
    )


class WatchSettings(_Group):
    """Watchdogs; see docs/explanation/safety.md for which fault latches."""

    max_latency: Annotated[float, Field(ge=0, le=10)] = _setting(
        0.0, "a command later than this after its tick is not sent, s; 0: one period of the policy"
    )
    max_gap: Annotated[float, Field(ge=0.05, le=10)] = _setting(
        0.5,
        "a motion in which nothing was done for longer than this latches a fault, s: the process "
        "was stopped or starved, and the arm may have been moved; five periods of the policy if "
        "that is longer",
    )
    max_ahead: Annotated[float, Field(ge=0, le=10)] = _setting(
        0.05,
        "a message that is stamped further than this ahead of this computer's clock is void, s: "
        "it would count as fresh when it is older by as much",
    )
    frozen_ticks: Ticks = _setting(
        10,
        "the camera counts as frozen after this many ticks with identical images while the robot "
        "moves; 0: never",
    )
    still_time: Annotated[float, Field(ge=0, le=60)] = _setting(
        1.5,
        "an arm of which no joint moves at all for so long while it is commanded to latches a "
        "fault, and so do joint states that stay the same to the last bit, s (five ticks if that "
        "is longer); 0: never. An error that it came to rest with asks for no movement. Joints of "
        "the gripper, if gripper.joints names them, do not count: what it holds stops them",
    )
    effort: Ratio = _setting(
        0.0,
        "a commanded joint whose measured effort is outside what the demonstrations had by more "
        "than this many times their range latches a fault; 0: never",
        live=True,
    )
    image_size: bool = _setting(
        True, "the camera must have the size it had in training; otherwise it is resized"
    )
    single_publisher: bool = _setting(
        True, "more than one publisher on a sensor's topic holds the robot"
    )
    single_commander: bool = _setting(
        True, "more than one publisher on a topic of commands holds the robot; not in a dry run"
    )
    require_controller: bool = _setting(
        True,
        "nothing is sent, and the policy does not begin, while nobody subscribes to the command",
    )
    min_rate: Hertz = _setting(
        0.0, "a sensor that is slower than this holds the robot, Hz; 0: only its age counts"
    )


class StartSettings(_Group):
    """How a motion begins; see docs/reference/node.md."""

    wait: Annotated[float, Field(ge=0.1, le=3600)] = _setting(
        5.0,
        "a run that has held for so long ends, s: the robot is stopped until another ~/start, and "
        "does not move when what it waited for has come. Not in a dry run",
        live=True,
    )
    margin: Ratio = _setting(
        0.1,
        "without a ramp ~/start is refused where a joint is further than this fraction of its "
        "trained range from where the demonstrations began (at least guard.floor); 1: anywhere in "
        "that range. The gripper and hold_joints do not count, nor does a dry run. Likewise a "
        "takeover, from where the arm is",
        live=True,
    )
    ramp_speed: Annotated[float, Field(ge=0, le=10)] = _setting(
        0.0,
        "after ~/start move first to where the demonstrations began, on a straight line in joint "
        "space that avoids no obstacles; speed of the fastest joint, rad/s or m/s; 0: no ramp",
    )
    warm_up_ticks: Ticks = _setting(
        0, "ticks that the policy sees before it commands, after each reset of its state"
    )
    blend_time: Annotated[float, Field(ge=0, le=60)] = _setting(
        0.0, "then blend from the present position into the policy's commands over this time, s"
    )


class TakeoverSettings(_Group):
    """How a person takes over; see docs/how-to/corrections.md."""

    command_topic: Name = _setting(
        "",
        "topic with the commands of a person (teleoperation), of the type that 'command' in the "
        "policy's spec names; ~/takeover has them sent instead of the policy's, through the same "
        "limits. Empty: nobody can take over",
    )
    max_age: Annotated[float, Field(ge=0.02, le=10)] = _setting(
        0.3, "such a command is followed for so long, s; without a newer one the robot holds"
    )


class GripperSettings(_Group):
    """A gripper among the commanded joints; see docs/reference/node.md."""

    joints: List[str] = _setting(
        (), "the gripper's joints, among those that the policy commands; empty: there is none"
    )
    interface: Literal[
        "with_arm",
        "joint_state",
        "joint_trajectory",
        "forward_position",
        "float64",
        "gripper_command",
        "parallel_gripper_command",
        "franka_grasp",
    ] = _setting(
        "with_arm",
        "in joint_command with the other joints, or alone on gripper_command: as "
        "command_interface names the types, or std_msgs/Float64 for a single joint; or by an "
        "action, for a two-valued gripper: GripperCommand or ParallelGripperCommand of "
        "control_msgs, or Grasp to close and Move to open of franka_msgs",
    )
    actions: List[Topic] = _setting(
        ("gripper_command",),
        "names of the action servers, one per gripper joint; of franka_grasp what is before "
        "/grasp and /move. Only for the interfaces that are actions",
    )
    max_effort: Annotated[float, Field(ge=0, le=10_000)] = _setting(
        0.0,
        "in the action's goal: the largest force or torque, N or Nm; franka_grasp needs one. 0: "
        "what the gripper's controller makes of no effort",
    )
    max_velocity: Annotated[float, Field(ge=0, le=100)] = _setting(
        0.0,
        "in the action's goal: the largest speed, rad/s or m/s of the joint; franka_grasp needs "
        "one, gripper_command has none. 0: the gripper's controller decides",
    )
    open: List[float] = _setting(
        (),
        "position of the open gripper, rad or m: one value, or one per gripper joint. With "
        "'closed' it makes the gripper binary; both empty: it follows the prediction",
    )
    closed: List[float] = _setting((), "position of the closed gripper, rad or m: likewise")
    close_above: Share = _setting(
        0.6,
        "it closes when the prediction is beyond this fraction of the range from open to closed",
    )
    open_below: Share = _setting(
        0.4, "it opens when the prediction is below this fraction; between the two it stays"
    )
    min_dwell: Annotated[float, Field(ge=0, le=60)] = _setting(
        0.0,
        "it stays open or closed for so long at least, s; 0: half of the shortest time in the "
        "demonstrations, or 0.5 s if there it never changed twice",
    )


class HealthSettings(_Group):
    """Prediction health; see docs/explanation/safety.md."""

    window: Annotated[float, Field(ge=0, le=60)] = _setting(
        1.0, "the score is smoothed over this long by its median, s"
    )
    warn_above: Ratio = _setting(
        1.0,
        "warn when the score is above this; 1: errors as large as the 99th percentile on "
        "validation episodes; 0: never",
        live=True,
    )
    stop_above: Ratio = _setting(
        0.0, "hold the robot while the score is above this; 0: never", live=True
    )
    latch: bool = _setting(
        False,
        "such a stop latches until ~/reset, instead of ending when the score is low again",
        live=True,
    )
    image: bool = _setting(
        False, "predict the image at every tick, so that it counts too; costs the full graph"
    )


class RegistrationSettings(_LiveGroup):
    """Where the cameras stand; see docs/explanation/safety.md."""

    max_displacement: Share = _setting(
        0.25,
        "a camera that was moved since the demonstrations is corrected for, up to so far, as a "
        "share of the image's width at the worst corner; beyond it, if its scene is not "
        "recognised, or if the picture does not tell exactly where things are, no run begins. "
        "0: cameras are not registered, nor is another light undone",
    )


class Settings(_Group):
    """Everything that can be set from outside."""

    policy: str = _setting("", "policy directory, as written by 'sarnn train'", on_load=True)
    policy_sha256: str = _setting(
        "",
        "refuse another policy than the one with this 'sha256' in its config.json; empty: any",
        on_load=True,
    )
    backend: Literal["onnxruntime", "torch"] = _setting(
        "onnxruntime", "what runs the network; torch uses a GPU if there is one"
    )
    cpu_affinity: List[Annotated[int, Field(ge=0)]] = _setting(
        (), "cores that the control thread may use; empty: all that the process may"
    )
    realtime_priority: Annotated[int, Field(ge=0, le=99)] = _setting(
        0, "SCHED_FIFO priority of the control thread, which needs a privilege; 0: none"
    )
    autostart: bool = _setting(
        True, "configure and activate at start-up; false: a lifecycle manager does", read_only=True
    )
    start_on_activate: bool = _setting(
        False, "command as soon as active, without waiting for ~/start"
    )
    run_timeout: Annotated[float, Field(ge=0, le=86400)] = _setting(
        0.0,
        "a run ends so long after it was started, s: the robot holds, and waits for ~/start; "
        "0: never",
        live=True,
    )
    dry_run: bool = _setting(
        False,
        "do everything except sending the command; a change stops the robot until ~/start",
        live=True,
    )
    overlay: Literal["marks", "points"] = _setting(
        "marks",
        "what ~/attention_overlay shows. marks: a ring round each thing that is looked at, in the "
        "colour of the prediction health; points: each attention point, with its trail, and where "
        "it is expected next",
        live=True,
    )
    command_interface: Literal["joint_state", "joint_trajectory", "forward_position"] = _setting(
        "joint_state",
        "type of joint_command: sensor_msgs/JointState, trajectory_msgs/JointTrajectory (for "
        "joint_trajectory_controller) or std_msgs/Float64MultiArray (for "
        "forward_command_controller)",
    )
    command_joints: List[str] = _setting(
        (), "order of the joints in joint_command, as the controller has it; empty: the policy's"
    )
    hold_joints: List[str] = _setting(
        (),
        "of the joints that the policy commands, those that stay where they are when a motion "
        "begins, whatever is predicted: a controller may want joints in every command that never "
        "moved in the demonstrations",
    )
    command_rate: Hertz = _setting(
        0.0,
        "set-points per second between two commands, Hz; 0: only the commands. Not for "
        "joint_trajectory, whose controller interpolates by itself",
    )
    interpolation: Literal["linear", "cubic"] = _setting(
        "linear",
        "between two commands: linear, or a cubic that keeps the velocity where two segments meet",
    )
    reliability: Literal["best_effort", "reliable"] = _setting(
        "best_effort", "reliability asked of the sensors; best_effort connects to every publisher"
    )
    input_param_joints: Share = _setting(
        1.0,
        "share of the measured joints in the next input; the rest is what was predicted",
        live=True,
    )
    input_param_image: Share = _setting(
        1.0, "share of the camera in the next input; the rest is the predicted image", live=True
    )
    robot_description_topic: Name = _setting(
        "",
        "topic with the URDF (std_msgs/String, transient local), e.g. robot_description; nothing "
        "is commanded before it has come. Empty: none",
    )
    start: StartSettings = StartSettings()
    takeover: TakeoverSettings = TakeoverSettings()
    gripper: GripperSettings = GripperSettings()
    guard: GuardSettings = GuardSettings()
    watch: WatchSettings = WatchSettings()
    health: HealthSettings = HealthSettings()
    registration: RegistrationSettings = RegistrationSettings()


@dataclass(frozen=True)
class Declaration:
    """One ROS parameter, flattened out of the models.

    :param kind: a key of `TYPE_NAMES`.
    """

    name: str
    kind: Any
    default: Any
    description: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    live: bool
    on_load: bool
    read_only: bool

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


def _declarations(model: type[BaseModel], prefix: str = "") -> Iterator[Declaration]:
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        limits = list(field.metadata)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _declarations(kind, f"{prefix}{name}.")
            continue
        choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
        if typing.get_origin(kind) is tuple:
            element = typing.get_args(kind)[0]
            bare, *fields = typing.get_args(element) or (element,)  # of Annotated
            limits += [limit for one in fields for limit in getattr(one, "metadata", ())]
            kind = tuple[bare, ...]  # type: ignore[valid-type]
        how = typing.cast(dict[str, Any], field.json_schema_extra)
        how = {**how, "live": how["live"] or issubclass(model, _LiveGroup)}
        yield Declaration(
            prefix + name,
            str if choices else kind,
            field.default,
            field.description or "",
            next((one.ge for one in limits if hasattr(one, "ge")), None),
            next((one.le for one in limits if hasattr(one, "le")), None),
            choices,
            **how,
        )


DECLARATIONS: dict[str, Declaration] = {item.name: item for item in _declarations(Settings)}


def flatten(settings: BaseModel, prefix: str = "") -> dict[str, Any]:
    """The values by their ROS names."""
    values: dict[str, Any] = {}
    for name, value in settings:
        if isinstance(value, BaseModel):
            values |= flatten(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = value
    return values


def build_settings(values: Mapping[str, Any]) -> Settings:
    """Settings from a flat mapping of ROS names; those that are missing keep their default.

    :raises ConfigError: listing every unknown name and every wrong value at once.
    """
    settings, problems = _validate(values)
    if settings is None:
        raise ConfigError(
            join_problems(f"{name}: {text}" for name, text in problems.items()),
            where="parameters",
            remedy="correct them in the parameter file or on the command line; "
            "docs/reference/parameters.md lists all of them",
        )
    return settings


def find_problems(values: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with each of the flat values, by name; empty if nothing is."""
    return _validate(values)[1]


def _validate(values: Mapping[str, Any]) -> tuple[Settings | None, dict[str, str]]:
    problems = {
        name: f"there is no such parameter{did_you_mean(name, DECLARATIONS)}"
        for name in values
        if name not in DECLARATIONS
    }
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *groups, last = name.split(".")
        if name in DECLARATIONS:
            (nested.setdefault(groups[0], {}) if groups else nested)[last] = value
    settings = None
    try:
        settings = Settings.model_validate(nested)
    except ValidationError as error:
        for item in error.errors():
            name = ".".join(part for part in item["loc"] if isinstance(part, str))
            problems.setdefault(name, describe(item))
    return (None if problems else settings), problems
