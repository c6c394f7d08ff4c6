# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated arm as a ROS 2 node, `sim`: in place of a real arm and its camera.

The physics keeps real time; time is never simulated here, so `use_sim_time` stays false. Topics,
service and parameters are in docs/reference/simulator.md.
"""

from __future__ import annotations

import array
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from numpy.typing import NDArray
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from sarnn_ros.errors import SarnnError
from sarnn_ros.ros import messages
from sarnn_ros.ros.parameters import refuse_unknown
from sarnn_ros.ros.spinning import initialise, spinning
from sarnn_ros.signals import stop_on_signals
from sarnn_ros.sim.scene import COMMAND_PERIOD, JOINT_NAMES, LiftScene
from sarnn_ros.sim.task import CUBE_X, Placement
from sarnn_ros.sim.teleoperator import Teleoperator

CAMERA_RATE = 30.0
JOINT_RATE = 100.0

COMMAND_INTERFACES = ("joint_state", "joint_trajectory")


class SimNode(Node):
    """Steps the scene up to the present whenever it is observed or commanded.

    A timer does so at `JOINT_RATE` and publishes the joints. The camera has a thread of its own:
    rendering takes milliseconds, for which joints and commands must not wait.
    """

    def __init__(self) -> None:
        super().__init__("sim")
        self._declare_parameters()
        self._lock = threading.Lock()  # guards the scene, its origin and the first image
        self._scene = LiftScene()
        self._first_image: NDArray[np.uint8] | None = None  # since the reset
        self._reset()

        self._image = self.create_publisher(Image, "image_raw", qos_profile_sensor_data)
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self._references = self.create_publisher(JointState, "joint_references", 10)
        self._cube = self.create_publisher(PoseStamped, "cube_pose", 10)
        interface = self.get_parameter("command_interface").value
        command_type = messages.COMMAND_TYPES[interface]
        self.create_subscription(command_type, "joint_command", self._on_command, 10)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_timer(1.0 / JOINT_RATE, self._publish_joints)
        if self.get_parameter("teleoperator").value:
            self._teleoperator = Teleoperator(self, self._observe, self._put)
        self._stopping = threading.Event()
        self._camera_thread = threading.Thread(target=self._run_camera, name="camera", daemon=True)
        self._camera_thread.start()
        self.get_logger().info(f"the arm is ready and follows joint_command ({interface})")

    def destroy_node(self) -> None:
        """The camera's thread must not outlive the context it publishes in."""
        self._stopping.set()
        self._camera_thread.join()
        super().destroy_node()

    def _declare_parameters(self) -> None:
        for name, default, low, high, description in (
            ("cube_x", CUBE_X, 0.2, 0.6, "where ~/reset puts the cube, m"),
            ("cube_y", 0.0, -0.4, 0.4, "where ~/reset puts the cube, m"),
            ("cube_yaw", 0.0, -3.15, 3.15, "how ~/reset turns the cube, rad"),
        ):
            limits = FloatingPointRange(from_value=low, to_value=high)
            descriptor = ParameterDescriptor(
                description=description, floating_point_range=[limits]
            )
            self.declare_parameter(name, default, descriptor)
        for name, description in (
            ("hide_cube", "leave the cube out of the image"),
            ("freeze_camera", "repeat the image of the last reset, with new stamps"),
        ):
            self.declare_parameter(name, False, ParameterDescriptor(description=description))
        descriptor = ParameterDescriptor(
            description=f"type of joint_command: {' or '.join(COMMAND_INTERFACES)}", read_only=True
        )
        interface = self.declare_parameter("command_interface", "joint_state", descriptor).value
        if interface not in COMMAND_INTERFACES:
            raise ValueError(
                f"command_interface is '{interface}', not one of {', '.join(COMMAND_INTERFACES)}"
            )
        descriptor = ParameterDescriptor(
            description="a scripted person demonstrates and corrects", read_only=True
        )
        teleoperator = self.declare_parameter("teleoperator", False, descriptor).value
        if teleoperator and interface != "joint_state":
            raise ValueError("the teleoperator needs the command_interface joint_state")
        if self.get_parameter("use_sim_time").value:
            raise ValueError("use_sim_time is true, but the simulator runs in real time")
        refuse_unknown(self)

    def _reset(self) -> None:
        x, y, yaw = (self.get_parameter(name).value for name in ("cube_x", "cube_y", "cube_yaw"))
        with self._lock:
            self._scene.reset(x, y, yaw)
            self._origin = time.monotonic()
            self._first_image = None

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset()
        x, y, _z = self._scene.cube_pose[:3]
        response.success = True
        response.message = f"arm at home, cube at x {x:.3f} m, y {y:.3f} m"
        return response

    def _observe(self) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        with self._lock:
            self._catch_up()
            return self._scene.positions, self._scene.cube_pose, self._scene.cube_lift

    def _put(self, cube: Placement) -> None:
        values = {f"cube_{name}": value for name, value in vars(cube).items()}
        self.set_parameters([Parameter(name, value=value) for name, value in values.items()])
        self._reset()

    def _catch_up(self) -> int:
        """Step the scene to the present, which is returned, ns; the lock is held."""
        self._scene.advance_to(time.monotonic() - self._origin)
        return int(self.get_clock().now().nanoseconds)

    def _publish_joints(self) -> None:
        with self._lock:
            now_ns = self._catch_up()
            states = messages.joint_state(JOINT_NAMES, self._scene.positions, now_ns)
            states.velocity = array.array("d", self._scene.velocities)
            states.effort = array.array("d", self._scene.efforts)
            references = messages.joint_state(JOINT_NAMES, self._scene.references, now_ns)
            x, y, z, qw, qx, qy, qz = self._scene.cube_pose.tolist()
        self._states.publish(states)
        self._references.publish(references)
        pose = Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))
        self._cube.publish(PoseStamped(header=_header(now_ns, "world"), pose=pose))

    def _run_camera(self) -> None:
        period = 1.0 / CAMERA_RATE
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            # A late image is not made up for: the next one comes a whole number of periods on.
            due += period * max(1, np.ceil((time.monotonic() - due) / period))
            with self._lock:
                now_ns = self._catch_up()
                origin = self._origin
                qpos = self._scene.data.qpos.copy()
                image = self._first_image
            if image is None or not self.get_parameter("freeze_camera").value:
                hide = self.get_parameter("hide_cube").value
                image = self._scene.render(hide_cube=hide, qpos=qpos)
            with self._lock:
                if self._first_image is None and self._origin == origin:
                    self._first_image = image
            if self._stopping.is_set():
                return
            self._image.publish(messages.image(image, "rgb8", _header(now_ns, "camera")))

    def _on_command(self, message: Any) -> None:
        if isinstance(message, JointState):
            path = [(COMMAND_PERIOD, message.name, message.position)]
        else:
            path = [
                (
                    point.time_from_start.sec + point.time_from_start.nanosec * 1e-9,
                    message.joint_names,
                    point.positions,
                )
                for point in message.points
            ]
        try:
            self._obey(path)
        except ValueError as error:
            text = f"joint_command ignored: {error}"
            self.get_logger().warning(text, throttle_duration_sec=1.0)

    def _obey(self, path: Sequence[tuple[float, Sequence[str], Sequence[float]]]) -> None:
        """Joints that are not named keep their set-points.

        :raises ValueError: no point, unknown or repeated joint, wrong length, not finite.
        """
        if not path:
            raise ValueError("it has no point")
        with self._lock:
            self._catch_up()
            joints = self._scene.references
            goals = []
            for after, names, positions in path:
                if len(names) != len(positions) or not names:
                    raise ValueError(f"{len(positions)} positions for the joints {list(names)}")
                if len(set(names)) != len(names) or not set(names) <= set(JOINT_NAMES):
                    raise ValueError(f"joints {list(names)}; there are {', '.join(JOINT_NAMES)}")
                joints = joints.copy()
                joints[[JOINT_NAMES.index(name) for name in names]] = positions
                goals.append((after, joints))
            self._scene.follow(goals)


def _header(stamp_ns: int, frame: str) -> Header:
    return Header(stamp=messages.time_message(stamp_ns), frame_id=frame)


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT, SIGQUIT, SIGTERM or SIGHUP."""
    with stop_on_signals() as stop:
        if not initialise(args):
            return 2
        try:
            node = SimNode()
        except (SarnnError, ParameterException, ValueError) as error:
            print(f"sim: {error}", file=sys.stderr)
            rclpy.try_shutdown()
            return 2
        with spinning(node, stop):
            stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
