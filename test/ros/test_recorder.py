# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder as a process, over real DDS: what it refuses, and what its bags hold."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ros_testing import JOINTS, Graph, small_spec, wait_until
from rosbags.rosbag2 import Reader
from terminal import Terminal

from sarnn_ros.data.bags import Bag, label_of
from sarnn_ros.data.reading import read_bag
from sarnn_ros.data.record import read_index
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.spec import dump_spec

pytestmark = pytest.mark.usefixtures("one_by_one")

START = (0.1, 0.2, 0.3)


@pytest.fixture
def recorder(
    launch: Callable[..., Any], graph: Graph, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Any, Path, str]]:
    """The process, its folder, and its services' prefix; a namespace per test. It records `map` as
    well, which was published once and is kept for who comes later.

    :param request: `param`, if given: more arguments.
    """
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import String

    space = f"/{request.node.name.partition('[')[0]}"
    spec = tmp_path / "spec.yaml"
    spec.write_text(dump_spec(small_spec()))
    out = tmp_path / "bags"
    process = launch(
        sys.executable, "-m", "sarnn_ros.ros.recorder_node", "--ros-args",
        "-r", f"__ns:={space}", "-p", f"spec:={spec}", "-p", f"out:={out}",
        "-p", "min_free_gigabytes:=0.1", "-p", 'topics:=["map:std_msgs/msg/String"]',
        *getattr(request, "param", ()),
    )  # fmt: skip
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = graph.node.create_publisher(String, f"{space}/map", qos)
    publisher.publish(String(data="once"))
    yield process, out, f"{space}/recorder"
    graph.node.destroy_publisher(publisher)


def ready(graph: Graph, name: str) -> None:
    def fine() -> bool:
        answer = graph.trigger(f"{name}/preflight")
        last.append(answer.message)
        return bool(answer.success)

    last: list[str] = []
    wait_until(fine, lambda: f"a clean preflight: {last[-1]}")


def beside_a_robot(name: str, graph: Graph, make_robot: Any) -> str:
    """The recorder's namespace, in which all that it wants is alive."""
    space = name.rpartition("/")[0]
    make_robot(JOINTS, START, namespace=f"{space}/")
    ready(graph, name)
    return space


def test_records_what_was_sent_and_training_reads_it(recorder, graph: Graph, make_robot, wait):
    process, out, name = recorder
    refused = graph.trigger(f"{name}/start_episode")
    assert not refused.success and "nobody publishes" in refused.message
    robot = make_robot(JOINTS, START, namespace=f"{name.rpartition('/')[0]}/")
    ready(graph, name)
    for expected in ("episode_000", "episode_001", "episode_002"):
        started = graph.trigger(f"{name}/start_episode")
        assert started.success and expected in started.message, started.message
        assert not graph.trigger(f"{name}/start_episode").success
        folder = out / expected
        wait(lambda folder=folder: size(folder) > 300_000, "300 kB recorded")
        if expected == "episode_001":
            assert graph.trigger(f"{name}/discard_episode").success
            assert not folder.exists()
        else:
            assert graph.trigger(f"{name}/stop_episode").success
    assert not graph.trigger(f"{name}/stop_episode").success
    assert graph.trigger(f"{name}/label_success").success
    assert label_of(out / "episode_002") == "success"
    # A camera that dies is said at once, and again at the end.
    assert graph.trigger(f"{name}/start_episode").success
    said = len(process.output)
    robot.mutate_image = lambda message: []
    wait(lambda: "image_raw' has sent nothing for" in process.output[said:], "the silence")
    stopped = graph.trigger(f"{name}/stop_episode")
    assert "image_raw' was silent" in stopped.message
    assert graph.trigger(f"{name}/discard_episode").success
    assert [entry["name"] for entry in read_index(out) if "messages" in entry] == [
        "episode_000", "episode_002", "episode_003"
    ]  # fmt: skip

    spec = small_spec(
        cameras=[{"name": "front", "width": 32, "height": 24,
                  "topic": f"{robot.namespace}image_raw"}],
        joints=[{"names": list(JOINTS), "topic": f"{robot.namespace}joint_states"}],
    )  # fmt: skip
    dataset = load_dataset([out], spec, strict=True)
    assert [episode.name for episode in dataset.episodes] == ["episode_000", "episode_002"]
    assert np.allclose(dataset.episodes[0].joints, START)
    # Raw bytes, QoS of the publishers, and the metadata version of Humble's rosbag2.
    with Reader(out / "episode_000") as reader:
        profiles = {one.topic: one.ext.offered_qos_profiles for one in reader.connections}
        assert {
            profile.reliability.name for profile in profiles[f"{robot.namespace}image_raw"]
        } == {"BEST_EFFORT"}
        assert reader.message_count > 50
    for number in (0, 2):
        with Bag(out / f"episode_00{number}") as bag:
            assert bag.topics[f"{robot.namespace}map"].count == 1
    assert "version: 8" in (out / "episode_000" / "metadata.yaml").read_text()
    assert process.stop(signal.SIGINT) == 0, process.output


