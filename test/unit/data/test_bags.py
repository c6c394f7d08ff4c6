# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every storage, with and without metadata; and every damage, which must never spread."""

from __future__ import annotations

import errno
import resource
import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import bag_making as make
import numpy as np
import pytest
import yaml
import zstandard
from mcap.records import Chunk
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_typestore

from sarnn_ros.data.bags import Bag, bag_files, find_bags, label_of
from sarnn_ros.data.bounds import unpack_zstd
from sarnn_ros.data.dataset import Episode
from sarnn_ros.data.reading import read_bag
from sarnn_ros.data.record import set_label
from sarnn_ros.data.report import examine
from sarnn_ros.errors import BagError
from sarnn_ros.interop.loading import load_dataset

SQLITE, MCAP = StoragePlugin.SQLITE3, StoragePlugin.MCAP


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Episode:
    path = make.recording().write(tmp_path_factory.mktemp("reference") / "bag")
    (episode,), report = read_bag(path, make.spec())
    assert report.verdict == "sound" and not report.problems
    return episode


def assert_same(path: Path, reference: Episode) -> None:
    (episode,), report = read_bag(path, make.spec())
    assert report.verdict == "sound", report
    for name in ("ticks", "joints", "targets"):
        assert np.array_equal(getattr(episode, name), getattr(reference, name))
    assert np.array_equal(episode.images["front"], reference.images["front"])
    assert episode.digest == reference.digest


def test_what_the_reference_holds(reference: Episode):
    """At tick k / 10 s: image 3k - 1, as image 3k comes 1 ms late, and joint state 10 k - 1."""
    assert len(reference.ticks) == 19
    assert (reference.ticks % 100_000_000 == 0).all()
    for row, tick in enumerate(reference.ticks):
        k = (int(tick) - make.START) // 100_000_000
        assert np.array_equal(reference.images["front"][row], make.colour(3 * k - 1))
        assert reference.joints[row] == pytest.approx([(10 * k - 1) / 100, -(10 * k - 1) / 100])
    assert np.array_equal(reference.targets[:-1], reference.joints[1:])
    assert np.array_equal(reference.targets[-1], reference.joints[-1])
    assert reference.source_sizes == {"front": (16, 12)}


