# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""panda-gym: a Franka Panda pushes a block to a mark, or picks it up and holds it at one.

Another engine and renderer than the other tasks', PyBullet. The environments' physics, initial
positions, goals, length (50 steps of 0.04 s) and rule of success, with two cameras of ours. State
and command are the arm's seven joints, rad, and the width of the gripper, m. PyBullet's renderer
knows nothing translucent, so the mark, in panda-gym as green as the block, is red.

Not in an extra: `pip install --no-deps panda-gym pybullet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from panda_gym.envs import PandaPickAndPlaceEnv, PandaPushEnv

from benchmark.tasks.cameras import Moved
from benchmark.tasks.task import Array, Image, Task

#: Yaw and pitch in degrees, as PyBullet counts them.
VIEWS: Mapping[str, tuple[float, float]] = {"front": (90.0, -35.0), "side": (0.0, -25.0)}
#: What both cameras look at, and from how far, m.
CENTRE, DISTANCE = np.array([0.0, 0.0, 0.08]), 0.8
#: Of block and mark, R, G, B.
COLOURS = {"object": (0.1, 0.9, 0.1), "target": (0.9, 0.1, 0.1)}
#: The gripper looks down.
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
#: Of the open gripper, m.
OPEN = 0.08

Waypoints = Sequence[tuple[int, Array, float]]


class Panda(Task):
    rate = 25.0
    ticks = 50
    joints = (*(f"panda_joint{number}" for number in range(1, 8)), "width")
    cameras: ClassVar[Mapping[str, tuple[int, int]]] = dict.fromkeys(VIEWS, (160, 120))
    ends_at_success = False
    environment: type[Any]
    _moved = Moved()

    def __init__(self) -> None:
        self._env: Any = self.environment(control_type="joints")
        self._robot, self._bullet = self._env.robot, self._env.sim
        self._client = self._bullet.physics_client

    def reset(self, seed: int) -> None:
        self._env.reset(seed=seed)
        self._show(1.0)

    def images(self) -> dict[str, Image]:
        return {name: self._render(*view) for name, view in VIEWS.items()}

    def _render(self, yaw: float, pitch: float) -> Image:
        moved, (width, height) = self._moved, self.cameras["front"]
        yaw, pitch = yaw + moved.around, pitch - moved.up
        right = np.array([np.cos(np.radians(yaw)), np.sin(np.radians(yaw)), 0.0])
        centre = CENTRE + moved.aside * right
        image = self._bullet.render(width, height, centre, DISTANCE, yaw, pitch)
        return np.ascontiguousarray(image, np.uint8)

    def move_cameras(self, around: float, up: float, aside: float) -> None:
        self._moved = Moved(around, up, aside)

    def move_object(self, x: float, y: float) -> None:
        place = self._bullet.get_base_position("object") + [x, y, 0.0]
        self._bullet.set_base_pose("object", place, np.array([0.0, 0.0, 0.0, 1.0]))

    def state(self) -> Array:
        angles = [self._robot.get_joint_angle(number) for number in range(7)]
        return np.array([*angles, self._robot.get_fingers_width()])

    def step(self, command: Array) -> None:
        self._robot.control_joints(np.array([*command[:7], *[command[7] / 2] * 2]))
        self._bullet.step()

    def success(self) -> bool:
        task = self._env.task
        return bool(task.is_success(task.get_achieved_goal(), task.get_goal()))

    def positions(self) -> Array:
        return np.array([*self._bullet.get_base_position("object"), *self._env.task.get_goal()])

    def target(self) -> Array:
        return self.positions()[:3]

    def hide(self) -> None:
        self._show(0.0)

    def _show(self, alpha: float) -> None:
        for body, colour in COLOURS.items():
            number = self._bullet._bodies_idx[body]
            self._client.changeVisualShape(number, -1, rgbaColor=[*colour, alpha])

    def _waypoints(self) -> Waypoints:
        """Tick, position of the gripper, m, and its width, m."""
        raise NotImplementedError

    def script(self) -> Iterator[Array]:
        start = self._robot.get_ee_position(), self.state()[7]
        points = [(0, *start), *self._waypoints()]
        for tick in range(1, self.ticks + 1):
            pairs = (pair for pair in pairwise(points) if tick <= pair[1][0])
            before, after = next(pairs, (points[-2], points[-1]))
            share = min(1.0, (tick - before[0]) / (after[0] - before[0]))
            place = (1 - share) * before[1] + share * after[1]
            angles = self._robot.inverse_kinematics(self._robot.ee_link, place, DOWN)
            yield np.array([*angles[:7], after[2]])


class Push(Panda):
    name = "panda_push"
    environment = PandaPushEnv

    def _waypoints(self) -> Waypoints:
        block, goal = np.split(self.positions(), 2)
        way = goal - block
        along = way / max(float(np.linalg.norm(way)), 1e-6)
        behind, there = block - 0.07 * along, goal - 0.045 * along
        return [
            (14, behind + [0, 0, 0.09], 0.0),
            (21, behind, 0.0),
            (44, there, 0.0),
        ]


class PickAndPlace(Panda):
    name = "panda_pick_and_place"
    environment = PandaPickAndPlaceEnv

    def _waypoints(self) -> Waypoints:
        block, goal = np.split(self.positions(), 2)
        return [
            (12, block + [0, 0, 0.08], OPEN),
            (19, block, OPEN),
            (24, block, 0.0),
            (42, goal, 0.0),
        ]
