# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The spec: what a policy observes and commands, at what rate and by which clock.

One `Spec` is written by the user (YAML), used to turn bags into a dataset, stored in the policy
directory and obeyed by the node. Whatever both the offline and the online path must agree on
belongs here; how to train or how to guard does not. Units are SI (REP 103); times in the YAML are
seconds, inside the code int nanoseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sarnn_ros.errors import SpecError, join_problems

NANOSECONDS = 1_000_000_000

#: Three unpadded 3x3 convolutions take 6 pixels; less than a 2x2 feature map has no position.
MIN_IMAGE_SIDE = 8
MAX_IMAGE_SIDE = 1024

IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE_TYPE = "sensor_msgs/msg/CompressedImage"
JOINT_STATE_TYPE = "sensor_msgs/msg/JointState"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Identifier = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Topic = Annotated[str, Field(pattern=r"^/?[A-Za-z_~][A-Za-z0-9_/]*$")]
Seconds = Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)]
Side = Annotated[int, Field(ge=MIN_IMAGE_SIDE, le=MAX_IMAGE_SIDE)]
Range = tuple[float, float]


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
    max_age: Seconds = Field(default=0.2, description="oldest usable image at a tick, s")
    value_range: Range | None = Field(
        default=None, description="16-bit sources: [black, white] in source units"
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
    """Some entries of the joint vector, read from one field of one topic, by name."""

    topic: Topic = "joint_states"
    type: str = JOINT_STATE_TYPE
    names: tuple[str, ...] = Field(min_length=1, description="joints, in the vector's order")
    field: Literal["position", "velocity", "effort"] = "position"
    max_age: Seconds = Field(default=0.1, description="oldest usable message at a tick, s")
    command: bool = Field(
        default=True, description="predicted values are sent to the robot (position only)"
    )

    @property
    def max_age_ns(self) -> int:
        return round(self.max_age * NANOSECONDS)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the entries are called in reports: the joint, with the field unless position."""
        if self.field == "position":
            return self.names
        return tuple(f"{name}/{self.field}" for name in self.names)

    @model_validator(mode="after")
    def _check(self) -> JointSource:
        if self.command and self.field != "position":
            raise ValueError(
                f"field '{self.field}' of '{self.topic}' cannot be commanded: set 'command: false'"
            )
        if any(not name.strip() for name in self.names):
            raise ValueError(f"an empty joint name in the source '{self.topic}'")
        return self


class CommandSource(_Part):
    """Where a bag holds the commands that were sent while demonstrating."""

    topic: Topic = "joint_command"
    type: str = JOINT_STATE_TYPE


class Spec(_Part):
    """See the module. `joints` may be given as one source or as a list of sources.

    :raises pydantic.ValidationError: use `load_spec` or `parse_spec` for a `SpecError`.
    """

    rate: float = Field(default=10.0, gt=0.1, le=1000, description="ticks per second, Hz")
    clock: Literal["header", "receive"] = Field(
        default="header", description="which stamp orders the messages"
    )
    cameras: tuple[CameraSpec, ...] = Field(min_length=1)
    joints: tuple[JointSource, ...] = Field(min_length=1)
    target: Literal["next_state", "command"] = Field(
        default="next_state",
        description="learn the measured state at t+1, or the command recorded in (t, t+1]",
    )
    command: CommandSource = CommandSource()
    image_range: Range = Field(default=(0.0, 1.0), description="model's image value range")
    joint_range: Range = Field(default=(0.0, 1.0), description="model's joint value range")

    @property
    def period_ns(self) -> int:
        """Tick period, ns."""
        return round(NANOSECONDS / self.rate)

    @property
    def joint_labels(self) -> tuple[str, ...]:
        """One label per entry of the joint vector."""
        return tuple(label for source in self.joints for label in source.labels)

    @property
    def joint_dim(self) -> int:
        return len(self.joint_labels)

    @property
    def joint_source_names(self) -> tuple[str, ...]:
        """What each joint source is called in reports and stamps: its topic, numbered if the
        topic is used more than once."""
        topics = [source.topic for source in self.joints]
        return tuple(
            topic if topics.count(topic) == 1 else f"{topic}#{index}"
            for index, topic in enumerate(topics)
        )

    @property
    def command_indices(self) -> tuple[int, ...]:
        """Entries of the joint vector that are sent to the robot."""
        flags = [source.command for source in self.joints for _ in source.names]
        return tuple(index for index, flag in enumerate(flags) if flag)

    @property
    def command_names(self) -> tuple[str, ...]:
        """Joint names of the command, in the joint vector's order."""
        return tuple(self.joint_labels[index] for index in self.command_indices)

    @model_validator(mode="after")
    def _check(self) -> Spec:
        problems = []
        for kind, names in (
            ("camera", [camera.name for camera in self.cameras]),
            ("joint", list(self.joint_labels)),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            problems += [f"{kind} '{name}' is named more than once" for name in twice]
        for label in ("image_range", "joint_range"):
            low, high = getattr(self, label)
            if not low < high:
                problems.append(f"{label} [{low}, {high}] must rise")
        if not self.command_indices:
            problems.append("no joint is commanded: at least one source needs 'command: true'")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def parse_spec(values: Any, *, where: object = "spec") -> Spec:
    """Validate a mapping (from YAML or JSON). All problems are listed at once.

    :raises SpecError: naming each offending key and value.
    """
    if not isinstance(values, dict):
        raise SpecError(
            f"a mapping is expected, found {type(values).__name__}",
            where=where,
            remedy="see config/spec_example.yaml, or let 'sarnn inspect BAG' propose one",
        )
    values = dict(values)
    if isinstance(values.get("joints"), dict):
        values["joints"] = [values["joints"]]
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        raise SpecError(
            join_problems(_describe(item) for item in error.errors()),
            where=where,
            remedy="correct the keys named above; 'sarnn inspect BAG' proposes a working spec",
        ) from error


def load_spec(path: str | Path) -> Spec:
    """Read a spec from a YAML file.

    :raises SpecError: file missing, not YAML, or invalid; with the line where YAML gives one.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"cannot be read ({error})", where=path, remedy="give the path of a spec YAML file"
        ) from error
    except yaml.YAMLError as error:
        raise SpecError(f"not valid YAML: {error}", where=path) from error
    return parse_spec(values, where=path)


def _describe(item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"]) or "spec"
    value = item.get("input")
    shown = (
        "" if isinstance(value, (dict, BaseModel)) or item["type"] == "missing" else repr(value)
    )
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" + (f" (found {shown[:80]})" if shown else "")
