# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""gym-aloha: two ViperX arms hand over a cube, or put a peg into a socket (Zhao et al. 2023).

The simulator's environment with joint position commands is used as it is, its camera "top" too.
Our demonstrations come from inverse kinematics on its model, not from its end-effector variant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import mujoco
import numpy as np
from gym_aloha.env import AlohaEnv

from benchmark.tasks.cameras import ModelCamera, Moved, dress, furnish
from benchmark.tasks.surfaces import Eye
from benchmark.tasks.task import Array, Image, Task

#: Where the finger tips meet, in the frame of the gripper's link, m.
TIP = 0.135
SIDES = ("left", "right")
#: Environment steps of 20 ms in one tick.
STEPS = 4


@dataclass(frozen=True)
class Grip:
    """Where one gripper is to be at a time.

    :param at: seconds since the start.
    :param tip: between the finger tips, world frame, m.
    :param pitch: of the fingers below the horizontal, rad.
    :param roll: about the direction of the fingers, rad; 0 closes them sideways.
    :param opening: 0 closed, 1 open.
    """

    at: float
    tip: Array
    pitch: float = 0.0
    roll: float = 0.0
    opening: float = 1.0


class Aloha(Task):
    rate = 12.5
    ticks = 100
    joints = tuple(
        f"{side}_{joint}"
        for side in SIDES
        for joint in (
            "waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper",
        )
    )  # fmt: skip
    cameras: ClassVar[Mapping[str, tuple[int, int]]] = {"top": (320, 240)}
    ends_at_success = True
    #: The environment's name.
    environment: str
    #: Names of the bodies that lie elsewhere in each episode.
    objects: tuple[str, ...]

    def __init__(self) -> None:
        self._env = AlohaEnv(self.environment)
        self._task = self._env._env.task
        # The simulator renders three cameras at every step; one at every tick is enough here.
        self._task.get_observation = lambda physics: {
            "images": {"top": np.zeros((1, 1, 3), np.uint8)}
        }
        physics = self._env._env.physics
        self._physics = physics
        self._model: mujoco.MjModel = physics.model._model
        # Software rendering spends most of its time on this. Shadows keep their place.
        self._model.vis.quality.shadowsize = 1024
        self._model.vis.quality.offsamples = 0
        self._scratch = mujoco.MjData(self._model)
        self._colours = self._model.geom_rgba.copy()
        data, table = physics.data._data, self._model.body("table").pos.copy()
        self._top = ModelCamera(self._model, data, "top", table)

    def reset(self, seed: int) -> None:
        self._model.geom_rgba[:] = self._colours
        self._env.reset(seed=seed)
        self._command = self.state()
        self._success = False

    def images(self) -> dict[str, Image]:
        return {name: self._image(name, *size) for name, size in self.cameras.items()}

    def _image(self, name: str, width: int, height: int) -> Image:
        eyes: list[Eye] = []

        def prepare(physics: object, scene: mujoco.MjvScene) -> None:
            furnish(self, scene)
            eyes.append(Eye.of(scene, width, height))

        def render(segmentation: bool) -> Array:
            shown: Array = self._physics.render(
                height, width, camera_id=name, segmentation=segmentation, scene_callback=prepare
            )
            return shown

        image = render(False).astype(np.uint8)
        if not self.shown:
            return image
        return dress(self, image, self._model, render(True), eyes[-1])

    def move_cameras(self, around: float, up: float, aside: float) -> None:
        self._top.move(Moved(around, up, aside))

    def move_object(self, x: float, y: float) -> None:
        first = int(self._model.joint(self._model.body(self.objects[0]).jntadr[0]).qposadr[0])
        self._physics.data.qpos[first : first + 2] += x, y

    def state(self) -> Array:
        return np.asarray(self._task.get_qpos(self._physics), np.float64)

    def step(self, command: Array) -> None:
        for part in range(1, STEPS + 1):
            share = part / STEPS
            _, reward, *_ = self._env.step((1 - share) * self._command + share * command)
            self._success |= reward == 4
        self._command = command

    def success(self) -> bool:
        return self._success

    def positions(self) -> Array:
        return self._objects()

    def _objects(self) -> Array:
        found = [self._physics.named.data.xpos[name][:2] for name in self.objects]
        return np.concatenate(found).astype(np.float64)

    def target(self) -> Array:
        return np.append(self.positions()[:2], 0.02)

    def hide(self) -> None:
        for name in self.objects:
            body = self._model.body(name).id
            self._model.geom_rgba[self._model.geom_bodyid == body, 3] = 0

    def script(self) -> Iterator[Array]:
        plans = {side: self._plan(side) for side in SIDES}
        starts = self.state()
        angles = {"left": starts[:6].copy(), "right": starts[7:13].copy()}
        end = max(plan[-1].at for plan in plans.values())
        for tick in range(1, round(end * self.rate) + 1):
            command = []
            for side, plan in plans.items():
                grip = _between(plan, tick / self.rate)
                angles[side] = self._inverse(side, grip, angles[side])
                command += [*angles[side], grip.opening]
            yield np.array(command)

    def _plan(self, side: str) -> list[Grip]:
        raise NotImplementedError

    def _tip(self, side: str) -> Array:
        link = self._physics.named.data.xpos[f"vx300s_{side}/gripper_link"]
        forward = self._physics.named.data.xmat[f"vx300s_{side}/gripper_link"].reshape(3, 3)[:, 0]
        return np.asarray(link + TIP * forward, np.float64)

    def _inverse(self, side: str, grip: Grip, angles: Array) -> Array:
        """Joint angles (6,) that bring the finger tips there, near the given ones."""
        model, data = self._model, self._scratch
        first = model.jnt_qposadr[model.joint(f"vx300s_{side}/waist").id]
        dofs = model.jnt_dofadr[model.joint(f"vx300s_{side}/waist").id] + np.arange(6)
        body = model.body(f"vx300s_{side}/gripper_link").id
        base = model.body(f"vx300s_{side}").pos
        wanted = _orientation(grip.tip - base, grip.pitch, grip.roll)
        angles = angles.copy()
        for _ in range(100):
            data.qpos[first : first + 6] = angles
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            matrix = data.xmat[body].reshape(3, 3)
            tip = data.xpos[body] + TIP * matrix[:, 0]
            turn = 0.5 * sum(np.cross(matrix[:, i], wanted[:, i]) for i in range(3))
            error = np.concatenate([grip.tip - tip, 0.3 * turn])
            if np.abs(error).max() < 1e-4:
                break
            linear, angular = np.zeros((3, model.nv)), np.zeros((3, model.nv))
            mujoco.mj_jac(model, data, linear, angular, tip, body)
            jacobian = np.concatenate([linear[:, dofs], 0.3 * angular[:, dofs]])
            damped = jacobian @ jacobian.T + 1e-4 * np.eye(6)
            angles += np.clip(jacobian.T @ np.linalg.solve(damped, error), -0.2, 0.2)
        return angles


