# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The same tasks as a person demonstrates them: at another pace each time, with hesitation, and
never twice along the same path.

`Transfer`, `PickAndPlace` and so on, as in `clutter.py`. A script moves at the same time in every
demonstration, and no person does. Here each demonstration has a pace of its own, which changes as
it goes on, the hand waits now and then, and wanders beside its path:

    .venv-tasks/bin/python -m benchmark.tasks --tasks benchmark.tasks.by_hand:PickAndPlace

What moves, and where the objects are, is as ever. Trials may take as long as the slowest person.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from benchmark.tasks.clutter import find
from benchmark.tasks.task import Array, Task

#: The pace of a demonstration, as a share of the script's, at least and at most; and by how much
#: it changes within one, as a share: standard deviation.
PACE, CHANGE = (0.6, 1.0), 0.15
#: A hand waits so often, Hz, and so long, s, at least and at most.
WAITS, WAIT = 0.3, (0.2, 0.8)
#: Pace and path deviate like this for so long, s.
FOR = 0.5
#: By module, how far a hand is beside its path, m or rad: standard deviations.
WANDER: dict[str, Sequence[float]] = {
    "fetch": [0.004] * 3 + [0.0],
    "aloha": ([0.004] * 6 + [0.0]) * 2,
    "metaworld": [0.004] * 3 + [0.0],
    "robo_manip": [0.004] * 6 + [0.0],
}


class ByHand(Task):
    """Mixed in before a task.

    :cvar unhurried: ticks of the task itself.
    :cvar wander: one of `WANDER`.
    """

    unhurried: int
    wander: Sequence[float]

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._random = np.random.default_rng((seed, 43))

    def script(self) -> Iterator[Array]:
        random, seconds = self._random, 1 / self.rate
        scripted = islice(super().script(), self.unhurried)
        before, after, share = self.state(), next(scripted), 0.0
        pace, waiting = random.uniform(*PACE), 0.0
        kept = np.exp(-seconds / FOR)
        drawn = np.sqrt(1 - kept**2)
        change, beside = 0.0, np.zeros(len(self.wander))
        for _ in range(self.ticks):
            change = kept * change + drawn * CHANGE * random.standard_normal()
            beside = kept * beside + drawn * np.array(self.wander) * random.standard_normal(
                len(beside)
            )
            if waiting > 0:
                waiting -= seconds
            else:
                share += min(1.0, pace * (1 + change))
                if random.random() < WAITS * seconds:
                    waiting = random.uniform(*WAIT)
            if share >= 1:
                following = next(scripted, None)
                if following is None:
                    return
                before, after, share = after, following, share - 1
            yield before + share * (after - before) + beside


def __getattr__(name: str) -> type[Task]:
    """The class of a task, made when it is asked for."""
    where, kind = find(name)
    attributes = {
        "name": f"{kind.name}_by_hand",
        "ticks": round(kind.ticks / PACE[0]),
        "unhurried": kind.ticks,
        "wander": WANDER[where],
    }
    made: type[Task] = type(name, (ByHand, kind), attributes)
    return made
