# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What stands in the way of recording. Episodes on disk are in test/ros/test_recorder.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from sarnn_ros.data.session import Channel, Session, channels
from sarnn_ros.errors import ConfigError, DecodeError
from sarnn_ros.spec import parse_spec

STEP_NS = 100_000_000
KIND = "sensor_msgs/msg/JointState"


def unusable(message: object, now_ns: int) -> None:
    raise DecodeError("no joint 'a'")


def problems(channel: Channel, publishers: list[tuple[str, str]], *, at: int = 10) -> list[str]:
    for step in range(10):
        channel.arrived(step * STEP_NS, b"raw")
    return list(channel.problems("/joints", publishers, object(), 0, at * STEP_NS))


@pytest.mark.parametrize(
    ("publishers", "words"),
    [
        ([], "nobody publishes"),
        ([("arm", "std_msgs/msg/String")], "is a std_msgs/msg/String"),
        ([("arm", KIND), ("rival", KIND)], "2 publishers: arm, rival"),
    ],
)
def test_publishers(publishers: list[tuple[str, str]], words: str):
    (problem,) = problems(Channel("joints", KIND), publishers)
    assert words in problem


@pytest.mark.parametrize(
    ("rate", "at", "words"), [(10.0, 10, None), (20.0, 10, "10.0 Hz"), (10.0, 40, "nothing for")]
)
def test_rates(rate: float, at: int, words: str | None):
    channel = Channel("joints", KIND, checks=[lambda message, now_ns: None], rate=rate)
    found = problems(channel, [("arm", KIND)], at=at)
    assert bool(found) == (words is not None)
    assert words is None or words in found[0]


def test_a_message_that_training_would_refuse():
    (problem,) = problems(Channel("joints", KIND, checks=[unusable]), [("arm", KIND)])
    assert "unusable: no joint 'a'" in problem


@pytest.mark.parametrize(("target", "required"), [("next_state", False), ("command", True)])
def test_commands_are_required_only_if_they_are_learnt(target: str, required: bool):
    spec = parse_spec(
        {"cameras": [{"name": "front"}], "joints": {"names": ["a"]}, "target": target}
    )
    found = {one.topic: one.required for one in channels(spec)}
    assert found == {"image_raw": True, "joint_states": True, "joint_command": required}
    silent = Channel("joint_command", KIND, required=False)
    assert not list(silent.problems("/joint_command", [], None, 0, 0))


def test_a_full_disk_and_nothing_to_stop(tmp_path: Path):
    session = Session(tmp_path, min_free=1e9)
    (problem,) = session.problems()
    assert "GB are free" in problem
    with pytest.raises(ConfigError, match="not recording: no"):
        session.start({}, lambda: ["no"])
    for work in (session.stop, session.discard):
        with pytest.raises(ConfigError):
            work()
