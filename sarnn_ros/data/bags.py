# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Finding bags, and reading raw messages from any storage format, damaged or not.

rosbag2 in mcap and sqlite3, split, compressed, with or without metadata.yaml, and ROS 1 bags, all
through `rosbags`, without ROS. Each storage file is read by itself; metadata.yaml only tells which
files and messages there should be. An mcap that `rosbags` refuses, because a recording was cut off
or its bytes are damaged, is read record by record with `mcap` as far as it goes, and `Bag.damage`
says what was lost. What messages mean, and which are used, is not known here.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, NamedTuple, Protocol

import zstandard
from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.rosbag1 import Reader as Rosbag1Reader
from rosbags.rosbag1 import reader as rosbags_rosbag1
from rosbags.rosbag2 import Reader as Rosbag2Reader
from rosbags.rosbag2 import reader as rosbags_reader
from rosbags.rosbag2 import storage_mcap as rosbags_mcap
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
SPLIT_PAUSE = 1.0

#: The label of a recording in the custom data of its metadata.yaml.
LABEL = "sarnn.label"

_STORAGE = (".mcap", ".db3")
_SUFFIXES = (*_STORAGE, ".bag", ".mcap.zstd", ".db3.zstd")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
#: Up to Humble the point was called `desired`. More follows, different in each distribution.
_CONTROLLER_STATE = (
    "std_msgs/Header header\nstring[] joint_names\ntrajectory_msgs/JointTrajectoryPoint reference"
)
_ALREADY_OPEN = "a Bag is opened once, by 'with'"


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
    """One topic of a bag. `count`: of messages, as the bag's index or metadata.yaml says."""

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
    found: dict[Path, None] = {}
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    for one in given:
        matches = sorted(glob.glob(str(one), recursive=True), key=_natural) or [str(one)]
        for path in map(Path, matches):
            bags = _bags_at(path, other)
            if not bags:
                problem = "no bag in this folder" if path.is_dir() else "not a bag"
                raise BagError(
                    problem if path.exists() else "does not exist",
                    where=path,
                    remedy=f"give a rosbag2 folder, a file ({', '.join(_SUFFIXES)}), or a folder "
                    "that holds some",
                )
            found.update((bag, None) for bag in bags)
    if not found:
        raise BagError("no bag was given", remedy="give at least one bag or folder of bags")
    return list(found)


def bag_files(path: Path) -> list[Path]:
    """The storage files of a bag, in order."""
    if path.is_file():
        return [path]
    return sorted((file for file in path.iterdir() if _is_bag_file(file)), key=_natural)


class Bag:
    """One bag, open for reading; a context manager.

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
        self._storages: list[_Storage] = []

    def __enter__(self) -> Bag:
        assert not self._storages, _ALREADY_OPEN
        if not self.path.exists():
            raise BagError("does not exist", where=self.path)
        try:
            self._files = self._list_files()
            self._storages = self._open()
            self._list_topics()
            if not self.topics:  # an mcap whose summary does not repeat the channels
                self.recover()
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

        :raises DamagedError: the rest cannot be read; `recover` and begin again.
        """
        for storage in self._storages:
            try:
                yield from storage.messages(topics)
            except Exception as error:  # rosbags raises anything on corruption
                raise self._damaged(error, DamagedError) from error

    def recover(self) -> bool:
        """Switch to reading record by record, skipping what is damaged.

        :return: whether anything can be read so; then `messages` may be called again.
        """
        files = [file for file in self._files if file.suffix == ".mcap"]
        if not files or any(isinstance(storage, _ScannedMcap) for storage in self._storages):
            return False
        self._storages = [_ScannedMcap(file, self.damage) for file in files]
        self._list_topics()
        return bool(self.topics)

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

    def _open(self) -> list[_Storage]:
        try:
            if self.path.suffix == ".bag":
                return [_Rosbags(self._stack.enter_context(Rosbag1Reader(self.path)))]
            return [self._open_rosbag2(file) for file in self._files]
        except Exception as error:
            with suppress(BagError):
                if self.recover():
                    return self._storages
            raise self._damaged(error, BagError) from error

    def _open_rosbag2(self, path: Path) -> _Storage:
        if path.suffix == ".zstd":
            plain = self._scratch() / path.stem
            with path.open("rb") as source, plain.open("wb") as target:
                shutil.copyfileobj(_BoundedZstd.open(source, "rb"), target)
            path = plain
        log = sqlite_log(path)
        if log is not None:
            path = _with_log(path, log, self._scratch())
        reader = self._stack.enter_context(Rosbag2Reader(path))
        return _Sqlite(reader) if path.suffix == ".db3" else _Mcap(reader)

    def _scratch(self) -> Path:
        return Path(self._stack.enter_context(TemporaryDirectory(prefix="sarnn_ros-")))

    def _list_topics(self) -> None:
        self.topics = {}
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

    def _damaged(self, error: Exception, kind: type[BagError]) -> BagError:
        files = self._files
        if not files:
            return kind("a folder without storage files", where=self.path)
        if not any(file.stat().st_size for file in files):
            return kind("the bag is empty (0 bytes)", where=self.path, remedy="record it again")
        if isinstance(error, BagError):
            return kind(error.problem, where=self.path, remedy=error.remedy)
        tools = {".db3": "sqlite3 FILE .recover", ".bag": "rosbag reindex"}
        tool = tools.get(files[0].suffix)
        return kind(
            f"cannot be read: {str(error) or type(error).__name__}",
            where=self.path,
            remedy="copy or record it again" + (f", or try '{tool}'" if tool else ""),
        )