def test_what_is_read_once_cannot_be_set_later(recorder, graph: Graph):
    _, out, name = recorder
    for parameter, value in {"out": str(out / "elsewhere"), "min_free_gigabytes": 5.0}.items():
        done, why = graph.set_parameter(name, parameter, value)
        assert not done and "read-only" in why


@contextmanager
def who_leads(graph: Graph, topic: str) -> Iterator[Any]:
    """The topic and the service of a node that runs a policy: the publisher."""
    from std_msgs.msg import Bool
    from std_srvs.srv import SetBool

    def answer(_: Any, response: Any) -> Any:
        response.success = True
        return response

    publisher = graph.node.create_publisher(Bool, topic, 10)
    service = graph.node.create_service(SetBool, topic, answer)
    try:
        yield publisher
    finally:
        graph.node.destroy_publisher(publisher)
        graph.node.destroy_service(service)


def test_a_topic_of_that_name_alone_is_no_policys_node(recorder, graph: Graph, make_robot, wait):
    """A pedal's, for instance: nobody would answer."""
    from std_msgs.msg import Bool

    _, out, name = recorder
    space = beside_a_robot(name, graph, make_robot)
    assert graph.trigger(f"{name}/start_episode").success
    pedal = graph.node.create_publisher(Bool, f"{space}/pedal/takeover", 10)
    with who_leads(graph, f"{space}/sarnn/takeover") as leads:

        def heard() -> bool:
            pedal.publish(Bool(data=False))
            leads.publish(Bool(data=False))
            said = graph.trigger(f"{name}/takeover").message
            assert "run a policy each" not in said
            return "asked" in said

        wait(heard, "the recorder has got it")
    assert graph.trigger(f"{name}/stop_episode").success
    graph.node.destroy_publisher(pedal)
    with Bag(out / "episode_000") as bag:
        assert f"{space}/sarnn/takeover" in bag.topics
        assert f"{space}/pedal/takeover" not in bag.topics


def test_a_policys_node_may_start_while_it_is_recorded(recorder, graph: Graph, make_robot, wait):
    """Who leads is kept from then on, or a run would be taken for a demonstration."""
    from std_msgs.msg import Bool

    _, out, name = recorder
    space = beside_a_robot(name, graph, make_robot)
    assert graph.trigger(f"{name}/start_episode").success
    with who_leads(graph, f"{space}/sarnn/takeover") as leads:

        def heard() -> bool:
            leads.publish(Bool(data=False))
            return "asked" in graph.trigger(f"{name}/takeover").message

        wait(heard, "the recorder has got it")
    assert graph.trigger(f"{name}/stop_episode").success
    with Bag(out / "episode_000") as bag:
        assert bag.topics[f"{space}/sarnn/takeover"].count > 0


