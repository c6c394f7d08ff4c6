# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the ROS graph says, by the parameters as they are now."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from ros_testing import Graph as Probe

from sarnn_ros.control.settings import build_settings
from sarnn_ros.ros import graph_watch
from sarnn_ros.ros.graph_watch import GraphWatch
from sarnn_ros.spec import parse_spec

SPEC = parse_spec({"cameras": [{"name": "front"}], "joints": [{"names": ["a"]}]})


class Graph:
    """Command topics with so many listeners, and nodes that publish on topics."""

    def __init__(self, listeners: int, *own: str, spec=SPEC, **parameters) -> None:
        self.parameters = parameters
        self.simulated, self.now_ns = False, 0
        self.publishers = {topic: ["sarnn"] * own.count(topic) for topic in own}
        node = SimpleNamespace(
            resolve_topic_name=lambda topic: f"/{topic}",
            get_clock=lambda: SimpleNamespace(
                ros_time_is_active=self.simulated,
                now=lambda: SimpleNamespace(nanoseconds=self.now_ns),
            ),
            count_publishers=lambda topic: len(self.publishers.get(topic, ())),
            get_fully_qualified_name=lambda: "/sarnn",
            get_publishers_info_by_topic=lambda topic: [
                SimpleNamespace(
                    node_namespace="/", node_name=name, endpoint_gid=[process] * 12 + [0] * 4
                )
                for process, name in enumerate(self.publishers[topic])
            ],
        )
        self.commands = commands = {
            name: SimpleNamespace(topic_name=topic, get_subscription_count=lambda: listeners)
            for name, topic in zip(("joint_command", "gripper_command"), own)
        }
        self.watch = GraphWatch(node, spec, lambda: build_settings(self.parameters), commands)

    def faults(self, **parameters) -> list[str]:
        self.parameters |= parameters
        self.watch.look()
        return list(self.watch.faults().soft)


@pytest.mark.parametrize("at_configure", [True, False])
def test_a_controller_is_required_while_commands_are_sent(at_configure):
    graph = Graph(0, "/arm", dry_run=at_configure)
    assert graph.faults() == ["no_controller"] * (not at_configure)
    assert graph.faults(dry_run=not at_configure) == ["no_controller"] * at_configure
    assert not Graph(1, "/arm").faults()


def test_a_controller_that_goes_counts_before_the_next_look():
    graph = Graph(1, "/arm")
    assert not graph.faults()
    for one in graph.commands.values():
        one.get_subscription_count = lambda: 0
    assert list(graph.watch.faults().soft) == ["no_controller"]


def test_the_rate_of_a_slow_simulation_is_by_its_own_time(monkeypatch):
    steady = Mock(return_value=0)
    monkeypatch.setattr(graph_watch, "steady_ns", steady)
    graph = Graph(1, "/arm", **{"watch.min_rate": 20.0})
    (camera,) = (one.topic for one in SPEC.cameras)

    def pass_time(real: float, simulated: float, messages: int) -> float | None:
        """The rate that is told then, if it is a new one."""
        graph.watch.rates = {}
        steady.return_value += round(real * 1e9)
        graph.now_ns += round(simulated * 1e9)
        for _ in range(messages):
            graph.watch.arrived(camera)
        graph.watch.look()
        return graph.watch.rates.get(camera)

    assert pass_time(2.0, 0.0, 60) == pytest.approx(30.0)
    graph.simulated = True
    assert pass_time(4.0, 100.0, 1) is None, "another clock"
    assert pass_time(10.0, 1.9, 57) is None
    assert pass_time(1.0, 0.1, 3) == pytest.approx(30.0)
    assert f"rate:{camera}" not in graph.watch.faults().soft
    assert pass_time(3.0, -50.0, 3) is None, "time went back"
    assert pass_time(10.0, 2.0, 4) == pytest.approx(2.0)
    assert f"rate:{camera}" in graph.watch.faults().soft


def test_a_second_commander_is_named_except_in_a_dry_run():
    graph = Graph(1, "/arm", "/gripper")
    assert not graph.faults()
    graph.publishers["/gripper"].append("teleop")
    assert graph.faults() == ["commanders:gripper_command"]
    text = graph.watch.faults().soft["commanders:gripper_command"]
    assert "2 publishers on '/gripper': /sarnn, /teleop" in text and "single_commander" in text
    graph.publishers["/gripper"][1] = "_NODE_NAME_UNKNOWN_"  # before DDS says whose it is
    graph.watch.look()
    assert "not known yet" in graph.watch.faults().soft["commanders:gripper_command"]
    assert not graph.faults(dry_run=True)
    assert graph.faults(dry_run=False)
    assert not graph.faults(**{"watch.single_commander": False})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sarnn", "3 publishers on '/arm': 2 nodes named /sarnn, this one among them, /teleop"),
        ("teleop", "3 publishers on '/arm': /sarnn, 2 nodes named /teleop: was it started twice?"),
    ],
)
def test_two_nodes_of_one_name_are_two(name, said):
    graph = Graph(1, "/arm")
    graph.publishers["/arm"] += sorted(["teleop", name])
    graph.watch.look()
    assert graph.watch.faults().soft["commanders:joint_command"].startswith(said)


