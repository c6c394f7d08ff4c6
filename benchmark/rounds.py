# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Rounds of teaching: more demonstrations, or corrections of the policy, in each.

python -m benchmark.rounds [--tasks fetch_push …] [--first 10] [--added 10] [--rounds 1]
    [--seeds 5] [--trials 50] [--ways demonstrations corrections …]

A first policy is trained on the first demonstrations, of each seed others. Each round adds bags,
and another policy is trained:

- demonstrations: more of them; trained anew on all.
- corrections: the policy runs in new scenes, one after the other. A scripted person takes over
  where hand or objects are 5 cm off (`tasks/person.py`), and finishes the task; those that then
  succeeded are kept, until there are enough.
- either, "gone on": trained by `sarnn train --from` the policy of the round before.

All are tried in the same scenes, half as long again as a demonstration lasts: whoever has learnt
to begin anew needs time. Stop it whenever you like: the same command goes on from there.
`benchmark/results/rounds.json` has a record per policy; `rounds.md` beside it is the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from benchmark.tasks import run
from benchmark.tasks.__main__ import keep
from benchmark.tasks.jobs import make_task, say
from benchmark.tasks.person import watch
from benchmark.tasks.record import FIRST_NEW, FIRST_TRIAL, demonstrate
from benchmark.tasks.rollout import Episode, Watched
from benchmark.tasks.task import Array, Task
from sarnn_ros.data.scores import wilson
from sarnn_ros.files import write_text
from sarnn_ros.interop import gym
from sarnn_ros.policy.directory import load_config
from sarnn_ros.policy.runtime import Policy

RESULTS = Path(__file__).resolve().parent / "results" / "rounds.json"
#: How long a trial is, in those of a demonstration.
LONGER = 1.5
WAYS = ("demonstrations", "corrections", "demonstrations, gone on", "corrections, gone on")
#: Scenes of a seed's demonstrations, and of its corrections.
SCENES = 1_000
#: Of a record: one with the same takes the place of an earlier one.
SAME = ("task", "first", "seed", "way", "round")
#: A person gives up after so many runs of a round.
MOST_RUNS = 100


class _Longer(Episode):
    """A trial of `LONGER` times the task's ticks.

    :ivar in_time: whether it had succeeded by then.
    """

    def reset(self, *, seed: int | None = None) -> Any:
        seen = super().reset(seed=seed)
        self._in_time = self._task.ticks - 1
        self._ticks = iter(range(round(LONGER * self._task.ticks)))
        self.in_time, self._done = False, 0
        return seen

    def step(self, action: Array, /) -> Any:
        answer = super().step(action)
        self._done += 1
        if self._done == self._in_time or (answer[2] and self._done < self._in_time):
            self.in_time = self._task.success()
        return answer


class Lesson:
    """What is taught with one seed. Everything is kept below one folder.

    :param first: demonstrations before the rounds.
    """

    def __init__(
        self, task: Task, seed: int, first: int, added: int, trials: int, work: Path
    ) -> None:
        self._task, self._seed, self._first, self._trials = task, seed, first, trials
        self._added = added
        self.folder = work / f"{task.name}_{first}" / f"seed_{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._spec = self.folder / "spec.yaml"
        spec = run.make_spec(task).model_dump(mode="json")
        write_text(self._spec, yaml.safe_dump(spec))
        self._scene = FIRST_NEW + 2 * SCENES * (1 + seed)

    def demonstrations(self, wanted: int) -> list[Path]:
        """The first so many that succeed."""
        folder = self.folder / "demonstrations"
        for _ in demonstrate(self._task, wanted, folder, self._scene):
            pass
        return sorted(folder.iterdir())[:wanted]

    def correct(self, path: Path, folder: Path, begin: int) -> list[dict[str, Any]]:
        """Runs of a policy until enough of them were corrected.

        :param begin: number of the first scene.
        :returns: of each run its scene, the tick of the takeover, and whether it succeeded.
        """
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "runs.json"
        runs: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.is_file() else []
        policy = Policy.load(path)

        def corrected() -> int:
            return sum(one["success"] and one["took over"] is not None for one in runs)

        while corrected() < self._added and len(runs) < MOST_RUNS:
            scene = begin + len(runs)
            bag = folder / f"correction_{scene:03d}"
            took_over, success = watch(self._task, policy, self._scene + SCENES + scene, bag)
            runs.append({"scene": scene, "took over": took_over, "success": success})
            write_text(kept, json.dumps(runs))
        return runs

    def train(self, bags: list[Path], out: Path, before: Path | None) -> None:
        if (out / "config.json").is_file():
            return
        command = run.train_command(bags, self._spec, out, self._seed)
        command += ["--force", *(["--from", str(before)] if before else [])]
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out.with_suffix(".commit"), run.commit())
        with out.with_suffix(".log").open("w") as log:
            subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)

    def judge(self, path: Path) -> tuple[int, int]:
        """Trials that succeeded within the time of a demonstration, and at the end."""
        kept = path.with_suffix(".trials.json")
        outcomes: list[list[bool]] = json.loads(kept.read_text()) if kept.is_file() else []
        policy = Policy.load(path)
        while len(outcomes) < self._trials:
            trial = _Longer(self._task)
            outcome = gym.rollout(
                trial, Watched(policy, policy.spec, []), rate=self._task.rate,
                seed=FIRST_TRIAL + len(outcomes), observe=lambda seen: seen,
            )  # fmt: skip
            outcomes.append([trial.in_time, bool(outcome.success)])
            write_text(kept, json.dumps(outcomes))
        in_time, later = np.sum(outcomes[: self._trials], 0)
        return int(in_time), int(later)

    def teach(self, way: str, rounds: int, results: Path) -> None:
        """All rounds of one way; the first policy is common to all."""
        corrected, goes_on = way.startswith("corrections"), way.endswith("gone on")
        bags, before = self.demonstrations(self._first), None
        runs: list[dict[str, Any]] = []
        for number in range(rounds + 1):
            out = self.folder / (f"{way.replace(', ', '_').replace(' ', '_')}_{number}")
            if not number:
                out = self.folder / "first"
            elif corrected:
                assert before is not None
                folder = out.with_suffix(".bags")
                done = self.correct(before, folder, len(runs))
                runs += done
                bags += sorted(folder.glob("correction_*"))
            else:
                bags = self.demonstrations(self._first + number * self._added)
            self.train(bags, out, before if goes_on else None)
            in_time, successes = self.judge(out)
            told = load_config(out).training
            entry = {
                "task": self._task.name,
                "first": self._first,
                "seed": self._seed,
                "way": way,
                "round": number,
                "bags": len(bags),
                "in time": in_time,
                "successes": successes,
                "trials": self._trials,
                "train_cpu_seconds": told["cpu_seconds"],
                "runs": len(runs),
                "taken over": sum(one["took over"] is not None for one in runs),
                "not recovered": sum(not one["success"] for one in runs),
                "commit": out.with_suffix(".commit").read_text(),
            }
            keep(entry, results, SAME, page)
            say(f"{self._task.name}, seed {self._seed}, {way}, round {number}")(
                f"{in_time}, {successes} of {self._trials} with {len(bags)} bags"
            )
            before = out


