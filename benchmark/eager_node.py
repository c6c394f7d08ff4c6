# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The baseline of `end_to_end.py`: the node that a lab writes in an afternoon. rclpy, cv2, eager
PyTorch with its defaults; latest messages, a timer at the policy's rate, no checks.

It has one thing that such nodes often lack: its command carries the stamp of the image it came
from, so that its latency can be measured.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
import rclpy
import torch
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from reference_sarnn import ReferenceSARNN
from sensor_msgs.msg import CompressedImage, Image, JointState


class EagerNode(Node):
    def __init__(self, rate: float, compressed: bool, size: int = 64) -> None:
        super().__init__("eager")
        self.model = ReferenceSARNN(50, 5, 6, im_size=(size, size)).eval()
        self.size = size
        self.state = None
        self.image = None
        self.joints = None
        kind, topic = (
            (CompressedImage, "image_raw/compressed") if compressed else (Image, "image_raw")
        )
        self.create_subscription(kind, topic, self.on_image, qos_profile_sensor_data)
        self.create_subscription(
            JointState, "joint_states", self.on_joints, qos_profile_sensor_data
        )
        self.publisher = self.create_publisher(JointState, "joint_command", 10)
        self.create_timer(1.0 / rate, self.on_timer)

    def on_image(self, message: Image | CompressedImage) -> None:
        if isinstance(message, CompressedImage):
            pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        else:
            pixels = np.frombuffer(message.data, np.uint8).reshape(
                message.height, message.width, 3
            )
            if message.encoding == "bgr8":
                pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        self.image = (message.header, pixels)

    def on_joints(self, message: JointState) -> None:
        self.joints = (list(message.name), np.array(message.position))

    def on_timer(self) -> None:
        if self.image is None or self.joints is None:
            return
        header, pixels = self.image
        names, positions = self.joints
        small = cv2.resize(pixels, (self.size, self.size), interpolation=cv2.INTER_AREA)
        x_img = torch.tensor(small.transpose(2, 0, 1) / 255.0, dtype=torch.float32).unsqueeze(0)
        x_joint = torch.tensor((positions + 1) / 2 * 0.8 + 0.1, dtype=torch.float32).unsqueeze(0)
        with torch.no_grad():
            _, y_joint, _, _, self.state = self.model(x_img, x_joint, self.state)
        command = JointState(name=names)
        command.header.stamp = header.stamp
        command.position = ((y_joint[0].numpy() - 0.1) / 0.8 * 2 - 1).astype(float).tolist()
        self.publisher.publish(command)


def main() -> None:
    rclpy.init()
    node = EagerNode(float(sys.argv[1]), sys.argv[2] == "jpeg")
    rclpy.spin(node)


if __name__ == "__main__":
    main()
