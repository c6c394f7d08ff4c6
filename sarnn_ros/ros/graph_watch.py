# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Looks at the ROS graph twice a second: who publishes the sensors, who subscribes to the command,
who else commands, and how often messages come. And at any moment, whether a sensor's subscription
has a second publisher. Soft faults only: each may resolve by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node

from sarnn_ros.control.faults import Faults
from sarnn_ros.control.outlet import steady_ns
from sarnn_ros.control.settings import Settings
from sarnn_ros.spec import Spec

#: How often the graph is asked, s, which takes a fraction of a millisecond.
PERIOD_SECONDS = 0.5
#: A rate is measured over at least this long, s.
RATE_WINDOW_SECONDS = 2.0
ONLY_ONE_HINT = (
    "; end all but one, or set watch.single_publisher:=false if they publish different joints"
)
#: So many bytes of a publisher's GID in DDS are those of its participant, which is its process.
PARTICIPANT_BYTES = 12
#: What rmw calls a node that it has not heard of.
UNKNOWN_NODE = "_NODE_NAME_UNKNOWN_"


class GraphWatch:
    """See the module. Call `look` in the executor; `faults` and `rates` may be used anywhere.

    :param settings: the current ones.
    :param command_publishers: our own, by the topic's name before remapping.
    """

    def __init__(
        self,
        node: Node,
        spec: Spec,
        settings: Callable[[], Settings],
        command_publishers: Mapping[str, Any],
    ) -> None:
        self._node = node
        self._settings = settings
        self._commands = command_publishers
        self._cameras = {camera.topic for camera in spec.cameras}
        self._topics = [*self._cameras, *dict.fromkeys(source.topic for source in spec.joints)]
        self._resolved = {topic: node.resolve_topic_name(topic) for topic in self._topics}
        self._shared = spec.shared_topics
        self._counts: Counter[str] = Counter()
        self._counts_before: Counter[str] = Counter()  # at the beginning of the rate's window
        self._since: tuple[bool, int] = self._now()
        self._found: dict[str, str] = {}
        self._subscriptions: Mapping[str, Any] = {}
        self.rates: dict[str, float] = {}

    def listen(self, subscriptions: Mapping[str, Any]) -> None:
        """The sensors' subscriptions, by the topic's name before remapping."""
        self._subscriptions = subscriptions

    def faults(self) -> Faults:
        """What the last look found, and what is true at this moment. Takes microseconds.

        A second publisher's messages arrive as soon as it is connected, which may be half a second
        before the next look: no command may come from them.
        """
        crowded: dict[str, str] = {}
        if self._settings().watch.single_publisher:
            for topic, subscription in list(self._subscriptions.items()):
                count = subscription.get_publisher_count()
                if count > 1 and topic not in self._shared:
                    text = f"{count} publishers on '{self._resolved[topic]}'{ONLY_ONE_HINT}"
                    crowded[f"publishers:{topic}"] = text
        return Faults(soft=crowded | self._found | self._unheard())

    def arrived(self, topic: str) -> None:
        """Count a message."""
        self._counts[topic] += 1

    def received(self) -> dict[str, int]:
        """Messages so far, by topic."""
        return {topic: self._counts[topic] for topic in self._topics}

    def look(self) -> None:
        self._measure()
        self._found = self._publishers() | self._commanders() | self._slow() | self._unheard()

    def _publishers(self) -> dict[str, str]:
        if not self._settings().watch.single_publisher:
            return {}
        return {
            f"publishers:{topic}": self._who(resolved) + ONLY_ONE_HINT
            for topic, resolved in self._resolved.items()
            if topic not in self._shared and self._node.count_publishers(resolved) > 1
        }

    def _unheard(self) -> dict[str, str]:
        settings = self._settings()
        publishers = [one for one in self._commands.values() if not one.get_subscription_count()]
        if settings.dry_run or not settings.watch.require_controller or not publishers:
            return {}
        topics = " and ".join(f"'{one.topic_name}'" for one in publishers)
        return {
            "no_controller": f"nobody listens to {topics}: is the controller loaded, is the topic "
            "or action remapped, is its type what command_interface or gripper.interface says?"
        }

    def _commanders(self) -> dict[str, str]:
        faults: dict[str, str] = {}
        settings = self._settings()
        # A dry run is meant to run beside the node that commands.
        if settings.dry_run or not settings.watch.single_commander:
            return faults
        # Remapped to one topic, the arm's and the gripper's publishers are both ours.
        own = Counter(one.topic_name for one in self._commands.values())
        for topic, one in self._commands.items():
            if self._node.count_publishers(one.topic_name) > own[one.topic_name]:
                faults[f"commanders:{topic}"] = (
                    f"{self._who(one.topic_name)}: the robot would follow each in turn; end all "
                    "but this node, give a node in a dry run another command topic, or set "
                    "watch.single_commander:=false if only one of them ever sends"
                )
        return faults

    def _who(self, resolved: str) -> str:
        publishers = self._node.get_publishers_info_by_topic(resolved)
        processes: dict[str, list[tuple[int, ...]]] = {}
        for one in publishers:
            name = f"{one.node_namespace.rstrip('/')}/{one.node_name}"
            if one.node_name == UNKNOWN_NODE:
                # DDS announces a publisher before it says to which node it belongs.
                name = "one of a node that is not known yet (/diagnostics will name it)"
            process = tuple(one.endpoint_gid[:PARTICIPANT_BYTES])
            processes.setdefault(name, []).append(process)
        said = []
        for name, found in sorted(processes.items()):
            if len(set(found)) > 1:
                is_own = name == self._node.get_fully_qualified_name()
                hint = ", this one among them" if is_own else ": was it started twice?"
                said.append(f"{len(found)} nodes named {name}{hint}")
            else:
                said.append(name if len(found) == 1 else f"{name} ({len(found)} publishers)")
        return f"{len(publishers)} publishers on '{resolved}': {', '.join(said)}"

    def _measure(self) -> None:
        simulated, now = self._now()
        elapsed = (now - self._since[1]) * 1e-9
        same_clock = simulated == self._since[0] and elapsed >= 0.0
        if same_clock and elapsed < RATE_WINDOW_SECONDS:
            return
        if same_clock:
            came = self._counts - self._counts_before
            self.rates = {topic: came[topic] / elapsed for topic in self._topics}
        self._counts_before = self._counts.copy()
        self._since = simulated, now

    def _now(self) -> tuple[bool, int]:
        """Whether time is simulated, and what it is, ns: a simulation may be slow."""
        clock = self._node.get_clock()
        if clock.ros_time_is_active:
            return True, int(clock.now().nanoseconds)
        return False, steady_ns()

    def _slow(self) -> dict[str, str]:
        wanted = self._settings().watch.min_rate
        return {
            f"rate:{topic}": f"'{self._resolved[topic]}' comes at {rate:.1f} Hz, at least "
            f"{wanted:g} Hz are wanted (watch.min_rate)"
            for topic, rate in self.rates.items()
            if rate < wanted
        }
