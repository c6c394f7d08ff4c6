# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scripted demonstrations of a task as rosbags, one per episode, as a lab would record them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmark.tasks.rollout import Episode
from benchmark.tasks.task import Task
from sarnn_ros.errors import TrainingError
from sarnn_ros.interop import gym

#: Demonstrations, new ones that no policy is trained with, and trials never share a seed.
FIRST_DEMONSTRATION, FIRST_NEW, FIRST_TRIAL = 1_000, 50_000, 100_000


def record(task: Task, seed: int, bag: Path) -> bool:
    """Demonstrate once into a bag. The command of a tick is sent half a period after it.

    :returns: whether the demonstration succeeded; if not there is no bag.
    """
    shown = Episode(task, scripted=True)
    outcome = gym.record(
        shown, lambda _: shown.command, bag, joints=task.joints, rate=task.rate, seed=seed,
        observe=lambda seen: seen, only_success=True,
    )  # fmt: skip
    return bool(outcome.success)


def demonstrate(
    task: Task, count: int, folder: Path, first: int = FIRST_DEMONSTRATION
) -> Iterator[int]:
    """Fill `folder` with `count` bags of successful demonstrations; what is there is kept.

    :param first: seed of the first one.
    :returns: how many there are, after each.
    :raises TrainingError: the script fails more often than it succeeds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = 0
    for attempt in range(2 * count):
        bag = folder / f"demonstration_{attempt:03d}"
        if bag.is_dir() or record(task, first + attempt, bag):
            done += 1
            yield done
        if done == count:
            return
    raise TrainingError(
        f"of {2 * count} scripted demonstrations only {done} succeeded",
        where=task.name,
        remedy="look at the script: the simulator may have changed",
    )
