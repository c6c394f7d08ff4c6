# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Joints that bring the hand of a MuJoCo arm to a place."""

from __future__ import annotations

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from benchmark.tasks.task import Array

DAMPING, STEPS = 1e-4, 20


def about_vertical(turn: float) -> Array:
    """(3, 3): a turn by so much, rad."""
    return cv2.Rodrigues(np.array([0.0, 0.0, turn]))[0]


class Arm:
    """:param site: on its hand.
    :param joints: the indices of its joints, which are those of its degrees of freedom, too.
    """

    def __init__(self, model: mujoco.MjModel, site: int, joints: NDArray[np.int64]) -> None:
        self._model, self._site, self._joints = model, site, joints
        self._scratch = mujoco.MjData(model)

    def reach(self, qpos: Array, begin: Array, place: Array, turned: Array) -> Array:
        """Damped least squares.

        :param qpos: of everything.
        :param begin: the arm's joints to begin with, rad.
        :param place: (3,), m.
        :param turned: (3, 3), how the site is then.
        :return: rad.
        """
        model, data, arm = self._model, self._scratch, self._joints
        data.qpos[:] = qpos
        data.qpos[arm] = begin
        jacobian = np.empty((6, model.nv))
        for _ in range(STEPS):
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], self._site)
            hand = data.site_xmat[self._site].reshape(3, 3)
            off = cv2.Rodrigues(turned @ hand.T)[0][:, 0]
            left = np.append(place - data.site_xpos[self._site], off)
            part = jacobian[:, arm]
            data.qpos[arm] += part.T @ np.linalg.solve(part @ part.T + DAMPING * np.eye(6), left)
        return np.array(data.qpos[arm])
