# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Fetch clears a table: three blocks, one after the other, each onto its mark.

The blocks lie anywhere on one half of the table, the marks are where they always are. So an
episode is long, the last block is seen in the first image and taken 140 ticks later, and until
then the arm has passed before it twice.

    .venv-tasks/bin/python -m benchmark.tasks --tasks benchmark.tasks.sequence:ThreePicks
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from gymnasium_robotics.envs.fetch.pick_and_place import MujocoFetchPickAndPlaceEnv

from benchmark.tasks import fetch
from benchmark.tasks.task import Array

#: Of each block and its mark, RGB.
COLOURS = ((0.1, 0.5, 0.2), (0.1, 0.2, 0.7), (0.8, 0.6, 0.1))
#: Half of a block's side, and where its middle is on the table, m.
HALF, HEIGHT = 0.025, 0.425
#: Where blocks may lie, and how far their middles are apart at least, m.
LOW, HIGH, APART = np.array([1.2, 0.55]), np.array([1.45, 0.85]), 0.11
#: Middles of the marks, m.
MARKS = np.array([[1.2, 1.0, HEIGHT], [1.325, 1.0, HEIGHT], [1.45, 1.0, HEIGHT]])
#: How far from its mark a block may be: Fetch's own rule, m.
NEAR = 0.05
#: Ticks for each block.
EACH = 70


def _block(number: int) -> str:
    return f"object{number}"


class _Environment(MujocoFetchPickAndPlaceEnv):
    """Fetch's, with three blocks instead of one. Its goal is not used."""

    def _initialize_simulation(self) -> None:
        whole = mujoco.MjSpec.from_file(self.fullpath)
        for number, colour in enumerate(COLOURS):
            rgba = [*colour, 1.0]
            if number:
                body = whole.worldbody.add_body(name=_block(number), pos=[number, 2.0, HALF])
                body.add_freejoint(name=f"{_block(number)}:joint")
                body.add_geom(
                    name=_block(number), type=mujoco.mjtGeom.mjGEOM_BOX, size=[HALF] * 3,
                    condim=3, mass=2.0, rgba=rgba,
                )  # fmt: skip
            else:
                whole.geom(_block(0)).rgba = rgba
                whole.geom(_block(0)).material = ""
            whole.worldbody.add_geom(
                type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.04, 0.04, 0.001],
                pos=[*MARKS[number][:2], HEIGHT - HALF], rgba=rgba, contype=0, conaffinity=0,
            )  # fmt: skip
        # As the method of the environment's base does it with the file.
        self.model = whole.compile()
        self.data = mujoco.MjData(self.model)
        self._model_names = self._utils.MujocoModelNames(self.model)
        self._env_setup(initial_qpos=self.initial_qpos)
        self.initial_time = self.data.time
        self.initial_qpos, self.initial_qvel = self.data.qpos.copy(), self.data.qvel.copy()


class ThreePicks(fetch.Fetch):
    name = "fetch_three_picks"
    ticks = len(COLOURS) * EACH
    centre = np.array([1.32, 0.78, 0.45])

    def _make(self) -> Any:
        return _Environment()

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._model.site("target0").rgba[3] = self._model.site(_block(0)).rgba[3] = 0
        random = np.random.default_rng(seed)
        while True:
            places = random.uniform(LOW, HIGH, (len(COLOURS), 2))
            apart = np.linalg.norm(places[:, None] - places, axis=-1)
            if (apart + np.eye(len(places)) > APART).all():
                break
        env = self._env
        for number, place in enumerate(places):
            joint = env.data.joint(f"{_block(number)}:joint")
            joint.qpos, joint.qvel = [*place, HEIGHT, 1, 0, 0, 0], 0
        mujoco.mj_forward(env.model, env.data)
        self._observed = env._get_obs()

    def _blocks(self) -> Array:
        return np.array([self._env.data.body(_block(one)).xpos for one in range(len(COLOURS))])

    def positions(self) -> Array:
        return self._blocks()[:, :2].ravel()

    def target(self) -> Array:
        return self._blocks()[0]

    def success(self) -> bool:
        return bool((np.linalg.norm(self._blocks() - MARKS, axis=1) < NEAR).all())

    def hide(self) -> None:
        for number in range(len(COLOURS)):
            self._model.geom(_block(number)).rgba[3] = 0

    def _waypoints(self) -> Sequence[tuple[int, Array, float]]:
        up = np.array([0, 0, 0.1])
        found = []
        for number, (block, mark) in enumerate(zip(self._blocks(), MARKS, strict=True)):
            way = [
                (12, block + up, 1.0),
                (20, block, 1.0),
                (26, block, 0.0),
                (34, block + up, 0.0),
                (50, mark + up, 0.0),
                (58, mark, 0.0),
                (62, mark, 1.0),
                (70, mark + up, 1.0),
            ]
            found += [(number * EACH + tick, *rest) for tick, *rest in way]
        return found
