# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The scripted person beside the simulated arm: he demonstrates to the real recorder, and takes
over when a node says that he leads."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ros_testing import Graph, Process

from sarnn_ros.data.reading import read_bag
from sarnn_ros.share import share_directory
from sarnn_ros.sim.scene import home_joints
from sarnn_ros.spec import load_spec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_by_one")]

SARNN = (sys.executable, "-m", "sarnn_ros.cli.main", "run")


@pytest.fixture
def sim(launch: Callable[..., Process]) -> Process:
    return launch(*SARNN, "sim", "--ros-args", "-p", "teleoperator:=true")


def test_he_demonstrates_what_is_recorded(
    sim: Process, launch: Any, graph: Graph, wait: Any, tmp_path: Path
) -> None:
    spec = share_directory() / "config" / "demo_spec.yaml"
    recorder = launch(
        *(*SARNN, "recorder", "--ros-args", "-p", f"spec:={spec}"),
        *("-p", f"out:={tmp_path}", "-p", "min_free_gigabytes:=0.1"),
    )
    wait(lambda: graph.trigger("/recorder/start_episode").success, lambda: recorder.output, 60.0)
    sim.wait_for("I am done", 60.0)
    time.sleep(1.0)  # whether it is held
    heard = len(sim.output)
    assert graph.trigger("/recorder/stop_episode").success
    sim.wait_for("teleoperator: lifted", after=heard)
    sim.wait_for("the arm is at home", after=heard)
    # On a busy machine the simulator's messages have gaps, which are not what this is about.
    late = {"max_age": 2.0}
    task = load_spec(spec)
    sources = {
        "cameras": tuple(one.model_copy(update=late) for one in task.cameras),
        "joints": tuple(one.model_copy(update=late) for one in task.joints),
    }
    episodes, report = read_bag(tmp_path / "episode_000", task.model_copy(update=sources))
    assert len(episodes) == 1, report
    # The commands of the bag are the target: they lead the arm from home to the cube and up.
    joints = episodes[0].joints
    np.testing.assert_allclose(joints[0], home_joints(), atol=0.03)
    assert np.ptp(joints[:, -1]) > 0.02, "the gripper has closed"


def test_he_takes_over_when_he_is_told_to(sim: Process, graph: Graph, wait: Any) -> None:
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Bool

    led: list[np.ndarray] = []
    node = graph.node
    commands = node.create_publisher(JointState, "/joint_command", 10)  # of the policy's node
    says = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
    leads = node.create_publisher(Bool, "/sarnn/takeover", 10)
    node.create_subscription(
        JointState,
        "/leader/joint_command",
        lambda message: led.append(np.array(message.position)),
        10,
    )
    lesson = DiagnosticStatus(
        name="/recorder: lesson", values=[KeyValue(key="possible", value="end_run takeover")]
    )
    wait(lambda: led and leads.get_subscription_count(), lambda: sim.output)
    wait(lambda: node.count_publishers("/joint_command") == 1, "he leaves the topic to the node")
    for is_led in (False, True):
        before = len(led)

        def told(is_led: bool = is_led, before: int = before) -> bool:
            says.publish(DiagnosticArray(status=[lesson]))
            leads.publish(Bool(data=is_led))
            return len(led) > before + 30

        wait(told, lambda: sim.output, 60.0)
        moved = np.abs(led[-1] - home_joints()).max()
        # Nobody forwards his commands to the arm: it stays, and so does who goes along with it.
        assert moved > 0.1 if is_led else moved < 0.05, (is_led, moved)
    node.destroy_publisher(commands)

    # A session that was killed in the middle of a run says nothing any more; another one records.
    session = DiagnosticStatus(
        name="/recorder: session", values=[KeyValue(key="recording", value="True")]
    )
    heard = len(sim.output)

    def demonstrates() -> bool:
        says.publish(DiagnosticArray(status=[session]))
        return "I lead the arm" in sim.output[heard:]

    wait(demonstrates, lambda: sim.output, 60.0)
