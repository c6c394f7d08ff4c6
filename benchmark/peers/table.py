# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page of benchmark/results/peers.json. What was to be measured and was not is on it, too."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any

from benchmark.peers.methods import METHODS
from benchmark.tasks.run import DEMONSTRATIONS
from sarnn_ros.data.scores import wilson

#: What is to be measured. The default recipe ends by itself before the shortest time is over.
TASKS = {
    "transfer_cube": "transfer_cube",
    "insertion": "insertion",
    "fetch_pick_and_place": "fetch_pick_and_place",
    "benchmark.tasks.clutter:PickAndPlace": "fetch_pick_and_place_clutter",
}
MINUTES = (5.0, 30.0, 180.0)

HEAD = """\
# Peers

Written by `python -m benchmark.peers` (`benchmark/peers/`); do not edit. Each method learns from
the same bags of 50 scripted demonstrations, with all cameras of the task, for the same time, and
is tried in the same 50 scenes. With Wilson's 95 % interval of one seed's trials. *Updates* are
no measure across methods: most of ours are of the recurrent part alone.

*Minutes* are of two cores. One thread trains, so five are ten CPU minutes; reading the
demonstrations is not counted. A longer training goes on from the shorter one. The peers of LeRobot
read the data set that `sarnn convert --to lerobot` makes of the bags, and are LeRobot's own code
(0.6.1) but for a loader that keeps all frames in memory. There is no GPU here, and one changes the
picture: the published figures of ACT in `tasks.md` are of 100 000 updates on one. Nor can
ImageNet's weights be had here, with which both peers begin usually: their ResNet-18 is trained
from scratch. What a peer could reach with more care for such short trainings was not searched for;
ours was made for them, on these tasks among others.

"""
HEADINGS = (
    "| method | minutes | seed | success | interval | updates | parameters | training, CPU s "
    "| commit |"
)


def page(records: list[dict[str, Any]]) -> str:
    parts = [
        HEAD + "\n".join(f"- **{name}**: {one.about}" for name, one in METHODS.items()) + "\n"
    ]
    found = {(one["task"], one["method"], one["minutes"]): [] for one in records}
    for one in records:
        found[one["task"], one["method"], one["minutes"]].append(one)
    planned = [
        (task, method, minutes)
        for task in TASKS.values()
        for method in METHODS
        for minutes in (MINUTES[:1] if method == "sarnn" else MINUTES)
    ]
    cells = list(dict.fromkeys([*planned, *sorted(found)]))
    for task in dict.fromkeys(cell[0] for cell in cells):
        here = [cell for cell in cells if cell[0] == task]
        parts.append(f"## Peers on {task}\n")
        if rows := [_row(one) for cell in here for one in found.get(cell, [])]:
            parts.append("\n".join([HEADINGS, "|---" * 9 + "|", *rows]) + "\n")
        left = groupby((cell for cell in here if cell not in found), itemgetter(1))
        if not_run := [f"{name} {_and(minutes)}" for name, minutes in left]:
            parts.append(f"Not run, of 5, 30 and 180 minutes: {'; '.join(not_run)}.\n")
    return "\n".join(parts)


def _and(cells: Iterable[tuple[str, str, float]]) -> str:
    return " and ".join(f"{minutes:g}" for _, _, minutes in cells)


def _row(one: dict[str, Any]) -> str:
    low, high = wilson(one["successes"], one["trials"])
    training, count = one["training"], one["demonstrations"]
    few = "" if count == DEMONSTRATIONS else f", {count} demonstrations"
    cells = [
        f"**{one['method']}**{few}",
        f"{one['minutes']:g}",
        one["seed"],
        f"{one['successes']} of {one['trials']}",
        f"{100 * low:.0f} to {100 * high:.0f} %",
        training["updates"],
        f"{training['parameters'] / 1e6:.2g} M",
        f"{training['cpu_seconds']:.0f}",
        one["commit"],
    ]
    return f"| {' | '.join(map(str, cells))} |"
