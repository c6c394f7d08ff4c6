# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""robosuite (ARISE Initiative): tasks of a Panda. `Lift`, `Stack` and `Can`.

robosuite asks for what our extra `benchmark` has in other versions, and works with ours. So it is
put beside that, and is no default task:

    .venv-tasks/bin/pip install --no-deps robosuite==1.5.2 numba llvmlite termcolor
    .venv-tasks/bin/python -m benchmark.tasks --tasks benchmark.tasks.robosuite:Stack

The environments' physics, initial positions, cameras and rule of success (reached once) are used.
The arm starts elsewhere in each episode, as robosuite adds noise of 0.02 rad to each joint; where
objects lie, they are turned by any angle. State: the hand's position in m and the gripper's
opening, 0 to 1. Command: where robosuite's operational space controller shall bring the hand,
which stays turned as it was, and the opening.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import cv2
import mujoco
import numpy as np
import robosuite
from robosuite import load_composite_controller_config

from benchmark.tasks.cameras import render
from benchmark.tasks.task import Array, Image, Task

#: What demonstrations move by in a tick at most, m, and turn by, rad; and what they rise by before
#: they go aside, m.
STRIDE, TURN_STRIDE, RISE = 0.015, 0.08, 0.1
#: Distance of the gripper's fingers when open, m.
OPEN = 0.08
#: Groups of geoms: that are looked at, and one that is not drawn.
LOOKS, UNSEEN = 1, 5


def above(there: Array, height: float) -> Array:
    """A place as of `RoboSuite._hand`, so much higher, m."""
    return there + np.eye(len(there))[2] * height


