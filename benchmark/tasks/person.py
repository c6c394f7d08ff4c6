# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A scripted person who watches a policy, and takes over where it goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.tasks.task import Array, Image, Task
from sarnn_ros.data.reading import TAKEOVER_TYPE
from sarnn_ros.data.write_bag import START_NS, TYPES, Images, JointStates, Message, write_bag
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.spec import NANOSECONDS
from sarnn_ros.streams.observe import Observation
from sarnn_ros.streams.preprocess import crop_resize

#: How far hand or objects may be from where the person would have them, m, as far as Fetch's rule
#: of success allows; and how much earlier or later than the person would, s.
TOLERANCE, EARLIER = 0.05, 0.2
#: From there until the person leads, s.
REACTION = 0.2


@dataclass(frozen=True)
class _Takeovers:
    """From which tick on a person led, as `sarnn record` keeps it."""

    rate: float
    began: int
    kind = TAKEOVER_TYPE

    def messages(self, topic: str) -> Iterator[Message]:
        for tick, led in ((0, False), (self.began, True)):
            at = START_NS + round(tick * NANOSECONDS / self.rate)
            yield topic, self.kind, at, TYPES.types[self.kind](data=led)


def _where(task: Task) -> Array:
    """Hand and objects, m."""
    return np.append(task.state()[:3], task.positions())


def intended(task: Task, seed: int) -> Array:
    """Where hand and objects are at each tick if the person does it all, (T, N)."""
    task.reset(seed)
    places = [_where(task)]
    for command in task.script():
        task.step(command)
        places.append(_where(task))
    return np.array(places)


def watch(task: Task, policy: Policy, seed: int, bag: Path) -> tuple[int | None, bool]:
    """One run of the policy, recorded if a person had to take over and then succeeded.

    :returns: the tick at which the person took over, None if not; and whether it succeeded.
    """
    plan = intended(task, seed)
    around = round(EARLIER * task.rate)
    task.reset(seed)
    policy.reset()
    frames: dict[str, list[Image]] = {name: [] for name in task.cameras}
    states: list[Array] = []
    commands: list[Array] = []

    def see() -> dict[str, Image]:
        images = task.images()
        for name, image in images.items():
            frames[name].append(image)
        states.append(task.state())
        return images

    def send(command: Array) -> None:
        commands.append(command)
        task.step(command)

    astray = None
    for tick in range(task.ticks):
        images = see()
        small = {one.name: crop_resize(images[one.name], one) for one in policy.spec.cameras}
        observation = Observation(tick, small, states[-1], {}, images)
        send(policy.step(observation).action)
        near = plan[max(0, tick + 1 - around) : tick + 2 + around]
        parts = (near - _where(task)).reshape(len(near), -1, 3)
        if astray is None and np.linalg.norm(parts, axis=2).max(1).min() > TOLERANCE:
            astray = tick
        if astray is not None and tick >= astray + REACTION * task.rate:
            break
    else:
        if task.success():
            return None, True
    began = len(commands)
    for command in task.correction():
        see()
        send(np.asarray(command, np.float64))
    if not task.success():
        return began, False
    sent = START_NS + round(NANOSECONDS / task.rate / 2)
    topics = {f"/{name}": Images(shown, rate=task.rate) for name, shown in frames.items()}
    topics |= {
        "/joint_states": JointStates(task.joints, np.stack(states), rate=task.rate),
        "/joint_command": JointStates(
            task.joints, np.stack(commands), rate=task.rate, start_ns=sent
        ),
        "/recorder/takeover": _Takeovers(task.rate, began),
    }
    write_bag(bag, topics)
    return began, True
