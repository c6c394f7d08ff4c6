# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Finding bags, and reading raw messages from any storage format, damaged or not.

rosbag2 in mcap and sqlite3, split, compressed, with or without metadata.yaml, and ROS 1 bags,
without ROS. Each storage file is read by itself; metadata.yaml only tells which files and messages
there should be. An mcap that was cut off, or of which some bytes are damaged, is read as far as it
goes, and `Bag.damage` says what was lost. What messages mean, and which are used, is not known
here.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import zstandard
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.rosbag1 import Reader as Rosbag1Reader
from rosbags.rosbag1.reader import decompressors as rosbag1_decompressors
from rosbags.rosbag2 import Reader as Rosbag2Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sarnn_ros.data.bounds import (
    MAX_RECORD_BYTES,
    check_in_memory,
    most_unpacked,
    unpack_bz2,
    unpack_lz4,
    unpack_zstd,
)
from sarnn_ros.errors import BagError, DecodeError
from sarnn_ros.spec import CONTROLLER_STATE_TYPE, NANOSECONDS
from sarnn_ros.yaml_file import read_yaml

#: A long recording in many files has a long metadata.yaml.
MAX_METADATA_BYTES = 1 << 22
#: The files of one recording follow each other without a longer pause, s.
MAX_SPLIT_PAUSE = 1.0

#: The label of a recording in the custom data of its metadata.yaml.
LABEL = "sarnn.label"

_SUFFIXES = (".mcap", ".db3", ".bag", ".mcap.zstd", ".db3.zstd")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
#: Bytes of a compressed file that are unpacked at a time.
_PIECE_BYTES = 1 << 20
#: Up to Humble the point was called `desired`. More follows, different in each distribution.
_CONTROLLER_STATE = (
    "std_msgs/Header header\nstring[] joint_names\ntrajectory_msgs/JointTrajectoryPoint reference"
)


class RawMessage(NamedTuple):
    """A message as recorded.

    :param receive_ns: when the recorder received it, ns.
    :param raw: serialized, CDR or ROS 1.
    """

    topic: str
    receive_ns: int
    raw: bytes | memoryview


@dataclass(frozen=True)
class Topic:
    """One topic of a bag.

    :param count: of messages, as the bag's index or metadata.yaml says.
    """

    name: str
    type: str
    count: int


def find_bags(
    paths: Iterable[str | Path], other: Callable[[Path], bool] = lambda _: False
) -> list[Path]:
    """The bags at or below the given paths, in natural order, each once.

    :param paths: bags (folders or files), folders of bags, glob patterns.
    :param other: tells files and folders of other formats that count as a bag.
    :raises BagError: a path does not exist or has no bag at or below it.
    """
    found: dict[Path, Path] = {}
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    for one in given:
        matches = [str(one)]
        if not Path(one).exists():
            matches = sorted(glob.glob(str(one), recursive=True), key=_natural) or matches
        for path in map(Path, matches):
            try:
                bags = _bags_at(path, other, set())
            except OSError as error:
                raise BagError(
                    f"cannot be read: {error.strerror}",
                    where=error.filename or path,
                    remedy="change its permissions, or give the bags beside it one by one",
                ) from error
            if not bags:
                problem = "no bag in this folder" if path.is_dir() else "not a bag"
                raise BagError(
                    problem if path.exists() else "does not exist",
                    where=path,
                    remedy=f"give a rosbag2 folder, a file ({', '.join(_SUFFIXES)}), or a folder "
                    "that holds some",
                )
            for bag in bags:
                found.setdefault(bag.resolve(), bag)  # under one path, if links lead to it twice
    if not found:
        raise BagError("no bag was given", remedy="give at least one bag or folder of bags")
    return list(found.values())


def bag_files(path: Path) -> list[Path]:
    """The storage files of a bag, in order."""
    if path.is_file():
        return [path]
    files = [file for file in path.iterdir() if _is_bag_file(file)]
    # Beside the file it is made from, a compressed one is not complete: the recorder was killed.
    return sorted((one for one in files if one.with_suffix("") not in files), key=_natural)


