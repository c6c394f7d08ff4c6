# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The node `recorder`: records demonstrations of the spec's topics, one bag per episode.

It listens all the time, so that it knows before an episode begins whether every topic is alive,
at its rate, usable and of compatible QoS; only then does it record. What may be recorded, and what
is written, is decided in `data.session` and `data.record`.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.serialization import deserialize_message
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Bool, Header
from std_srvs.srv import SetBool, Trigger

from sarnn_ros.data.places import PICTURE
from sarnn_ros.data.reading import TAKEOVER, TAKEOVER_TYPE
from sarnn_ros.data.session import Channel, Session, channels
from sarnn_ros.data.write_bag import DEFAULT_QOS
from sarnn_ros.errors import ConfigError, SarnnError, outcome
from sarnn_ros.ros import messages
from sarnn_ros.ros.losses import Losses, subscribe_counting_losses
from sarnn_ros.ros.messages import message_class
from sarnn_ros.ros.parameters import refuse_unknown
from sarnn_ros.ros.spinning import initialise, spinning
from sarnn_ros.signals import stop_on_signals
from sarnn_ros.spec import NANOSECONDS, Spec, load_spec

if TYPE_CHECKING:
    from sarnn_ros.ros.teaching import Teaching

#: Messages per topic that wait while a write is slow.
QUEUE_DEPTH = 200
#: A node that has not said who leads for so long, or for so many ticks, runs no policy, ns.
RUN_SILENCE_NS, RUN_SILENCE_TICKS = NANOSECONDS, 3
#: Of the service by which a policy's node is asked that a person leads; it is named as its topic.
SERVICE_TYPE = "std_srvs/srv/SetBool"
#: How long the recorder may take to write the end of an episode, s.
CLOSING_SECONDS = 30.0


