# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The spec: what a policy observes and commands, at what rate and by which clock.

One `Spec` is written by the user (YAML), used to turn bags into a dataset, stored in the policy
directory and obeyed by the node. Whatever both the offline and the online path must agree on
belongs here; how to train or how to guard does not. Units are SI (REP 103); times in the YAML are
seconds, inside the code int nanoseconds.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from sarnn_ros.errors import SpecError, join_problems
from sarnn_ros.validation import describe, did_you_mean, without_consequences
from sarnn_ros.yaml_file import read_yaml

__all__ = [
    "CameraSpec",
    "CommandSource",
    "Crop",
    "EpisodeSplit",
    "JointSource",
    "Spec",
    "dump_spec",
    "load_spec",
    "parse_spec",
]

NANOSECONDS = 1_000_000_000

#: Three unpadded 3x3 convolutions take 6 pixels; less than a 2x2 feature map has no position.
MIN_IMAGE_SIDE = 8
MAX_IMAGE_SIDE = 1024

IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE_TYPE = "sensor_msgs/msg/CompressedImage"
JOINT_STATE_TYPE = "sensor_msgs/msg/JointState"
TRAJECTORY_TYPE = "trajectory_msgs/msg/JointTrajectory"
CONTROLLER_STATE_TYPE = "control_msgs/msg/JointTrajectoryControllerState"
NUMBER_TYPES = ("std_msgs/msg/Float64", "std_msgs/msg/Float32")
ARRAY_TYPES = ("std_msgs/msg/Float64MultiArray", "std_msgs/msg/Float32MultiArray")
WRENCH_TYPE = "geometry_msgs/msg/WrenchStamped"
POSE_TYPE = "geometry_msgs/msg/PoseStamped"
TF_TYPE = "tf2_msgs/msg/TFMessage"
#: A pose's rotation is given by two axes of its frame, the first two columns of its matrix: unlike
#: a quaternion or angles they never jump.
_POSE = (
    *("position.x", "position.y", "position.z"),
    *("axis_x.x", "axis_x.y", "axis_x.z", "axis_y.x", "axis_y.y", "axis_y.z"),
)
#: Types whose values have names of their own.
COMPONENTS = {
    WRENCH_TYPE: ("force.x", "force.y", "force.z", "torque.x", "torque.y", "torque.z"),
    POSE_TYPE: _POSE,
    TF_TYPE: _POSE,
}
ONLY_JOINTS = (
    "only joints are: the limits are theirs, and a pose or force does not say how far each joint "
    "will move"
)
#: Types whose topic many nodes publish.
SHARED_TYPES = (TF_TYPE,)
#: Types whose values carry joint names.
NAMED_TYPES = (JOINT_STATE_TYPE, TRAJECTORY_TYPE, CONTROLLER_STATE_TYPE)
#: Types that have a header with a stamp.
STAMPED_TYPES = (*NAMED_TYPES, *COMPONENTS)
VectorType = Literal[
    "sensor_msgs/msg/JointState",
    "trajectory_msgs/msg/JointTrajectory",
    "control_msgs/msg/JointTrajectoryControllerState",
    "std_msgs/msg/Float64",
    "std_msgs/msg/Float32",
    "std_msgs/msg/Float64MultiArray",
    "std_msgs/msg/Float32MultiArray",
]
SourceType = Literal[
    VectorType,
    "geometry_msgs/msg/WrenchStamped",
    "geometry_msgs/msg/PoseStamped",
    "tf2_msgs/msg/TFMessage",
]
Clock = Literal["header", "receive"]
TickRule = Literal["grid", "image"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Identifier = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


def topic_name(name: str) -> str:
    """The name itself.

    :raises ValueError: no topic can have it.
    """
    if not re.fullmatch(r"(~/|/)?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", name, re.ASCII):
        raise ValueError("not a topic's name; e.g. joint_states or /arm/joint_states")
    return name


Topic = Annotated[str, AfterValidator(topic_name)]
Seconds = Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=MIN_IMAGE_SIDE, le=MAX_IMAGE_SIDE)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Range = tuple[Finite, Finite]
#: Keys and indices that lead to a value of the spec.
Place = tuple[int | str, ...]

