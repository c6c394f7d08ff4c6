# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The real node watches the scene: prediction health and camera drift, over real DDS."""

from __future__ import annotations

import array
import math

import pytest

pytestmark = pytest.mark.usefixtures("one_by_one")

START = (0.3, 0.3, 0.3)
JOINTS = ("joint1", "joint2", "gripper")
TERMS = ("score", "joints", "points:front", "image:front", "places")


@pytest.fixture
def status_of(graph):
    """The newest status of a part of a node: level, message and values."""
    from diagnostic_msgs.msg import DiagnosticArray

    messages = graph.collect(DiagnosticArray, "/diagnostics", 50)

    def find(node: str, part: str):
        for message in reversed(messages):
            for status in message.status:
                if status.name == f"{node}: {part}":
                    return status.level, status.message, {v.key: v.value for v in status.values}
        return b"", "", {}

    return find


def test_what_does_not_come_true_is_told_and_stops_where_asked(
    make_policy, start_node, make_robot, graph, wait, status_of
):
    """Images of noise: the points jump about, and the policy expects them to stand still."""
    from std_msgs.msg import Float64MultiArray

    robot = make_robot(JOINTS, START, namespace="/health/")
    health = graph.collect(Float64MultiArray, "/health/sarnn/health")
    node = start_node(
        *("-r", "__ns:=/health"), policy=make_policy(p99=0.01), autostart=True, health__window=0.4
    )
    node.wait_for("prediction health")
    wait(lambda: len(robot.commands) >= 5, lambda: f"a warning stops nothing\n{node.output}")
    node.wait_for("is above 1 (points:front); does the scene look as in the")

    wait(lambda: health and health[-1].data[0] > 1.0, lambda: str(health[-1:]))
    message = health[-1]
    assert tuple(message.layout.dim[0].label.split(",")) == TERMS
    score, joints, points, image, places = message.data
    assert score == points > joints
    assert math.isnan(image), "nobody asked for the image"
    assert math.isnan(places), "nothing was searched for"
    _, text, values = wait(
        lambda: (found := status_of("/health/sarnn", "health"))[0] == b"\x01" and found,
        lambda: node.output,
    )
    assert "is above 1 (points:front)" in text
    assert float(values["ratio points:front"]) > 1.0

    assert graph.set_parameter("/health/sarnn", "health.stop_above", 1.0)[0]
    node.wait_for("holding: prediction health")
    with robot.record:
        count, published = len(robot.commands), robot.published
    wait(lambda: robot.published > published + 50, "five ticks")
    assert len(robot.commands) <= count + 1, "at most a hold that was on its way"
    # It is over when the threshold lies above the score, and goes on by itself.
    assert graph.set_parameter("/health/sarnn", "health.stop_above", 100.0)[0]
    wait(lambda: len(robot.commands) > count + 5, lambda: node.output)
    assert node.output.count("is above 1 (points:front); does the scene") == 1


def test_a_reset_forgets_what_latched_the_health(make_policy, start_node, make_robot, graph, wait):
    """It latches again, but by ten ticks that it sees from then on."""
    robot = make_robot(JOINTS, START, namespace="/latched/")
    node = start_node(
        *("-r", "__ns:=/latched"), policy=make_policy(p99=0.01), autostart=True,
        health__window=2.0, health__stop_above=1.0, health__latch=True,
    )  # fmt: skip
    node.wait_for("call ~/reset, then ~/start: ")
    answer = graph.trigger("/latched/sarnn/reset")
    assert answer.success and "cleared: health" in answer.message
    seen = len(robot.commands)
    assert graph.trigger("/latched/sarnn/start").success
    wait(lambda: len(robot.commands) >= seen + 5, lambda: node.output)


