# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `/diagnostics` says, of a loop that is set by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from sarnn_ros.control.faults import FaultBook
from sarnn_ros.control.settings import build_parameters
from sarnn_ros.control.statistics import LoopStatistics
from sarnn_ros.ros.diagnostics import Diagnostics


class Loop:
    """Diagnostics of a node whose controller is said to be in some state."""

    def __init__(self) -> None:
        self.now = 0.0
        self.published = []
        publisher = SimpleNamespace(publish=lambda message: self.published.append(message))
        clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=0))
        node = SimpleNamespace(
            get_fully_qualified_name=lambda: "/sarnn",
            create_publisher=lambda *_: publisher,
            get_clock=lambda: clock,
        )
        self.controller = SimpleNamespace(
            statistics=LoopStatistics(lambda: self.now),
            faults=FaultBook(),
            running=True,
            phase="",
            stalled_s=0.0,
            trips={},
            interpolation_stops={},
        )
        scene = SimpleNamespace(
            health_status=lambda: (True, "", {}), drift_status=lambda: (True, "", {})
        )
        graph = SimpleNamespace(rates={}, received=dict)
        self.diagnostics = Diagnostics(node)
        config = SimpleNamespace(spec=SimpleNamespace(rate=10.0))
        self.diagnostics.configured(config, self.controller, graph, scene)

    def status(self, part: str, state: str = "active") -> tuple[bytes, str]:
        self.diagnostics.publish(state, build_parameters({}))
        (status,) = [one for one in self.published[-1].status if one.name == f"/sarnn: {part}"]
        return status.level, status.message


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_no_ticks_are_an_error_while_active(loop):
    assert loop.status("control") == (DiagnosticStatus.OK, "commanding")
    loop.controller.stalled_s = 3.0
    level, text = loop.status("control")
    assert level == DiagnosticStatus.ERROR and text.startswith("no tick for 3.0 s")
    assert loop.status("control", "inactive") == (DiagnosticStatus.OK, "inactive")


def test_ticks_missed_are_a_warning_for_a_while(loop):
    def tick(missed: int) -> None:
        loop.controller.statistics.add(
            0, missed=missed, stages={}, ages=None, reset=False, sent=True
        )

    tick(0)
    assert loop.status("timing")[0] == DiagnosticStatus.OK
    tick(2)
    level, text = loop.status("timing")
    assert level == DiagnosticStatus.WARN and text.endswith("2 ticks missed")
    loop.now += 6.0
    assert loop.status("timing")[0] == DiagnosticStatus.OK


class Growing(dict):
    """Gets another entry while somebody looks at its items."""

    def items(self):
        for item in super().items():
            self[f"another {len(self)}"] = 1
            yield item


def test_a_trip_that_comes_meanwhile_does_no_harm(loop):
    loop.controller.trips = Growing(step=1)
    loop.status("control")
    values = {value.key: value.value for value in loop.published[-1].status[0].values}
    assert values["guard trips step"] == "1"