class Bag:
    """One bag, open for reading; a context manager, to be entered once.

    :raises BagError: on entry, when nothing in it can be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.topics: dict[str, Topic] = {}
        #: What could not be read, in words; empty for a sound bag. Complete after `messages`.
        self.damage: list[str] = []
        self._announced: dict[str, int] = {}
        self._files: list[Path] = []
        self._stack = ExitStack()
        self._storages: list[_Rosbag1 | _Sqlite | _Mcap] = []

    def __enter__(self) -> Bag:
        if not self.path.exists():
            raise BagError("does not exist", where=self.path)
        try:
            self._files = self._list_files()
            self._storages = self._open()
            self._list_topics()
            self.damage += [problem for file in self._files if (problem := _sqlite_cut_off(file))]
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """The messages of some topics, as they were written: in the order of receipt, as a rule.

        If the recorder's clock was set, `receive_ns` does not rise. The order is the same at every
        call.

        :raises BagError: the rest cannot be read.
        """
        for storage in self._storages:
            try:
                yield from storage.messages(topics)
            except Exception as error:  # rosbags raises anything on corruption
                raise self._unreadable(error) from error

    def decode(self, message: RawMessage) -> Any:
        """The message, of a type that we know; what a bag says of its types is not believed.

        :raises DecodeError: the bytes are not a message of the topic's type, or it is unknown.
        """
        topic = self.topics[message.topic]
        raw = message.raw
        try:
            if raw[:4] == _ZSTD_MAGIC:  # compressed by message, and no metadata.yaml to say so
                raw = unpack_zstd(raw)
            if self.path.suffix == ".bag":
                return _store(Stores.ROS1_NOETIC, topic.type).deserialize_ros1(raw, topic.type)
            return _deserialise(topic.type, raw)
        except DecodeError:
            raise
        except Exception as error:
            raise DecodeError(
                f"{len(raw)} bytes are not a {topic.type}: {error}", where=topic.name
            ) from error

    def _list_files(self) -> list[Path]:
        """The storage files, in order. What metadata.yaml lists and is not there is damage."""
        present = bag_files(self.path)
        metadata = self.path / "metadata.yaml"
        if self.path.is_file() or not metadata.exists():
            return present
        try:
            values = read_yaml(metadata, BagError, "", MAX_METADATA_BYTES).values
            about = values["rosbag2_bagfile_information"]
            listed = [PurePath(str(name)).name for name in about["relative_file_paths"]]
            self._announced = {
                str(topic["topic_metadata"]["name"]): int(topic["message_count"])
                for topic in about["topics_with_message_count"]
            }
        except (BagError, KeyError, TypeError, ValueError, AttributeError) as error:
            why = error.problem if isinstance(error, BagError) else f"lacks {error}"
            self.damage.append(
                f"metadata.yaml: {why}; it would tell whether files or messages are missing"
            )
            return present
        found = {file.name.removesuffix(".zstd"): file for file in present}
        names = [name.removesuffix(".zstd") for name in listed]
        if not found.keys() & set(names):  # the files were renamed
            if len(present) < len(listed):
                self.damage.append(
                    f"metadata.yaml lists {len(listed)} files ({', '.join(listed[:3])}, …), "
                    f"{len(present)} are there"
                )
            return present
        self.damage += [
            f"{name}: this file is missing, and metadata.yaml lists it"
            for name in names
            if name not in found
        ]
        return [found[name] for name in dict.fromkeys(names) if name in found]

    def _open(self) -> list[_Rosbag1 | _Sqlite | _Mcap]:
        if not self._files:
            raise BagError("a folder without storage files", where=self.path)
        try:
            if self.path.suffix == ".bag":
                return [_Rosbag1(self._stack.enter_context(Rosbag1Reader(self.path)))]
            return [_open_file(file, self._stack, self.damage) for file in self._files]
        except Exception as error:  # rosbags raises anything on corruption
            raise self._unreadable(error) from error

    def _list_topics(self) -> None:
        for topic in (topic for storage in self._storages for topic in storage.topics()):
            known = self.topics.get(topic.name)
            if known and known.type != topic.type:
                raise BagError(
                    f"topic '{topic.name}' has two types, {known.type} and {topic.type}",
                    where=self.path,
                )
            count = topic.count + (known.count if known else 0)
            self.topics[topic.name] = Topic(topic.name, topic.type, count)
        for name, count in self._announced.items():
            if name in self.topics and self.topics[name].count < count:
                self.topics[name] = dataclasses.replace(self.topics[name], count=count)
        if self.damage and not self.topics:
            raise self._unreadable(ValueError("; ".join(self.damage)))

    def _unreadable(self, error: Exception) -> BagError:
        if not any(file.stat().st_size for file in self._files):
            return BagError(
                "the bag is empty (0 bytes)", where=self.path, remedy="record it again"
            )
        if isinstance(error, BagError):
            return BagError(error.problem, where=self.path, remedy=error.remedy)
        tools = {".db3": "sqlite3 FILE .recover", ".bag": "rosbag reindex"}
        tool = tools.get(self._files[0].suffix)
        return BagError(
            f"cannot be read: {str(error) or type(error).__name__}",
            where=self.path,
            remedy="copy or record it again" + (f", or try '{tool}'" if tool else ""),
        )


def label_of(path: Path) -> str | None:
    """How a person labelled the bag when it was recorded: success, failure, or not at all.

    :param path: of the bag, or of one of its files.
    """
    file = (path.parent if path.is_file() else path) / "metadata.yaml"
    try:
        values = read_yaml(file, BagError, "", MAX_METADATA_BYTES).values
        about = values["rosbag2_bagfile_information"]
        if path.is_file() and path.name not in about["relative_file_paths"]:
            return None
        label = about["custom_data"][LABEL]
    except (BagError, LookupError, TypeError):
        return None
    return str(label)


def absolute(topic: str) -> str:
    """A spec's topic as a bag names it: relative names were recorded in the root namespace."""
    return topic if topic.startswith("/") else f"/{topic}"


