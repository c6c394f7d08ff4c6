# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The whole loop in miniature, as a user runs it: bags, training, nodes over DDS, report.

Nothing is replaced: real bags, real training, real processes, real time. What is small is how much
of it; that the policy gets good is the demo's own gate (`make demo`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from in_time import assert_in_time
from rosbags.highlevel import AnyReader

from sarnn_ros.files import read_json_lines
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.sim.scene import home_joints

TIMEOUT = 240.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _demo(out: Path, domain: int) -> subprocess.Popen[str]:
    """`sarnn demo --quick`, marked so that its children can be found."""
    options = ["--quick", "--out", str(out), "--domain-id", str(domain)]
    return subprocess.Popen(
        [sys.executable, "-m", "sarnn_ros.cli.main", "demo", *options],
        env={**os.environ, "SARNN_TEST_RUN": str(out), "ROS_PYTHON_CHECK_FIELDS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _processes(out: Path) -> list[str]:
    """Command lines of the living processes of that run."""
    marker = f"SARNN_TEST_RUN={out}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # gone, or not ours
    return found


def _wait(condition: Callable[[], object], process: subprocess.Popen[str], what: str) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert process.poll() is None, f"ended before {what}:\n{process.communicate()[0]}"
        assert_in_time(time.monotonic() < end, f"waited {TIMEOUT} s for {what}")
        time.sleep(0.05)


@pytest.fixture(scope="module")
def interrupted(domain: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that Ctrl-C ended in the middle of its second trial."""
    out = tmp_path_factory.mktemp("demo") / "out"
    process = _demo(out, domain)
    try:
        _wait(lambda: read_json_lines(out / "trials.jsonl"), process, "the first trial")
        running = " ".join(_processes(out))
        assert "run sim" in running
        assert "run inference" in running
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted" in said
    return out


def test_ctrl_c_leaves_no_process_and_whole_files(interrupted: Path):
    assert _processes(interrupted) == []
    for line in (interrupted / "trials.jsonl").read_text().splitlines():
        json.loads(line)
    assert not list((interrupted / "bags").glob(".partial*"))


@pytest.fixture(scope="module")
def finished(interrupted: Path, domain: int) -> tuple[Path, str]:
    """The same run, gone on with to its end, and what it said."""
    policy = (interrupted / "policy" / "config.json").stat().st_mtime_ns
    process = _demo(interrupted, domain)
    said, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, said
    assert (interrupted / "policy" / "config.json").stat().st_mtime_ns == policy
    return interrupted, said


def test_it_went_on_where_it_stopped(finished: tuple[Path, str]):
    out, said = finished
    said = " ".join(said.split())  # lines are broken where the terminal ends
    assert "used again" in said
    assert "there already" in said
    assert _processes(out) == []


def test_the_bags_are_rosbag2(finished: tuple[Path, str]):
    bags = sorted((finished[0] / "bags").iterdir())
    assert len(bags) >= 3
    with AnyReader(bags) as reader:
        counts = {name: topic.msgcount for name, topic in reader.topics.items()}
    assert counts["/image_raw"] > 100 * len(bags)
    assert counts["/joint_states"] > 380 * len(bags)


def test_the_policy_is_trained_and_loads(finished: tuple[Path, str]):
    policy = Policy.load(finished[0] / "policy")
    assert policy.spec.command_names == (*(f"joint{n}" for n in range(1, 6)), "gripper")
    curves = cv2.imread(str(finished[0] / "learning_curves.png"))
    assert curves is not None


def test_commands_flow_and_move_the_arm(finished: tuple[Path, str]):
    out = finished[0]
    trials = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
    driven = [trial for trial in trials if trial["driver"] == "sarnn"]
    assert len({trial["index"] for trial in trials}) == len(trials) >= 12
    refused = [trial for trial in driven if "command refused" in (trial["problem"] or "")]
    # So little training promises "most commands" (`sim/demo.py`): some may end by the limits.
    assert len(refused) < len(driven) / 2, refused
    for trial in (one for one in driven if one not in refused):
        # A node that gets no core for a second stops, as it must, and says so in its trial.
        assert_in_time(trial["problem"] is None, trial)
        assert_in_time(len(trial["latencies"]) > 10, trial)
        assert 0 < np.median(trial["latencies"])
        assert_in_time(np.median(trial["latencies"]) < 0.1, trial)
    with np.load(next(out.glob("recordings/*.npz"))) as seen:
        moved = np.abs(seen["joints"] - home_joints()).max(axis=0)
        commanded = np.abs(seen["commands"] - home_joints()).max(axis=0)
        assert moved[:5].max() > 0.02
        assert moved[:5].max() == pytest.approx(commanded[:5].max(), abs=0.1)
        assert len(seen["images"]) > 30
        assert seen["encoder"].shape[1:] == seen["decoder"].shape[1:] == (12, 2)
        assert (seen["encoder"] >= 0).all()
        assert (seen["encoder"] < 128).all()


def test_the_report(finished: tuple[Path, str]):
    out, said = finished
    report = json.loads((out / "report.json").read_text())
    assert set(report) >= {"success", "train_seconds", "latency_ms", "ticks"}
    kinds = {"taught", "untaught", "random", "control_no_vision", "control_replay"}
    assert set(report["success"]) == kinds
    for counts in report["success"].values():
        assert set(counts) == {"trials", "successes"}
        assert 0 <= counts["successes"] <= counts["trials"] > 0
    assert report["success"]["taught"]["trials"] == 5
    assert report["success"]["untaught"]["trials"] == 4
    assert report["train_seconds"] > 0
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p95"]
    assert report["ticks"]["missed"] < 0.2 * report["ticks"]["total"]
    assert "positions never taught" in said  # the table


def test_the_film_plays(finished: tuple[Path, str]):
    film = cv2.VideoCapture(str(finished[0] / "demo.mp4"))
    frames = 0
    while film.read()[0]:
        frames += 1
    assert frames > 100
    assert cv2.imread(str(finished[0] / "contact_sheet.png")) is not None
