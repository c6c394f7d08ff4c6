# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras of MuJoCo that stand elsewhere than they should."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

from benchmark.tasks.task import Array


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
