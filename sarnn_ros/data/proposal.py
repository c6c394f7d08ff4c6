# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A spec proposed from what is in a bag, or on the live topics. A start for a person to correct;
do not train on it unseen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.bags import Bag, DamagedError
from sarnn_ros.errors import BagError, DecodeError, SarnnError
from sarnn_ros.spec import (
    ARRAY_TYPES,
    COMPRESSED_IMAGE_TYPE,
    IMAGE_TYPE,
    JOINT_STATE_TYPE,
    MIN_IMAGE_SIDE,
    NANOSECONDS,
    TRAJECTORY_TYPE,
    Spec,
    parse_spec,
)
from sarnn_ros.streams.decode import ENCODINGS, check_image, decode_image, stamp_ns

IMAGE_TYPES = (IMAGE_TYPE, COMPRESSED_IMAGE_TYPE)
#: Messages of these types are looked at.
TYPES = (*IMAGE_TYPES, JOINT_STATE_TYPE, TRAJECTORY_TYPE, *ARRAY_TYPES)
#: What our node draws for people; a policy must not look at it.
PICTURES = ("attention_overlay", "predicted_image", "predicted_beside")
#: So many messages of a topic tell its rate, its names and whether it has stamps.
SAMPLE = 200
#: EIPL's rate, Hz.
RATE = 10.0
#: The longer side of a whole image, pixels: in EIPL's 64 a small object is a pixel or two. What
#: training crops it shrinks to 64.
SIDE = 96
#: A stamp further from receipt than this was not made by a clock that was set, s.
CLOCK_DIFFERENCE = 5.0
#: Joints of two topics that differ by less, rad or m, are the same joints.
SAME = 1e-3
#: Commands are the target if they come at this part of the ticks' rate at least: a planner sends
#: a goal now and then.
STEADY = 0.5
#: A JointState topic with one of these in its name is no measurement.
COMMAND_WORDS = ("command", "reference", "target", "goal", "setpoint", "set_point", "desired")
_EXAMPLE = "write the spec by hand: see config/spec_example.yaml"


@dataclass
class Group:
    """The messages of a topic that name the same joints; or all images, or all arrays.

    :param values: one row of positions for each message; empty for images.
    """

    topic: str
    type: str
    names: tuple[str, ...] = ()
    received: list[int] = field(default_factory=list)
    values: list[NDArray[np.float64]] = field(default_factory=list)
    stamped: bool = True

    def add(self, receive_ns: int, message: Any, values: NDArray[np.float64]) -> None:
        self.received.append(receive_ns)
        self.values.append(values)
        try:
            off = abs(stamp_ns(message) - receive_ns) / NANOSECONDS
            self.stamped &= off < CLOCK_DIFFERENCE
        except DecodeError:
            self.stamped = False

    @property
    def relative(self) -> str:
        return self.topic.removeprefix("/")

    @property
    def rate(self) -> float:
        """Hz; the median, as messages come in bursts."""
        steps = np.diff(self.received)
        return float(NANOSECONDS / max(1.0, float(np.median(steps)))) if len(steps) else 1.0

    def at(self, times: Sequence[int]) -> NDArray[np.float64]:
        """The newest values at each time, the first ones before that: (len(times), n)."""
        rows = np.searchsorted(self.received, times, side="right") - 1
        values: NDArray[np.float64] = np.array(self.values)[np.maximum(rows, 0)]
        return values


