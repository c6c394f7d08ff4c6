# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Grippers that are commanded by actions, over real DDS: what a server is sent and when, and what
is said of how it ends. The types are those installed, or such as have the same fields."""

from __future__ import annotations

import time
from pathlib import Path

import action_types
import numpy as np
import pytest
from gripper_client import CLOSED, OPEN
from ros_testing import JOINTS, small_spec, wait_until

pytestmark = [pytest.mark.slow]

TYPES = Path(action_types.__file__).parent / "interfaces"
START = (0.3, 0.3, 0.3)
GRIPPER = {
    "gripper__joints": ["gripper"],
    "gripper__interface": "gripper_command",
    "gripper__open": [OPEN],
    "gripper__closed": [CLOSED],
}


@pytest.fixture(scope="module", autouse=True)
def types(environment):
    for package in ("control_msgs", "franka_msgs"):
        action_types.provide(environment, package, TYPES / package)


class Server:
    """An action server of a gripper, whose goals end when the test says so."""

    def __init__(self, graph, interface, name, *, closing=True):
        from rclpy.action import ActionServer, CancelResponse, GoalResponse

        from sarnn_ros.ros.gripper_action import KINDS
        from sarnn_ros.ros.messages import message_class

        kind = KINDS[interface][closing]
        self._graph, self._class = graph, message_class(kind.name)
        self.goals, self.cancels, self.accepts, self.releases = [], 0, True, True
        self._futures = []

        def judge(goal):
            self.goals.append(goal)
            return GoalResponse.ACCEPT if self.accepts else GoalResponse.REJECT

        def cancel(handle):
            self.cancels += 1
            return CancelResponse.ACCEPT if self.releases else CancelResponse.REJECT

        self._server = ActionServer(
            graph.node,
            self._class,
            name + kind.suffix,
            self._execute,
            goal_callback=judge,
            cancel_callback=cancel,
        )

    async def _execute(self, handle):
        from rclpy.task import Future

        future = Future(executor=self._graph.node.executor)
        self._futures.append((handle, future))
        how, result = await future
        getattr(handle, how)()
        return result

    @property
    def in_progress(self):
        return [handle for handle, future in self._futures if not future.done()]

    def end(self, how="succeed", **result):
        """End the oldest goal: succeed, abort or canceled. It may have been accepted just now."""
        futures = wait_until(
            lambda: [future for _, future in self._futures if not future.done()],
            "a goal that is executed",
        )
        futures[0].set_result((how, self._class.Result(**result)))

    def close(self):
        if self._server is not None:
            self._graph.in_executor(self._server.destroy)
            self._server = None


@pytest.fixture
def serve(graph):
    servers = []

    def make(interface, name, **options):
        servers.append(Server(graph, interface, name, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def pause(seconds=0.4):
    """For what must not happen."""
    time.sleep(seconds)


def open_instead(gripper, server, wait):
    """While it closes: that goal is cancelled, and the next one sent when it has ended."""
    gripper.want(OPEN)
    wait(lambda: server.cancels == 1, "the cancel")
    pause()
    assert len(server.goals) == 1, "two goals at a time"
    server.end("canceled")
    wait(lambda: len(server.goals) == 2, "the next goal")
    assert server.goals[1].command.position == OPEN
    server.end("succeed", position=OPEN, reached_goal=True)
    wait(lambda: gripper.news == (True, "is open: at -0.8"), lambda: gripper.news)


def test_one_goal_at_a_time_and_the_next_when_the_cancelled_one_has_ended(serve, connect, wait):
    server = serve("gripper_command", "/one/gripper")
    gripper = connect("gripper_command", "/one/gripper").action
    for _ in range(20):
        gripper.want(CLOSED)
    wait(lambda: server.in_progress, "the goal")
    assert [goal.command.position for goal in server.goals] == [CLOSED]
    assert server.goals[0].command.max_effort == 40.0
    wait(lambda: gripper.news == (True, "closes to 0.7"), lambda: gripper.news)

    open_instead(gripper, server, wait)
    gripper.want(OPEN)
    pause()
    assert len(server.goals) == 2, "what was told once is told again"


def test_a_goal_in_progress_is_that_of_the_next_policy(graph, serve, connect, wait):
    """Else a second one would be sent beside it, and some servers carry out both."""
    server = serve("gripper_command", "/adopted/gripper")
    before = connect("gripper_command", "/adopted/gripper")
    before.action.want(CLOSED)
    wait(lambda: "closes" in before.action.news[1], "accepted")
    gripper = connect("gripper_command", "/adopted/gripper").action
    graph.in_executor(lambda: gripper.adopt(before.action))  # between two answers, as the node
    before.close()

    open_instead(gripper, server, wait)


def test_it_comes_back_to_what_was_cancelled(serve, connect, wait):
    server = serve("gripper_command", "/back/gripper")
    gripper = connect("gripper_command", "/back/gripper").action
    gripper.want(CLOSED)
    wait(lambda: server.in_progress, "the goal")
    wait(lambda: "closes" in gripper.news[1], "accepted")
    gripper.want(OPEN)
    wait(lambda: server.cancels == 1, "the cancel")
    gripper.want(CLOSED)
    server.end("canceled")
    wait(lambda: len(server.goals) == 2, "the goal again")
    assert [goal.command.position for goal in server.goals] == [CLOSED, CLOSED]


def test_a_server_that_does_not_cancel_ends_first(serve, connect, wait):
    server = serve("gripper_command", "/stubborn/gripper")
    server.releases = False
    client = connect("gripper_command", "/stubborn/gripper")
    client.action.want(CLOSED)
    wait(lambda: "closes" in client.action.news[1], "accepted")
    client.action.want(OPEN)
    wait(lambda: "does not cancel" in client.action.news[1], "told")
    pause(3.5)  # longer than it may take to answer
    assert not client.latched and len(server.goals) == 1
    server.end("succeed", position=CLOSED, reached_goal=True)
    wait(lambda: len(server.goals) == 2, "the next goal")


@pytest.mark.parametrize(
    ("position", "how", "result", "well", "words"),
    [
        (CLOSED, "abort", {"stalled": True, "position": 0.41}, True, "at 0.41 .* it holds it"),
        (CLOSED, "succeed", {"stalled": True, "position": 0.41}, True, "it holds it"),
        (OPEN, "abort", {"stalled": True, "position": 0.1}, False, "not open, something blocks"),
        (CLOSED, "abort", {"position": 0.1}, False, "not closed, its server gave up: at 0.1"),
    ],
)
def test_how_a_goal_ends_is_told_and_is_no_fault(
    position, how, result, well, words, serve, connect, wait
):
    import re

    server = serve("gripper_command", "/ends/gripper")
    client = connect("gripper_command", "/ends/gripper")
    client.action.want(position)
    wait(lambda: server.in_progress, "the goal")
    server.end(how, **result)
    wait(lambda: re.search(words, client.action.news[1]), lambda: client.action.news)
    assert client.action.news[0] is well and not client.latched


def test_a_goal_that_does_not_end_is_told_once(serve, connect, wait, monkeypatch):
    """A controller that was switched off takes goals, and never ends them."""
    monkeypatch.setattr("sarnn_ros.ros.gripper_action.LONG_SECONDS", 0.5)
    server = serve("gripper_command", "/long/gripper")
    client = connect("gripper_command", "/long/gripper")
    client.action.want(CLOSED)
    told = (False, "closes to 0.7 for 0.5 s already: is its controller switched off?")
    wait(lambda: client.action.news == told, lambda: client.action.news)
    assert client.action.get_subscription_count() and not client.latched
    server.end("succeed", position=CLOSED, reached_goal=True)
    wait(lambda: client.action.news == (True, "is closed: at 0.7"), lambda: client.action.news)


def test_somebody_else_who_commands_it_is_told(graph, serve, connect, wait):
    from action_msgs.srv import CancelGoal

    server = serve("gripper_command", "/other/gripper")
    gripper = connect("gripper_command", "/other/gripper").action
    gripper.want(CLOSED)
    wait(lambda: "closes" in gripper.news[1], "accepted")
    client = graph.node.create_client(CancelGoal, "/other/gripper/_action/cancel_goal")
    wait(client.service_is_ready, "the service")
    client.call_async(CancelGoal.Request())  # all goals
    wait(lambda: server.cancels, "the cancel")
    server.end("canceled")
    wait(lambda: "somebody else" in gripper.news[1], lambda: gripper.news)
    assert not gripper.news[0]
    graph.node.destroy_client(client)


def test_nothing_is_sent_where_nothing_may_be_commanded_or_too_late(serve, connect, wait):
    server = serve("gripper_command", "/stopped/gripper")
    client = connect("gripper_command", "/stopped/gripper")
    client.may = False
    client.action.want(CLOSED)
    pause()
    assert not server.goals
    client.may = True
    client.action.want(CLOSED)
    wait(lambda: "closes" in client.action.news[1], "accepted")

    client.action.want(OPEN)
    wait(lambda: server.cancels, "the cancel")
    client.may = False  # ~/stop, while the goal is being cancelled
    server.end("canceled")
    pause()
    assert len(server.goals) == 1
    late = connect("gripper_command", "/stopped/gripper", late_s=-1.0)
    late.action.want(CLOSED)
    pause()
    assert len(server.goals) == 1


def test_a_server_that_rejects_or_does_not_answer_latches(serve, connect, wait, monkeypatch):
    server = serve("gripper_command", "/no/gripper")
    server.accepts = False
    client = connect("gripper_command", "/no/gripper")
    client.action.want(CLOSED)
    wait(lambda: client.latched, "the fault")
    (code, text) = client.latched[0]
    assert code == "gripper_action" and "'/no/gripper' rejected the goal 0.7" in text
    assert not client.action.news[0]

    monkeypatch.setattr("sarnn_ros.ros.gripper_action.ANSWER_SECONDS", 0.3)
    server.accepts = True
    client.action.want(CLOSED)  # after ~/reset and ~/start: asked again
    wait(lambda: server.in_progress, "the goal")
    wait(lambda: "closes" in client.action.news[1], "accepted")
    client.action.want(OPEN)
    wait(lambda: len(client.latched) == 2, "the fault")
    assert "did not end the goal that was cancelled within 0.3 s" in client.latched[1][1]


def test_a_server_that_goes_is_told_and_commanded_anew(graph, serve, connect, wait):
    server = serve("gripper_command", "/gone/gripper")
    client = connect("gripper_command", "/gone/gripper")
    client.action.want(CLOSED)
    wait(lambda: "closes" in client.action.news[1], "accepted")
    server.end("succeed", reached_goal=True)  # or rclpy complains of a goal without a server
    client.action.want(OPEN)
    wait(lambda: len(server.in_progress) == 1 and "opens" in client.action.news[1], "accepted")
    server.close()
    wait(lambda: "has gone" in client.action.news[1], lambda: client.action.news)
    assert not client.action.get_subscription_count() and not client.latched
    again = serve("gripper_command", "/gone/gripper")
    wait(client.action.get_subscription_count, "the server again")
    client.action.want(OPEN)
    wait(lambda: again.in_progress, "the goal")
    # Between two goals, too: its hand may have opened.
    again.end("succeed", reached_goal=True)
    wait(lambda: "is open" in client.action.news[1], lambda: client.action.news)
    again.close()
    wait(lambda: "told again" in client.action.news[1], lambda: client.action.news)
    third = serve("gripper_command", "/gone/gripper")
    wait(client.action.get_subscription_count, "the server again")
    client.action.want(OPEN)
    wait(lambda: third.in_progress, "the goal")


def test_parallel_grippers_are_told_joint_position_and_effort(serve, connect, wait):
    from sensor_msgs.msg import JointState

    server = serve("parallel_gripper_command", "/parallel/gripper")
    options = {"effort": 12.0, "velocity": 0.05}
    gripper = connect("parallel_gripper_command", "/parallel/gripper", **options).action
    gripper.want(CLOSED)
    wait(lambda: server.in_progress, "the goal")
    command = server.goals[0].command
    assert (list(command.name), list(command.position)) == (["gripper"], [CLOSED])
    assert (list(command.velocity), list(command.effort)) == ([0.05], [12.0])
    server.end("abort", stalled=True, state=JointState(position=[0.5]))
    wait(lambda: "stopped at 0.5" in gripper.news[1], lambda: gripper.news)


def test_a_franka_hand_grasps_what_is_there_and_moves_to_open(serve, connect, wait):
    grasp = serve("franka_grasp", "/franka")
    move = serve("franka_grasp", "/franka", closing=False)
    gripper = connect("franka_grasp", "/franka", effort=30.0, velocity=0.1).action
    gripper.want(CLOSED)
    wait(lambda: grasp.in_progress, "the grasp")
    goal = grasp.goals[0]
    assert (goal.width, goal.speed, goal.force) == (2 * CLOSED, 0.2, 30.0)
    assert goal.epsilon.outer == pytest.approx(2 * (CLOSED - OPEN))
    grasp.end("succeed", success=True)
    wait(lambda: gripper.news == (True, "is closed: done"), lambda: gripper.news)
    gripper.want(OPEN)
    wait(lambda: move.in_progress, "the move")
    assert (move.goals[0].width, move.goals[0].speed) == (2 * OPEN, 0.2)
    move.end("abort", success=False, error="no power")
    wait(lambda: "not open, its server gave up: no power" in gripper.news[1], "told")


@pytest.fixture
def status(graph):
    """The newest message and level of a status of a node's diagnostics."""
    from diagnostic_msgs.msg import DiagnosticArray

    newest = {}

    def hear(message):
        newest.update({one.name: (one.message, one.level) for one in message.status})

    subscription = graph.node.create_subscription(DiagnosticArray, "/diagnostics", hear, 50)
    yield lambda name: newest.get(name, ("", b""))[0]
    graph.node.destroy_subscription(subscription)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(("rate", "stalled"), [(0, False), (50, True)])
