# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Our own simulated arm lifts a cube. Easier than the others: it shows that the plumbing works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import ClassVar

import mujoco
import numpy as np

from benchmark.tasks.cameras import ModelCamera, Moved
from benchmark.tasks.surfaces import Eye
from benchmark.tasks.task import Array, Image, Task
from benchmark.tasks.things import Thing
from sarnn_ros.sim.camera import RayCamera
from sarnn_ros.sim.expert import plan
from sarnn_ros.sim.scene import CUBE_HALF, JOINT_NAMES, LiftScene
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
        self._camera = scene.camera

    def reset(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._cube = place_anywhere(self._random)
        self._scene.reset(self._cube.x, self._cube.y, self._cube.yaw)
        self._hidden = False
        self._lifts: list[float] = []

    def images(self) -> dict[str, Image]:
        scene, things = self._scene, self.things(self._camera.origin)
        scene.camera = self._ray_camera(_with(things)) if things else self._camera
        image = scene.render(hide_cube=self._hidden)
        if self.shown:
            seen = scene.camera.seen.reshape(image.shape[:2])
            table, floor = (scene.model.geom(name).id for name in ("table", "floor"))
            eye = Eye(scene.camera.origin, scene.camera.rays.reshape(image.shape))
            behind = (seen < 0) | (seen == floor)
            image = self.shown.put(image, seen == table, behind, self.table, eye)
        return {"camera": image}

    def _ray_camera(self, model: mujoco.MjModel) -> RayCamera:
        """Where the scene's camera stands."""
        camera, stands = model.camera("front"), self._scene.model.camera("front")
        camera.pos[:], camera.quat[:] = stands.pos, stands.quat
        return RayCamera(model, "front", *self.cameras["camera"])

    def move_cameras(self, around: float, up: float, aside: float) -> None:
        self._front.move(Moved(around, up, aside))
        self._camera = self._ray_camera(self._scene.model)

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

    def target(self) -> Array:
        return np.array([*self.positions(), CUBE_HALF])

    def hide(self) -> None:
        self._hidden = True


def _with(things: list[Thing]) -> mujoco.MjModel:
    """The scene's model with more to be seen, after table and floor, which keep their numbers."""
    text = files("sarnn_ros.sim").joinpath("lift.xml").read_text(encoding="utf-8")
    end = "</worldbody>"
    return mujoco.MjModel.from_xml_string(
        text.replace(end, "".join(one.xml() for one in things) + end)
    )