def _open_file(path: Path, stack: ExitStack, damage: list[str]) -> _Sqlite | _Mcap:
    """A storage file of rosbag2.

    :param stack: closes it.
    :param damage: see `_Mcap`.
    """
    log = sqlite_log(path)
    if path.suffix == ".zstd" or log is not None:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="sarnn_ros-")))
        path = _with_log(path, log, scratch) if log else _unpack_file(path, scratch / path.stem)
    if path.suffix == ".mcap":
        return _Mcap(path, damage)
    return _Sqlite(stack.enter_context(Rosbag2Reader(path)))


@dataclass
class _Rosbag1:
    """A ROS 1 bag, which has an index by time of receipt."""

    reader: Any

    def topics(self) -> Iterator[Topic]:
        for connection in self.reader.connections:
            yield Topic(connection.topic, connection.msgtype, connection.msgcount)

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        connections = [one for one in self.reader.connections if one.topic in topics]
        if connections:  # none would mean all
            for connection, receive_ns, raw in self.reader.messages(connections):
                yield RawMessage(connection.topic, receive_ns, raw)


@dataclass
class _Sqlite:
    """A .db3. `rosbags` sorts its messages by time of receipt; here they come as written."""

    reader: Any

    @property
    def span_ns(self) -> tuple[int, int]:
        return self.reader.start_time, self.reader.end_time

    def topics(self) -> Iterator[Topic]:
        for connection in self.reader.connections:
            if connection.ext.serialization_format == "cdr":
                yield Topic(connection.topic, connection.msgtype, connection.msgcount)

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        names = {one.id: one.topic for one in self.reader.connections if one.topic in topics}
        rows = self.reader.storage.dbconn.cursor().execute(
            "SELECT topic_id, timestamp, data FROM messages "
            f"WHERE topic_id IN ({','.join('?' * len(names))}) ORDER BY rowid",
            tuple(names),
        )
        for topic_id, receive_ns, raw in rows:
            yield RawMessage(names[topic_id], receive_ns, raw)


