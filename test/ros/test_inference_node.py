# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The real inference node, as a process, over real DDS, against a robot that records."""

from __future__ import annotations

import signal

import pytest

START = (0.0, 0.0, 0.0)
JOINTS = ("joint1", "joint2", "gripper")


@pytest.mark.parametrize("interface", ["joint_state", "joint_trajectory", "forward_position"])
def test_it_commands_the_robot(interface, policy, start_node, make_robot, graph, wait):
    robot = make_robot(JOINTS, START, interface=interface, namespace=f"/{interface}/")
    node = start_node(
        "-r", f"__ns:=/{interface}", policy=policy, autostart=True, command_interface=interface
    )
    wait(lambda: len(robot.commands) >= 20, lambda: f"20 commands\n{node.output}")
    assert node.stop(signal.SIGINT) == 0, node.output