class Sample:
    """The first messages of one topic.

    :ivar error: why the first message that could not be used could not.
    """

    def __init__(self, topic: str, kind: str) -> None:
        self.topic, self.type = topic, kind
        self.camera = kind in IMAGE_TYPES
        self.count = 0
        self.size = (0, 0)
        self.depth: tuple[float, float] | None = None
        self.error: SarnnError | None = None
        self._groups: dict[tuple[str, ...], Group] = {}

    @property
    def full(self) -> bool:
        return self.count >= SAMPLE

    def add(self, receive_ns: int, message: Any) -> None:
        """A message as it came."""
        self.count += 1
        try:
            names, values = self._look_at(message)
        except DecodeError as error:
            self.error = self.error or error
            return
        group = self._groups.setdefault(names, Group(self.topic, self.type, names))
        group.add(receive_ns, message, values)

    def groups(self) -> list[Group]:
        """Those that do not share a joint, the largest first. Of joints, the finite ones."""
        found: list[Group] = []
        for group in sorted(self._groups.values(), key=lambda one: (-len(one.names), one.names)):
            if len(group.received) < 2 or {*group.names} & {n for one in found for n in one.names}:
                continue
            if group.names:
                values = np.array(group.values)
                kept = [row for row, one in enumerate(values.T) if np.isfinite(one).all()]
                names = tuple(group.names[row] for row in kept)
                if not names:
                    continue
                group = Group(
                    group.topic, group.type, names, group.received, list(values[:, kept]),
                    group.stamped,
                )  # fmt: skip
            found.append(group)
        return found

    def _look_at(self, message: Any) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Joint names and positions."""
        nothing: NDArray[np.float64] = np.zeros(0)
        if self.camera:
            self.size = check_image(message)
            encoding = ENCODINGS.get(getattr(message, "encoding", ""))
            if encoding is None:
                if not self.count > 1:  # whether the file can be decoded
                    decode_image(message, value_range=(0.0, 1.0))
            elif encoding.needs_range:
                self._see_depth(message, encoding.dtype)
            return (), nothing
        if self.type in ARRAY_TYPES:
            return (), np.asarray(message.data, np.float64)
        if self.type == TRAJECTORY_TYPE:
            if not message.points:
                raise DecodeError("a trajectory without points")
            names, position = message.joint_names, message.points[-1].positions
        else:
            names, position = message.name, message.position
        if len(position) != len(names) or not len(names):
            raise DecodeError(f"{len(position)} positions for {len(names)} joints")
        return tuple(names), np.asarray(position, np.float64)

    def _see_depth(self, message: Any, dtype: str) -> None:
        order = ">" if message.is_bigendian else "<"
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        size = np.dtype(dtype).itemsize * message.width
        values = np.ascontiguousarray(rows[:, :size]).view(order + dtype).astype(np.float64)
        known = values[np.isfinite(values) & (values > 0)]
        if len(known):
            low, high = np.percentile(known, (1, 99))
            before = self.depth or (low, high)
            self.depth = (min(before[0], float(low)), max(before[1], float(high)))


def is_used(topic: str, kind: str) -> bool:
    """Whether a spec may use it: images, joints, commands."""
    return kind in TYPES and not {*topic.split("/")} & {*PICTURES}


def propose_spec(path: Path) -> Spec:
    """See `propose`.

    :raises BagError: the bag cannot be read, or has no camera or no joints.
    """
    with Bag(path) as bag:
        samples = {
            one.name: Sample(one.name, one.type)
            for one in bag.topics.values()
            if is_used(one.name, one.type)
        }
        others = [f"{one.name} ({one.type})" for one in bag.topics.values()]
        _look_at_bag(bag, samples)
    return propose(samples.values(), others, where=path)


def _look_at_bag(bag: Bag, samples: dict[str, Sample]) -> None:
    try:
        for message in bag.messages(samples):
            sample = samples[message.topic]
            if sample.full:
                if all(one.full for one in samples.values()):
                    return
                continue
            try:
                sample.add(message.receive_ns, bag.decode(message))
            except SarnnError as error:
                sample.error = sample.error or error
    except DamagedError:
        pass  # what came before the damage will do


def propose(
    samples: Iterable[Sample], present: Sequence[str], where: object, remedy: str = _EXAMPLE
) -> Spec:
    """A spec from samples of topics.

    Every colour camera (the raw topic where there are both; depth if there is nothing else), and
    the joints of every JointState topic that is not a command: two sources where an arm and its
    gripper share a topic, a prefix where two arms have equal joint names. If commands for all of
    them come steadily, they are the target. Rate, ages and clock are taken from the messages.
    Topics are relative, so that the policy works in a namespace as well: absolute ones would be
    those of the recorded arm, whichever the node commands.

    :param present: the topics there are, in words.
    :param remedy: if there is no camera, or no joints.
    :raises BagError: no camera or no joints.
    """
    known = list(samples)
    cameras = list(_cameras(known))
    vectors = [group for one in known if not one.camera for group in one.groups()]
    commands = [one for one in vectors if _is_command(one)]
    joints = _sources([one for one in vectors if one not in commands])
    if not cameras or not joints:
        what = "joint state" if cameras else "camera"
        failed = [
            one for one in known if one.error and one.camera != bool(cameras) and not one.groups()
        ]
        reasons = "".join(f"; '{one.topic}': {one.error.problem}" for one in failed if one.error)
        remedies = [one.error.remedy for one in failed if one.error and one.error.remedy]
        raise BagError(
            f"no {what} can be used{reasons}; there are {', '.join(present) or 'no topics'}",
            where=where,
            remedy="; ".join(dict.fromkeys([*remedies, remedy])),
        )
    used = [*(group for _, group in cameras), *(group for _, group in joints)]
    slowest = min(one.rate for one in used)
    rate = RATE if slowest >= RATE else max(0.2, float(np.floor(slowest * 10) / 10))
    values: dict[str, Any] = {
        "rate": rate,
        "clock": "header" if all(one.stamped for one in used) else "receive",
        "cameras": [_camera(one, group, row, rate) for row, (one, group) in enumerate(cameras)],
        "joints": [
            {"topic": one.relative, "names": list(one.names), "max_age": _max_age(one.rate, rate)}
            | ({"prefix": prefix} if prefix else {})
            for prefix, one in joints
        ],
    }
    values |= _command(commands, joints, rate, values["clock"])
    return parse_spec(values, where=f"proposal from {where}")


# -- cameras --------------------------------------------------------------------------------------


def _cameras(samples: Sequence[Sample]) -> Iterator[tuple[Sample, Group]]:
    usable = [(one, groups[0]) for one in samples if one.camera and (groups := one.groups())]
    raw = {one.topic for one, _ in usable if one.type == IMAGE_TYPE}
    usable = [pair for pair in usable if pair[0].topic.rpartition("/")[0] not in raw]
    colour = [pair for pair in usable if pair[0].depth is None]
    yield from colour or usable


def model_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the model's image that is proposed for a camera's, pixels."""
    scale = SIDE / max(width, height)
    return max(MIN_IMAGE_SIDE, round(width * scale)), max(MIN_IMAGE_SIDE, round(height * scale))


