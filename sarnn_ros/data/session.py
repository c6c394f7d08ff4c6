# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A recording session: what may be recorded now, and its episodes on disk. No rclpy."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rosbags.interfaces import Qos

from sarnn_ros.data.bags import find_bags, label_of
from sarnn_ros.data.dataset import Episode
from sarnn_ros.data.places import PICTURE, First, best_map, first_of, write_picture
from sarnn_ros.data.reading import TAKEOVER, read_bag
from sarnn_ros.data.record import (
    TRASH,
    WHOLLY_LEFT_OUT,
    EpisodeWriter,
    Label,
    append_index,
    next_name,
    set_label,
    spec_digest,
    throw_away,
)
from sarnn_ros.errors import BagError, ConfigError, DecodeError, SpecError
from sarnn_ros.files import claimed, sync_folder
from sarnn_ros.spec import NANOSECONDS, Spec
from sarnn_ros.streams.decode import OtherJoints
from sarnn_ros.streams.ingest import Ingest, joint_admission
from sarnn_ros.streams.poses import NoTransform

#: Rates are measured over this long.
RATE_WINDOW_SECONDS = 2.0
#: A topic must come at this share of the ticks' rate.
MIN_RATE_SHARE = 0.9
#: Among so many messages of a shared topic there is one of every publisher.
KEPT_SHARED_MESSAGES = 100
#: While recording: a topic that is silent for longer, s, and three of its periods, has died.
MIN_SILENCE_SECONDS = 0.5
LOG = "recorder.log"
#: How long the answer to a person waits for the check of the episode, s; `Session.stop`. Messages
#: must come in another thread.
CHECK_SECONDS = 1.0
#: The end of a session waits so long at most for the map, s: `sarnn inspect` draws it, too.
MAP_SECONDS = 1.0
#: Niceness of the check: receiving messages goes before it.
CHECK_NICENESS = 10


