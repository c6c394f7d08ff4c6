# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Closed-loop trials of a policy, or of a control, on a task."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.tasks.task import Image, Task
from sarnn_ros.sim.driver import Driver
from sarnn_ros.sim.task import Vision
from sarnn_ros.spec import NANOSECONDS, Spec
from sarnn_ros.streams.observe import Observation
from sarnn_ros.streams.preprocess import crop_resize


def observe(task: Task, spec: Spec, tick: int, images: dict[str, Image]) -> Observation:
    """What a policy with this spec sees of the task now."""
    return Observation(
        tick_ns=round(tick * NANOSECONDS / task.rate),
        images={camera.name: crop_resize(images[camera.name], camera) for camera in spec.cameras},
        state=task.state(),
        stamps={},
        sources=images,
    )


def rollout(
    task: Task,
    driver: Driver,
    spec: Spec,
    seed: int,
    vision: Vision = "live",
    film: list[tuple[dict[str, Image], Any]] | None = None,
) -> bool:
    """One trial.

    :param seed: decides where the objects lie.
    :param vision: `hidden`: the objects are invisible; `frozen`: only the first image is seen.
    :param film: gets, per tick, what the cameras saw and what was predicted.
    :returns: whether it succeeded.
    """
    task.reset(seed)
    driver.reset()
    if vision == "hidden":
        task.hide()
    images = task.images()
    for tick in range(task.ticks):
        if tick and vision != "frozen":
            images = task.images()
        prediction = driver.step(observe(task, spec, tick, images))
        if film is not None:
            film.append((images, prediction))
        task.step(np.asarray(prediction.action, np.float64))
        if task.ends_at_success and task.success():
            return True
    return task.success()
