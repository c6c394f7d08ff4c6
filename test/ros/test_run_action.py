# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The action `~/run` over real DDS: what a caller is told, what ends a goal, and the example in
the documentation. The type is compiled from sarnn_ros_msgs, unless it is installed."""

from __future__ import annotations

import re
import signal
import sys
import time
from pathlib import Path

import action_types
import pytest
from ros_testing import JOINTS, unchanged, wait_until

pytestmark = [pytest.mark.slow]

ROOT = Path(action_types.__file__).parents[2]
START = (0.3, 0.3, 0.3)
SUCCEEDED, CANCELED, ABORTED = 4, 5, 6
#: A busy machine: between the end of a goal and its answer the process has no core for a while.
SLOW_ENDS = """
import sys, time
from sarnn_ros.ros.inference_node import main
from sarnn_ros.ros.run_action import RunServer
execute = RunServer._execute
async def slowly(server, handle):
    result = await execute(server, handle)
    time.sleep(0.5)
    return result
RunServer._execute = slowly
"""
#: The same, in the other thread: the goal's end is seen before its answer is waited for.
SLOW_HALTS = """
from sarnn_ros.ros.inference_node import InferenceNode
halt = InferenceNode.halt
def halts(node):
    halt(node)
    time.sleep(0.2)
InferenceNode.halt = halts
"""


#: What rclpy does where the client has gone: it logs it, and does not execute the goal.
NO_ANSWER = """
import sys
from rclpy.impl.implementation_singleton import rclpy_implementation
from sarnn_ros.ros import run_action
from sarnn_ros.ros.inference_node import main
class Handle:
    def __init__(self, handle):
        self.handle, self.asked = handle, 0
    def __getattr__(self, name):
        return getattr(self.handle, name)
    def send_goal_response(self, *arguments):
        self.asked += 1
        if self.asked == 1:
            raise rclpy_implementation.RCLError("client will not receive response")
        return self.handle.send_goal_response(*arguments)
class Server(run_action.ActionServer):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._handle = Handle(self._handle)
run_action.ActionServer = Server
sys.exit(main())
"""
#: A policy takes as long to be loaded as a file is there.
SLOW_LOADS = """
import sys, time
from pathlib import Path
from sarnn_ros.ros import loading
from sarnn_ros.ros.inference_node import main
load = loading.load_policy
def slowly(settings):
    while Path(FILE).exists():
        time.sleep(0.01)
    return load(settings)
loading.load_policy = slowly
sys.exit(main())
"""


@pytest.fixture(scope="module", autouse=True)
def types(environment):
    action_types.provide(environment, "sarnn_ros_msgs", ROOT / "sarnn_ros_msgs")


class Caller:
    def __init__(self, graph, wait, name):
        from rclpy.action import ActionClient

        from sarnn_ros_msgs.action import RunPolicy

        self._class, self._wait, self._do = RunPolicy, wait, graph.in_executor
        self.client = ActionClient(graph.node, RunPolicy, f"{name}/run")
        self.heard = []

    def goal(self, **fields):
        return self._class.Goal(**fields)

    def send(self, **goal):
        """The goal's handle."""
        self._wait(self.client.server_is_ready, "the action server")
        future = self._do(
            lambda: self.client.send_goal_async(
                self.goal(**goal), lambda message: self.heard.append(message.feedback)
            )
        )
        self._wait(future.done, "an answer to the goal")
        return future.result()

    def result(self, handle):
        """Its status, code and message, and how long it took."""
        future = self._do(handle.get_result_async)
        self._wait(future.done, "the result")
        found = future.result()
        return found.status, found.result.code, found.result.message, found.result.elapsed


@pytest.fixture(scope="module")
def running(policy, start_node, make_robot, graph, wait, types):
    robot = make_robot(JOINTS, START, namespace="/runs/")
    # As long as a busy machine may keep it from ticking: that would latch `stalled`.
    node = start_node(
        "-r", "__ns:=/runs", policy=policy, start_on_activate=False, watch__max_gap=10.0
    )
    node.wait_for("active: ")
    caller = Caller(graph, wait, "/runs/sarnn")
    yield robot, node, caller
    graph.in_executor(caller.client.destroy)


@pytest.fixture
def skill(running, graph):
    graph.trigger("/runs/sarnn/reset")  # a test that failed may have left a fault
    return running


def jump(message):
    message.position = [position + 2.0 for position in message.position]
    return (message,)


