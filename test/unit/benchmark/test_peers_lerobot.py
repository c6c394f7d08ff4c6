# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobot's own policies as methods to compare with: trained for a second, gone on with, tried.

`make test-lerobot` runs this with LeRobot in an environment of its own, SARNN_LEROBOT_PYTHON.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from dot_task import Dot

from benchmark.peers import measure
from benchmark.peers.methods import METHODS
from benchmark.tasks import run

pytestmark = pytest.mark.lerobot


@pytest.mark.parametrize("method", ["act_small", "diffusion_small"])
def test_lerobots_policies_are_trained_and_asked(method: str, tmp_path: Path) -> None:
    assert method in METHODS
    settings = run.Settings(tmp_path, demonstrations=3, trials=1)
    told = [
        measure.measure(f"{Dot.__module__}:Dot", method, minutes, 0, settings)["training"]
        for minutes in (0.02, 0.04)
    ]
    assert 2.4 <= told[0]["cpu_seconds"] < 4.8 <= told[1]["cpu_seconds"] < 9.6
    assert 0 < told[0]["updates"] < told[1]["updates"]
    assert told[0]["parameters"] == told[1]["parameters"] > 10_000_000
