# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Closed-loop trials of a policy, or of a control, on a task, by `sarnn_ros.interop.gym`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.tasks.robot import Robot
from benchmark.tasks.task import Array, Image, Task
from sarnn_ros.interop import gym
from sarnn_ros.sim.rollout import Driver
from sarnn_ros.sim.task import Vision
from sarnn_ros.spec import Spec
from sarnn_ros.streams.observe import Observation
from sarnn_ros.streams.preprocess import crop_resize

Seen = tuple[dict[str, Image], Array]


class Episode:
    """A task as an environment for `gym.rollout` and `gym.record`: images and state are observed.

    :param vision: `hidden`: the objects are invisible; `frozen`: only the first image is seen.
    :param scripted: ends with the task's script; else after `Task.ticks`, or at success.
    :ivar command: the script's at this tick.
    """

    def __init__(self, task: Task, vision: Vision = "live", scripted: bool = False) -> None:
        self._task, self._vision, self._scripted = task, vision, scripted

    def reset(self, *, seed: int | None = None) -> tuple[Seen, dict[str, Any]]:
        assert seed is not None
        self._task.reset(seed)
        if self._vision == "hidden":
            self._task.hide()
        self._images = self._task.images()
        self._ticks = self._task.script() if self._scripted else iter(range(self._task.ticks))
        self.command: Any = next(self._ticks)
        return (self._images, self._task.state()), {}

    def step(self, action: Array, /) -> tuple[Seen, float, bool, bool, dict[str, Any]]:
        task = self._task
        task.step(action)
        self.command = next(self._ticks, None)
        if self._vision != "frozen":
            self._images = task.images()
        success, over = task.success(), self.command is None
        fulfilled = success and task.ends_at_success and not self._scripted
        info = {"is_success": success} if fulfilled or over else {}
        return (self._images, task.state()), 0.0, fulfilled, over, info


class Watched:
    """A driver for `gym.rollout`, whose predictions are kept with what the cameras saw."""

    def __init__(self, driver: Driver, spec: Spec, film: list[Any]) -> None:
        self.spec, self._driver, self._film = spec, driver, film

    def reset(self) -> None:
        self._driver.reset()

    def step(self, images: Mapping[str, Image], state: Array, /) -> tuple[Array, dict[str, Array]]:
        small = {one.name: crop_resize(images[one.name], one) for one in self.spec.cameras}
        prediction = self._driver.step(Observation(0, small, state, {}, images))
        self._film.append((images, prediction))
        return prediction.action, {}


def rollout(
    task: Task,
    driver: Driver | Robot,
    spec: Spec,
    seed: int,
    vision: Vision = "live",
    film: list[tuple[dict[str, Image], Any]] | None = None,
) -> bool:
    """One trial.

    :param seed: decides where the objects lie.
    :param film: gets, per tick, what the cameras saw and what was predicted; not of a `Robot`.
    :returns: whether it succeeded.
    """
    if not isinstance(driver, Robot):
        driver = Watched(driver, spec, [] if film is None else film)
    outcome = gym.rollout(
        Episode(task, vision), driver, rate=task.rate, seed=seed, observe=lambda seen: seen
    )
    return bool(outcome.success)
