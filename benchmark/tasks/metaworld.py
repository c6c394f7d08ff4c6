# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Meta-World (Farama): tasks of a Sawyer. `PickPlace` is its environment pick-place-v3, and so on.

metaworld asks for MuJoCo 3.3.0 and works with the 3.3.7 of our extra `benchmark`. So it is put
beside that by `.venv-tasks/bin/pip install --no-deps metaworld==3.1.1`, and is no default task:

    .venv-tasks/bin/python -m benchmark.tasks --tasks benchmark.tasks.metaworld:Push

The environments' physics, initial positions, goals and rule of success (reached once) are used,
with two cameras of ours, as theirs are upside down, or do not see below the hand. State: the
hand's position in m and the gripper's opening, 0 to 1. Command: where the mocap body that pulls it
shall be, and the opening. Demonstrations: Meta-World's own experts, which look at the true state
at each of the environment's steps. They move at up to 0.8 m/s and need a second; hence 20 Hz.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE as ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP as EXPERTS

from benchmark.tasks.cameras import Moved, free_camera, render
from benchmark.tasks.task import Array, Image, Task

#: Environment steps of 12.5 ms in one tick, and what an action of 1 asks for in a step, m.
STEPS, STRIDE = 4, 0.01
#: Ticks for which a demonstration goes on after its success.
AFTERWARDS = 10
#: Of free cameras azimuth and elevation in degrees; of a camera of the model its name.
VIEWS: Mapping[str, tuple[float, float] | str] = {"front": (270.0, -40.0), "side": (180.0, -30.0)}
#: A group of geoms and sites that is not drawn.
UNSEEN = 5
#: What both cameras look at, m.
CENTRE = np.array([0.0, 0.65, 0.1])
EVERYTHING = mujoco.mjtState.mjSTATE_INTEGRATION


class MetaWorld(Task):
    rate = 20.0
    ticks = 75  # 300 steps, not 500: the experts need 46 to 250
    joints = ("x", "y", "z", "opening")
    views = VIEWS
    cameras: ClassVar[Mapping[str, tuple[int, int]]] = dict.fromkeys(VIEWS, (160, 120))
    ends_at_success = True
    environment: ClassVar[str]
    _moved = Moved()

    def __init__(self) -> None:
        self._env: Any = ENVIRONMENTS[f"{self.environment}-goal-observable"](seed=0)
        self._env.seeded_rand_vec, self._env._freeze_rand_vec = True, False
        self._expert = EXPERTS[self.environment]()
        model = self._model = self._env.model
        # Software rendering spends most of its time on this.
        model.vis.quality.shadowsize, model.vis.quality.offsamples = 1024, 0
        self._saved = np.zeros(mujoco.mj_stateSize(model, EVERYTHING))
        self._renderer: mujoco.Renderer | None = None
        self._groups = model.geom_group.copy(), model.site_group.copy()
        # What lies elsewhere in another episode is what `hide` hides.
        places = []
        for seed in (0, 1):
            MetaWorld.reset(self, seed)  # with the robot at its place (`starts.py` moves it)
            places.append((self._env.data.geom_xpos.copy(), self._env.data.site_xpos.copy()))
        self._vary = [np.abs(a - b).max(1) > 5e-3 for a, b in zip(*places)]

    def reset(self, seed: int) -> None:
        self._model.geom_group[:], self._model.site_group[:] = self._groups
        self._env.seed(seed)
        self._observed, _ = self._env.reset()
        mujoco.mj_forward(self._model, self._env.data)
        self._success = False

    def images(self) -> dict[str, Image]:
        width, height = next(iter(self.cameras.values()))
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self._model, height, width)
        images = {}
        for name, view in self.views.items():
            camera = (
                view if isinstance(view, str) else free_camera(CENTRE, 1.3, *view, self._moved)
            )
            images[name] = render(self, self._renderer, self._model, self._env.data, camera)
        return images

    def move_cameras(self, around: float, up: float, aside: float) -> None:
        self._moved = Moved(around, up, aside)

    def move_object(self, x: float, y: float) -> None:
        joints = [self._model.joint(number) for number in range(self._model.njnt)]
        found = [one for one in joints if one.name in ("objjoint", "obj_joint")]
        if not found:
            super().move_object(x, y)
        first = int(found[0].qposadr[0])
        self._env.data.qpos[first : first + 2] += x, y

    def state(self) -> Array:
        return np.array(self._observed[:4])

    def step(self, command: Array) -> None:
        for left in range(STEPS, 0, -1):
            way = (command[:3] - self._env.data.mocap_pos[0]) / left
            self._act(np.append(way / STRIDE, 1 - 2 * command[3]))

    def _act(self, action: Array) -> None:
        self._observed, *_, info = self._env.step(np.clip(action, -1, 1))
        self._success |= bool(info["success"])

    def success(self) -> bool:
        return self._success

    def script(self) -> Iterator[Array]:
        """The expert acts for a tick; where that ends is the command, and it is undone."""
        env, after = self._env, 0
        while after < AFTERWARDS and env.curr_path_length < self.ticks * STEPS:
            mujoco.mj_getState(self._model, env.data, self._saved, EVERYTHING)
            before = self._observed, self._success, env.curr_path_length
            for _ in range(STEPS):
                action = self._expert.get_action(self._observed.copy())
                self._act(action)
            command = np.append(env.data.mocap_pos[0], (1 - np.clip(action[3], -1, 1)) / 2)
            mujoco.mj_setState(self._model, env.data, self._saved, EVERYTHING)
            mujoco.mj_forward(self._model, env.data)
            self._observed, self._success, env.curr_path_length = before
            yield command
            after += self._success

    def positions(self) -> Array:
        return np.array(self._env._last_rand_vec)

    def target(self) -> Array:
        return self.positions()[:3]

    def hide(self) -> None:
        for groups, vary in zip((self._model.geom_group, self._model.site_group), self._vary):
            groups[vary] = UNSEEN


def __getattr__(name: str) -> type[MetaWorld]:
    """The class of a task, made when it is asked for."""
    words = [word.lower() for word in re.findall("[A-Z][a-z]*", name)]
    environment = "-".join([*words, "v3"])
    if environment not in EXPERTS:
        raise AttributeError(f"Meta-World has no environment {environment!r}.")
    attributes = {"name": "_".join(["metaworld", *words]), "environment": environment}
    return type(name, (MetaWorld,), attributes)
