# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The referee: runs trials on the simulated arm over ROS.

It uses only topics and services, as any other process could: it places the cube, starts the node
that commands the arm (the driver), records, and stops the driver.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from visualization_msgs.msg import ImageMarker

from sarnn_ros.errors import EnvironmentProblem
from sarnn_ros.sim.judging import SILENCE, Trial, TrialTrace, has_ended, judge
from sarnn_ros.sim.scene import CUBE_HALF, JOINT_NAMES, home_joints
from sarnn_ros.sim.task import TRIAL_TICKS, Driver, TrialPlan
from sarnn_ros.spec import NANOSECONDS

#: How long to wait for each answer or message, s. Discovery alone may take 3 s.
TIMEOUT = 30.0
#: Pause before a server that has not answered is asked again, s.
ASK_AGAIN = 0.25
#: What each driver is asked through its `Trigger` services.
_SERVICES = ("start", "stop", "reset")
#: How far from home the arm may be when a trial starts, rad or m.
HOME_TOLERANCE = 0.02


def knows_clients(client: Any) -> Callable[[], bool]:
    """A condition: a node has discovered every client that was made up to this one.

    A server that does not know a client yet waits 100 ms for it, and then drops the answer
    ("client will not receive response"): on a busy machine that happens. Clients are discovered in
    the order in which they were made, so the answer to the last one tells of all. It may itself be
    dropped, so it is asked for again and again.

    :param client: the last one made, of the node's `GetParameters`.
    """
    asked: list[Any] = []
    begun = time.monotonic()

    def answered() -> bool:
        if time.monotonic() > begun + ASK_AGAIN * len(asked):
            asked.append(client.call_async(GetParameters.Request()))
        return any(future.done() for future in asked)

    return answered