#: The type of the error that lists problems between parts of a spec, with their places.
_CONTRADICTIONS = "contradictions"


class Crop(_Part):
    """A rectangle in source-image pixels, cut out before resizing."""

    x: int = Field(ge=0, description="left edge, pixels")
    y: int = Field(ge=0, description="top edge, pixels")
    width: int = Field(gt=0, description="pixels")
    height: int = Field(gt=0, description="pixels")


class CameraSpec(_Part):
    """One camera and the geometry that leads from its image to the model's."""

    name: Identifier = "camera"
    topic: Topic = "image_raw"
    type: Literal["sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"] = (
        "sensor_msgs/msg/Image"
    )
    width: Side = Field(default=64, description="model image width, pixels")
    height: Side = Field(default=64, description="model image height, pixels")
    crop: Crop | None = Field(default=None, description="cut out of the source image first")
    interpolation: Literal["area", "linear"] = Field(
        default="area",
        description="of resizing: area (where the image shrinks, else linear), or linear, as EIPL",
    )
    max_age: Seconds = Field(default=0.2, description="oldest usable image at a tick, s")
    value_range: Range | None = Field(
        default=None, description="16-bit sources: [black, white] in source units"
    )
    moves: bool | None = Field(
        default=None,
        description="moves with the robot, as a camera on its hand: the robot then does not look "
        "whether it was moved; by default the demonstrations tell",
    )

    @property
    def max_age_ns(self) -> int:
        return round(self.max_age * NANOSECONDS)

    @model_validator(mode="after")
    def _check(self) -> CameraSpec:
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"value_range {list(self.value_range)} must rise")
        return self


