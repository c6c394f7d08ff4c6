# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every process of ours ends on a signal: whichever thread gets it, whatever it is doing."""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import pytest
from ros_testing import JOINTS, small_spec, start_recorder
from signalling import (
    DELIVERIES,
    many_times,
    to_another_thread,
    to_the_process,
    while_it_is_stopped,
)

from sarnn_ros.data.bags import Bag
from sarnn_ros.spec import dump_spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_by_one")]

START = (0.3, 0.3, 0.3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "deliver", [to_another_thread, while_it_is_stopped, many_times], ids=lambda one: one.__name__
)
def test_a_commanding_node_holds_and_ends(deliver, number, policy, start_node, make_robot, wait):
    robot = make_robot(JOINTS, START)
    node = start_node(policy=policy, autostart=True)
    wait(lambda: len(robot.commands) >= 5, lambda: node.output)
    deliver(node.pid, number)
    assert node.ended() == 0, node.output
    assert "Traceback" not in node.output
    robot.wait_for_hold(lambda: node.output)
    assert 0 <= node.output.find("commanding") < node.output.find("a hold was sent"), node.output


def test_a_node_that_waits_to_be_configured_ends(start_node, graph, wait):
    node = start_node(autostart=False)
    wait(lambda: "sarnn" in graph.node.get_node_names(), lambda: node.output)
    to_another_thread(node.pid, signal.SIGTERM)
    assert node.ended() == 0, node.output


#: A node whose policy never finishes its warm-up.
ENDLESS = """
import sys, threading
from sarnn_ros.ros import inference_node
class Policy:
    @staticmethod
    def load(*_, **__):
        print("warming up", flush=True)
        threading.Event().wait()
from sarnn_ros.policy import runtime
runtime.Policy = Policy
sys.exit(inference_node.main())
"""


def test_a_node_whose_policy_never_gets_ready_ends(launch, policy, wait):
    node = launch(
        sys.executable, "-c", ENDLESS,
        "--ros-args", "-p", f"policy:={policy}",
    )  # fmt: skip
    node.wait_for("warming up")
    node.send(signal.SIGINT)
    assert node.ended() == 1, node.output
    assert "ended in the middle of a callback" in node.output


#: A node of which `~/load` never answers.
LOADING = """
import ctypes, sys
from sarnn_ros.ros import inference_node, loading
loading.load_policy = lambda settings: ctypes.CDLL(None).sleep(1000)
sys.exit(inference_node.main())
"""


def test_a_node_that_loads_another_policy_for_ever_ends(launch, policy, graph, wait):
    from std_srvs.srv import Trigger

    node = launch(
        sys.executable, "-c", LOADING,
        "--ros-args", "-p", f"policy:={policy}",
        "-r", "__node:=loading",  # a request must not go to an earlier node that has just ended
    )  # fmt: skip
    node.wait_for("active: stopped")
    client = graph.node.create_client(Trigger, "/loading/load")
    wait(client.service_is_ready, "the service")
    answer = client.call_async(Trigger.Request())
    node.wait_for("the robot holds")
    assert graph.trigger("/loading/stop").success, "it answers meanwhile"
    node.send(signal.SIGINT)
    assert node.ended() == 1 and not answer.done(), node.output
    assert "Fatal" not in node.output and "Traceback" not in node.output
    graph.node.destroy_client(client)


#: A node whose policy never returns from its tenth step; from C, where nothing reaches it.
HANGING = """
import ctypes, sys
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.ros import inference_node
step, count = Policy.step, 0
def hang(self, *arguments, **options):
    global count
    count += 1
    if count == 10:
        ctypes.CDLL(None).sleep(1000)
    return step(self, *arguments, **options)
Policy.step = hang
sys.exit(inference_node.main())
"""


