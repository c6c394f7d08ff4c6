# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A lab's arm, with everything that goes wrong at first: seven joints in a namespace, joint states
without stamps, an axis of a conveyor among them, two cameras, trajectories as commands."""

from __future__ import annotations

import array
import threading
import time
from typing import Any

import numpy as np
from ros_testing import Graph, wait_until

SPACE = "/cell_b"
ARM = tuple(f"lab_joint_{number}" for number in range(1, 8))
CAMERAS = (f"{SPACE}/top_cam/image_raw", f"{SPACE}/side_cam/color/image_raw")
COMMANDS = f"{SPACE}/arm_controller/joint_trajectory"
SIZE = (64, 48)  # width, height, pixels
HOME = np.linspace(-0.6, 0.6, 7)  # rad
REACH = np.linspace(0.1, 0.25, 7)  # rad: how far a demonstration leads each joint
SECONDS = 2.0  # of a demonstration
PERIOD = 0.02  # s


class Cell:
    """The arm with its controller, the cameras, and a person who leads it by a leader arm.

    :ivar commands: positions of every trajectory that the controller took.
    """

    def __init__(self, graph: Graph) -> None:
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import Image, JointState
        from trajectory_msgs.msg import JointTrajectory

        self.commands: list[np.ndarray] = []
        self._graph, node = graph, graph.node
        self._states = node.create_publisher(JointState, f"{SPACE}/joint_states", 10)
        self._cameras = [
            node.create_publisher(Image, topic, qos_profile_sensor_data) for topic in CAMERAS
        ]
        self._leader = node.create_publisher(JointTrajectory, COMMANDS, 10)
        self._controller = node.create_subscription(JointTrajectory, COMMANDS, self._obey, 10)
        self._position, self._goal = HOME.copy(), HOME.copy()
        self._began = -np.inf  # of the demonstration, on the steady clock
        self._leading = True
        self._random = np.random.default_rng(0)
        self._rounds = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cell")
        self._thread.start()

    @property
    def moved(self) -> float:
        """rad from where demonstrations begin, of the joint that is farthest."""
        return float(np.abs(self._position - HOME).max())

    def describe(self) -> str:
        """Whether it goes on, and whom DDS has found that listens to it."""
        sent = [self._states, *self._cameras]
        heard = {one.topic_name: one.get_subscription_count() for one in sent}
        return f"cell: {self._rounds} rounds, listeners {heard}"

    def demonstrate(self) -> None:
        """Lead the arm there and back, once."""
        self._began = time.monotonic()
        wait_until(lambda: time.monotonic() > self._began + SECONDS, "the demonstration")

    def bring_home(self) -> None:
        """Somebody leads the arm by hand to where demonstrations begin."""
        self._goal = HOME.copy()
        wait_until(lambda: self.moved < 0.01, "the arm at home")

    def leave(self, topic: str = "") -> None:
        """The leader arm is switched off, or sends elsewhere from now on."""
        from trajectory_msgs.msg import JointTrajectory

        self._leading = False
        wait_until(lambda: self.moved < 0.01, "the arm at home")
        self._graph.node.destroy_publisher(self._leader)
        self.commands.clear()
        if topic:
            self._leader = self._graph.node.create_publisher(JointTrajectory, topic, 10)
            self._leading = True

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        for step in range(10**6):
            if self._stopping.wait(max(0.0, due - time.monotonic())):
                return
            self._rounds = step
            due = max(due + PERIOD, time.monotonic() - 0.1)
            if self._leading and step % 2:
                self._lead()
            self._position += (self._goal - self._position) * 0.4
            self._publish_state()
            if step % 2 == 0:
                for number, camera in enumerate(self._cameras):
                    camera.publish(self._image(number))

    def _lead(self) -> None:
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

        done = min(1.0, (time.monotonic() - self._began) / SECONDS)
        position = HOME + REACH * np.sin(np.pi * done)
        point = JointTrajectoryPoint(positions=position.tolist())
        point.time_from_start.nanosec = 40_000_000
        # Its stamp stays 0: the controller is to begin at once.
        self._leader.publish(JointTrajectory(joint_names=list(ARM), points=[point]))

    def _obey(self, message: Any) -> None:
        position = np.array(message.points[0].positions)
        assert tuple(message.joint_names) == ARM
        self.commands.append(position)
        self._goal = position

    def _publish_state(self) -> None:
        from sensor_msgs.msg import JointState

        position = array.array("d", [0.3, *self._position])
        self._states.publish(JointState(name=["conveyor", *ARM], position=position))  # stamp 0

    def _image(self, number: int) -> Any:
        from sensor_msgs.msg import Image

        width, height = SIZE
        pixels = self._random.integers(40, 160, (height, width, 3), np.uint8)
        spot = round(5 + 80 * self.moved) + 5 * number
        pixels[spot : spot + 6, spot : spot + 6] = (220, 30, 30)
        image = Image(width=width, height=height, encoding="rgb8", step=3 * width)
        image.header.frame_id = "camera"
        image.header.stamp = self._graph.node.get_clock().now().to_msg()
        image.data = array.array("B", pixels.tobytes())
        return image