def test_a_run_closes_once_and_its_hold_moves_nothing(
    rate, stalled, policy, start_node, make_robot, serve, graph, wait, status
):
    """And the next one again: somebody may have opened it."""
    namespace = f"/acts_{rate}"
    robot = make_robot(JOINTS, START, namespace=f"{namespace}/")
    robot.command_names = ("joint1", "joint2")
    remap = f"gripper_command:={namespace}/hand/gripper_cmd"
    node = start_node(
        "-r", f"__ns:={namespace}", "-r", remap, policy=policy, command_rate=rate, **GRIPPER
    )
    node.wait_for(f"'{namespace}/hand/gripper_cmd': is the controller loaded")
    pause()
    assert not robot.commands, "an arm without its gripper is not commanded either"
    server = serve("gripper_command", f"{namespace}/hand/gripper_cmd")
    wait(lambda: server.in_progress and len(robot.commands) > 10, lambda: node.output)
    server.end("abort", stalled=stalled, position=0.4)
    said = "stopped at 0.4 on its way to 0.7: it holds it" if stalled else "its server gave up"
    node.wait_for(said)
    wait(lambda: said in status(f"{namespace}/sarnn: gripper"), "diagnostics")
    assert all(command.position.shape == (2,) for command in robot.commands)

    assert graph.trigger(f"{namespace}/sarnn/stop").success
    node.wait_for("hold was sent")  # on a busy machine: no hold
    assert graph.trigger(f"{namespace}/sarnn/start").success
    count = len(robot.commands)
    wait(lambda: len(robot.commands) > count + 10, lambda: node.output)
    assert [goal.command.position for goal in server.goals] == [CLOSED] * 2
    assert server.cancels == 0 and "Traceback" not in node.output

    # The goal goes on while another policy takes over: no second one is sent beside it.
    assert graph.trigger(f"{namespace}/sarnn/stop").success
    assert graph.trigger(f"{namespace}/sarnn/load").success
    assert graph.trigger(f"{namespace}/sarnn/start").success
    count = len(robot.commands)
    wait(lambda: len(robot.commands) > count + 10, lambda: node.output)
    assert len(server.goals) == 2 and len(server.in_progress) == 1 and server.cancels == 0


