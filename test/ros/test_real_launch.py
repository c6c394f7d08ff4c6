# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The launch files under the real `ros2 launch`, where there is one: CI has none, so its tests of
them are those of test_launch.py. docs/reference/quality.md says when and with which versions these
were run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from policies import make_linear
from rcl_interfaces.srv import GetParameters
from ros_testing import JOINTS, TIMEOUT, Graph, Process
from sensor_msgs.msg import JointState
from terminal import Terminal
from trajectory_msgs.msg import JointTrajectory

from sarnn_ros.data.bags import Bag
from sarnn_ros.sim.scene import home_joints
from sarnn_ros.spec import dump_spec, load_spec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_by_one"),
    pytest.mark.skipif(
        find_spec("launch_ros") is None or shutil.which("ros2") is None,
        reason="no launch_ros or no ros2 command: ROS's wheels have neither, a distribution both",
    ),
]

ROOT = Path(__file__).resolve().parents[2]
START = (0.3, 0.3, 0.3)
#: As those of `start_node`: a busy machine keeps a node waiting.
PATIENT = "/**: {ros__parameters: {start.wait: 600.0, watch.max_gap: 1.0}}"


@pytest.fixture(scope="module")
def ros(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a `ros2` command that knows the package: the files of this checkout,
    where pip would put them."""
    prefix = tmp_path_factory.mktemp("prefix")
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "sarnn_ros").touch()
    for name in ("launch", "config"):
        shutil.copytree(ROOT / name, prefix / "share" / "sarnn_ros" / name)
    (prefix / "bin").mkdir()
    for name, module in (
        ("inference_node", "sarnn_ros.ros.inference_node"),
        ("recorder_node", "sarnn_ros.ros.recorder_node"),
        ("sim_node", "sarnn_ros.sim.node"),
    ):
        program = prefix / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        program.chmod(0o755)
    (prefix / "lib").mkdir()
    shutil.copytree(ROOT / "scripts" / "for_pip", prefix / "lib" / "sarnn_ros")
    known = environment.get("AMENT_PREFIX_PATH", "")
    return {
        **environment,
        "AMENT_PREFIX_PATH": os.pathsep.join(filter(None, (str(prefix), known))),
        "ROS_LOG_DIR": str(tmp_path_factory.mktemp("ros_log")),
    }


@pytest.fixture
def ros2_launch(launch: Callable[..., Process], ros: dict[str, str]) -> Iterator[Any]:
    """Starts `ros2 launch`. What a failed test leaves of it is killed."""
    started: list[Process] = []

    def start(*arguments: object) -> Process:
        started.append(launch("ros2", "launch", *map(str, arguments), **ros))
        return started[-1]

    yield start
    for one in (one for process in started for one in process.group):
        with suppress(psutil.NoSuchProcess):
            one.kill()


def ended(process: Process, wait: Callable[..., Any]) -> int:
    """The return code of a launch, when all that it had started has ended as well."""
    code = process.ended()
    wait(lambda: not process.group, lambda: f"left: {process.group}")
    return code


@pytest.fixture
def patient(tmp_path: Path) -> str:
    """The argument that names a file of parameters."""
    (tmp_path / "own.yaml").write_text(PATIENT)
    return f"params_file:={tmp_path / 'own.yaml'}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_node_holds_and_ends_with_its_launch(
    number, ros2_launch, policy, patient, make_robot, wait
):
    """A signal to `ros2 launch` alone. Only at SIGINT does it end its nodes, and returns 0; at
    SIGTERM it dies (Jazzy and Rolling of 2026)."""
    robot = make_robot(JOINTS, START)
    launched = ros2_launch(
        *("sarnn_ros", "inference.launch.py", f"policy:={policy}", "start:=true", patient)
    )
    wait(lambda: len(robot.commands) >= 5, lambda: launched.output)
    assert "[inference_node-1]" in launched.output
    os.kill(launched.pid, number)
    code = ended(launched, wait)
    assert code == 0 or number != signal.SIGINT, launched.output
    robot.wait_for_hold(lambda: launched.output)


def test_ctrl_c(ros, policy, patient, make_robot, wait):
    """In a terminal, which sends SIGINT to the node as well."""
    robot = make_robot(JOINTS, START)
    words = ["sarnn_ros", "inference.launch.py", f"policy:={policy}", "start:=true", patient]
    terminal = Terminal(["setsid", "--ctty", "--wait", "ros2", "launch", *words], ros)
    try:
        wait(lambda: terminal.says("commanding"), lambda: terminal.output)
        wait(lambda: len(robot.commands) >= 5, "commands")
        terminal.type("\x03")
        wait(lambda: terminal.says("finished cleanly"), lambda: terminal.output)
        assert "a hold was sent" in terminal.output
    finally:
        code = terminal.end()
    assert code == 0, terminal.output
    robot.wait_for_hold(lambda: terminal.output)


def test_a_refused_argument_ends_the_launch(ros2_launch, policy, wait):
    launched = ros2_launch("sarnn_ros", "inference.launch.py", f"policy:={policy}", "dryrun:=true")
    assert ended(launched, wait) == 0  # launch has no other code for a shutdown
    assert "no such argument: dryrun" in launched.output
    assert "process started" not in launched.output


def test_two_arms(ros2_launch, policy, make_robot, graph, tmp_path, wait):
    """The launch file of docs/how-to/two_arms.md."""
    text = (ROOT / "docs" / "how-to" / "two_arms.md").read_text(encoding="utf-8")
    text = text.split("```python\n")[1].split("```")[0]
    sides = ("left", "right")
    for side in sides:
        text = text.replace(f"/{side}_policy", str(policy))
    file = tmp_path / "two_arms.launch.py"
    file.write_text(text)
    for side in sides:
        make_robot(JOINTS, START, namespace=f"{side}/")
    sent = {side: graph.collect(JointState, f"/{side}_arm/commands") for side in sides}
    launched = ros2_launch(file)
    for side in sides:
        wait(lambda side=side: graph.state(f"/{side}/sarnn") == "active", lambda: launched.output)
    assert graph.trigger("/left/sarnn/start").success
    wait(lambda: len(sent["left"]) >= 5, lambda: launched.output)
    assert not sent["right"], "each arm waits for its own start"
    launched.send(signal.SIGINT)
    assert ended(launched, wait) == 0, launched.output


def test_the_commands(ros, ros2_launch, policy, make_robot, wait):
    """`ros2 lifecycle`, `param` and `service`, as run.md has them."""
    robot = make_robot(JOINTS, START)
    launched = ros2_launch("sarnn_ros", "inference.launch.py", f"policy:={policy}")
    launched.wait_for("active: stopped")
    for words, says in (
        ("lifecycle get --no-daemon /sarnn", "active [3]"),
        ("param set --no-daemon /sarnn overlay points", "successful"),
        ("service call /sarnn/start std_srvs/srv/Trigger", "success=True"),
        ("service call /sarnn/stop std_srvs/srv/Trigger", "success=True"),
    ):

        def answers(words: str = words, says: str = says) -> bool:
            """Without a daemon a command looks for nodes for half a second only."""
            command = ["ros2", *words.split()]
            done = subprocess.run(
                command, env=ros, capture_output=True, text=True, timeout=TIMEOUT
            )
            return says in done.stdout

        wait(answers, lambda words=words: f"ros2 {words}\n{launched.output}")
    assert robot.commands, "it was started"
    assert launched.stop() == 0, launched.output


#: An arm's own launch file, with arguments that are called as ours are.
ARM = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument("namespace", default_value="driver"),
        DeclareLaunchArgument("rviz", default_value="true"),
        DeclareLaunchArgument("params_file", default_value="/of/the/arm.yaml"),
        Node(package="sarnn_ros", executable="sim_node", name="sim",
             namespace=LaunchConfiguration("namespace"), output="screen"),
    ])
"""

#: A lab's launch file: the arm, the policy and the recorder, in the lab's namespace. The topics of
#: the arm's driver become those of the policy's spec.
LAB = """
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node, PushRosNamespace, SetParameter, SetRemap
from launch_ros.substitutions import FindPackageShare

OURS = PathJoinSubstitution([FindPackageShare("sarnn_ros"), "launch", "inference.launch.py"])


def include(file, **arguments):
    source = PythonLaunchDescriptionSource(file)
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())])


def generate_launch_description():
    return LaunchDescription([
        PushRosNamespace("lab"),
        SetRemap("joint_command", "/lab/controller/joint_trajectory"),
        *(SetRemap(f"/lab/driver/{topic}", f"/lab/{topic}") for topic in TOPICS),
        GroupAction([
            SetParameter("command_interface", "joint_trajectory"),
            include("ARM"),
            include(OURS, policy="POLICY", params_file="PARAMETERS"),
        ]),
        Node(package="sarnn_ros", executable="recorder_node", name="recorder", output="screen",
             parameters=[{"spec": "SPEC", "out": "BAGS", "min_free_gigabytes": 0.1}]),
    ])
"""


@pytest.fixture
def sim_policy(make_policy: Callable[..., Path]) -> Path:
    """A policy of the simulated arm: it stays where it is."""
    spec = load_spec(ROOT / "config" / "demo_spec.yaml")
    home = home_joints()
    return make_policy(
        spec=spec,
        source_size=(128, 128),
        change=lambda model: make_linear(model, np.eye(spec.joint_dim), 0.5),
        position_min=tuple(home - 0.5),
        position_max=tuple(home + 0.5),
        start_pose=tuple(home),
    )


def test_in_a_file_beside_an_arms_own(ros2_launch, sim_policy, patient, graph, tmp_path, wait):
    spec = load_spec(ROOT / "config" / "demo_spec.yaml")
    trajectories = {"type": "trajectory_msgs/msg/JointTrajectory", "clock": "receive"}
    command = spec.command.model_copy(update=trajectories)
    spec = spec.model_copy(update={"command": command})
    for name, content in (
        ("arm.launch.py", ARM),
        ("lab.launch.py", LAB),
        ("spec.yaml", dump_spec(spec)),
    ):
        for word, value in (
            ("ARM", tmp_path / "arm.launch.py"),
            ("POLICY", sim_policy),
            ("PARAMETERS", patient.partition(":=")[2]),
            ("SPEC", tmp_path / "spec.yaml"),
            ("BAGS", tmp_path / "bags"),
        ):
            content = content.replace(f'"{word}"', f'"{value}"')
        topics = ("image_raw", "joint_states", "joint_references")
        (tmp_path / name).write_text(content.replace("in TOPICS", f"in {topics}"))
    topic = "/lab/controller/joint_trajectory"
    sent = graph.collect(JointTrajectory, topic)
    launched = ros2_launch(tmp_path / "lab.launch.py")
    wait(lambda: graph.state("/lab/sarnn") == "active", lambda: launched.output)
    wait(  # once a second the recorder looks for who publishes
        lambda: (
            "recorder"
            in {one.node_name for one in graph.node.get_subscriptions_info_by_topic(topic)}
        ),
        lambda: launched.output,
    )
    started = graph.trigger("/lab/sarnn/start")
    assert started.success, started.message
    wait(lambda: graph.trigger("/lab/recorder/start_episode").success, lambda: launched.output)
    before = len(sent)
    wait(lambda: len(sent) >= before + 10, lambda: launched.output)
    assert graph.trigger("/lab/recorder/stop_episode").success, launched.output
    launched.send(signal.SIGINT)
    assert ended(launched, wait) == 0, launched.output
    assert "a hold was sent" in launched.output
    with Bag(tmp_path / "bags" / "episode_000") as bag:
        counts = {topic: bag.topics[topic].count for topic in bag.topics}
    assert counts[topic] >= 5, counts
    assert counts["/lab/joint_states"] >= 50, counts


def test_demo(ros2_launch, sim_policy, graph, wait):
    sent = graph.collect(JointState, "/joint_command")
    launched = ros2_launch(
        *("sarnn_ros", "demo.launch.py", f"policy:={sim_policy}", "rviz:=false", "start:=true")
    )
    wait(lambda: len(sent) >= 5, lambda: launched.output)
    launched.send(signal.SIGINT)
    assert ended(launched, wait) == 0, launched.output
    assert "a hold was sent" in launched.output


def test_playback(ros2_launch, policy, graph: Graph, tmp_path, wait):
    """The node of it: `ros2 bag` itself is another matter, and may be missing."""
    launched = ros2_launch(
        "sarnn_ros", "playback.launch.py",
        f"policy:={policy}", f"bag:={tmp_path / 'no_bag'}", "rviz:=false",
    )  # fmt: skip
    wait(lambda: graph.state("/sarnn") == "active", lambda: launched.output)
    request = GetParameters.Request(names=["dry_run", "use_sim_time", "start_on_activate"])
    values = graph.call(GetParameters, "/sarnn/get_parameters", request).values
    assert all(value.bool_value for value in values)
    assert "'ros2 bag play" in launched.output, "it has been started, and found no bag"
    launched.send(signal.SIGINT)
    assert ended(launched, wait) == 0, launched.output
