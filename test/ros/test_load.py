# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Another policy takes the place of the one in force, in a real node, without a restart."""

from __future__ import annotations

import re
import shutil
import threading
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from planted_graphs import endless, graph_of, plant
from ros_testing import JOINTS, in_background, small_spec

from sarnn_ros.control.state import Refused, State
from sarnn_ros.policy import backends, runtime

ROOT = Path(__file__).resolve().parents[2]
START = (0.3, 0.3, 0.3)
#: Of the second policy's predictions, normalised; a twentieth of a radian from the first one's.
OTHER_BIAS = 0.64


class Skill:
    """The node in this process, its robot, and the policies it may be given."""

    def __init__(self, node, robot, graph, wait, policies) -> None:
        self.node, self.robot, self.policies = node, robot, policies
        self._graph, self._wait, self._scene = graph, wait, one_scene()

    @property
    def state(self) -> State:
        return self.node.status().state

    def set(self, name, value) -> tuple[bool, str]:
        return self._graph.set_parameter("/loads/sarnn", name, value)

    def call(self, service):
        return self._graph.trigger(f"/loads/sarnn/{service}")

    def change(self, *transitions) -> None:
        """Of the lifecycle, by its service: on the executor's thread, as everything."""
        numbers = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}
        for transition in transitions:
            assert self._graph.change_state("/loads/sarnn", numbers[transition]), transition

    def begin_load(self):
        """The future of a `~/load` that is going on."""
        from std_srvs.srv import Trigger

        client = self._graph.node.create_client(Trigger, "/loads/sarnn/load")
        self._wait(client.service_is_ready, "the service ~/load")
        future = client.call_async(Trigger.Request())
        self._wait(lambda: self.node.loading or future.done(), "the load to begin")
        return future

    def commands(self, count=5):
        """So many commands from now on."""
        had = len(self.robot.commands)
        self._wait(
            lambda: len(self.robot.commands) >= had + count,
            lambda: f"{count} commands; {self.node.status().text}",
        )
        return self.robot.commands[had:]

    def begin(self, count=40):
        """The first so many commands of a motion that begins where the robot first stood, and
        sees one scene."""
        self.robot.reset()  # which also forgets earlier commands
        self.robot.mutate_image, self.robot.harmless = self._scene, True
        assert self.call("start").success
        self._wait(
            lambda: len(self.robot.commands) >= count,
            lambda: f"{count} commands; {self.node.status().text}",
        )
        return [command.position for command in self.robot.commands[:count]]

    def has(self, policy) -> bool:
        """Whether it is in force, by what the node says and by what it does."""
        named = self.node.settings.policy == str(self.policies[policy])
        graph = self.node.controller.parts.policy
        return named and graph.config.files == runtime.load_config(self.policies[policy]).files


def one_scene():
    """The robot's images are noise, which commands follow: the first one again and again. But for
    one value, or the camera would be taken for one that hangs."""
    shown: list[array] = []

    def show(message):
        if not shown:
            shown.append(message.data[1:])
        message.data = message.data[:1] + shown[0]
        return [message]

    return show


@pytest.fixture(scope="module")
def running(graph, make_policy, make_robot, wait, tmp_path_factory) -> Iterator[Skill]:
    from rclpy.parameter import Parameter

    from sarnn_ros.ros.inference_node import InferenceNode

    first = make_policy()
    policies = {
        "first": first,
        "second": make_policy(bias=OTHER_BIAS),
        "fewer": make_policy(spec=small_spec(joints=[{"names": list(JOINTS[:2])}])),
        "elsewhere": make_policy(
            spec=small_spec(
                cameras=[{"name": "front", "topic": "wrist/image", "width": 32, "height": 24}]
            )
        ),
    }
    folder = tmp_path_factory.mktemp("bad")
    for name in ("damaged", "endless"):
        policies[name] = shutil.copytree(first, folder / name)
    graph_file = policies["damaged"] / "policy_command.onnx"
    graph_file.write_bytes(graph_file.read_bytes()[:-100])
    plant(policies["endless"], graph_of(endless(), camera="front", rec_dim=16))
    policies["missing"] = folder / "missing"

    given = {"policy": str(first), "watch.max_gap": 1.0}
    node = InferenceNode(
        context=graph.context,
        namespace="/loads",
        parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
    )
    with in_background(node):
        yield Skill(node, make_robot(JOINTS, START, namespace="/loads/"), graph, wait, policies)
    node.close()
    node.destroy_node()


