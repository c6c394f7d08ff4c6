# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A spec proposed from what is in a bag, or on the live topics. A start for a person to correct;
do not train on it unseen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.bags import Bag
from sarnn_ros.data.topic_sample import IMAGE_TYPES, Group, Sample
from sarnn_ros.errors import IMAGE_LOSS_REMEDY, BagError, SarnnError
from sarnn_ros.spec import (
    ARRAY_TYPES,
    IMAGE_TYPE,
    JOINT_STATE_TYPE,
    MIN_IMAGE_SIDE,
    NANOSECONDS,
    TRAJECTORY_TYPE,
    Spec,
    parse_spec,
)

#: Messages of these types are looked at.
TYPES = (*IMAGE_TYPES, JOINT_STATE_TYPE, TRAJECTORY_TYPE, *ARRAY_TYPES)
#: What our nodes draw for people; a policy must not look at it.
PICTURES = ("attention_overlay", "predicted_image", "predicted_beside", "places")
#: Holds the URDF: the last part of the topic's name, and its type.
DESCRIPTION, DESCRIPTION_TYPE = "robot_description", "std_msgs/msg/String"
#: EIPL's, Hz.
DEFAULT_RATE = 10.0
#: The longer side of a whole image, pixels: in EIPL's 64 a small object is a pixel or two. What
#: training crops it shrinks to 64.
MODEL_SIDE = 96
#: Joints of two topics that differ by less, rad or m, are the same joints.
MAX_TWIN_DISTANCE = 1e-3
#: They may do so in the rest of the messages: a gripper may differ from another now and then only.
TWIN_SHARE = 0.99
#: What repeats another topic has its positions, or those it had or will have in this time, ns.
TWIN_SHIFTS = np.arange(-10, 11) * (NANOSECONDS // 100)
#: A joint that moves less, rad or m, stands still: encoders are noisy.
MIN_MOTION = 2e-3
#: So long a part of a bag is looked at for joints that move, s.
MOTION_SECONDS = 60.0
#: Commands are the target if they come at this part of the ticks' rate at least: a planner sends
#: a goal now and then.
MIN_COMMAND_RATE_SHARE = 0.5
#: Joints that come at less than this share of the rate of all else do not set the policy's: a
#: gripper that publishes now and then, or when it moves.
MAX_SLOW_SHARE = 0.2
#: A JointState topic with one of these in its name is no measurement.
COMMAND_WORDS = re.compile(r"command|cmd|reference|target|goal|set_?point|desired")
#: Nor is that of an arm which a person leads. Whole words.
LEADER_WORDS = re.compile(r"(?<![a-z])(?:leader|master|gello|teleop)(?![a-z])")
#: Parts of a topic's name that say what an image is, and not which camera it is of.
IMAGE_WORDS = re.compile(
    r"image(_\w+)?|colou?r|rgb|depth|ir|infra\d*|mono|raw|rect|compressed|aligned_\w+|camera"
)
_EXAMPLE = "write the spec by hand: see config/spec_example.yaml"


@dataclass(frozen=True)
class Proposal:
    """A spec to begin with.

    :param notes: what a person should know of it, one sentence or two each.
    """

    spec: Spec
    notes: tuple[str, ...] = ()


def is_used(topic: str, kind: str) -> bool:
    """Whether a spec may use it: images, joints, commands."""
    return kind in TYPES and not {*topic.split("/")} & {*PICTURES}


def is_description(topic: str, kind: str) -> bool:
    """Whether a URDF may be on it."""
    return kind == DESCRIPTION_TYPE and topic.endswith(DESCRIPTION)


def propose_spec(path: Path) -> Proposal:
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
        described = [one for one in bag.topics.values() if is_description(one.name, one.type)]
        description = _first_text(bag, described[0].name) if described else ""
    return propose(samples.values(), others, where=path, description=description)


def _look_at_bag(bag: Bag, samples: Mapping[str, Sample]) -> None:
    """Until each topic has told enough, and `MOTION_SECONDS` at least for joints that move."""
    first_ns: int | None = None
    try:
        for message in bag.messages(samples):
            first_ns = message.receive_ns if first_ns is None else first_ns
            sample = samples[message.topic]
            past = message.receive_ns - first_ns > MOTION_SECONDS * NANOSECONDS
            if past and all(one.full for one in samples.values()):
                return
            if not sample.wants(message.receive_ns):
                continue
            try:
                sample.add(message.receive_ns, bag.decode(message))
            except SarnnError as error:
                sample.error = sample.error or error
    except BagError:
        pass  # what came before the damage will do


def _first_text(bag: Bag, topic: str) -> str:
    try:
        return next((str(bag.decode(one).data) for one in bag.messages((topic,))), "")
    except SarnnError:
        return ""


def propose(
    samples: Iterable[Sample],
    present: Sequence[str],
    where: object,
    remedy: str = _EXAMPLE,
    description: str = "",
) -> Proposal:
    """A spec from samples of topics.

    Every colour camera (the raw topic where there are both; depth if there is nothing else), and
    the joints of every JointState topic that is not a command: two sources where an arm and its
    gripper share a topic, a prefix where two arms have equal joint names. If commands for all of
    them come steadily, they are the target. A joint that stands still while others move, and that
    the commands do not name, is no part of the arm: it is left out. Rate, ages and clock are taken
    from the messages. Topics have their full names: relative ones would be others to a node in a
    namespace.

    :param present: the topics there are, in words.
    :param remedy: if there is no camera, or no joints.
    :param description: the robot's URDF, or nothing; it says which joints slide.
    :raises BagError: no camera or no joints.
    """
    known = list(samples)
    cameras = _cameras(known)
    vectors = [group for one in known if not one.camera for group in one.groups()]
    sent = _command_topics(known)
    commands = [one for one in vectors if one.topic in sent]
    joints, repeats = _sources([one for one in vectors if one not in commands])
    if not cameras or not joints:
        raise _unusable(known, "joint state" if cameras else "camera", present, where, remedy)
    used = [*(group for _, group in cameras), *(group for _, group in joints)]
    slow = _slow(used)
    slowest = min(one.rate for one in used if one.key not in slow)
    rate = min(DEFAULT_RATE, max(0.2, float(np.floor(slowest * 10) / 10)))
    unstamped = {one.topic: one.bad_stamps for one in used if one.bad_stamps}
    clock = "receive" if unstamped else "header"
    ages = {one.key: _max_age(one, rate, clock, slow.get(one.key, 0.0)) for one in used}
    command, left_out, notes = _command(commands, joints, rate, clock)
    notes += repeats
    names = camera_names([group.topic for _, group in cameras])
    kinds = _joint_types(description)
    values: dict[str, Any] = {
        "rate": rate,
        "clock": clock,
        "cameras": [
            _camera(one, group, name, ages[group.key])
            for name, (one, group) in zip(names, cameras)
        ],
        "joints": [
            {"topic": one.topic, "names": kept, "max_age": ages[one.key]}
            | ({"prefix": prefix} if prefix else {})
            | _prismatic(kept, kinds)
            for prefix, one in joints
            if (kept := [name for name in one.names if f"{prefix}{name}" not in left_out])
        ],
        **command,
    }
    spec = parse_spec(values, where=f"proposal from {where}")
    if unstamped:
        notes.insert(0, _receive_note("clock", unstamped))
    notes += [
        f"of '{one.topic}' {one.lost:.0%} of the images were lost on the way; max_age is for the "
        f"{one.rate:.0f} Hz that are sent. To mend it, {IMAGE_LOSS_REMEDY}"
        for _, one in cameras
        if one.lost
    ]
    notes += [
        f"{_listed(key[1])} of '{key[0]}' come too rarely to set the rate: their max_age of "
        f"{ages[key]:g} s is for the longest pause, {pause:.1f} s. If they may pause for longer, "
        "let them be published more often"
        for key, pause in slow.items()
    ]
    notes += [
        f"'{one.topic}' ({one.type}) could tell the commands, and sent nothing: move the arm with "
        "it meanwhile"
        for one in known
        if one.topic in sent and not one.groups()
    ]
    notes += [
        f"left out of '{one.topic}', as their positions are not finite in most messages: "
        + ", ".join(map(repr, one.not_finite))
        for _, one in joints
        if one.not_finite
    ]
    return Proposal(spec, tuple(notes))


def _unusable(
    known: Sequence[Sample], what: str, present: Sequence[str], where: object, remedy: str
) -> BagError:
    failed = [
        one for one in known if one.error and one.camera == (what == "camera") and not one.groups()
    ]
    reasons = "".join(f"; '{one.topic}': {one.error.problem}" for one in failed if one.error)
    remedies = [one.error.remedy for one in failed if one.error and one.error.remedy]
    return BagError(
        f"no {what} can be used{reasons}; there are {', '.join(present) or 'no topics'}",
        where=where,
        remedy="; ".join(dict.fromkeys([*remedies, remedy])),
    )


def _receive_note(key: str, bad_stamps: Mapping[str, str]) -> str:
    said = "; ".join(f"those of '{topic}' {problem}" for topic, problem in bad_stamps.items())
    return f"{key}: receive, as stamps cannot be used ({said}): messages count when they arrive"


# -- cameras --------------------------------------------------------------------------------------


def _cameras(samples: Sequence[Sample]) -> list[tuple[Sample, Group]]:
    usable = [(one, groups[0]) for one in samples if one.camera and (groups := one.groups())]
    raw = {one.topic for one, _ in usable if one.type == IMAGE_TYPE}
    usable = [pair for pair in usable if pair[0].topic.rpartition("/")[0] not in raw]
    return [pair for pair in usable if pair[0].depth is None] or usable


def model_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the model's image that is proposed for a camera's, pixels."""
    scale = MODEL_SIDE / max(width, height)
    return max(MIN_IMAGE_SIDE, round(width * scale)), max(MIN_IMAGE_SIDE, round(height * scale))


def camera_names(topics: Sequence[str]) -> list[str]:
    """Each camera's part of its topic's name, as `top_cam` of `/cell/top_cam/color/image_raw`;
    with as many of the parts before as tell them apart, or a number."""
    paths = []
    for topic in topics:
        parts = [part for part in topic.split("/") if part]
        while parts and IMAGE_WORDS.fullmatch(parts[-1]):
            parts.pop()
        paths.append(parts or ["camera"])
    names: list[str] = []
    for row, path in enumerate(paths):
        others = [one for at, one in enumerate(paths) if at != row]
        lengths = range(1, len(path) + 1)
        count = next((n for n in lengths if all(one[-n:] != path[-n:] for one in others)), 1)
        name = re.sub(r"^[^A-Za-z]+", "", "_".join(path[-count:])) or "camera"
        names.append(name if name not in names else f"{name}{row + 1}")
    return names


def _camera(sample: Sample, group: Group, name: str, max_age: float) -> dict[str, Any]:
    width, height = model_size(*sample.size)
    values = {
        "name": name,
        "topic": group.topic,
        "type": group.type,
        "width": width,
        "height": height,
        "max_age": max_age,
    }
    if sample.depth is not None:
        low, high = (float(f"{bound:.3g}") for bound in sample.depth)
        values["value_range"] = [low, max(high, low + 1e-3)]
    return values


# -- joints ---------------------------------------------------------------------------------------


def _command_topics(samples: Sequence[Sample]) -> set[str]:
    """Those that are no measurement. A leader's word in all names, as a namespace, tells none."""
    joints = [one.topic for one in samples if one.type == JOINT_STATE_TYPE]
    measured = [topic for topic in joints if not COMMAND_WORDS.search(topic.lower())]
    words = {topic: {*LEADER_WORDS.findall(topic.lower())} for topic in measured}
    common = set.intersection(*words.values()) if words else set()
    measured = [topic for topic in measured if words[topic] <= common]
    return {one.topic for one in samples if not one.camera} - {*measured}


def _joint_types(description: str) -> dict[str, str]:
    """Of a URDF: joint to its type, as `revolute` or `prismatic`. Nothing if it is none."""
    try:
        root = ElementTree.fromstring(description)
    except ElementTree.ParseError:
        return {}
    return {one.get("name", ""): one.get("type", "") for one in root.findall("joint")}


def _prismatic(names: Sequence[str], kinds: Mapping[str, str]) -> dict[str, Any]:
    """The key of a spec that tells the units, if all are known."""
    found = {kinds.get(name) for name in names}
    if not found <= {"revolute", "continuous", "prismatic"}:
        return {}
    return {"prismatic": [name for name in names if kinds[name] == "prismatic"]}


def _sources(groups: Sequence[Group]) -> tuple[list[tuple[str, Group]], list[str]]:
    """(prefix, group) of the measured joints, and notes. A topic that repeats another's values is
    left out; joints of the same names that move otherwise are another arm's."""
    chosen: list[Group] = []
    notes: list[str] = []
    arms: set[int] = set()  # of those whose names occur twice

    def importance(one: Group) -> tuple[int, bool, int]:
        return len(one.names), one.topic.endswith("joint_states"), len(one.received)

    for group in sorted(groups, key=importance, reverse=True):
        twins = [row for row, one in enumerate(chosen) if {*one.names} & {*group.names}]
        repeated = [chosen[row].topic for row in twins if _repeats(group, chosen[row])]
        if repeated:
            notes.append(
                f"'{group.topic}' repeats '{repeated[0]}' and is left out. If it is of another "
                "arm or gripper, move that, too"
            )
            continue
        arms |= {*twins, len(chosen)} if twins else set()
        chosen.append(group)
    chosen_rows = sorted(range(len(chosen)), key=lambda row: (chosen[row].topic, row))
    # As the bag has them: arms by topic, and the larger one first where they share it.
    topics = [chosen[row].topic for row in chosen_rows if row in arms]
    prefixes = iter(_prefixes(topics))
    found = [(next(prefixes) if row in arms else "", chosen[row]) for row in chosen_rows]
    return found, notes


def _repeats(group: Group, other: Group) -> bool:
    """Whether it is at nearly all times where the other is, or was or will be in a moment: an
    aggregator lags, and not always by as much."""
    shared = [name for name in group.names if name in other.names]
    first_ns, last_ns = other.at_ns[0] + TWIN_SHIFTS[0], other.at_ns[-1] + TWIN_SHIFTS[-1]
    rows = [row for row, at in enumerate(group.at_ns) if first_ns <= at <= last_ns]
    if not rows:
        return False
    mine = np.array(group.values)[rows][:, [group.names.index(name) for name in shared]]
    times = np.array(group.at_ns)[rows]
    columns = [other.names.index(name) for name in shared]
    theirs = np.stack([other.at(times + shift)[:, columns] for shift in TWIN_SHIFTS])
    distance = np.maximum(theirs.min(axis=0) - mine, mine - theirs.max(axis=0))
    return bool((np.quantile(distance, TWIN_SHARE, axis=0) < MAX_TWIN_DISTANCE).all())


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
) -> tuple[dict[str, Any], frozenset[str], list[str]]:
    """The keys of a spec that say where commands were recorded, none if no topic has one for
    every joint of the arm; the labels of joints that are no part of the arm; and notes."""
    spread = {f"{prefix}{name}": one.spread[name] for prefix, one in joints for name in one.names}
    moving = {label for label, one in spread.items() if one > MIN_MOTION}
    still = [label for label in spread if label not in moving]
    notes: list[str] = []

    def importance(one: Group) -> tuple[bool, bool, int]:
        # A controller's reference is what it made of a command, and an array may be anything.
        sent = one.type != JOINT_STATE_TYPE or "command" in one.topic
        return sent, one.type not in ARRAY_TYPES, len(one.received)

    unused = {group.topic: None for group in commands}  # of which nothing is said
    for group in sorted(commands, key=importance, reverse=True):
        names = _commanded(group, joints, list(spread))
        if names is None:
            notes.append(
                f"'{group.topic}' could tell the commands, but which joints is not clear, as its "
                "numbers have no names: name them in command.names"
            )
            unused.pop(group.topic, None)
        if names is None or not {*names} & spread.keys():
            continue
        if group.type in ARRAY_TYPES and _is_state(group, names, joints, list(spread)):
            notes.append(
                f"'{group.topic}' is not taken as the command: its numbers are the joints' "
                "positions at the same time. If it commands them nevertheless, put it in "
                "command.topic"
            )
            unused.pop(group.topic, None)
            continue
        missing = [label for label in spread if label not in names]
        if missing and (not moving or {*missing} & moving):
            if 2 * len(missing) <= len(spread):  # else it is of something else
                notes.append(
                    f"no command is proposed: '{group.topic}' lacks {_listed(missing)}"
                    + ("" if moving else ", and nothing moved that would tell whether it should")
                )
                unused.pop(group.topic, None)
            continue
        values: dict[str, Any] = {"topic": group.topic, "type": group.type}
        if group.type in ARRAY_TYPES:
            values["names"] = names
        if clock == "header" and group.bad_stamps:
            values["clock"] = "receive"
            notes.append(_receive_note("command.clock", {group.topic: group.bad_stamps}))
        if missing:
            notes.append(
                f"left out, as not moving while others moved, and not commanded on "
                f"'{group.topic}': {_listed(missing)}. Put back what is of the arm, as a gripper"
            )
        unused.pop(group.topic, None)
        if unused:
            notes.append(
                f"not used, beside '{group.topic}': {_listed(unused)}. If one of them commands "
                "the arm, put it in command.topic"
            )
        steady = group.rate >= MIN_COMMAND_RATE_SHARE * rate
        found = {"command": values} | ({"target": "command"} if steady else {})
        return found, frozenset(missing), [*notes, *_still_note(still, moving, {*missing})]
    if unused:
        notes.append(
            f"no command is proposed: none of {_listed(unused)} names all joints of the arm. To "
            "learn commands, publish them in one message, and name all in it as here: "
            + _listed(list(spread))
        )
    return {}, frozenset(), [*notes, *_still_note(still, moving, set())]


