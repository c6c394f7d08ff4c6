# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A person takes over from the real node over real DDS, beside a node of theirs that publishes."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from ros_testing import JOINTS, small_spec

from sarnn_ros.data.reading import read_bag
from sarnn_ros.spec import dump_spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_by_one")]

START = (0.3, 0.3, 0.3)
MAX_STEP = 0.45


class Leader:
    """Publishes commands at 50 Hz on the topic `leader`, as a teleoperation node does.

    :ivar position: what it commands; None: nothing.
    """

    def __init__(self, graph: Any, namespace: str) -> None:
        from sensor_msgs.msg import JointState

        self.position: Any = None
        self._kind = JointState
        self._publisher = graph.node.create_publisher(JointState, f"{namespace}/leader", 10)
        self._timer = graph.node.create_timer(0.02, self._publish)

    def _publish(self) -> None:
        if self.position is not None:
            # No stamp, as many have it.
            self._publisher.publish(
                self._kind(name=list(JOINTS), position=list(map(float, self.position)))
            )


def take_over(graph: Any, namespace: str, led: bool) -> Any:
    from std_srvs.srv import SetBool

    return graph.call(SetBool, f"{namespace}/sarnn/takeover", SetBool.Request(data=led))


@pytest.mark.parametrize("rate", [0, 50])
def test_a_person_leads_and_hands_back(rate, policy, start_node, make_robot, graph, wait):
    from std_msgs.msg import Bool

    space = f"/led_{rate}"
    robot = make_robot(JOINTS, START, namespace=f"{space}/")
    leads = graph.collect(Bool, f"{space}/sarnn/takeover")
    leader = Leader(graph, space)
    node = start_node(
        "-r", f"__ns:={space}", policy=policy, autostart=True, command_rate=rate,
        takeover__command_topic="leader", start__blend_time=0.3,
    )  # fmt: skip
    node.wait_for("commanding")
    answer = take_over(graph, space, True)
    assert not answer.success and f"no command has come on '{space}/leader'" in answer.message
    leader.position = np.array(START) + [0.0, 0.5, 0.0]
    wait(lambda: "joint2 is at" in take_over(graph, space, True).message, "a leader too far away")
    # The person's node only has to publish, and is no fault: it commands a topic of its own.
    assert "publishers on" not in node.output and {one.data for one in leads} == {False}

    leader.position = robot.position + 0.02
    wait(lambda: take_over(graph, space, True).success, lambda: node.output)
    node.wait_for("taken over: to hand back")
    aim = np.array(START) + [0.15, -0.1, 0.05]
    leader.position = aim
    wait(lambda: np.allclose(robot.position, aim, atol=1e-6), lambda: f"{robot.position} {aim}")
    wait(lambda: leads[-1].data, "it is said who leads")

    # As far as the limits allow: position, and step from where the arm is.
    leader.position = (9.0, -9.0, 0.0)
    wait(lambda: np.abs(robot.position[:2]).min() > 0.95, lambda: f"{robot.position}")
    for command in list(robot.commands):
        assert (np.abs(command.position) <= 1.2 + 1e-6).all()
        assert (np.abs(command.position - command.present) < MAX_STEP).all()
    leader.position = robot.position.copy()

    # Nothing comes: it holds, and says why.
    leader.position = None
    node.wait_for(f"taken over, but no command on '{space}/leader' for")
    robot.catch_up()
    count, published = len(robot.commands), robot.published
    wait(lambda: robot.published > published + 50, "five ticks")
    assert len(robot.commands) <= count + 1, "at most a hold that was on its way"
    said = len(node.output)
    leader.position = robot.position.copy()
    wait(lambda: len(robot.commands) > count + 3, lambda: node.output)
    assert "reset" not in node.output[said:]

    aim = np.array(START)
    leader.position = aim
    wait(lambda: np.allclose(robot.position, aim, atol=1e-6), lambda: f"{robot.position} {aim}")
    before = len(robot.commands)
    said = len(node.output)
    assert take_over(graph, space, False).success
    leader.position = aim + 0.6  # nobody listens any more
    node.wait_for("blending", after=said)
    node.wait_for("commanding", after=said)
    wait(lambda: len(robot.commands) > before + 10 and not leads[-1].data, lambda: node.output)
    path = np.array([command.position for command in robot.commands[before:]])
    assert np.abs(path - START).max() < 0.3, "the policy's, near where it stands"
    assert "Traceback" not in node.output


