# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The node `recorder`: records demonstrations of the spec's topics, one bag per episode.

It listens all the time, so that it knows before an episode begins whether every topic is alive,
at its rate, usable and of compatible QoS; only then does it record. What is written, and how, is
`data.record`; whether a message is usable is decided by the functions that training uses.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from std_srvs.srv import Trigger

from sarnn_ros.data.record import EpisodeWriter, append_index, next_name
from sarnn_ros.errors import ConfigError, DecodeError, SarnnError
from sarnn_ros.ros.messages import message_class
from sarnn_ros.ros.parameters import refuse_unknown
from sarnn_ros.ros.spinning import initialise, spin
from sarnn_ros.signals import stop_on_signals
from sarnn_ros.spec import NANOSECONDS, Spec, load_spec
from sarnn_ros.streams.ingest import Ingest

#: Rates are measured over this long.
WINDOW_SECONDS = 2.0
#: A topic may be this much slower than the ticks and still count as fast enough.
RATE_TOLERANCE = 0.9
#: Queued per topic while a write is slow.
DEPTH = 200
#: What the recorder gets to write the end of an episode, s.
CLOSING_SECONDS = 30.0


@dataclass
class _Channel:
    """One topic to be recorded.

    :param required: nothing is recorded without it.
    :param checks: raise DecodeError for a message that training would not use; none for topics
        that are recorded without being observed.
    """

    topic: str
    type: str
    required: bool
    checks: Sequence[Callable[[Any, int], object]] = ()
    arrivals: deque[int] = field(default_factory=lambda: deque(maxlen=2000))
    last: bytes = b""
    subscription: Any = None


