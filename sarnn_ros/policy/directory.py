# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The policy directory: all that is needed to run a policy, read and written safely.

`config.json` says what the policy is and holds the SHA-256 of every other file and of itself.
Reading never executes code, and needs neither torch nor onnx. Writing a policy is in `export.py`;
running one in `runtime.py`. Layout and guarantees: docs/reference/policy_directory.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from sarnn_ros.errors import PolicyError, join_problems
from sarnn_ros.files import write_bytes
from sarnn_ros.spec import Spec
from sarnn_ros.validation import describe

FORMAT_VERSION = 4

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
FULL_GRAPH = "policy.onnx"
COMMAND_GRAPH = "policy_command.onnx"

#: No file of a policy is larger, bytes. A SARNN has well under 10 MB.
MAX_BYTES = 256 * 2**20
#: A file that is written but does not have its name yet; see `commit`.
_PENDING = ".new"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Vector = Annotated[tuple[float, ...], Field(min_length=1)]
NotNegative = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
Size = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]


def _rises(span: tuple[float, float]) -> tuple[float, float]:
    if not span[0] < span[1]:
        raise ValueError(f"{list(span)} must rise")
    return span


Span = Annotated[tuple[float, float], AfterValidator(_rises)]


class ModelConfig(_Part):
    """The network's shape: the arguments of `model.sarnn.SARNN`."""

    kind: Literal["sarnn"] = "sarnn"
    rec_dim: Size
    k_dim: Size = Field(description="attention points per camera")
    joint_dim: Size
    temperature: float | None = Field(gt=0, description="of the spatial softmax; null: learnt")
    heatmap_size: float = Field(gt=0)
    im_size: tuple[tuple[Size, Size], ...] = Field(
        min_length=1, description="(height, width) per camera, pixels"
    )
    stride: Literal[1, 2] = Field(default=1, description="of the first convolution")
    slope: float = Field(default=0.3, ge=0, le=1, description="of every LeakyReLU, below zero")
    motion_dim: int = Field(
        default=0,
        ge=0,
        description="the recurrent part also gets so many numbers that tell the motion, which "
        "all points together let expect",
    )


class Normalisation(_Part):
    """Per joint, rad or m: the values that the spec's joint_range stands for."""

    minimum: Vector
    maximum: Vector


class CameraEnvelope(_Part):
    """What a camera showed while demonstrating, as the model saw it (after crop and resize)."""

    width: Size | None = Field(description="of the source image, pixels; null: not known")
    height: Size | None = Field(description="likewise")
    brightness_mean: float = Field(ge=0, le=255, description="mean over frames of the frame mean")
    brightness_std: float = Field(ge=0, description="deviation over frames of the frame mean")
    color_mean: tuple[float, float, float] = Field(description="R, G, B in [0, 255]")


#: A position that no joint has, rad or m: 1600 turns, or a rail of 10 km.
MAX_POSITION = 1e4
#: An arm that trails its set-points by more than this, s, was not following them: it was given a
#: goal far ahead, as planners do.
MAX_LAG_SECONDS = 0.2


