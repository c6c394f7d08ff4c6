# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A spec proposed from what is in a bag. A start for a person to correct; do not train
on it unseen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sarnn_ros.data.bags import Bag, DamagedError, Topic
from sarnn_ros.errors import BagError, DecodeError, SarnnError
from sarnn_ros.spec import (
    COMPRESSED_IMAGE_TYPE,
    IMAGE_TYPE,
    JOINT_STATE_TYPE,
    NANOSECONDS,
    Spec,
    parse_spec,
)
from sarnn_ros.streams.decode import ENCODINGS, check_image, stamp_ns

#: So many messages of a topic tell its rate, its names and whether it has stamps.
SAMPLE = 200
#: EIPL's rate and image side.
RATE, SIDE = 10.0, 64
#: A stamp further from receipt than this was not made by a clock that was set, s.
CLOCK_DIFFERENCE = 5.0


def propose_spec(path: Path) -> Spec:
    """Every camera (the raw topic where there are both), and the joints of the JointState topic
    with the most messages that is not a command; rate, ages and clock from the messages. Topics
    are relative, so that the policy works in a namespace as well: absolute ones would be those of
    the recorded arm, whichever the node commands.

    :raises BagError: the bag cannot be read, or has no camera or no joints.
    """
    with Bag(path) as bag:
        samples = {topic.name: _sample(bag, topic) for topic in _candidates(bag)}
    samples = {name: sample for name, sample in samples.items() if sample is not None}
    cameras = [one for one in samples.values() if one is not None and one.camera]
    raw = {one.topic.name for one in cameras if one.topic.type == IMAGE_TYPE}
    cameras = [one for one in cameras if _parent(one.topic.name) not in raw]
    joints = [one for one in samples.values() if one is not None and not one.camera]
    commands = [one for one in joints if "command" in one.topic.name]
    states = sorted(
        (one for one in joints if one not in commands), key=lambda one: -one.topic.count
    )
    if not cameras or not states:
        present = ", ".join(f"{one.name} ({one.type})" for one in bag.topics.values()) or "nothing"
        raise BagError(
            f"no {'camera' if not cameras else 'joint state'} was found; the bag has {present}",
            where=path,
            remedy="write the spec by hand: see config/spec_example.yaml",
        )
    used = [*cameras, states[0]]
    slowest = min(one.rate for one in used)
    rate = RATE if slowest >= RATE else max(0.2, float(np.floor(slowest * 10) / 10))
    values: dict[str, Any] = {
        "rate": rate,
        "clock": "header" if all(one.stamped for one in used) else "receive",
        "cameras": [_camera(one, number) for number, one in enumerate(cameras)],
        "joints": [
            {
                "topic": _relative(states[0].topic),
                "names": states[0].names,
                "max_age": _max_age(states[0].rate, rate),
            }
        ],
    }
    if commands and set(states[0].names) <= set(commands[0].names):
        values["command"] = {"topic": _relative(commands[0].topic)}
    return parse_spec(values, where=f"proposal from {path}")


class _Sample:
    """The first messages of one topic."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.camera = topic.type in (IMAGE_TYPE, COMPRESSED_IMAGE_TYPE)
        self.received: list[int] = []
        self.stamped = True
        self.size = (0, 0)
        self.depth = False
        self.names: list[str] = []

    def add(self, receive_ns: int, content: Any) -> None:
        if self.camera:
            self.size = check_image(content)
            encoding = ENCODINGS.get(getattr(content, "encoding", ""))
            self.depth = encoding is not None and encoding.needs_range
        else:
            position = np.asarray(content.position)
            if len(position) != len(content.name):
                return
            self.names = [
                name for name, value in zip(content.name, position) if np.isfinite(value)
            ]
        self.received.append(receive_ns)
        try:
            off = abs(stamp_ns(content) - receive_ns) / NANOSECONDS
            self.stamped &= off < CLOCK_DIFFERENCE
        except DecodeError:
            self.stamped = False

    @property
    def rate(self) -> float:
        """Hz; the median, as messages come in bursts."""
        steps = np.diff(self.received)
        return float(NANOSECONDS / max(1.0, float(np.median(steps)))) if len(steps) else 1.0


def _candidates(bag: Bag) -> Iterator[Topic]:
    kinds = (IMAGE_TYPE, COMPRESSED_IMAGE_TYPE, JOINT_STATE_TYPE)
    yield from (topic for topic in bag.topics.values() if topic.type in kinds)


def _sample(bag: Bag, topic: Topic) -> _Sample | None:
    sample = _Sample(topic)
    try:
        for number, message in enumerate(bag.messages({topic.name})):
            if number == SAMPLE:
                break
            try:
                sample.add(message.receive_ns, bag.decode(message))
            except SarnnError:
                continue
    except DamagedError:
        pass  # what came before the damage will do
    if len(sample.received) < 2 or sample.depth or not (sample.camera or sample.names):
        return None
    return sample


def _camera(sample: _Sample, number: int) -> dict[str, Any]:
    width, height = sample.size
    scale = SIDE / max(width, height)
    return {
        "name": "camera" if number == 0 else f"camera{number + 1}",
        "topic": _relative(sample.topic),
        "type": sample.topic.type,
        "width": max(8, round(width * scale)),
        "height": max(8, round(height * scale)),
        "max_age": _max_age(sample.rate, 10.0),
    }


def _max_age(rate: float, ticks: float) -> float:
    """Three messages may be lost, and a tick's length is always allowed; s."""
    return float(round(min(60.0, max(3.0 / rate, 1.0 / ticks)), 3))


def _relative(topic: Topic) -> str:
    return topic.name.removeprefix("/")


def _parent(topic: str) -> str:
    return topic.rpartition("/")[0]