def _still_note(still: Sequence[str], moving: Iterable[str], left_out: set[str]) -> list[str]:
    if not moving:
        return ["no joint moved: which are of the arm, and their commands, show while it moves"]
    kept = [label for label in still if label not in left_out]
    if not kept:
        return []
    return [f"did not move while others did: {_listed(kept)}. Leave out what is not of the arm"]


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(f"'{label}'" for label in labels)


def _commanded(
    group: Group, joints: Sequence[tuple[str, Group]], labels: list[str]
) -> list[str] | None:
    """The labels of the joints that a topic commands, in its order; None if that is not clear. A
    number of an array without names commands the joint whose state is nearest to it."""
    if group.type not in ARRAY_TYPES or {*group.names} & {*labels}:
        return list(group.names)
    lengths = {len(row) for row in group.values}
    if len(lengths) != 1 or not 0 < max(lengths) <= len(labels):
        return None
    states = np.concatenate([one.at(group.at_ns) for _, one in joints], axis=1)
    sent = np.array(group.values)
    distance = np.median(np.abs(sent[:, :, None] - states[:, None, :]), axis=0)
    nearest = distance.argmin(axis=1)
    ranked = np.sort(distance, axis=1)
    clear = ranked.shape[1] == 1 or bool(
        (ranked[:, 1] > 2 * ranked[:, 0] + MAX_TWIN_DISTANCE).all()
    )
    if not clear or len({*nearest.tolist()}) != len(nearest):
        return None
    return [labels[row] for row in nearest.tolist()]


