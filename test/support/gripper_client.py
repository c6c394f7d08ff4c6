# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What tests need of a gripper that is commanded by an action."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ros_testing import Graph, wait_until

OPEN, CLOSED = -0.8, 0.7


class Client:
    """A `GripperAction`, and what it told."""

    def __init__(
        self, graph: Graph, interface: str, name: str, late_s: float = 30.0, **ends: float
    ) -> None:
        from sarnn_ros.ros.gripper_action import Ends, GripperAction

        self.may, self._graph, self._closed = True, graph, False
        self.latched: list[tuple[str, str]] = []
        given = {"effort": 40.0, "velocity": 0.0, **ends}
        self.action = GripperAction(
            graph.node,
            name,
            interface,
            Ends("gripper", OPEN, CLOSED, **given),
            late_s,
            self._permission,
            lambda code, text: self.latched.append((code, text)),
        )
        self._timer = graph.node.create_timer(0.05, self.action.look)

    @contextmanager
    def _permission(self) -> Iterator[bool]:
        yield self.may

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._graph.node.destroy_timer(self._timer)
        self._graph.in_executor(self.action.destroy)


@pytest.fixture
def connect(graph: Graph) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(*arguments: Any, **options: Any) -> Client:
        clients.append(Client(graph, *arguments, **options))
        wait_until(clients[-1].action.get_subscription_count, "the action server")
        return clients[-1]

    yield make
    for client in clients:
        client.close()
