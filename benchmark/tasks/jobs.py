# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The tasks by name, and what a worker process does for one of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmark.tasks import run
from benchmark.tasks.task import Task

#: Where each task is, and the package of its simulator. They do not all go into one environment.
#: `metaworld.py` has more, which nobody installs by an extra.
TASKS = {
    "transfer_cube": ("benchmark.tasks.aloha:Transfer", "gym-aloha"),
    "insertion": ("benchmark.tasks.aloha:Insertion", "gym-aloha"),
    "fetch_reach": ("benchmark.tasks.fetch:Reach", "gymnasium-robotics"),
    "fetch_push": ("benchmark.tasks.fetch:Push", "gymnasium-robotics"),
    "fetch_pick_and_place": ("benchmark.tasks.fetch:PickAndPlace", "gymnasium-robotics"),
    "lift": ("benchmark.tasks.lift:Lift", "mujoco-core"),
}


def installed(name: str) -> bool:
    """Whether the task's simulator is there; says so if not."""
    if name in TASKS:
        package = TASKS[name][1]
        try:
            version(package)
        except PackageNotFoundError:
            print(f"{name}: left out, as {package} is not installed in {sys.prefix}")
            return False
    return True


def make_task(name: str) -> Task:
    """One of `TASKS`, or MODULE:CLASS, a task of somebody's own."""
    where = TASKS[name][0] if name in TASKS else name
    module, _, kind = where.partition(":")
    made: Task = getattr(import_module(module), kind)()
    return made


def say(what: str) -> Callable[[str], None]:
    return lambda text: print(f"{what}: {text}", flush=True)


def prepare(name: str, settings: run.Settings) -> None:
    task = make_task(name)
    run.prepare(task, settings, say(task.name))


def learn(name: str, seed: int, settings: run.Settings) -> None:
    task = make_task(name).name
    log = settings.folder(task, seed) / run.LOG
    say(f"{task} seed {seed}")(f"training, minutes; its progress is in {log}")
    run.train(task, seed, settings)


def judge(
    name: str, seed: int | None, control: str | None, settings: run.Settings
) -> dict[str, Any]:
    task = make_task(name)
    what = f"{task.name}{'' if seed is None else f' seed {seed}'}, {control or 'policy'}"
    counted = run.judge(task, seed, control, settings, say(what))
    return run.result(task.name, seed, control, counted, settings)
