# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bags from which something is missing without the storage saying so, and what was once lost
without a word."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import bag_making as make
import numpy as np
import pytest
import yaml
from bag_making import SECOND, START
from rosbags.rosbag2 import StoragePlugin

from sarnn_ros.data import cache as cache_module
from sarnn_ros.data.bags import Bag, find_bags
from sarnn_ros.data.reading import read_bag
from sarnn_ros.errors import BagError, ConfigError
from sarnn_ros.interop.loading import load_dataset

SQLITE, MCAP = StoragePlugin.SQLITE3, StoragePlugin.MCAP
SUFFIX = {SQLITE: ".db3", MCAP: ".mcap"}
BOTH = pytest.mark.parametrize("storage", [SQLITE, MCAP])


def split(folder: Path, storage: StoragePlugin, parts: int = 3, name: str = "") -> Path:
    """A recording of 2 s in several files, with the metadata.yaml of `ros2 bag record`."""
    whole = sorted(make.recording().messages, key=lambda item: item[2])
    folder.mkdir(parents=True)
    files, counts, info = [], {}, {}
    for number, rows in enumerate(np.array_split(np.arange(len(whole)), parts)):
        scratch = folder.parent / "part"
        make.Recording([whole[row] for row in rows]).write(scratch, storage)
        files.append(f"{name or folder.name}_{number}{SUFFIX[storage]}")
        shutil.move(next(scratch.glob(f"*{SUFFIX[storage]}")), folder / files[-1])
        info = yaml.safe_load((scratch / "metadata.yaml").read_text())
        for topic in info["rosbag2_bagfile_information"]["topics_with_message_count"]:
            known = counts.get(topic["topic_metadata"]["name"], 0)
            counts[topic["topic_metadata"]["name"]] = known + topic["message_count"]
        shutil.rmtree(scratch)
    about = info["rosbag2_bagfile_information"]
    about["relative_file_paths"] = files
    for topic in about["topics_with_message_count"]:
        topic["message_count"] = counts[topic["topic_metadata"]["name"]]
    (folder / "metadata.yaml").write_text(yaml.safe_dump(info))
    return folder


def test_what_a_killed_recorder_left_in_the_write_ahead_log_is_read(tmp_path):
    whole = make.recording().write(tmp_path / "whole", SQLITE)
    (wanted,), _ = read_bag(whole, make.spec())
    path = make.recording(0.5).write(tmp_path / "bag", SQLITE)
    (file,) = path.glob("*.db3")
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    with sqlite3.connect(next(whole.glob("*.db3"))) as source:
        last = database.execute("SELECT max(id), max(timestamp) FROM messages").fetchone()
        rows = source.execute(
            "SELECT topic_id, timestamp, data FROM messages WHERE timestamp > ? ORDER BY id",
            last[1:],
        ).fetchall()
    numbered = [(last[0] + 1 + number, *row) for number, row in enumerate(rows)]
    database.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", numbered)
    database.commit()
    killed = tmp_path / "killed"
    shutil.copytree(path, killed)  # while it is open: so the log is not taken over
    database.close()
    (killed / "metadata.yaml").unlink()
    log = killed / f"{file.name}-wal"
    assert log.stat().st_size > 50_000
    before = (killed / file.name).read_bytes()
    (episode,), report = read_bag(killed, make.spec())
    assert report.verdict == "sound" and episode.digest == wanted.digest
    assert (killed / file.name).read_bytes() == before, "the bag is left as it is"
    root = tmp_path / "cache"
    cache_module.read_bag_cached(killed, make.spec(), "killed", root)
    log.write_bytes(log.read_bytes()[:40_000])
    (shorter,), _ = cache_module.read_bag_cached(killed, make.spec(), "killed", root)
    assert len(shorter.ticks) < len(episode.ticks), "the cache knows of the log"


@BOTH
def test_qos_in_metadata_yaml_that_differs_from_the_storages(storage, tmp_path):
    """ros2 bag reindex and older recorders write none, or another's."""
    path = make.recording().write(tmp_path / "bag", storage)
    (wanted,), _ = read_bag(path, make.spec())
    file = path / "metadata.yaml"
    values = yaml.safe_load(file.read_text())
    for topic in values["rosbag2_bagfile_information"]["topics_with_message_count"]:
        topic["topic_metadata"]["offered_qos_profiles"] = (
            "- history: 3\n  depth: 0\n  reliability: 1\n  durability: 2\n"
            "  deadline: {sec: 2147483647, nsec: 4294967295}\n"
            "  lifespan: {sec: 2147483647, nsec: 4294967295}\n  liveliness: 1\n"
            "  liveliness_lease_duration: {sec: 2147483647, nsec: 4294967295}\n"
            "  avoid_ros_namespace_conventions: false\n"
        )
    values["rosbag2_bagfile_information"]["version"] = 5
    file.write_text(yaml.safe_dump(values))
    (episode,), report = read_bag(path, make.spec())
    assert report.verdict == "sound" and episode.digest == wanted.digest


