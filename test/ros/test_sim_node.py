# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated arm as another process sees it: topics, service, parameters, signals."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import PoseStamped
from in_time import assert_in_time
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from ros_testing import own_domain, wait_until
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from sarnn_ros.processes import Child, children
from sarnn_ros.sim.scene import JOINT_NAMES, LiftScene, home_joints

HOME = home_joints()
TIMEOUT = 20.0


class Watcher:
    """A ROS client that keeps what it hears: topic -> [(receive time, message)]."""

    def __init__(self, domain: int, command_type: type) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("watcher", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.heard: dict[str, list] = {}
        for topic, kind in (
            ("image_raw", Image),
            ("joint_states", JointState),
            ("joint_references", JointState),
            ("cube_pose", PoseStamped),
        ):
            self.node.create_subscription(
                kind,
                topic,
                lambda message, topic=topic: self._hear(topic, message),
                qos_profile_sensor_data,
            )
        self.command = self.node.create_publisher(command_type, "joint_command", 10)
        self.resetting = self.node.create_client(Trigger, "sim/reset")
        self.setting = self.node.create_client(SetParameters, "sim/set_parameters")

    def _hear(self, topic: str, message) -> None:
        self.heard.setdefault(topic, []).append((time.time(), message))

    def spin_until(self, condition, what: str) -> None:
        end = time.monotonic() + TIMEOUT
        while not condition():
            assert_in_time(time.monotonic() < end, f"waited {TIMEOUT} s for {what}")
            self.executor.spin_once(timeout_sec=0.1)

    def newest(self, topic: str):
        """The first message that is stamped after this call."""
        now = self.node.get_clock().now().nanoseconds
        self.spin_until(
            lambda: topic in self.heard and _stamp(self.heard[topic][-1][1]) > now, topic
        )
        return self.heard[topic][-1][1]

    def call(self, client, request):
        self.spin_until(client.service_is_ready, client.srv_name)
        future = client.call_async(request)
        self.spin_until(future.done, f"the answer of {client.srv_name}")
        return future.result()

    def set(self, **values) -> list:
        request = SetParameters.Request()
        request.parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        return self.call(self.setting, request).results

    def reset(self, **values) -> None:
        standard = {"cube_x": 0.42, "cube_y": 0.0, "cube_yaw": 0.0}
        standard |= {"hide_cube": False, "freeze_camera": False}
        assert all(result.successful for result in self.set(**standard | values))
        answer = self.call(self.resetting, Trigger.Request())
        assert answer.success, answer.message
        self.heard.clear()

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


def _stamp(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def _start(domain: int, tmp_path, *arguments: str) -> Child:
    return Child(
        "sim",
        [sys.executable, "-m", "sarnn_ros.sim.node", *arguments],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_PYTHON_CHECK_FIELDS": "1"},
        log=tmp_path / "sim.log",
    )


def _running(tmp_path, command_type: type, *arguments: str) -> Iterator[Watcher]:
    with own_domain() as domain, children() as running:
        running.append(_start(domain, tmp_path, *arguments))
        watcher = Watcher(domain, command_type)
        try:
            watcher.newest("joint_states")
            watcher.spin_until(lambda: watcher.command.get_subscription_count() > 0, "the sim")
            yield watcher
            running[0].check()
        finally:
            watcher.close()


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watcher]:
    yield from _running(tmp_path_factory.mktemp("sim"), JointState)


@pytest.fixture(scope="module")
def trajectory_sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watcher]:
    arguments = ("--ros-args", "-p", "command_interface:=joint_trajectory")
    yield from _running(tmp_path_factory.mktemp("sim"), JointTrajectory, *arguments)


RATES = {"image_raw": 30, "joint_states": 100, "joint_references": 100, "cube_pose": 100}