class RecorderNode(Node):
    """See the module.

    Parameters: `spec` (path of a spec), `out` (folder of the session), `topics` (more topics,
    as topic:type), `node` (the inference node whose runs are recorded; empty: the only one that
    runs), `min_free_gigabytes`. Services: `~/start_episode`, `~/stop_episode`,
    `~/discard_episode`, `~/label_success`, `~/label_failure`, `~/takeover`, `~/preflight`.
    `/diagnostics`, status `session`: what it does, twice a second. `~/places/compressed`: the map
    of where objects were, while somebody looks.

    :raises ConfigError: a parameter is missing, wrong or unknown.
    :raises SpecError: the spec is wrong.
    :raises EnvironmentProblem: the type of a topic is not installed.
    """

    def __init__(
        self,
        spec: Path | None = None,
        out: Path | None = None,
        topics: Sequence[str] = (),
        inference_node: str = "",
        **options: Any,
    ) -> None:
        super().__init__("recorder", **options)
        spec_path = self._declare("spec", str(spec or ""))
        out_path = self._declare("out", str(out or ""))
        more = list(self._declare("topics", list(topics) or [""]) or [])
        node = self._declare("node", inference_node)
        min_free = float(self._declare("min_free_gigabytes", 2.0))
        refuse_unknown(self)
        if not spec_path or not out_path:
            raise ConfigError(
                "the parameters 'spec' and 'out' are needed",
                remedy="e.g. -p spec:=spec.yaml -p out:=bags",
            )
        observed = self._resolved(load_spec(Path(spec_path).expanduser()))
        self._channels = {one.topic: one for one in channels(observed)}
        for text in filter(None, more):
            topic, _, kind = text.partition(":")
            if not topic or kind.count("/") != 2:
                raise ConfigError(
                    f"'{text}' is not a topic and its type",
                    where="topics",
                    remedy="e.g. tf:tf2_msgs/msg/TFMessage",
                )
            extra = Channel(topic, kind, shared=True)
            self._channels.setdefault(self.resolve_topic_name(topic), extra)
        for channel in self._channels.values():
            message_class(channel.type)
        self.session = Session(Path(out_path).expanduser(), min_free, observed)
        self._takeover = self.resolve_topic_name(f"~/{TAKEOVER}")
        # Of nodes that run a policy: topics that say whether a person leads, and to ask for it.
        self._takeovers: dict[str, Any] = {}
        self._only_takeover = node and self.resolve_topic_name(f"{node}/{TAKEOVER}")
        self._silence_ns = max(RUN_SILENCE_NS, RUN_SILENCE_TICKS * observed.period_ns)
        self._subscribed: dict[str, Any] = {}
        self._losses = Losses(lambda _, text: self._log(text))
        # Shared topics whose publishers keep messages for who comes later, as /tf_static.
        self._lasting: set[str] = set()
        self._leader: Teaching | None = None
        for name in self.actions():
            self._offer(name)
        # On the steady clock: a stopped simulation must not stop the checks.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.25, self._look_after, clock=self._steady)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._map = self.create_publisher(CompressedImage, "~/places/compressed", 1)
        self.create_timer(0.5, self._diagnose, clock=self._steady)
        self._look_after()

    def _declare(self, name: str, default: Any) -> Any:
        """The value of a parameter, which is read once."""
        only_now = ParameterDescriptor(read_only=True, description="takes effect at the start")
        return self.declare_parameter(name, default, only_now).value

    # -- what a user does -------------------------------------------------------------------

    def actions(self, wait: float = 0.0) -> dict[str, Callable[[], str]]:
        """What a user can do, by the service's name; each returns what to tell the user.

        :param wait: for the check of an episode that ends, s; see `Session.stop`.
        """
        return {
            "start_episode": self.start_episode,
            "stop_episode": partial(self.session.stop, wait),
            "discard_episode": self.session.discard,
            "preflight": self.say_preflight,
            "label_success": partial(self.session.label, "success", wait),
            "label_failure": partial(self.session.label, "failure", wait),
            "takeover": self.take_over,
        }

    def follow(self, leader: Teaching, more: Iterable[str]) -> None:
        """From now on the services ask `leader`.

        :param more: services that it has besides.
        """
        self._leader = leader
        for name in more:
            self._offer(name)

    def _offer(self, name: str) -> None:
        def work() -> str:
            return self._leader.ask(name) if self._leader else self.actions()[name]()

        def serve(_: Any, response: Any) -> Any:
            response.success, response.message = outcome(work)
            return response

        self.create_service(Trigger, f"~/{name}", serve)

    def preflight(self) -> list[str]:
        """What stands in the way of recording now; empty if nothing does."""
        problems = self.session.problems()
        now_ns, steady_ns = self.get_clock().now().nanoseconds, self._steady.now().nanoseconds
        for topic, channel in list(self._channels.items()):  # another thread may add to it
            publishers = self.get_publishers_info_by_topic(topic)
            senders = [(one.node_name, one.topic_type) for one in publishers]
            problems += channel.problems(topic, senders, _newest(channel), now_ns, steady_ns)
        if why := self._why_unclear():
            problems.append(why)
        return problems

    def _unusable_commands(self) -> list[str]:
        """Of topics that may be silent: what has come, and cannot be learnt from."""
        now_ns = self.get_clock().now().nanoseconds
        return [
            problem
            for topic, channel in list(self._channels.items())
            if not channel.rate
            for problem in channel.unusable(topic, _newest(channel), now_ns)
        ]

    def start_episode(self) -> str:
        """:raises ConfigError: an episode is running, or the preflight found problems."""
        # Another thread may add to them.
        topics = {topic: self._described(topic) for topic in list(self._subscribed)}
        topics[self._takeover] = (TAKEOVER_TYPE, [DEFAULT_QOS])
        said = self.session.start(topics, self.preflight)
        for topic in list(self._subscribed):
            if topic not in topics:
                self._record(topic)
        for topic in list(self._lasting):
            for raw in list(self._channels[topic].last):  # they were sent long ago
                self.session.write(topic, self.get_clock().now().nanoseconds, raw)
        return "; but ".join([said, *self.session.unusable(self._unusable_commands())])

    def take_over(self) -> str:
        """Ask the policy's node to let a person lead, or not any more. If none runs a policy, mark
        it in the bag: see `Session.take_over`.

        :raises ConfigError: neither is possible.
        """
        if why := self._why_unclear():
            raise ConfigError(why)
        for topic, is_led in self._runs():
            if not self._takeovers[topic].service_is_ready():
                raise ConfigError(f"'{topic}' is not offered any more: has its node ended?")
            request = SetBool.Request(data=not is_led)
            self._takeovers[topic].call_async(request).add_done_callback(self._answered)
            return f"asked '{topic}' that {'the policy' if is_led else 'a person'} leads"
        return self.session.take_over(self._takeover, self.get_clock().now().nanoseconds)

    def note_policy(self) -> None:
        """See `Session.note_policy`.

        :raises OSError: it cannot be written.
        """
        self.session.note_policy(self._takeover, self.get_clock().now().nanoseconds)

    @property
    def led(self) -> bool:
        """Whether a node that runs a policy says that a person leads."""
        return any(is_led for _, is_led in self._runs())

    @property
    def hears_a_run(self) -> bool:
        """Whether a node says that it runs a policy."""
        return any(True for _ in self._runs())

    def _why_unclear(self) -> str:
        """Why it is not known which policy is recorded; empty: it is, or none runs."""
        runs = [topic.removesuffix(f"/{TAKEOVER}") for topic, _ in self._runs()]
        if len(runs) < 2:
            return ""
        return (
            f"{' and '.join(runs)} run a policy each, and whether a person leads counts for one "
            f"of them only: give its name (--node {runs[0]}; the parameter 'node')"
        )

    def _runs(self) -> Iterator[tuple[str, bool]]:
        """Of each node that runs a policy: the topic that says who leads, and if a person does."""
        steady_ns = self._steady.now().nanoseconds
        for topic in list(self._takeovers):
            channel = self._channels[topic]
            if channel.arrivals and steady_ns - channel.arrivals[-1] < self._silence_ns:
                yield topic, deserialize_message(channel.last[-1], Bool).data

    def _answered(self, future: Any) -> None:
        answer = future.result()
        if not answer.success:
            self._log(answer.message)
        elif self._leader is not None:
            self._leader.say(self.session.log(answer.message))
        else:
            self.get_logger().info(self.session.log(answer.message))

    def status(self) -> str:
        """One line: the clock of the episode, what comes on each topic, and what is wrong with
        the episode before."""
        now = self._steady.now().nanoseconds
        rates = [
            f"{topic} " + ("SILENT" if one.silence(now) else f"{one.measured_rate(now):.0f} Hz")
            for topic, one in list(self._channels.items())
            if one.required or one.arrivals
        ]
        session = self.session
        what = f"{session.episode} {session.seconds:5.1f} s"
        head = f"recording {what}" if session.recording else "not recording"
        checking = "checking the last episode" if session.checking else ""
        parts = [head, *rates, f"{session.kept} kept", checking, session.verdict]
        return "  ".join(filter(None, parts))

    def usage(self) -> str:
        """One line: what this node waits for, and how to use it."""
        name = self.get_fully_qualified_name()
        return (
            f"{name} waits, to record into {self.session.out}: "
            f"ros2 service call {name}/start_episode std_srvs/srv/Trigger, then stop_episode; or "
            "the buttons of 'sarnn web'; or, instead of this node, the keys of 'sarnn record'"
        )

    def say_preflight(self) -> str:
        """:raises ConfigError: the preflight found problems."""
        if problems := self.preflight():
            raise ConfigError("; ".join(problems))
        return "; but ".join(["every topic is alive", *self._unusable_commands()])

    def close(self) -> None:
        """Keep what is being recorded, as much of it as can be written."""
        if self.session.recording:
            try:
                self.session.stop()
            except (SarnnError, OSError) as error:
                self._tell([f"the episode's end is not written: {error}"])

    def destroy_node(self) -> None:
        """Keep the episode under way; wait for the checks of what was kept, and say what they
        found."""
        self.close()
        self.session.finish_checks(CLOSING_SECONDS / 2)
        self._tell(self.session.news())
        self.session.close()
        super().destroy_node()

    def _tell(self, news: Iterable[str]) -> None:
        for one in news:
            if self._leader is not None:
                self._leader.say(one)
            else:
                self.get_logger().error(one)

    # -- listening --------------------------------------------------------------------------

    def _look_after(self) -> None:
        """Subscribe to what has appeared; end an episode before the disk is full."""
        services = dict(self.get_service_names_and_types())
        for topic, kinds in self.get_topic_names_and_types():
            known = topic in self._takeovers or topic == self._takeover
            meant = topic == (self._only_takeover or topic) and topic.endswith(f"/{TAKEOVER}")
            # A pedal's may be called so, too; a policy's node offers the service as well.
            asked = SERVICE_TYPE in services.get(topic, ())
            if meant and kinds == [TAKEOVER_TYPE] and asked and not known:
                self._channels[topic] = Channel(topic, TAKEOVER_TYPE, required=False)
                self._takeovers[topic] = self.create_client(SetBool, topic)
        for topic, subscription in list(self._subscribed.items()):
            if any(
                qos_check_compatible(one.qos_profile, subscription.qos_profile)[0]
                == QoSCompatibility.ERROR
                for one in self.get_publishers_info_by_topic(topic)
            ):
                self._log(f"'{topic}' is sent with another QoS than before")
                del self._subscribed[topic]
                self.destroy_subscription(subscription)
        for topic in self._channels.keys() - self._subscribed.keys():
            self._subscribe(topic, self._channels[topic])
        if self.session.recording:
            for problem in self.session.problems():
                self._end_for(problem)
        now = self._steady.now().nanoseconds
        silences = {topic: one.silence(now) for topic, one in self._channels.items()}
        self._tell(self.session.silent({t: gap for t, gap in silences.items() if gap}))
        if self.session.recording:
            self._tell(self.session.unusable(self._unusable_commands()))
        self._tell(self.session.news())

    def _end_for(self, reason: object) -> None:
        self._log(f"recording ends: {reason}")
        self.close()

    def _log(self, text: str) -> None:
        self._tell([self.session.log(text)])

    def _diagnose(self) -> None:
        steady_ns = self._steady.now().nanoseconds
        silent = [name for name, one in self._channels.items() if one.silence(steady_ns)]
        is_wrong = silent or self.session.verdict
        level = DiagnosticStatus.WARN if is_wrong else DiagnosticStatus.OK
        values = {
            "recording": self.session.recording,
            "episode": self.session.episode,
            "seconds": self.session.seconds,
            "kept": self.session.kept,
            "silent": ", ".join(silent),
            "left_out": ", ".join(self.session.left_out),
        }
        name = self.get_fully_qualified_name()
        said = [messages.diagnostic_status(f"{name}: session", level, self.status(), "", values)]
        if self._leader is not None:
            text, more = self._leader.describe()
            ok = DiagnosticStatus.OK
            said.append(messages.diagnostic_status(f"{name}: lesson", ok, text, "", more))
        now_ns = int(self.get_clock().now().nanoseconds)
        self._diagnostics.publish(messages.diagnostic_array(said, now_ns))
        self._show_map(now_ns)

    def _show_map(self, now_ns: int) -> None:
        file = self.session.out / PICTURE
        if self._map.get_subscription_count() and file.is_file():
            header = Header(stamp=messages.time_message(now_ns))
            data = array.array("B", file.read_bytes())
            self._map.publish(CompressedImage(header=header, format="png", data=data))

    def _subscribe(self, topic: str, channel: Channel) -> None:
        publishers = self.get_publishers_info_by_topic(topic)
        if not publishers or any(one.topic_type != channel.type for one in publishers):
            return
        # Ask for no more than every publisher offers, or some would not be heard.
        offered = [one.qos_profile for one in publishers]
        qos = QoSProfile(
            depth=QUEUE_DEPTH,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        if any(one.reliability != ReliabilityPolicy.RELIABLE for one in offered):
            qos.reliability = ReliabilityPolicy.BEST_EFFORT
        if any(one.durability != DurabilityPolicy.TRANSIENT_LOCAL for one in offered):
            qos.durability = DurabilityPolicy.VOLATILE
        elif channel.shared:
            self._lasting.add(topic)

        def take(raw: bytes) -> None:
            channel.arrived(self._steady.now().nanoseconds, raw)
            now_ns = self.get_clock().now().nanoseconds
            try:
                if topic in self._takeovers:  # from now on the node says who leads
                    self._tell(self.session.hand_back(self._takeover, now_ns))
                self.session.write(topic, now_ns, raw)
            except OSError as error:
                self._end_for(error)

        lose = partial(self._losses.add, topic)
        kind = message_class(channel.type)
        self._subscribed[topic] = subscribe_counting_losses(
            self, kind, topic, take, qos, lose, raw=True
        )
        self._record(topic)

    def _described(self, topic: str) -> tuple[str, list[Qos]]:
        """Its type, and what its publishers offer, as a bag has it."""
        publishers = self.get_publishers_info_by_topic(topic)
        return self._channels[topic].type, [_qos(one.qos_profile) for one in publishers]

    def _record(self, topic: str) -> None:
        """In the episode that is running, too, if one is."""
        try:
            self.session.add(topic, *self._described(topic))
        except ConfigError as error:  # the episode goes on without it
            self._log(f"'{topic}' is not recorded: {error}")

    def _resolved(self, spec: Spec) -> Spec:
        """The spec with the topics' full names, as they are recorded."""

        def named(one: Any) -> Any:
            return one.model_copy(update={"topic": self.resolve_topic_name(one.topic)})

        return spec.model_copy(
            update={
                "cameras": tuple(map(named, spec.cameras)),
                "joints": tuple(map(named, spec.joints)),
                "command": named(spec.command),
            }
        )


def _newest(channel: Channel) -> list[Any]:
    """Its newest messages, if there is something to check of them."""
    kept = list(channel.last) if channel.checks else []
    return [deserialize_message(raw, message_class(channel.type)) for raw in kept]


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
    """Run until SIGINT, SIGQUIT, SIGTERM or SIGHUP; an episode under way is kept."""
    # An episode's end may be long in coming on a slow disk.
    with stop_on_signals(CLOSING_SECONDS) as stop:
        if not initialise(args):
            return 1
        try:
            node = RecorderNode()
        except (SarnnError, ParameterException) as error:
            print(f"error: {error}", file=sys.stderr)
            rclpy.try_shutdown()
            return 1
        with spinning(node):
            print(node.usage(), flush=True)
            stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
