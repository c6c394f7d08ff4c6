# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The comparison with other methods, by stand-ins. LeRobot itself: test_peers_lerobot.py."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dot_task import Dot

from benchmark.peers import measure, table
from benchmark.peers.methods import METHODS, Asked, Budget, Sarnn
from benchmark.tasks import run
from sarnn_ros.policy.directory import load_config
from sarnn_ros.spec import Spec
from sarnn_ros.streams.observe import Observation

#: A driver in another process: moves where the red dot is in the whole image, if it was reset.
CHILD = """
import pickle, sys
fresh = False
while True:
    try:
        told = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    fresh = fresh or told is None
    action = None
    if told is not None:
        images, state = told
        red = (images["above"][..., 0] > 200) & (images["above"][..., 1] < 100)
        action = [red.nonzero()[1].mean() / 48 if fresh else 0.0, state[1]]
    pickle.dump(action, sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


class Seer:
    """A method that has nothing to learn."""

    about = "a stand-in"
    trained_as = None

    def __init__(self) -> None:
        self.budgets: list[Budget] = []

    def train(self, folder: Path, budget: Budget) -> dict[str, Any]:
        assert (folder / "bags").is_dir() and (folder / "spec.yaml").is_file()
        self.budgets.append(budget)
        (budget.out / "learnt").open("a").write("x")
        return {"cpu_seconds": budget.cpu_seconds, "updates": 7, "parameters": 0}

    @contextmanager
    def drive(self, folder: Path, budget: Budget) -> Iterator[tuple[Asked, Spec]]:
        command = [sys.executable, "-c", CHILD]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            yield Asked(process), run.make_spec(Dot())
            process.communicate()


SEER = Seer()


def test_a_method_is_trained_once_and_tried_in_its_own_process(tmp_path: Path) -> None:
    settings = run.Settings(tmp_path, demonstrations=3, trials=4)

    def record(minutes: float) -> dict[str, Any]:
        return measure.measure("dot_task:Dot", f"{__name__}:SEER", minutes, 2, settings)

    first = record(5.0)
    assert (first["successes"], first["trials"], first["commit"]) == (4, 4, run.commit())
    assert first["training"]["cpu_seconds"] == 600.0, "five minutes of two cores"
    assert record(5.0) == first
    longer = record(30.0)
    assert [(one.cpu_seconds, one.seed) for one in SEER.budgets] == [(600.0, 2), (3600.0, 2)]
    assert (SEER.budgets[0].out / "learnt").read_text() == "x"
    assert (SEER.budgets[1].out / "learnt").read_text() == "xx", "it goes on from the shorter one"
    page = table.page([first, longer])
    name = f"**{__name__}:SEER**, 3 demonstrations"
    assert f"| {name} | 30 | 2 | 4 of 4 | 51 to 100 % | 7 | 0 M | 3600 |" in page


def test_the_page_says_what_was_not_run() -> None:
    training = {"cpu_seconds": 601.0, "updates": 1600, "parameters": 18_700_000}
    record = {
        "task": "insertion", "method": "act_small", "minutes": 5.0, "seed": 0, "successes": 3,
        "trials": 50, "training": training, "demonstrations": 50, "commit": "c",
    }  # fmt: skip
    page = table.page([record])
    for name, method in METHODS.items():
        assert f"- **{name}**: {method.about}\n" in page
    _, _, insertion = page.partition("## Peers on insertion\n")
    insertion, _, _ = insertion.partition("\n## ")
    assert "| **act_small** | 5 | 0 | 3 of 50 | 2 to 16 % | 1600 | 19 M | 601 | c |" in insertion
    assert "; act_small 30 and 180; act_small_ensemble 5 and 30 and 180; " in insertion
    assert "Not run, of 5, 30 and 180 minutes: sarnn 5; sarnn_eipl 5 and 30 and 180" in insertion


@pytest.mark.slow
def test_ours_is_stopped_in_time_and_goes_on(tmp_path: Path) -> None:
    settings = run.Settings(tmp_path, demonstrations=8)
    run.prepare(Dot(), settings, lambda text: None)
    folder, method = tmp_path / "dot_8", Sarnn("", {"recipe": "eipl"})
    epochs, out = [], folder / "out"
    out.mkdir()
    for seconds in (1.0, 4.0):
        shutil.rmtree(out / "policy", ignore_errors=True)
        budget = Budget(0, seconds, out)
        told = method.train(folder, budget)
        assert seconds <= told["cpu_seconds"] < seconds + 5.0, "an epoch more at most"
        assert told["updates"] == 2 * told["epochs"], "seven episodes, five at a time"
        assert 10_000 < told["parameters"] < 1_000_000
        epochs.append(told["epochs"])
        with method.drive(folder, budget) as (driver, spec):
            driver.reset()
            image = np.zeros((spec.cameras[0].height, spec.cameras[0].width, 3), np.uint8)
            seen = Observation(0, {"above": image}, np.array([0.0, 0.5]), {}, {})
            assert driver.step(seen).action.shape == (2,)
    assert 0 < epochs[0] < epochs[1]
    assert load_config(out / "policy").training["epochs"] == epochs[1]