class Envelope(_Part):
    """What the training data did: command limits and the drift check start from here.

    Vectors have one entry per joint of the spec, rad or m.
    """

    position_min: Vector
    position_max: Vector
    max_step: NotNegative = Field(description="largest change within one tick")
    max_change: NotNegative = Field(
        description="largest change of the target from one tick to the next"
    )
    first_lead: NotNegative | None = Field(
        default=None,
        description="largest distance of an episode's first target from its first state, up to "
        "max_step: an arm that sags is commanded so; null: not known",
    )
    second_difference: NotNegative = Field(
        description="largest change of that change, in all but a tenth of the episodes"
    )
    lag: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None,
        description="ticks by which a joint reached its targets late: of the next state by 0, of "
        "recorded commands as the arm followed them; null: not known",
    )
    min_dwell: tuple[Positive | None, ...] = Field(
        min_length=1,
        description="shortest time that it stayed in one half of its range between two changes "
        "of the half, s: for a gripper with two positions; null: it never changed twice",
    )
    effort: tuple[Span | None, ...] | None = Field(
        default=None,
        description="per joint [lowest, highest] effort, in its driver's unit; null: not told, or "
        "always the same",
    )
    start_pose: Vector = Field(description="mean over episodes of the first state")
    start_pose_spread: NotNegative = Field(description="largest distance of a first state from it")
    cameras: dict[str, CameraEnvelope]

    def problems(self, spec: Spec) -> list[str]:
        """What no recording can have led to, each with the joint and the values: the limits of
        the commands rest on it. The vectors must be as long as the spec's."""
        return [
            f"envelope of {name}: {problem}"
            for row, name in enumerate(spec.joint_labels)
            for problem in self._problems(row, spec)
        ]

    def _problems(self, row: int, spec: Spec) -> Iterator[str]:
        low, high = self.position_min[row], self.position_max[row]
        pose, spread = self.start_pose[row], self.start_pose_spread[row]
        step, change = self.max_step[row], self.max_change[row]
        span = high - low
        if low > high:
            yield f"position_min {low:g} is above position_max {high:g}"
            return
        if max(-low, high) > MAX_POSITION and row in spec.command_indices:
            yield f"{low:g} to {high:g} are no positions in rad or m (±{MAX_POSITION:g} at most)"
        slack = 1e-6 * (abs(low) + abs(high))  # of rounding
        if not low - slack <= pose <= high + slack:
            yield f"start_pose {pose:g} is not between {low:g} and {high:g}"
        first = 0.0 if self.first_lead is None else self.first_lead[row]
        lag, longest = self.lag[row] if self.lag else 0, int(spec.rate * MAX_LAG_SECONDS + 1e-6)
        led = 1.0 + spec.rate * MAX_LAG_SECONDS  # see `envelope_from_dataset`
        for key, value, most, text in (
            ("start_pose_spread", spread, span, "the range"),
            ("max_step", step, led * span, "its range and an arm that lags allow"),
            ("max_change", change, step, "max_step"),
            ("first_lead", first, step, "max_step"),
            ("lag", lag, longest, f"{MAX_LAG_SECONDS:g} s are ticks"),
            ("second_difference", self.second_difference[row], 2.0 * change,
             "twice max_change"),
        ):  # fmt: skip
            if value > most + slack:
                yield f"{key} is {value:g}, more than {text}, {most:g}"
        if not step and max(high - pose, pose - low) > spread + slack:
            yield f"max_step is 0, but it moved from {low:g} to {high:g} within an episode"


class CameraReference(_Part):
    """How exactly a camera's place can be told; its picture is `reference_CAMERA.png`. See
    `streams.registration`; shares are of the image's width."""

    displacement: float = Field(ge=0, description="largest of the demonstrations' own")
    correlation: float = Field(
        ge=-1, le=1, description="of the demonstrations' first images with it, median"
    )
    source: tuple[Size, Size] = Field(description="(width, height) of the camera's own image")
    lights: tuple[tuple[Positive, Positive, Positive], ...] = Field(
        default=((1.0, 1.0, 1.0),),
        min_length=1,
        description="how many times as bright as the demonstrations' first images its picture is, "
        "R, G, B; those that are alike once",
    )


class Quantiles(_Part):
    """Of one term's prediction errors over the ticks of the reference episodes, per joint or
    attention point."""

    p50: NotNegative
    p95: NotNegative
    p99: NotNegative
    max: NotNegative


class Health(_Part):
    """How well the policy predicts what it was not trained on; see `policy.health`."""

    source: Literal["validation", "training"] = Field(
        description="the episodes; training only where none were kept for validation"
    )
    episodes: Size
    ticks: Size = Field(description="compared in all")
    errors: dict[str, Quantiles] = Field(description="by term; see `health_terms`")


#: `Places.deviation` of a point of which first images tell nothing.
ANYWHERE_DEVIATION = 1.0


