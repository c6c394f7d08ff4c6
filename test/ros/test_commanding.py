# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How the real node commands over real DDS, beyond one message a tick."""

from __future__ import annotations

import numpy as np
import pytest
from ros_testing import JOINTS

START = (0.3, 0.3, 0.3)
MAX_STEP = 0.45


@pytest.mark.parametrize(
    ("interface", "kind"), [("forward_position", "linear"), ("joint_state", "cubic")]
)
def test_set_points_at_a_rate_of_their_own(
    interface, kind, policy, start_node, make_robot, graph, wait
):
    namespace = f"/streams_{kind}"
    robot = make_robot(JOINTS, START, interface=interface, namespace=f"{namespace}/")
    node = start_node(
        "-r",
        f"__ns:={namespace}",
        policy=policy,
        autostart=True,
        command_interface=interface,
        command_rate=50,
        interpolation=kind,
    )
    wait(lambda: len(robot.commands) >= 100, lambda: node.output)
    assert graph.trigger(f"{namespace}/sarnn/stop").success
    count, published = len(robot.commands), robot.published
    wait(lambda: robot.published > published + 40, "four ticks")
    assert len(robot.commands) <= count + 2, "at most the hold and one that was on its way"

    gaps = np.diff([command.at_ns for command in robot.commands[:100]]) * 1e-9
    assert np.median(gaps) == pytest.approx(0.02, abs=0.005)
    path = np.array([command.position for command in robot.commands])
    # The last ones are one set-point and its hold: nothing jumps to where the way was to lead.
    np.testing.assert_array_equal(path[-1], path[-2])
    for command in robot.commands:
        assert (np.abs(command.position - command.present) < MAX_STEP).all()
    # Five set-points a tick make the steps small; one a tick would be the whole way at once.
    steps = np.abs(np.diff(path, axis=0)).max(axis=1)
    whole = np.abs(path[5:] - path[:-5]).max(axis=1)
    assert np.percentile(steps, 90) < 0.5 * np.percentile(whole, 90)
    assert "Traceback" not in node.output


@pytest.mark.parametrize("rate", [0, 50])
def test_a_gripper_on_a_topic_of_its_own(rate, policy, start_node, make_robot, graph, wait):
    from std_msgs.msg import Float64

    namespace = f"/grips_{rate}"
    robot = make_robot(JOINTS, START, interface="forward_position", namespace=f"{namespace}/")
    robot.command_names = ("joint2", "joint1")
    node = start_node(
        "-r",
        f"__ns:={namespace}",
        policy=policy,
        autostart=True,
        command_interface="forward_position",
        command_joints=["joint2", "joint1"],
        command_rate=rate,
        gripper__joints=["gripper"],
        gripper__interface="float64",
        gripper__open=[-0.8],
        gripper__closed=[0.7],
    )
    node.wait_for("nobody listens to")
    node.wait_for(f"'{namespace}/gripper_command': is the controller active")
    assert not robot.commands, "an arm without its gripper is not commanded either"
    grips = graph.collect(Float64, f"{namespace}/gripper_command")
    wait(lambda: len(grips) >= 10 and len(robot.commands) >= 10, lambda: node.output)
    assert graph.trigger(f"{namespace}/sarnn/stop").success
    count, published = len(robot.commands), robot.published
    wait(lambda: robot.published > published + 40, "four ticks")
    # The prediction is near 0.3, nearer to closed: all the way, at once, and kept by the hold.
    assert {message.data for message in grips} == {0.7}
    assert all(command.position.shape == (2,) for command in robot.commands)
    assert len(robot.commands) <= count + 2


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"command_rate": 5}, "less than the policy's 10 Hz"),
        (
            {"command_rate": 100, "command_interface": "joint_trajectory"},
            "a trajectory is interpolated by its controller",
        ),
    ],
)
def test_command_rates_that_make_no_sense(parameters, words, policy, start_node, wait):
    node = start_node(policy=policy, autostart=True, **parameters)
    wait(lambda: node.returncode is not None, lambda: node.output)
    assert node.returncode == 1 and words in node.output


def test_ramp_interruption_ramp_again_warm_up_and_blend(
    policy, start_node, make_robot, graph, wait
):
    from diagnostic_msgs.msg import DiagnosticArray

    said = []  # what diagnostics called the state, in order

    def hear(message):
        for status in message.status:
            if status.name == "/begins/sarnn: control" and status.message not in said[-1:]:
                said.append(status.message)

    graph.node.create_subscription(DiagnosticArray, "/diagnostics", hear, 50)
    # The demonstrations began between 0.2 and 0.4.
    robot = make_robot(JOINTS, (0.7, 0.3, -0.1), namespace="/begins/")
    node = start_node(
        "-r",
        "__ns:=/begins",
        policy=policy,
        autostart=True,
        start__ramp_speed=0.15,
        start__warm_up_ticks=15,
        start__blend_time=0.5,
    )
    wait(lambda: len(robot.commands) >= 10 and "ramping" in said, lambda: node.output)
    with robot.record:
        robot.mutate_joints = lambda message: ()
    node.wait_for("the ramp to the start pose was interrupted; call ~/start")
    robot.mend()
    wait(lambda: "stopped: call ~/start" in said, lambda: str(said))
    half_way = robot.position[0]
    assert 0.41 < half_way < 0.68
    count, published = len(robot.commands), robot.published
    wait(lambda: robot.published > published + 50, "five ticks")
    assert len(robot.commands) == count, "it does not go on by itself"

    assert graph.trigger("/begins/sarnn/start").success
    wait(lambda: "commanding" in said, lambda: f"{said}\n{node.output}")
    path = np.array([command.position for command in robot.commands])
    ramp = path[: np.flatnonzero(path[:, 0] == 0.4)[0] + 1]
    steps = np.abs(np.diff(ramp, axis=0))
    # Once it goes back: the second ramp begins where the arm is, not where the first was to lead.
    assert np.percentile(steps, 90) <= 0.0151 and steps.max() < 0.1
    np.testing.assert_allclose(ramp[-1, 2], 0.2, atol=0.05)
    gaps = np.diff([command.at_ns for command in robot.commands[count:]]) * 1e-9
    assert gaps.max() > 1.4, "15 ticks without a command, after the hold"
    assert said.index("ramping") < said.index("commanding")
    for command in robot.commands:
        assert (np.abs(command.position - command.present) < MAX_STEP).all()