def test_rates_and_stamps(sim: Watcher):
    """For two seconds in a row. Not for any two: the machine may have other things to do."""

    found = []

    def as_they_should() -> bool:
        sim.reset()
        sim.spin_until(lambda: len(sim.heard.get("image_raw", ())) >= 60, "60 images")
        rates, delays = {}, {}
        for topic in RATES:
            stamps = np.array([_stamp(message) for _, message in sim.heard[topic]]) * 1e-9
            assert (np.diff(stamps) > 0).all(), topic
            received = np.array([received for received, _ in sim.heard[topic]])
            delays[topic] = np.min(received - stamps)  # this process may have to wait for a core
            rates[topic] = len(stamps) / np.ptp(stamps)
        assert min(delays.values()) >= 0
        found[:] = rates, delays
        return max(delays.values()) < 0.02 and rates == pytest.approx(RATES, rel=0.1)

    wait_until(as_they_should, lambda: f"rates and shortest delays: {found}", timeout=80.0)


def test_the_image_is_the_scene(sim: Watcher):
    sim.reset(cube_y=-0.1, cube_yaw=0.3)
    message = sim.newest("image_raw")
    assert (message.width, message.height, message.step) == (128, 128, 384)
    assert (message.encoding, message.header.frame_id) == ("rgb8", "camera")
    scene = LiftScene()
    scene.reset(0.42, -0.1, 0.3)
    shown = np.frombuffer(message.data, np.uint8).reshape(128, 128, 3)
    # The cube settles by some micrometres, which may move a few edge pixels.
    assert (shown != scene.render()).any(axis=-1).mean() < 0.01


def test_reset_puts_everything_in_its_place(sim: Watcher):
    sim.reset()
    sim.command.publish(JointState(name=list(JOINT_NAMES), position=(HOME + 0.2).tolist()))
    sim.spin_until(
        lambda: sim.newest("joint_states").position[0] > HOME[0] + 0.1, "the arm's motion"
    )
    sim.reset(cube_x=0.40, cube_y=0.15)
    np.testing.assert_allclose(sim.newest("joint_states").position, HOME, atol=0.005)
    np.testing.assert_allclose(sim.newest("joint_references").position, HOME, atol=1e-9)
    cube = sim.newest("cube_pose").pose.position
    np.testing.assert_allclose([cube.x, cube.y, cube.z], [0.40, 0.15, 0.025], atol=1e-3)


def _references_after(sim: Watcher, message) -> np.ndarray:
    sim.command.publish(message)
    end = time.monotonic() + 0.4  # several command periods
    sim.spin_until(lambda: time.monotonic() > end, "the set-points")
    return np.array(sim.newest("joint_references").position)


def test_it_obeys_by_name(sim: Watcher):
    sim.reset()
    order = ["gripper", "joint3", "joint1"]
    references = _references_after(
        sim, JointState(name=order, position=[0.01, HOME[2] - 0.1, 0.2])
    )
    expected = HOME.copy()
    expected[[5, 2, 0]] = [0.01, HOME[2] - 0.1, 0.2]
    np.testing.assert_allclose(references, expected, atol=1e-9)
    measured = sim.newest("joint_states")
    assert list(measured.name) == list(JOINT_NAMES)
    np.testing.assert_allclose(measured.position, expected, atol=0.02)
    assert len(measured.effort) == len(JOINT_NAMES) and np.isfinite(measured.effort).all()


@pytest.mark.parametrize(
    ("names", "positions"),
    [
        (["joint1"], [float("nan")]),
        (["joint1"], [float("inf")]),
        (["joint1", "joint9"], [0.1, 0.1]),
        (["joint1", "joint1"], [0.1, 0.2]),
        (["joint1", "joint2"], [0.1]),
        (["joint1"], []),
        ([], []),
    ],
)
def test_a_senseless_command_is_ignored(sim: Watcher, names, positions):
    sim.reset()
    references = _references_after(sim, JointState(name=names, position=positions))
    np.testing.assert_allclose(references, HOME, atol=1e-9)