def test_while_stopped_nothing_latches_and_the_next_start_is_not_refused(
    make_policy, start_node, make_robot, graph, wait, status_of
):
    """As when somebody moves the arm home by hand. The same images latch once it commands."""
    robot = make_robot(JOINTS, START, namespace="/rest/")
    node = start_node(
        *("-r", "__ns:=/rest"), policy=make_policy(p99=0.01), autostart=True, health__window=0.4
    )
    node.wait_for("is above 1 (points:front); does the scene look as in the")
    assert graph.trigger("/rest/sarnn/stop").success
    node.wait_for("prediction health of this run: at most ")
    node.wait_for("health.stop_above could be ")
    for name, value in (("health.latch", True), ("health.stop_above", 1.0)):
        assert graph.set_parameter("/rest/sarnn", name, value)[0]
    said, published = node.output.count("prediction health"), robot.published
    wait(lambda: robot.published > published + 100, "ten ticks")
    wait(lambda: status_of("/rest/sarnn", "health")[1] == "unknown: nothing is commanded",
         lambda: str(status_of("/rest/sarnn", "health")))  # fmt: skip
    assert float(status_of("/rest/sarnn", "health")[2]["largest of all runs"]) > 1.0
    assert node.output.count("prediction health") == said
    seen = len(robot.commands)
    assert graph.trigger("/rest/sarnn/start").success
    node.wait_for("call ~/reset, then ~/start")
    assert len(robot.commands) >= seen + 3


def darker(message):
    message.data = array.array("B", bytes(value // 2 for value in message.data))
    return (message,)


def test_a_camera_that_got_darker_is_told_and_nothing_else(
    make_policy, start_node, make_robot, graph, wait, status_of
):
    from std_msgs.msg import Float64MultiArray

    robot = make_robot(JOINTS, START, namespace="/drift/")
    health = graph.collect(Float64MultiArray, "/drift/sarnn/health")
    node = start_node(
        *("-r", "__ns:=/drift"), policy=make_policy(p99=3.0), autostart=True,
        health__window=0.2, health__image=True,
    )  # fmt: skip
    _, text, values = wait(
        lambda: (found := status_of("/drift/sarnn", "cameras"))[2] and found, lambda: node.output
    )
    assert text == "as in training" and "darker" not in node.output
    assert float(values["brightness trained front"]) == pytest.approx(127.0)
    # The image is predicted because a parameter says so, and counts.
    wait(lambda: health and 0 < health[-1].data[3] < 1.0, lambda: str(health[-1:]))
    assert health[-1].data[0] == max(health[-1].data[1:])
    assert status_of("/drift/sarnn", "health")[0] == b"\x00"

    with robot.record:
        robot.mutate_image, robot.harmless = darker, True
    node.wait_for("front: the image is ")
    node.wait_for("darker than in training")
    _, text, values = wait(
        lambda: (found := status_of("/drift/sarnn", "cameras"))[0] == b"\x01" and found,
        lambda: node.output,
    )
    assert "white balance" in text
    seen = len(robot.commands)
    wait(lambda: len(robot.commands) > seen + 5, lambda: f"goes on\n{node.output}")
    robot.mend()


def test_a_description_on_a_topic_comes_before_the_first_command(
    policy, start_node, make_robot, graph, wait, status_of
):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import String

    def urdf(upper):
        limit = f'<limit lower="-1" upper="{upper}" velocity="9" effort="1"/>'
        return f'<robot name="r"><joint name="joint1" type="revolute">{limit}</joint></robot>'

    robot = make_robot(JOINTS, START, namespace="/urdf/")
    node = start_node(
        *("-r", "__ns:=/urdf", "-r", "robot_description:=description"),
        policy=policy,
        autostart=True,
        robot_description_topic="robot_description",
        guard__on_position="clamp",
        guard__floor=0.05,
    )
    node.wait_for("no robot description has arrived on '/urdf/description'")
    published = robot.published
    wait(lambda: robot.published > published + 50, "five ticks")
    assert not robot.commands

    lasting = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = graph.node.create_publisher(String, "/urdf/description", lasting)
    publisher.publish(String(data=urdf(0.305)))
    wait(lambda: len(robot.commands) >= 8, lambda: node.output)
    highest = max(command.position[0] for command in robot.commands)
    assert highest <= 0.305 + 1e-9
    missing = "topic 'robot_description': no limits for joint2, gripper:"
    assert missing in node.output

    publisher.publish(String(data=urdf(0.9)))
    node.wait_for("has changed the limits of a commanded joint")
    wait(lambda: status_of("/urdf/sarnn", "control")[1].startswith("faulted"), lambda: node.output)
    count = len(robot.commands)
    assert not graph.trigger("/urdf/sarnn/start").success
    assert graph.trigger("/urdf/sarnn/reset").success
    assert graph.trigger("/urdf/sarnn/start").success
    wait(
        lambda: max((c.position[0] for c in robot.commands[count:]), default=0.0) > 0.306,
        lambda: f"the new limit counts\n{node.output}",
    )
    assert node.output.count(missing) == 1