def test_a_recorded_run_says_what_the_person_did(
    policy, launch, start_node, make_robot, graph, wait, tmp_path
):
    """The recorder beside the node; and a demonstration with the node idle is a demonstration."""
    from sensor_msgs.msg import JointState

    space = "/recorded"
    (tmp_path / "spec.yaml").write_text(dump_spec(small_spec()))
    robot = make_robot(JOINTS, START, namespace=f"{space}/")
    leader = Leader(graph, space)
    node = start_node(
        "-r", f"__ns:={space}", policy=policy, autostart=True, start_on_activate=False,
        takeover__command_topic="leader",
    )  # fmt: skip
    recorder = launch(
        sys.executable, "-m", "sarnn_ros.ros.recorder_node", "--ros-args", "-r",
        f"__ns:={space}", "-p", f"spec:={tmp_path / 'spec.yaml'}", "-p",
        f"out:={tmp_path / 'bags'}", "-p", "min_free_gigabytes:=0.1",
    )  # fmt: skip
    node.wait_for("stopped")
    name = f"{space}/recorder"
    wait(lambda: graph.trigger(f"{name}/start_episode").success, lambda: recorder.output)
    published = robot.published
    wait(lambda: robot.published > published + 100, "a second of a demonstration")
    assert graph.trigger(f"{name}/stop_episode").success

    wait(lambda: graph.trigger(f"{name}/start_episode").success, lambda: recorder.output)
    published = robot.published
    wait(lambda: robot.published > published + 50, "half a second in which nothing happens")
    assert graph.trigger(f"{space}/sarnn/start").success
    wait(lambda: len(robot.commands) > 8, lambda: node.output)
    # The recorder's key asks the node.
    assert f"asked '{space}/sarnn/takeover'" in graph.trigger(f"{name}/takeover").message
    recorder.wait_for(f"not taken over: no command has come on '{space}/leader'")
    heard = graph.collect(JointState, f"{space}/leader")
    leader.position = robot.position.copy()
    wait(lambda: len(heard) > 5, "the leader's commands")
    assert graph.trigger(f"{name}/takeover").success
    node.wait_for("taken over: to hand back")
    recorder.wait_for("a person leads from the next tick on")
    leader.position = np.array(START) + 0.1
    count = len(robot.commands)
    wait(lambda: len(robot.commands) > count + 12, lambda: node.output)
    assert graph.trigger(f"{name}/stop_episode").success
    assert graph.trigger(f"{space}/sarnn/stop").success

    # On a busy machine the robot's messages have gaps, which are not what this is about.
    front = {"name": "front", "width": 32, "height": 24, "topic": f"{space}/image_raw"}
    spec = small_spec(
        cameras=[{**front, "max_age": 9.0}],
        joints=[{"names": list(JOINTS), "topic": f"{space}/joint_states", "max_age": 9.0}],
        command={"topic": f"{space}/joint_command"},
    )
    (shown,), report = read_bag(tmp_path / "bags" / "episode_000", spec)
    assert shown.led is None and report.learnt == "all: nobody took over"
    found, report = read_bag(tmp_path / "bags" / "episode_001", spec)
    assert len(found) == 1, report.problems
    fixed = found[0]
    assert fixed.led is not None and "a person took over" in report.learnt
    policys, persons = fixed.led.nonzero()[0][0], int(fixed.led.sum())
    assert persons >= 10 and fixed.led[policys : policys + persons].all()
    # It begins with the run, half a second after the recording.
    assert 7 <= policys <= len(fixed.led) - persons and report.trimmed[0] <= 1
