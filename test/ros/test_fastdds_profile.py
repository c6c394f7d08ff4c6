# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The reason for config/fastdds_large_images.xml: camera images between two processes."""

from __future__ import annotations

import array
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

IMAGES, RATE = 60, 30.0


def send() -> None:
    """Publish 640x480 images as a camera driver does, then leave."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node("camera")
    publisher = node.create_publisher(Image, "image_raw", qos_profile_sensor_data)
    # Both ends know each other once the receiver, which started first, has said so.
    ready = rclpy.create_node("gate")
    seen: list[Any] = []
    ready.create_subscription(Image, "ready", seen.append, 10)
    while not (seen and publisher.get_subscription_count()):
        rclpy.spin_once(ready, timeout_sec=0.1)
    image = Image(height=480, width=640, step=1920, encoding="rgb8")
    image.data = array.array("B", bytes(640 * 480 * 3))
    start = time.monotonic()
    for index in range(IMAGES):
        time.sleep(max(0.0, start + index / RATE - time.monotonic()))  # the camera's own pace
        publisher.publish(image)
    rclpy.shutdown()


def receive() -> None:
    """Count the images until the camera has left."""
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node("receiver")
    received: list[Any] = []
    node.create_subscription(
        Image,
        "image_raw",
        lambda image: received.append(len(image.data)),
        # As sensors are received, but with room for all: a reader without a core loses none.
        QoSProfile(depth=IMAGES, reliability=ReliabilityPolicy.BEST_EFFORT),
    )
    ready = node.create_publisher(Image, "ready", 10)
    while not node.count_publishers("image_raw"):
        rclpy.spin_once(node, timeout_sec=0.1)
    while node.count_publishers("image_raw"):
        if not received:
            ready.publish(Image())
        rclpy.spin_once(node, timeout_sec=0.1)
    print(f"received {len(received)}", flush=True)


def count(launch: Callable[..., Any], **environment: str) -> int:
    """How many images arrive."""
    receiver = launch(sys.executable, __file__, "receive", **environment)
    launch(sys.executable, __file__, "send", **environment)
    receiver.wait_for("received ")
    return int(receiver.output.rsplit("received ", 1)[1])


@pytest.mark.timeout(60)
def test_images_arrive_with_the_profile(launch: Callable[..., Any]) -> None:
    assert count(launch) >= 0.95 * IMAGES


@pytest.mark.timeout(60)
def test_images_vanish_without_it(launch: Callable[..., Any]) -> None:
    """When this fails, Fast DDS has learned it, and the profile can go."""
    unset = dict.fromkeys(("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"), "")
    assert count(launch, **unset) <= 0.7 * IMAGES


if __name__ == "__main__":
    {"send": send, "receive": receive}[sys.argv[1]]()