def test_it_runs_for_its_time_limit_and_says_how_it_goes(skill, wait, policy):
    robot, _, caller = skill
    robot.reset()
    handle = caller.send(policy=str(policy), time_limit=1.5)
    assert handle.accepted
    status, code, message, elapsed = caller.result(handle)
    assert (status, code) == (SUCCEEDED, "time_limit")
    assert message == "the run took as long as its goal allows"
    assert 1.5 <= elapsed < 10.0
    assert len(robot.commands) > 5
    assert "commanding" in {one.state for one in caller.heard}
    times = [one.elapsed for one in caller.heard]
    assert times == sorted(times)
    count = len(robot.commands)
    time.sleep(0.5)
    assert len(robot.commands) == count


def test_a_cancelled_goal_holds_and_one_at_a_time_is_accepted(skill, graph, wait):
    robot, _, caller = skill
    robot.reset()
    handle = caller.send()
    wait(lambda: len(robot.commands) > 5, "commands")
    assert not caller.send().accepted
    refused = graph.trigger("/runs/sarnn/start")
    assert not refused.success and "~/run is in progress" in refused.message
    future = graph.in_executor(handle.cancel_goal_async)
    wait(future.done, "an answer")
    count = len(robot.commands)
    assert caller.result(handle)[:2] == (CANCELED, "cancelled")
    time.sleep(0.5)
    assert len(robot.commands) <= count + 1, "at most one that was on its way"


def test_an_operators_stop_and_a_fault_end_it_with_the_reason(skill, graph, wait):
    robot, _, caller = skill
    robot.reset()
    handle = caller.send()
    wait(lambda: len(robot.commands) > 5, "commands")
    assert graph.trigger("/runs/sarnn/stop").success
    assert caller.result(handle)[:3] == (
        ABORTED,
        "stopped",
        "~/stop was called, or dry_run changed",
    )

    robot.reset()
    handle = caller.send()
    wait(lambda: len(robot.commands) > 5, "commands")
    robot.mutate_joints = jump
    status, code, message, _ = caller.result(handle)
    robot.mutate_joints = unchanged
    assert status == ABORTED and code in ("jump", "guard") and message.startswith("faulted")

    robot.reset()
    handle = caller.send(policy="/missing")  # refused before it is looked for
    status, code, message, _ = caller.result(handle)
    assert (status, code) == (ABORTED, "refused") and "call ~/reset" in message
    assert graph.trigger("/runs/sarnn/reset").success


def test_a_policy_that_cannot_be_used_changes_nothing(skill, policy, make_policy, wait):
    robot, _, caller = skill
    robot.reset()
    status, code, message, _ = caller.result(caller.send(policy="/missing", time_limit=1.0))
    assert (status, code) == (ABORTED, "refused") and "/missing" in message
    assert not robot.commands
    assert caller.result(caller.send(time_limit=0.5))[0] == SUCCEEDED, "the one before"
    other = make_policy(bias=0.6)
    robot.reset()
    assert caller.result(caller.send(policy=str(other), time_limit=0.5))[0] == SUCCEEDED
    assert not caller.send(time_limit=-1.0).accepted


@pytest.mark.parametrize(
    ("name", "slow"), [("ends", SLOW_ENDS), ("halts", SLOW_ENDS + SLOW_HALTS)]
)
def test_a_caller_has_its_result_when_the_node_is_ended(
    policy, launch, make_robot, graph, wait, name, slow
):
    robot = make_robot(JOINTS, START, namespace=f"/{name}/")
    node = launch(
        sys.executable,
        "-c",
        slow + "sys.exit(main())",
        *("--ros-args", "-r", f"__ns:=/{name}", "-p", f"policy:={policy}"),
        *("-p", "start_on_activate:=false"),
    )
    node.wait_for("active: ")
    caller = Caller(graph, wait, f"/{name}/sarnn")
    result = graph.in_executor(caller.send().get_result_async)
    wait(lambda: len(robot.commands) > 5, lambda: node.output)
    node.send(signal.SIGINT)
    wait(result.done, lambda: f"the result\n{node.output}")
    assert (result.result().status, result.result().result.code) == (ABORTED, "inactive")
    assert node.ended() == 0 and "Traceback" not in node.output
    graph.in_executor(caller.client.destroy)


def test_a_goal_ends_where_the_node_is_activated_at_once(policy, start_node, make_robot, graph):
    """Both requests are there before the goal is looked at again; the new run has no limit."""
    from lifecycle_msgs.srv import ChangeState

    robot = make_robot(JOINTS, START, namespace="/again/")
    node = start_node("-r", "__ns:=/again", policy=policy, watch__max_gap=10.0)
    node.wait_for("active: ")
    assert graph.trigger("/again/sarnn/stop").success
    caller = Caller(graph, wait_until, "/again/sarnn")
    handle = caller.send(time_limit=30.0)
    robot.reset()
    wait_until(lambda: len(robot.commands) > 5, lambda: node.output)
    client = graph.node.create_client(ChangeState, "/again/sarnn/change_state")
    wait_until(client.service_is_ready, "the service")
    requests = [ChangeState.Request() for _ in range(2)]
    for request, transition in zip(requests, (4, 3)):
        request.transition.id = transition
    answers = graph.in_executor(lambda: [client.call_async(request) for request in requests])
    wait_until(lambda: all(one.done() for one in answers), "the answers")
    assert all(one.result().success for one in answers)
    assert caller.result(handle)[:2] == (ABORTED, "inactive")
    graph.in_executor(caller.client.destroy)
    graph.node.destroy_client(client)