class RecorderNode(Node):
    """See the module.

    Parameters: `spec` (path of a spec), `out` (folder of the session), `topics` (more topics,
    as topic:type), `min_free_gigabytes`. Services: `~/start_episode`, `~/stop_episode`,
    `~/discard_episode`, `~/preflight`.

    :raises ConfigError: a parameter is missing, wrong or unknown. :raises SpecError: the spec is.
    """

    def __init__(self, spec: Path | None = None, out: Path | None = None, **options: Any) -> None:
        super().__init__("recorder", **options)
        spec_path = self.declare_parameter("spec", str(spec or "")).value
        out_path = self.declare_parameter("out", str(out or "")).value
        more = list(self.declare_parameter("topics", [""]).value or [])
        self._min_free = float(self.declare_parameter("min_free_gigabytes", 2.0).value)
        refuse_unknown(self)
        if not spec_path or not out_path:
            raise ConfigError(
                "the parameters 'spec' and 'out' are needed",
                remedy="e.g. -p spec:=spec.yaml -p out:=bags",
            )
        self.spec = load_spec(spec_path)
        self.out = Path(out_path)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot be made: {error}", where=self.out, remedy="choose another folder"
            ) from error
        self._writer: EpisodeWriter | None = None
        self._last_kept: str | None = None
        self._lock = threading.RLock()
        self._channels = {self.resolve_topic_name(one.topic): one for one in _channels(self.spec)}
        for text in filter(None, more):
            topic, _, kind = text.partition(":")
            name = self.resolve_topic_name(topic)
            self._channels.setdefault(name, _Channel(topic, kind, required=True))
        for name, serve in (
            ("start_episode", self.start_episode),
            ("stop_episode", self.stop_episode),
            ("discard_episode", self.discard_episode),
            ("preflight", self.say_preflight),
        ):
            self.create_service(Trigger, f"~/{name}", _served(serve))
        # On the steady clock: a stopped simulation must not stop the checks.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.25, self._look_after, clock=steady)
        self._steady = steady
        self._look_after()

    @property
    def recording(self) -> bool:
        return self._writer is not None

    # -- what a user does -------------------------------------------------------------------

    def preflight(self) -> list[str]:
        """What stands in the way of recording now; empty if nothing does."""
        problems = [
            problem for one in self._channels.values() for problem in self._problems_of(one)
        ]
        return [*problems, *self._problems_of_disk()]

    def start_episode(self) -> str:
        """:raises ConfigError: an episode is running, or the preflight found problems."""
        with self._lock:
            if self._writer is not None:
                raise ConfigError(f"{self._writer.path.name} is being recorded already")
            problems = self.preflight()
            if problems:
                raise ConfigError("not recording: " + "; ".join(problems))
            name = next_name(self.out)
            topics = {
                topic: (one.type, self._offered(topic))
                for topic, one in self._channels.items()
                if one.subscription is not None
            }
            self._writer = EpisodeWriter(self.out / name, topics)
            return f"recording {name}"

    def stop_episode(self) -> str:
        """:raises ConfigError: nothing is being recorded."""
        with self._lock:
            writer = self._take_writer()
            writer.close()
            seconds = ((writer.last_ns or 0) - (writer.first_ns or 0)) / NANOSECONDS
            entry = {"name": writer.path.name, "seconds": seconds, "messages": writer.counts}
            append_index(self.out, entry)
            self._last_kept = writer.path.name
            return f"kept {writer.path.name}: {seconds:.1f} s"

    def discard_episode(self) -> str:
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

    def close(self) -> None:
        """Keep what is being recorded, as much of it as can be written."""
        with self._lock:
            if self._writer is not None:
                try:
                    self.stop_episode()
                except (SarnnError, OSError) as error:
                    self.get_logger().error(f"the episode's end is not written: {error}")

    # -- listening --------------------------------------------------------------------------

    def _look_after(self) -> None:
        """Subscribe to what has appeared; end an episode before the disk is full, or without."""
        for topic, channel in self._channels.items():
            if channel.subscription is None:
                self._subscribe(topic, channel)
        if self._writer is not None:
            for problem in self._problems_of_disk():
                self.get_logger().error(f"recording ends: {problem}")
                self.close()

    def _subscribe(self, topic: str, channel: _Channel) -> None:
        publishers = self.get_publishers_info_by_topic(topic)
        if not publishers or any(one.topic_type != channel.type for one in publishers):
            return
        # Ask for no more than every publisher offers, or some would not be heard.
        reliable = all(
            one.qos_profile.reliability == ReliabilityPolicy.RELIABLE for one in publishers
        )
        lasting = all(
            one.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for one in publishers
        )
        qos = QoSProfile(
            depth=DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if lasting else DurabilityPolicy.VOLATILE,
        )

        def take(raw: bytes) -> None:
            self._take(topic, channel, raw)

        channel.subscription = self.create_subscription(
            message_class(channel.type), topic, take, qos, raw=True
        )

    def _take(self, topic: str, channel: _Channel, raw: bytes) -> None:
        channel.arrivals.append(self._steady.now().nanoseconds)
        channel.last = raw
        with self._lock:
            if self._writer is not None and topic in self._writer.counts:
                try:
                    self._writer.write(topic, self.get_clock().now().nanoseconds, raw)
                except OSError as error:
                    self.get_logger().error(f"recording ends: {error}")
                    self.close()

    def _take_writer(self) -> EpisodeWriter:
        writer, self._writer = self._writer, None
        if writer is None:
            raise ConfigError("nothing is being recorded")
        return writer

    def _problems_of(self, channel: _Channel) -> Iterator[str]:
        if not channel.required:
            return
        topic = self.resolve_topic_name(channel.topic)
        publishers = self.get_publishers_info_by_topic(topic)
        kinds = {one.topic_type for one in publishers}
        if not publishers:
            yield f"nobody publishes '{topic}'"
            return
        if kinds != {channel.type}:
            yield f"'{topic}' is a {', '.join(sorted(kinds))}, the spec says {channel.type}"
            return
        if len(publishers) > 1:
            names = ", ".join(sorted(one.node_name for one in publishers))
            yield f"'{topic}' has {len(publishers)} publishers: {names}"
        since = self._steady.now().nanoseconds - round(WINDOW_SECONDS * NANOSECONDS)
        recent = [time for time in channel.arrivals if time >= since]
        rate = (
            (len(recent) - 1) * NANOSECONDS / (recent[-1] - recent[0])
            if len(recent) > 1 and recent[-1] > recent[0]
            else 0.0
        )
        if not recent:
            yield f"'{topic}' has sent nothing for {WINDOW_SECONDS:g} s"
        elif channel.checks and rate < RATE_TOLERANCE * self.spec.rate:
            yield f"'{topic}' comes at {rate:.1f} Hz, ticks are at {self.spec.rate:g} Hz"
        if channel.checks and channel.last:
            message = deserialize_message(channel.last, message_class(channel.type))
            try:
                for check in channel.checks:
                    check(message, self.get_clock().now().nanoseconds)
            except DecodeError as error:
                yield f"'{topic}' is unusable: {error.problem}"

    def _problems_of_disk(self) -> Iterator[str]:
        try:
            free = shutil.disk_usage(self.out).free / 1e9
        except OSError as error:
            yield f"{self.out} cannot be written to: {error}"
            return
        if free < self._min_free:
            yield f"only {free:.1f} GB are free in {self.out}, {self._min_free:g} needed"

    def _offered(self, topic: str) -> Sequence[Qos]:
        return [_qos(one.qos_profile) for one in self.get_publishers_info_by_topic(topic)]

    def say_preflight(self) -> str:
        """:raises ConfigError: the preflight found problems."""
        problems = self.preflight()
        if problems:
            raise ConfigError("; ".join(problems))
        return "every topic is alive"


