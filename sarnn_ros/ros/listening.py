# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Listens for a moment to all topics that a spec may use: what `sarnn spec --live` proposes from.

It only subscribes: nothing is published or called, so that it may run beside a moving robot.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.serialization import deserialize_message

from sarnn_ros.data.proposal import DESCRIPTION_TYPE, is_description, is_used
from sarnn_ros.data.topic_sample import Sample
from sarnn_ros.errors import IMAGE_LOSS_REMEDY, BagError, SarnnError
from sarnn_ros.ros.losses import subscribe_counting_losses
from sarnn_ros.ros.messages import message_class
from sarnn_ros.spec import JOINT_STATE_TYPE

#: How often new topics are looked for, s.
POLL_SECONDS = 0.2
#: Every node has these topics.
TOPICS_OF_ANY_NODE = ("/rosout", "/parameter_events")
MIN_MESSAGES_FOR_RATE = 2


@dataclass
class Heard:
    """What was heard.

    :ivar topics: type of every topic that has a publisher, several joined by a comma.
    :ivar samples: messages of those that a spec may use, by topic.
    :ivar simulated: the time was that of /clock.
    :ivar description: the robot's URDF, if it is published.
    """

    topics: dict[str, str] = field(default_factory=dict)
    samples: dict[str, Sample] = field(default_factory=dict)
    simulated: bool = False
    description: str = ""

    @property
    def complete(self) -> bool:
        """Whether there is a camera and a joint state to propose from."""
        good = [one for one in self.samples.values() if one.groups()]
        return any(one.camera for one in good) and any(
            one.type == JOINT_STATE_TYPE for one in good
        )


def listen(node: Node, seconds: float, timeout: float, stop: threading.Event) -> Heard:
    """Listen until a camera and a joint state have been heard, and `seconds` more for the others.

    A topic that has a publisher and sent too little has an `error` in its sample. Messages are
    taken as sensor data (best effort), which every publisher offers.

    :param timeout: s, after which it ends if they have not been heard.
    :param stop: ends it early.
    """
    heard = Heard()
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    started = looked = time.monotonic()
    ends = started + timeout
    complete = False
    _subscribe_to_new(node, heard)
    while not stop.is_set() and (now := time.monotonic()) < ends:
        executor.spin_once(POLL_SECONDS)
        if now - looked > POLL_SECONDS:
            looked = now
            _subscribe_to_new(node, heard)
            if not complete and heard.complete:
                complete, ends = True, now + seconds
    executor.shutdown()
    for sample in heard.samples.values():
        if sample.count < MIN_MESSAGES_FOR_RATE and sample.error is None:
            sample.error = _silent(sample, time.monotonic() - started)
    return heard


def _subscribe_to_new(node: Node, heard: Heard) -> None:
    """Subscribe to what has appeared. With a simulated clock, begin again on that clock."""
    for topic, kinds in node.get_topic_names_and_types():
        is_known = topic in TOPICS_OF_ANY_NODE or topic in heard.topics
        if is_known or not node.count_publishers(topic):
            continue
        heard.topics[topic] = ", ".join(kinds)
        if topic == "/clock":
            node.set_parameters([Parameter("use_sim_time", value=True)])
            heard.simulated = True
            heard.samples = {one: Sample(one, old.type) for one, old in heard.samples.items()}
        if is_used(topic, kinds[0]):
            heard.samples[topic] = Sample(topic, kinds[0])
            _subscribe(node, heard, topic, kinds[0])
        elif is_description(topic, kinds[0]):
            _subscribe_description(node, heard, topic)


def _subscribe(node: Node, heard: Heard, topic: str, kind: str) -> None:
    kind_class = message_class(kind)

    def take(raw: bytes) -> None:
        sample, now = heard.samples[topic], node.get_clock().now().nanoseconds
        if not now or not sample.wants(now):  # 0: no simulated time has come yet
            return
        try:
            sample.add(now, deserialize_message(raw, kind_class))
        except SarnnError as error:
            sample.error = sample.error or error

    qos = QoSProfile(
        depth=10,
        reliability=qos_profile_sensor_data.reliability,
        durability=qos_profile_sensor_data.durability,
    )

    def lose(count: int) -> None:
        if not heard.samples[topic].full:
            heard.samples[topic].lost += count

    subscribe_counting_losses(node, kind_class, topic, take, qos, lose, raw=True)


def _subscribe_description(node: Node, heard: Heard, topic: str) -> None:
    def take(message: Any) -> None:
        heard.description = message.data

    # robot_state_publisher sends it once, and keeps it for who comes later.
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(message_class(DESCRIPTION_TYPE), topic, take, qos)


def _silent(sample: Sample, seconds: float) -> BagError:
    sent = "one message" if sample.count else "no message"
    remedy = f"; for large images, {IMAGE_LOSS_REMEDY}" if sample.camera else ""
    return BagError(
        f"has a publisher, and sent {sent} in {seconds:.0f} s",
        remedy=f"check that its driver runs{remedy}",
    )