@pytest.mark.usefixtures("one_by_one")
def test_a_rejected_goal_latches_and_is_sent_again_after_a_reset(
    policy, start_node, make_robot, serve, graph, wait, status
):
    namespace = "/rejected"
    robot = make_robot(JOINTS, START, namespace=f"{namespace}/")
    robot.command_names = ("joint1", "joint2")
    server = serve("gripper_command", f"{namespace}/gripper_command")
    server.accepts = False
    node = start_node("-r", f"__ns:={namespace}", policy=policy, **GRIPPER)
    node.wait_for("rejected the goal 0.7")
    control = f"{namespace}/sarnn: control"
    wait(lambda: "faulted: call ~/reset" in status(control), lambda: status(control))
    count = len(robot.commands)
    pause()
    assert len(robot.commands) <= count + 1 and len(server.goals) == 1
    server.accepts = True
    assert "gripper_action" in graph.trigger(f"{namespace}/sarnn/reset").message
    assert graph.trigger(f"{namespace}/sarnn/start").success
    wait(lambda: server.in_progress, lambda: node.output)


@pytest.mark.usefixtures("one_by_one")
def test_two_grippers_have_an_action_each(make_policy, start_node, make_robot, serve, wait):
    names = ("joint1", "left", "right")
    policy = make_policy(spec=small_spec(joints=[{"names": list(names)}]))
    robot = make_robot(names, START, namespace="/two/")
    robot.command_names = ("joint1",)
    servers = [serve("gripper_command", f"/two/{side}_hand") for side in ("left", "right")]
    node = start_node(
        "-r",
        "__ns:=/two",
        policy=policy,
        gripper__joints=["left", "right"],
        gripper__interface="gripper_command",
        gripper__actions=["left_hand", "/two/right_hand"],
        gripper__open=[-0.8, 0.7],
        gripper__closed=[0.7, -0.8],
    )
    wait(lambda: all(server.goals for server in servers), lambda: node.output)
    # The prediction is near 0.3: the left one closes, the right one opens.
    assert [server.goals[0].command.position for server in servers] == [0.7, 0.7]
    node.wait_for("gripper left: closes to 0.7")
    node.wait_for("gripper right: opens to 0.7")
    assert np.isfinite(robot.position).all()


@pytest.mark.usefixtures("one_by_one")
def test_a_type_that_is_not_installed_is_an_error_with_its_remedy(policy, launch):
    import sys

    words = [f"{name.replace('__', '.')}:={value}" for name, value in GRIPPER.items()]
    words = [word.replace("'", "") for word in words]
    node = launch(
        sys.executable,
        "-c",
        "import sys; sys.modules['control_msgs'] = None\n"
        "from sarnn_ros.ros.inference_node import main; sys.exit(main())",
        "--ros-args",
        *(part for word in [f"policy:={policy}", *words] for part in ("-p", word)),
    )
    node.wait_for("the type control_msgs/action/GripperCommand is not installed")
    node.wait_for("remedy: install the package control_msgs of your ROS distribution")
    assert node.ended() == 1