def _channels(spec: Spec) -> Iterator[_Channel]:
    channels: dict[str, _Channel] = {}
    for topic, streams in Ingest(spec).routes.items():
        checks = [stream.admit for stream in streams]
        channels[topic] = _Channel(topic, streams[0].type, True, checks=checks)
    # Commands come when they come: no rate, and none at all unless they are the target.
    command = spec.command
    channels.setdefault(
        command.topic, _Channel(command.topic, command.type, spec.target == "command")
    )
    yield from channels.values()


def _served(work: Callable[[], str]) -> Callable[[Any, Any], Any]:
    def serve(_: Any, response: Any) -> Any:
        try:
            response.success, response.message = True, work()
        except SarnnError as error:
            response.success, response.message = False, error.problem
        except OSError as error:
            response.success, response.message = False, str(error)
        return response

    return serve


def _qos(profile: Any) -> Qos:
    def duration(value: Any) -> QosTime:
        return QosTime(*divmod(value.nanoseconds, NANOSECONDS))

    return Qos(
        QosHistory(int(profile.history)),
        profile.depth,
        QosReliability(int(profile.reliability)),
        QosDurability(int(profile.durability)),
        duration(profile.deadline),
        duration(profile.lifespan),
        QosLiveliness(int(profile.liveliness)),
        duration(profile.liveliness_lease_duration),
        profile.avoid_ros_namespace_conventions,
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run until SIGINT, SIGTERM or SIGHUP; an episode under way is kept."""
    # An episode's end may be long in coming on a slow disk.
    with stop_on_signals(CLOSING_SECONDS) as stop:
        if not initialise(args):
            return 1
        try:
            node = RecorderNode()
        except SarnnError as error:
            print(f"error: {error}", file=sys.stderr)
            rclpy.try_shutdown()
            return 1
        with spinning(node):
            stop.wait()
    return 0


@contextlib.contextmanager
def spinning(node: RecorderNode) -> Iterator[None]:
    """Spin in the background; then keep the episode under way, and end everything."""
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    stop = threading.Event()
    thread = threading.Thread(target=spin, args=(executor, node, stop), name="executor")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        executor.shutdown()
        thread.join()
        node.close()
        node.destroy_node()
        rclpy.try_shutdown(context=node.context)


if __name__ == "__main__":
    sys.exit(main())
