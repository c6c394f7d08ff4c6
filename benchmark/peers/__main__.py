# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Peers on the same bags, cameras, scenes and CPU minutes as ours.

python -m benchmark.peers [--methods sarnn act_small …] [--tasks transfer_cube …] [--minutes 5 …]

A minute is of two cores: two CPU minutes of one thread. A longer training goes on from the
shorter one. Stop it whenever you like: the same command goes on with what was not done.
`benchmark/results/peers.json` has a record per task, method, minutes and seed; `peers.md` is the
table.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmark.peers import table
from benchmark.peers.measure import measure
from benchmark.peers.methods import METHODS
from benchmark.tasks import run
from benchmark.tasks.__main__ import ENVIRONMENT, RESULTS, keep
from benchmark.tasks.jobs import installed

#: Records of the same thing have these in common.
SAME = ("task", "method", "minutes", "seed", "demonstrations")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="or MODULE:NAME")
    parser.add_argument("--tasks", nargs="+", default=list(table.TASKS), help="as benchmark.tasks")
    parser.add_argument("--minutes", nargs="+", type=float, default=[5.0], help="of two cores")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each, from seed 0 on")
    parser.add_argument("--trials", type=int, default=50, help="per training")
    parser.add_argument("--demonstrations", type=int, default=run.DEMONSTRATIONS)
    parser.add_argument("--work", type=Path, default=run.WORK)
    parser.add_argument("--results", type=Path, default=RESULTS.with_name("peers.json"))
    asked = parser.parse_args()
    for name in asked.methods:
        if name not in METHODS and ":" not in name:
            parser.error(f"method '{name}' is unknown: {', '.join(METHODS)}, or MODULE:NAME")
    settings = run.Settings(asked.work.resolve(), asked.demonstrations, asked.trials)
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    failed = False
    cells = (
        (name, method, minutes, seed)
        for seed in range(asked.seeds)
        for minutes in sorted(asked.minutes)
        for name in filter(installed, asked.tasks)
        for method in asked.methods
    )
    for cell in cells:
        # One at a time, and a process for each: simulators do not clean up after themselves.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                record = pool.submit(measure, *cell, settings).result()
            except Exception as error:  # the others go on
                print(f"{', '.join(map(str, cell))}: {error}", file=sys.stderr)
                failed = True
                continue
        keep(record, asked.results, SAME, table.page)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
