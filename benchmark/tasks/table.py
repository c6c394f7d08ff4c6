# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page of benchmark/results/tasks.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import numpy as np

from benchmark.tasks import run
from benchmark.tasks.task import Array
from sarnn_ros.data.scores import wilson
from sarnn_ros.training.recipe import RECIPE

HEAD = """\
# Public tasks

Written by `make benchmark-tasks` (`benchmark/tasks/`); do not edit. Successes of closed-loop
trials, each with the objects at new random places of the region that the demonstrations come from,
with Wilson's 95 % interval. All seeds of a task have the same data and scenes, so the interval of
their mean counts each scene once. 50 demonstrations, unless a heading says otherwise.

The recipe was chosen with the help of the tasks of the first tables, gym-aloha's, Fetch's and our
lift, and of these very scenes, over many versions: they are no test of what it does elsewhere.
Tasks on which nothing was tuned are named below.

*Policy*: the predictions alone, all of them carried out. *As the node runs it*: of the same policy
in the same scenes, behind the node's command limits, watchdogs, start pose and cameras
(`benchmark/tasks/robot.py`). A run that these end has failed, unless the task was fulfilled.

*Explained*: how much of how held-out demonstrations differ the points of the first image explain
(1 all, 0 nothing), and in brackets the same with demonstrations exchanged, which is chance. *Free
run*: the same of the policy on recorded images and its own predictions.
`docs/explanation/attention.md` says more. Figures of before eaa596e292, which were counted
otherwise, are left out. Training takes CPU seconds, with one thread. Those of dd98d5be89 and
ae819a38dc are of a machine that was three times as slow that day, panda's aside: 6fa9e71d1c took
as long beside it, and came to the same losses. Those of 4144c1af6f, eeba18400f and
627874a5c4 are of such days, too.

The commit is that of the code which trained the policy, or tried what has none; of another commit
the recipe may be another one. Since 4bbba2d the spec is the one that `sarnn inspect` proposes, but
for the rate, which is the task's own; before, the range of joints was 0.1 to 0.9. 5f0f377f84 is
not in the published history.

*Plan from true positions*: a linear function of where things lie, fitted to the same
demonstrations, gives all commands at once. It is a reference, and no upper bound: some policies do
better. *Plan from first points*: the same of the policy's points in the first image. *Image
frozen*: the policy sees the first image all the time. Where everything lies still until the robot
comes, that image tells all, so it may succeed; with *objects hidden* it must not. In Fetch's
records before 3447630b a mark inside of the hidden block, as large as the goal's, was seen.

Tasks named `metaworld_…` are run by
`.venv-tasks/bin/python -m benchmark.tasks --tasks benchmark.tasks.metaworld:Push`, and so on,
with `--demonstrations 25` for 25; `benchmark/tasks/metaworld.py` says what to install. Nothing had
been tuned on any of them when it was first run; later, what is done with few demonstrations was
chosen on `metaworld_pick_place`, and the crop and the search were changed while looking at
`metaworld_sweep_into`, `metaworld_coffee_push` and `metaworld_basketball`, all with 25.

Tasks named `robosuite_…` are run by `--tasks benchmark.tasks.robosuite:Stack`, and so on
(`benchmark/tasks/robosuite.py`). No policy was trained on them before; the crop was looked at. In
`robosuite_bar…` and `robosuite_square` (`--tasks benchmark.tasks.turned:Bar`) objects lie turned,
and the hand must turn, too: the bar by up to 60°, in `robosuite_bar_any` by any angle;
`robosuite_bar_joints` is by the arm's seven joints, and in `robosuite_bar_colours` the bar has
another colour in each episode. Nothing was tuned on them.

Tasks named `panda_…` are panda-gym's, in PyBullet, by the arm's seven joints and the gripper:
`--tasks benchmark.tasks.panda:PickAndPlace` (`benchmark/tasks/panda.py` says what to install).
Nothing was tuned on them, and nobody had looked at them before the run.

In tasks named `…_starts` the robot starts elsewhere in each episode (`benchmark/tasks/starts.py`):
`--tasks benchmark.tasks.starts:Insertion`. There, what is explained is of what first states do not
tell.

In tasks named `…_clutter` other things lie elsewhere in each episode, and somebody walks by, in
demonstrations and trials alike: `--tasks benchmark.tasks.clutter:PickAndPlace`. In those named
`…_lab` table and wall are photographs, the exposure differs by up to 20 % in each episode and
white balance by 6 %, and pictures have noise: `--tasks benchmark.tasks.lab:PickAndPlace`. In
`fetch_pick_and_place_lab` the goal's mark is red, as the table is, and the block as dark as a cup
that it may lie on: both are hard to see. In those named `…_by_hand` each demonstration has a pace
of its own, waits, and strays from its path: `--tasks benchmark.tasks.by_hand:PickAndPlace`. In
those named `…_hand` there is a camera on each hand beside the outer one:
`--tasks benchmark.tasks.hand:Insertion`. In
`fetch_pick_and_place_late`, `fetch_pick_and_place_moved` and `fetch_push_late` what matters is
shown, or put elsewhere, after the episode has begun: `--tasks benchmark.tasks.late:PickAndPlace`.
In `fetch_three_picks` three blocks are put onto their marks one after the other, in 210 ticks:
`--tasks benchmark.tasks.sequence:ThreePicks`. Nothing was tuned on it.

Tasks named `robo_manip_…` are RoboManipBaselines' own, with its front camera alone and the arm's
joints (`benchmark/tasks/robo_manip.py`). Nothing was tuned on them. The published figures beside
ours are of 30 trials: five trainings on demonstrations that a person teleoperated, its data sets
have 30 of each task, and six places each. Ours are scripts, which are easier to learn from, and we
try at random places of the same line. Of three of its nine tasks (ring, particles, cloth) the
models ask for an older MuJoCo than ours. In our copy three meshes were missing, which are looks of
the arm and the case of its camera: boxes stood in for them. Of the cabinet's lid, as our script
lifts it, the mean replay succeeds always, so that it says nothing of sight: none was trained.
"""

