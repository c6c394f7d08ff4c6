# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A camera made of MuJoCo's own ray caster: no OpenGL, display, GPU or system package.

One ray per pixel by `mj_multiRay`, shaded from the surface normals it returns. Noise, delay and
rate of a real camera are added by whoever publishes the images.
"""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

#: Share of a surface's colour seen everywhere, by the light above, and by the camera's own light.
AMBIENT, SUN, HEADLIGHT = 0.45, 0.35, 0.25
SUN_DIRECTION = np.array([0.35, 0.25, 0.90]) / np.linalg.norm([0.35, 0.25, 0.90])
#: Colour where no ray hits anything, RGB 0..255.
BACKGROUND = (90.0, 100.0, 110.0)
#: Of what a ray hits, m.
MAX_DISTANCE = 10.0


class RayCamera:
    """Renders one camera of a model that is fixed in the world.

    It works on its own copy of the state, so that a thread may render while another steps.

    :param camera: the name of a camera in the model.
    :param width: of the image, pixels.
    :param height: of the image, pixels.
    :ivar origin: where it is, m, (3,). :ivar rays: where its pixels look, unit (pixels, 3).
    :ivar seen: the number of the geom that each pixel of the last image shows; -1: none.
    :raises KeyError: there is no such camera.
    :raises ValueError: the camera moves with a body.
    """

    def __init__(
        self, model: mujoco.MjModel, camera: str = "front", width: int = 128, height: int = 128
    ) -> None:
        self._model = model
        self._data = mujoco.MjData(model)
        self.width, self.height = width, height
        index = model.camera(camera).id
        if model.cam_bodyid[index] != 0:
            raise ValueError(f"camera '{camera}' moves with a body")
        mujoco.mj_forward(model, self._data)
        self.origin = self._data.cam_xpos[index].copy()
        axes = self._data.cam_xmat[index].reshape(3, 3)

        focal = 0.5 * height / np.tan(np.deg2rad(model.cam_fovy[index]) / 2)
        right, down = np.meshgrid(
            (np.arange(width) + 0.5 - width / 2) / focal,
            (np.arange(height) + 0.5 - height / 2) / focal,
        )
        rays = np.stack([right, -down, -np.ones_like(right)], axis=-1).reshape(-1, 3)
        self.rays = (rays / np.linalg.norm(rays, axis=1, keepdims=True)) @ axes.T

        count = width * height
        self.seen = np.empty(count, dtype=np.int32)
        self._distance = np.empty(count)
        self._normal = np.empty((count, 3))
        # The last row is what geom id -1, a miss, picks: unshaded background.
        self._colour = np.vstack([model.geom_rgba[:, :3] * 255.0, BACKGROUND]).astype(np.float32)

    def render(self, qpos: NDArray[np.float64], *, without_body: int = -1) -> NDArray[np.uint8]:
        """The scene at the generalised positions `qpos`.

        :param without_body: id of a body to leave out of the picture; -1 for none.
        :returns: (height, width, 3) uint8 RGB.
        """
        data = self._data
        data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_multiRay(
            self._model,
            data,
            self.origin,
            self.rays.reshape(-1),
            None,
            True,
            without_body,
            self.seen,
            self._distance,
            self._normal.reshape(-1),
            len(self.rays),
            MAX_DISTANCE,
        )
        # einsum, not @: BLAS would wake its threads, and cores are scarce beside a policy.
        sun = np.clip(np.einsum("ij,j->i", self._normal, SUN_DIRECTION), 0.0, 1.0)
        headlight = np.clip(-np.einsum("ij,ij->i", self._normal, self.rays), 0.0, 1.0)
        light = (AMBIENT + SUN * sun + HEADLIGHT * headlight).astype(np.float32)
        light[self.seen < 0] = 1.0
        image = self._colour[self.seen] * light[:, None]
        return np.clip(image, 0.0, 255.0).astype(np.uint8).reshape(self.height, self.width, 3)
