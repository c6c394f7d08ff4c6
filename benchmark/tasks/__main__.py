# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`make benchmark-tasks`: the same recipe on public tasks, from demonstrations to success rates.

python -m benchmark.tasks [--tasks fetch_reach …] [--seeds 5] [--trials 50] [--set KEY=VALUE …]

Each task is demonstrated by a script into rosbags, learnt by `sarnn train` once per seed, and
tried in closed loop, with controls. Stop it whenever you like: the same command goes on from
there; after a change of the code give another --work, as policies that are there are taken as
they are. `benchmark/results/tasks.json` has a record per task, seed and control; `tasks.md` beside
it is the table. Everything else is kept below --work.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmark.tasks import run, table
from benchmark.tasks.jobs import TASKS, installed, judge, learn, prepare
from sarnn_ros.files import write_text

ROOT = Path(__file__).resolve().parents[2]
#: Of the processes that do the work. One thread each; MuJoCo reads its own when first imported.
ENVIRONMENT = {
    "MUJOCO_GL": "egl",
    "LP_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
RESULTS = ROOT / "benchmark" / "results" / "tasks.json"
#: Records of the same thing have these in common.
SAME = ("task", "seed", "control", "settings", "demonstrations")


def keep(
    record: dict[str, Any],
    path: Path,
    same: tuple[str, ...] = SAME,
    page: Callable[[list[dict[str, Any]]], str] = table.page,
) -> None:
    """Put the record into the file, in the place of an earlier one of the same thing."""
    records = json.loads(path.read_text()) if path.is_file() else []
    records = [old for old in records if any(old.get(key) != record[key] for key in same)]
    records = sorted([*records, record], key=lambda one: [str(one.get(key)) for key in same])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(records, indent=1) + "\n")
    write_text(path.with_suffix(".md"), page(records))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=list(TASKS),
        help=f"of {', '.join(TASKS)}, or MODULE:CLASS, a task of your own (default: these)",
    )
    parser.add_argument("--seeds", type=int, default=5, help="trainings per task, from seed 0 on")
    parser.add_argument("--trials", type=int, default=50, help="per training and control")
    parser.add_argument("--demonstrations", type=int, default=run.DEMONSTRATIONS)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--no-controls", action="store_true", help="only the policies")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--work", type=Path, default=run.WORK)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    for name in options.tasks:
        if name not in TASKS and ":" not in name:
            parser.error(f"task '{name}' is unknown: {', '.join(TASKS)}, or MODULE:CLASS")
    settings = run.Settings(
        options.work.resolve(), options.demonstrations, options.trials, tuple(options.set)
    )
    blind = () if options.no_controls else run.BLIND
    seeing = [None] if options.no_controls else list(run.VISIONS)
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    failed = False
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        # What is running, and what follows from it.
        running: dict[Future[Any], tuple[str, int | None]] = {
            pool.submit(prepare, name, settings): (name, None)
            for name in filter(installed, options.tasks)
        }
        judging: set[Future[Any]] = set()
        while running:
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                name, seed = running.pop(done)
                try:
                    found = done.result()
                except Exception as error:  # the other tasks go on
                    print(
                        f"{name}{'' if seed is None else f' seed {seed}'}: {error}",
                        file=sys.stderr,
                    )
                    failed = True
                    continue
                if done in judging:
                    keep(found, options.results)
                elif seed is None:  # prepared
                    for control in blind:
                        following = pool.submit(judge, name, None, control, settings)
                        running[following] = (name, None)
                        judging.add(following)
                    for number in range(options.seeds):
                        running[pool.submit(learn, name, number, settings)] = (name, number)
                else:  # trained
                    for control in seeing:
                        following = pool.submit(judge, name, seed, control, settings)
                        running[following] = (name, seed)
                        judging.add(following)
    print(options.results.with_suffix(".md").read_text() if options.results.is_file() else "")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
