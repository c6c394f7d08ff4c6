# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gymnasium-robotics Fetch: reach a point, push a block, pick one up and hold it at a point.

The environments' physics, initial positions, goals, length (50 steps) and rule of success, with
two cameras of ours, as a goal in the air has no place in one image. State and command are the
gripper's position in m and its opening, 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import gymnasium
import gymnasium_robotics
import mujoco
import numpy as np

from benchmark.tasks.cameras import Moved, free_camera, render
from benchmark.tasks.task import Array, Image, Task

gymnasium.register_envs(gymnasium_robotics)

#: What an action of 1 asks for in a step, m; and the opening of the fingers, m.
STRIDE, OPENING = 0.05, 0.1
#: Of free cameras azimuth and elevation in degrees; of a camera of the model its name.
VIEWS: Mapping[str, tuple[float, float] | str] = {"front": (180.0, -35.0), "side": (90.0, -20.0)}


class Fetch(Task):
    rate = 25.0
    ticks = 50
    joints = ("x", "y", "z", "opening")
    views = VIEWS
    cameras: ClassVar[Mapping[str, tuple[int, int]]] = dict.fromkeys(VIEWS, (160, 120))
    ends_at_success = False
    table = 0.4
    environment: str
    #: What both cameras look at, m: the table's middle under the gripper.
    centre = np.array([1.34, 0.75, 0.5])
    _moved = Moved()

    def __init__(self) -> None:
        self._env = self._make()
        self._model: mujoco.MjModel = self._env.model
        self._model.vis.quality.offsamples = 0
        self._block = any(self._model.body(i).name == "object0" for i in range(self._model.nbody))
        self._colours = self._model.geom_rgba.copy(), self._model.site_rgba.copy()
        self._renderer: mujoco.Renderer | None = None

    def _make(self) -> Any:
        return gymnasium.make(self.environment).unwrapped

    def reset(self, seed: int) -> None:
        self.show(goal=True, block=True)
        self._observed, _ = self._env.reset(seed=seed)

    def images(self) -> dict[str, Image]:
        width, height = next(iter(self.cameras.values()))
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self._model, height, width)
        self._env._render_callback()  # puts the goal's mark where the goal is
        images = {}
        for name, view in self.views.items():
            camera = (
                view
                if isinstance(view, str)
                else free_camera(self.centre, 0.9, *view, self._moved)
            )
            images[name] = render(self, self._renderer, self._model, self._env.data, camera)
        return images

    def move_cameras(self, around: float, up: float, aside: float) -> None:
        self._moved = Moved(around, up, aside)

    def move_object(self, x: float, y: float) -> None:
        if not self._block:
            super().move_object(x, y)
        env = self._env
        place = env._utils.get_joint_qpos(env.model, env.data, "object0:joint").copy()
        place[:2] += x, y
        env._utils.set_joint_qpos(env.model, env.data, "object0:joint", place)

    def _gripper(self) -> Array:
        return np.asarray(self._observed["observation"][:3], np.float64)

    def state(self) -> Array:
        fingers = self._observed["observation"][9:11] if self._block else np.zeros(2)
        return np.array([*self._gripper(), fingers.sum() / OPENING])

    def step(self, command: Array) -> None:
        action = np.append((command[:3] - self._gripper()) / STRIDE, 0.0)
        action[3] = 5 * (command[3] - self.state()[3])
        self._observed, *_ = self._env.step(np.clip(action, -1, 1))

    def success(self) -> bool:
        observed = self._observed
        return bool(self._env._is_success(observed["achieved_goal"], observed["desired_goal"]))

    def _positions(self) -> tuple[Array, Array]:
        goal = np.array(self._observed["desired_goal"])
        block = np.array(self._observed["achieved_goal"])
        return block, goal

    def positions(self) -> Array:
        block, goal = self._positions()
        return np.concatenate([block, goal]) if self._block else goal

    def target(self) -> Array:
        return self.positions()[:3]

    def hide(self) -> None:
        self.show(goal=False, block=False)

    def show(self, goal: bool, block: bool) -> None:
        """From the next image on; the block with the mark that is inside of it."""
        model = self._model
        model.geom_rgba[:], model.site_rgba[:] = self._colours
        if not goal:
            model.site("target0").rgba[3] = 0
        if self._block and not block:
            model.geom("object0").rgba[3] = model.site("object0").rgba[3] = 0

    def _waypoints(self) -> Sequence[tuple[int, Array, float]]:
        """Tick, position and opening."""
        raise NotImplementedError

    def script(self) -> Iterator[Array]:
        return self._through(self._waypoints())

    def _through(self, waypoints: Sequence[tuple[int, Array, float]]) -> Iterator[Array]:
        points = [(0, self._gripper(), self.state()[3]), *waypoints]
        for tick in range(1, self.ticks + 1):
            pairs = (pair for pair in pairwise(points) if tick <= pair[1][0])
            before, after = next(pairs, (points[-2], points[-1]))
            share = min(1.0, (tick - before[0]) / (after[0] - before[0]))
            yield np.append((1 - share) * before[1] + share * after[1], after[2])


class Reach(Fetch):
    name = "fetch_reach"
    environment = "FetchReach-v4"

    def _waypoints(self) -> Sequence[tuple[int, Array, float]]:
        return [(20, self._positions()[1], 0.0)]


class Push(Fetch):
    name = "fetch_push"
    environment = "FetchPush-v4"

    def _waypoints(self) -> Sequence[tuple[int, Array, float]]:
        block, goal = self._positions()
        way = goal - block
        way[2] = 0
        distance = float(np.linalg.norm(way))
        along = way / max(distance, 1e-6)
        behind, there = block - 0.075 * along, goal - 0.045 * along
        up = np.array([0, 0, 0.09])
        return [
            (6, self._gripper() + up, 0.0),
            (14, behind + up, 0.0),
            (20, behind, 0.0),
            (42, there, 0.0),
        ]


class PickAndPlace(Fetch):
    name = "fetch_pick_and_place"
    environment = "FetchPickAndPlace-v4"
    centre = (1.34, 0.75, 0.65)  # half of the goals are in the air, up to 0.45 m above the table

    def _waypoints(self) -> Sequence[tuple[int, Array, float]]:
        block, goal = self._positions()
        return [
            (10, block + [0, 0, 0.08], 1.0),
            (17, block, 1.0),
            (22, block, 0.0),
            (40, goal, 0.0),
        ]

    def correction(self) -> Iterator[Array]:
        block, goal = self._positions()
        away = float(np.linalg.norm(block - self._gripper()))
        if away < 0.02 and self.state()[3] < 0.6:  # it is in the hand
            return self._through([(20, goal, 0.0)])
        above = np.maximum(self._gripper(), [0, 0, block[2] + 0.08])
        rise = (5, above, 1.0)
        return self._through([rise, *((at + 5, *rest) for at, *rest in self._waypoints())])