class JointSource(_Part):
    """Some entries of the joint vector, read from one topic.

    By name, in messages that name their joints: JointState (any `field`), JointTrajectory (its
    last point) and JointTrajectoryControllerState (the reference, once called desired). By
    `indices` in arrays, and the only number in a Float64 or Float32. Of a WrenchStamped, a
    PoseStamped, and of tf, for the pose of `child_frame_id` in `frame_id`, those of `COMPONENTS`.
    Units are the messages': rad or m, per second, N or N m; a message does not say which of its
    joints turn, `prismatic` does.
    """

    topic: Topic = "joint_states"
    type: SourceType = JOINT_STATE_TYPE  # type: ignore[assignment]
    names: tuple[str, ...] = Field(min_length=1, description="joints, in the vector's order")
    prefix: str = Field(
        default="",
        description="put before the names, in commands as well: two arms may have equal names",
    )
    indices: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None, description="arrays only: where each joint is; default 0, 1, 2, …"
    )
    frame_id: str | None = Field(
        default=None, min_length=1, description="tf only: the frame the pose is given in"
    )
    child_frame_id: str | None = Field(
        default=None, min_length=1, description="tf only: the frame whose pose it is"
    )
    field: Literal["position", "velocity", "effort"] = "position"
    max_age: Seconds = Field(default=0.1, description="oldest usable message at a tick, s")
    clock: Clock | None = Field(
        default=None, description="if not the spec's: messages without header need 'receive'"
    )
    command: bool = Field(
        default=True, description="predicted values are sent to the robot (position only)"
    )
    prismatic: tuple[str, ...] | None = Field(
        default=None,
        description="the joints that slide, in m; all others then turn, in rad, which reports say",
    )
    smooth: dict[str, Seconds] | None = Field(
        default=None,
        description="two-valued joints, as a gripper: their targets get cosine ramps from so long "
        "before a switch to as long after it, s; e.g. {gripper: 0.5}",
    )
    tolerance: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = Field(
        default=None,
        description="by how much a joint may be off for the task, rad or m: training warns where "
        "the policy is off by more; e.g. {joint_1: 0.02}",
    )

    @property
    def max_age_ns(self) -> int:
        return round(self.max_age * NANOSECONDS)

    @property
    def is_position(self) -> bool:
        """Whether the values are joints' positions, rad or m: only those can be commanded."""
        return self.field == "position" and self.type not in COMPONENTS

    @property
    def is_place(self) -> bool:
        """Whether the values say where the robot is: positions and poses, no forces or rates."""
        return self.field == "position" and self.type != WRENCH_TYPE

    @property
    def labels(self) -> tuple[str, ...]:
        """What the entries are called in reports and commands: the joint with its prefix, and the
        field unless position; of a wrench or pose the topic and the component, of tf the frame
        between them."""
        if self.type in COMPONENTS:
            place = f"{self.topic}/{self.child_frame_id}" if self.child_frame_id else self.topic
            return tuple(f"{place}/{name}" for name in self.names)
        field = "" if self.field == "position" else f"/{self.field}"
        return tuple(f"{self.prefix}{name}{field}" for name in self.names)

    @property
    def units(self) -> tuple[str, ...]:
        """Of the entries, in words."""
        if self.type in COMPONENTS:
            known = {"force": "N", "torque": "N m", "position": "m"}
            return tuple(known.get(name.partition(".")[0], "") for name in self.names)
        turns, slides = {
            "position": ("rad", "m"), "velocity": ("rad/s", "m/s"), "effort": ("N m", "N")
        }[self.field]  # fmt: skip
        if self.prismatic is None:
            return (f"{turns} or {slides}",) * len(self.names)
        return tuple(slides if name in self.prismatic else turns for name in self.names)

    @model_validator(mode="after")
    def _check(self) -> JointSource:
        if self.command and not self.is_position:
            what = f"field '{self.field}'" if self.type in NAMED_TYPES else f"a {self.type}"
            why = f" ({ONLY_JOINTS})" if self.type in COMPONENTS else ""
            raise ValueError(
                f"{what} of '{self.topic}' cannot be commanded{why}: set 'command: false'"
            )
        frames = {self.frame_id, self.child_frame_id}
        if (len(frames) != 2 or None in frames) if self.type == TF_TYPE else frames != {None}:
            raise ValueError(
                f"a {TF_TYPE}, and nothing else, needs two frames, e.g. frame_id: base_link, "
                "child_frame_id: wrist_3_link"
            )
        if not set(self.names) <= set(COMPONENTS.get(self.type, self.names)):
            known = ", ".join(COMPONENTS[self.type])
            raise ValueError(f"the names of a {self.type} are {known}")
        if any(not name.strip() for name in self.names):
            raise ValueError(f"an empty joint name in the source '{self.topic}'")
        for key in ("smooth", "tolerance", "prismatic"):
            for name in getattr(self, key) or ():
                if name not in self.names:
                    close = did_you_mean(name, self.names)
                    close = close or f"; there are {', '.join(self.names)}"
                    raise ValueError(f"{key}: '{name}' is no joint of '{self.topic}'{close}")
        if self.prismatic is not None and self.type in COMPONENTS:
            raise ValueError(f"'prismatic' is for joints, '{self.topic}' is a {self.type}")
        if self.field != "position" and self.type not in NAMED_TYPES:
            raise ValueError(f"a {self.type} has no field '{self.field}'")
        if self.indices is not None and self.type not in ARRAY_TYPES:
            raise ValueError(f"'indices' are for arrays, '{self.topic}' is a {self.type}")
        if self.indices is not None and len(self.indices) != len(self.names):
            raise ValueError(f"{len(self.indices)} indices for {len(self.names)} names")
        if self.type in NUMBER_TYPES and len(self.names) != 1:
            raise ValueError(f"a {self.type} is one number, found {len(self.names)} names")
        return self


