# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What cameras of MuJoCo show of a task, and cameras that stand elsewhere than they should."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

from benchmark.tasks.surfaces import Eye
from benchmark.tasks.task import Array, Image, Task


class Moved(NamedTuple):
    """How a camera was moved: `around` and `up` what it looks at in degrees, `aside` in m."""

    around: float = 0.0
    up: float = 0.0
    aside: float = 0.0


def free_camera(
    centre: Array, distance: float, azimuth: float, elevation: float, moved: Moved
) -> mujoco.MjvCamera:
    """One that looks at a centre, m, from a distance, m, by angles in degrees."""
    camera = mujoco.MjvCamera()
    camera.azimuth, camera.elevation = azimuth + moved.around, elevation - moved.up
    right = np.deg2rad(camera.azimuth) - np.pi / 2
    to_the_right = moved.aside * np.array([np.cos(right), np.sin(right), 0.0])
    camera.lookat[:], camera.distance = centre + to_the_right, distance
    return camera


def render(
    task: Task,
    renderer: mujoco.Renderer,
    model: mujoco.MjModel,
    data: mujoco.MjData,
    camera: mujoco.MjvCamera | str,
    option: mujoco.MjvOption | None = None,
) -> Image:
    """A camera's image of a task: its scene with its `things` and surfaces."""
    renderer.update_scene(data, camera, option)
    furnish(task, renderer.scene)
    image: Image = renderer.render().copy()
    if task.shown:
        renderer.enable_segmentation_rendering()
        seen = renderer.render()
        renderer.disable_segmentation_rendering()
        image = dress(task, image, model, seen, Eye.of(renderer.scene, *image.shape[1::-1]))
    return image


def furnish(task: Task, scene: mujoco.MjvScene) -> None:
    """Put a task's `things` into a scene that is about to be drawn."""
    for one in task.things(np.mean([eye.pos for eye in scene.camera], 0)):
        one.draw(scene)


def dress(task: Task, image: Image, model: mujoco.MjModel, seen: Array, eye: Eye) -> Image:
    """The image with what a task's table and wall show.

    :param seen: number and kind of what each pixel shows, (height, width, 2).
    """
    bodies = [model.body(body).name for body in model.geom_bodyid]
    table = np.array(["table" in name for name in bodies])
    world = model.geom_bodyid == 0
    geoms = seen[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM)
    number = np.where(geoms, seen[..., 0], 0)
    behind = (seen[..., 1] < 0) | (geoms & world[number])
    return task.shown.put(image, geoms & table[number], behind, task.table, eye)


class ModelCamera:
    """One of a model, fixed in the world.

    :param data: after a step of kinematics.
    :param centre: what it looks at, m.
    """

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, name: str, centre: Array
    ) -> None:
        self._camera, self._centre = model.camera(name), centre
        self._place = data.camera(name).xpos.copy()
        self._axes = data.camera(name).xmat.reshape(3, 3).copy()
        self._mode = model.cam_mode, self._camera.id

    def move(self, moved: Moved) -> None:
        modes, number = self._mode
        modes[number] = mujoco.mjtCamLight.mjCAMLIGHT_FIXED
        turn = _turn(np.array([0.0, 0.0, 1.0]), moved.around) @ _turn(self._axes[:, 0], -moved.up)
        axes, quaternion = turn @ self._axes, np.empty(4)
        mujoco.mju_mat2Quat(quaternion, axes.ravel())
        self._camera.quat[:] = quaternion
        there = self._centre + turn @ (self._place - self._centre) + moved.aside * axes[:, 0]
        self._camera.pos[:] = there


def _turn(axis: Array, degrees: float) -> Array:
    """Rotation matrix about an axis."""
    half = np.deg2rad(degrees) / 2
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, np.append(np.cos(half), np.sin(half) * axis))
    return matrix.reshape(3, 3)