def test_a_mark_ends_when_a_policys_node_says_who_leads(recorder, graph: Graph, make_robot, wait):
    """Or the whole run would be taken for a person's."""
    from std_msgs.msg import Bool

    process, out, name = recorder
    space = beside_a_robot(name, graph, make_robot)
    assert graph.trigger(f"{name}/start_episode").success
    assert "a person leads" in graph.trigger(f"{name}/takeover").message
    with who_leads(graph, f"{space}/sarnn/takeover") as leads:

        def handed_back() -> bool:
            leads.publish(Bool(data=False))
            return "the policy leads again" in process.output

        wait(handed_back, lambda: process.output)
    assert graph.trigger(f"{name}/stop_episode").success
    with Bag(out / "episode_000") as bag:
        marks = [bag.decode(one).data for one in bag.messages([f"{name}/takeover"])]
    assert marks == [True, False]


@pytest.mark.parametrize(
    ("recorder", "is_named"),
    [((), False), (("-p", "node:=right/sarnn"), True)],
    indirect=["recorder"],
)
def test_of_two_policies_one_is_recorded(recorder, is_named: bool, graph: Graph, make_robot, wait):
    from std_msgs.msg import Bool

    _, out, name = recorder
    space = beside_a_robot(name, graph, make_robot)
    ends = ExitStack()
    both = [
        ends.enter_context(who_leads(graph, f"{space}/{side}/sarnn/takeover"))
        for side in ("left", "right")
    ]

    def asks(action: str) -> str:
        for leads in both:
            leads.publish(Bool(data=False))
        return graph.trigger(f"{name}/{action}").message

    if is_named:
        wait(lambda: f"asked '{space}/right/sarnn" in asks("takeover"), "it hears the right one")
        assert "recording episode_000" in asks("start_episode")
        asks("takeover")
        assert graph.trigger(f"{name}/stop_episode").success
        with Bag(out / "episode_000") as bag:
            assert f"{space}/right/sarnn/takeover" in bag.topics
            assert f"{space}/left/sarnn/takeover" not in bag.topics
    else:
        wait(lambda: "run a policy each" in asks("takeover"), "it hears both")
        refused = asks("start_episode")
        assert f"{space}/left/sarnn and {space}/right/sarnn" in refused, refused
        assert "--node" in refused and not (out / "episode_000").exists()
    ends.close()