HEAD = """\
# Rounds of teaching

Written by `python -m benchmark.rounds`; do not edit. In each round bags are added: demonstrations
in new scenes, or runs of the policy before that a scripted person corrected. Trials are half as
long again as a demonstration. *In time*: succeeded within the time of a demonstration; *at the
end*: of the trial; of each seed. Each seed has demonstrations and scenes of its own; trials are in
the same scenes, so the interval of the mean is Wilson's of as many trials as one seed has.
*Runs*: that the person watched until then, and took over in; all seeds together.
"""


def page(records: list[dict[str, Any]]) -> str:
    parts = [HEAD]
    for task, first in dict.fromkeys((one["task"], one["first"]) for one in records):
        chosen = [one for one in records if (one["task"], one["first"]) == (task, first)]
        commits = ", ".join(sorted({one["commit"] for one in chosen}))
        parts.append(f"## {task}, {first} demonstrations first\n\nCommits {commits}.\n")
        parts.append(
            "| bags | way | in time | at the end | mean at the end | runs, taken over | CPU s |"
        )
        parts.append("|---|---|---|---|---|---|---|")
        for number in sorted({one["round"] for one in chosen}):
            for way in WAYS if number else WAYS[:1]:
                found = [one for one in chosen if (one["way"], one["round"]) == (way, number)]
                found.sort(key=lambda one: one["seed"])
                if found:
                    parts.append(_row(found, way if number else "the first"))
        parts.append("")
    return "\n".join(parts)


def _row(found: list[dict[str, Any]], way: str) -> str:
    trials = found[0]["trials"]
    in_time, successes = ([one[key] for one in found] for key in ("in time", "successes"))
    runs, taken = (sum(one[key] for one in found) for key in ("runs", "taken over"))
    mean = float(np.mean(successes))
    low, high = wilson(mean, trials)
    shown = (
        str(found[0]["bags"]),
        way,
        f"{', '.join(map(str, in_time))} of {trials}",
        f"{', '.join(map(str, successes))} of {trials}",
        f"{mean / trials:.0%} ({low:.0%} to {high:.0%})",
        f"{runs}, {taken}" if runs else "",
        f"{np.mean([one['train_cpu_seconds'] for one in found]):.0f}",
    )
    return f"| {' | '.join(shown)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tasks = ["fetch_push", "fetch_pick_and_place"]
    parser.add_argument("--tasks", nargs="+", default=tasks, help="names or MODULE:CLASS")
    parser.add_argument("--first", type=int, default=10, help="demonstrations before the rounds")
    parser.add_argument("--added", type=int, default=10, help="bags of each round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=50, help="per policy")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS[:2])
    parser.add_argument("--work", type=Path, default=run.WORK / "rounds")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    os.environ.setdefault("MUJOCO_GL", "egl")
    cv2.setNumThreads(1)
    for name in asked.tasks:
        task = make_task(name)
        for seed in range(asked.seeds):
            lesson = Lesson(task, seed, asked.first, asked.added, asked.trials, asked.work)
            for way in asked.ways:
                lesson.teach(way, asked.rounds, asked.results)


if __name__ == "__main__":
    main()
