# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rounds of teaching: five more demonstrations at a time, trained anew or gone on with.

python -m benchmark.rounds [--task lift] [--first 20] [--rounds 2] [--seeds 1] [--trials 50]

A policy is trained on the first demonstrations. Each round adds five: one policy is trained on all
of them, and one goes on from the policy of the round before (`sarnn train --from`). Both are tried
in the same scenes. Stop it whenever you like: the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import cv2

from benchmark.tasks import run
from benchmark.tasks.jobs import make_task, say
from benchmark.tasks.record import FIRST_TRIAL
from benchmark.tasks.rollout import rollout
from benchmark.tasks.task import Task
from sarnn_ros.files import write_text
from sarnn_ros.policy.directory import load_config
from sarnn_ros.policy.runtime import Policy

ADDED = 5


def train(folder: Path, count: int, seed: int, out: Path, before: Path | None) -> None:
    if (out / "config.json").is_file():
        return
    bags = sorted((folder / "bags").iterdir())[:count]
    command = [sys.executable, "-m", "sarnn_ros.cli.main", "train", *map(str, bags)]
    command += ["--spec", str(folder / "spec.yaml"), "--out", str(out), "--seed", str(seed)]
    command += ["--set", "threads=1", "--force", *(["--from", str(before)] if before else [])]
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_suffix(".log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)


def judge(task: Task, path: Path, trials: int) -> int:
    kept = path.with_suffix(".trials.json")
    outcomes: list[bool] = json.loads(kept.read_text()) if kept.is_file() else []
    policy = Policy.load(path)
    while len(outcomes) < trials:
        trial = FIRST_TRIAL + len(outcomes)
        outcomes.append(rollout(task, policy, policy.spec, trial, "live", []))
        write_text(kept, json.dumps(outcomes))
    return sum(outcomes[:trials])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", default="lift")
    parser.add_argument("--first", type=int, default=20, help="demonstrations before the rounds")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--trials", type=int, default=50, help="per policy")
    parser.add_argument("--work", type=Path, default=run.WORK / "rounds")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    task = make_task(asked.task)
    most = asked.first + ADDED * asked.rounds
    settings = run.Settings(work=asked.work, demonstrations=most)
    run.prepare(task, settings, say(task.name))
    folder = settings.folder(task.name)
    for seed in range(asked.seeds):
        before = None
        for count in range(asked.first, most + 1, ADDED):
            ways = {"anew": None} if before is None else {"anew": None, "gone on": before}
            for way, start in ways.items():
                out = folder / f"seed_{seed}" / f"{way.replace(' ', '_')}_{count}"
                train(folder, count, seed, out, start)
                told = load_config(out).training
                successes = judge(task, out, asked.trials)
                say(f"{task.name}, seed {seed}, {count} demonstrations, {way}")(
                    f"{successes} of {asked.trials}; {told['cpu_seconds']:.0f} s of CPU, "
                    f"points explain {told['explained']['points']}, "
                    f"free run {told['explained']['free_run']}"
                )
                before = out
            # The last one of `ways`: what goes on goes on.


if __name__ == "__main__":
    main()
