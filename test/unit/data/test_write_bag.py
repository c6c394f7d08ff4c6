# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags made of arrays are read back as what they were made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from sarnn_ros.data.write_bag import START_NS, Images, JointStates, write_bag
from sarnn_ros.errors import BagError
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.spec import parse_spec

COUNT, NAMES = 20, ("shoulder", "elbow")
RNG = np.random.default_rng(1)
FRAMES = RNG.integers(0, 256, (COUNT, 12, 16, 3), np.uint8)
STATES = RNG.uniform(-1.0, 1.0, (COUNT, 2))
STAMPS = START_NS + np.arange(COUNT) * 100_000_000


def messages(bag: Path) -> list[tuple[str, int, Any]]:
    with AnyReader([bag]) as reader:
        return [
            (connection.topic, at, reader.deserialize(raw, connection.msgtype))
            for connection, at, raw in reader.messages()
        ]


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def test_every_value_stamp_and_receive_time_comes_back(tmp_path: Path) -> None:
    delay = RNG.integers(0, 300_000_000, COUNT)
    bag = write_bag(
        tmp_path / "bag",
        {
            "/image_raw": Images(FRAMES, stamps_ns=STAMPS, received_ns=STAMPS + delay),
            "/joint_states": JointStates(NAMES, STATES, -STATES, rate=10.0),
        },
        custom_data={"who": "me"},
    )
    found = messages(bag)
    received = [at for _, at, _ in found]
    assert received == sorted(received)
    images = {stamp_ns(message): (at, message) for topic, at, message in found if "image" in topic}
    for stamp, late, frame in zip(STAMPS, delay, FRAMES, strict=True):
        at, message = images[stamp]
        assert at == stamp + late
        assert message.encoding == "rgb8"
        assert np.array_equal(message.data.reshape(12, 16, 3), frame)
    states = [message for topic, _, message in found if "joint" in topic]
    assert [stamp_ns(message) for message in states] == STAMPS.tolist()
    assert np.array_equal([message.position for message in states], STATES)
    assert np.array_equal([message.velocity for message in states], -STATES)
    assert states[0].name == list(NAMES)
    assert "who: me" in (bag / "metadata.yaml").read_text()


def test_it_can_be_trained_on(tmp_path: Path) -> None:
    def topics(start: int):
        return {
            "/image_raw": Images(list(FRAMES), rate=10.0, start_ns=start),
            "/joint_states": JointStates(NAMES, STATES, rate=10.0, start_ns=start),
            # 20 ms after what it answers.
            "/joint_command": JointStates(
                NAMES, STATES + 0.1, rate=10.0, start_ns=start + 20_000_000
            ),
        }

    bags = [
        write_bag(tmp_path / name, topics(START_NS + second * 1_000_000_000))
        for second, name in enumerate(("a", "b"))
    ]
    spec = parse_spec(
        {
            "cameras": [{"name": "front", "width": 16, "height": 12}],
            "joints": [{"names": NAMES}],
            "target": "command",
            "command": {"topic": "joint_command"},
        }
    )
    dataset = load_dataset(bags, spec)
    assert len(dataset.episodes) == 2
    episode = dataset.episodes[0]
    assert np.array_equal(episode.images["front"], FRAMES[: len(episode.ticks)])
    np.testing.assert_allclose(episode.joints, STATES[: len(episode.ticks)])
    np.testing.assert_allclose(episode.targets, STATES[: len(episode.ticks)] + 0.1)


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (Images(FRAMES), "either a rate or stamps"),
        (Images(FRAMES, rate=10.0, stamps_ns=STAMPS), "either a rate or stamps"),
        (Images(FRAMES, stamps_ns=STAMPS[1:]), "20 samples, 19 stamps"),
        (Images(FRAMES[..., 0], rate=10.0), r"shape \(12, 16\)"),
        (Images(FRAMES / 255.0, rate=10.0), "float64"),
        (JointStates(NAMES[:1], STATES, rate=10.0), r"shape \(20, 2\)"),
        (JointStates(NAMES, STATES, STATES[1:], rate=10.0), r"shape \(19, 2\)"),
    ],
)
def test_what_does_not_fit_is_said_and_leaves_nothing(
    samples: Images | JointStates, says: str, tmp_path: Path
) -> None:
    with pytest.raises(BagError, match=says):
        write_bag(tmp_path / "bag", {"/topic": samples})
    assert list(tmp_path.iterdir()) == []


def test_a_bag_is_never_overwritten(tmp_path: Path) -> None:
    topics = {"/joint_states": JointStates(NAMES, STATES, rate=10.0)}
    bag = write_bag(tmp_path / "bag", topics)
    before = {path.name: path.read_bytes() for path in bag.iterdir()}
    with pytest.raises(OSError, match="bag"):
        write_bag(bag, topics)
    assert {path.name: path.read_bytes() for path in bag.iterdir()} == before
