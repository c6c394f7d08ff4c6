# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Fetch's tasks, but what matters comes late: nothing in the first images shows it.

`PickAndPlace`: the goal is shown when the gripper is at the block. `PickAndPlaceMoved`: then it
is put elsewhere. `Push`: the block is shown after a while, for which the gripper waits.

    .venv-tasks/bin/python -m benchmark.tasks --tasks benchmark.tasks.late:PickAndPlace
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.tasks import fetch
from benchmark.tasks.task import Array, Image


class Late(fetch.Fetch):
    """Mixed in before a task: what is `late` is not drawn before the tick `shown`."""

    shown: int
    late: str

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._tick = 0
        self._hidden = False

    def step(self, command: Array) -> None:
        super().step(command)
        self._tick += 1

    def hide(self) -> None:
        self._hidden = True
        super().hide()

    def images(self) -> dict[str, Image]:
        if not self._hidden:
            seen = self._tick >= self.shown
            self.show(goal=seen or self.late != "goal", block=seen or self.late != "block")
        return super().images()


class PickAndPlace(Late, fetch.PickAndPlace):
    name = "fetch_pick_and_place_late"
    shown, late = 16, "goal"


class PickAndPlaceMoved(fetch.PickAndPlace):
    """The first goal, anywhere, does not count."""

    name = "fetch_pick_and_place_moved"
    moved = 16

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._tick = 0
        self._goal = self._env.goal.copy()
        self._env.goal = self._env._sample_goal()

    def step(self, command: Array) -> None:
        self._tick += 1
        if self._tick == self.moved:
            self._env.goal = self._goal.copy()
        super().step(command)

    def _positions(self) -> tuple[Array, Array]:
        return super()._positions()[0], self._goal


class Push(Late, fetch.Push):
    name = "fetch_push_late"
    ticks = 60
    shown, late = 10, "block"

    def _waypoints(self) -> Sequence[tuple[int, Array, float]]:
        first, *others = super()._waypoints()
        up, position, opening = first
        return [first, (up + 6, position, opening), *((at + 8, *rest) for at, *rest in others)]