def test_its_own_publishers_on_one_topic_are_no_second_commander():
    graph = Graph(1, "/arm", "/arm")
    assert not graph.faults()
    graph.publishers["/arm"].append("teleop")
    assert graph.faults() == ["commanders:joint_command", "commanders:gripper_command"]


def test_a_second_publisher_of_a_sensor_counts_before_the_next_look():
    graph = Graph(1, "/arm")
    connected = {"image_raw": 1, "joint_states": 1}
    graph.watch.listen(
        {
            topic: SimpleNamespace(get_publisher_count=lambda topic=topic: connected[topic])
            for topic in connected
        }
    )
    assert not graph.faults()
    connected["joint_states"] = 2
    text = graph.watch.faults().soft["publishers:joint_states"]
    assert "2 publishers on '/joint_states'; end all but one" in text
    graph.parameters["watch.single_publisher"] = False
    assert not graph.watch.faults().soft


def test_many_nodes_publish_tf():
    tool = {
        "topic": "/tf", "type": "tf2_msgs/msg/TFMessage", "names": ["position.x"],
        "frame_id": "base", "child_frame_id": "tool", "command": False,
    }  # fmt: skip
    spec = parse_spec(SPEC.model_dump(mode="json") | {"joints": [{"names": ["a"]}, tool]})
    graph = Graph(1, "/arm", spec=spec)
    graph.publishers["//tf"] = ["arm", "cart"]
    graph.watch.listen({"/tf": SimpleNamespace(get_publisher_count=lambda: 2)})
    assert not graph.faults()
    graph.publishers["/joint_states"] = ["arm", "cart"]
    assert graph.faults() == ["publishers:joint_states"]


def test_no_message_of_a_second_publisher_is_taken_before_it_is_a_fault(domain, graph, wait):
    """Over real DDS, from another participant that publishes as soon as it exists."""
    from sensor_msgs.msg import JointState

    node = graph.node
    taken: list[tuple[str, bool]] = []

    def take(message) -> None:
        taken.append((message.header.frame_id, bool(watch.faults().soft)))

    watch = GraphWatch(node, SPEC, lambda: build_settings({}), {})
    subscription = node.create_subscription(JointState, "joint_states", take, 10)
    watch.listen({"joint_states": subscription})
    own = node.create_publisher(JointState, "joint_states", 10)

    def publish(publisher, frame: str) -> None:
        message = JointState()
        message.header.frame_id = frame
        publisher.publish(message)

    def alone() -> bool:
        publish(own, "own")
        return any(not fault for _, fault in taken)

    wait(alone, "a message that is no fault")
    for number in range(3):
        rival = Probe(domain)
        other = rival.node.create_publisher(JointState, "joint_states", 10)
        name = f"rival {number}"

        def come(name=name, other=other) -> bool:
            publish(own, "own")
            publish(other, name)
            return [frame for frame, _ in taken].count(name) > 20

        wait(come, name)
        assert all(fault for frame, fault in taken if frame == name)
        rival.close()
        wait(lambda: not watch.faults().soft, "it is gone")
    watch.listen({})
    node.destroy_subscription(subscription)
    node.destroy_publisher(own)  # the next test counts the publishers of this topic


def test_two_real_nodes_of_one_name_are_told_apart(domain, graph, wait):
    from sensor_msgs.msg import JointState

    watch = GraphWatch(graph.node, SPEC, lambda: build_settings({}), {})
    others = [graph.node.create_publisher(JointState, "joint_states", 10) for _ in range(2)]

    def named(text: str) -> bool:
        watch.look()
        return text in watch.faults().soft.get("publishers:joint_states", "")

    def said() -> str:
        return str(watch.faults())

    wait(lambda: named("2 publishers on '/joint_states': /probe (2 publishers);"), said)
    graph.node.destroy_publisher(others.pop())
    rival = Probe(domain)  # whose node has the same name
    other = rival.node.create_publisher(JointState, "joint_states", 10)
    wait(lambda: named(": 2 nodes named /probe, this one among them;"), said)
    rival.node.destroy_publisher(other)
    rival.close()
