# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Counts the messages that DDS lost on their way to a subscription.

Without the profile of config/fastdds_large_images.xml camera images do not fit into the memory
between two processes, and most are lost with nothing said: whoever sees that names the remedy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

from sarnn_ros.errors import IMAGE_LOSS_REMEDY

#: A busy machine loses a few: so many images of one topic, within so many s, are reported.
MIN_LOST = 10
WINDOW_SECONDS = 10.0
#: And not again for so long, s.
QUIET_SECONDS = 60.0


def subscribe_counting_losses(
    node: Node,
    kind: Any,
    topic: str,
    take: Callable[[Any], None],
    qos: QoSProfile,
    lose: Callable[[int], None],
    **options: Any,
) -> Subscription:
    """A subscription as `Node.create_subscription` makes it.

    :param lose: called in the executor with the number of messages that were lost since the last
        call. Never, where the RMW does not tell.
    """
    events = SubscriptionEventCallbacks(message_lost=lambda told: lose(told.total_count_change))
    try:
        return node.create_subscription(kind, topic, take, qos, event_callbacks=events, **options)
    except UnsupportedEventTypeError:
        return node.create_subscription(kind, topic, take, qos, **options)


class Losses:
    """Says it when many images of a topic are lost. To be used in the executor alone.

    :param say: is given a topic, and the sentence with the remedy.
    """

    def __init__(self, say: Callable[[str, str], object]) -> None:
        self._say = say
        self._lost: dict[str, tuple[float, int]] = {}  # counted since when, s, and how many

    def add(self, topic: str, count: int) -> None:
        """So many more of the topic's images are lost."""
        now = time.monotonic()
        since, lost = self._lost.get(topic, (now, 0))
        if now < since:  # it was reported not long ago
            return
        if now - since > WINDOW_SECONDS:
            since, lost = now, 0
        lost += count
        self._lost[topic] = since, lost
        if lost >= MIN_LOST:
            self._lost[topic] = now + QUIET_SECONDS, 0
            self._say(
                topic,
                f"{lost} images of '{topic}' were lost on their way to this node within "
                f"{max(1.0, now - since):.0f} s: {IMAGE_LOSS_REMEDY}",
            )
