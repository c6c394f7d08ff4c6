# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The table of `sarnn latency`, from the values that the node publishes."""

import io

from rich.console import Console

from sarnn_ros.cli.latency import stages, timing_table

VALUES = {
    "rate (Hz)": "10.0",
    "ticks missed": "3",
    "total p50 (ms)": "1.2",
    "observe p50 (ms)": "0.41",
    "observe p95 (ms)": "0.9",
    "observe p99 (ms)": "1.25",
    "age camera (ms)": "17.3",
    "observe histogram (ms)": "0.362:3 0.512:9990 8.19:6 inf:1",
}


def test_percentiles_go_to_their_stage_and_nothing_else_does():
    assert list(stages(VALUES).items()) == [
        ("observe", {"p50": 0.41, "p95": 0.9, "p99": 1.25}),
        ("total", {"p50": 1.2}),
    ]


def test_the_table_shows_stages_and_ages():
    output = io.StringIO()
    console = Console(file=output, width=100)
    console.print(timing_table("/arm/sarnn", "10.0 of 10 Hz, 3 ticks missed", VALUES))
    text = output.getvalue()
    assert "/arm/sarnn: 10.0 of 10 Hz, 3 ticks missed" in text
    (line,) = (line for line in text.splitlines() if "observe" in line)
    cells = [float(cell) for cell in line.split("│")[2:-1]]
    assert cells == [0.41, 0.9, 1.25, 0.512, float("inf")]
    (line,) = (line for line in text.splitlines() if "age camera" in line)
    assert "17.30" in line
