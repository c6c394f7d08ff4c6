# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The reason for config/fastdds_large_images.xml: camera images between two processes."""

from __future__ import annotations

import array
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

IMAGES = 20


def send() -> None:
    """Publish 640x480 images while the receiver has no core: it is stopped meanwhile.

    What it receives then is what the transport keeps for it. A receiver that runs can read as
    fast as this sends, on a machine with a free core, and lose nothing.
    """
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image
    from std_msgs.msg import Int32

    rclpy.init()
    node = rclpy.create_node("camera")
    publisher = node.create_publisher(Image, "image_raw", qos_profile_sensor_data)
    receivers: list[Int32] = []
    node.create_subscription(Int32, "receiver", receivers.append, 10)
    while not receivers:
        publisher.publish(Image())
        rclpy.spin_once(node, timeout_sec=0.1)
    image = Image(height=480, width=640, step=1920, encoding="rgb8")
    image.data = array.array("B", bytes(640 * 480 * 3))
    receiver = receivers[0].data
    os.kill(receiver, signal.SIGSTOP)
    try:
        for _ in range(IMAGES):
            publisher.publish(image)
    finally:
        os.kill(receiver, signal.SIGCONT)
    while publisher.get_subscription_count():  # the memory goes with the camera
        time.sleep(0.1)
    rclpy.shutdown()


def receive() -> None:
    """Count the images, until none has come for three seconds."""
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image
    from std_msgs.msg import Int32

    rclpy.init()
    node = rclpy.create_node("receiver")
    received: list[int] = []  # bytes
    node.create_subscription(
        Image,
        "image_raw",
        lambda image: received.append(len(image.data)),
        # As sensors are received, but with room for all.
        QoSProfile(depth=2 * IMAGES, reliability=ReliabilityPolicy.BEST_EFFORT),
    )
    process = node.create_publisher(Int32, "receiver", 10)
    while not received:
        rclpy.spin_once(node, timeout_sec=0.1)
    last = time.monotonic()
    while time.monotonic() - last < 3.0:
        before = len(received)
        if not any(received):
            process.publish(Int32(data=os.getpid()))
        rclpy.spin_once(node, timeout_sec=0.1)
        if len(received) > before:
            last = time.monotonic()
    print(f"received {sum(map(bool, received))}", flush=True)
    rclpy.shutdown()


def count(launch: Callable[..., Any], **environment: str) -> int:
    """How many images arrive."""
    receiver = launch(sys.executable, __file__, "receive", **environment)
    launch(sys.executable, __file__, "send", **environment)
    receiver.wait_for("received ")
    return int(receiver.output.rsplit("received ", 1)[1])


@pytest.mark.timeout(60)
def test_images_arrive_with_the_profile(launch: Callable[..., Any]) -> None:
    assert count(launch) == IMAGES


@pytest.mark.timeout(60)
def test_images_vanish_without_it(launch: Callable[..., Any]) -> None:
    """When this fails, Fast DDS has learned it, and the profile can go."""
    unset = dict.fromkeys(("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"), "")
    assert count(launch, **unset) <= IMAGES // 2


if __name__ == "__main__":
    {"send": send, "receive": receive}[sys.argv[1]]()