class Places(_Part):
    """Where an episode's first images let expect each of the K attention points of all cameras, by
    C numbers z that differ between episodes, those of the motion first; see `policy.expectation`.
    Shares of the image."""

    mean: tuple[Vector, Vector] = Field(description="x and y of K points where z is 0")
    slope: tuple[tuple[Vector, Vector], ...] = Field(description="the same per unit of each z")
    depth: tuple[Vector, ...] = Field(
        description="by which share each point's thing is farther away per unit of each z"
    )
    deviation: tuple[Vector, Vector] = Field(
        description="x and y of a point that has found its thing; 1 where first images do not "
        "tell it, as its thing comes later"
    )
    missed: Vector = Field(description="share of the episodes in which it had not")
    told: float = Field(
        ge=0,
        le=1,
        description="share of the demonstrations whose motion first images tell, by a fit to the "
        "others",
    )
    usual_gain: Vector = Field(
        description="per tick of a demonstration, by how much another z fits the points better "
        "than the right one, in nearly all: the arm hides things, and carries them"
    )
    other_fits: bool = Field(
        default=True,
        description="whether a fit that began with some of the points counts, too, if it fits "
        "better; by few demonstrations some points fit anything",
    )
    missed_at: tuple[tuple[tuple[float, float], ...], ...] = Field(
        description="where it was then, per point"
    )
    cost: tuple[float, float] = Field(
        description="how badly the points of demonstrations that it was not fitted to fit, "
        "median and 95th percentile"
    )

    @model_validator(mode="after")
    def _one_length(self) -> Places:
        lengths = {len(one) for one in self._rows()} | {len(self.missed_at)}
        if len(lengths) != 1:
            raise ValueError(f"of {sorted(lengths)} points: must all be of as many")
        if min(map(min, self.deviation)) <= 0 or not all(0 < one < 1 for one in self.missed):
            raise ValueError("deviation must be above 0, missed between 0 and 1")
        if len(self.depth) != len(self.slope):
            raise ValueError(f"depth for {len(self.depth)} z, slope for {len(self.slope)}")
        return self

    def _rows(self) -> list[Vector]:
        pairs = (self.mean, *self.slope)
        rows = *(one for pair in pairs for one in pair), *self.depth
        return [*rows, *self.deviation, self.missed]


def gate_shapes(model: ModelConfig) -> dict[str, int]:
    """The inputs of a graph by which attention points are gated, see `model.sarnn.through`, and
    the motion that they let expect, and their sizes; each is (1, size)."""
    points = model.k_dim * len(model.im_size)
    shapes = {"expected": 2 * points, "reach": points}
    return shapes | ({"motion": model.motion_dim} if model.motion_dim else {})


def health_terms(model: ModelConfig, spec: Spec) -> dict[str, int]:
    """The terms of prediction health, in the order in which they are published, and how many
    errors each has."""
    cameras = [camera.name for camera in spec.cameras]
    return {
        "joints": spec.joint_dim,
        **{f"points:{name}": model.k_dim for name in cameras},
        **{f"image:{name}": 1 for name in cameras},
    }