class Referee:
    """A ROS node with a thread of its own. Use `open_referee`.

    Its methods wait for at most `TIMEOUT` seconds each, and raise an error that names what did
    not happen.
    """

    def __init__(self, node: Node, alive: Callable[[], None]) -> None:
        self._node = node
        self._alive = alive
        self._changed = threading.Condition()
        self._recording: TrialTrace | None = None
        self._cube: PoseStamped | None = None
        self._joints: JointState | None = None
        self._image: Image | None = None
        self.diagnostics: dict[str, dict[str, str]] = {}
        subscribe = node.create_subscription
        subscribe(PoseStamped, "cube_pose", self._on_cube, 10)
        subscribe(JointState, "joint_states", self._on_joints, qos_profile_sensor_data)
        subscribe(JointState, "joint_command", self._on_command, 10)
        subscribe(Image, "image_raw", self._on_image, qos_profile_sensor_data)
        subscribe(ImageMarker, "sarnn/attention_points", self._on_marker, qos_profile_sensor_data)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._set_parameters = node.create_client(SetParameters, "sim/set_parameters")
        self._triggers = {
            name: node.create_client(Trigger, name)
            for name in (
                "sim/reset",
                *(f"{who}/{what}" for who in ("sarnn", "replay") for what in _SERVICES),
            )
        }
        # The last ones: see `knows_clients`.
        self._known = {
            who: node.create_client(GetParameters, f"{who}/get_parameters")
            for who in ("sim", "sarnn", "replay")
        }

    # -- subscriptions, on the executor's thread --------------------------------------------------

    def _on_cube(self, message: PoseStamped) -> None:
        with self._changed:
            self._cube = message
            if self._recording:
                lift = message.pose.position.z - CUBE_HALF
                self._recording.cube.append((time.time(), lift))
            self._changed.notify_all()

    def _on_joints(self, message: JointState) -> None:
        with self._changed:
            self._joints = message
            if self._recording:
                self._recording.joints.append((time.time(), _in_order(message)))
            self._changed.notify_all()

    def _on_command(self, message: JointState) -> None:
        arrival = time.time()
        with self._changed:
            if self._recording:
                self._recording.commands.append((arrival, _stamp(message), _in_order(message)))
            self._changed.notify_all()

    def _on_image(self, message: Image) -> None:
        with self._changed:
            self._image = message
            if self._recording:
                pixels = np.frombuffer(message.data, np.uint8)
                image = pixels.reshape(message.height, message.width, 3)
                self._recording.images.append((time.time(), _stamp(message), image))
            self._changed.notify_all()

    def _on_marker(self, message: ImageMarker) -> None:
        with self._changed:
            if self._recording:
                points = np.array([(point.x, point.y) for point in message.points])
                self._recording.markers.append((time.time(), _stamp(message), message.ns, points))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._changed:
            for status in message.status:
                values = {item.key: item.value for item in status.values}
                self.diagnostics[status.name] = {"message": status.message, **values}

    # -- requests, on the caller's thread ---------------------------------------------------------

    def wait_for(
        self, condition: Callable[[], object], what: str, timeout: float = TIMEOUT
    ) -> None:
        """Return as soon as `condition` holds; it is looked at after each message.

        :raises EnvironmentProblem: it does not come true in time.
        """
        end = time.monotonic() + timeout
        with self._changed:
            while not condition():
                self._alive()
                if time.monotonic() > end:
                    raise EnvironmentProblem(
                        f"waited {timeout:g} s for {what}",
                        where="simulator and inference node over DDS",
                        remedy="see the logs of the processes; is a firewall blocking UDP on "
                        "this machine?",
                    )
                self._changed.wait(0.1)

    def wait_until_ready(self, drivers: tuple[Driver, ...]) -> None:
        """Until the simulator is heard and every driver's services are there."""
        for name, client in self._triggers.items():
            if name.split("/")[0] in ("sim", *drivers):
                self.wait_for(client.service_is_ready, f"the service {name}")
        for server in ("sim", *drivers):
            client, name = self._known[server], f"{server}/get_parameters"
            self.wait_for(client.service_is_ready, f"the service {name}")
            self.wait_for(knows_clients(client), f"an answer of {name}")
        self.wait_for(
            lambda: self._cube and self._joints and self._image, "the simulator's topics"
        )

    def trigger(self, service: str) -> None:
        """Call one of the `Trigger` services.

        :raises EnvironmentProblem: no answer, or a refusal.
        """
        response = self._call(self._triggers[service], Trigger.Request(), service)
        if not response.success:
            raise EnvironmentProblem(f"{service} was refused: {response.message}")

    def _call(self, client: Any, request: Any, name: str) -> Any:
        future = client.call_async(request)
        self.wait_for(future.done, f"an answer of {name}")
        return future.result()

    def set_up(self, trial: TrialPlan) -> None:
        """Put the cube and the arm where the trial starts, and wait until they are there."""
        request = SetParameters.Request()
        request.parameters = [
            Parameter(name, value=value).to_parameter_msg()
            for name, value in {
                "cube_x": float(trial.cube.x),
                "cube_y": float(trial.cube.y),
                "cube_yaw": float(trial.cube.yaw),
                "hide_cube": trial.vision == "hidden",
            }.items()
        ]
        answer = self._call(self._set_parameters, request, "sim/set_parameters")
        for result in answer.results:
            if not result.successful:
                raise EnvironmentProblem(f"the simulator refused a parameter: {result.reason}")
        self.trigger("sim/reset")
        now = self._node.get_clock().now().nanoseconds
        self.wait_for(lambda: self._is_set_up(trial, now), "arm and cube in their places")

    def _is_set_up(self, trial: TrialPlan, after_ns: int) -> bool:
        if not (self._cube and self._joints and self._image):
            return False
        if min(map(_stamp, (self._cube, self._joints, self._image))) < after_ns:
            return False
        cube = self._cube.pose.position
        away = np.hypot(cube.x - trial.cube.x, cube.y - trial.cube.y)
        off = np.abs(_in_order(self._joints) - home_joints()).max()
        return bool(away < 0.005 and off < HOME_TOLERANCE)

    def run(self, trial: TrialPlan, ticks: int = TRIAL_TICKS) -> tuple[Trial, TrialTrace]:
        """One trial, from placing the cube to the result. The driver is stopped before and after.

        A driver that sends no command, or stops to, is a failed trial with its reason.
        """
        driver = trial.driver
        self.trigger(f"{driver}/stop")
        self.set_up(trial)
        recording = TrialTrace()
        self.trigger(f"{driver}/reset")
        with self._changed:
            self._recording = recording
        try:
            self.trigger(f"{driver}/start")
            problem = None
            try:
                self.wait_for(lambda: recording.commands, "the first command", 5.0)
            except EnvironmentProblem as error:
                problem = f"{error.problem}; {self._driver_says(driver)}"
            if problem is None:
                self.wait_for(
                    lambda: has_ended(recording, ticks, time.time()), "the end of the trial"
                )
                silence = time.time() - recording.commands[-1][0]
                if silence > SILENCE:
                    problem = f"no command for {silence:.1f} s; {self._driver_says(driver)}"
        finally:
            with self._changed:
                self._recording = None
            self.trigger(f"{driver}/stop")
        return judge(recording, problem, ticks), recording

    def _driver_says(self, driver: Driver) -> str:
        texts = [
            status["message"]
            for name, status in self.diagnostics.items()
            if name.lstrip("/").startswith(driver)
        ]
        return "; ".join(texts) or f"{driver} publishes no diagnostics"


@contextmanager
def open_referee(domain_id: int, alive: Callable[[], None] = lambda: None) -> Iterator[Referee]:
    """A referee with its node, context and thread, all ended on leaving.

    :param alive: called while waiting; raises when going on makes no sense.
    """
    context = Context()
    rclpy.init(context=context, domain_id=domain_id)
    node = rclpy.create_node("referee", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, name="referee", daemon=True)
    try:
        referee = Referee(node, alive)
        thread.start()
        yield referee
    finally:
        executor.shutdown(timeout_sec=5.0)
        if thread.is_alive():
            thread.join(5.0)
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def _stamp(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec * NANOSECONDS + stamp.nanosec)


def _in_order(message: JointState) -> NDArray[np.float64]:
    """(6,) positions in the simulator's order; NaN for a joint that is not named."""
    values = dict(zip(message.name, message.position, strict=True))
    return np.array([values.get(name, np.nan) for name in JOINT_NAMES])
