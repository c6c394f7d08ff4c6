# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The referee on the real simulator: right verdicts, and no waiting for those who are gone."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rclpy.task import Future

from sarnn_ros.errors import BagError, EnvironmentProblem
from sarnn_ros.processes import Child, children
from sarnn_ros.ros.clients import knows_clients
from sarnn_ros.sim import referee as referee_module
from sarnn_ros.sim.demonstrations import Episode, mean_commands, record
from sarnn_ros.sim.judging import TrialTrace
from sarnn_ros.sim.referee import Referee, open_referee
from sarnn_ros.sim.task import RATE, Placement, TrialPlan

TICKS = 45
CUBE = Placement(0.42, 0.1)


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two demonstrations at the same position: their mean is a good one."""
    out = tmp_path_factory.mktemp("bags")
    for index in range(2):
        assert record(Episode(index, 0, CUBE, ticks=40), out)
    return out


@pytest.fixture(scope="module")
def stage(
    bags: Path, domain: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Referee, list]]:
    logs = tmp_path_factory.mktemp("logs")
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_PYTHON_CHECK_FIELDS": "1"}
    with children() as running:
        command = [sys.executable, "-m", "sarnn_ros.sim.node"]
        running.append(Child("sim", command, env=environment, log=logs / "sim.log"))

        def alive() -> None:
            for child in running:
                child.check()

        with open_referee(domain, mean_commands(sorted(bags.iterdir())), alive) as referee:
            referee.wait_until_ready(("sim",))
            yield referee, running


class Forgetful:
    """In place of a server that drops the first answers, which no real one does on demand."""

    def __init__(self, drops: int) -> None:
        self.asked, self._drops = 0, drops

    def call_async(self, request: object) -> Future:
        self.asked += 1
        future = Future()
        if self.asked > self._drops:
            future.set_result(None)
        return future


def test_a_server_that_drops_answers_is_asked_again(wait) -> None:
    server = Forgetful(drops=2)
    wait(knows_clients(server), "an answer")
    assert server.asked == 3


def test_why_a_run_ended_is_said_by_what_controls_it(stage, monkeypatch) -> None:
    said = {"/sarnn: control": "faulted: guard", "/sarnn: health": "unknown", "/sim: scene": "x"}
    referee, _ = stage
    monkeypatch.setattr(
        referee, "diagnostics", {name: {"message": text} for name, text in said.items()}
    )
    assert referee._sarnn_says() == "faulted: guard"
    monkeypatch.setattr(referee, "diagnostics", {})
    assert referee._sarnn_says() == "sarnn publishes no diagnostics"


def longest_gap(recording: TrialTrace) -> float:
    """Between two joint states or, beyond their period, two commands, s: what the machine did."""
    joints = np.diff([time for time, _ in recording.joints]).max()
    commands = np.diff([time for time, *_ in recording.commands]).max() - 1.0 / RATE
    return float(max(joints, commands))


def test_the_mean_of_one_position_lifts_there(stage, bags):
    """The arm moves in real time: where the machine has hiccups, it may lose the cube."""
    for _ in range(6):
        trial, recording = stage[0].run(TrialPlan("taught", CUBE, driver="replay"), TICKS)
        if trial.success or longest_gap(recording) < 0.03:
            break
    assert trial.success, f"longest gap {longest_gap(recording):.3f} s"
    assert trial.problem is None
    assert trial.max_lift > 0.1
    assert trial.ticks >= TICKS - 1
    # A replay does not begin on the grid of ticks: jitter may put two commands in one tick,
    # which then counts as one missed. So the commands are counted.
    assert len(recording.commands) >= TICKS - 1 - longest_gap(recording) * RATE
    commands = np.array([values for _, _, values in recording.commands])
    np.testing.assert_allclose(commands[:40], mean_commands(sorted(bags.iterdir())), atol=1e-12)
    assert len(recording.images) > 100 or longest_gap(recording) >= 0.03
    assert recording.images[0][2].shape == (128, 128, 3)


def test_and_not_elsewhere(stage):
    plan = TrialPlan("taught", Placement(0.42, -0.1), driver="replay")
    trial, _ = stage[0].run(plan, TICKS)
    assert not trial.success
    assert trial.problem is None
    assert abs(trial.max_lift) < 0.02


def test_a_refusal_is_passed_on(stage):
    with pytest.raises(EnvironmentProblem, match="refused"):
        stage[0].set_up(TrialPlan("taught", Placement(0.42, 7.0)))


def test_what_never_comes_is_named(stage):
    with pytest.raises(EnvironmentProblem, match=r"waited 0\.2 s for a sign"):
        stage[0].wait_for(lambda: False, "a sign", timeout=0.2)


def test_a_dead_process_ends_the_waiting_at_once(stage):
    """Last in this file: the simulator is gone afterwards."""
    referee, running = stage
    running[0].stop()
    started = time.monotonic()
    with pytest.raises(EnvironmentProblem, match="'sim' ended"):
        referee.run(TrialPlan("taught", CUBE, driver="replay"), TICKS)
    assert time.monotonic() - started < referee_module.TIMEOUT_SECONDS / 2


def test_replay_without_bags_is_an_error(tmp_path):
    with pytest.raises(BagError, match="sarnn demonstrate"):
        mean_commands([])