class PolicyConfig(_Part):
    """`config.json`. Everything about a policy except its weights."""

    format_version: Literal[4] = 4
    code_version: str
    created: str = Field(description="UTC, ISO 8601")
    model: ModelConfig
    spec: Spec
    normalisation: Normalisation
    envelope: Envelope
    health: Health | None = Field(
        default=None, description="how large prediction errors are where all is well"
    )
    places: Places | None = Field(
        default=None, description="where points are expected; none where attention was trained"
    )
    references: dict[str, CameraReference] = Field(
        default_factory=dict, description="by camera; none where the pictures tell no place"
    )
    training: dict[str, Any] = Field(default_factory=dict, description="summary of the training")
    files: dict[str, str] = Field(description="SHA-256 by name of every other file")

    @model_validator(mode="after")
    def _check(self) -> PolicyConfig:
        dim = self.spec.joint_dim
        lengths = {"model.joint_dim": self.model.joint_dim}
        for part in ("normalisation", "envelope"):
            for key, value in getattr(self, part):
                if key != "cameras" and value is not None:
                    lengths[f"{part}.{key}"] = len(value)
        problems = [
            f"{key} is for {length} joints, the spec has {dim}"
            for key, length in lengths.items()
            if length != dim
        ]
        points = self.model.k_dim * len(self.model.im_size)
        sizes = tuple((camera.height, camera.width) for camera in self.spec.cameras)
        if self.model.im_size != sizes:
            problems.append(f"model.im_size {self.model.im_size} is not the spec's {sizes}")
        names = {camera.name for camera in self.spec.cameras}
        if (found := set(self.envelope.cameras)) != names:
            problems.append(f"envelope.cameras has {sorted(found)}, the spec {sorted(names)}")
        if not problems:
            problems += self.envelope.problems(self.spec)
        if self.health:
            terms = {term: len(errors.p99) for term, errors in self.health.errors.items()}
            if terms != (wanted := health_terms(self.model, self.spec)):
                problems.append(f"health.errors is for {terms}, the spec asks for {wanted}")
        if self.places:
            count = len(self.places.missed)
            if count != points:
                problems.append(f"places is of {count} points, the model has {points}")
        told = len(self.places.slope) if self.places else 0
        if self.model.motion_dim > told:
            problems.append(f"model.motion_dim is {self.model.motion_dim}, places tells {told}")
        if unknown := sorted(set(self.references) - names):
            problems.append(f"references has {unknown}, which are no cameras of the spec")
        for name in self.files:
            if Path(name).name != name or name == CONFIG or name.endswith(_PENDING):
                problems.append(f"'{name}' cannot be the name of a policy's file")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def load_config(directory: str | Path, *, sha256: str | None = None) -> PolicyConfig:
    """Read and check a policy directory: config, presence and SHA-256 of every file.

    :param sha256: what `digest` must give, 64 hexadecimal digits; None: anything. The SHA-256 in a
        policy detects damage, one that comes from elsewhere also tampering.
    :raises PolicyError: missing, incomplete, damaged, changed by hand, of another format version,
        or not the expected policy.
    """
    directory = Path(directory)
    config = _read_config(directory)
    if sha256 is not None and (found := digest(config)) != sha256.strip().lower():
        raise PolicyError(
            f"its SHA-256 is {found}, not the expected {sha256}",
            where=directory,
            remedy="copy the policy again from where it was trained, or expect this one",
        )
    for name in config.files:
        _find(directory, config, name)
    return config


def digest(config: PolicyConfig) -> str:
    """SHA-256 of a whole policy that was read, hexadecimal: of its config, which holds that of
    every file. It is the `sha256` in the file, also if that is older than a field."""
    return _checksum(config.model_dump(mode="json", exclude_unset=True))


def read_file(directory: Path, config: PolicyConfig, name: str) -> bytes:
    """The content of one of the policy's files, checked.

    :raises PolicyError: it is missing or is not what was exported.
    """
    return _find(directory, config, name)[1]


