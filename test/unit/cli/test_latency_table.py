# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The table of `sarnn latency`, from the values that the node publishes."""

import io
import math

from rich.console import Console

from sarnn_ros.cli.latency import timing_table
from sarnn_ros.control.statistics import as_text

VALUES = {
    "rate (Hz)": "10.0",
    "ticks missed": "3",
    "age camera (ms)": "17.3",
    **as_text(
        {
            "total": {"p50": 1.2},
            "observe": {"p50": 0.41, "p95": 0.9, "p99": 1.25, "max": math.inf},
        }
    ),
}


def test_what_another_node_says_is_only_text():
    output = io.StringIO()
    values = {**VALUES, "age [/x] (ms)": "4", "age camera (ms)": "n/a"}
    Console(file=output, width=100).print(timing_table("/arm", "in_[/sync]", values))
    text = output.getvalue()
    assert "in_[/sync]" in text and "age [/x]" in text and "age camera" not in text


def test_the_table_shows_stages_and_ages():
    output = io.StringIO()
    console = Console(file=output, width=100)
    console.print(timing_table("/arm/sarnn", "10.0 of 10 Hz, 3 ticks missed", VALUES))
    text = output.getvalue()
    assert "/arm/sarnn: 10.0 of 10 Hz, 3 ticks missed" in text
    (line,) = (line for line in text.splitlines() if "observe" in line)
    cells = [float(cell) for cell in line.split("│")[2:-1]]
    assert cells == [0.41, 0.9, 1.25, float("inf")]
    assert text.index("total") > text.index("observe")
    (line,) = (line for line in text.splitlines() if "age camera" in line)
    assert "17.30" in line
