# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page of benchmark/results/tasks.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import numpy as np

from benchmark.tasks import run
from benchmark.tasks.controls import wilson
from benchmark.tasks.task import Array
from sarnn_ros.training.run import FEW_EXPLAINED

HEAD = """\
# Public tasks

Written by `make benchmark-tasks` (`benchmark/tasks/`); do not edit. Successes of closed-loop
trials, with Wilson's 95 % interval; the objects lie elsewhere in each trial, and nowhere where
they were demonstrated. *Explained*: how much of what differs between the held-out episodes'
targets the points of the first image explain (ridge regression; 1 all, 0 nothing). *Free run*: the
same of the policy on recorded images and its own predictions. Training takes CPU seconds; on a
machine that others use, it took several times as long by the clock. Policies of one task have the
same data and settings, and differ in the seed only.

Since eaa596e292 *explained* and *free run* are told at the pace at which they fit best; earlier
figures, which were counted otherwise, are left out. Since a203c278f3 any four episodes are mixed
if they are few; now `mixup=0.3` would mix two similar ones. Since f61f74a4e5 training crops where
few pixels differ, since 3f73399aa4 wherever less than half of the image does, and small objects
are searched for beside large ones. Since bed265b18c few points of few episodes are chosen for what
they explain, and the others follow the same things: four, and since 317b1e77f6 one per six
episodes of more than 27 (19ecbdd739: one per four). Since 5ae51f8464 no filter is so soft that its
point lies beside the object.
Commit 5f0f377f84 is not in the published history.

No setting had been chosen on the tasks named `metaworld_…` when those with 50 demonstrations were
run; later, what is done with few demonstrations was chosen on `metaworld_pick_place` with 25. They
are run by `.venv-tasks/bin/python -m benchmark.tasks --tasks benchmark.tasks.metaworld:Push`, and
so on, with `--demonstrations 25` for 25; `benchmark/tasks/metaworld.py` says what to install.
"""

#: Figures of a training that are to tell how its policy will do, and the page's words for them.
FIGURES = {
    "explained_held_out": "explained by the points of the first image",
    "explained_free_running": "explained by the free run",
}

#: Success as published, for comparison: (what, percent, trials, source).
PUBLISHED = {
    "transfer_cube": [
        ("ACT, 50 human demonstrations, 100k GPU steps", 87.6, 500,
         "https://huggingface.co/lerobot/act_aloha_sim_transfer_cube_human"),
    ],
}  # fmt: skip


def page(records: Iterable[dict[str, Any]]) -> str:
    records = sorted(records, key=_group)
    parts = [HEAD]
    for (task, _, settings), some in groupby(records, _group):
        parts.append(f"## {task}{f' ({settings})' if settings else ''}\n")
        parts.append("\n".join(_table(task, list(some))) + "\n")
    parts.append("\n".join(_predicts(records)) + "\n")
    return "\n".join(parts)


def _group(one: dict[str, Any]) -> tuple[str, int, str]:
    """What the records of one table share: task, demonstrations and how it differs from usual."""
    count = one.get("demonstrations", run.DEMONSTRATIONS)
    unusual = [f"{count} demonstrations"] if count != run.DEMONSTRATIONS else []
    return one["task"], -count, ", ".join([*unusual, *(one.get("settings") or ())])


def _predicts(records: list[dict[str, Any]]) -> Iterator[str]:
    """How far the figures of a training tell its success."""
    yield "## Whether the figures of a training predict success\n"
    yield "Over all policies above, of every task and setting. *Few*: less than"
    yield f"{FEW_EXPLAINED:g}, of which training warns.\n"
    yield (
        "| figure | policies | rank correlation | few | mean success of those | of the others "
        "| least of the others |\n|---|---|---|---|---|---|---|"
    )
    for figure, what in FIGURES.items():
        known = [
            (one[figure], one["successes"] / one["trials"])
            for one in records
            if one["control"] is None and one.get(figure) is not None
        ]
        if len(known) < 3:
            continue
        explained, success = np.array(known).T
        few = explained < FEW_EXPLAINED
        cells = [
            what,
            len(known),
            f"{np.corrcoef(_ranks(explained), _ranks(success))[0, 1]:.2f}",
            few.sum(),
            f"{success[few].mean():.0%}" if few.any() else "-",
            f"{success[~few].mean():.0%}" if not few.all() else "-",
            f"{success[~few].min():.0%}" if not few.all() else "-",
        ]
        yield f"| {' | '.join(map(str, cells))} |"


def _ranks(values: Array) -> Array:
    """Ranks, (n,); the mean rank where values are equal."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks


def _table(task: str, records: list[dict[str, Any]]) -> Iterator[str]:
    yield "| what | seed | success | interval | explained | free run | training, CPU s | commit |"
    yield "|---|---|---|---|---|---|---|---|"
    policies = [one for one in records if one["control"] is None]
    for one in policies:
        yield _row("**policy**", one["seed"], one)
    if len(policies) > 1:
        yield _row("**policy**", "all", _sum(policies))
    controls = sorted((one for one in records if one["control"]), key=lambda one: one["control"])
    for control, some in groupby(controls, lambda one: one["control"]):
        listed = list(some)
        seeds = ", ".join(str(one["seed"]) for one in listed if one["seed"] is not None)
        yield _row(control, seeds or "-", _sum(listed))
    for what, percent, trials, source in PUBLISHED.get(task, ()):
        yield f"| published: [{what}]({source}) | - | {percent:g} % of {trials} | | | | | |"


def _sum(records: list[dict[str, Any]]) -> dict[str, Any]:
    commits = sorted({one["commit"] for one in records})
    return {
        "successes": sum(one["successes"] for one in records),
        "trials": sum(one["trials"] for one in records),
        "commit": ", ".join(commits),
    }


def _row(what: str, seed: object, one: dict[str, Any]) -> str:
    low, high = wilson(one["successes"], one["trials"])
    explains, free = one.get("explained_held_out"), one.get("explained_free_running")
    seconds = one.get("train_cpu_seconds")
    cells = [
        what,
        seed,
        f"{one['successes']} of {one['trials']}",
        f"{100 * low:.0f} to {100 * high:.0f} %",
        "" if explains is None else f"{explains:.2f}",
        "" if free is None else f"{free:.2f}",
        "" if seconds is None else f"{seconds:.0f}",
        one["commit"],
    ]
    return f"| {' | '.join(map(str, cells))} |"
