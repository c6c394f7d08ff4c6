# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is subscribed to, and what is left when that fails."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sarnn_ros.control.settings import build_settings
from sarnn_ros.errors import EnvironmentProblem
from sarnn_ros.ros import sensors
from sarnn_ros.spec import parse_spec
from sarnn_ros.streams.observe import ObservationBuffer

SPEC = parse_spec(
    {
        "cameras": [{"name": "front"}],
        "joints": [
            {"names": ["a", "b"]},
            {
                "topic": "wrench",
                "type": "geometry_msgs/msg/WrenchStamped",
                "names": ["force.z"],
                "command": False,
            },
        ],
    }
)


def test_a_type_that_is_not_installed_leaves_no_subscription(monkeypatch):
    topics: list[str] = []
    node = SimpleNamespace(create_subscription=lambda kind, topic, *_, **__: topics.append(topic))

    def subscribe() -> None:
        parts = SimpleNamespace(buffer=ObservationBuffer(SPEC), formats=None)
        sensors.Sensors(node, SimpleNamespace(parts=parts), "best_effort", None, print)

    subscribe()
    assert topics == ["image_raw", "joint_states", "wrench"]
    topics.clear()

    find = sensors.messages.message_class

    def missing(kind: str) -> type:
        if kind.startswith("geometry_msgs"):
            raise EnvironmentProblem(kind)
        return find(kind)

    monkeypatch.setattr(sensors.messages, "message_class", missing)
    with pytest.raises(EnvironmentProblem, match="WrenchStamped"):
        subscribe()
    assert topics == []


def test_a_persons_type_that_is_not_installed_leaves_no_subscription():
    teleoperator = SimpleNamespace(type="not_installed/msg/Leader")
    controller = SimpleNamespace(
        parts=SimpleNamespace(
            buffer=ObservationBuffer(SPEC), formats=None, teleoperator=teleoperator
        )
    )
    with pytest.raises(EnvironmentProblem, match="not_installed"):
        # A node has to be asked for nothing.
        sensors.connect_inputs(None, controller, build_settings({}), None, print)


def test_a_message_of_absurd_size_is_not_read():
    """Reading 300,000 names would keep the executor for half a second."""
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import JointState

    callbacks: dict = {}
    node = SimpleNamespace(
        create_subscription=lambda kind, topic, take, *_, **__: callbacks.setdefault(topic, take)
    )
    buffer, said, arrived = ObservationBuffer(SPEC), [], []
    parts = SimpleNamespace(buffer=buffer, formats=None)
    graph = SimpleNamespace(arrived=arrived.append)
    controller = SimpleNamespace(parts=parts)
    sensors.Sensors(node, controller, "best_effort", graph, lambda *what: said.append(what))
    names = [f"joint_{row}" for row in range(300_000)]
    callbacks["joint_states"](serialize_message(JointState(name=names)))
    ((_, key, text),) = said
    assert key == "void:joint_states"
    assert "bytes in one message, at most 131072 are read" in text
    assert arrived == ["joint_states"]
    assert "at most 131072 are read" in buffer.observe(1).reasons["joint_states"]
