# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The real node before the real controller_manager and its controllers, with mock hardware, where
they are installed (`control_manager`): the same that `test_controllers` asks of the stand-ins."""

from __future__ import annotations

import numpy as np
import pytest
from circling import SETPOINTS, START, follows, go_round
from control_manager import Hardware, Manager, MockRobot
from gripper_client import CLOSED, OPEN
from ros_testing import JOINTS

pytestmark = pytest.mark.slow

TRAJECTORY = "joint_trajectory_controller/JointTrajectoryController"
#: Its names are those of the interfaces.
CONTROLLERS = {
    "joint_trajectory": (
        TRAJECTORY,
        {
            "joints": list(JOINTS),
            "command_interfaces": ["position"],
            "state_interfaces": ["position"],
            "interpolate_from_desired_state": True,
            "constraints": {name: {"trajectory": 0.1, "goal": 0.05} for name in JOINTS}
            | {"goal_time": 0.5},
        },
    ),
    "forward_position": (
        "forward_command_controller/ForwardCommandController",
        {"joints": list(JOINTS), "interface_name": "position"},
    ),
}
PARALLEL = "parallel_gripper_action_controller/GripperActionController"
COMMAND = "position_controllers/GripperActionController"
GRIPPERS = {
    "parallel_free": (PARALLEL, {"joint": "gripper"}),
    "parallel_held": (PARALLEL, {"joint": "held", "stall_timeout": 0.5}),
    "parallel_slow": (PARALLEL, {"joint": "held", "stall_timeout": 60.0}),
    "command_free": (COMMAND, {"joint": "gripper"}),
    "command_held": (COMMAND, {"joint": "held", "stall_timeout": 0.5}),
    "command_slow": (COMMAND, {"joint": "held", "stall_timeout": 60.0}),
    # The arm without its gripper.
    "arm_alone": (TRAJECTORY, CONTROLLERS["joint_trajectory"][1] | {"joints": list(JOINTS[:2])}),
}
TOPICS = {"joint_trajectory": "joint_trajectory", "forward_position": "commands"}


@pytest.fixture(scope="module")
def manager(launch, graph, tmp_path_factory):
    hardware = [
        Hardware("arm", dict(zip(JOINTS, START))),
        # It stays so far from where it is sent: something is between its fingers.
        Hardware("hand", {"held": 0.0}, {"position_state_following_offset": "-0.3"}),
    ]
    folder = tmp_path_factory.mktemp("control")
    return Manager(launch, graph, folder, hardware, CONTROLLERS | GRIPPERS)


@pytest.fixture(scope="module")
def circling(make_policy):
    return make_policy(change=go_round)


@pytest.fixture(params=CONTROLLERS)
def interface(request):
    return request.param


@pytest.fixture
def arm(interface, manager, circling, start_node, make_robot, wait):
    """A robot and its node, in a namespace, which commands."""
    manager.switch(on=[interface])
    topic = f"/{interface}/{TOPICS[interface]}"
    robot = make_robot(
        JOINTS, START, MockRobot, interface=interface, namespace=f"/by_{interface}/", topic=topic
    )
    rate = {} if interface == "joint_trajectory" else {"command_rate": SETPOINTS}
    remaps = [f"joint_command:={topic}", "joint_states:=/joint_states"]
    node = start_node(
        *("-r", f"__ns:=/by_{interface}"), *(word for one in remaps for word in ("-r", one)),
        policy=circling, command_interface=interface, interpolation="cubic",
        input_param_joints=0.0, watch__max_gap=2.0, **rate,
    )  # fmt: skip
    wait(lambda: len(robot.commands) > 5, lambda: node.output)
    yield robot, node
    node.stop()
    make_robot.end()
    if manager.states()[interface] == "active":
        manager.switch(off=[interface])


def complaints(text):
    """Warnings and errors in a log of the manager, but of what a busy machine causes."""
    lines = [line for line in text.splitlines() if "[WARN]" in line or "[ERROR]" in line]
    return [line for line in lines if "verrun" not in line]


def test_an_episode_is_accepted_and_does_not_stutter(interface, arm, manager, wait):
    robot, node = arm
    said = len(manager.process.output)
    jerky = {"joint_trajectory": 40, "forward_position": 200}[interface]
    follows(robot, node, interface, jerky, wait)
    assert not complaints(manager.process.output[said:])
    assert manager.states()[interface] == "active"


def test_a_controller_that_is_switched_off_is_noticed(interface, arm, manager, graph, wait):
    """It stays subscribed, so that `no_controller` cannot tell; but the arm stands. Mock hardware
    has no noise, so it passes for frozen."""
    robot, node = arm
    name, said = f"/by_{interface}/sarnn", len(node.output)
    manager.switch(off=[interface])
    node.wait_for("the same to the last bit", after=said)
    node.wait_for("or is the controller switched off?", after=said)
    assert not graph.trigger(f"{name}/start").success
    count, published = len(robot.commands), robot.published
    wait(lambda: robot.published > published + 40, "four ticks")
    assert len(robot.commands) == count

    # Switched on again, it stays where it is; and goes on when it is told to.
    there, published = robot.position, robot.published
    manager.switch(on=[interface])
    wait(lambda: robot.published > published + 40, "four ticks")
    np.testing.assert_allclose(robot.position, there, atol=1e-3)
    assert graph.trigger(f"{name}/reset").success and graph.trigger(f"{name}/start").success
    wait(lambda: np.abs(robot.position - there).max() > 0.05, lambda: node.output)


def test_another_controller_cannot_take_the_joints_meanwhile(interface, arm, manager, wait):
    robot, node = arm
    (other,) = CONTROLLERS.keys() - {interface}
    assert not manager.try_switch(on=[other]).ok
    count = len(robot.commands)
    wait(lambda: len(robot.commands) > count + 10, lambda: node.output)
    assert manager.states() | {interface: "active", other: "inactive"} == manager.states()


@pytest.mark.parametrize("interface", ["forward_position"], indirect=True)
def test_a_command_of_another_size_switches_the_forward_controller_off(
    interface, manager, graph, wait
):
    """So does the stand-in. An order that is wrong nobody can notice; a number, this one can."""
    from std_msgs.msg import Float64MultiArray

    manager.switch(on=[interface])
    publisher = graph.node.create_publisher(Float64MultiArray, f"/{interface}/commands", 1)
    wait(publisher.get_subscription_count, "the controller")
    publisher.publish(Float64MultiArray(data=[0.3, 0.3]))
    wait(lambda: manager.states()[interface] == "inactive", lambda: manager.process.output)
    assert "as their update resulted in an error" in manager.process.output
    graph.node.destroy_publisher(publisher)


@pytest.fixture(params=["parallel", "command"])
def gripper(request, manager, connect):
    """Switches a controller on and makes its client."""
    interface = {"parallel": "parallel_gripper_command", "command": "gripper_command"}
    on = []

    def make(what):
        name = f"{request.param}_{what}"
        manager.switch(on=[name])
        on.append(name)
        return name, connect(interface[request.param], f"/{name}/gripper_cmd")

    yield make
    manager.switch(off=[name for name in on if manager.states()[name] == "active"])


def test_a_gripper_opens_and_closes(gripper, wait):
    _, client = gripper("free")
    for position, news in ((OPEN, "is open: at -0.8"), (CLOSED, "is closed: at 0.7")):
        client.action.want(position)
        wait(lambda news=news: client.action.news == (True, news), lambda: client.action.news)
    assert not client.latched


def test_a_gripper_that_holds_something_stalls(gripper, wait):
    _, client = gripper("held")
    client.action.want(CLOSED)
    news = (True, "stopped at 0.4 on its way to 0.7: it holds it")
    wait(lambda: client.action.news == news, lambda: client.action.news)
    client.action.want(OPEN)
    news = (False, "is not open, something blocks it: at -1.1")
    wait(lambda: client.action.news == news, lambda: client.action.news)
    assert not client.latched


def test_a_goal_in_progress_is_cancelled_and_the_next_one_sent(gripper, manager, wait):
    _, client = gripper("slow")
    said = len(manager.process.output)
    for position, news in ((CLOSED, "closes to 0.7"), (OPEN, "opens to -0.8"), (CLOSED, "closes")):
        client.action.want(position)
        wait(lambda news=news: client.action.news[1].startswith(news), lambda: client.action.news)
    assert not client.latched
    log = manager.process.output[said:]
    assert log.count("accepted new action goal") == 3 and log.count("request to cancel goal") == 2


def test_a_gripper_controller_that_is_switched_off_takes_goals_and_never_ends_them(
    gripper, manager, wait, monkeypatch
):
    monkeypatch.setattr("sarnn_ros.ros.gripper_action.LONG_SECONDS", 1.0)
    name, client = gripper("free")
    manager.switch(off=[name])
    client.action.want(OPEN)
    news = (False, "opens to -0.8 for 1 s already: is its controller switched off?")
    wait(lambda: client.action.news == news, lambda: client.action.news)
    assert not client.latched


def test_a_run_whose_gripper_is_at_once_where_it_is_sent(
    make_policy, manager, gripper, start_node, make_robot, wait
):
    """The arm by its controller, the hand by its own, all states from one broadcaster. In the
    demonstrations the hand took more than a second."""
    slow = make_policy(max_step=(0.3, 0.3, 0.1))
    name, client = gripper("free")
    client.action.want(OPEN)
    wait(lambda: client.action.news == (True, "is open: at -0.8"), lambda: client.action.news)
    manager.switch(on=["arm_alone"])
    topic = "/arm_alone/joint_trajectory"
    robot = make_robot(
        JOINTS, START, MockRobot, interface="joint_trajectory", namespace="/whole/", topic=topic
    )
    remaps = [
        f"joint_command:={topic}", f"gripper_command:=/{name}/gripper_cmd",
        "joint_states:=/joint_states", "__ns:=/whole",
    ]  # fmt: skip
    kind = "parallel_gripper_command" if name.startswith("parallel") else "gripper_command"
    node = start_node(
        *(word for one in remaps for word in ("-r", one)),
        policy=slow,
        command_interface="joint_trajectory", start__margin=1.0, gripper__joints=["gripper"],
        gripper__interface=kind, gripper__open=[OPEN], gripper__closed=[CLOSED],
    )  # fmt: skip
    node.wait_for("gripper gripper: is closed: at 0.7")
    count = len(robot.commands)
    wait(lambda: len(robot.commands) > count + 5, lambda: node.output)
    assert "faulted" not in node.output
    node.stop()
    make_robot.end()
    manager.switch(off=["arm_alone"])