def label_of(path: Path) -> str | None:
    """How a person labelled the bag when it was recorded: success, failure, or not at all."""
    try:
        values = read_yaml(path / "metadata.yaml", BagError, "", MAX_METADATA_BYTES).values
        label = values["rosbag2_bagfile_information"]["custom_data"][LABEL]
    except (BagError, LookupError, TypeError):
        return None
    return str(label)


class DamagedError(BagError):
    """A bag opened well, but not everything in it can be read."""


def absolute(topic: str) -> str:
    """A spec's topic as a bag names it: relative names were recorded in the root namespace."""
    return topic if topic.startswith("/") else f"/{topic}"


class _Storage(Protocol):
    def topics(self) -> Iterator[Topic]: ...

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]: ...


@dataclass
class _Rosbags:
    """What `rosbags` reads: a ROS 1 bag, or one storage file of rosbag2."""

    reader: Any

    def topics(self) -> Iterator[Topic]:
        for connection in self.reader.connections:
            form = getattr(connection.ext, "serialization_format", "ros1")
            if form not in ("cdr", "ros1"):
                continue  # json, protobuf: not ROS messages; the topic then counts as absent
            yield Topic(connection.topic, connection.msgtype, connection.msgcount)

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        connections = [one for one in self.reader.connections if one.topic in topics]
        if connections:  # none would mean all
            for connection, receive_ns, raw in self._read(connections):
                yield RawMessage(connection.topic, receive_ns, raw)

    def _read(self, connections: list[Any]) -> Iterable[tuple[Any, int, bytes]]:
        messages: Iterable[tuple[Any, int, bytes]] = self.reader.messages(connections)
        return messages


class _Mcap(_Rosbags):
    """`rosbags` sorts messages by their time of receipt; here they come as written."""

    def _read(self, connections: list[Any]) -> Iterable[tuple[Any, int, bytes]]:
        messages: Iterable[tuple[Any, int, bytes]] = self.reader.storage.messages_scan(connections)
        return messages


class _Sqlite(_Rosbags):
    """Likewise."""

    def _read(self, connections: list[Any]) -> Iterator[tuple[Any, int, bytes]]:
        by_id = {one.id: one for one in connections}
        marks = ",".join("?" * len(by_id))
        rows = self.reader.storage.dbconn.cursor().execute(
            f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks}) "
            "ORDER BY rowid",
            tuple(by_id),
        )
        for topic_id, receive_ns, raw in rows:
            yield by_id[topic_id], receive_ns, raw