class TestStorage:
    @pytest.mark.parametrize("version", [8, 9])
    @pytest.mark.parametrize(
        ("storage", "compression"),
        [(SQLITE, CompressionMode.NONE), (SQLITE, CompressionMode.FILE),
         (SQLITE, CompressionMode.MESSAGE), (MCAP, CompressionMode.NONE),
         (MCAP, CompressionMode.FILE), (MCAP, CompressionMode.MESSAGE),
         (MCAP, CompressionMode.STORAGE)],
    )  # fmt: skip
    @pytest.mark.parametrize("metadata", [True, False])
    def test_rosbag2(self, storage, compression, version, metadata, reference, tmp_path):
        path = make.recording().write(tmp_path / "bag", storage, compression, version)
        if not metadata:
            (path / "metadata.yaml").unlink()
        assert_same(path, reference)
        assert find_bags([tmp_path]) == [path]

    @pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6, 7])
    def test_older_metadata(self, version: int, reference, tmp_path):
        """From Foxy (2 and 3) over Humble (5, 6) to Jazzy (8): fields were added one by one."""
        path = make.recording().write(tmp_path / "bag", SQLITE)
        file = path / "metadata.yaml"
        values = yaml.safe_load(file.read_text())
        info = values["rosbag2_bagfile_information"]
        info["version"] = version
        added = {8: "ros_distro", 6: "custom_data", 5: "files", 3: "compression_mode"}
        for first, key in added.items():
            if version < first:
                info.pop(key, None)
                if key == "compression_mode":
                    info.pop("compression_format", None)
        for topic in info["topics_with_message_count"]:
            if version < 7:
                topic["topic_metadata"].pop("type_description_hash", None)
            if version < 4:
                topic["topic_metadata"].pop("offered_qos_profiles", None)
        file.write_text(yaml.safe_dump(values))
        assert_same(path, reference)

    @pytest.mark.parametrize("storage", [SQLITE, MCAP])
    @pytest.mark.parametrize("metadata", [True, False])
    def test_split_in_several_files(self, storage, metadata, reference, tmp_path):
        whole = make.recording()
        whole.messages.sort(key=lambda item: item[2])
        folder = tmp_path / "bag"
        folder.mkdir()
        suffix = {SQLITE: ".db3", MCAP: ".mcap"}[storage]
        info: dict = {}
        for number, half in enumerate((whole.messages[:100], whole.messages[100:])):
            part = make.Recording(list(half)).write(tmp_path / f"part{number}", storage)
            shutil.move(next(part.glob(f"*{suffix}")), folder / f"bag_{number}{suffix}")
            info = info or yaml.safe_load((part / "metadata.yaml").read_text())
            shutil.rmtree(part)
        if metadata:
            about = info["rosbag2_bagfile_information"]
            about["relative_file_paths"] = [f"bag_{n}{suffix}" for n in range(2)]
            (folder / "metadata.yaml").write_text(yaml.safe_dump(info))
        assert find_bags([tmp_path]) == [folder]
        assert_same(folder, reference)

    @pytest.mark.parametrize("storage", [SQLITE, MCAP])
    def test_in_the_order_in_which_rosbag2_compresses_them(self, storage, reference, tmp_path):
        """With `--compression-mode message`, in several threads."""
        messages = sorted(make.recording().messages, key=lambda item: item[2])
        for row in range(0, len(messages) - 3, 4):
            messages[row], messages[row + 3] = messages[row + 3], messages[row]
        path = tmp_path / "bag"
        make.write_messages(
            path, messages, storage=storage, compression=CompressionMode.MESSAGE, qos=()
        )
        assert_same(path, reference)
        _, report = read_bag(path, make.spec())
        assert not any(stream.backwards for stream in report.streams)

    @pytest.mark.parametrize("compression", list(CompressionType))
    @pytest.mark.parametrize("chunked", [True, False])
    @pytest.mark.parametrize("indexed", [True, False])
    def test_mcap_by_another_writer(self, compression, chunked, indexed, reference, tmp_path):
        """Foxglove's own writer, with its profile, chunking and index or without them."""
        file = tmp_path / "take.mcap"
        write_mcap(
            file, compression=compression, use_chunking=chunked,
            use_summary_offsets=indexed, repeat_channels=indexed, use_statistics=indexed,
        )  # fmt: skip
        assert_same(file, reference)

    def test_ros1(self, reference, tmp_path):
        path = tmp_path / "take.bag"
        store = get_typestore(Stores.ROS1_NOETIC)
        with Rosbag1Writer(path) as writer:
            connections = {}
            for topic, kind, receive, message in sorted(
                make.recording().messages, key=lambda m: m[2]
            ):
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=store)
                old = store.types["std_msgs/msg/Header"](
                    seq=1, stamp=message.header.stamp, frame_id=""
                )
                values = {**vars(message), "header": old}
                values.pop("__msgtype__", None)
                raw = store.serialize_ros1(store.types[kind](**values), kind)
                writer.write(connections[topic], receive, raw)
        assert_same(path, reference)

    def test_eight_stray_bytes_after_each_message(self, reference, tmp_path):
        made = make.recording()
        made.messages = [
            (topic, kind, receive, bytes(make.STORE.serialize_cdr(message, kind)) + bytes(8))
            for topic, kind, receive, message in made.messages
        ]
        assert_same(made.write(tmp_path / "bag"), reference)


def write_mcap(file: Path, profile: str = "ros2", **options: object) -> None:
    with file.open("wb") as stream:
        writer = McapWriter(stream, chunk_size=4000, **options)
        writer.start(profile, "test")
        channels: dict[str, int] = {}
        for topic, kind, receive, message in sorted(make.recording().messages, key=lambda m: m[2]):
            if topic not in channels:
                text = make.STORE.generate_msgdef(kind, ros_version=2)[0]
                schema = writer.register_schema(kind, "ros2msg", text.encode())
                channels[topic] = writer.register_channel(topic, "cdr", schema)
            raw = bytes(make.STORE.serialize_cdr(message, kind))
            writer.add_message(channels[topic], receive, raw, receive)
        writer.finish()


