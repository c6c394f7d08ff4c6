# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Finding bags, and reading raw messages from any storage format, damaged or not.

rosbag2 in mcap and sqlite3, split, compressed, with or without metadata.yaml, and ROS 1 bags, all
through `rosbags`, without ROS. An mcap that `rosbags` refuses, because a recording was cut off or
its bytes are damaged, is read record by record with `mcap` as far as it goes, and `Bag.damage`
says what was lost. What messages mean, and which are used, is not known here.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Protocol

import zstandard
from mcap.records import Channel, Chunk, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from rosbags.rosbag1 import Reader as Rosbag1Reader
from rosbags.rosbag2 import Reader as Rosbag2Reader
from rosbags.rosbag2 import reader as rosbags_reader
from rosbags.rosbag2 import storage_mcap as rosbags_mcap
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sarnn_ros.errors import BagError, DecodeError
from sarnn_ros.spec import CONTROLLER_STATE_TYPE

#: More than any message or chunk needs. A damaged or hostile length must not get more memory.
MAX_RECORD_BYTES = 1 << 28
#: A compressed file may not unpack to more than so many times its size, or MAX_RECORD_BYTES.
MAX_EXPANSION = 200

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
    """One topic of a bag."""

    name: str
    type: str
    count: int


def find_bags(
    paths: Iterable[str | Path], other: Callable[[Path], bool] = lambda _: False
) -> list[Path]:
    """The bags at or below the given paths, in natural order, each once.

    :param paths: bags (folders or files), folders of bags, glob patterns.
    :param other: tells folders of another layout that count as a bag.
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
        self._stack = ExitStack()
        self._storages: list[_Storage] = []

    def __enter__(self) -> Bag:
        assert not self._storages, _ALREADY_OPEN
        if not self.path.exists():
            raise BagError("does not exist", where=self.path)
        try:
            self._storages = self._open()
            self._list_topics()
            if not self.topics:  # an mcap whose summary does not repeat the channels
                self.recover()
            self.damage += [
                problem for file in bag_files(self.path) if (problem := _sqlite_cut_off(file))
            ]
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """The messages of some topics, in the order of storage: that of receipt, as a rule.

        The order is the same at every call.

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
        files = [file for file in bag_files(self.path) if file.suffix == ".mcap"]
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
                raw = _BoundedZstd.decompress(raw)
            if self.path.suffix == ".bag":
                return _store(Stores.ROS1_NOETIC, topic.type).deserialize_ros1(raw, topic.type)
            return _deserialise(topic.type, raw)
        except DecodeError:
            raise
        except Exception as error:
            raise DecodeError(
                f"{len(raw)} bytes are not a {topic.type}: {error}", where=topic.name
            ) from error

    def _open(self) -> list[_Storage]:
        try:
            if self.path.suffix == ".bag":
                return [_Rosbags(self._stack.enter_context(Rosbag1Reader(self.path)))]
            if self.path.is_file() or (self.path / "metadata.yaml").exists():
                return [self._open_rosbag2(self.path)]
            return [self._open_rosbag2(file) for file in bag_files(self.path)]
        except Exception as error:
            with suppress(BagError):
                if self.recover():
                    return self._storages
            raise self._damaged(error, BagError) from error

    def _open_rosbag2(self, path: Path) -> _Storage:
        if path.suffix == ".zstd":
            folder = self._stack.enter_context(TemporaryDirectory(prefix="sarnn_ros-"))
            plain = Path(folder) / path.stem
            with path.open("rb") as source, plain.open("wb") as target:
                shutil.copyfileobj(_BoundedZstd.open(source, "rb"), target)
            path = plain
        return _Rosbags(self._stack.enter_context(Rosbag2Reader(path)))

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

    def _damaged(self, error: Exception, kind: type[BagError]) -> BagError:
        files = bag_files(self.path)
        if not files:
            return kind("a folder without storage files", where=self.path)
        if not any(file.stat().st_size for file in files):
            return kind("the bag is empty (0 bytes)", where=self.path, remedy="record it again")
        tools = {".db3": "sqlite3 FILE .recover", ".bag": "rosbag reindex"}
        tool = tools.get(files[0].suffix)
        return kind(
            f"cannot be read: {str(error) or type(error).__name__}",
            where=self.path,
            remedy="copy or record it again" + (f", or try '{tool}'" if tool else ""),
        )


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
    """What `rosbags` reads: one rosbag2 folder or file, or a ROS 1 bag."""

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
            for connection, receive_ns, raw in self.reader.messages(connections):
                yield RawMessage(connection.topic, receive_ns, raw)


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
        if chunk.uncompressed_size > MAX_RECORD_BYTES:
            raise ValueError(f"it claims {chunk.uncompressed_size} bytes")
        if chunk.compression == "zstd":
            plain = _BoundedZstd.decompress(chunk.data)
            chunk = dataclasses.replace(chunk, compression="", data=plain)
        return breakup_chunk(chunk, validate_crc=True)


def _bags_at(path: Path, other: Callable[[Path], bool]) -> list[Path]:
    if path.is_file():
        return [path] if _is_bag_file(path) else []
    if not path.is_dir() or path.name.startswith("."):
        return []
    if (path / "metadata.yaml").exists() or _is_split_bag(path) or other(path):
        return [path]
    children = sorted(path.iterdir(), key=_natural)
    return [bag for child in children for bag in _bags_at(child, other)]


def _is_bag_file(path: Path) -> bool:
    return path.name.endswith(_SUFFIXES) and not path.name.startswith(".")


def _is_split_bag(folder: Path) -> bool:
    """A recording that ended before metadata.yaml was written: NAME/NAME_0.mcap and so on."""
    files = [file for file in folder.iterdir() if _is_bag_file(file)]
    pattern = re.compile(re.escape(folder.name) + r"(_\d+)?\.(mcap|db3)(\.zstd)?")
    return bool(files) and all(pattern.fullmatch(file.name) for file in files)


def _sqlite_cut_off(file: Path) -> str | None:
    """SQLite itself notices missing pages only when it needs one (file format, section 1.3)."""
    if file.suffix != ".db3":
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

    @staticmethod
    def decompress(raw: bytes | memoryview) -> bytes:
        data = bytes(raw)
        size = zstandard.frame_content_size(data)
        if 0 <= size <= MAX_RECORD_BYTES:
            return zstandard.decompress(data)
        reader = zstandard.ZstdDecompressor().stream_reader(data)
        unpacked = b"" if size > MAX_RECORD_BYTES else reader.read(MAX_RECORD_BYTES + 1)
        if not 0 < len(unpacked) <= MAX_RECORD_BYTES:
            raise ValueError(f"unpacks to more than {MAX_RECORD_BYTES} bytes")
        return unpacked

    @staticmethod
    def open(source: BinaryIO, mode: str) -> _BoundedReader:
        size = os.fstat(source.fileno()).st_size
        return _BoundedReader(source, max(MAX_RECORD_BYTES, MAX_EXPANSION * size))


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


# `rosbags` itself has no bound on what it unpacks.
rosbags_mcap.DECOMPRESSORS["zstd"] = lambda raw, _: _BoundedZstd.decompress(raw)
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
