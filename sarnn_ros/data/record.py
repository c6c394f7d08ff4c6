# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Writing episodes: one rosbag2 folder with one mcap each, and the index of a session. No rclpy.

Messages are stored as they came, never serialized again. What was recorded is on disk within
`FLUSH_SECONDS`: if the process dies, `bags` reads the episode up to there.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError

from sarnn_ros.data.bags import LABEL
from sarnn_ros.data.write_bag import BAG_VERSION, TYPES, add_checksums
from sarnn_ros.errors import ConfigError
from sarnn_ros.files import append_json, name_aside, read_json_lines, write_text
from sarnn_ros.spec import Spec

FLUSH_SECONDS = 1.0
INDEX = "episodes.jsonl"
#: Where discarded episodes go; readers of bags pass over it.
TRASH = ".trash"
Label = Literal["success", "failure"]


@dataclass
class EpisodeWriter:
    """One episode being recorded.

    :param path: the bag's folder, which must not exist.
    :param topics: topic to (type, QoS profiles offered by its publishers).
    :raises ConfigError: the folder cannot be made, or a type is unknown.
    """

    path: Path
    topics: Mapping[str, tuple[str, Sequence[Qos]]]
    counts: dict[str, int] = field(default_factory=dict, init=False)
    first_ns: int | None = field(default=None, init=False)
    last_ns: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        _check_types(kind for kind, _ in self.topics.values())
        try:
            self._writer = Writer(
                self.path, version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP
            )
            self._writer.open()
        except (OSError, WriterError) as error:
            raise ConfigError(
                f"cannot be written: {error}", where=self.path, remedy="choose another folder"
            ) from error
        self._connections: dict[str, Connection] = {}
        for topic, (kind, profiles) in self.topics.items():
            self.add(topic, kind, profiles)
        add_checksums(self._writer)
        self._flushed = time.monotonic()

    def add(self, topic: str, kind: str, profiles: Sequence[Qos]) -> None:
        """A topic that has no message so far; some appear while an episode is recorded.

        :raises ConfigError: the type is unknown.
        """
        _check_types([kind])
        self._connections[topic] = self._writer.add_connection(
            topic, kind, typestore=TYPES, offered_qos_profiles=list(profiles)
        )
        self.counts[topic] = 0

    def write(self, topic: str, receive_ns: int, raw: bytes) -> None:
        """:param raw: the serialized message (CDR)."""
        self._writer.write(self._connections[topic], receive_ns, raw)
        self.counts[topic] += 1
        self.first_ns = receive_ns if self.first_ns is None else self.first_ns
        self.last_ns = receive_ns
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Give what was written to the operating system, so that it outlives this process."""
        # rosbags ends a chunk at 1 MB; joints alone would stay in memory for minutes.
        storage: Any = self._writer.storage
        if any(storage.chunk.msgs.values()):
            storage.close_chunk()
        storage.bio.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Finish the bag, with index and metadata.yaml."""
        self._writer.close()


def _check_types(kinds: Iterable[str]) -> None:
    unknown = [kind for kind in kinds if kind not in TYPES.fielddefs]
    if unknown:
        raise ConfigError(
            f"types without a definition: {', '.join(unknown)}",
            remedy="record such topics with 'ros2 bag record'",
        )


def spec_digest(spec: Spec) -> str:
    """Tells one spec from another."""
    return hashlib.sha256(spec.model_dump_json().encode()).hexdigest()[:16]


def throw_away(bag: Path) -> None:
    """Into `TRASH` beside it, from where a person can bring it back.

    :raises OSError: it cannot be moved.
    """
    trash = bag.parent / TRASH
    trash.mkdir(exist_ok=True)
    target = trash / bag.name
    if target.exists():  # of an earlier session in this folder
        target.rename(name_aside(target))
    bag.rename(target)


def set_label(bag: Path, label: Label) -> None:
    """Keep the label in the bag's metadata.yaml.

    :raises ConfigError: the bag is cut off.
    :raises OSError: it cannot be written.
    """
    file = bag / "metadata.yaml"
    if not file.exists():
        raise ConfigError(f"{bag.name} is cut off, and cannot be labelled: discard it")
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    about = values["rosbag2_bagfile_information"]
    about["custom_data"] = {**(about.get("custom_data") or {}), LABEL: label}
    write_text(file, yaml.safe_dump(values, sort_keys=False))


def next_name(folder: Path) -> str:
    """episode_000, episode_001, …: the first after all that are there or were there."""
    used = [path.name for where in (folder, folder / TRASH) for path in where.glob("episode_*")]
    used += [entry["name"] for entry in read_index(folder)]
    numbers = [int(name[8:]) for name in used if name[8:].isdigit()]
    return f"episode_{max(numbers, default=-1) + 1:03d}"


def append_index(folder: Path, entry: Mapping[str, Any]) -> None:
    """Add one line to the session's index; on disk when this returns."""
    append_json(folder / INDEX, entry)


#: What the recorder's check says of a bag of which training would use nothing; see `read_back`.
WHOLLY_LEFT_OUT = "left out of training: "


def read_index(folder: Path) -> list[dict[str, Any]]:
    """The lines of the index; a line that was cut off by a crash is left out."""
    return [entry for entry in read_json_lines(folder / INDEX) if isinstance(entry, dict)]
