# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A lab's first day with an arm that we have not seen, and without an edit by hand: what `sarnn`
proposes is what is recorded, trained on and run.

The arm is everything that goes wrong at first: seven joints in a namespace, joint states without
stamps, an axis of a conveyor among them, two cameras, trajectories as commands. The training is a
token: that a policy gets good is shown elsewhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cell import ARM, CAMERAS, COMMANDS, SPACE, Cell
from in_time import assert_in_time
from ros_testing import Graph, Process, wait_until

from sarnn_ros.data.session import read_back
from sarnn_ros.policy.directory import load_config
from sarnn_ros.spec import load_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

EPISODES = 2


@pytest.fixture(scope="module")
def cell(graph: Graph) -> Iterator[Cell]:
    made = Cell(graph)
    yield made
    made.close()


Sarnn = Callable[..., Process]


@pytest.fixture(scope="module")
def sarnn(launch: Callable[..., Process]) -> Sarnn:
    """The command line, in a terminal of 80 columns."""

    def run(*words: object) -> Process:
        return launch(
            sys.executable, "-m", "sarnn_ros.cli.main", *map(str, words),
            COLUMNS="80", OMP_NUM_THREADS="1",
        )  # fmt: skip

    return run


def done(process: Process, timeout: float = 120.0) -> str:
    assert process.ended(timeout) == 0, process.output
    return process.output


@pytest.fixture(scope="module")
def proposed(cell: Cell, sarnn: Sarnn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spec, as it was proposed while a person moved the arm."""
    out = tmp_path_factory.mktemp("day") / "spec.yaml"
    process = sarnn("spec", "--live", "--out", out, "--seconds", 4, "--timeout", 60)
    while process.returncode is None:
        cell.demonstrate()
    done(process)
    return out


@pytest.fixture(scope="module")
def bags(cell: Cell, proposed: Path, sarnn: Sarnn, graph: Graph) -> Path:
    """Demonstrations, by a recorder in the arm's namespace."""
    out = proposed.parent / "bags"
    process = sarnn(
        "run", "recorder", "--ros-args", "-r", f"__ns:={SPACE}",
        "-p", f"spec:={proposed}", "-p", f"out:={out}", "-p", "min_free_gigabytes:=0.1",
    )  # fmt: skip
    process.wait_for(f"ros2 service call {SPACE}/recorder/start_episode")
    name = f"{SPACE}/recorder"
    said = [""]

    def ready() -> bool:
        answer = graph.trigger(f"{name}/preflight")
        said[0] = answer.message
        return bool(answer.success)

    wait_until(ready, lambda: f"a clean preflight: {said[0]}")

    def kept() -> list[Path]:
        return sorted(out.glob("episode_*"))

    for _ in range(3 * EPISODES):
        started = graph.trigger(f"{name}/start_episode")
        assert started.success, started.message
        cell.demonstrate()
        assert graph.trigger(f"{name}/label_success").success
        # Without a core for a moment a recording has a hole, and is made again.
        if read_back(kept()[-1], load_spec(proposed))[0] is not None:
            assert graph.trigger(f"{name}/discard_episode").success
        if len(kept()) == EPISODES:
            break
    assert_in_time(len(kept()) == EPISODES, process.output)
    assert process.stop() == 0, process.output
    return out


@pytest.fixture(scope="module")
def policy(proposed: Path, bags: Path, sarnn: Sarnn) -> Path:
    out = proposed.parent / "policy"
    token = ("recipe=eipl", "epochs=1", "threads=1")
    settings = [word for setting in token for word in ("--set", setting)]
    settings += ["--validation", "0", "--no-cache"]
    done(sarnn("train", bags, "--spec", proposed, "--out", out, *settings), 240.0)
    return out


def test_the_spec_is_of_the_arm_and_says_why(proposed: Path) -> None:
    spec, text = load_spec(proposed), proposed.read_text(encoding="utf-8")
    text = text.replace("\n#  ", "")
    assert {one.name: one.topic for one in spec.cameras} == {
        "top_cam": CAMERAS[0], "side_cam": CAMERAS[1]
    }  # fmt: skip
    assert [(one.topic, one.names) for one in spec.joints] == [(f"{SPACE}/joint_states", ARM)]
    assert (spec.command.topic, spec.target) == (COMMANDS, "command")
    assert spec.clock == "receive" and f"'{SPACE}/joint_states' are not set (0)" in text
    assert "left out" in text and "'conveyor'" in text


def test_a_spec_that_is_there_is_refused_before_listening(proposed: Path, sarnn: Sarnn) -> None:
    began = time.monotonic()
    refused = sarnn("spec", "--live", "--out", proposed, "--seconds", 100, "--timeout", 100)
    assert refused.ended(60.0) == 1
    assert time.monotonic() - began < 60.0 and "exists already" in refused.output


def test_the_recordings_are_sound_as_they_are(proposed: Path, bags: Path, sarnn: Sarnn) -> None:
    page = proposed.parent / "report.html"
    said = done(sarnn("inspect", bags, "--spec", proposed, "--no-cache", "--html", page))
    names = "".join(line.split()[0] for line in said.splitlines() if line.strip())
    for topic in (*CAMERAS, f"{SPACE}/joint_states"):
        assert topic in names, said  # perhaps broken over lines, but whole
    assert page.exists()


def test_a_trial(cell: Cell, policy: Path, sarnn: Sarnn, graph: Graph) -> None:
    """The node in the arm's namespace: its topics are those of the recordings."""
    assert load_config(policy).spec.command_names == ARM
    cell.leave()
    # The policy is a token one: what it predicts may lie beyond what was shown.
    checks = ("position", "step", "velocity", "acceleration")
    clamped = [f"guard.on_{check}:=clamp" for check in checks]
    words = [f"policy:={policy}", "command_interface:=joint_trajectory", *clamped]
    node = sarnn(
        "run", "inference", "--ros-args", "-r", f"__ns:={SPACE}",
        "-r", f"joint_command:={COMMANDS}", "-p", "watch.max_gap:=1.0",
        *(word for one in words for word in ("-p", one)),
    )  # fmt: skip

    def commanded() -> bool:
        return len(cell.commands) > 10 and cell.moved > 0.01

    wait_until(lambda: graph.state(f"{SPACE}/sarnn") == "active", lambda: node.output)
    wait_until(lambda: graph.trigger(f"{SPACE}/sarnn/start").success, lambda: node.output)
    wait_until(commanded, lambda: f"moved by {cell.moved:.3f} rad: {node.output}")
    assert node.stop() == 0, node.output
