# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `/diagnostics` says, of a loop that is set by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from sarnn_ros.control.faults import ActiveFaults
from sarnn_ros.control.settings import build_settings
from sarnn_ros.control.state import State, Status
from sarnn_ros.control.statistics import LoopStatistics
from sarnn_ros.control.tick import Tick
from sarnn_ros.ros.diagnostics import Diagnostics


class Loop:
    """Diagnostics of a node whose controller is said to be in some state."""

    def __init__(self) -> None:
        self.now = 0.0
        self.loading = None
        self.published = []
        publisher = SimpleNamespace(publish=lambda message: self.published.append(message))
        clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=0))
        node = SimpleNamespace(
            get_fully_qualified_name=lambda: "/sarnn",
            create_publisher=lambda *_: publisher,
            get_clock=lambda: clock,
        )
        self.controller = SimpleNamespace(
            started=True,
            run_s=3.0,
            statistics=LoopStatistics(lambda: self.now),
            faults=ActiveFaults(),
            violations={},
            parts=SimpleNamespace(
                outside=SimpleNamespace(warning=""),
                lag=SimpleNamespace(seconds=0.0),
                cameras=SimpleNamespace(status=lambda: (True, "", {})),
                interpolator=SimpleNamespace(interruptions={}),
                scene=SimpleNamespace(
                    health_status=lambda: (True, "", {}), drift_status=lambda: (True, "", {})
                ),
            ),
        )
        self.status = Status(State.COMMANDING)
        graph = SimpleNamespace(rates={}, received=dict)
        self.diagnostics = Diagnostics(node)
        config = SimpleNamespace(spec=SimpleNamespace(rate=10.0))
        self.diagnostics.configured(config, self.controller, graph, [])

    def told(self, part: str) -> tuple[bytes, str]:
        self.diagnostics.publish(self.status, "active", build_settings({}), self.loading)
        (status,) = [one for one in self.published[-1].status if one.name == f"/sarnn: {part}"]
        return status.level, status.message


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_no_ticks_are_an_error_while_active(loop):
    assert loop.told("control") == (DiagnosticStatus.OK, "commanding")
    loop.status = Status(State.COMMANDING, "no tick for 3.0 s", "no_tick")
    level, text = loop.told("control")
    assert level == DiagnosticStatus.ERROR and text == "commanding: no tick for 3.0 s"
    loop.status = Status(State.INACTIVE)
    level, text = loop.told("control")
    assert level == DiagnosticStatus.OK and text.startswith("inactive: activate it")


def test_what_a_start_would_wait_for_is_a_warning(loop):
    loop.status = Status(State.STOPPED)
    assert loop.told("control") == (DiagnosticStatus.OK, "stopped: call ~/start")
    loop.status = Status(State.STOPPED, blocked="front: no image")
    text = "stopped: call ~/start; not yet: front: no image"
    assert loop.told("control") == (DiagnosticStatus.WARN, text)


def test_ticks_missed_are_a_warning_for_a_while(loop):
    def tick(missed: int) -> None:
        loop.controller.statistics.add(Tick(0, missed=missed))

    tick(0)
    assert loop.told("timing")[0] == DiagnosticStatus.OK
    tick(2)
    level, text = loop.told("timing")
    assert level == DiagnosticStatus.WARN and text.endswith("2 ticks missed")
    loop.now += 6.0
    assert loop.told("timing")[0] == DiagnosticStatus.OK


class Growing(dict):
    """Gets another entry while somebody looks at its items."""

    def items(self):
        for item in super().items():
            self[f"another {len(self)}"] = 1
            yield item


def test_a_trip_that_comes_meanwhile_does_no_harm(loop):
    loop.controller.statistics.violations = Growing(step=1)
    loop.told("control")
    values = {value.key: value.value for value in loop.published[-1].status[0].values}
    assert values["limit violations step"] == "1"


def test_the_policy_that_is_being_loaded_is_named(loop):
    for loading, named in (("/other", ["/other"]), (None, [])):
        loop.loading = loading
        loop.told("control")
        values = {value.key: value.value for value in loop.published[-1].status[0].values}
        assert [values[key] for key in values if key == "loading"] == named
        assert values["running for (s)"] == "3"


@pytest.mark.parametrize("lag_s", [0.0, 0.2])
def test_an_arm_that_lags_is_told(loop, lag_s: float):
    loop.controller.parts.lag.seconds = lag_s
    loop.told("control")
    values = {value.key: value.value for value in loop.published[-1].status[0].values}
    assert values.get("the arm lags by (s)") == (str(lag_s) if lag_s else None)
