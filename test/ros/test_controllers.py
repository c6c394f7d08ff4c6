# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The real node before stand-ins for the controllers of ros2_control, which were compared with the
real ones (`controllers`), and an arm that follows: whole episodes of a smooth motion."""

from __future__ import annotations

import array

import numpy as np
import pytest
from circling import DELAYS, SETPOINTS, START, follows, go_round
from controlled_robot import CYCLE_NS, ControlledRobot
from controllers import ForwardController, Parameters, TrajectoryController
from in_time import assert_in_time
from ros_testing import JOINTS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def arms(make_policy, start_node, make_robot, wait):
    """Per interface a node and its robot; both of them command."""
    policy = make_policy(change=go_round)
    streaming = Parameters(
        JOINTS,
        interpolate_from_desired_state=True,
        trajectory=dict.fromkeys(JOINTS, 0.1),
        goal=dict.fromkeys(JOINTS, 0.05),
        goal_time=0.5,
    )
    controllers = {
        "joint_trajectory": TrajectoryController(streaming, CYCLE_NS),
        "forward_position": ForwardController(JOINTS),
    }
    made = {}
    for interface, controller in controllers.items():
        robot = make_robot(
            JOINTS,
            START,
            ControlledRobot,
            interface=interface,
            namespace=f"/{interface}/",
            controller=controller,
        )
        rate = {} if interface == "joint_trajectory" else {"command_rate": SETPOINTS}
        node = start_node(
            *("-r", f"__ns:=/{interface}"), policy=policy, command_interface=interface,
            interpolation="cubic", input_param_joints=0.0, watch__max_gap=2.0, **rate,
        )  # fmt: skip
        made[interface] = robot, node
    for robot, node in made.values():
        wait(lambda robot=robot: robot.commands, lambda node=node: node.output)
    return made


@pytest.mark.parametrize(
    ("interface", "jerky"), [("joint_trajectory", 40), ("forward_position", 200)]
)
def test_an_episode_is_accepted_and_does_not_stutter(interface, jerky, arms, wait):
    robot, node = arms[interface]
    follows(robot, node, interface, jerky, wait)
    sent = len(robot.commands) - 2
    assert sent > 20
    wait(lambda: robot.controller.accepted >= sent, lambda: node.output)
    assert not robot.controller.rejected
    # A node that got no core leaves out steps, and the next one may be too far for the controller.
    assert_in_time(not robot.controller.given_up, node.output)


@pytest.mark.parametrize("interface", DELAYS)
def test_a_controller_that_is_switched_off_is_noticed(interface, arms, graph, wait):
    """It stays subscribed, so that `no_controller` cannot tell; but the arm stands. Its encoders
    are noisy, as real ones are: the same to the last bit it would be `frozen:joints`."""
    robot, node = arms[interface]
    name, said = f"/{interface}/sarnn", len(node.output)
    assert graph.trigger(f"{name}/reset").success and graph.trigger(f"{name}/start").success
    seen = len(robot.commands)
    wait(lambda: len(robot.commands) > seen + 3, lambda: node.output)
    noise = np.random.default_rng(0)

    def measure(message):
        message.position = array.array("d", message.position + noise.normal(0, 1e-7, len(JOINTS)))
        return (message,)

    with robot.record:
        robot.mutate_joints = measure
    robot.switch(active=False)
    node.wait_for("the arm does not follow", after=said)
    node.wait_for("did its controller reject the commands", after=said)
    assert not graph.trigger(f"{name}/start").success
    robot.catch_up()
    count, published = len(robot.commands), robot.published
    wait(lambda: robot.published > published + 40, "four ticks")
    assert len(robot.commands) == count

    # Switched on again, it stays where it is; and goes on when it is told to.
    robot.switch(active=True)
    there, published = robot.position, robot.published
    wait(lambda: robot.published > published + 20, "two ticks")
    np.testing.assert_allclose(robot.position, there, atol=1e-3)
    assert graph.trigger(f"{name}/reset").success and graph.trigger(f"{name}/start").success
    wait(lambda: len(robot.commands) > count + 5, lambda: node.output)
    wait(lambda: np.abs(robot.position - there).max() > 0.05, lambda: node.output)
    assert not robot.controller.rejected