class _Mcap:
    """An mcap, record by record as far as it can be read, without damaged chunks.

    :param damage: what is lost is appended here when it is noticed.
    """

    def __init__(self, path: Path, damage: list[str]) -> None:
        self._path, self._damage = path, damage
        #: Receipt of the first and the last message, ns.
        self.span_ns = (0, 0)
        self._channels: dict[int, Channel] = {}
        self._schemas: dict[int, Schema] = {}
        self._counts: Mapping[int, int] = {}
        if not self._read_summary():
            self._scan()

    def topics(self) -> Iterator[Topic]:
        for channel in self._channels.values():
            schema = self._schemas.get(channel.schema_id)
            # json, protobuf: not ROS messages; the topic then counts as absent
            if schema is not None and channel.message_encoding == "cdr":
                yield Topic(channel.topic, schema.name, self._counts.get(channel.id, 0))

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        channels: dict[int, str] = {}
        for record in self._records():
            if isinstance(record, Channel):
                channels[record.id] = record.topic
            elif isinstance(record, Message) and channels.get(record.channel_id) in topics:
                yield RawMessage(channels[record.channel_id], record.log_time, record.data)

    def _read_summary(self) -> bool:
        """Whether there is one that has everything."""
        try:
            with self._path.open("rb") as file:
                reader = SeekingReader(file, record_size_limit=MAX_RECORD_BYTES)
                summary = reader.get_summary()
        except Exception:  # cut off: mcap raises anything on corruption
            return False
        if summary is None or summary.statistics is None or not summary.channels:
            return False
        about = summary.statistics
        self._channels, self._schemas = summary.channels, summary.schemas
        self._counts = about.channel_message_counts
        self.span_ns = about.message_start_time, about.message_end_time
        return all(one.schema_id in self._schemas for one in self._channels.values())

    def _scan(self) -> None:
        counts: Counter[int] = Counter()
        for record in self._records():
            if isinstance(record, Schema):
                self._schemas[record.id] = record
            elif isinstance(record, Channel):
                self._channels[record.id] = record
            elif isinstance(record, Message):
                counts[record.channel_id] += 1
                first_ns, last_ns = self.span_ns
                self.span_ns = (
                    min(first_ns or record.log_time, record.log_time),
                    max(last_ns, record.log_time),
                )
        self._counts = counts

    def _records(self) -> Iterator[Any]:
        last_ns = 0
        with self._path.open("rb") as file:
            records = StreamReader(
                file, emit_chunks=True, record_size_limit=MAX_RECORD_BYTES
            ).records
            while True:
                try:
                    record = next(records)
                except StopIteration:
                    return
                except Exception as error:  # struct, Unicode, mcap's own: nothing more to read
                    size = self._path.stat().st_size
                    self._note(
                        f"cut off or damaged at byte {min(file.tell(), size)} of {size}: "
                        f"{type(error).__name__} {error}".rstrip()
                        + (f"; the last message read is of {last_ns} ns" if last_ns else "")
                    )
                    return
                if not isinstance(record, Chunk):
                    if isinstance(record, Message):
                        last_ns = record.log_time
                    yield record
                    continue
                try:
                    inner = _unpack_chunk(record)
                except Exception as error:
                    span = (record.message_end_time - record.message_start_time) * 1e-9
                    self._note(
                        f"a damaged chunk of {span:.2f} s from {record.message_start_time} ns is "
                        f"left out: {error}"
                    )
                    continue
                last_ns = record.message_end_time
                yield from inner

    def _note(self, problem: str) -> None:
        said = f"{self._path.name}: {problem}"
        if said not in self._damage:  # a bag is read several times
            self._damage.append(said)


def _unpack_chunk(chunk: Chunk) -> list[Any]:
    check_in_memory("a chunk", chunk.uncompressed_size)
    unpack = {"zstd": unpack_zstd, "lz4": unpack_lz4}.get(chunk.compression)
    if unpack is not None:
        chunk = dataclasses.replace(chunk, compression="", data=unpack(chunk.data))
    return breakup_chunk(chunk, validate_crc=True)


def _unpack_file(packed: Path, plain: Path) -> Path:
    """:raises ValueError: it unpacks to more than `most_unpacked`."""
    most = left = most_unpacked(packed.stat().st_size)
    with packed.open("rb") as source, plain.open("wb") as target:
        unpacker = zstandard.ZstdDecompressor()
        for piece in unpacker.read_to_iter(source, write_size=_PIECE_BYTES):
            left -= len(piece)
            if left < 0:
                raise ValueError(f"unpacks to more than {most} bytes")
            target.write(piece)
    return plain


def _bags_at(path: Path, other: Callable[[Path], bool], above: set[Path]) -> list[Path]:
    """
    :param above: the folders that it is in, which a link may lead back to.
    """
    if path.is_file():
        return [path] if _is_bag_file(path) or other(path) else []
    name = path.name
    if not path.is_dir() or (name.startswith(".") and name != "..") or name == "lost+found":
        return []
    if (path / "metadata.yaml").exists() or _is_split_bag(path) or other(path):
        return [path]
    above = {*above, path.resolve()}
    children = sorted(path.iterdir(), key=_natural)
    return [
        bag
        for child in children
        if child.resolve() not in above
        for bag in _bags_at(child, other, above)
    ]


def _is_bag_file(path: Path) -> bool:
    return path.name.endswith(_SUFFIXES) and not path.name.startswith(".")