@BOTH
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_file_that_metadata_yaml_lists_is_missing(storage, lost: int, tmp_path):
    path = split(tmp_path / "bag", storage)
    assert read_bag(path, make.spec())[1].verdict == "sound"
    gone = f"bag_{lost}{SUFFIX[storage]}"
    (path / gone).unlink()
    episodes, report = read_bag(path, make.spec())
    assert report.problems[0].severity == "error" and gone in report.problems[0].found
    if lost == 1:
        assert not episodes and "hole" in report.problems[1].found
    else:
        assert report.verdict == "damaged" and 11 <= len(episodes[0].ticks) <= 14


@BOTH
@pytest.mark.parametrize("listed", [True, False])
def test_a_recorder_that_was_killed_while_it_compressed(storage, listed: bool, tmp_path):
    path = split(tmp_path / "bag", storage)
    (wanted,), _ = read_bag(path, make.spec())
    (path / f"bag_2{SUFFIX[storage]}.zstd").write_bytes(b"\x28\xb5\x2f\xfd half written")
    if not listed:
        (path / "metadata.yaml").unlink()
    (episode,), report = read_bag(path, make.spec())
    assert report.verdict == "sound" and episode.digest == wanted.digest


@BOTH
def test_files_renamed_under_their_metadata_yaml(storage, tmp_path):
    path = split(tmp_path / "bag", storage)
    (wanted,), _ = read_bag(path, make.spec())
    for file in path.glob("bag_*"):
        file.rename(file.with_name(file.name.replace("bag", "kept")))
    (episode,), report = read_bag(path, make.spec())
    assert report.verdict == "sound" and episode.digest == wanted.digest
    (path / f"kept_2{SUFFIX[storage]}").unlink()
    assert read_bag(path, make.spec())[1].verdict == "damaged"


@BOTH
@pytest.mark.parametrize("harm", ["none", "cut off", "empty", "no message"])
def test_numbered_files_in_a_folder_of_their_name(harm: str, storage, tmp_path):
    """Single recordings have pauses between them; of a damaged file that cannot be told."""
    recordings = tmp_path / "pick"
    recordings.mkdir()
    for number in range(3):
        part = make.recording(1.0, start=START + number * 60 * SECOND)
        file = next(part.write(tmp_path / "part", storage).glob(f"*{SUFFIX[storage]}"))
        file.rename(recordings / f"pick_{number}{SUFFIX[storage]}")
        shutil.rmtree(tmp_path / "part")
    whole = split(tmp_path / "whole", storage)
    (whole / "metadata.yaml").unlink()
    last = whole / f"whole_2{SUFFIX[storage]}"
    if harm == "no message":
        part = make.Recording().write(tmp_path / "part", storage)
        shutil.copy(next(part.glob(f"*{SUFFIX[storage]}")), last)
    elif harm != "none":
        size = last.stat().st_size // 2 if harm == "cut off" else 0
        last.write_bytes(last.read_bytes()[:size])
    assert find_bags([whole]) == [whole]
    assert find_bags([recordings]) == sorted(recordings.iterdir())