class RoboSuite(Task):
    rate = 20.0
    joints = ("x", "y", "z", "opening")
    ends_at_success = True
    table = 0.8
    environment: ClassVar[str]
    #: Bodies that lie elsewhere in each episode; the first one is taken.
    bodies: ClassVar[tuple[str, ...]]
    #: Of its middle, where it is taken, m.
    grip: ClassVar[float] = 0.0
    #: What differs from robosuite's usual control of the arm.
    arm: ClassVar[Mapping[str, Any]] = {}

    def __init__(self) -> None:
        control = load_composite_controller_config(controller="BASIC")
        arm = control["body_parts"]["right"]
        arm |= {"input_type": "absolute", **self.arm}
        control["body_parts"] = {"right": arm}
        self._env: Any = robosuite.make(
            self.environment,
            robots="Panda",
            controller_configs=control,
            control_freq=self.rate,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            hard_reset=False,
            ignore_done=True,
        )
        model = self._model = self._env.sim.model._model
        # Software rendering spends most of its time on this.
        model.vis.quality.shadowsize, model.vis.quality.offsamples = 1024, 0
        self._groups = model.geom_group.copy()
        self._renderer: mujoco.Renderer | None = None
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:], self._option.sitegroup[:] = 0, 0
        self._option.geomgroup[LOOKS] = 1

    def reset(self, seed: int) -> None:
        env = self._env
        self._model.geom_group[:] = self._groups
        placing = env.placement_initializer
        env.rng = np.random.default_rng(seed)
        for one in (placing, *getattr(placing, "samplers", {}).values()):
            one.rng = env.rng
        self._observed = env.reset()
        self._success = False
        arm = env.robots[0].part_controllers["right"]
        self._base, turn = np.array(arm.origin_pos), np.array(arm.origin_ori).T
        self._turn, self._turned = turn, cv2.Rodrigues(turn @ arm.ref_ori_mat)[0][:, 0]
        self._settle()
        self._places = np.concatenate([self._place(one)[:2] for one in self.bodies])
        self._first = self.state()

    def _settle(self) -> None:
        """Before the first image."""

    def images(self) -> dict[str, Image]:
        if self._renderer is None:
            width, height = next(iter(self.cameras.values()))
            self._renderer = mujoco.Renderer(self._model, height, width)
            atexit.register(self._renderer.close)  # before robosuite ends EGL
        images = {}
        for name in self.cameras:
            data = self._env.sim.data._data
            images[name] = render(self, self._renderer, self._model, data, name, self._option)
        return images

    def state(self) -> Array:
        fingers = np.abs(self._observed["robot0_gripper_qpos"]).sum() / OPEN
        return np.append(self._observed["robot0_eef_pos"], fingers)

    def step(self, command: Array) -> None:
        there = self._turn @ (command[:3] - self._base)
        self._do(np.concatenate([there, self._turned]), command[3])

    def _do(self, arm: Array, opening: float) -> None:
        """What the arm's controller is told, and how far the gripper shall be open."""
        gripper = np.clip(1 - 2 * opening, -1, 1)
        self._observed, *_ = self._env.step(np.append(arm, gripper))
        self._success |= bool(self._env._check_success())

    def success(self) -> bool:
        return self._success

    def script(self) -> Iterator[Array]:
        self._at = self._hand()
        there = self._grip()
        over = above(there, RISE)
        yield from self._go(over, 1.0, 4)
        yield from self._go(there, 1.0, 8)
        yield from self._go(there, 0.0, 6)
        yield from self._go(over, 0.0, 4)
        yield from self._put()

    def _hand(self) -> Array:
        """Where the hand is, m, and its turn, rad, of those that turn it: (3,) or (4,)."""
        return self.state()[:3]

    def _grip(self) -> Array:
        """Where the hand takes the object; as `_hand`."""
        return above(self._place(self.bodies[0]), self.grip)

    def _put(self) -> Iterator[Array]:
        """What follows when the object is lifted."""
        target = self._target()
        over = above(target, RISE)
        yield from self._go(over, 0.0)
        yield from self._go(target, 0.0, 8)
        yield from self._go(target, 1.0, 4)
        yield from self._go(over, 1.0, 8)

    def _target(self) -> Array:
        """Where the object is let go, m."""
        raise NotImplementedError

    def _go(self, to: Array, opening: float, ticks: int = 0) -> Iterator[Array]:
        """Commands to a place (as `_hand`), straight, and to stay there for some ticks."""
        start, way = self._at, to - self._at
        turns = np.abs(way[3:]).sum()
        count = int(np.ceil(max(np.linalg.norm(way[:3]) / STRIDE, turns / TURN_STRIDE)))
        for share in np.arange(1, count + 1) / max(count, 1):
            yield np.append(start + share * way, opening)
        for _ in range(ticks):
            yield np.append(to, opening)
        self._at = to

    def positions(self) -> Array:
        return np.concatenate([self._places, self._first])

    def target(self) -> Array:
        return self._place(self.bodies[0])

    def hide(self) -> None:
        for name in self.bodies:
            body = self._env.sim.model.body_name2id(name)
            self._model.geom_group[self._model.geom_bodyid == body] = UNSEEN

    def _place(self, name: str) -> Array:
        return np.array(self._env.sim.data.get_body_xpos(name))


class Lift(RoboSuite):
    name = "robosuite_lift"
    environment = "Lift"
    ticks = 80
    bodies = ("cube_main",)
    cameras: ClassVar[Mapping[str, tuple[int, int]]] = dict.fromkeys(
        ("agentview", "sideview"), (160, 120)
    )

    def _put(self) -> Iterator[Array]:
        return self._go(self._at, 0.0, 4)


class Stack(RoboSuite):
    name = "robosuite_stack"
    environment = "Stack"
    ticks = 120
    bodies = ("cubeA_main", "cubeB_main")
    cameras = Lift.cameras

    def _target(self) -> Array:
        return self._place("cubeB_main") + (0, 0, 0.048)


class Can(RoboSuite):
    """PickPlaceCan."""

    name = "robosuite_can"
    environment = "PickPlaceCan"
    ticks = 180
    bodies = ("Can_main",)
    grip = 0.02
    cameras: ClassVar[Mapping[str, tuple[int, int]]] = dict.fromkeys(
        ("agentview", "frontview"), (160, 120)
    )

    def _target(self) -> Array:
        there: Array = self._env.target_bin_placements[self._env.object_id] + (0, 0, 0.12)
        return there