def _is_split_bag(folder: Path) -> bool:
    """A recording without metadata.yaml: NAME/NAME_0.mcap and so on. The files have to follow each
    other in time, as single recordings do not; if that cannot be told, to have the folder's name.
    """
    files = bag_files(folder)
    parts = [re.fullmatch(r"(.+?)(?:_(\d+))?\.(mcap|db3)(\.zstd)?", file.name) for file in files]
    names = {part[1] if part else "" for part in parts}
    if not files or None in parts or len(names) > 1:
        return False
    if names == {folder.name}:
        return len(files) == 1 or _follow_each_other(files) is not False
    numbers = [int(part[2] or -1) for part in parts if part]
    return (
        len(files) > 1 and numbers == list(range(len(files))) and bool(_follow_each_other(files))
    )


def _follow_each_other(files: list[Path]) -> bool | None:
    """None if a pause may be what a file lacks, which is damaged or has no message."""
    damage = [problem for file in files if (problem := _sqlite_cut_off(file))]
    with ExitStack() as stack, suppress(Exception):  # rosbags raises anything on corruption
        storages = [_open_file(file, stack, damage) for file in files]
        pauses = [
            (after.span_ns[0] - before.span_ns[1]) / NANOSECONDS
            for before, after in pairwise(storages)
        ]
        if all(abs(pause) < MAX_SPLIT_PAUSE for pause in pauses):
            return True
        whole = not damage and all(any(one.count for one in each.topics()) for each in storages)
        return False if whole else None
    return None


def sqlite_log(file: Path) -> Path | None:
    """The write-ahead log beside a .db3, which a recorder that was killed leaves: its content is
    not in the .db3 yet."""
    log = file.with_name(f"{file.name}-wal")
    return log if file.suffix == ".db3" and log.exists() and log.stat().st_size else None


def _with_log(file: Path, log: Path, scratch: Path) -> Path:
    """A copy into which SQLite has taken the log over. The bag itself is left as it is."""
    copy = scratch / file.name
    shutil.copyfile(file, copy)
    shutil.copyfile(log, copy.with_name(log.name))
    with closing(sqlite3.connect(copy)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return copy


def _sqlite_cut_off(file: Path) -> str | None:
    """SQLite itself notices missing pages only when it needs one (file format, section 1.3)."""
    if file.suffix != ".db3" or sqlite_log(file):
        return None
    with file.open("rb") as stream:
        head = stream.read(100)
    page_size = int.from_bytes(head[16:18], "big")
    pages = int.from_bytes(head[28:32], "big")
    written = (65536 if page_size == 1 else page_size) * pages
    size = file.stat().st_size
    if head[24:28] != head[92:96] or size >= written:  # the page count is not kept up to date
        return None
    return f"{file.name}: only {size} of {written} bytes are there"


def _natural(path: str | Path) -> list[tuple[int, int | str]]:
    """Sort key with which bag_10 comes after bag_9."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


# `rosbags` itself has no bound on what it unpacks.
rosbag1_decompressors.update(lz4=unpack_lz4, bz2=unpack_bz2)


@functools.lru_cache(maxsize=256)
def _store(kind: Stores, msgtype: str) -> Any:
    """The types that messages are read as.

    Only known ones: `rosbags` makes Python code of the definitions that a bag brings, and of a
    length in one as many lines as it says.

    :raises DecodeError: the type is unknown.
    """
    store = get_typestore(kind)
    if kind != Stores.ROS1_NOETIC:
        store.register(get_types_from_msg(_CONTROLLER_STATE, CONTROLLER_STATE_TYPE))
    if msgtype not in store.fielddefs:
        raise DecodeError(
            f"{msgtype} is not a type that sarnn_ros reads",
            remedy="publish the values as a type that docs/reference/spec.md names",
        )
    return store


def _deserialise(msgtype: str, raw: bytes | memoryview) -> Any:
    store = _store(Stores.ROS2_JAZZY, msgtype)
    about = store.get_msgdef(msgtype)
    # Not store.deserialize_cdr: that refuses what follows after the message. Some recorders leave
    # stray bytes there, and of a controller's state only the beginning is known.
    view = memoryview(raw)
    head = bytes(view[:2])
    if len(view) < 4 or head not in (b"\x00\x00", b"\x00\x01"):
        raise ValueError(f"not CDR (begins with {bytes(view[:4]).hex()})")
    read = about.deserialize_cdr_le if head[1] else about.deserialize_cdr_be
    return read(view[4:], 0, about.cls, store)[0]