@pytest.mark.parametrize("service", [True, False])
def test_a_policy_that_does_not_return_latches_and_the_node_ends(
    service, launch, policy, graph, make_robot, wait
):
    robot = make_robot(JOINTS, START)
    node = launch(
        *(sys.executable, "-c", HANGING, "--ros-args"),
        *("-p", f"policy:={policy}", "-p", "start_on_activate:=true"),
    )
    node.wait_for("the policy has not returned")
    robot.wait_for_hold(lambda: node.output)
    if service:
        assert graph.trigger("/sarnn/stop").success
        assert not graph.trigger("/sarnn/start").success
        assert graph.change_state("/sarnn", 4), "deactivate"
        assert "the policy does not return: restart the node" in node.output
        assert not graph.change_state("/sarnn", 3), "activate"
        assert graph.state("/sarnn") == "unconfigured"
        assert not graph.change_state("/sarnn", 1), "configure: what hung would be forgotten"
        assert node.output.count("end this process and start it again") == 2
    count = len(robot.commands)
    node.send(signal.SIGINT)
    assert node.ended() == 1, node.output
    assert len(robot.commands) == count and "Fatal" not in node.output


@pytest.mark.parametrize("deliver", DELIVERIES, ids=lambda one: one.__name__)
def test_a_recorder_keeps_its_episode_and_ends(deliver, launch, graph, make_robot, tmp_path, wait):
    robot = make_robot(JOINTS, START)
    recorder, out = start_recorder(launch, tmp_path)
    wait(
        lambda: graph.trigger("/recorder/start_episode").success,
        lambda: recorder.output,
    )
    published = robot.published
    wait(lambda: robot.published > published + 100, "a second of it")
    deliver(recorder.pid, signal.SIGTERM)
    assert recorder.ended() == 0, recorder.output
    with Bag(out / "episode_000") as bag:
        assert bag.topics["/joint_states"].count > 10


@pytest.mark.parametrize("deliver", [to_another_thread, while_it_is_stopped])
@pytest.mark.parametrize(
    ("node", "arguments"),
    [
        ("sim", ["run", "sim"]),
        ("recorder", ["record", "--spec", "spec.yaml", "--out", "bags"]),
        ("sarnn_latency", ["latency", "--timeout", "100"]),
        ("sarnn_web", ["web", "--port", "0"]),
    ],
)
def test_the_commands_end(node, arguments, deliver, launch, graph, wait, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(dump_spec(small_spec()))
    process = launch(sys.executable, "-m", "sarnn_ros.cli.main", *arguments)
    wait(lambda: node in graph.node.get_node_names(), lambda: process.output)
    deliver(process.pid, signal.SIGINT)
    assert process.ended() == 0, process.output
    assert "Traceback" not in process.output


@pytest.mark.soak
def test_200_endings_in_random_states(policy, start_node, make_robot, wait):
    """SARNN_ENDINGS changes the number. Every ending takes 2 s at most on a quiet machine."""
    choice = random.Random(0)
    make_robot(JOINTS, START)
    took = []
    for round_ in range(int(os.environ.get("SARNN_ENDINGS", "200"))):
        node = start_node(policy=policy, autostart=choice.random() < 0.9)
        deliveries = DELIVERIES
        if choice.random() < 0.5:  # anywhere between its first import and its first command
            time.sleep(choice.uniform(0.0, 4.0))
            deliveries = (to_the_process, many_times)
        else:
            wait(lambda node=node: "[sarnn]" in node.output, lambda node=node: node.output)
            time.sleep(choice.uniform(0.0, 1.0))
        deliver = choice.choice(deliveries)
        began = time.monotonic()
        deliver(
            node.pid, choice.choice([signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP])
        )
        code = node.ended()
        took.append(time.monotonic() - began)
        said = f"round {round_}, {deliver.__name__}, {took[-1]:.1f} s, code {code}\n{node.output}"
        assert took[-1] <= 2.0, said
    print(f"{len(took)} endings, the longest {max(took):.2f} s")