def test_a_driver_that_comes_back_with_less_is_heard(recorder, graph: Graph, make_robot, wait):
    """`map` was kept for who comes later."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from std_msgs.msg import String

    process, out, name = recorder
    space = beside_a_robot(name, graph, make_robot)
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    other = graph.node.create_publisher(String, f"{space}/map", qos)
    wait(lambda: "is sent with another QoS" in process.output, lambda: process.output)
    assert graph.trigger(f"{name}/start_episode").success

    wait(lambda: other.get_subscription_count() > 0, "it listens")
    for _ in range(20):
        other.publish(String(data="again"))
        time.sleep(0.05)
    assert graph.trigger(f"{name}/stop_episode").success
    graph.node.destroy_publisher(other)
    with Bag(out / "episode_000") as bag:
        texts = [bag.decode(one).data for one in bag.messages([f"{space}/map"])]
    assert texts.count("again") > 5
    assert process.output.count("is sent with another QoS") == 1


def test_a_type_that_is_not_installed_is_said_before_anything_is_recorded(launch, tmp_path: Path):
    (tmp_path / "spec.yaml").write_text(dump_spec(small_spec()))
    process = launch(
        sys.executable, "-m", "sarnn_ros.ros.recorder_node", "--ros-args",
        "-p", f"spec:={tmp_path / 'spec.yaml'}", "-p", f"out:={tmp_path / 'bags'}",
        "-p", 'topics:=["foo:robot_msgs/msg/Foo"]',
    )  # fmt: skip
    assert process.ended() == 1
    assert "robot_msgs" in process.output and "Traceback" not in process.output


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_what_was_recorded_survives(number: int, recorder, graph: Graph, make_robot, wait):
    process, out, name = recorder
    space = f"{name.rpartition('/')[0]}/"
    robot = make_robot(JOINTS, START, namespace=space)
    ready(graph, name)
    assert graph.trigger(f"{name}/start_episode").success
    # A chunk that is half-written is lost, and has up to 1 MB.
    wait(lambda: size(out / "episode_000") > 1_100_000, "a chunk on disk")
    if number == signal.SIGHUP:
        assert process.stop(number) == 0, process.output
    else:
        process.kill()
    robot.close()
    spec = small_spec(
        cameras=[{"name": "front", "width": 32, "height": 24, "topic": f"{space}image_raw"}],
        joints=[{"names": list(JOINTS), "topic": f"{space}joint_states"}],
    )
    episodes, report = read_bag(out / "episode_000", spec)
    assert len(episodes) == 1, report.problems
    assert len(episodes[0].ticks) >= 5
    assert report.verdict == ("sound" if number == signal.SIGHUP else "damaged")
    with Bag(out / "episode_000") as bag:
        assert bag.topics[f"{space}joint_states"].count > 30


def test_the_preflight_names_what_is_wrong(recorder, graph: Graph, make_robot, wait):
    _, out, name = recorder
    robot = make_robot(JOINTS, START, namespace=f"{name.rpartition('/')[0]}/")
    ready(graph, name)

    def renamed(message: Any) -> list[Any]:
        message.name = ["a", "b", "c"]
        return [message]

    slow = iter(range(10**9))
    faults = {
        "'joint1', 'joint2', 'gripper' is missing": {"mutate_joints": renamed},
        "has sent nothing": {"mutate_joints": lambda message: []},
        "Hz, 10 Hz are needed": {
            "mutate_image": lambda message: [message] if next(slow) % 6 == 0 else []
        },
    }
    for says, change in faults.items():
        robot.reset()
        ready(graph, name)
        for attribute, value in change.items():
            setattr(robot, attribute, value)
        wait(
            lambda says=says: says in graph.trigger(f"{name}/preflight").message,
            f"a preflight that says {says}",
        )
        refused = graph.trigger(f"{name}/start_episode")
        assert not refused.success and says in refused.message
    assert not list(out.glob("episode_*"))


def test_what_training_leaves_out_is_said_at_once(recorder, graph: Graph, make_robot, wait):
    from diagnostic_msgs.msg import DiagnosticArray

    process, out, name = recorder
    robot = make_robot(JOINTS, START, namespace=f"{name.rpartition('/')[0]}/")
    ready(graph, name)
    statuses: list[Any] = []
    listener = graph.node.create_subscription(
        DiagnosticArray, "/diagnostics", lambda message: statuses.extend(message.status), 10
    )
    assert graph.trigger(f"{name}/start_episode").success
    wait(lambda: size(out / "episode_000") > 300_000, "300 kB recorded")
    robot.mutate_image = lambda message: []
    process.wait_for("image_raw' has sent nothing for")
    robot.reset()
    process.wait_for("image_raw' comes again")
    before = size(out / "episode_000")
    wait(lambda: size(out / "episode_000") > before + 300_000, "300 kB more")
    graph.trigger(f"{name}/label_success")
    process.wait_for("episode_000 is left out of training: a hole in the middle")
    wait(
        lambda: any(
            "episode_000 is left out of training: a hole" in status.message
            and status.level == status.WARN
            for status in statuses
            if status.name == f"{name}: session"
        ),
        "diagnostics that say so",
    )
    assert "a hole" in next(entry["left_out"] for entry in read_index(out) if "left_out" in entry)
    graph.node.destroy_subscription(listener)


def test_commands_with_a_stamp_of_0(recorder, graph: Graph, make_robot, wait):
    from sensor_msgs.msg import JointState

    _, _, name = recorder
    space = beside_a_robot(name, graph, make_robot)
    publisher = graph.node.create_publisher(JointState, f"{space}/joint_command", 10)

    def said() -> bool:
        publisher.publish(JointState(name=list(JOINTS), position=list(START)))
        answer = graph.trigger(f"{name}/preflight")
        return answer.success and (
            f"but '{space}/joint_command' is unusable: the stamp is 0 s 0 ns" in answer.message
        )

    wait(said, "a preflight that says so")
    started = graph.trigger(f"{name}/start_episode")
    assert started.success and "'clock: receive'" in started.message
    assert graph.trigger(f"{name}/discard_episode").success
    graph.node.destroy_publisher(publisher)


def test_a_folder_that_goes_away_ends_the_episode_and_not_the_node(
    recorder, graph: Graph, make_robot, tmp_path: Path
):
    process, out, name = recorder
    make_robot(JOINTS, START, namespace=f"{name.rpartition('/')[0]}/")
    ready(graph, name)
    assert graph.trigger(f"{name}/start_episode").success
    out.rename(tmp_path / "gone")  # at once: files that are written meanwhile go with it
    process.wait_for("recording ends")
    answer = graph.trigger(f"{name}/preflight")
    assert not answer.success and f"{out} cannot be written to" in answer.message
    assert not graph.trigger(f"{name}/discard_episode").success
    out.mkdir()
    ready(graph, name)
    assert graph.trigger(f"{name}/start_episode").success
    assert graph.trigger(f"{name}/stop_episode").success
    out.rename(tmp_path / "gone_too")
    answer = graph.trigger(f"{name}/discard_episode")
    assert not answer.success and str(out) in answer.message
    assert "Traceback" not in process.output


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.mcap"))


@pytest.fixture
def at_keys(graph: Graph, make_robot, wait, environment, tmp_path: Path, request):
    """`sarnn record` on a terminal, and its folder; every topic is alive."""
    make_robot(JOINTS, START, namespace="/keys/")
    spec = tmp_path / "spec.yaml"
    camera = {"name": "front", "width": 32, "height": 24, "topic": "/keys/image_raw"}
    joints = {"names": list(JOINTS), "topic": "/keys/joint_states"}
    spec.write_text(dump_spec(small_spec(cameras=[camera], joints=[joints])))
    out = tmp_path / "bags"
    command = [sys.executable, "-m", "sarnn_ros.cli.main", "record", *request.param]
    terminal = Terminal(
        [*command, "--spec", str(spec), "--out", str(out)], {**environment, "TERM": "dumb"}
    )
    try:
        wait(lambda: terminal.says("space: start"), lambda: f"the help\n{terminal.output}")

        def checked() -> bool:
            terminal.output = ""
            terminal.type("p")
            wait(lambda: terminal.says("error") or terminal.says("alive"), "an answer")
            return terminal.says("every topic is alive")

        wait(checked, lambda: f"a clean preflight\n{terminal.output}")
        yield terminal, out
    finally:
        terminal.kill()


@pytest.mark.parametrize("at_keys", [("--episodes", "1")], indirect=True)
@pytest.mark.parametrize(("last", "label"), [("s", "success"), ("q", None)])
def test_the_last_of_so_many_may_be_labelled(last, label, at_keys, wait):
    terminal, out = at_keys
    terminal.type(" ")
    wait(lambda: size(out / "episode_000") > 100_000, "100 kB recorded")
    terminal.type(" ")
    wait(lambda: terminal.says("the last without a label"), lambda: terminal.output)
    terminal.type(last)
    assert terminal.end() == 0, terminal.output
    assert label_of(out / "episode_000") == label


@pytest.mark.parametrize("at_keys", [()], indirect=True)
def test_by_keyboard(at_keys, wait):
    terminal, out = at_keys
    for name, key, says in (
        ("episode_000", " ", "kept episode_000"),
        ("episode_001", "d", "discarded episode_001"),
        ("episode_002", "q", ""),
    ):
        terminal.type(" ")
        wait(lambda name=name: terminal.says(f"recording {name}"), lambda: terminal.output)
        wait(lambda name=name: size(out / name) > 100_000, "100 kB recorded")
        terminal.type(key)
        wait(lambda says=says: terminal.says(says), lambda: terminal.output)
    assert terminal.end() == 0, terminal.output
    # What was under way at the end is kept.
    assert sorted(path.name for path in out.glob("episode_*/")) == ["episode_000", "episode_002"]
    assert all((out / name / "metadata.yaml").exists() for name in ("episode_000", "episode_002"))
