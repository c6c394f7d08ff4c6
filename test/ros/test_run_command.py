# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn run`: the command of the README starts the node, and nothing is silent."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from ros_testing import JOINTS, small_spec

from sarnn_ros.spec import dump_spec

pytestmark = pytest.mark.usefixtures("one_by_one")

README = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "run.md"
START = (0.3, 0.3, 0.3)


def test_the_command_of_the_documentation_moves_nothing_before_a_start(
    policy, launch, make_robot, graph, wait
):
    command = re.search(r"`sarnn (run inference [^`]*)`", README.read_text(encoding="utf-8"))
    assert command, "docs/how-to/run.md names no command"
    words = re.sub(r"policy:=[^ ]+", f"policy:={policy}", command[1])
    robot = make_robot(JOINTS, START)
    node = launch(sys.executable, "-m", "sarnn_ros.cli.main", *shlex.split(words))
    node.wait_for("active: stopped: call ~/start")
    how = "ros2 service call /sarnn/start std_srvs/srv/Trigger"
    assert re.search(rf"active: stopped.*\(to move the arm: {how}\)\n", node.output), node.output
    published = robot.published
    wait(lambda: robot.published > published + 200, "two seconds")
    assert not robot.commands
    assert graph.trigger("/sarnn/start").success
    wait(lambda: robot.commands, lambda: node.output)
    node.wait_for("[sarnn]: commanding")
    assert node.stop() == 0, node.output


@pytest.mark.parametrize("node", ["inference", "recorder"])
@pytest.mark.parametrize("argument", ["policy:=/somewhere", "--dry-run"])
def test_arguments_that_rclpy_would_ignore_are_refused(node, argument, launch):
    process = launch(sys.executable, "-m", "sarnn_ros.cli.main", "run", node, argument)
    assert process.ended() == 1
    assert f"unknown arguments: {argument}" in process.output
    assert "--ros-args -p policy:=" in process.output and "Traceback" not in process.output


@pytest.mark.parametrize(
    ("node", "wrong", "right"),
    [
        ("inference", "polcy", "policy"),
        ("recorder", "min_free_gigabyte", "min_free_gigabytes"),
    ],
)
def test_unknown_parameters_are_refused(node, wrong, right, launch, tmp_path):
    (tmp_path / "spec.yaml").write_text(dump_spec(small_spec()))
    given = [f"{wrong}:=1.0"]
    if node == "recorder":
        given += [f"spec:={tmp_path / 'spec.yaml'}", f"out:={tmp_path / 'bags'}"]
    ros = [word for text in given for word in ("-p", text)]
    process = launch(sys.executable, "-m", "sarnn_ros.cli.main", "run", node, "--ros-args", *ros)
    assert process.ended() in (1, 2)
    assert f"{wrong}: there is no such parameter; did you mean '{right}'?" in process.output
    assert "Traceback" not in process.output


def test_a_node_that_waits_says_for_what(policy, start_node, graph, make_robot):
    node = start_node("-r", "__ns:=/waits", policy=policy, autostart=False)
    node.wait_for("unconfigured: configure it")
    assert graph.change_state("/waits/sarnn", 1)
    node.wait_for("inactive: activate it")
    assert graph.change_state("/waits/sarnn", 3)
    node.wait_for("holding: ")
    assert node.stop() == 0, node.output


def test_the_recorder_says_how_to_use_it(launch, tmp_path):
    (tmp_path / "spec.yaml").write_text(dump_spec(small_spec()))
    given = [f"spec:={tmp_path / 'spec.yaml'}", f"out:={tmp_path / 'bags'}"]
    ros = [word for text in given for word in ("-p", text)]
    node = launch(
        sys.executable, "-m", "sarnn_ros.cli.main", "run", "recorder", "--ros-args", *ros,
        "-r", "__ns:=/cell",
    )  # fmt: skip
    node.wait_for("ros2 service call /cell/recorder/start_episode std_srvs/srv/Trigger")
    assert node.stop() == 0, node.output
    assert str(tmp_path / "bags") in node.output
