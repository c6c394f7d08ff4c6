# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""RoboManipBaselines (AIST): tasks of a UR5e, beside its own SARNN's published figures.

Its models are read from a clone of it, which is kept elsewhere; its Python code is not run. The
initial states, the line on which things are put, the camera that its policies see, and the rules
of success are its own. Its demonstrations are a person's at six places of that line, where its
policies are tried, too; ours are scripts, and we try anywhere on it.

    git clone https://github.com/isri-aist/RoboManipBaselines ~/RoboManipBaselines
    ROBO_MANIP_BASELINES=~/RoboManipBaselines .venv-tasks/bin/python -m benchmark.tasks \\
        --tasks benchmark.tasks.robo_manip:Insert --demonstrations 30

`Insert`, `Toolbox`, `CabinetSlide`, `CabinetHinge`, `Door`, `Cable`. State and command are the
arm's joints in rad and how far the gripper is shut, 0 to 1. The models of its ring, particles and
cloth ask for an older MuJoCo than ours.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import mujoco
import numpy as np

from benchmark.tasks.cameras import render
from benchmark.tasks.inverse_kinematics import Arm, about_vertical
from benchmark.tasks.task import Array, Image, Task

#: The environment variable that names the clone, and where its models are in it.
CLONE, MODELS = "ROBO_MANIP_BASELINES", "robo_manip_baselines/envs/assets/mujoco/envs/ur5e"
#: Steps of the simulation in a tick: its policies act at every third of its frames of 8 steps.
STEPS = 24
#: Simulated before an episode, s: the arm and what it holds come to rest.
SETTLES = 0.5
ARM = ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
FINGERS = ("right_driver", "right_spring_link", "left_driver", "left_spring_link")
#: Angle of the fingers' joints when the gripper is told to shut, rad.
SHUT = np.radians(45)
#: What it is told then.
TOLD = 255.0
HAND = "pinch"
#: What demonstrations move by in a tick at most, m and rad.
STRIDE, TURN_STRIDE = 0.015, 0.05
#: A group of geoms that is not drawn.
UNSEEN = 5
HALF = np.pi / 2