def test_what_a_damaged_file_lacks_is_no_pause_between_recordings(tmp_path):
    """Of the second file two seconds are lost, in chunks of their own."""
    whole = tmp_path / "whole"
    whole.mkdir()
    for number in range(3):
        part = make.Recording()
        for index in range(4):
            stamp = START + (4 * number + index) * SECOND * 9 // 10
            image = make.image(stamp, np.zeros((700, 700, 3), np.uint8), "rgb8")
            part.add("/image_raw", make.IMAGE, stamp, image)
        written = part.write(tmp_path / "part", MCAP)
        next(written.glob("*.mcap")).rename(whole / f"whole_{number}.mcap")
        shutil.rmtree(written)
    second = whole / "whole_1.mcap"
    second.write_bytes(second.read_bytes()[: second.stat().st_size * 2 // 5])
    assert find_bags([whole]) == [whole]
    with Bag(whole) as bag:
        assert len([*bag.messages(["/image_raw"])]) > 8


@BOTH
def test_a_split_bag_in_a_folder_of_another_name_is_one_episode(storage, tmp_path):
    path = split(tmp_path / "renamed", storage, name="original")
    (path / "metadata.yaml").unlink()
    assert find_bags([tmp_path]) == [path]
    assert len(read_bag(path, make.spec())[0]) == 1
    if storage == MCAP:  # also if the recorder was killed
        last = path / "original_2.mcap"
        last.write_bytes(last.read_bytes()[:-200])
        assert find_bags([tmp_path]) == [path]
    # Single recordings that are numbered have pauses between them.
    for number in range(2):
        start = START + number * 60 * SECOND
        part = make.recording(1.0, start=start).write(tmp_path / "part", storage)
        (tmp_path / "demos").mkdir(exist_ok=True)
        file = next(part.glob(f"*{SUFFIX[storage]}"))
        file.rename(tmp_path / "demos" / f"demo_{number}{SUFFIX[storage]}")
        shutil.rmtree(part)
    assert len(find_bags([tmp_path / "demos"])) == 2


@BOTH
@pytest.mark.parametrize("clock", ["header", "receive"])
def test_a_recorders_clock_that_is_set_back(storage, clock: str, tmp_path):
    made = make.recording()
    made.messages.sort(key=lambda item: item[2])
    made.messages = [
        (topic, kind, receive - (30 * SECOND if row > 130 else 0), message)
        for row, (topic, kind, receive, message) in enumerate(made.messages)
    ]
    make.write_messages(tmp_path / "bag", made.messages, storage=storage, qos=())
    episodes, report = read_bag(tmp_path / "bag", make.spec(clock=clock))
    assert not episodes and report.verdict == "left out"
    assert "clock was set back by 30.0 s" in report.problems[-1].found


def test_the_same_bag_twice_counts_once(tmp_path):
    path = make.recording().write(tmp_path / "take")
    shutil.copytree(path, tmp_path / "copy")
    make.recording(start=START + 60 * SECOND).write(tmp_path / "other")
    dataset = load_dataset([tmp_path], make.spec(), cache=tmp_path / "cache")
    assert [episode.name for episode in dataset.episodes] == ["copy", "other"]
    (problem,) = dataset.problems
    assert (problem.severity, problem.where) == ("warning", "take")
    assert "'copy'" in problem.found and dataset.bags[2].verdict == "left out"


def grey(kind: str):
    """Depth images, for which the spec has to say what is black and what is white."""

    def change(topic: str, index: int, message):
        if topic != "/image_raw":
            return message
        stamp = message.header.stamp.sec * SECOND + message.header.stamp.nanosec
        return make.image(stamp, np.full((12, 16), index, np.uint16), kind)

    return change


def unstamped(topic: str, index: int, message):
    message.header.stamp.sec = message.header.stamp.nanosec = 0
    return message


def unordered_colours(topic: str, index: int, message):
    if topic == "/image_raw":
        message.encoding = "8UC3"
    return message


@pytest.mark.parametrize(
    ("change", "found", "remedy"),
    [
        (grey("16UC1"), "16UC1 says nothing of what is black", "value_range"),
        (unstamped, "the stamp is 0 s", "clock: receive"),
        (unordered_colours, "encoding '8UC3' is not supported", "publish one of: rgb8"),
    ],
)
def test_the_first_cause_and_its_remedy_reach_the_user(change, found, remedy, tmp_path):
    make.recording(change=change).write(tmp_path / "bag")
    with pytest.raises(BagError) as error:
        load_dataset([tmp_path], make.spec())
    assert found in error.value.problem and remedy in (error.value.remedy or "")


def test_one_broken_jpeg_is_named_as_the_cause_of_the_hole(tmp_path):
    import cv2

    made = make.recording()
    for row, (topic, _, receive, message) in enumerate(made.messages):
        if topic == "/image_raw":
            data = cv2.imencode(".jpg", message.data.reshape(12, 16, 3))[1].tobytes()
            stamp = message.header.stamp.sec * SECOND + message.header.stamp.nanosec
            if np.array_equal(message.data.reshape(12, 16, 3), make.colour(29)):
                data = data[:-20]
            made.messages[row] = (topic, make.COMPRESSED, receive, make.compressed(stamp, data))
    _, report = read_bag(made.write(tmp_path / "bag"), make.spec(type=make.COMPRESSED))
    (problem,) = report.problems
    assert "at 1 of 19 ticks" in problem.found and "JPEG image that is cut off" in problem.found


def test_a_full_disk_while_decoding_into_the_cache(tmp_path, monkeypatch):
    """Writing to a memory map on a full disk would end the process by SIGBUS."""
    path = make.recording().write(tmp_path / "bag")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.os, "posix_fallocate", full)
    with pytest.raises(ConfigError, match="No space left"):
        cache_module.read_bag_cached(path, make.spec(), "bag", tmp_path / "cache")
    monkeypatch.undo()
    assert list((tmp_path / "cache").iterdir()) == []