def _camera(sample: Sample, group: Group, number: int, rate: float) -> dict[str, Any]:
    width, height = model_size(*sample.size)
    values = {
        "name": "camera" if number == 0 else f"camera{number + 1}",
        "topic": group.relative,
        "type": group.type,
        "width": width,
        "height": height,
        "max_age": _max_age(group.rate, rate),
    }
    if sample.depth is not None:
        low, high = (float(f"{bound:.3g}") for bound in sample.depth)
        values["value_range"] = [low, max(high, low + 1e-3)]
    return values


# -- joints ---------------------------------------------------------------------------------------


def _is_command(group: Group) -> bool:
    return group.type != JOINT_STATE_TYPE or any(
        word in group.topic.lower() for word in COMMAND_WORDS
    )


def _sources(groups: Sequence[Group]) -> list[tuple[str, Group]]:
    """(prefix, group) of the measured joints. A topic that repeats another's values is left out;
    joints of the same names that move otherwise are another arm's."""
    chosen: list[Group] = []
    arms: set[int] = set()  # of those whose names occur twice

    def importance(one: Group) -> tuple[int, bool, int]:
        return len(one.names), one.topic.endswith("joint_states"), len(one.received)

    for group in sorted(groups, key=importance, reverse=True):
        twins = [row for row, one in enumerate(chosen) if {*one.names} & {*group.names}]
        if any(_repeats(group, chosen[row]) for row in twins):
            continue
        arms |= {*twins, len(chosen)} if twins else set()
        chosen.append(group)
    chosen_rows = sorted(range(len(chosen)), key=lambda row: (chosen[row].topic, row))
    # As the bag has them: arms by topic, and the larger one first where they share it.
    topics = [chosen[row].topic for row in chosen_rows if row in arms]
    prefixes = iter(_prefixes(topics))
    return [(next(prefixes) if row in arms else "", chosen[row]) for row in chosen_rows]


def _repeats(group: Group, other: Group) -> bool:
    shared = [name for name in group.names if name in other.names]
    mine = np.array(group.values)[:, [group.names.index(name) for name in shared]]
    theirs = other.at(group.received)[:, [other.names.index(name) for name in shared]]
    return bool(np.median(np.abs(mine - theirs)) < SAME)


def _prefixes(topics: Sequence[str]) -> list[str]:
    """Of arms: the first part of their namespaces in which all differ, or else a number."""
    spaces = [topic.strip("/").split("/")[:-1] for topic in topics]
    for parts in zip(*spaces, strict=False):
        if len({*parts}) == len(parts):
            return [f"{part}_" for part in parts]
    return [f"arm{number + 1}_" for number in range(len(topics))]


# -- commands -------------------------------------------------------------------------------------


def _command(
    commands: Sequence[Group], joints: Sequence[tuple[str, Group]], rate: float, clock: str
) -> dict[str, Any]:
    """The keys of a spec that say where commands were recorded; none if no topic has one for
    every joint."""
    labels = [f"{prefix}{name}" for prefix, one in joints for name in one.names]

    def importance(one: Group) -> tuple[bool, int]:
        # A controller's reference is what it made of a command.
        return one.type != JOINT_STATE_TYPE or "command" in one.topic, len(one.received)

    for group in sorted(commands, key=importance, reverse=True):
        values: dict[str, Any] = {"topic": group.relative, "type": group.type}
        if group.type in ARRAY_TYPES:
            order = _order(group, [one for _, one in joints], labels)
            if order is None:
                continue
            values["names"] = order
        elif not {*labels} <= {*group.names}:
            continue
        if clock == "header" and not group.stamped:
            values["clock"] = "receive"
        steady = group.rate >= STEADY * rate
        return {"command": values} | ({"target": "command"} if steady else {})
    return {}


def _order(group: Group, joints: Sequence[Group], labels: list[str]) -> list[str] | None:
    """Which joint each number of an array commands: that whose state is nearest to it. None if
    that is not clear."""
    if {len(row) for row in group.values} != {len(labels)}:
        return None
    states = np.concatenate([one.at(group.received) for one in joints], axis=1)
    sent = np.array(group.values)
    distance = np.median(np.abs(sent[:, :, None] - states[:, None, :]), axis=0)
    nearest = distance.argmin(axis=1)
    ranked = np.sort(distance, axis=1)
    clear = ranked.shape[1] == 1 or bool((ranked[:, 1] > 2 * ranked[:, 0] + SAME).all())
    if not clear or len({*nearest.tolist()}) != len(labels):
        return None
    return [labels[row] for row in nearest.tolist()]


def _max_age(rate: float, ticks: float) -> float:
    """Three messages may be lost, and a tick's length is always allowed; s."""
    return float(round(min(60.0, max(3.0 / rate, 1.0 / ticks)), 3))
