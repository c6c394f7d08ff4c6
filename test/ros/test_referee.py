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

from sarnn_ros.errors import BagError, EnvironmentProblem
from sarnn_ros.sim import demo
from sarnn_ros.sim import referee as referee_module
from sarnn_ros.sim.demonstrations import Episode, record
from sarnn_ros.sim.processes import Child, children, free_domain
from sarnn_ros.sim.referee import PERIOD_NS, Recording, Referee, Trial, _judge, open_referee
from sarnn_ros.sim.replay import mean_commands
from sarnn_ros.sim.task import Placement, TrialPlan

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
def stage(bags: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Referee, list]]:
    logs = tmp_path_factory.mktemp("logs")
    domain = free_domain()
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_PYTHON_CHECK_FIELDS": "1"}
    with children() as running:
        for name, arguments in (("node", []), ("replay", [str(bags)])):
            command = [sys.executable, "-m", f"sarnn_ros.sim.{name}", *arguments]
            running.append(Child(name, command, env=environment, log=logs / f"{name}.log"))

        def alive() -> None:
            for child in running:
                child.check()

        with open_referee(domain, alive) as referee:
            referee.wait_until_ready(("replay",))
            yield referee, running


def test_the_mean_of_one_position_lifts_there(stage, bags):
    trial, recording = stage[0].run(TrialPlan("taught", CUBE, driver="replay"), TICKS)
    assert trial.success
    assert trial.problem is None
    assert trial.max_lift > 0.1
    assert trial.ticks >= TICKS - 1
    assert trial.missed <= 1
    commands = np.array([values for _, _, values in recording.commands])
    np.testing.assert_allclose(commands[:40], mean_commands(sorted(bags.iterdir())), atol=1e-12)
    assert len(recording.images) > 100
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
        stage[0].wait_for(lambda: False, "a sign", patience=0.2)


def test_a_dead_process_ends_the_waiting_at_once(stage):
    """Last in this file: the replay node is gone afterwards."""
    referee, running = stage
    running[1].stop()
    started = time.monotonic()
    with pytest.raises(EnvironmentProblem, match="'replay' ended"):
        referee.run(TrialPlan("taught", CUBE, driver="replay"), TICKS)
    assert time.monotonic() - started < referee_module.PATIENCE / 2


def _recording(labels: list[int], delay: float = 0.004) -> Recording:
    period = PERIOD_NS * 1e-9
    nothing = np.zeros(6)
    return Recording(
        cube=[(tick * period, 0.1) for tick in range(20)],
        commands=[
            (label * period + delay, label * PERIOD_NS + 3_000_000, nothing) for label in labels
        ],
        markers=[
            (label * period + delay + 0.001, label * PERIOD_NS - 20_000_000, "encoder", nothing)
            for label in labels
        ],
    )


def test_latencies_and_ticks_are_counted_from_the_stamps():
    trial = _judge(_recording(list(range(10, 30))), None, 20)
    assert (trial.success, trial.ticks, trial.missed) == (True, 20, 0)
    np.testing.assert_allclose(trial.latencies, 0.004, atol=1e-6)
    np.testing.assert_allclose(trial.camera_latencies, 0.024, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "ticks", "missed"),
    [
        ([10, 11, 13, 14], 5, 1),
        ([10, 10, 11, 12, 13, 14], 5, 0),  # two commands in a tick
        ([10, 11], 20, 17),  # gave up: the trial's own length counts
        ([], 20, 19),
    ],
)
def test_missed_ticks(labels, ticks, missed):
    assert _judge(_recording(labels), None, ticks).missed == missed


def test_replay_without_bags_is_an_error(tmp_path):
    with pytest.raises(BagError, match="sarnn demonstrate"):
        mean_commands([])


@pytest.mark.parametrize("silent", [False, True])
def test_a_recording_comes_back_as_it_was(tmp_path, silent):
    rng = np.random.default_rng(0)
    recording = Recording(
        cube=[(1.0, 0.0), (1.1, 0.1)],
        commands=[(1.05, 5 * 10**8, np.arange(6.0))],
        joints=[(1.0, np.arange(6.0)), (1.1, np.arange(6.0))],
        images=[(1.0, 10**9, rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))],
        markers=[
            (1.0, 10**9, name, np.ones((5, 2)) * factor)
            for factor, name in ((1, "encoder"), (2, "decoder"), (3, "encoder"))
        ],
    )
    if silent:  # a policy that never commanded, and shows no attention
        recording.commands, recording.markers = [], []
    trial = Trial(True, 0.1, 90, 0, (), ())
    plan = TrialPlan("untaught", Placement(0.42, -0.15))
    demo._save_recording(tmp_path / "a.npz", plan, trial, recording)
    clip = demo._load_clip(tmp_path / "a.npz")
    assert clip.title == "untaught y -15.0 cm"
    assert clip.success is True
    assert clip.image_times.tolist() == [1.0]
    np.testing.assert_array_equal(clip.images[0], recording.images[0][2])
    if silent:
        assert clip.commands.shape == (0, 6)
        assert len(clip.encoder) == len(clip.decoder) == len(clip.point_times) == 0
    else:
        assert clip.commands.shape == (1, 6)
        assert clip.encoder.shape == clip.decoder.shape == (1, 5, 2)
        assert clip.decoder[0, 0].tolist() == [2.0, 2.0]
    assert clip.lifts.tolist() == [0.0, 0.1]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