#: Figures of a training that are to tell how its policy will do, and the page's words for them.
FIGURES = {
    "explained_held_out": "explained by the points of the first image",
    "explained_free_running": "explained by the free run",
    "least": "the lesser of the two, by which training warns",
}
#: A policy fails if it succeeds less than so many times as often as the plan from true positions.
FAILS = 0.5

#: RoboManipBaselines' table, and there per task the percentages of these, of 30 trials each.
BASELINES = "https://github.com/isri-aist/RoboManipBaselines/blob/master/doc/evaluation_results.md"
METHODS = "its SARNN", "its ACT", "its Diffusion Policy"
ROBO_MANIP = {
    "insert": (37, 37, 33),
    "toolbox": (47, 57, 77),
    "cabinet_slide": (93, 87, 67),
    "cabinet_hinge": (60, 13, 87),
    "door": (63, 53, 60),
    "cable": (80, 33, 27),
}
#: Success as published, for comparison: (what, percent, trials, source), by task and count of
#: demonstrations. Of Fetch none was found for learning from as few demonstrations.
PUBLISHED = {
    **{
        (f"robo_manip_{task}", 30): [
            (f"{method}, teleoperated", percent, 30, BASELINES)
            for method, percent in zip(METHODS, percentages, strict=True)
        ]
        for task, percentages in ROBO_MANIP.items()
    },
    ("transfer_cube", 50): [
        ("ACT, 50 scripted demonstrations, 100k GPU steps", 93.0, 200,
         "https://huggingface.co/LUC1O/act-5090-C3_transfer_cube_scripted"),
        ("ACT, 50 human demonstrations, 100k GPU steps", 87.6, 500,
         "https://huggingface.co/lerobot/act_aloha_sim_transfer_cube_human"),
    ],
    ("insertion", 50): [
        ("ACT, 50 scripted demonstrations, 100k GPU steps", 64.0, 200,
         "https://huggingface.co/LUC1O/act-5090-C4_insertion_scripted"),
    ],
}  # fmt: skip


def page(records: Iterable[dict[str, Any]]) -> str:
    records = sorted(records, key=_group)
    parts = [HEAD]
    for (task, negative, settings), some in groupby(records, _group):
        parts.append(f"## {task}{f' ({settings})' if settings else ''}\n")
        found = list(some)
        lines = list(_table(found))
        if not found[0].get("settings"):
            lines += [
                f"| published: [{what}]({source}) | - | {percent:g} % of {trials} | | | | | |"
                for what, percent, trials, source in PUBLISHED.get((task, -negative), ())
            ]
        parts.append("\n".join(lines) + "\n")
    parts.append("\n".join(_predicts(records)) + "\n")
    return "\n".join(parts)


def _group(one: dict[str, Any]) -> tuple[str, int, str]:
    """What the records of one table share: task, demonstrations and how it differs from usual."""
    count = _demonstrations(one)
    unusual = [f"{count} demonstrations"] if count != run.DEMONSTRATIONS else []
    return one["task"], -count, ", ".join([*unusual, *(one.get("settings") or ())])