@dataclass
class _ScannedMcap:
    """An mcap without a usable index: record by record, leaving out damaged chunks.

    :param damage: what is lost is appended here, at the first scan.
    """

    path: Path
    damage: list[str]
    _scanned: bool = field(default=False, init=False)

    def topics(self) -> Iterator[Topic]:
        found: dict[int, Topic] = {}
        schemas: dict[int, Schema] = {}
        counts: dict[int, int] = {}
        for record in self._records():
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                schema = schemas.get(record.schema_id)
                if schema is None or record.message_encoding != "cdr":
                    continue
                found[record.id] = Topic(record.topic, schema.name, 0)
            elif isinstance(record, Message):
                counts[record.channel_id] = counts.get(record.channel_id, 0) + 1
        for channel, topic in found.items():
            yield Topic(topic.name, topic.type, counts.get(channel, 0))

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        channels: dict[int, str] = {}
        for record in self._records():
            if isinstance(record, Channel):
                channels[record.id] = record.topic
            elif isinstance(record, Message) and channels.get(record.channel_id) in topics:
                yield RawMessage(channels[record.channel_id], record.log_time, record.data)

    def _records(self) -> Iterator[Any]:
        first, self._scanned = not self._scanned, True
        with self.path.open("rb") as file:
            reader = StreamReader(file, emit_chunks=True, record_size_limit=MAX_RECORD_BYTES)
            records = iter(reader.records)
            last_ns = 0
            while True:
                try:
                    record = next(records)
                except StopIteration:
                    return
                except Exception as error:  # struct, Unicode, mcap's own: nothing more to read
                    if first:
                        size = self.path.stat().st_size
                        read = min(file.tell(), size)
                        self.damage.append(
                            f"{self.path.name}: cut off or damaged at byte {read} of {size}: "
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
                    inner = self._unpack(record)
                except Exception as error:
                    if first:
                        span = (record.message_end_time - record.message_start_time) * 1e-9
                        self.damage.append(
                            f"{self.path.name}: a damaged chunk of {span:.2f} s from "
                            f"{record.message_start_time} ns is left out: {error}"
                        )
                    continue
                last_ns = record.message_end_time
                yield from inner

    @staticmethod
    def _unpack(chunk: Chunk) -> list[Any]:
        check_in_memory("a chunk", chunk.uncompressed_size)
        unpack = _UNPACK.get(chunk.compression)
        if unpack is not None:
            chunk = dataclasses.replace(chunk, compression="", data=unpack(chunk.data))
        return breakup_chunk(chunk, validate_crc=True)


def _bags_at(path: Path, other: Callable[[Path], bool]) -> list[Path]:
    if path.is_file():
        return [path] if _is_bag_file(path) or other(path) else []
    if not path.is_dir() or path.name.startswith("."):
        return []
    if (path / "metadata.yaml").exists() or _is_split_bag(path) or other(path):
        return [path]
    children = sorted(path.iterdir(), key=_natural)
    return [bag for child in children for bag in _bags_at(child, other)]


def _is_bag_file(path: Path) -> bool:
    return path.name.endswith(_SUFFIXES) and not path.name.startswith(".")


def _is_split_bag(folder: Path) -> bool:
    """A recording without metadata.yaml: NAME/NAME_0.mcap and so on. If the folder was renamed,
    the files have to follow each other in time, too, as single recordings do not."""
    files = sorted((file for file in folder.iterdir() if _is_bag_file(file)), key=_natural)
    parts = [re.fullmatch(r"(.+?)(?:_(\d+))?\.(mcap|db3)(\.zstd)?", file.name) for file in files]
    names = {part[1] if part else "" for part in parts}
    if not files or None in parts or len(names) > 1:
        return False
    if names == {folder.name}:
        return True
    numbers = [int(part[2] or -1) for part in parts if part]
    return len(files) > 1 and numbers == list(range(len(files))) and _follow_each_other(files)


def _follow_each_other(files: list[Path]) -> bool:
    spans = []
    for file in files:
        try:
            with Rosbag2Reader(file) as reader:
                spans.append((reader.start_time, reader.end_time))
        except Exception:  # rosbags raises anything on corruption
            return False
    pauses = [(after[0] - before[1]) / NANOSECONDS for before, after in pairwise(spans)]
    return all(-SPLIT_PAUSE < pause < SPLIT_PAUSE for pause in pauses)


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


class _BoundedZstd:
    """What `rosbags` needs of a zstd module, with a bound on what comes out."""

    decompress = staticmethod(unpack_zstd)

    @staticmethod
    def open(source: BinaryIO, mode: str) -> _BoundedReader:
        size = os.fstat(source.fileno()).st_size
        return _BoundedReader(source, most_unpacked(size))


class _BoundedReader:
    def __init__(self, source: BinaryIO, left: int) -> None:
        self._stream = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
        self._left = self._most = left

    def read(self, size: int = -1, /) -> bytes:
        piece = self._stream.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise ValueError(f"unpacks to more than {self._most} bytes")
        return piece

    def __enter__(self) -> _BoundedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()  # type: ignore[no-untyped-call]


_UNPACK = {"zstd": unpack_zstd, "lz4": unpack_lz4}

# `rosbags` itself has no bound on what it unpacks.
rosbags_mcap.DECOMPRESSORS["zstd"] = lambda raw, _: unpack_zstd(raw)
rosbags_mcap.DECOMPRESSORS["lz4"] = lambda raw, _: unpack_lz4(raw)
rosbags_rosbag1.decompressors.update(lz4=unpack_lz4, bz2=unpack_bz2)
rosbags_reader.zstd = _BoundedZstd  # type: ignore[attr-defined,assignment]


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


@functools.lru_cache(maxsize=256)
def _reader(msgtype: str) -> tuple[Any, Any]:
    store = _store(Stores.ROS2_JAZZY, msgtype)
    return store, store.get_msgdef(msgtype)


def _deserialise(msgtype: str, raw: bytes | memoryview) -> Any:
    store, about = _reader(msgtype)
    # Not store.deserialize_cdr: that refuses what follows after the message. Some recorders leave
    # stray bytes there, and of a controller's state only the beginning is known.
    view = memoryview(raw)
    head = bytes(view[:2])
    if len(view) < 4 or head not in (b"\x00\x00", b"\x00\x01"):
        raise ValueError(f"not CDR (begins with {bytes(view[:4]).hex()})")
    read = about.deserialize_cdr_le if head[1] else about.deserialize_cdr_be
    return read(view[4:], 0, about.cls, store)[0]
