# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Demonstrations on disk: real rosbag2 files with the timing of real sensors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from sarnn_ros.errors import ConfigError
from sarnn_ros.sim.demonstrations import (
    CAMERA,
    COMMAND,
    STREAMS,
    demonstrate,
    plan_episodes,
    record,
)
from sarnn_ros.sim.expert import plan
from sarnn_ros.sim.scene import JOINT_NAMES
from sarnn_ros.sim.task import TAUGHT_Y

TICKS = 40


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bags")
    episode = plan_episodes(1, seed=5, ticks=TICKS)[0]
    record(episode, out)
    return out / episode.name


@pytest.fixture(scope="module")
def topics(bag: Path) -> dict[str, list[tuple[int, int, object]]]:
    """Per topic: (receive ns, stamp ns, message)."""
    found: dict[str, list[tuple[int, int, object]]] = {}
    with AnyReader([bag]) as reader:
        for connection, receive, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            stamp = message.header.stamp
            entry = (receive, stamp.sec * 10**9 + stamp.nanosec, message)
            found.setdefault(connection.topic, []).append(entry)
    return found


def test_the_topics_of_the_contract(topics):
    assert set(topics) == {"/image_raw", "/joint_states", "/joint_references", "/joint_command"}
    assert len(topics["/joint_command"]) == TICKS


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.topic)
def test_timing_is_that_of_a_sensor(topics, stream):
    receive, stamp = np.array([entry[:2] for entry in topics[stream.topic]]).T
    delay = (receive - stamp) * 1e-9
    assert (delay > 0).all()
    assert delay.max() < 0.05
    assert (np.diff(receive) >= 0).all()
    period = np.diff(stamp) * 1e-9
    assert np.median(period) == pytest.approx(1 / stream.rate, rel=0.05)
    assert period.std() > 1e-5  # jitter
    assert period.max() < 2.5 / stream.rate


def test_streams_have_their_own_phases(topics):
    phases = []
    for entries in topics.values():
        offsets = np.array([stamp for _, stamp, _ in entries]) % 10_000_000
        phases.append(round(float(np.median(offsets)), -4))
    assert len(set(phases)) == 4


def test_images(topics):
    for _, _, message in topics["/image_raw"]:
        assert (message.width, message.height, message.step) == (128, 128, 384)
        assert message.encoding == "rgb8"
        assert message.header.frame_id == "camera"
        assert message.data.size == 128 * 128 * 3
    first, last = (topics["/image_raw"][index][2].data for index in (0, -1))
    assert (first != last).mean() > 0.05


def test_joints_are_named_and_follow_the_commands(topics):
    commands = plan(
        plan_episodes(1, seed=5, ticks=TICKS)[0].cube, np.random.default_rng([5, 0, 1]), TICKS
    )
    sent = np.array([message.position for _, _, message in topics["/joint_command"]])
    np.testing.assert_array_equal(sent, commands)
    for topic in ("/joint_states", "/joint_references", "/joint_command"):
        assert all(tuple(message.name) == JOINT_NAMES for _, _, message in topics[topic])
    references = topics["/joint_references"][-1][2].position
    np.testing.assert_allclose(references, commands[-1], atol=0.02)
    measured = topics["/joint_states"][-1][2]
    np.testing.assert_allclose(measured.position[:5], commands[-1][:5], atol=0.05)
    assert measured.position[5] == pytest.approx(0.025, abs=0.003)  # stopped at the cube
    assert len(measured.velocity) == 6
    # It holds the cube with what its set-point is beyond the finger.
    assert measured.effort[5] == pytest.approx(
        400 * (references[5] - measured.position[5]), rel=0.2
    )


def test_the_bag_is_whole_for_another_reader(bag, topics):
    """The mcap as the mcap project's own library reads it, checksums included."""
    with (bag / f"{bag.name}.mcap").open("rb") as file:
        summary = make_reader(file, validate_crcs=True).get_summary()
        channels = {channel.topic: key for key, channel in summary.channels.items()}
        for topic, entries in topics.items():
            assert summary.statistics.channel_message_counts[channels[topic]] == len(entries)


def test_the_same_seed_makes_the_same_bytes(bag, tmp_path):
    record(plan_episodes(1, seed=5, ticks=TICKS)[0], tmp_path)
    record(plan_episodes(1, seed=6, ticks=TICKS)[0], tmp_path / "other")
    name = f"{bag.name}/{bag.name}.mcap"
    assert (tmp_path / name).read_bytes() == (bag.parent / name).read_bytes()
    assert (tmp_path / "other" / name).read_bytes() != (bag.parent / name).read_bytes()


def test_episodes_go_round_the_taught_positions():
    episodes = plan_episodes(25, seed=0)
    for y in TAUGHT_Y:
        cubes = [episode.cube for episode in episodes if abs(episode.cube.y - y) < 0.02]
        assert len(cubes) == 5
        assert len({cube.x for cube in cubes}) == 5


def test_finished_episodes_are_kept_and_the_rest_is_made(tmp_path):
    first = demonstrate(tmp_path, episodes=2, seed=1, ticks=TICKS)
    kept = {path: path.stat().st_mtime_ns for bag in first for path in bag.iterdir()}
    partial = tmp_path / ".partial-episode_002"  # an interrupted run's, of days ago
    partial.mkdir()
    os.utime(partial, (0, 0))
    calls: list[tuple[int, int]] = []
    bags = demonstrate(
        tmp_path,
        episodes=3,
        seed=1,
        ticks=TICKS,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(2, 3), (3, 3)]
    assert [bag.name for bag in bags] == ["episode_000", "episode_001", "episode_002"]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == [bag.name for bag in bags]


def test_another_recording_in_the_way_is_refused(bag):
    with pytest.raises(ConfigError, match="another folder") as caught:
        demonstrate(bag.parent, episodes=1, seed=99, ticks=TICKS)
    assert str(bag) in str(caught.value)
    assert '"seed": 99' in str(caught.value)


@pytest.mark.parametrize("damage", ["empty", "garbage", "no metadata"])
def test_a_damaged_bag_in_the_way_is_refused(tmp_path, damage):
    bag = tmp_path / "episode_000"
    bag.mkdir()
    if damage != "no metadata":
        text = "" if damage == "empty" else "\x00: ["
        (bag / "metadata.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="remove this one"):
        demonstrate(tmp_path, episodes=1, ticks=TICKS)


def test_an_unwritable_folder_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be written") as caught:
        demonstrate(tmp_path / "file" / "bags", episodes=1)
    assert "file/bags" in str(caught.value)


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_whole_bags_and_no_process(tmp_path, kill):
    script = f"""
from pathlib import Path
from sarnn_ros.sim.demonstrations import demonstrate
if __name__ == "__main__":
    demonstrate(Path({str(tmp_path)!r}), episodes=40)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], start_new_session=True, stderr=subprocess.DEVNULL
    )
    _wait(lambda: any(tmp_path.glob("episode_*")), "the first episode")
    process.send_signal(kill)
    process.wait(timeout=30)
    _wait(lambda: not _group_lives(process.pid), "the end of every process")
    bags = list(tmp_path.glob("episode_*"))
    assert 0 < len(bags) < 40
    for bag in bags:
        with AnyReader([bag]) as reader:
            counts = {name: topic.msgcount for name, topic in reader.topics.items()}
        assert counts[COMMAND.topic] == 80
        assert counts[CAMERA.topic] > 200
    if kill == signal.SIGINT:
        assert not list(tmp_path.glob(".partial*"))


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _wait(condition, what: str, timeout: float = 30.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout} s for {what}")
        time.sleep(0.02)
