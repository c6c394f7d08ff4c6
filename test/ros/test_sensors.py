# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is subscribed to, and what is left when that fails."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

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
    node = SimpleNamespace(create_subscription=lambda kind, topic, *_: topics.append(topic))

    def subscribe() -> None:
        ignored = dict.fromkeys(("now_ns", "arrived", "image_tick", "void"))
        sensors.Sensors(node, ObservationBuffer(SPEC), None, "best_effort", **ignored)

    subscribe()
    assert topics == ["image_raw", "joint_states", "wrench"]
    topics.clear()

    def missing(kind: str) -> None:
        raise EnvironmentProblem(kind)

    monkeypatch.setattr(sensors.messages, "message_class", missing)
    with pytest.raises(EnvironmentProblem, match="WrenchStamped"):
        subscribe()
    assert topics == []
