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

import numpy as np
import rclpy
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from numpy.typing import NDArray
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from sarnn_ros.signals import stop_on_signals
from sarnn_ros.sim.scene import COMMAND_PERIOD, JOINT_NAMES, LiftScene
from sarnn_ros.sim.task import CUBE_X

CAMERA_RATE = 30.0
JOINT_RATE = 100.0

COMMAND_TYPES = {"joint_state": JointState, "joint_trajectory": JointTrajectory}


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
        kind = self.get_parameter("command_interface").value
        self.create_subscription(
            COMMAND_TYPES[kind],
            "joint_command",
            self._on_joint_state if kind == "joint_state" else self._on_joint_trajectory,
            10,
        )
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_timer(1.0 / JOINT_RATE, self._publish_joints)
        self._stopping = threading.Event()
        self._camera_thread = threading.Thread(target=self._run_camera, name="camera", daemon=True)
        self._camera_thread.start()
        self.get_logger().info(f"the arm is ready and follows joint_command ({kind})")

    def stop(self) -> None:
        """End the camera's thread; it must not outlive the context it publishes in."""
        self._stopping.set()
        self._camera_thread.join()

    def _declare_parameters(self) -> None:
        def number(name: str, default: float, low: float, high: float, description: str) -> None:
            limits = FloatingPointRange(from_value=low, to_value=high)
            self.declare_parameter(
                name,
                default,
                ParameterDescriptor(description=description, floating_point_range=[limits]),
            )

        number("cube_x", CUBE_X, 0.2, 0.6, "where ~/reset puts the cube, m")
        number("cube_y", 0.0, -0.4, 0.4, "where ~/reset puts the cube, m")
        number("cube_yaw", 0.0, -3.15, 3.15, "how ~/reset turns the cube, rad")
        for name, description in (
            ("hide_cube", "leave the cube out of the image"),
            ("freeze_camera", "repeat the image of the last reset, with new stamps"),
        ):
            self.declare_parameter(name, False, ParameterDescriptor(description=description))
        self.declare_parameter(
            "command_interface",
            "joint_state",
            ParameterDescriptor(
                description="type of joint_command: joint_state or joint_trajectory",
                read_only=True,
            ),
        )
        kind = self.get_parameter("command_interface").value
        if kind not in COMMAND_TYPES:
            raise ValueError(
                f"command_interface is '{kind}', not one of {', '.join(COMMAND_TYPES)}"
            )
        if self.get_parameter("use_sim_time").value:
            raise ValueError("use_sim_time is true, but the simulator runs in real time")

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

    def _catch_up(self) -> Header:
        """Step the scene to the present; the lock is held. The header carries that moment."""
        self._scene.advance_to(time.monotonic() - self._origin)
        return Header(stamp=self.get_clock().now().to_msg())

    def _publish_joints(self) -> None:
        with self._lock:
            header = self._catch_up()
            positions, velocities = self._scene.positions, self._scene.velocities
            efforts = self._scene.efforts
            references = self._scene.references
            cube = self._scene.cube_pose
        self._states.publish(_joint_state(header, positions, velocities, efforts))
        self._references.publish(_joint_state(header, references))
        x, y, z, qw, qx, qy, qz = cube.tolist()
        pose = Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))
        self._cube.publish(
            PoseStamped(header=Header(stamp=header.stamp, frame_id="world"), pose=pose)
        )

    def _run_camera(self) -> None:
        period = 1.0 / CAMERA_RATE
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            # A late image is not made up for: the next one comes a whole number of periods on.
            due += period * max(1, np.ceil((time.monotonic() - due) / period))
            with self._lock:
                header = self._catch_up()
                origin = self._origin
                qpos = self._scene.data.qpos.copy()
                image = self._first_image
            if image is None or not self.get_parameter("freeze_camera").value:
                hide = self.get_parameter("hide_cube").value
                image = self._scene.render(hide_cube=hide, qpos=qpos)
            with self._lock:
                if self._first_image is None and self._origin == origin:
                    self._first_image = image
            header.frame_id = "camera"
            if self._stopping.is_set():
                return
            self._image.publish(_image(header, image))

    def _on_joint_state(self, message: JointState) -> None:
        try:
            self._obey([(COMMAND_PERIOD, message.name, message.position)])
        except ValueError as error:
            self._refuse(error)

    def _on_joint_trajectory(self, message: JointTrajectory) -> None:
        try:
            self._obey(
                [
                    (
                        point.time_from_start.sec + point.time_from_start.nanosec * 1e-9,
                        message.joint_names,
                        point.positions,
                    )
                    for point in message.points
                ]
            )
        except ValueError as error:
            self._refuse(error)

    def _refuse(self, error: ValueError) -> None:
        self.get_logger().warning(f"joint_command ignored: {error}", throttle_duration_sec=1.0)

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


def _joint_state(
    header: Header,
    positions: NDArray[np.float64],
    velocities: NDArray[np.float64] | None = None,
    efforts: NDArray[np.float64] | None = None,
) -> JointState:
    message = JointState(
        header=header, name=list(JOINT_NAMES), position=array.array("d", positions)
    )
    if velocities is not None:
        message.velocity = array.array("d", velocities)
    if efforts is not None:
        message.effort = array.array("d", efforts)
    return message


def _image(header: Header, image: NDArray[np.uint8]) -> Image:
    height, width, channels = image.shape
    message = Image(
        header=header, height=height, width=width, encoding="rgb8", step=width * channels
    )
    # Assigning a list or an ndarray would cost 50 ms.
    data = array.array("B")
    data.frombytes(memoryview(image).cast("B"))
    message.data = data
    return message


def main(args: list[str] | None = None) -> int:
    """Run the node until Ctrl-C, SIGTERM or SIGHUP."""
    with stop_on_signals() as stop:
        # rclpy's own handlers would end the context while callbacks still publish.
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        try:
            node = SimNode()
        except ValueError as error:
            print(f"sim: {error}", file=sys.stderr)
            rclpy.try_shutdown()
            return 2
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
        node.stop()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