def commit(directory: str | Path, config: PolicyConfig, files: Mapping[str, Path]) -> PolicyConfig:
    """Make `directory` hold this policy, at once or not at all.

    An earlier policy there stays whole until the new one is: all files are first written beside
    the old ones (`*.new`), then the new `config.json` replaces the old, and only then do the files
    take their names. After a crash in between, reading finds the files under `*.new`. Other files
    are left alone.

    :param config: its `files` is filled in here.
    :param files: where the content of each file is now, by its name in the directory.
    :returns: the config as written.
    :raises PolicyError: cannot be written; an earlier policy there is unharmed.
    """
    directory = Path(directory)
    before: PolicyConfig | None = None
    pending: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PolicyError):  # nothing there, or nothing to save
            before = _read_config(directory)
            _settle(directory, before)
        digests = {}
        for name, source in files.items():
            content = source.read_bytes()
            digests[name] = hashlib.sha256(content).hexdigest()
            pending.append(directory / (name + _PENDING))
            write_bytes(pending[-1], content)
        config = PolicyConfig.model_validate({**config.model_dump(), "files": digests})
        values = config.model_dump(mode="json")
        text = json.dumps({**values, "sha256": _checksum(values)}, indent=2)
        write_bytes(directory / CONFIG, text.encode())
    except (OSError, ValidationError) as error:
        for path in pending:
            path.unlink(missing_ok=True)
        raise PolicyError(
            f"the policy cannot be written ({error})",
            where=directory,
            remedy="free some space, or give another directory; an earlier policy is unharmed",
        ) from error
    _settle(directory, config)
    for name in set(before.files if before else ()) - set(config.files):
        (directory / name).unlink(missing_ok=True)
    return config


def _find(directory: Path, config: PolicyConfig, name: str) -> tuple[Path, bytes]:
    """The file's path and content. Its name may still be `*.new`; see `commit`."""
    if name not in config.files:
        raise PolicyError(
            f"the policy has no '{name}'", where=directory, remedy="export the policy again"
        )
    found = False
    # The first name again: for a commit that ends just now.
    for path in (directory / name, directory / (name + _PENDING), directory / name):
        try:
            content = read_regular(path)
        except FileNotFoundError:
            continue
        found = True
        if hashlib.sha256(content).hexdigest() == config.files[name]:
            return path, content
    raise PolicyError(
        "is damaged or was changed: it does not match config.json" if found else "is missing",
        where=directory / name,
        remedy="copy the whole directory again from where it was trained, or export it again",
    )


def read_regular(path: Path) -> bytes:
    """The content of a regular file: a device or FIFO could block, or have no end.

    :raises FileNotFoundError: there is none.
    :raises PolicyError: it cannot be read.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PolicyError("is not a regular file", where=path)
            if status.st_size > MAX_BYTES:
                raise PolicyError(
                    f"has {status.st_size} bytes; a policy's file has at most {MAX_BYTES}",
                    where=path,
                )
            return file.read(MAX_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PolicyError(f"cannot be read ({error})", where=path) from error


def _settle(directory: Path, config: PolicyConfig) -> None:
    """Give every file its name, where a commit was cut short."""
    for name in config.files:
        path, _ = _find(directory, config, name)
        if path.name != name:
            path.replace(directory / name)
        else:
            (directory / (name + _PENDING)).unlink(missing_ok=True)


def _read_config(directory: Path) -> PolicyConfig:
    path = directory / CONFIG
    try:
        content = read_regular(path)
    except FileNotFoundError as error:
        raise PolicyError(
            "holds no policy (no config.json)" if directory.is_dir() else "does not exist",
            where=directory,
            remedy="give the directory that 'sarnn train --out' wrote",
        ) from error
    try:
        values = from_json(content)  # bounds the nesting
        version, checksum = values["format_version"], values.pop("sha256")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PolicyError(
            f"is not a policy's config ({error!r})", where=path, remedy="export the policy again"
        ) from error
    if version != FORMAT_VERSION:
        raise PolicyError(
            f"format version {version!r}; this sarnn_ros reads {FORMAT_VERSION}",
            where=path,
            remedy="install the sarnn_ros that the policy was made with, or export it again: "
            "'sarnn train … --resume'",
        )
    if checksum != _checksum(values):
        raise PolicyError(
            "was changed by hand or damaged: its own checksum does not match",
            where=path,
            remedy="restore it; to change a policy, change the spec and train or export again",
        )
    try:
        return PolicyConfig.model_validate(values)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, item['loc'])) or 'config'}: {describe(item)}"
            for item in error.errors()
        )
        raise PolicyError(
            join_problems(problems), where=path, remedy="export the policy again"
        ) from error


def _checksum(values: Mapping[str, Any]) -> str:
    """Of the content, not of the file: layout and order of the keys do not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