class TestTypes:
    @pytest.mark.parametrize("text", [
        "float64[4000000000] position\nfloat64[] velocity",
        "A[1000000000] A",
        "uint8 A=1\nstd_msgs/Header header\nstring[] name",
        "=" * 80 + "\nIDL: x\nmodule m { const long A = 1 << 30000000000; };",
    ])  # fmt: skip
    def test_what_a_bag_says_of_its_types_is_not_believed(self, tmp_path, text):
        file = tmp_path / "take.mcap"
        with file.open("wb") as stream:
            writer = McapWriter(stream)
            writer.start("ros2", "test")
            schema = writer.register_schema(make.JOINTS, "ros2msg", text.encode())
            channel = writer.register_channel("/joint_states", "cdr", schema)
            message = make.joint_state(make.START, [1.0, 2.0])
            raw = bytes(make.STORE.serialize_cdr(message, make.JOINTS))
            writer.add_message(channel, make.START, raw, make.START)
            writer.finish()
        with Bag(file) as bag:
            (found,) = bag.messages({"/joint_states"})
            assert bag.decode(found).position.tolist() == [1.0, 2.0]

    def test_a_type_that_nobody_defines_is_named(self, tmp_path):
        path = make.recording().write(tmp_path / "bag", SQLITE)
        file = next(path.glob("*.db3"))
        with sqlite3.connect(file) as database:
            database.execute("UPDATE topics SET type = 'lab_msgs/msg/Pose' WHERE name LIKE '/j%'")
            database.execute("DELETE FROM message_definitions")
        (path / "metadata.yaml").unlink()
        with Bag(path) as bag:
            message = next(iter(bag.messages({"/joint_states"})))
            with pytest.raises(Exception, match="lab_msgs/msg/Pose"):
                bag.decode(message)


class TestFinding:
    def test_folders_files_globs_and_order(self, tmp_path):
        for number in (10, 9, 1):
            make.recording(0.1).write(tmp_path / "day1" / f"take{number}")
        single = make.recording(0.1).write(tmp_path / "day2" / "take1")
        wanted = [tmp_path / "day1" / f"take{n}" for n in (1, 9, 10)]
        assert find_bags([tmp_path / "day1"]) == wanted
        assert find_bags([tmp_path]) == [*wanted, single]
        assert find_bags([str(tmp_path / "day*" / "take1")]) == [wanted[0], single]
        assert find_bags([wanted[0], tmp_path / "day1"]) == wanted
        file = next(single.glob("*.mcap"))
        assert find_bags([file]) == [file]

    def test_a_bag_is_found_once_by_whatever_path(self, tmp_path, monkeypatch):
        """Twice it would be in training and in validation."""
        make.recording(0.1).write(tmp_path / "day" / "take1")
        make.recording(0.1).write(tmp_path / "day" / "take2")
        (tmp_path / "day" / "latest").symlink_to("take2")
        (tmp_path / "day" / "again").symlink_to(".")
        monkeypatch.chdir(tmp_path)
        assert [one.resolve().name for one in find_bags(["day"])] == ["take2", "take1"]
        assert len(find_bags(["day/take1", tmp_path / "day" / "take1", "day/take2"])) == 2

    def test_a_folder_that_cannot_be_read(self, tmp_path, monkeypatch):
        for name in ("take1", "lost+found", "private"):
            make.recording(0.1).write(tmp_path / name)
        listed = Path.iterdir

        def refuse(path):
            if path.name in ("lost+found", "private"):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return listed(path)

        (tmp_path / "private" / "metadata.yaml").unlink()
        monkeypatch.setattr(Path, "iterdir", refuse)
        with pytest.raises(BagError, match="Permission denied") as caught:
            find_bags([tmp_path])
        assert caught.value.where == str(tmp_path / "private")
        (tmp_path / "private").rename(tmp_path / ".private")
        assert find_bags([tmp_path]) == [tmp_path / "take1"], "a disk's lost+found is no bag"

    def test_a_name_with_brackets_is_that_folder(self, tmp_path):
        for folder in ("data[1]", "data1"):
            make.recording(0.3).write(tmp_path / folder / "demo")
        (found,) = find_bags([tmp_path / "data[1]"])
        assert found.parent.name == "data[1]"
        (found,) = find_bags([tmp_path / "dat?[1]"])
        assert found.parent.name == "data1"

    def test_a_file_of_a_failure_is_one_too(self, tmp_path):
        bag = make.recording(0.3).write(tmp_path / "bag")
        set_label(bag, "failure")
        (file,) = bag_files(bag)
        assert label_of(file) == label_of(bag) == "failure"
        other = file.rename(bag / f"other{file.suffix}")
        assert label_of(other) is None, "the metadata is of another file"

    def test_equal_names_are_told_apart(self, tmp_path):
        for number, day in enumerate(("a", "b")):
            start = make.START + number * make.SECOND
            make.recording(1.0, start=start).write(tmp_path / day / "take")
        dataset = load_dataset([tmp_path], make.spec())
        assert [episode.name for episode in dataset.episodes] == ["a/take", "b/take"]

    @pytest.mark.parametrize("given", ["nothing", "empty", "notes.txt"])
    def test_what_is_no_bag(self, given: str, tmp_path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "notes.txt").write_text("…")
        with pytest.raises(BagError) as error:
            find_bags([tmp_path / given])
        assert given in str(error.value) and error.value.remedy

    def test_none_at_all(self):
        with pytest.raises(BagError, match="no bag"):
            find_bags([])

    def test_unfinished_folders_of_our_own_tools_are_not_bags(self, tmp_path):
        make.recording(0.1).write(tmp_path / ".partial" / "take")
        with pytest.raises(BagError, match="no bag"):
            find_bags([tmp_path])