class CommandSource(_Part):
    """Where a bag holds the commands that were sent while demonstrating."""

    topic: Topic = "joint_command"
    type: VectorType = JOINT_STATE_TYPE  # type: ignore[assignment]
    names: tuple[str, ...] | None = Field(
        default=None, description="arrays only: their order (forward_command_controller's joints)"
    )
    clock: Clock | None = Field(
        default=None, description="if not the spec's: messages without header need 'receive'"
    )

    @field_validator("type", mode="before")
    @classmethod
    def _is_of_joints(cls, value: Any) -> Any:
        if value in COMPONENTS:
            raise ValueError(
                f"a {value} cannot be what is commanded: {ONLY_JOINTS}. Name a topic of joint "
                "commands, or leave 'command' out and learn the measured joints (target: "
                "next_state)"
            )
        return value


class EpisodeSplit(_Part):
    """How a bag that holds several episodes is cut. At most one way may be given."""

    gap: Seconds | None = Field(
        default=None, description="a new episode after so long without observation, s"
    )
    times: tuple[Range, ...] | None = Field(
        default=None, description="[start, end] of each episode, s after the bag's first tick"
    )

    @model_validator(mode="after")
    def _check(self) -> EpisodeSplit:
        if self.gap is not None and self.times is not None:
            raise ValueError("give one of gap, times")
        for start, end in self.times or ():
            if not 0 <= start < end:
                raise ValueError(f"an episode from {start} s to {end} s")
        return self