def test_a_goal_whose_answer_is_lost_blocks_nothing(policy, launch, make_robot, graph, wait):
    make_robot(JOINTS, START, namespace="/lost/")
    node = launch(
        *(sys.executable, "-c", NO_ANSWER, "--ros-args", "-r", "__ns:=/lost"),
        *("-p", f"policy:={policy}", "-p", "start_on_activate:=false"),
    )
    node.wait_for("active: ")
    caller = Caller(graph, wait, "/lost/sarnn")
    wait(caller.client.server_is_ready, "the action server")
    graph.in_executor(lambda: caller.client.send_goal_async(caller.goal()))
    node.wait_for("Failed to send goal response")
    assert graph.trigger("/lost/sarnn/start").success
    assert graph.trigger("/lost/sarnn/stop").success
    assert caller.result(caller.send(time_limit=0.5))[:2] == (SUCCEEDED, "time_limit")
    graph.in_executor(caller.client.destroy)


@pytest.mark.parametrize(("name", "value"), [("dry_run", False), ("use_sim_time", True)])
def test_a_goal_whose_policy_is_loaded_ends_when_what_it_began_with_changes(
    name, value, policy, make_policy, launch, make_robot, graph, wait, tmp_path
):
    robot = make_robot(JOINTS, START, namespace=f"/{name}/")
    loads = tmp_path / "loads"
    loads.touch()
    node = launch(
        *(sys.executable, "-c", f"FILE = {str(loads)!r}{SLOW_LOADS}", "--ros-args"),
        *("-r", f"__ns:=/{name}", "-p", f"policy:={policy}", "-p", "dry_run:=true"),
        *("-p", "watch.max_gap:=10.0"),
    )
    node.wait_for("active: ")
    caller = Caller(graph, wait, f"/{name}/sarnn")
    handle = caller.send(policy=str(make_policy(seed=1)), time_limit=1.0)
    node.wait_for("loads '")
    assert graph.set_parameter(f"/{name}/sarnn", name, value)[0]
    loads.unlink()
    status, code, message, _ = caller.result(handle)
    assert (status, code) == (ABORTED, "stopped") and name in message, message
    assert not robot.commands and "loaded: " not in node.output
    graph.in_executor(caller.client.destroy)


def test_a_behavior_tree_runs_it_by_the_example_in_the_documentation(skill, graph, wait):
    py_trees = pytest.importorskip("py_trees")
    robot, node, _ = skill
    text = (ROOT / "docs" / "how-to" / "behavior_trees.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(code, names)
    skill = names["RunSkill"](graph.node, "", 1.0, action="/runs/sarnn/run")
    status = py_trees.common.Status
    seen = []

    def tick():
        graph.in_executor(skill.tick_once)
        seen.append((skill.status, skill.feedback_message))
        return skill.status is not status.RUNNING

    robot.reset()
    wait(tick, lambda: seen[-1])
    assert seen[0][0] is status.RUNNING
    assert seen[-1] == (status.SUCCESS, "the run took as long as its goal allows")
    skill.goal.time_limit = 0.0
    robot.reset()
    wait(lambda: tick() or len(robot.commands) > 5, lambda: seen[-1])
    assert skill.status is status.RUNNING
    said = len(node.output)
    graph.in_executor(lambda: skill.stop(status.INVALID))
    node.wait_for("~/run ended, cancelled", after=said)


@pytest.mark.usefixtures("one_by_one")
def test_without_the_type_the_node_works_as_before(policy, launch, make_robot, wait, graph):
    robot = make_robot(JOINTS, START, namespace="/plain/")
    node = launch(
        sys.executable,
        "-c",
        "import sys; sys.modules['sarnn_ros_msgs'] = None\n"
        "from sarnn_ros.ros.inference_node import main; sys.exit(main())",
        *("--ros-args", "-r", "__ns:=/plain", "-p", f"policy:={policy}"),
    )
    node.wait_for("active: ")
    wait(lambda: graph.trigger("/plain/sarnn/start").success, "the start")
    wait(lambda: len(robot.commands) > 5, lambda: node.output)
    assert node.stop(signal.SIGINT) == 0
