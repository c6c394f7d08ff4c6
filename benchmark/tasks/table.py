# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page of benchmark/results/tasks.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from benchmark.tasks.controls import wilson

HEAD = """\
# Public tasks

Written by `make benchmark-tasks` (`benchmark/tasks/`); do not edit. Successes of closed-loop
trials, with Wilson's 95 % interval; the objects lie elsewhere in each trial, and nowhere where
they were demonstrated. *Explained*: how much of what differs between the held-out episodes'
targets the points of the first image explain (ridge regression; 1 all, 0 nothing). *Free run*: the
same of the policy on recorded images and its own predictions. Training takes CPU seconds; on a
machine that others use, it took several times as long by the clock. Policies of one task have the
same data and settings, and differ in the seed only.
"""

#: Success as published, for comparison: (what, percent, trials, source).
PUBLISHED = {
    "transfer_cube": [
        ("ACT, 50 human demonstrations, 100k GPU steps", 87.6, 500,
         "https://huggingface.co/lerobot/act_aloha_sim_transfer_cube_human"),
    ],
}  # fmt: skip


def page(records: Iterable[dict[str, Any]]) -> str:
    parts = [HEAD]
    key = lambda one: (one["task"], " ".join(one.get("settings") or ()))  # noqa: E731
    for (task, settings), some in groupby(sorted(records, key=key), key):
        parts.append(f"## {task}{f' ({settings})' if settings else ''}\n")
        parts.append("\n".join(_table(task, list(some))) + "\n")
    return "\n".join(parts)


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
