# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The same tasks, but the robot starts elsewhere in each episode, as in most labs.

`Transfer`, `Insertion`, `Reach`, `Push` and `PickAndPlace`, and of Meta-World `MetaWorldPickPlace`
and so on. What is needed for the others is needed here:

    .venv-tasks/bin/python -m benchmark.tasks --tasks benchmark.tasks.starts:Insertion

True positions include where the robot starts, for the plan that is made from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from benchmark.tasks.task import Array, Task

#: By module: what is added to the first state, at least and at most, m or rad; and the ticks for
#: which the robot is sent there. It starts from wherever it is then.
ARM = [0.15] * 6 + [0.0]
SPREADS: dict[str, tuple[Sequence[float], Sequence[float], int]] = {
    "fetch": ([-0.08, -0.08, 0.0, 0.0], [0.08, 0.08, 0.1, 0.0], 10),
    "aloha": ([-one for one in ARM * 2], ARM * 2, 3),
    "metaworld": ([-0.1, -0.1, -0.02, 0.0], [0.1, 0.1, 0.1, 0.0], 5),
}
ALOHA, FETCH, META_WORLD = (
    ("Transfer", "Insertion"),
    ("Reach", "Push", "PickAndPlace"),
    "MetaWorld",
)


class Elsewhere(Task):
    """Mixed in before a task: one of `SPREADS` as `spread`, drawn by the episode's seed."""

    spread: tuple[Sequence[float], Sequence[float], int]

    def reset(self, seed: int) -> None:
        super().reset(seed)
        low, high, ticks = self.spread
        there = self.state() + np.random.default_rng(seed).uniform(low, high)
        for _ in range(ticks):
            self.step(there)
        self._first = self.state()

    def positions(self) -> Array:
        return np.concatenate([super().positions(), self._first])


def __getattr__(name: str) -> type[Task]:
    """The class of a task, made when it is asked for."""
    if name not in ALOHA + FETCH and not name.startswith(META_WORLD):
        raise AttributeError(name)  # pickle asks every module for whatever it writes
    where = "aloha" if name in ALOHA else "metaworld" if name.startswith(META_WORLD) else "fetch"
    module = import_module(f"benchmark.tasks.{where}")
    kind: Any = getattr(module, name.removeprefix(META_WORLD))
    attributes = {"name": f"{kind.name}_starts", "spread": SPREADS[where]}
    made: type[Task] = type(name, (Elsewhere, kind), attributes)
    return made
