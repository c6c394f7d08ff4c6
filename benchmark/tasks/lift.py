# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Our own simulated arm lifts a cube. Easier than the others: it shows that the plumbing works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from benchmark.tasks.cameras import ModelCamera, Moved
from benchmark.tasks.task import Array, Image, Task
from sarnn_ros.sim.camera import RayCamera
from sarnn_ros.sim.expert import plan
from sarnn_ros.sim.scene import JOINT_NAMES, LiftScene
from sarnn_ros.sim.task import DEMONSTRATION_TICKS, RATE, TRIAL_TICKS, is_success, place_anywhere

#: What the camera looks at, m.
CENTRE = np.array([0.42, 0.0, 0.05])


class Lift(Task):
    name = "lift"
    rate = RATE
    ticks = TRIAL_TICKS
    joints = tuple(JOINT_NAMES)
    cameras: ClassVar[Mapping[str, tuple[int, int]]] = {"camera": (128, 128)}
    ends_at_success = False

    def __init__(self) -> None:
        self._scene = LiftScene()
        scene = self._scene
        self._front = ModelCamera(scene.model, scene.data, "front", CENTRE)

    def reset(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._cube = place_anywhere(self._random)
        self._scene.reset(self._cube.x, self._cube.y, self._cube.yaw)
        self._hidden = False
        self._lifts: list[float] = []

    def images(self) -> dict[str, Image]:
        return {"camera": self._scene.render(hide_cube=self._hidden)}

    def move_cameras(self, around: float, up: float, aside: float) -> None:
        self._front.move(Moved(around, up, aside))
        self._scene.camera = RayCamera(self._scene.model, "front", *self.cameras["camera"])

    def move_object(self, x: float, y: float) -> None:
        first = self._scene.model.joint("cube").qposadr[0]
        self._scene.data.qpos[first : first + 2] += x, y

    def state(self) -> Array:
        return self._scene.positions

    def step(self, command: Array) -> None:
        self._scene.command(command, duration=1 / self.rate)
        self._scene.advance_to(self._scene.time + 1 / self.rate)
        self._lifts.append(self._scene.cube_lift)

    def success(self) -> bool:
        return is_success(self._lifts)

    def script(self) -> Iterator[Array]:
        yield from plan(self._cube, self._random, DEMONSTRATION_TICKS)

    def positions(self) -> Array:
        return np.array([self._cube.x, self._cube.y])

    def hide(self) -> None:
        self._hidden = True