def _orientation(reach: Array, pitch: float, roll: float) -> Array:
    """Columns: forward, sideways and up of a gripper that points away from its arm's base.

    So the forearm never rolls. Kept parallel to the table's edge instead, the gripper would need
    a wrist near its singularity, and demonstrations would differ by half turns of no use.

    :param reach: from the base to the finger tips, m.
    """
    outward = np.array([reach[0], reach[1], 0.0]) / np.hypot(reach[0], reach[1])
    across = np.array([-outward[1], outward[0], 0.0])
    forward = np.cos(pitch) * outward - np.array([0.0, 0.0, np.sin(pitch)])
    up = np.cross(forward, across)
    turned = np.cos(roll) * across + np.sin(roll) * up
    return np.stack([forward, turned, np.cross(forward, turned)], 1)


def _between(plan: list[Grip], time: float) -> Grip:
    """The plan at a time: from grip to grip with zero velocity at each."""
    pairs = (pair for pair in pairwise(plan) if time <= pair[1].at)
    before, after = next(pairs, (plan[-2], plan[-1]))
    share = min(1.0, (time - before.at) / (after.at - before.at))
    share = share**2 * (3 - 2 * share)

    def mix(a: float, b: float) -> float:
        return (1 - share) * a + share * b

    return Grip(
        time,
        (1 - share) * before.tip + share * after.tip,
        mix(before.pitch, after.pitch),
        mix(before.roll, after.roll),
        mix(before.opening, after.opening),
    )


class Transfer(Aloha):
    name = environment = "transfer_cube"
    objects = ("box",)

    def _plan(self, side: str) -> list[Grip]:
        cube = np.array([*self._objects(), 0.02])
        meet = np.array([0.0, 0.5, 0.25])
        here = self._tip(side)
        if side == "right":
            above, on, down = cube + [0, 0, 0.08], cube + [0, 0, -0.005], np.pi / 3
            return [
                Grip(0, here, -0.1, 0, 0.1),
                Grip(1.2, above, down),
                Grip(1.8, on, down),
                Grip(2.2, on, down, 0, 0.0),
                Grip(3.4, meet, down / 2, 0, 0.0),
                Grip(4.8, meet, down / 2, 0, 0.0),
                Grip(5.2, meet, down / 2),
                Grip(5.8, meet + [0.1, 0, 0.0], down / 2),
            ]
        return [
            Grip(0, here, -0.1, 0, 0.1),
            Grip(1.8, meet + [-0.12, 0, 0], 0, np.pi / 2),
            Grip(3.4, meet + [-0.12, 0, 0], 0, np.pi / 2),
            Grip(4.2, meet + [-0.005, 0, 0], 0, np.pi / 2),
            Grip(4.7, meet + [-0.005, 0, 0], 0, np.pi / 2, 0.0),
            Grip(5.2, meet + [-0.005, 0, 0], 0, np.pi / 2, 0.0),
            Grip(5.8, meet + [-0.1, 0, 0], 0, np.pi / 2, 0.0),
        ]


class Insertion(Aloha):
    name = environment = "insertion"
    objects = ("peg", "socket")

    def _plan(self, side: str) -> list[Grip]:
        peg, socket = self._objects().reshape(2, 2)
        here = self._tip(side)
        outward = 1.0 if side == "right" else -1.0
        part = np.array([*(peg if side == "right" else socket), 0.01 if side == "right" else 0.02])
        part[0] += outward * 0.015
        meet = np.array([0.0, 0.5, 0.20])
        apart, joined = meet + [outward * 0.12, 0, 0], meet + [outward * 0.06, 0, 0]
        down = np.pi / 3
        return [
            Grip(0, here, -0.1, 0, 0.1),
            Grip(1.3, part + [0, 0, 0.08], down),
            Grip(2.0, part, down),
            Grip(2.5, part, down, 0, 0.0),
            Grip(4.0, apart, down, 0, 0.0),
            Grip(4.6, apart, down, 0, 0.0),
            Grip(6.4, joined, down, 0, 0.0),
        ]