@pytest.fixture
def skill(running) -> Iterator[Skill]:
    """Stopped, with the first policy in force."""
    missing = {"unconfigured": ("configure", "activate"), "inactive": ("activate",)}
    running.change(*missing.get(running.node.state, ()))
    running.robot.reset()
    yield running
    running.call("stop")
    running.call("reset")
    assert running.set("policy_sha256", "")[0] and running.set("guard.position_max", [])[0]
    assert running.set("policy", str(running.policies["first"]))[0]
    assert running.has("first") or running.call("load").success


def test_the_policy_named_takes_the_place_and_moves_nothing_before_a_start(skill):
    before = skill.begin()
    for refused in (
        skill.set("policy", str(skill.policies["second"])),
        (skill.call("load").success, skill.call("load").message),
    ):
        assert not refused[0] and "call ~/stop first" in refused[1]
    assert skill.state is State.COMMANDING and skill.has("first")

    assert skill.call("stop").success
    skill.robot.catch_up()
    count = len(skill.robot.commands)
    assert skill.set("policy", str(skill.policies["second"]))[0]
    assert skill.has("first"), "the parameter alone changes nothing"
    assert skill.set("guard.floor", 0.02)[0] and skill.has("first"), "nor with another change"
    answer = skill.call("load")
    assert answer.success and str(skill.policies["second"]) in answer.message
    assert "stopped: call ~/start" in answer.message  # and perhaps: no image has come yet
    assert skill.has("second") and skill.state is State.STOPPED
    skill.robot.catch_up()
    assert len(skill.robot.commands) == count, "none before a start"
    after = skill.begin()
    assert np.mean(after) - np.mean(before) == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("missing", ["does not exist", "sarnn train"]),
        ("damaged", ["policy_command.onnx", "damaged"]),
        ("endless", ["the operator Loop"]),
        ("second", ["SHA-256", "not the expected"]),
        ("fewer", ["position_max", "3 values", "2 joints"]),
    ],
)
def test_the_one_in_force_stays_if_the_other_cannot_take_its_place(skill, policy, words):
    if policy == "second":
        assert skill.set("policy_sha256", "0" * 64)[0]
    if policy == "fewer":
        assert skill.set("guard.position_max", [1.0, 1.0, 1.0])[0]
    assert skill.set("policy", str(skill.policies[policy]))[0]
    answer = skill.call("load")
    assert not answer.success and answer.message.startswith("not loaded: ")
    for word in words:
        assert word in answer.message
    assert skill.has("first") and skill.state is State.STOPPED
    if policy != "fewer":
        return
    assert skill.call("start").success and skill.commands()


def test_while_one_is_loaded_the_node_answers_and_starts_nothing(skill, monkeypatch):
    # As if the check of the operators were not there.
    monkeypatch.setattr(backends, "check_graph", lambda *_: None)
    monkeypatch.setattr(runtime, "FIRST_STEP_SECONDS", 2.0)
    assert skill.set("policy", str(skill.policies["endless"]))[0]
    load = skill.begin_load()
    ticks = skill.node.controller.statistics.total
    second, start = skill.call("load"), skill.call("start")
    assert not second.success and "is being loaded: wait" in second.message
    assert not start.success and "wait for the answer of ~/load" in start.message
    for begin in (
        lambda: skill.node._prepare_run("", bool).send(None),
        lambda: skill.node._prepare_run(str(skill.policies["second"]), bool).send(None),
        lambda: skill.node._start_run(0.0),
    ):
        with pytest.raises(Refused, match="wait for the answer of ~/load"):
            begin()  # as a goal of ~/run
    assert skill.node.get_parameter("policy").value == str(skill.policies["endless"])
    assert skill.call("stop").success and not load.done()
    skill._wait(lambda: skill.node.controller.statistics.total > ticks, "a tick meanwhile")
    skill._wait(load.done, "the end of the load")
    assert "took too long and was cancelled" in load.result().message
    assert skill.has("first") and not skill.node.loading
    assert skill.call("start").success and skill.commands()