def test_limits_clip(sim: Watcher):
    sim.reset()
    references = _references_after(
        sim, JointState(name=["joint1", "gripper"], position=[9.0, -1.0])
    )
    assert references[0] == pytest.approx(1.6)
    assert references[5] == 0.0


def _red(message: Image) -> int:
    image = np.frombuffer(message.data, np.uint8).reshape(128, 128, 3).astype(int)
    return int(((image[..., 0] > 120) & (image[..., 1] < 60)).sum())


def test_the_cube_can_be_hidden(sim: Watcher):
    sim.reset(hide_cube=True)
    assert _red(sim.newest("image_raw")) == 0
    sim.reset()
    assert _red(sim.newest("image_raw")) > 80


def test_the_camera_can_be_frozen(sim: Watcher):
    sim.reset(freeze_camera=True)
    first = sim.newest("image_raw")
    _references_after(sim, JointState(name=["joint1"], position=[0.5]))
    later = sim.newest("image_raw")
    assert _stamp(later) > _stamp(first)
    assert later.data == first.data
    sim.set(freeze_camera=False)
    sim.spin_until(lambda: sim.newest("image_raw").data != first.data, "a live image")


@pytest.mark.parametrize("values", [{"cube_y": 5.0}, {"cube_x": float("nan")}, {"cube_y": "left"}])
def test_a_senseless_parameter_is_refused(sim: Watcher, values):
    assert not sim.set(**values)[0].successful


def _trajectory(points: list[tuple[float, list[float]]], names: list[str]) -> JointTrajectory:
    return JointTrajectory(
        joint_names=names,
        points=[
            JointTrajectoryPoint(
                positions=positions,
                time_from_start=Duration(sec=int(after), nanosec=int(after % 1 * 1e9)),
            )
            for after, positions in points
        ],
    )


def test_it_follows_a_trajectory(trajectory_sim: Watcher):
    sim = trajectory_sim
    sim.reset()
    sim.command.publish(_trajectory([(0.2, [0.2]), (0.4, [-0.1])], ["joint1"]))
    end = time.monotonic() + 0.8
    sim.spin_until(lambda: time.monotonic() > end, "the end of the trajectory")
    seen = np.array([message.position[0] for _, message in sim.heard["joint_references"]])
    assert seen.max() <= 0.2 + 1e-9
    assert_in_time(seen.max() > 0.18, seen.max())  # published at the turn
    assert seen[-1] == pytest.approx(-0.1, abs=1e-9)


@pytest.mark.parametrize("points", [[], [(0.1, [0.1, 0.2])], [(0.1, [float("nan")])]])
def test_a_senseless_trajectory_is_ignored(trajectory_sim: Watcher, points):
    trajectory_sim.reset()
    references = _references_after(trajectory_sim, _trajectory(points, ["joint1"]))
    np.testing.assert_allclose(references, HOME, atol=1e-9)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(tmp_path, number):
    with own_domain() as domain, children() as running:
        running.append(_start(domain, tmp_path))
        watcher = Watcher(domain, JointState)
        try:
            watcher.newest("image_raw")
        finally:
            watcher.close()
        os.kill(running[0].pid, number)
        assert running[0].wait() == 0
    log = (tmp_path / "sim.log").read_text()
    assert "Traceback" not in log
    assert "ready" in log


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("command_interface:=telepathy", "telepathy"),
        ("use_sim_time:=true", "real time"),
        ("hide_cub:=true", "hide_cub: there is no such parameter; did you mean 'hide_cube'?"),
        ("hide_cube:=1", "'hide_cube'"),
        ("cube_x:=0.9", "cube_x"),
    ],
)
def test_a_wrong_setting_ends_it_with_the_reason(tmp_path, argument, said):
    with own_domain() as domain, children() as running:
        running.append(_start(domain, tmp_path, "--ros-args", "-p", argument))
        assert running[0].wait() == 2
    log = (tmp_path / "sim.log").read_text()
    assert said in log and "Traceback" not in log