class Spec(_Part):
    """See the module. `joints` may be given as one source or as a list of sources.

    :raises pydantic.ValidationError: use `load_spec` or `parse_spec` for a `SpecError`.
    """

    rate: float = Field(default=10.0, gt=0.1, le=1000, description="ticks per second, Hz")
    clock: Clock = Field(default="header", description="which stamp orders the messages")
    tick: TickRule = Field(
        default="grid",
        description="grid: ticks are the multiples of the period; image: an image of the first "
        "camera about every period is a tick, and runs the policy as it arrives",
    )
    cameras: tuple[CameraSpec, ...] = Field(min_length=1)
    joints: tuple[JointSource, ...] = Field(min_length=1)
    target: Literal["next_state", "command"] = Field(
        default="next_state",
        description="learn the measured state at t+1, or the command recorded in (t, t+1]",
    )
    command: CommandSource = CommandSource()
    episodes: EpisodeSplit = EpisodeSplit()
    image_range: Range = Field(default=(0.0, 1.0), description="model's image value range")
    joint_range: Range = Field(default=(0.0, 1.0), description="model's joint value range")
    joint_clip: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="normalise with EIPL's get_bounds and this clip: joints that move less than "
        "it keep to the middle of joint_range",
    )

    @property
    def period_ns(self) -> int:
        """Tick period, ns."""
        return round(NANOSECONDS / self.rate)

    @property
    def trigger(self) -> CameraSpec | None:
        """The camera whose images are the ticks; None on the grid."""
        return self.cameras[0] if self.tick == "image" else None

    @property
    def joint_labels(self) -> tuple[str, ...]:
        """One label per entry of the joint vector."""
        return tuple(label for source in self.joints for label in source.labels)

    @property
    def joint_units(self) -> tuple[str, ...]:
        """One per entry of the joint vector."""
        return tuple(unit for source in self.joints for unit in source.units)

    @property
    def common_unit(self) -> str | None:
        """The unit, if all entries of the joint vector have the same one: to be said once."""
        return self.joint_units[0] if len({*self.joint_units}) == 1 else None

    @property
    def smooth(self) -> dict[int, float]:
        """Of the joints whose targets are smoothed: entry of the joint vector to s."""
        return self._by_entry("smooth")

    @property
    def tolerance(self) -> dict[int, float]:
        """By how much joints may be off for the task: entry of the joint vector to rad or m."""
        return self._by_entry("tolerance")

    def _by_entry(self, key: Literal["smooth", "tolerance"]) -> dict[int, float]:
        """What sources say of joints by name."""
        values = [(getattr(one, key) or {}).get(name) for one in self.joints for name in one.names]
        return {row: value for row, value in enumerate(values) if value is not None}

    @property
    def joint_dim(self) -> int:
        return len(self.joint_labels)

    @property
    def place_indices(self) -> tuple[int, ...]:
        """Entries of the joint vector that say where the robot is."""
        flags = [source.is_place for source in self.joints for _ in source.names]
        return tuple(index for index, flag in enumerate(flags) if flag)

    @property
    def joint_source_names(self) -> tuple[str, ...]:
        """What each joint source is called in reports and stamps: its topic, numbered if the
        topic is used more than once, with a slash if a camera has that name."""
        cameras = {camera.name for camera in self.cameras}
        topics = [
            f"/{source.topic}" if source.topic in cameras else source.topic
            for source in self.joints
        ]
        return tuple(
            topic if topics.count(topic) == 1 else f"{topic}#{index}"
            for index, topic in enumerate(topics)
        )

    @property
    def shared_topics(self) -> frozenset[str]:
        """Topics of joint sources that many nodes publish, each for frames of its own."""
        return frozenset(one.topic for one in self.joints if one.type in SHARED_TYPES)

    @property
    def command_indices(self) -> tuple[int, ...]:
        """Entries of the joint vector that are sent to the robot."""
        flags = [source.command for source in self.joints for _ in source.names]
        return tuple(index for index, flag in enumerate(flags) if flag)

    @property
    def command_source(self) -> JointSource:
        """The recorded commands as a source of the commanded joints.

        :raises SpecError: an array of commands whose order is not given, or lacks a joint.
        """
        command, indices = self.command, None
        if command.type in ARRAY_TYPES:
            order = command.names or ()
            missing = [name for name in self.command_names if name not in order]
            if missing:
                raise SpecError(
                    f"the order of the array does not name {', '.join(missing)}",
                    where=f"command.names of '{command.topic}'",
                    remedy="list the controller's joints in its order",
                )
            indices = tuple(order.index(name) for name in self.command_names)
        return JointSource(
            topic=command.topic,
            type=command.type,
            names=self.command_names,
            indices=indices,
            clock=command.clock,
        )

    @property
    def command_names(self) -> tuple[str, ...]:
        """Joint names of the command, in the joint vector's order."""
        return tuple(self.joint_labels[index] for index in self.command_indices)

    @model_validator(mode="after")
    def _check(self) -> Spec:
        problems: list[tuple[Place, str]] = []
        cameras = [(("cameras", row, "name"), one.name) for row, one in enumerate(self.cameras)]
        joints = [
            (("joints", row, "names", column), label)
            for row, source in enumerate(self.joints)
            for column, label in enumerate(source.labels)
        ]
        for kind, named in (("camera", cameras), ("joint", joints)):
            seen: set[str] = set()
            for place, name in named:
                if name in seen:
                    problems.append((place, f"{kind} '{name}' is named more than once"))
                seen.add(name)
        types: dict[str, str] = {}
        users: list[tuple[str, int, CameraSpec | JointSource]] = [
            *(("cameras", row, camera) for row, camera in enumerate(self.cameras)),
            *(("joints", row, source) for row, source in enumerate(self.joints)),
        ]
        for part, row, one in users:
            if types.setdefault(one.topic, one.type) != one.type:
                text = f"'{one.topic}' is a {types[one.topic]} elsewhere, here a {one.type}"
                problems.append(((part, row, "type"), text))
        for label in ("image_range", "joint_range"):
            low, high = getattr(self, label)
            if not low < high:
                problems.append(((label,), f"{label} [{low}, {high}] must rise"))
        for row, source in enumerate(self.joints):
            if (source.clock or self.clock) == "header" and source.type not in STAMPED_TYPES:
                text = f"a {source.type} ('{source.topic}') has no stamp: set its 'clock: receive'"
                problems.append((("joints", row), text))
        if not self.command_indices:
            text = "no joint is commanded: at least one source needs 'command: true'"
            problems.append((("joints",), text))
        if problems:
            said = "; ".join(text for _, text in problems)
            raise PydanticCustomError(
                _CONTRADICTIONS, "{said}", {"said": said, "problems": problems}
            )
        return self


