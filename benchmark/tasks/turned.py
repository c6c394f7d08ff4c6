# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""robosuite's tasks of objects that lie turned: the hand must turn, too.

`Bar` is its Lift of a bar, `Square` its NutAssemblySquare: a nut lies turned by any angle, and is
put over a square peg.

    .venv-tasks/bin/python -m benchmark.tasks --tasks benchmark.tasks.turned:Bar

State and command are the hand's position in m, its turn about the vertical in rad, and the
gripper's opening; of `BarJoints` the arm's seven joints in rad, as most labs record them, and the
opening. In `BarAny` the bar lies turned by any angle, and in `BarColours` it has another colour in
each episode.
`benchmark/tasks/robosuite.py` says what to install.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import cv2
import numpy as np

from benchmark.tasks.inverse_kinematics import Arm, about_vertical
from benchmark.tasks.robosuite import Lift, RoboSuite, above
from benchmark.tasks.task import Array

#: Half the bar's length, width and height, m.
BAR = 0.05, 0.014, 0.02
#: It lies within so much of the middle of the table in x and y, m.
REACH = 0.08
#: Stiffness of `BarJoints`, Nm/rad.
STIFFNESS = 150
#: The hand's orientation without a turn: straight down, and its fingers close along y.
DOWN = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])
HAND = "gripper0_right_grip_site"
#: The nut's middle, above the middle of the peg, when it is carried and when it is let go, m.
OVER, LET_GO = 0.15, 0.07
#: What the arm reaches, m.
FARTHEST = 0.25
#: Ticks until the nut, which is dropped, lies still.
FALLS = 15


def turn_of(matrix: Array) -> float:
    return float(np.arctan2(matrix[1, 0], matrix[0, 0]))


class Turning(RoboSuite):
    """The hand turns."""

    joints = ("x", "y", "z", "turn", "opening")

    def __init__(self) -> None:
        super().__init__()
        self._site = self._env.sim.model.site_name2id(HAND)

    def reset(self, seed: int) -> None:
        super().reset(seed)
        turns = [turn_of(self._env.sim.data.get_body_xmat(one)) for one in self.bodies]
        self._places = np.append(self._places, turns)

    def _hand(self) -> Array:
        """Where the hand is, and its turn: (4,)."""
        data = self._env.sim.data._data
        turned = data.site_xmat[self._site].reshape(3, 3) @ DOWN.T
        return np.append(data.site_xpos[self._site], turn_of(turned))

    def state(self) -> Array:
        return np.append(self._measured(), super().state()[3])

    def _measured(self) -> Array:
        return self._hand()

    def step(self, command: Array) -> None:
        there = self._turn @ (command[:3] - self._base)
        turned = cv2.Rodrigues(self._turn @ about_vertical(command[3]) @ DOWN)[0][:, 0]
        self._do(np.concatenate([there, turned]), command[4])


class Bar(Turning):
    name = "robosuite_bar"
    environment = "Lift"
    ticks = 100
    bodies = ("cube_main",)
    cameras = Lift.cameras
    #: It lies turned by so much at most, rad.
    turn: ClassVar[float] = np.radians(60)

    def __init__(self) -> None:
        super().__init__()
        model = self._model
        body = self._env.sim.model.body_name2id("cube_main")
        bar = self._geoms = model.geom_bodyid == body
        model.geom_size[bar] = BAR
        model.geom_rbound[bar], model.geom_aabb[bar, 3:] = np.linalg.norm(BAR), BAR
        squares = np.square(BAR)
        model.body_inertia[body] = model.body_mass[body] / 3 * (squares.sum() - squares)
        placing = self._env.placement_initializer
        placing.x_range = placing.y_range = -REACH, REACH
        placing.rotation = -self.turn, self.turn

    def _grip(self) -> Array:
        return np.append(self._place("cube_main"), self._places[2])

    def _put(self) -> Iterator[Array]:
        return self._go(self._at, 0.0)


class BarAny(Bar):
    """Turned by any angle. The hand takes it from either side, and turns by a quarter at most."""

    name = "robosuite_bar_any"
    turn = np.pi / 2


class BarColours(Bar):
    name = "robosuite_bar_colours"

    def reset(self, seed: int) -> None:
        super().reset(seed)
        some = np.random.default_rng(seed)
        self._model.geom_matid[self._geoms] = -1
        colour = colorsys.hsv_to_rgb(some.uniform(), some.uniform(0.5, 1), some.uniform(0.3, 1))
        self._model.geom_rgba[self._geoms, :3] = colour


class BarJoints(Bar):
    name = "robosuite_bar_joints"
    joints = (*(f"joint{index}" for index in range(1, 8)), "opening")
    arm: ClassVar[Mapping[str, Any]] = {"type": "JOINT_POSITION", "kp": STIFFNESS}

    def __init__(self) -> None:
        super().__init__()
        arm = self._env.robots[0].part_controllers["right"].qpos_index
        self._arm = Arm(self._model, self._site, arm)

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._wanted = self._measured()

    def _measured(self) -> Array:
        return np.array(self._observed["robot0_joint_pos"])

    def step(self, command: Array) -> None:
        self._do(command[:-1], command[-1])

    def _go(self, to: Array, opening: float, ticks: int = 0) -> Iterator[Array]:
        for command in super()._go(to, opening, ticks):
            self._wanted = self._joints_at(command[:3], command[3])
            yield np.append(self._wanted, opening)

    def _joints_at(self, there: Array, turn: float) -> Array:
        """From what was wanted before: (7,)."""
        qpos, turned = self._env.sim.data._data.qpos, about_vertical(turn) @ DOWN
        return self._arm.reach(qpos, self._wanted, there, turned)


class Square(Turning):
    name = "robosuite_square"
    environment = "NutAssemblySquare"
    ticks = 200
    bodies = ("SquareNut_main",)
    cameras = Lift.cameras

    def _settle(self) -> None:
        hand = self.state()
        for _ in range(FALLS):
            self.step(hand)

    def _grip(self) -> Array:
        """At its handle; the hand turns by a quarter at most."""
        handle = self._env.sim.data.get_site_xpos("SquareNut_handle_site")
        return np.append(handle, (self._places[2] + np.pi / 2) % np.pi - np.pi / 2)

    def _put(self) -> Iterator[Array]:
        """Over the peg, turned to what is nearest of the square's ways that the arm reaches."""
        nut, hand, peg = self._place("SquareNut_main"), self._hand(), self._place("peg1")
        turned = turn_of(self._env.sim.data.get_body_xmat("SquareNut_main"))
        least = np.pi / 4 - (turned + np.pi / 4) % (np.pi / 2)
        ways = [
            np.append(peg + about_vertical(more) @ (hand[:3] - nut), self._at[3] + more)
            for more in (least, least - np.copysign(np.pi / 2, least))
        ]
        there = next(one for one in ways if one[0] < FARTHEST)
        over, low = above(there, OVER), above(there, LET_GO)
        yield from self._go(np.concatenate([self._at[:2], over[2:3], self._at[3:]]), 0.0)
        yield from self._go(over, 0.0, 8)
        yield from self._go(low, 0.0, 6)
        yield from self._go(low, 1.0, 4)
        yield from self._go(over, 1.0, 4)