def test_a_load_that_never_returns_is_given_up(skill, monkeypatch):
    from sarnn_ros.ros import loading

    release = threading.Event()
    monkeypatch.setattr(loading, "DEADLINE_SECONDS", 0.2)
    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_policy", lambda settings: release.wait())
        answer = skill.call("load")
    assert not answer.success and "network file system" in answer.message
    release.set()
    assert skill.has("first") and skill.state is State.STOPPED


@pytest.mark.parametrize("how", ["stop", "cancel"])
def test_a_goal_that_ends_while_its_policy_is_loaded_changes_nothing(skill, monkeypatch, how):
    from rclpy.action import GoalResponse

    from sarnn_ros.ros import loading

    go_on, load = threading.Event(), loading.load_policy

    def slow(settings):
        go_on.wait(20)
        return load(settings)

    monkeypatch.setattr(loading, "load_policy", slow)
    runs, executor = skill.node._runs, skill.node.executor
    goal = SimpleNamespace(policy=str(skill.policies["second"]), time_limit=0.0)
    assert runs._judge(goal) == GoalResponse.ACCEPT
    runs._accepted(SimpleNamespace(execute=lambda: None))
    handle = SimpleNamespace(request=goal, is_cancel_requested=False)
    task = executor.create_task(runs._run(handle))
    skill.node._news.trigger()
    try:
        skill._wait(lambda: skill.node.loading, "the load")
        if how == "cancel":
            handle.is_cancel_requested = True
        else:
            assert skill.call("stop").success
        go_on.set()
        skill._wait(task.done, "the end of the goal")
    finally:
        go_on.set()
        runs._taken = False
    ends = {"stop": ("abort", "stopped"), "cancel": ("canceled", "cancelled")}
    assert task.result()[:2] == ends[how]
    assert skill.has("first") and skill.state is State.STOPPED
    assert skill.node.get_parameter("policy").value == str(skill.policies["first"])


def test_a_run_that_ends_while_it_is_looked_at_is_told_as_it_ended(skill, monkeypatch):
    runs, node = skill.node._runs, skill.node
    assert skill.call("start").success
    skill.commands()

    def status():
        found = node.status()
        node.controller.stop()
        return found

    results = []
    end = SimpleNamespace(done=lambda: bool(results), set_result=results.append)
    handle = SimpleNamespace(publish_feedback=lambda feedback: None)
    kind = SimpleNamespace(Feedback=SimpleNamespace)
    replaced = {"_class": kind, "_end": end, "_handle": handle, "_status": status, "_runs": True}
    for name, value in replaced.items():
        monkeypatch.setattr(runs, name, value, raising=False)
    node._news.trigger()  # it is looked at twice, at least: now, and as it has ended
    skill._wait(lambda: results, "the end")
    assert [one.code for one in results] == ["stopped"]


def test_a_robot_is_stopped_before_its_limits_change_with_dry_run(skill, monkeypatch):
    from rclpy.parameter import Parameter

    states, controller = [], skill.node.controller
    monkeypatch.setattr(
        type(controller), "change_limits", lambda one, settings: states.append(one.state)
    )
    assert skill.call("start").success
    skill.commands()
    together = [Parameter("dry_run", value=True), Parameter("guard.step_margin", value=1.4)]
    assert skill.node.set_parameters_atomically(together).successful
    assert states == [State.STOPPED]
    assert skill.set("dry_run", False)[0] and skill.set("guard.step_margin", 1.25)[0]


