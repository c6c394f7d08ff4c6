# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The referee: runs trials on the simulated arm over ROS.

It uses only topics and services, as any other process could: it places the cube, starts the
inference node, records, and stops it. For the control without a policy it publishes the mean
demonstration itself: if one trajectory lifted the cube everywhere, success would prove nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from visualization_msgs.msg import ImageMarker

from sarnn_ros.errors import EnvironmentProblem
from sarnn_ros.ros import messages
from sarnn_ros.ros.clients import knows_clients
from sarnn_ros.ros.spinning import spinning
from sarnn_ros.sim.judging import SILENCE_SECONDS, Trial, TrialTrace, has_ended, judge
from sarnn_ros.sim.scene import CUBE_HALF, JOINT_NAMES, home_joints
from sarnn_ros.sim.task import RATE, TRIAL_TICKS, TrialPlan
from sarnn_ros.streams.decode import stamp_ns

#: How long to wait for each answer or message, s. Discovery alone may take 3 s.
TIMEOUT_SECONDS = 30.0
#: How far from home the arm may be when a trial starts, rad or m.
HOME_TOLERANCE = 0.02


class Referee:
    """A ROS node with a thread of its own. Use `open_referee`.

    Its methods wait for at most `TIMEOUT_SECONDS` each, and raise an error that names what did
    not happen.
    """

    def __init__(
        self, node: Node, demonstration: NDArray[np.float64], alive: Callable[[], None]
    ) -> None:
        self._node = node
        self._demonstration = demonstration
        self._alive = alive
        self._changed = threading.Condition()
        self._recording: TrialTrace | None = None
        self._newest: dict[str, Any] = {}
        self.diagnostics: dict[str, dict[str, str]] = {}
        sensed, subscribe = qos_profile_sensor_data, node.create_subscription
        subscribe(PoseStamped, "cube_pose", self._on_cube, 10)
        subscribe(JointState, "joint_states", self._on_joints, sensed)
        subscribe(JointState, "joint_command", self._on_command, 10)
        subscribe(Image, "image_raw", self._on_image, sensed)
        subscribe(ImageMarker, "sarnn/attention_points", self._on_marker, sensed)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._set_parameters = node.create_client(SetParameters, "sim/set_parameters")
        self._triggers = {
            name: node.create_client(Trigger, name)
            for name in ("sim/reset", "sarnn/start", "sarnn/stop", "sarnn/reset")
        }
        # The last ones: see `knows_clients`.
        self._known = {
            name: node.create_client(GetParameters, f"{name}/get_parameters")
            for name in ("sim", "sarnn")
        }

    # -- subscriptions, on the executor's thread --------------------------------------------------

    def _take(self, name: str, message: Any, *row: Any) -> None:
        """:param name: the field of a `TrialTrace` that gets the row, after its arrival, s."""
        with self._changed:
            self._newest[name] = message
            if self._recording:
                getattr(self._recording, name).append((time.time(), *row))
            self._changed.notify_all()

    def _on_cube(self, message: PoseStamped) -> None:
        self._take("cube", message, message.pose.position.z - CUBE_HALF)

    def _on_joints(self, message: JointState) -> None:
        self._take("joints", message, _in_order(message))

    def _on_command(self, message: JointState) -> None:
        self._take("commands", message, stamp_ns(message), _in_order(message))

    def _on_image(self, message: Image) -> None:
        pixels = np.frombuffer(message.data, np.uint8)
        image = pixels.reshape(message.height, message.width, 3)
        self._take("images", message, stamp_ns(message), image)

    def _on_marker(self, message: ImageMarker) -> None:
        points = np.array([(point.x, point.y) for point in message.points])
        self._take("markers", message, stamp_ns(message), message.ns, points)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._changed:
            for status in message.status:
                values = {item.key: item.value for item in status.values}
                self.diagnostics[status.name] = {"message": status.message, **values}

    # -- requests, on the caller's thread ---------------------------------------------------------

    def wait_for(
        self, condition: Callable[[], object], what: str, timeout: float = TIMEOUT_SECONDS
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

    def wait_until_ready(self, nodes: tuple[str, ...] = ("sim", "sarnn")) -> None:
        """Until the simulator is heard and every node's services are there."""
        for name, client in self._triggers.items():
            if name.split("/")[0] in nodes:
                self.wait_for(client.service_is_ready, f"the service {name}")
        for name in nodes:
            client = self._known[name]
            self.wait_for(client.service_is_ready, f"the service {name}/get_parameters")
            self.wait_for(knows_clients(client), f"an answer of {name}/get_parameters")
        self.wait_for(lambda: self._newest.keys() >= {*SENSED}, "the simulator's topics")

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
        values = {f"cube_{name}": value for name, value in vars(trial.cube).items()}
        values["hide_cube"] = trial.vision == "hidden"
        parameters = [Parameter(name, value=value) for name, value in values.items()]
        request = SetParameters.Request(parameters=[one.to_parameter_msg() for one in parameters])
        answer = self._call(self._set_parameters, request, "sim/set_parameters")
        for result in answer.results:
            if not result.successful:
                raise EnvironmentProblem(f"the simulator refused a parameter: {result.reason}")
        self.trigger("sim/reset")
        now = self._node.get_clock().now().nanoseconds
        self.wait_for(lambda: self._is_set_up(trial, now), "arm and cube in their places")

    def _is_set_up(self, trial: TrialPlan, after_ns: int) -> bool:
        if min(stamp_ns(self._newest[name]) for name in SENSED) < after_ns:
            return False
        cube = self._newest["cube"].pose.position
        away = np.hypot(cube.x - trial.cube.x, cube.y - trial.cube.y)
        off = np.abs(_in_order(self._newest["joints"]) - home_joints()).max()
        return bool(away < 0.005 and off < HOME_TOLERANCE)

    def run(self, trial: TrialPlan, ticks: int = TRIAL_TICKS) -> tuple[Trial, TrialTrace]:
        """One trial, from placing the cube to the result. The policy is stopped before and after.

        A policy that sends no command, or stops to, is a failed trial with its reason.
        """
        drive = self._replay if trial.driver == "replay" else self._let_drive
        recording = TrialTrace()
        problem = drive(trial, recording, ticks)
        return judge(recording, problem, ticks), recording

    @contextmanager
    def _recorded(self, recording: TrialTrace) -> Iterator[None]:
        with self._changed:
            self._recording = recording
        try:
            yield
        finally:
            with self._changed:
                self._recording = None

    def _let_drive(self, trial: TrialPlan, recording: TrialTrace, ticks: int) -> str | None:
        """The policy; why it did not go on to the end, if so."""
        self.trigger("sarnn/stop")
        self.set_up(trial)
        self.trigger("sarnn/reset")
        with self._recorded(recording):
            try:
                self.trigger("sarnn/start")
                try:
                    self.wait_for(lambda: recording.commands, "the first command", 5.0)
                except EnvironmentProblem as error:
                    return f"{error.problem}; {self._sarnn_says()}"
                self.wait_for(
                    lambda: has_ended(recording, ticks, time.time()), "the end of the trial"
                )
                silence = time.time() - recording.commands[-1][0]
            finally:
                self.trigger("sarnn/stop")
        if silence > SILENCE_SECONDS:
            return f"no command for {silence:.1f} s; {self._sarnn_says()}"
        return None

    def _replay(self, trial: TrialPlan, recording: TrialTrace, ticks: int) -> None:
        """The mean demonstration, then its end. There is a publisher only while it lasts: the
        inference node sends nothing while another node could command the arm."""
        self.set_up(trial)
        publisher = self._node.create_publisher(JointState, "joint_command", 10)
        try:
            self.wait_for(
                lambda: (
                    publisher.get_subscription_count()
                    >= max(2, self._node.count_subscribers("joint_command"))
                ),
                "simulator and referee to hear the replay",
            )
            with self._recorded(recording):
                begun = time.monotonic()
                for tick in range(ticks + 1):
                    command = self._demonstration[min(tick, len(self._demonstration) - 1)]
                    now_ns = self._node.get_clock().now().nanoseconds
                    publisher.publish(messages.joint_state(JOINT_NAMES, command, now_ns))
                    self._alive()
                    time.sleep(max(0.0, begun + (tick + 1) / RATE - time.monotonic()))
        finally:
            self._node.destroy_publisher(publisher)

    def _sarnn_says(self) -> str:
        texts = [
            status["message"]
            for name, status in self.diagnostics.items()
            if name.lstrip("/").startswith("sarnn") and name.endswith(": control")
        ]
        return "; ".join(texts) or "sarnn publishes no diagnostics"


#: What the simulator publishes, as `TrialTrace` calls it.
SENSED = ("cube", "joints", "images")


@contextmanager
def open_referee(
    domain_id: int,
    demonstration: NDArray[np.float64],
    alive: Callable[[], None] = lambda: None,
) -> Iterator[Referee]:
    """A referee with its node, context and thread, all ended on leaving.

    :param demonstration: (T, 6), what a trial without a policy commands, tick by tick.
    :param alive: called while waiting; raises when going on makes no sense.
    """
    context = Context()
    rclpy.init(context=context, domain_id=domain_id)
    node = rclpy.create_node("referee", context=context)
    referee = Referee(node, demonstration, alive)
    with spinning(node):
        yield referee


def _in_order(message: JointState) -> NDArray[np.float64]:
    """(6,) positions in the simulator's order; NaN for a joint that is not named."""
    values = dict(zip(message.name, message.position, strict=True))
    return np.array([values.get(name, np.nan) for name in JOINT_NAMES])
