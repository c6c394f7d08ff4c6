# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""An arm and a camera, a process of its own, to be run without the DDS profile: of three images
that it sends one after the other, the first has room. A camera of 640x480 may lose every one."""

from __future__ import annotations

import array
import itertools
import time

#: Images per second.
RATE = 30.0
BURST = 3


def main() -> None:
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image, JointState

    rclpy.init()
    node = rclpy.create_node("driver")
    images = node.create_publisher(Image, "/lossy/image_raw", qos_profile_sensor_data)
    states = node.create_publisher(JointState, "/lossy/joint_states", 10)
    image = Image(height=300, width=500, step=1500, encoding="rgb8")
    image.data = array.array("B", bytes(500 * 300 * 3))
    state = JointState(name=["joint1", "joint2", "gripper"])
    started = time.monotonic()
    for number in itertools.count():
        time.sleep(max(0.0, started + number * BURST / RATE - time.monotonic()))
        state.position = [0.1 + number / 1000, 0.2, 0.3]
        for message, publisher in (*[(image, images)] * BURST, (state, states)):
            message.header.stamp = node.get_clock().now().to_msg()
            publisher.publish(message)


if __name__ == "__main__":
    main()