def test_limits_that_are_refused_stop_nothing(skill):
    from rclpy.parameter import Parameter

    assert skill.call("start").success
    skill.commands()
    together = [Parameter("dry_run", value=True), Parameter("guard.max_step", value=[0.1, 0.2])]
    answer = skill.node.set_parameters_atomically(together)
    assert not answer.successful and "max_step" in answer.reason
    assert skill.node.controller.started and not skill.node.settings.dry_run
    assert skill.commands()


def test_a_latched_fault_stays_latched(skill):
    skill.node.controller.latch("jump", "joint1 moved by itself")
    assert skill.set("policy", str(skill.policies["second"]))[0]
    answer = skill.call("load")
    assert answer.success and "~/start: joint1 moved by itself" in answer.message
    assert skill.has("second") and not skill.call("start").success
    assert skill.call("reset").success and skill.call("start").success and skill.commands()


def test_joints_and_topics_are_those_of_the_policy_loaded(skill):
    assert skill.set("policy", str(skill.policies["fewer"]))[0]
    assert skill.call("load").success and skill.call("start").success
    assert {command.names for command in skill.commands()} == {JOINTS[:2]}
    skill.call("stop")
    assert skill.set("policy", str(skill.policies["elsewhere"]))[0]
    assert skill.call("load").success and skill.call("start").success
    skill._wait(
        lambda: "no message has arrived on '/loads/wrist/image'" in skill.node.status().text,
        lambda: skill.node.status().text,
    )


def test_an_inactive_node_loads_and_one_that_is_cleaned_up_meanwhile_does_not(skill, monkeypatch):
    from sarnn_ros.ros import loading

    skill.change("deactivate")
    assert skill.set("policy", str(skill.policies["second"]))[0]
    assert skill.call("load").success and skill.has("second")
    assert skill.state is State.INACTIVE

    release, load_policy = threading.Event(), loading.load_policy
    monkeypatch.setattr(
        loading, "load_policy", lambda settings: release.wait() and load_policy(settings)
    )
    load = skill.begin_load()
    skill.change("activate")
    assert skill.state is State.STOPPED
    skill.change("deactivate", "cleanup")
    release.set()
    skill._wait(load.done, "the end of the load")
    assert "cleaned up meanwhile" in load.result().message
    assert not skill.call("load").success, "nothing is configured"
    skill.change("configure")
    assert skill.has("second"), "configure reads the same parameter"


def test_a_load_that_ends_after_another_configure_changes_nothing(skill, monkeypatch):
    from sarnn_ros.ros import loading

    release, load_policy = threading.Event(), loading.load_policy
    monkeypatch.setattr(
        loading, "load_policy", lambda settings: release.wait() and load_policy(settings)
    )
    assert skill.set("policy", str(skill.policies["second"]))[0]
    load = skill.begin_load()
    skill.change("deactivate", "cleanup")
    assert skill.set("policy", str(skill.policies["first"]))[0]
    skill.change("configure", "activate")
    release.set()
    skill._wait(load.done, "the end of the load")
    assert not load.result().success and "configured anew" in load.result().message
    assert skill.has("first") and skill.state is State.STOPPED


def test_the_example_in_the_documentation_runs_a_policy_and_tells_why_it_ended(skill, domain):
    import rclpy

    text = (ROOT / "docs" / "how-to" / "run.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(code.replace("/sarnn", "/loads/sarnn"), names)
    rclpy.init(domain_id=domain)
    node = rclpy.create_node("caller")
    try:
        ended = names["run_policy"](node, str(skill.policies["second"]), 0.6)
        assert "the run took as long as run_timeout allows" in ended
        assert skill.has("second")
        with pytest.raises(RuntimeError, match="does not exist"):
            names["run_policy"](node, str(skill.policies["missing"]), 0.6)
    finally:
        node.destroy_node()
        rclpy.shutdown()
