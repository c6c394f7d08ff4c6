# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the ROS graph says, by the parameters as they are now."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sarnn_ros.nodes.graph_watch import GraphWatch
from sarnn_ros.nodes.parameters import build_parameters
from sarnn_ros.spec import parse_spec

SPEC = parse_spec({"cameras": [{"name": "front"}], "joints": [{"names": ["a"]}]})


class Graph:
    """A node that nobody publishes to, and a command topic with so many listeners."""

    def __init__(self, listeners: int, **parameters) -> None:
        self.parameters = parameters
        node = SimpleNamespace(
            resolve_topic_name=lambda topic: f"/{topic}", count_publishers=lambda topic: 0
        )
        publisher = SimpleNamespace(
            topic_name="/joint_command", get_subscription_count=lambda: listeners
        )
        self.watch = GraphWatch(node, SPEC, lambda: build_parameters(self.parameters), [publisher])

    def faults(self, **parameters) -> list[str]:
        self.parameters |= parameters
        self.watch.look()
        return list(self.watch.faults)


@pytest.mark.parametrize("at_configure", [True, False])
def test_a_controller_is_required_while_commands_are_sent(at_configure):
    graph = Graph(0, dry_run=at_configure)
    assert graph.faults() == ["no_controller"] * (not at_configure)
    assert graph.faults(dry_run=not at_configure) == ["no_controller"] * at_configure
    assert not Graph(1).faults()