def cut(share: float) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        data = file.read_bytes()
        file.write_bytes(data[: int(len(data) * share)])

    return damage


def garbage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(np.random.default_rng(0).integers(0, 256, 2000, np.uint8))
    file.write_bytes(data)


DAMAGE = {
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("this is not a bag\n" * 100),
    "zeros": lambda file: file.write_bytes(bytes(5000)),
    "one byte": cut(1e-9),
    "a tenth": cut(0.1),
    "a half": cut(0.5),
    "nearly all": cut(0.99),
    "garbage": garbage,
    "missing": Path.unlink,
}


class TestDamage:
    @pytest.mark.parametrize("compression", [CompressionMode.NONE, CompressionMode.FILE])
    @pytest.mark.parametrize("storage", [SQLITE, MCAP])
    @pytest.mark.parametrize("damage", DAMAGE)
    def test_a_bad_bag_never_takes_down_the_others(self, damage, storage, compression, tmp_path):
        good = make.recording().write(tmp_path / "good")
        bad = make.recording(image_rate=60.0).write(tmp_path / "bad", storage, compression)
        file = next(one for one in bad.iterdir() if one.name != "metadata.yaml")
        DAMAGE[damage](file)
        dataset = load_dataset([good, bad], make.spec())
        assert "good" in [episode.name for episode in dataset.episodes]
        report = dataset.bags[-1]
        assert report.path == str(bad)
        if report.verdict == "sound":  # the garbage hit no byte that matters, or pixels only
            assert damage == "garbage"
        else:
            assert report.problems and all(problem.remedy for problem in report.problems)
            with pytest.raises(BagError):
                load_dataset([good, bad], make.spec(), strict=True)

    @pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
    @pytest.mark.parametrize("compression", list(CompressionType))
    def test_an_mcap_cut_off_gives_what_is_there(self, share, compression, reference, tmp_path):
        file = tmp_path / "take.mcap"
        write_mcap(file, compression=compression)
        cut(share)(file)
        (episode,), report = read_bag(file, make.spec())
        assert report.verdict == "damaged"
        assert "cut off" in report.problems[0].found and "take.mcap" in report.problems[0].found
        rows = len(episode.ticks)
        assert abs(rows - share * len(reference.ticks)) < 4
        assert np.array_equal(episode.ticks, reference.ticks[:rows])
        assert np.array_equal(episode.images["front"], reference.images["front"][:rows])

    def test_a_damaged_chunk_leaves_a_hole_not_a_bridge(self, tmp_path):
        file = tmp_path / "take.mcap"
        write_mcap(file, compression=CompressionType.ZSTD)
        data = bytearray(file.read_bytes())
        frame = len(data) // 2
        for _ in range(3):
            frame = data.index(b"\x28\xb5\x2f\xfd", frame + 1)
            data[frame + 40 : frame + 60] = bytes(20)
        file.write_bytes(data)
        episodes, report = read_bag(file, make.spec())
        assert not episodes
        assert any("damaged chunk" in problem.found for problem in report.problems)
        assert any("hole" in problem.found for problem in report.problems)

    def test_flipped_pixels_are_noticed_by_the_checksum(self, tmp_path):
        """Cut off as well, so that the index, which would say it first, is gone."""
        file = tmp_path / "take.mcap"
        write_mcap(file, compression=CompressionType.NONE)
        data = bytearray(file.read_bytes()[: int(file.stat().st_size * 0.8)])
        pixels = data.index(make.colour(30).tobytes()[:48])
        data[pixels + 10] ^= 0xFF
        file.write_bytes(data)
        _, report = read_bag(file, make.spec())
        assert any("damaged chunk" in problem.found for problem in report.problems)

    def test_a_chunk_that_claims_gigabytes(self, tmp_path):
        file = tmp_path / "take.mcap"
        write_mcap(file, compression=CompressionType.ZSTD)
        data = bytearray(file.read_bytes())
        # A frame header that announces 2^40 bytes.
        frame = data.index(b"\x28\xb5\x2f\xfd")
        data[frame + 4 : frame + 13] = b"\xe0" + (1 << 40).to_bytes(8, "little")
        file.write_bytes(data)
        read_bag(file, make.spec())

    def test_bag_of_serialized_nonsense(self, tmp_path):
        made = make.recording()
        made.messages = [
            (topic, kind, receive, b"\x00\x01\x00\x00" + bytes(3) if topic == "/joint_states"
             else message)
            for topic, kind, receive, message in made.messages
        ]  # fmt: skip
        episodes, report = read_bag(made.write(tmp_path / "bag"), make.spec())
        assert not episodes and report.void["/joint_states"].count == 200
        assert "none of 200 messages" in report.problems[0].found

    @pytest.mark.parametrize("topic", ["/image_raw", "/joint_states"])
    def test_a_topic_without_messages(self, topic, tmp_path):
        made = make.recording(change=lambda name, _, message: None if name == topic else message)
        episodes, report = read_bag(made.write(tmp_path / "bag"), make.spec())
        assert not episodes
        assert f"'{topic}' is not in the bag" in report.problems[0].found

    def test_missing_topic_names_those_of_its_type(self, tmp_path):
        path = make.recording().write(tmp_path / "bag")
        _, report = read_bag(path, make.spec(topic="camera/colour"))
        found = report.problems[0].found
        assert "'/camera/colour' is not in the bag" in found and "/image_raw" in found
        _, report = read_bag(path, make.spec(type=make.COMPRESSED))
        assert "is a sensor_msgs/msg/Image" in report.problems[0].found

    def test_a_stream_that_ends_early_is_trimmed_and_said(self, tmp_path):
        made = make.recording(change=lambda topic, index, m: None
                              if topic == "/joint_states" and index >= 120 else m)  # fmt: skip
        (episode,), report = read_bag(made.write(tmp_path / "bag"), make.spec())
        assert len(episode.ticks) == 12 and report.trimmed == (0, 7)

    def test_a_hole_is_never_bridged(self, tmp_path):
        made = make.recording(drop_images=range(20, 31))
        episodes, report = read_bag(made.write(tmp_path / "bag"), make.spec())
        assert not episodes and report.verdict == "left out"
        assert "hole in the middle" in report.problems[0].found
        assert "/image_raw" in report.problems[0].found
        (episode,), _ = read_bag(tmp_path / "bag", make.spec(max_age=0.5))
        assert len(episode.ticks) == 19

    @pytest.mark.parametrize(
        ("bad", "voids", "ticks"),
        [(range(29, 30), 1, 0), (range(55, 60), 1, 18), (range(21, 60), 12, 7)],
    )
    def test_a_jpeg_that_only_decoding_finds_broken_voids_its_tick(
        self, bad, voids, ticks, tmp_path
    ):
        import cv2

        def change(topic: str, index: int, message):
            if topic != "/image_raw":
                return message
            data = cv2.imencode(".jpg", make.colour(index))[1].tobytes()
            if index in bad:
                data = data[: len(data) // 2]
            stamp = message.header.stamp
            return make.compressed(stamp.sec * make.SECOND + stamp.nanosec, data)

        made = make.recording(change=change)
        made.messages = [
            (topic, make.COMPRESSED if topic == "/image_raw" else kind, receive, message)
            for topic, kind, receive, message in made.messages
        ]
        spec = make.spec(type=make.COMPRESSED)
        episodes, report = read_bag(made.write(tmp_path / "bag"), spec)
        assert report.void["/image_raw"].count == voids
        if not ticks:
            assert not episodes and "hole" in report.problems[0].found
            return
        assert len(episodes[0].ticks) == ticks and report.trimmed == (0, 19 - ticks)
        examine(load_dataset([tmp_path / "bag"], spec))

    def test_mixed_sizes_are_an_error(self, tmp_path):
        def change(topic: str, index: int, message):
            if topic == "/image_raw" and index > 30:
                stamp = message.header.stamp
                return make.image(
                    stamp.sec * make.SECOND + stamp.nanosec, make.colour(index, 32, 24)
                )
            return message

        episodes, report = read_bag(
            make.recording(change=change).write(tmp_path / "bag"), make.spec()
        )
        assert not episodes and "image size changes" in report.problems[0].found

    def test_a_clock_set_while_recording(self, tmp_path):
        """Both streams start in 1970 and end today: no memory for 56 years of ticks."""

        def change(topic: str, index: int, message):
            if index < 10:
                message.header.stamp.sec = 5
            return message

        episodes, report = read_bag(
            make.recording(change=change).write(tmp_path / "bag"), make.spec()
        )
        assert not episodes and "clock" in report.problems[0].remedy

    def test_nothing_usable_lists_every_reason(self, tmp_path):
        make.recording(drop_images=range(20, 31)).write(tmp_path / "a")
        make.recording(0.05).write(tmp_path / "b")
        with pytest.raises(BagError) as error:
            load_dataset([tmp_path], make.spec())
        assert "hole" in str(error.value) and "at 10 Hz, 0 of its ticks" in str(error.value)


def test_a_chunk_of_zstd_that_is_cut_off_is_no_whole_one():
    packer = zstandard.ZstdCompressor(write_content_size=False)
    packed = packer.compress(np.random.default_rng(0).bytes(400_000))
    assert len(unpack_zstd(packed)) == 400_000
    with pytest.raises(ValueError, match="cut off"):
        unpack_zstd(packed[: len(packed) // 2])


def test_recovery_of_a_zstd_file_that_is_cut(tmp_path):
    path = make.recording().write(tmp_path / "bag", MCAP, CompressionMode.FILE)
    file = next(path.glob("*.zstd"))
    assert zstandard.frame_content_size(file.read_bytes()[:18]) != 0
    cut(0.5)(file)
    episodes, report = read_bag(path, make.spec())
    assert report.verdict in ("left out", "damaged") and report.problems
    assert not episodes or report.verdict == "damaged"


def bomb(size: int) -> bytes:
    """zstd of so many zeros: 32,000 times smaller."""
    packer = zstandard.ZstdCompressor().compressobj()
    piece = bytes(1 << 24)
    return b"".join(packer.compress(piece) for _ in range(size >> 24)) + packer.flush()


class TestBombs:
    @pytest.fixture(autouse=True)
    def _memory(self):
        """No more than a gigabyte on top of what is there."""
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), before[1]))
        yield
        resource.setrlimit(resource.RLIMIT_AS, before)

    def test_a_chunk(self, tmp_path):
        file = tmp_path / "take.mcap"
        write_mcap(file, compression=CompressionType.ZSTD)
        content = file.read_bytes()
        with file.open("rb") as stream:
            chunk = next(
                one for one in StreamReader(stream, emit_chunks=True).records
                if isinstance(one, Chunk)
            )  # fmt: skip
        packed = bomb(1 << 32)
        start = content.index(chunk.data)
        content = content[:start] + packed + content[start + len(chunk.data) :]
        for place, more in ((start - 8, 0), (start - 52, 44)):  # of the data, of the record
            size = struct.pack("<Q", len(packed) + more)
            content = content[:place] + size + content[place + 8 :]
        file.write_bytes(content)
        assert len(content) < 400_000
        episodes, report = read_bag(file, make.spec())
        assert not episodes and report.problems

    @pytest.mark.parametrize("name", ["take.mcap.zstd", "take.db3.zstd"])
    def test_a_file(self, tmp_path, monkeypatch, name):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
        (tmp_path / "temp").mkdir()
        (tmp_path / name).write_bytes(bomb(1 << 32))
        with pytest.raises(BagError, match="unpacks to more than"), Bag(tmp_path / name):
            pass
        assert list((tmp_path / "temp").iterdir()) == []

    def test_a_message(self, tmp_path):
        made = make.recording()
        made.add("/joint_states", make.JOINTS, make.START, bomb(1 << 32))
        episodes, report = read_bag(made.write(tmp_path / "bag"), make.spec())
        assert len(episodes) == 1 and "unpacks to more" in report.void["/joint_states"].why

    def test_a_folder_that_says_its_file_is_compressed(self, tmp_path):
        path = make.recording(0.3).write(tmp_path / "bag", compression=CompressionMode.FILE)
        (file,) = path.glob("*.mcap*")
        file.write_bytes(bomb(1 << 32))
        episodes, report = read_bag(path, make.spec())
        assert not episodes and "unpacks to more than" in report.problems[0].found
