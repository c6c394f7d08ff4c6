# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The scripted person who corrects policies, and the table of what that gives."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from dot_task import Dot

from benchmark import rounds
from benchmark.tasks.__main__ import keep
from benchmark.tasks.person import REACTION, watch
from benchmark.tasks.run import make_spec
from sarnn_ros.data.reading import read_bag


class Going:
    """A policy that goes to a place, as fast as the script does."""

    def __init__(self, goal: float) -> None:
        self.spec, self._goal = make_spec(Dot()), goal

    def reset(self) -> None:
        self._tick = 0

    def step(self, observation: Any) -> Any:
        self._tick += 1
        return SimpleNamespace(action=np.array([self._goal * min(1, self._tick / 9), 0.5]))


def where(seed: int) -> float:
    task = Dot()
    task.reset(seed)
    return float(task.positions()[0])


def test_a_policy_that_goes_right_is_left_alone(tmp_path: Path) -> None:
    going: Any = Going(where(5))
    assert watch(Dot(), going, 5, tmp_path / "bag") == (None, True)
    assert not (tmp_path / "bag").exists()


@pytest.mark.parametrize("off", [-0.15, 0.15])
def test_one_that_goes_wrong_is_corrected(tmp_path: Path, off: float) -> None:
    task = Dot()
    going: Any = Going(where(5) + off)
    took_over, success = watch(task, going, 5, tmp_path / "bag")
    assert success and took_over is not None
    # The slower one is seen to be wrong at the end only.
    assert (round(REACTION * task.rate) < took_over < task.ticks) == (off > 0)
    [episode], report = read_bag(tmp_path / "bag", make_spec(task))
    assert report.verdict == "sound" and episode.led is not None
    assert np.flatnonzero(episode.led)[0] == took_over
    assert episode.targets[took_over - 1, 0] == pytest.approx(
        (where(5) + off) * min(1, took_over / 9), abs=1e-6
    )
    assert episode.targets[-2, 0] == pytest.approx(where(5), abs=1e-6)


def test_one_that_cannot_be_corrected_leaves_no_bag(tmp_path: Path) -> None:
    going: Any = Going(0.0)
    took_over, success = watch(Dot(), going, 8, tmp_path / "bag")  # whose script fails
    assert took_over is not None and not success
    assert not (tmp_path / "bag").exists()


def test_the_table_has_both_ways_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "rounds.json"
    for seed in (0, 1):
        for way, number, bags, successes in (
            ("demonstrations", 0, 10, 20),
            ("corrections", 0, 10, 20),
            ("demonstrations", 1, 20, 30),
            ("corrections", 1, 20, 25),
        ):
            entry = {
                "task": "dot", "first": 10, "seed": seed, "way": way, "round": number,
                "bags": bags, "in time": successes - 1, "successes": successes + seed,
                "trials": 50, "train_cpu_seconds": 60.0, "commit": "0123456789",
                "runs": 12 if way == "corrections" and number else 0, "taken over": 10,
            }  # fmt: skip
            for _ in range(2):  # the second in the place of the first
                keep(entry, path, rounds.SAME, rounds.page)
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    lines = [one for one in page.splitlines() if "|" in one]
    assert lines[2:] == [
        "| 10 | the first | 19, 19 of 50 | 20, 21 of 50 | 41% (28% to 55%) |  | 60 |",
        "| 20 | demonstrations | 29, 29 of 50 | 30, 31 of 50 | 61% (47% to 73%) |  | 60 |",
        "| 20 | corrections | 24, 24 of 50 | 25, 26 of 50 | 51% (38% to 64%) | 24, 20 | 60 |",
    ]