def _demonstrations(one: dict[str, Any]) -> int:
    count: int = one.get("demonstrations", run.DEMONSTRATIONS)
    return count


def _predicts(records: list[dict[str, Any]]) -> Iterator[str]:
    """How far the figures of a training tell its success."""
    policies = [
        one | {"least": min(one["explained_held_out"], one["explained_free_running"])}
        for one in records
        if one["control"] is None
        and None not in (one.get("explained_held_out"), one.get("explained_free_running"))
    ]
    yield "## Whether the figures of a training predict success\n"
    yield "Over all policies above of which both figures are known, of every task and setting."
    yield f"*Few*: less than {RECIPE.min_explained:g}.\n"
    yield (
        "| figure | policies | rank correlation | few | mean success of those | of the others "
        "| least of the others |\n|---|---|---|---|---|---|---|"
    )
    if len(policies) < 3:
        return
    success = np.array([one["successes"] / one["trials"] for one in policies])
    for figure, what in FIGURES.items():
        explained = np.array([one[figure] for one in policies])
        few = explained < RECIPE.min_explained
        cells = [
            what,
            len(policies),
            f"{np.corrcoef(_ranks(explained), _ranks(success))[0, 1]:.2f}",
            few.sum(),
            f"{success[few].mean():.0%}" if few.any() else "-",
            f"{success[~few].mean():.0%}" if not few.all() else "-",
            f"{success[~few].min():.0%}" if not few.all() else "-",
        ]
        yield f"| {' | '.join(map(str, cells))} |"
    yield f"\nPolicies that succeed less than {FAILS:g} times as often as the plan from true"
    yield "positions, and that training did not warn of:\n"
    plans = {
        _group(one)[:2]: one["successes"] / one["trials"]
        for one in records
        if one["control"] == "plan from true positions"
    }
    unwarned = [
        f"- {one['task']}, {_demonstrations(one)} demonstrations, seed {one['seed']}: {share:.0%} "
        f"instead of {plans[_group(one)[:2]]:.0%}, {one['explained_held_out']:.2f} and "
        f"{one['explained_free_running']:.2f} explained"
        for one, share in zip(policies, success, strict=True)
        if share < FAILS * plans.get(_group(one)[:2], 0.0) and one["least"] >= RECIPE.min_explained
    ]
    yield from unwarned or ["- none"]


def _ranks(values: Array) -> Array:
    """Ranks, (n,); the mean rank where values are equal."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks


def _table(records: list[dict[str, Any]]) -> Iterator[str]:
    yield "| what | seed | success | interval | explained | free run | training, CPU s | commit |"
    yield "|---|---|---|---|---|---|---|---|"
    policies = [one for one in records if one["control"] is None]
    for one in policies:
        yield _row("**policy**", one["seed"], one)
    if len(policies) > 1:
        yield _mean(policies)
    controls = sorted((one for one in records if one["control"]), key=lambda one: one["control"])
    for one in controls:
        yield _row(one["control"], "-" if one["seed"] is None else one["seed"], one)


def _mean(policies: list[dict[str, Any]]) -> str:
    """Of all seeds. They share their scenes, so that their trials are not independent: the
    interval is that of as many trials as one seed has."""
    found = [one["successes"] / one["trials"] for one in policies]
    trials = min(one["trials"] for one in policies)
    low, high = wilson(float(np.mean(found)) * trials, trials)
    seeds = f"mean of {len(policies)}"
    success = f"{np.mean(found):.1%}, seeds {min(found):.0%} to {max(found):.0%}"
    return f"| **policy** | {seeds} | {success} | {100 * low:.0f} to {100 * high:.0f} % | | | | |"


def _row(what: str, seed: object, one: dict[str, Any]) -> str:
    low, high = wilson(one["successes"], one["trials"])
    explains, free = one.get("explained_held_out"), one.get("explained_free_running")
    chance, seconds = one.get("explained_permuted"), one.get("train_cpu_seconds")
    policy = one["control"] is None
    cells = [
        what,
        seed,
        f"{one['successes']} of {one['trials']}",
        f"{100 * low:.0f} to {100 * high:.0f} %",
        f"{explains:.2f} ({chance:.2f})" if policy and None not in (explains, chance) else "",
        f"{free:.2f}" if policy and free is not None else "",
        f"{seconds:.0f}" if policy and seconds is not None else "",
        one["commit"],
    ]
    return f"| {' | '.join(map(str, cells))} |"