class RoboManip(Task):
    rate = 1 / (STEPS * 0.004)
    joints = (*ARM, "gripper")
    ends_at_success = True
    cameras: ClassVar = {"front": (320, 240)}
    table = 0.815
    #: The name of its model; joints at first, rad.
    model: ClassVar[str]
    first: ClassVar[tuple[float, ...]]
    #: How far the gripper is shut before an episode.
    shut: ClassVar[float] = 1.0
    #: Of the body that is put elsewhere: its name, along which axis, from where to where, m.
    body: ClassVar[str]
    axis: ClassVar = 1
    line: ClassVar[tuple[float, float]] = (-0.06, 0.09)

    def __init__(self) -> None:
        clone = os.environ.get(CLONE)
        if clone is None:
            raise SystemExit(f"{CLONE} is not set: it names a clone of RoboManipBaselines")
        path = Path(clone).expanduser() / MODELS / f"env_ur5e_{self.model}.xml"
        self._model = mujoco.MjModel.from_xml_path(str(path))
        self._data = mujoco.MjData(self._model)
        self._arm = Arm(self._model, self._model.site(HAND).id, np.arange(len(ARM)))
        # Software rendering spends most of its time on this.
        self._model.vis.quality.shadowsize, self._model.vis.quality.offsamples = 1024, 0
        self._renderer: mujoco.Renderer | None = None
        self._groups = self._model.geom_group.copy()
        self._body = self._model.body(self.body)
        self._usual = self._body.pos.copy()

    def reset(self, seed: int) -> None:
        model, data = self._model, self._data
        model.geom_group[:] = self._groups
        mujoco.mj_resetData(model, data)
        place = self._usual.copy()
        place[self.axis] += np.random.default_rng(seed).uniform(*self.line)
        self._put(place)
        data.qpos[: len(ARM)] = data.ctrl[: len(ARM)] = self.first
        data.ctrl[len(ARM)] = self.shut * TOLD
        for _ in range(round(SETTLES / model.opt.timestep)):
            mujoco.mj_step(model, data)
        self._place = place
        self._wanted = np.array(self.first)
        self._success = self._fulfilled()

    def _put(self, place: Array) -> None:
        self._body.pos = place

    def images(self) -> dict[str, Image]:
        if self._renderer is None:
            width, height = next(iter(self.cameras.values()))
            self._renderer = mujoco.Renderer(self._model, height, width)
            atexit.register(self._renderer.close)
        made = self._renderer
        return {name: render(self, made, self._model, self._data, name) for name in self.cameras}

    def state(self) -> Array:
        fingers = np.mean([self._data.joint(f"{one}_joint").qpos[0] for one in FINGERS])
        return np.append(self._data.qpos[: len(ARM)], fingers / SHUT)

    def step(self, command: Array) -> None:
        self._data.ctrl[: len(ARM)] = command[:-1]
        self._data.ctrl[len(ARM)] = np.clip(command[-1], 0, 1) * TOLD
        for _ in range(STEPS // 8):
            mujoco.mj_step(self._model, self._data, 8)
            self._success |= self._fulfilled()

    def success(self) -> bool:
        return self._success

    def _fulfilled(self) -> bool:
        raise NotImplementedError

    def positions(self) -> Array:
        return self._place[:2].copy()

    def target(self) -> Array:
        return np.array(self._data.body(self.body).xpos)

    def hide(self) -> None:
        root = self._model.body_rootid == self._body.id
        self._model.geom_group[root[self._model.geom_bodyid]] = UNSEEN

    def script(self) -> Iterator[Array]:
        hand = self._data.site(HAND)
        self._at, self._turned = hand.xpos.copy(), hand.xmat.reshape(3, 3).copy()
        self._closed = self.shut
        yield from self._act()

    def _act(self) -> Iterator[Array]:
        raise NotImplementedError

    def _go(self, to: Array, ticks: int = 0, stride: float = STRIDE) -> Iterator[Array]:
        """Commands that bring the hand straight to a place, m, and then keep it there."""
        start, way = self._at, to - self._at
        count = max(int(np.ceil(np.linalg.norm(way) / stride)), 1)
        for share in [*np.arange(1, count + 1) / count, *np.ones(ticks)]:
            yield self._to(start + share * way)

    def _to(self, place: Array) -> Array:
        """The command for the hand to be there, turned as `_turned`."""
        self._at = place
        self._wanted = self._arm.reach(self._data.qpos, self._wanted, place, self._turned)
        return np.append(self._wanted, self._closed)

    def _grip(self, closed: float, ticks: int) -> Iterator[Array]:
        self._closed = closed
        for _ in range(ticks):
            yield np.append(self._wanted, closed)

    def _at_body(self, name: str, *more: float) -> Array:
        """A place in the frame of a body, m, in the world's directions."""
        return np.array(self._data.body(name).xpos) + more


class Insert(RoboManip):
    """A peg, which the hand holds from the beginning, is put into a hole."""

    name = "robo_manip_insert"
    model = "insert"
    first = np.pi, -HALF, -0.55 * np.pi, -0.45 * np.pi, HALF, HALF
    shut = 170 / TOLD
    body = "hole"
    ticks = 80

    def _fulfilled(self) -> bool:
        peg, hole = self._data.body("peg"), self._data.body("hole")
        off = np.abs(peg.xpos - hole.xpos)[:2].max()
        upright = -peg.xmat[8] > np.cos(np.radians(10))
        return bool(off < 0.012 and peg.xpos[2] < hole.xpos[2] + 0.05 and upright)

    def _act(self) -> Iterator[Array]:
        held = self._at - self._data.body("peg").xpos
        yield from self._go(self._at_body("hole", 0, 0, 0.13) + held, 3)
        yield from self._go(self._at_body("hole", 0, 0, 0.04) + held, 8)


class Toolbox(RoboManip):
    """A box is taken at its handle and put onto a mat."""

    name = "robo_manip_toolbox"
    model = "toolbox"
    first = np.pi, -HALF, -0.55 * np.pi, -0.45 * np.pi, HALF, np.pi
    shut = 0.0
    body = "toolbox"
    ticks = 160

    def _put(self, place: Array) -> None:
        self._data.joint("toolbox_freejoint").qpos[:3] = place

    def _fulfilled(self) -> bool:
        off = self._data.body("toolbox").xpos - self._data.body("mat").xpos
        return bool(np.abs(off[:2]).max() < 0.03 and off[2] < 0.005)

    def _act(self) -> Iterator[Array]:
        handle = self._at_body("toolbox", 0, 0, 0.115)
        over = np.array([0, 0, 0.1])
        yield from self._go(handle + over, 2)
        yield from self._go(handle, 4)
        yield from self._grip(1.0, 6)
        yield from self._go(handle + over / 2, 2)
        there = self._at_body("mat", 0, 0, 0.12)
        yield from self._go(there + over / 2, 4)
        yield from self._go(there, 4)
        yield from self._grip(0.0, 6)
        yield from self._go(there + over, 4)


class CabinetSlide(RoboManip):
    """A sliding door is pushed open at its handle."""

    name = "robo_manip_cabinet_slide"
    model = "cabinet"
    first = np.pi, -0.4 * np.pi, -0.65 * np.pi, -0.2 * np.pi, HALF, HALF
    body = "cabinet"
    ticks = 90

    def _fulfilled(self) -> bool:
        return bool(self._data.joint("slide").qpos[0] > 0.12)

    def _act(self) -> Iterator[Array]:
        beside = self._at_body("cabinet", -0.12, -0.165, 0.09)
        yield from self._go(beside - (0.06, 0, -0.06), 2)
        yield from self._go(beside, 3)
        yield from self._go(beside + (0, 0.2, 0), 4, 0.006)


class CabinetHinge(CabinetSlide):
    """The lid is lifted at its front and turned over."""

    name = "robo_manip_cabinet_hinge"
    #: Where the lid turns, and how far from there it is lifted, m.
    hinge: ClassVar = (0.095, 0.0, 0.28)
    reach: ClassVar = 0.2
    below: ClassVar = 0.012

    def _fulfilled(self) -> bool:
        return bool(self._data.joint("hinge").qpos[0] > np.radians(120))

    def _act(self) -> Iterator[Array]:
        hinge = self._at_body("cabinet", *self.hinge)
        inside = hinge + self._lid(0)
        yield from self._go(inside - 0.08 * self._turned[:, 2], 2)
        yield from self._go(inside, 2)
        for turn in np.arange(0, np.radians(135), TURN_STRIDE):
            yield self._to(hinge + self._lid(turn))
        yield from self._go(self._at, 6)

    def _lid(self, turn: float) -> Array:
        """Below its front, from the hinge, when it is turned by so much, rad."""
        out, up = np.cos(turn), np.sin(turn)
        return self.reach * np.array([-out, 0, up]) - self.below * np.array([up, 0, out])


class Door(RoboManip):
    """A door is pulled open at its handle."""

    name = "robo_manip_door"
    model = "door"
    first = np.pi, -0.4 * np.pi, -0.65 * np.pi, -0.25 * np.pi, HALF, HALF
    shut = 0.0
    body = "door"
    ticks = 110

    def _fulfilled(self) -> bool:
        return bool(self._data.joint("door").qpos[0] <= -np.radians(45))

    def _act(self) -> Iterator[Array]:
        handle = self._data.geom("door_handle").xpos.copy()
        hinge = self._data.joint("door").xanchor.copy()
        turned = self._turned
        self._closed = 0.5
        yield from self._go(handle - 0.08 * turned[:, 2], 2)
        yield from self._go(handle, 3)
        yield from self._grip(1.0, 6)
        for turn in np.arange(0, np.radians(52), TURN_STRIDE):
            about = about_vertical(-turn)
            self._turned = about @ turned
            yield self._to(hinge + about @ (handle - hinge))
        yield from self._go(self._at, 6)


class Cable(RoboManip):
    """A cable is laid between two poles: before the one, and behind the other."""

    name = "robo_manip_cable"
    model = "cable"
    first = np.pi, -HALF, -0.75 * np.pi, -0.25 * np.pi, HALF, HALF
    shut = 0.0
    body = "poles"
    axis = 0
    line = -0.03, 0.12
    ticks = 160

    def __init__(self) -> None:
        super().__init__()
        bodies = [self._model.body(one) for one in range(self._model.nbody)]
        self._cable = [one.id for one in bodies if one.name.startswith("cable_B")]

    def _fulfilled(self) -> bool:
        cable, end = self._data.xpos[self._cable], self._data.body("cable_end").xpos
        pole, other = self._data.geom("pole1").xpos, self._data.geom("pole2").xpos
        if cable[:, 2].max() > pole[2] + 0.01 or end[0] < other[0] or end[1] > pole[1] - 0.05:
            return False
        before, after = cable[:-1], cable[1:]
        # Between the poles, in the direction of y.
        through = (before[:, 1] < pole[1]) & (after[:, 1] > pole[1])
        share = (pole[1] - before[:, 1]) / (after[:, 1] - before[:, 1] + 1e-9)
        at = before[:, 0] + share * (after[:, 0] - before[:, 0])
        return bool((through & (at > pole[0]) & (at < other[0])).any())

    def _act(self) -> Iterator[Array]:
        end = self._at_body("cable_end", 0, 0, 0)
        up = np.array([0, 0, 0.07])
        poles = self._at_body("poles", 0, 0, 0)
        table = np.array([poles[0], poles[1], end[2]])
        yield from self._go(end + up, 2)
        yield from self._go(end, 4)
        yield from self._grip(1.0, 6)
        yield from self._go(end + up, 2)
        yield from self._go(table + up + (0.025, -0.09, 0), 2)
        yield from self._go(table + up + (0.025, 0.06, 0), 2)
        yield from self._go(table + up + (0.08, 0.07, 0), 2)
        yield from self._go(table + up + (0.11, -0.07, 0), 2)
        yield from self._go(table + (0.11, -0.09, 0), 4)
        yield from self._grip(0.0, 6)
