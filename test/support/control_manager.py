# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The real controller_manager of ros2_control, with mock hardware that is at once where it was
commanded (mock_components/GenericSystem), where ROS has them. And a robot of the tests in front
of it."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from controllers import SimulatedArm
from ros_testing import QUEUE, SECOND, Graph, Process, Robot

PACKAGES = (
    "controller_manager", "hardware_interface", "joint_state_broadcaster",
    "joint_trajectory_controller", "forward_command_controller", "parallel_gripper_controller",
    "gripper_controllers",
)  # fmt: skip
BROADCASTER = ("joint_state_broadcaster/JointStateBroadcaster", {})
STRICT = 2  # of SwitchController
MILLISECOND = 1_000_000


def find_program() -> Path:
    """Of controller_manager; the test is left out where it or a controller is not installed."""
    named = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    prefixes = [Path(one) for one in named if one]
    index = Path("share", "ament_index", "resource_index", "packages")
    for package in PACKAGES:
        if not any((prefix / index / package).is_file() for prefix in prefixes):
            pytest.skip(
                f"no {package}: apt-get install ros-$ROS_DISTRO-ros2-control "
                "ros-$ROS_DISTRO-ros2-controllers, and source ROS"
            )
    programs = [one / "lib" / "controller_manager" / "ros2_control_node" for one in prefixes]
    return next(program for program in programs if program.is_file())


@dataclass(frozen=True)
class Hardware:
    """One component of mock hardware.

    :param start: of its joints, rad or m.
    :param parameters: of mock_components/GenericSystem.
    """

    name: str
    start: Mapping[str, float]
    parameters: Mapping[str, str] = field(default_factory=dict)


def describe(components: Sequence[Hardware]) -> str:
    """A URDF: joints in a row, each with a position interface, position and velocity reported."""
    parts, parent = ['<robot name="mock"><link name="base"/>'], "base"
    for name in (name for component in components for name in component.start):
        parts.append(
            f'<link name="{name}_link"/><joint name="{name}" type="revolute">'
            f'<parent link="{parent}"/><child link="{name}_link"/><axis xyz="0 0 1"/>'
            '<limit lower="-3" upper="3" velocity="20" effort="100"/></joint>'
        )
        parent = f"{name}_link"
    for component in components:
        parts.append(
            f'<ros2_control name="{component.name}" type="system"><hardware>'
            "<plugin>mock_components/GenericSystem</plugin>"
        )
        parameters = {"calculate_dynamics": "true", **component.parameters}
        parts += [f'<param name="{name}">{value}</param>' for name, value in parameters.items()]
        parts.append("</hardware>")
        for name, position in component.start.items():
            parts.append(
                f'<joint name="{name}"><command_interface name="position"/>'
                f'<state_interface name="position"><param name="initial_value">{position}</param>'
                '</state_interface><state_interface name="velocity"/></joint>'
            )
        parts.append("</ros2_control>")
    return "".join([*parts, "</robot>"])


class Manager:
    """The process, with its controllers configured and only the broadcaster active.

    :param controllers: type and parameters by name.
    :param rate: of its updates, Hz.
    """

    def __init__(
        self,
        launch: Callable[..., Process],
        graph: Graph,
        folder: Path,
        components: Sequence[Hardware],
        controllers: Mapping[str, tuple[str, Mapping[str, Any]]],
        rate: int = 250,
    ) -> None:
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from std_msgs.msg import String

        self._graph = graph
        program = find_program()
        controllers = {"joint_state_broadcaster": BROADCASTER, **controllers}
        types = {name: {"type": kind} for name, (kind, _) in controllers.items()}
        parameters = {name: given for name, (_, given) in controllers.items()}
        parameters["controller_manager"] = {"update_rate": rate, **types}
        file = folder / "controllers.yaml"
        # JSON is YAML, without the aliases that rcl does not read.
        content = {name: {"ros__parameters": one} for name, one in parameters.items()}
        file.write_text(json.dumps(content))
        self.process = launch(program, "--ros-args", "--params-file", file)
        qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._description = graph.node.create_publisher(String, "/robot_description", qos)
        self._description.publish(String(data=describe(components)))
        for name in controllers:
            for service in ("load", "configure"):
                answer = self.call(f"{service}_controller", name=name)
                assert answer.ok, f"{service} {name}:\n{self.process.output}"
        self.switch(on=["joint_state_broadcaster"])

    def call(self, service: str, **request: Any) -> Any:
        """The answer of one of its services."""
        from controller_manager_msgs import srv

        kind = getattr(srv, "".join(word.capitalize() for word in service.split("_")))
        return self._graph.call(kind, f"/controller_manager/{service}", kind.Request(**request))

    def switch(self, on: Sequence[str] = (), off: Sequence[str] = ()) -> None:
        """Switch controllers, as `ros2 control switch_controllers --strict` does."""
        answer = self.try_switch(on, off)
        assert answer.ok, f"{answer.message}\n{self.process.output}"

    def try_switch(self, on: Sequence[str] = (), off: Sequence[str] = ()) -> Any:
        return self.call(
            "switch_controller",
            activate_controllers=list(on),
            deactivate_controllers=list(off),
            strictness=STRICT,
        )

    def states(self) -> dict[str, str]:
        """Of the controllers: inactive, active …"""
        return {one.name: one.state for one in self.call("list_controllers").controller}


@dataclass
class MockRobot(Robot):
    """In front of a `Manager`: shows a camera's images, and records commands, what the hardware
    reports, and how an arm would follow that trails it.

    :param topic: of the commands. :param lag: of that arm, s.
    :ivar reported: stamp and positions of each joint state.
    :ivar passed: time and position of that arm, `spacing_ms` apart.
    """

    topic: str = ""
    lag: float = 0.06
    spacing_ms: int = 1

    def __post_init__(self) -> None:
        from sensor_msgs.msg import JointState

        self.reported: deque[tuple[int, np.ndarray]] = deque(maxlen=60_000)
        self.passed: deque[tuple[int, np.ndarray]] = deque(maxlen=60_000)
        super().__post_init__()
        self._states = self.graph.node.create_subscription(
            JointState, "/joint_states", self._hear, QUEUE
        )

    def close(self) -> None:
        self.graph.node.destroy_subscription(self._states)
        super().close()

    def connect(self) -> None:
        if not self._subscriptions:
            self._subscriptions = [
                self.graph.node.create_subscription(self.kind, self.topic, self._obey, QUEUE)
            ]

    def _report(self) -> None:
        """joint_state_broadcaster does."""

    def _follow(self) -> None:
        """The hardware does."""

    def _hear(self, message: Any) -> None:
        stamp = message.header.stamp
        at_ns = stamp.sec * SECOND + stamp.nanosec
        position = np.array([message.position[message.name.index(name)] for name in self.names])
        with self.record:
            if self.reported:
                self._trail(*self.reported[-1], at_ns)
            self.reported.append((at_ns, position))
            self.position = position

    def _trail(self, since_ns: int, position: np.ndarray, until_ns: int) -> None:
        """The arm that trails, while the hardware stays where it is."""
        if not self.passed:
            self._arm = SimulatedArm(position, 2.0 / self.lag)
            self.passed.append((since_ns, position))
        while self.passed[-1][0] + self.spacing_ms * MILLISECOND <= until_ns:
            self._arm.step(position, self.spacing_ms * 1e-3)
            at_ns = self.passed[-1][0] + self.spacing_ms * MILLISECOND
            self.passed.append((at_ns, self._arm.position))
