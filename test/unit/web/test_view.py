# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the page is told, from what was heard."""

from __future__ import annotations

import json
import math

import pytest

from sarnn_ros.control.statistics import as_text
from sarnn_ros.ros.web.view import (
    HISTORY_SECONDS,
    LOOKING_SECONDS,
    MAX_CALLS,
    MAX_ROWS,
    Busy,
    View,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def view(clock: Clock) -> View:
    return View("/arm/sarnn", "/recorder", clock)


def test_statuses_of_others_are_passed_over(view: View, clock: Clock) -> None:
    for name in ("/sarnn: control", "/arm/sarnn: motors", "/arm/sarnn", "controller_manager: x"):
        view.say(name, 2, "not ours", {})
    assert view.state(0.0)["parts"] == {}
    view.say("/arm/sarnn: control", 1, "holding: why", {"doing": "holding"})
    view.say("/recorder: session", 0, "not recording", {})
    clock.now += 5.0
    parts = view.state(0.0)["parts"]
    assert parts.keys() == {"control", "recorder"}
    assert parts["control"] == {
        "age": 5.0, "level": 1, "text": "holding: why", "values": {"doing": "holding"},
    }  # fmt: skip


def test_the_history_is_told_once_and_forgotten(view: View, clock: Clock) -> None:
    for tick in range(3):
        clock.now = 100.0 + tick
        view.health(math.nan if tick == 1 else float(tick))
        total = {"total": {"p50": 1.5, "p95": 2.0, "p99": 2.5, "max": 4.0}}
        view.say("/arm/sarnn: timing", 0, "fine", as_text(total))
    state = view.state(0.0)
    assert state["scores"] == [(100.0, 0.0), (101.0, None), (102.0, 2.0)]
    assert state["latencies"][-1] == (102.0, 1.5, 2.5)
    json.dumps(state, allow_nan=False)
    assert view.state(101.0)["scores"] == [(102.0, 2.0)]
    assert view.state(102.0)["scores"] == view.state(102.0)["latencies"] == []
    clock.now = 101.5 + HISTORY_SECONDS
    view.health(1.0)
    assert [row[0] for row in view.state(0.0)["scores"]] == [102.0, clock.now]


@pytest.mark.parametrize(
    "values",
    [
        {"rate (Hz)": "0"},
        {"latency total (ms)": '{"p50": NaN, "p99": 1}'},
        {"latency total (ms)": '{"p50": 1, "p99": Infinity}'},
        {"latency total (ms)": '{"p50": 1}'},
        {"latency total (ms)": "{}"},
        {"latency total (ms)": "text"},
    ],
)
def test_a_timing_without_both_numbers_is_no_latency(view: View, values: dict[str, str]) -> None:
    view.say("/arm/sarnn: timing", 0, "10.0 of 10 Hz", values)
    state = view.state(0.0)
    assert state["latencies"] == []
    assert state["parts"]["timing"]["values"] == values
    json.dumps(state, allow_nan=False)


def test_what_others_publish_fills_no_memory(view: View) -> None:
    for _ in range(MAX_ROWS + 100):
        view.health(1.0)
    many = {f"{index:03} {'k' * 10_000}": "v" * 1_000_000 for index in range(1000)}
    view.say("/arm/sarnn: control", 200, "t" * 1_000_000, many)
    state = view.state(0.0)
    assert len(state["scores"]) == MAX_ROWS
    assert len(json.dumps(state)) < 1_000_000


def test_a_camera_is_looked_at_while_it_is_asked_for(view: View, clock: Clock) -> None:
    view.found(("left", "right"))
    assert view.looked_at() == set()
    assert view.picture("left", -1) is None
    assert view.picture("cellar", -1) is None
    assert view.looked_at() == {"left"}
    view.show("left", b"first")
    number, jpeg = view.picture("left", -1) or (0, b"")
    assert jpeg == b"first"
    assert view.picture("left", number) is None, "seen before"
    view.show("left", b"second")
    assert (view.picture("left", number) or (0, b""))[1] == b"second"
    clock.now += LOOKING_SECONDS + 0.1
    assert view.looked_at() == set()
    view.show("left", b"on its way when the last one looked away")
    assert view.picture("left", -1) is None, "what was kept is old"
    view.found(("right",))
    assert view.looked_at() == set()


def test_a_call_is_not_repeated_before_its_answer_but_a_stop_is(view: View) -> None:
    start = view.begin("start")
    with pytest.raises(Busy):
        view.begin("start")
    stops = [view.begin("stop"), view.begin("stop")]
    assert [one["ok"] for one in view.state(0.0)["calls"]] == [None, None, None]
    view.end(stops[1], True, "stopped")
    view.end(start, False, "refused")
    assert [(one["action"], one["ok"]) for one in view.state(0.0)["calls"]] == [
        ("start", False), ("stop", None), ("stop", True),
    ]  # fmt: skip
    assert view.begin("start").number > stops[1].number


def test_impatience_does_not_fill_the_memory(view: View) -> None:
    for _ in range(10 * MAX_CALLS):
        view.begin("stop")
    assert len(view.state(0.0)["calls"]) == MAX_CALLS
