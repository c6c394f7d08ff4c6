# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A recording session: what may be recorded now, and its episodes on disk. No rclpy."""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rosbags.interfaces import Qos

from sarnn_ros.data.record import EpisodeWriter, append_index, next_name
from sarnn_ros.errors import ConfigError, DecodeError
from sarnn_ros.spec import NANOSECONDS, Spec
from sarnn_ros.streams.ingest import Ingest

#: Rates are measured over this long.
WINDOW_SECONDS = 2.0
#: A topic may be this much slower than the ticks and still count as fast enough.
RATE_TOLERANCE = 0.9


@dataclass
class Channel:
    """One topic to be recorded.

    :param required: nothing is recorded without it.
    :param checks: raise DecodeError for a message that training would not use; none for topics
        that are recorded without being observed.
    :param rate: the least, Hz; checked if there are `checks`.
    :ivar last: the newest message, serialized.
    """

    topic: str
    type: str
    required: bool = True
    checks: Sequence[Callable[[Any, int], object]] = ()
    rate: float = 0.0
    arrivals: deque[int] = field(default_factory=lambda: deque(maxlen=2000))
    last: bytes = b""

    def arrived(self, steady_ns: int, raw: bytes) -> None:
        self.arrivals.append(steady_ns)
        self.last = raw

    def problems(
        self,
        name: str,
        publishers: Sequence[tuple[str, str]],
        message: Any,
        now_ns: int,
        steady_ns: int,
    ) -> Iterator[str]:
        """Why it cannot be recorded now.

        :param name: the topic's full name.
        :param publishers: node and message type of each.
        :param message: the newest one; None if none has come.
        """
        if not self.required:
            return
        if not publishers:
            yield f"nobody publishes '{name}'"
            return
        kinds = {kind for _, kind in publishers}
        if kinds != {self.type}:
            yield f"'{name}' is a {', '.join(sorted(kinds))}, the spec says {self.type}"
            return
        if len(publishers) > 1:
            names = ", ".join(sorted(node for node, _ in publishers))
            yield f"'{name}' has {len(publishers)} publishers: {names}"
        since = steady_ns - round(WINDOW_SECONDS * NANOSECONDS)
        recent = [time for time in self.arrivals if time >= since]
        span_ns = recent[-1] - recent[0] if recent else 0
        rate = (len(recent) - 1) * NANOSECONDS / span_ns if span_ns > 0 else 0.0
        if not recent:
            yield f"'{name}' has sent nothing for {WINDOW_SECONDS:g} s"
        elif self.checks and rate < RATE_TOLERANCE * self.rate:
            yield f"'{name}' comes at {rate:.1f} Hz, ticks are at {self.rate:g} Hz"
        if message is not None:
            try:
                for check in self.checks:
                    check(message, now_ns)
            except DecodeError as error:
                yield f"'{name}' is unusable: {error.problem}"


def channels(spec: Spec) -> Iterator[Channel]:
    """What a spec has recorded: all that it observes, and the commands if there are any."""
    found = {
        topic: Channel(
            topic, streams[0].type, checks=[one.admit for one in streams], rate=spec.rate
        )
        for topic, streams in Ingest(spec).routes.items()
    }
    # Commands come when they come: no rate, and none at all unless they are the target.
    command = spec.command
    found.setdefault(command.topic, Channel(command.topic, command.type, spec.target == "command"))
    yield from found.values()


class Session:
    """The episodes of one folder. Any thread may call it.

    :param min_free: gigabytes that stay free.
    :raises ConfigError: the folder cannot be made.
    """

    def __init__(self, out: Path, min_free: float) -> None:
        self.out = out
        self._min_free = min_free
        self._writer: EpisodeWriter | None = None
        self._last_kept: str | None = None
        self._lock = threading.RLock()
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot be made: {error}", where=out, remedy="choose another folder"
            ) from error

    @property
    def recording(self) -> bool:
        return self._writer is not None

    def problems(self) -> list[str]:
        """What is wrong with the disk."""
        try:
            free = shutil.disk_usage(self.out).free / 1e9
        except OSError as error:
            return [f"{self.out} cannot be written to: {error}"]
        if free < self._min_free:
            return [f"only {free:.1f} GB are free in {self.out}, {self._min_free:g} needed"]
        return []

    def start(
        self,
        topics: Mapping[str, tuple[str, Sequence[Qos]]],
        preflight: Callable[[], Sequence[str]],
    ) -> str:
        """:param topics: type and the publishers' QoS by topic.
        :param preflight: says what stands in the way.
        :raises ConfigError: an episode is running, or something stands in the way.
        """
        with self._lock:
            if self._writer is not None:
                raise ConfigError(f"{self._writer.path.name} is being recorded already")
            if problems := preflight():
                raise ConfigError("not recording: " + "; ".join(problems))
            name = next_name(self.out)
            self._writer = EpisodeWriter(self.out / name, topics)
            return f"recording {name}"

    def write(self, topic: str, receive_ns: int, raw: bytes) -> None:
        """Keep a message, if an episode with this topic is running.

        :raises OSError: it cannot be written.
        """
        with self._lock:
            if self._writer is not None and topic in self._writer.counts:
                self._writer.write(topic, receive_ns, raw)

    def stop(self) -> str:
        """:raises ConfigError: nothing is being recorded."""
        with self._lock:
            writer = self._take_writer()
            writer.close()
            seconds = ((writer.last_ns or 0) - (writer.first_ns or 0)) / NANOSECONDS
            entry = {"name": writer.path.name, "seconds": seconds, "messages": writer.counts}
            append_index(self.out, entry)
            self._last_kept = writer.path.name
            return f"kept {writer.path.name}: {seconds:.1f} s"

    def discard(self) -> str:
        """The running episode, or else the last one that was kept, is deleted.

        :raises ConfigError: there is none.
        """
        with self._lock:
            if self._writer is not None:
                writer = self._take_writer()
                name = writer.path.name
                writer.discard()
            elif self._last_kept is not None:
                name, self._last_kept = self._last_kept, None
                shutil.rmtree(self.out / name, ignore_errors=True)
            else:
                raise ConfigError("there is no episode to discard")
            append_index(self.out, {"name": name, "discarded": True})
            return f"discarded {name}"

    def _take_writer(self) -> EpisodeWriter:
        writer, self._writer = self._writer, None
        if writer is None:
            raise ConfigError("nothing is being recorded")
        return writer
