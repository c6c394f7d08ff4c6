# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A camera that was moved since the demonstrations, at the real node over real DDS: corrected for
and told, or no run begins."""

from __future__ import annotations

import array

import numpy as np
import pytest
from moved_camera import HEIGHT, WIDTH, move, reference, scene, shot

from sarnn_ros.policy.directory import CameraReference

START = (0.3, 0.3, 0.3)
JOINTS = ("joint1", "joint2", "gripper")


@pytest.fixture(scope="module")
def placed_policy(make_policy):
    about = CameraReference(displacement=0.001, correlation=0.95, source=(WIDTH, HEIGHT))
    return make_policy(
        source_size=(WIDTH, HEIGHT), references={"front": (reference(scene()), about)}
    )


def showing(pixels: np.ndarray):
    """The robot's camera shows this."""
    content = array.array("B", np.ascontiguousarray(pixels).tobytes())

    def mutate(message):
        message.data = content
        return (message,)

    return mutate


def test_a_moved_camera(placed_policy, start_node, make_robot, graph, wait):
    from diagnostic_msgs.msg import DiagnosticArray
    from sensor_msgs.msg import Image

    messages = graph.collect(DiagnosticArray, "/diagnostics", 50)

    def told() -> tuple[bytes, str]:
        for message in reversed(messages):
            for status in message.status:
                if status.name == "/place/sarnn: camera places":
                    return status.level, status.message
        return b"", ""

    robot = make_robot(JOINTS, START, namespace="/place/", image_size=(WIDTH, HEIGHT))
    robot.mutate_image = showing(shot(scene(), move(0.4, 0, 0, 1)))
    overlays = graph.collect(Image, "/place/sarnn/attention_overlay", 1)
    node = start_node(
        *("-r", "__ns:=/place"), policy=placed_policy, start_on_activate=False, start__wait=3.0
    )
    wait(lambda: (told()[0] == b"\x01" and "does not show the scene" in told()[1])
         or "max_displacement" in told()[1], lambda: f"{told()} {node.output}")  # fmt: skip
    answer = graph.trigger("/place/sarnn/start")
    assert answer.success and "camera 'front'" in answer.message, answer.message
    node.wait_for("as long as start.wait allows")
    assert not robot.commands

    # Moved back, but for a few pixels: that is corrected for.
    robot.mutate_image = showing(shot(scene(), move(0.05, -0.03, 2, 1.02)))
    wait(lambda: "This is undone" in told()[1], lambda: f"{told()} {node.output}")
    assert "8 px (5.0% of the width) too far right" in told()[1], told()
    assert graph.trigger("/place/sarnn/start").success
    wait(lambda: len(robot.commands) >= 5, lambda: node.output)

    # In the middle of a run nothing changes; after it the camera is looked at again.
    robot.mutate_image = showing(shot(scene()))
    count = len(robot.commands)
    wait(lambda: len(robot.commands) >= count + 25, lambda: node.output)
    assert "This is undone" in told()[1]
    assert graph.trigger("/place/sarnn/stop").success
    wait(lambda: told()[0] == b"\x00" and "is in its place" in told()[1], lambda: str(told()))
    assert overlays