def parse_spec(
    values: Any,
    *,
    where: object = "spec",
    line: Callable[[Sequence[int | str]], int | None] = lambda _: None,
) -> Spec:
    """Validate a mapping (from YAML or JSON). All problems are listed at once.

    :param line: finds the line of a path of keys and indices, if the values come from a file.
    :raises SpecError: naming each offending key and value.
    """
    if not isinstance(values, dict):
        raise SpecError(
            f"a mapping is expected, found {type(values).__name__}", where=where, remedy=_EXAMPLE
        )
    if isinstance(values.get("joints"), dict):
        values = values | {"joints": [values["joints"]]}
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        found = without_consequences(error.errors())
        problems = [problem for item in found for problem in _problems(item)]
        raise SpecError(
            join_problems(
                (f"line {number}: " if (number := line(place)) else "")
                + f"{'.'.join(map(str, place)) or 'spec'}: {text}"
                for place, text in problems
            ),
            where=where,
            remedy="correct the keys named above; 'sarnn inspect BAG' proposes a working spec",
        ) from error


def load_spec(path: str | Path) -> Spec:
    """Read a spec from a YAML file.

    :raises SpecError: file missing, not YAML, or invalid; with the lines.
    """
    file = read_yaml(Path(path), SpecError, _EXAMPLE)
    return parse_spec(file.values, where=path, line=file.line)


def dump_spec(
    spec: Spec,
    alternatives: Sequence[tuple[CameraSpec, str]] = (),
    notes: Sequence[str] = (),
) -> str:
    """YAML that `load_spec` reads; what was never given, and so has its default, is left out.

    :param alternatives: other forms of its cameras, each with the reason for it: they are put
        below the cameras as comments, from where a person can take them.
    :param notes: become comments at the top.
    """
    values = spec.model_dump(mode="json", exclude_unset=True)
    text = str(yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=90))
    comments = ""
    for camera, reason in alternatives:
        one = [camera.model_dump(mode="json", exclude_unset=True)]
        line = yaml.safe_dump(one, sort_keys=False, default_flow_style=True, width=10**6)
        comments += f"# {reason}\n# - {line.strip()[1:-1]}\n"
    cameras, joints = text.split("\njoints:", 1)
    top = "".join(
        textwrap.fill(note, 90, initial_indent="# ", subsequent_indent="#   ") + "\n"
        for note in notes
    )
    return f"{top}{cameras}\n{comments}joints:{joints}"


_EXAMPLE = "see config/spec_example.yaml, or let 'sarnn inspect BAG' propose a spec"


def _problems(item: ErrorDetails) -> Iterator[tuple[Place, str]]:
    """Where and what, in our words."""
    place = item["loc"]
    if item["type"] == _CONTRADICTIONS:
        yield from item["ctx"]["problems"]
        return
    if item["type"] == "extra_forbidden":
        known = _fields_at(place[:-1])
        hint = did_you_mean(str(place[-1]), known) or f"; there are {', '.join(known)}"
        yield place, f"no such key{hint}"
        return
    yield place, describe(item)


def _fields_at(place: Place) -> list[str]:
    """The keys that may stand at this place of a spec."""
    model: type[BaseModel] = Spec
    for key in place:
        if isinstance(key, str) and key in model.model_fields:
            model = _model_in(model.model_fields[key].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