def _is_state(
    group: Group, names: Sequence[str], joints: Sequence[tuple[str, Group]], labels: list[str]
) -> bool:
    """Whether numbers are where the joints are, while these move: at rest commands are, too."""
    columns = [row for row, name in enumerate(names) if name in labels]

    def states(shift_ns: int) -> NDArray[np.float64]:
        times = np.array(group.at_ns) + shift_ns
        found = np.concatenate([one.at(times) for _, one in joints], axis=1)
        return found[:, [labels.index(names[row]) for row in columns]]

    moves = np.abs(states(TWIN_SHIFTS[-1]) - states(TWIN_SHIFTS[0])) > 10 * MAX_TWIN_DISTANCE
    distance = np.abs(np.array(group.values)[:, columns] - states(0))[moves]
    return bool(len(distance) and np.median(distance) < MAX_TWIN_DISTANCE)


def _slow(used: Sequence[Group]) -> dict[tuple[str, tuple[str, ...]], float]:
    """Keys of joints that come far slower than all else, and their longest pause, s."""
    ordered = sorted(used, key=lambda one: one.rate)
    end_ns = max(one.at_ns[-1] for one in used)
    for count in range(len(ordered) - 1, 0, -1):
        slow, rest = ordered[:count], ordered[count:]
        # Some joints must come at the rate; cameras have no names.
        if (
            all(one.names for one in slow)
            and any(one.names for one in rest)
            and slow[-1].rate < min(DEFAULT_RATE, MAX_SLOW_SHARE * rest[0].rate)
        ):
            steps = {one.key: np.diff([*one.at_ns, end_ns]) for one in slow}
            return {key: float(step.max()) / NANOSECONDS for key, step in steps.items()}
    return {}


def _max_age(group: Group, ticks: float, clock: str, pause: float) -> float:
    """Three messages may be lost, and a tick's length is always allowed; and by stamps messages
    are as old when they come as they take; s.

    :param pause: how long it may be silent, s; then its age is allowed at the next tick, too.
    """
    late = group.latency if clock == "header" else 0.0
    least = pause + 1.0 / ticks if pause else 0.0
    return float(round(min(60.0, max(3.0 / group.rate, 1.0 / ticks, least) + late), 3))
