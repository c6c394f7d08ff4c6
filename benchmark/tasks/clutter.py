# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The same tasks, but other things lie about in each episode, and somebody walks by behind.

`Transfer`, `Insertion`, `Reach`, `Push`, `PickAndPlace` and `Lift`, of Meta-World
`MetaWorldPickPlace` and so on, and of RoboManipBaselines `RoboManipInsert` and so on. What is
needed for the others is needed here:

    .venv-tasks/bin/python -m benchmark.tasks --tasks benchmark.tasks.clutter:PickAndPlace

Demonstrations and trials alike have them: three boxes, balls or cylinders of any colour, as large
as what is taken, on the table where the task leaves room, and a person of any colour. They are
drawn with the rest of the scene, so the arm hides them and they hide the background; nothing
touches them. The seed of the episode alone decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from benchmark.tasks.task import Array, Task
from benchmark.tasks.things import BALL, BOX, CYLINDER, ELLIPSOID, Thing

#: Things that lie about, half of their size, and how far their middles are from what matters, m.
COUNT, SIZES, CLEARANCE = 3, (0.015, 0.04), 0.08
KINDS = (BOX, BALL, CYLINDER)
#: How fast somebody walks, m/s; half of a trunk's and of a head's size, m.
PACE, TRUNK, HEAD = 0.6, (0.16, 0.16, 0.35), (0.11, 0.11, 0.13)


@dataclass(frozen=True)
class Room:
    """Where a simulator's things may lie and people walk, m.

    :param low, high: x, y of the part of the table where things lie.
    :param walks: for each person, the middles of the trunk between which it goes to and fro.
    :param columns: of `Task.positions` per object; x and y come first.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    walks: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...]
    columns: int


ROOMS = {
    "fetch": Room(
        (1.12, 0.5), (1.5, 1.0),
        (((0.1, 0.0, 0.5), (0.1, 1.5, 0.5)), ((0.6, 2.1, 0.5), (2.2, 2.1, 0.5))), 3,
    ),
    "aloha": Room(
        (-0.3, 0.25), (0.3, 0.8), (((-0.6, 1.25, 0.0), (0.6, 1.25, 0.0)),), 2,
    ),
    "metaworld": Room(
        (-0.25, 0.45), (0.25, 0.85),
        (((-0.6, -0.5, 0.2), (0.6, -0.5, 0.2)), ((-1.0, 0.0, 0.2), (-1.0, 1.3, 0.2))), 3,
    ),
    "lift": Room(
        (0.3, -0.25), (0.6, 0.25), (((-0.5, -0.7, 0.0), (-0.5, 0.7, 0.0)),), 2,
    ),
    "robo_manip": Room(
        (-0.2, -0.4), (0.2, 0.4), (((-1.0, -0.9, 0.5), (-1.0, 0.9, 0.5)),), 2,
    ),
}  # fmt: skip


class People:
    """Who walk to and fro behind the table of a room, of any colour."""

    def __init__(self, room: Room, random: np.random.Generator) -> None:
        self._people = [
            (walk, random.uniform(), random.uniform(0, 1, 3), random.uniform(0.2, 0.9, 3))
            for walk in room.walks
        ]

    def at(self, seconds: float) -> list[Thing]:
        """Trunks and heads at a time since the episode began."""
        found = []
        for (start, end), phase, shirt, skin in self._people:
            way = np.subtract(end, start)
            share = (phase + PACE * seconds / np.linalg.norm(way)) % 2.0
            middle = np.array(start) + way * min(share, 2.0 - share)
            found.append(Thing(ELLIPSOID, middle, np.array(TRUNK), 0.0, shirt))
            above = middle + (0.0, 0.0, TRUNK[2] + HEAD[2])
            found.append(Thing(ELLIPSOID, above, np.array(HEAD), 0.0, skin))
        return found


def room_of(task: Task) -> Room:
    """Of the simulator of a task.

    :raises NotImplementedError: it has none.
    """
    modules = (kind.__module__.rpartition(".")[2] for kind in type(task).__mro__)
    found = next((ROOMS[one] for one in modules if one in ROOMS), None)
    if found is None:
        raise NotImplementedError(f"{task.name}: nobody knows where people may walk there")
    return found


class Cluttered(Task):
    """Mixed in before a task: one of `ROOMS` as `room`."""

    room: Room

    def reset(self, seed: int) -> None:
        super().reset(seed)
        random = np.random.default_rng((seed, 37))
        self._walked = 0
        self._litter = [self._thing(random) for _ in range(COUNT)]
        self._people = People(self.room, random)

    def _thing(self, random: np.random.Generator) -> Thing:
        room = self.room
        matters = self.positions().reshape(-1, room.columns)[:, :2]
        place = random.uniform(room.low, room.high)
        for _ in range(100):
            if np.linalg.norm(matters - place, axis=1).min() > CLEARANCE:
                break
            place = random.uniform(room.low, room.high)
        kind, size = KINDS[random.integers(len(KINDS))], random.uniform(*SIZES, 3)
        height = size[{BOX: 2, BALL: 0, CYLINDER: 1}[kind]]
        return Thing(
            kind, np.append(place, self.table + height), size,
            random.uniform(0, np.pi), random.uniform(0, 1, 3),
        )  # fmt: skip

    def step(self, command: Array) -> None:
        super().step(command)
        self._walked += 1

    def things(self, eye: Array) -> list[Thing]:
        people = self._people.at(self._walked / self.rate)
        return [*super().things(eye), *self._litter, *people]


NAMES = {
    "Transfer": "aloha",
    "Insertion": "aloha",
    "Reach": "fetch",
    "Push": "fetch",
    "PickAndPlace": "fetch",
    "Lift": "lift",
}
#: Tasks of others' suites, by what their names begin with.
SUITES = {"MetaWorld": "metaworld", "RoboManip": "robo_manip"}


def find(name: str) -> tuple[str, Any]:
    """The module of a task, and its class.

    :raises AttributeError: there is none; pickle asks every module for whatever it writes.
    """
    suite = next((one for one in SUITES if name.startswith(one)), "")
    where = SUITES.get(suite) or NAMES.get(name)
    if where is None:
        raise AttributeError(name)
    module = import_module(f"benchmark.tasks.{where}")
    return where, getattr(module, name.removeprefix(suite))


def __getattr__(name: str) -> type[Task]:
    """The class of a task, made when it is asked for."""
    where, kind = find(name)
    attributes = {"name": f"{kind.name}_clutter", "room": ROOMS[where]}
    made: type[Task] = type(name, (Cluttered, kind), attributes)
    return made
