# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scripted demonstrations of a task as rosbags, one per episode, as a lab would record them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmark.tasks.task import Image, Task
from sarnn_ros.data.write_bag import START_NS, Images, JointStates, write_bag
from sarnn_ros.errors import TrainingError
from sarnn_ros.spec import NANOSECONDS

#: Demonstrations and trials never share a seed.
FIRST_DEMONSTRATION, FIRST_TRIAL = 1_000, 100_000


def record(task: Task, seed: int, bag: Path) -> bool:
    """Demonstrate once into a bag. The command of a tick is sent half a period after it.

    :returns: whether the demonstration succeeded; if not there is no bag.
    """
    task.reset(seed)
    frames: dict[str, list[Image]] = {name: [] for name in task.cameras}
    states, commands = [], []
    for command in task.script():
        for name, image in task.images().items():
            frames[name].append(image)
        states.append(task.state())
        commands.append(command)
        task.step(command)
    if not task.success():
        return False
    rate = task.rate
    sent = START_NS + round(NANOSECONDS / rate / 2)
    write_bag(
        bag,
        {
            **{f"/{name}": Images(shown, rate=rate) for name, shown in frames.items()},
            "/joint_states": JointStates(task.joints, np.stack(states), rate=rate),
            "/joint_command": JointStates(
                task.joints, np.stack(commands), rate=rate, start_ns=sent
            ),
        },
    )
    return True


def demonstrate(task: Task, count: int, folder: Path) -> Iterator[int]:
    """Fill `folder` with `count` bags of successful demonstrations; what is there is kept.

    :returns: how many there are, after each.
    :raises TrainingError: the script fails more often than it succeeds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = 0
    for attempt in range(2 * count):
        bag = folder / f"demonstration_{attempt:03d}"
        if bag.is_dir() or record(task, FIRST_DEMONSTRATION + attempt, bag):
            done += 1
            yield done
        if done == count:
            return
    raise TrainingError(
        f"of {2 * count} scripted demonstrations only {done} succeeded",
        where=task.name,
        remedy="look at the script: the simulator may have changed",
    )