@dataclass
class Channel:
    """One topic to be recorded.

    :param required: nothing is recorded without it.
    :param checks: raise DecodeError for a message that training would not use; none for topics
        that it does not read.
    :param rate: the least, Hz; 0 for topics that are not observed, which may be silent.
    :param shared: several nodes may publish it, each for frames or joints of its own, as /tf, or
        a topic of several sources.
    :ivar last: the newest message, serialized; of a shared topic `KEPT_SHARED_MESSAGES` of them.
    """

    topic: str
    type: str
    required: bool = True
    checks: Sequence[Callable[[Any, int], object]] = ()
    rate: float = 0.0
    shared: bool = False
    arrivals: deque[int] = field(default_factory=lambda: deque(maxlen=2000))
    last: deque[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.last = deque(maxlen=KEPT_SHARED_MESSAGES if self.shared else 1)

    def arrived(self, steady_ns: int, raw: bytes) -> None:
        self.arrivals.append(steady_ns)
        self.last.append(raw)

    def measured_rate(self, steady_ns: int) -> float:
        """Hz, over the last `RATE_WINDOW_SECONDS`."""
        since = steady_ns - round(RATE_WINDOW_SECONDS * NANOSECONDS)
        # A copy: meanwhile another thread adds to it.
        recent = [time for time in tuple(self.arrivals) if time >= since]
        span_ns = recent[-1] - recent[0] if recent else 0
        return (len(recent) - 1) * NANOSECONDS / span_ns if span_ns > 0 else 0.0

    def silence(self, steady_ns: int) -> float | None:
        """s since the last message, if that is too long for a topic that is observed."""
        if not self.rate or not self.arrivals:
            return None
        silence = (steady_ns - self.arrivals[-1]) / NANOSECONDS
        return silence if silence > max(MIN_SILENCE_SECONDS, 3.0 / self.rate) else None

    def problems(
        self,
        name: str,
        publishers: Sequence[tuple[str, str]],
        messages: Sequence[Any],
        now_ns: int,
        steady_ns: int,
    ) -> Iterator[str]:
        """Why it cannot be recorded now.

        :param name: the topic's full name.
        :param publishers: node and message type of each.
        :param messages: `last`, read; in the order they came.
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
        if len(publishers) > 1 and not self.shared:
            names = ", ".join(sorted(node for node, _ in publishers))
            yield f"'{name}' has {len(publishers)} publishers: {names}"
        if self.rate:  # others may rarely send, as commands and /tf_static
            rate = self.measured_rate(steady_ns)
            longest = max(RATE_WINDOW_SECONDS, 3.0 / self.rate)
            if not self.arrivals or steady_ns - self.arrivals[-1] > longest * NANOSECONDS:
                yield f"'{name}' has sent nothing for {longest:g} s"
            elif longest == RATE_WINDOW_SECONDS and rate < MIN_RATE_SHARE * self.rate:
                yield f"'{name}' comes at {rate:.1f} Hz, {self.rate:g} Hz are needed"
        yield from self.unusable(name, messages, now_ns)

    def unusable(self, name: str, messages: Sequence[Any], now_ns: int) -> Iterator[str]:
        """What training would not use, and why: see `problems`. The newest message decides; of a
        shared topic, the newest one that matters."""
        for check in self.checks:
            found: DecodeError | None = None
            decided = False
            for message in messages:  # all, in their order: checks of tf remember
                try:
                    check(message, now_ns)
                    found, decided = None, True
                except (NoTransform, OtherJoints) as error:
                    found = found if decided else error
                except DecodeError as error:
                    found, decided = error, True
            if found is not None:
                remedy = f" ({found.remedy})" if found.remedy else ""
                yield f"'{name}' is unusable: {found.problem}{remedy}"


def channels(spec: Spec) -> Iterator[Channel]:
    """What a spec has recorded: all that it observes, and the commands if there are any."""
    found = {
        topic: Channel(
            topic, streams[0].type, checks=[one.admit for one in streams],
            # Less than the ticks' where ages allow it: a gripper may publish when it moves.
            rate=max(min(spec.rate, 3 * NANOSECONDS / max(1, one.max_age_ns)) for one in streams),
            shared=topic in spec.shared_topics or len(streams) > 1,
        )
        for topic, streams in Ingest(spec).routes.items()
    }  # fmt: skip
    # Commands come when they come: no rate, and none at all unless they are the target.
    command = spec.command
    found.setdefault(
        command.topic,
        Channel(
            command.topic, command.type, spec.target == "command", checks=_command_checks(spec)
        ),
    )
    yield from found.values()


def _command_checks(spec: Spec) -> Sequence[Callable[[Any, int], object]]:
    try:
        return [joint_admission(spec.command_source, spec)]
    except SpecError:  # an array whose order the spec does not give: nobody learns from it
        return []


def read_back(bag: Path, spec: Spec) -> tuple[str | None, list[Episode]]:
    """Whether training would leave out a bag, or a part of it, and why, by the code that reads
    bags for it: "left out of training: …", "left out of training in part: …", or None; and the
    episodes that it would take.
    """
    episodes, report = read_bag(bag, spec)
    found = [problem for problem in report.problems if problem.severity == "error"]
    why = "; ".join(f"{one.found} ({one.remedy})" for one in found)
    said = "left out of training in part: " if episodes else WHOLLY_LEFT_OUT
    return f"{said}{why}" if why else None, episodes


def _bool(value: bool) -> bytes:
    """A std_msgs/Bool in CDR: little endian, one byte."""
    return bytes((0, 1, 0, 0, value))


class Session:
    """The episodes of one folder. Any thread may call it.

    :param min_free: gigabytes that stay free.
    :param spec: what training would use, with topics as they are recorded. Each episode that is
        kept is checked against it, in a thread.
    :raises ConfigError: the folder cannot be made, or another session holds it until its `close`.
    """

    def __init__(self, out: Path, min_free: float, spec: Spec) -> None:
        self.out = out
        self.spec = spec
        self._checks: dict[str, threading.Thread] = {}
        self._left_out: dict[str, str] = {}
        self._unusable: set[str] = set()
        self._news: list[str] = []
        self._min_free = min_free
        self._writer: EpisodeWriter | None = None
        self._last_kept: str | None = None
        self._began = 0.0
        self._taken_over = False
        self._silent: set[str] = set()
        #: Of each bag of the folder, the first image of its episodes, per camera.
        self._first: dict[Path, list[dict[str, First | None]]] = {}
        self._mapping = threading.Lock()
        self._map: threading.Thread | None = None
        #: Where to put the object in the next episode; empty: nothing is known.
        self.advice = ""
        #: Label of each episode kept in this session.
        self._labels: dict[str, Label | None] = {}
        #: Per topic that went silent in the running or last episode: the longest silence, s.
        self.gaps: dict[str, float] = {}
        self._lock = threading.RLock()
        self._held = ExitStack()
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(claimed(out))
        except OSError as error:
            raise ConfigError(
                f"cannot be made: {error}", where=out, remedy="choose another folder"
            ) from error

    def close(self) -> None:
        """Others may record into the folder."""
        self._held.close()

    @property
    def unlabelled(self) -> bool:
        """Whether a label is awaited for the episode kept last."""
        return self._last_kept is not None and self._labels.get(self._last_kept) is None

    @property
    def recording(self) -> bool:
        return self._writer is not None

    @property
    def kept(self) -> int:
        """Episodes kept in this session that training would not leave out, as far as is known."""
        return sum(
            label != "failure" and name not in self._left_out
            for name, label in self._labels.items()
        )

    @property
    def checking(self) -> bool:
        """Whether an episode that was kept is still being checked."""
        return any(thread.is_alive() for thread in list(self._checks.values()))

    @property
    def mapping(self) -> bool:
        """Whether the map of places is being drawn."""
        return self._map is not None and self._map.is_alive()

    @property
    def left_out(self) -> dict[str, str]:
        """Episodes kept in this session that training would leave out, all or in part, and why."""
        with self._lock:
            return dict(self._left_out)

    @property
    def kept_last(self) -> str:
        """The episode that a label is for, and `discard` while none runs; empty: there is none."""
        return self._last_kept or ""

    @property
    def verdict(self) -> str:
        """What the check found wrong with the episode kept last; empty if nothing, or not yet."""
        with self._lock:
            why = self._left_out.get(self._last_kept or "")
            return f"{self._last_kept} is {why}" if why else ""

    def news(self) -> list[str]:
        """What checks have found since the last call."""
        with self._lock:
            news, self._news = self._news, []
            return news

    def finish_checks(self, seconds: float) -> None:
        """Wait for them, at most so long."""
        until = time.monotonic() + seconds
        for name, thread in list(self._checks.items()):
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                with self._lock:
                    self._news.append(self.log(f"{name} was not checked: 'sarnn inspect' does it"))
        if self._map is not None:
            self._map.join(MAP_SECONDS)

    @property
    def episode(self) -> str:
        """The name of the running one; empty if there is none."""
        return self._writer.path.name if self._writer else ""

    @property
    def seconds(self) -> float:
        """Of the running episode, by the steady clock."""
        return time.monotonic() - self._began if self._writer else 0.0

    def log(self, text: str) -> str:
        """Note with the time of day in the session's log; returns the text."""
        with suppress(OSError), (self.out / LOG).open("a", encoding="utf-8") as stream:
            stream.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {text}\n")
        return text

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
        """Begin an episode.

        :param topics: type and the publishers' QoS by topic.
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
            self._began, self._last_kept, self._taken_over = time.monotonic(), None, False
            self.gaps.clear()
            self._unusable.clear()
            self._silent.clear()
            return self.log(f"recording {name}")

    def add(self, topic: str, kind: str, profiles: Sequence[Qos]) -> None:
        """Record this topic, too, if an episode is running: a node that runs the policy may have
        been started since it began, and says from then on who leads."""
        with self._lock:
            if self._writer is not None and topic not in self._writer.counts:
                self._writer.add(topic, kind, profiles)

    def write(self, topic: str, receive_ns: int, raw: bytes) -> None:
        """Keep a message, if an episode with this topic is running.

        :raises OSError: it cannot be written.
        """
        with self._lock:
            if self._writer is not None and topic in self._writer.counts:
                self._writer.write(topic, receive_ns, raw)

    def stop(self, wait: float = 0.0) -> str:
        """End the running episode and keep it.

        :param wait: s, at most, until the check says whether training would leave the episode
            out, so that the answer has it; else `news` will. A thread that receives messages
            must not wait.
        :raises ConfigError: nothing is being recorded.
        """
        with self._lock:
            name, said = self._keep()
        return said + self._checked(name, wait)

    def _keep(self) -> tuple[str, str]:
        """Under the lock: name of the episode, and what is to be said of it before its check."""
        writer, self._writer = self._writer, None
        if writer is None:
            raise ConfigError("nothing is being recorded")
        name = writer.path.name
        self._last_kept, self._labels[name] = name, None  # also where the disk is full
        seconds = ((writer.last_ns or 0) - (writer.first_ns or 0)) / NANOSECONDS
        entry = {"name": name, "seconds": seconds, "messages": writer.counts}
        check = threading.Thread(target=self._check, args=(name,), name="check", daemon=True)
        self._checks[name] = check
        try:
            writer.close()
        finally:
            check.start()  # also where the disk is full: it may count in part
            append_index(self.out, entry | ({"gaps": self.gaps} if self.gaps else {}))
        said = "".join(f"; '{topic}' was silent {gap} s" for topic, gap in self.gaps.items())
        said += "".join(
            f"; '{topic}' sent nothing"
            for topic, count in writer.counts.items()
            if not count and not topic.endswith(f"/{TAKEOVER}")
        )
        return name, self.log(f"kept {name}: {seconds:.1f} s{said}")

    def _checked(self, name: str, wait: float) -> str:
        """What is to be said of the episode's check. Not under the lock, which the check needs."""
        check = self._checks[name]
        check.join(wait)
        if check.is_alive():
            return "; whether training can use it is being checked"
        why = self.left_out.get(name)
        return f"; but it is {why}" if why else ""

    def _check(self, name: str) -> None:
        with suppress(OSError):  # of this thread, and of those that it starts
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), CHECK_NICENESS)
        with suppress(OSError):
            sync_folder(self.out / name)  # not while a message waits to be written
        why, episodes = read_back(self.out / name, self.spec)
        if not episodes:  # of a run of a policy the map shows whether it failed
            episodes, _ = read_bag(self.out / name, self.spec, runs=True)
        self._first[self.out / name] = self._first_images(episodes)
        with self._lock:
            if why is not None and name in self._labels:  # else it was discarded meanwhile
                self._left_out[name] = why
                with suppress(OSError):
                    append_index(
                        self.out, {"name": name, "left_out": why, "spec": spec_digest(self.spec)}
                    )
                self._news.append(self.log(f"{name} is {why}"))
        self._draw_map()

    def _draw_map(self) -> None:
        drawing = threading.Thread(target=self._map_places, name="map", daemon=True)
        drawing.start()
        self._map = drawing  # one that is started: others may wait for it

    def _first_images(self, episodes: Sequence[Episode]) -> list[dict[str, First | None]]:
        return [
            {
                camera.name: first_of(episode, camera.name, self.spec.place_indices)
                for camera in self.spec.cameras
            }
            for episode in episodes
        ]

    def _map_places(self) -> None:
        """Of all episodes of the folder, those of earlier sessions too: a picture, and what to do
        next. In a thread of its own: the first time it may take long."""
        cameras = [camera.name for camera in self.spec.cameras]
        with self._mapping, suppress(BagError, OSError):
            firsts: dict[str, list[First | None]] = {name: [] for name in cameras}
            try:
                bags = find_bags([self.out])
            except BagError:
                bags = []  # all were discarded
            writer = self._writer
            for bag in bags:
                if writer is not None and writer.path in (bag, bag.parent):  # it runs
                    continue
                if bag not in self._first:
                    self._first[bag] = self._first_images(read_bag(bag, self.spec, runs=True)[0])
                failed = label_of(bag) == "failure"
                for seen in self._first[bag]:
                    for name, first in seen.items():
                        firsts[name].append(first and first.labelled(failed))
            found = best_map(firsts)
            if found is None:
                self.advice = ""
                (self.out / PICTURE).unlink(missing_ok=True)
            else:
                write_picture(found.picture, self.out / PICTURE)
                self.advice = f"{found.text} See {self.out / PICTURE}."

    def discard(self, bag: str | None = None, back_to: str = "") -> str:
        """The running episode, or else the one just kept, goes into the trash. A second call does
        not reach the one before.

        :param bag: that one instead.
        :param back_to: the episode that labels are for from now on; of a recording that nobody
            wanted, the one before it.
        :raises ConfigError: there is none.
        :raises OSError: it cannot be moved.
        """
        with self._lock:
            writer = None
            if bag is None:
                writer, self._writer = self._writer, None
            name = writer.path.name if writer else bag or self._last_kept
            if name is None:
                raise ConfigError("there is no episode to discard")
            if writer is not None:
                self._last_kept = name
                with suppress(OSError):  # the disk may be full
                    writer.close()
            throw_away(self.out / name)
            if bag in (None, self._last_kept):
                self._last_kept = back_to or None
            self._labels.pop(name, None)
            self._left_out.pop(name, None)
            with suppress(OSError):  # it is done
                append_index(self.out, {"name": name, "discarded": True})
            self._draw_map()
            return self.log(f"discarded {name}: it is in {self.out / TRASH}")

    def label(self, label: Label, wait: float = 0.0, bag: str | None = None) -> str:
        """End the running episode, if there is one, and label it; or else the one just kept.

        :param wait: as of `stop`, if it ends one.
        :param bag: that one instead.
        :raises ConfigError: there is none.
        :raises OSError: it cannot be written.
        """
        with self._lock:
            kept = self._keep()[1] if bag is None and self._writer is not None else ""
            name = bag or self._last_kept
            if name is None:
                raise ConfigError("there is no episode to label")
            set_label(self.out / name, label)
            self._labels[name] = label
            with suppress(OSError):  # it is done
                append_index(self.out, {"name": name, "label": label})
            self._draw_map()
            why = self._left_out.get(name)
            but = f", but {why.partition(':')[0]}" if why else ""
            said = self.log(f"{name} is a {label}{but}")
        return f"{kept}{self._checked(name, wait)}; {said}" if kept else said

    def take_over(self, topic: str, receive_ns: int) -> str:
        """Mark in the bag that a person leads the arm from now on, or no longer.

        :raises ConfigError: nothing is being recorded.
        :raises OSError: it cannot be written.
        """
        with self._lock:
            if self._writer is None:
                raise ConfigError("nothing is being recorded")
            self._taken_over = not self._taken_over
            self._writer.write(topic, receive_ns, _bool(self._taken_over))
            who = "a person leads" if self._taken_over else "the policy leads again"
            return self.log(f"{self.episode}: {who}")

    def note_policy(self, topic: str, receive_ns: int) -> None:
        """Mark in the bag that the policy led, if no message of it says who did: a run may end
        before its node was heard, and would be taken for a demonstration.

        :raises OSError: it cannot be written.
        """
        with self._lock:
            writer = self._writer
            if writer is not None and not any(
                count for name, count in writer.counts.items() if name.endswith(f"/{TAKEOVER}")
            ):
                writer.write(topic, receive_ns, _bool(False))

    def hand_back(self, topic: str, receive_ns: int) -> list[str]:
        """`take_over`, if that has said in the running episode that a person leads; what to tell.

        :raises OSError: it cannot be written.
        """
        with self._lock:
            if self._writer is None or not self._taken_over:
                return []
            return [self.take_over(topic, receive_ns)]

    def silent(self, silences: Mapping[str, float]) -> list[str]:
        """What is new about topics that went silent while recording, in words.

        :param silences: per topic, s since its last message, if that is too long.
        """
        with self._lock:
            if self._writer is None:
                return []
            news = [
                self.log(f"{self.episode}: '{topic}' has sent nothing for {seconds:.1f} s")
                for topic, seconds in silences.items()
                if topic not in self._silent
            ]
            news += [
                self.log(f"{self.episode}: '{topic}' comes again")
                for topic in self._silent - silences.keys()
            ]
            self._silent = set(silences)
            for topic, seconds in silences.items():
                self.gaps[topic] = max(round(seconds, 2), self.gaps.get(topic, 0.0))
            return news

    def unusable(self, problems: Sequence[str]) -> list[str]:
        """What is new about messages that are being recorded and that training cannot use."""
        with self._lock:
            if self._writer is None:
                return []
            news = [one for one in problems if one not in self._unusable]
            self._unusable.update(news)
            return [self.log(f"{self.episode}: {one}") for one in news]
