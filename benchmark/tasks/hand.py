# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The same tasks with a camera on the hand, beside an outer one, or alone.

`PickAndPlace` has the camera "front" and one on the hand, `PickAndPlaceHand` only the latter,
`PickAndPlaceOuter` only "front"; so with the other tasks:

    .venv-tasks/bin/python -m benchmark.tasks --tasks benchmark.tasks.hand:PickAndPlace
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from benchmark.tasks.clutter import find
from benchmark.tasks.task import Task

#: The cameras on the hands in each module's models. Aloha's look at the fingers from behind.
HANDS = {
    "fetch": ("gripper_camera_rgb",),
    "metaworld": ("gripperPOV",),
    "aloha": ("left_wrist", "right_wrist"),
}
#: Where Fetch's is put, in its own frame, m, as there it is inside the hand: between the hand
#: and the robot, above the fingers; at what it looks, below them; and its field of view, degrees.
FETCH_AT, FETCH_LOOKS_AT, FETCH_VIEW = (0.02, 0.11, -0.13), (0.02, 0.02, -0.015), 70.0
SIZE = 160, 120
OUTER, ALONE = "Outer", "Hand"


class FetchHand(Task):
    """Fetch with its camera beside the hand."""

    _model: mujoco.MjModel

    def __init__(self) -> None:
        super().__init__()
        model = self._model
        camera = model.camera(HANDS["fetch"][0]).id
        backwards = np.subtract(FETCH_AT, FETCH_LOOKS_AT)
        backwards /= np.linalg.norm(backwards)
        # The robot's forward is -y here, and down +z: the hand is below in the image.
        right = np.cross((0.0, 1.0, 0.0), backwards)
        right /= np.linalg.norm(right)
        turned = np.stack([right, np.cross(backwards, right), backwards], 1)
        model.cam_pos[camera], model.cam_fovy[camera] = FETCH_AT, FETCH_VIEW
        mujoco.mju_mat2Quat(model.cam_quat[camera], turned.ravel())


def __getattr__(name: str) -> type[Task]:
    """The class of a task, made when it is asked for."""
    which = next((one for one in (OUTER, ALONE) if name.endswith(one)), "")
    base = name.removesuffix(which)
    where, kind = find(base)
    if where not in HANDS:
        raise AttributeError(name)
    outer = next(iter(kind.cameras))
    kept = [*([outer] * (which != ALONE)), *(HANDS[where] * (which != OUTER))]
    views: Mapping[str, Any] = getattr(kind, "views", {})
    attributes = {
        "name": f"{kind.name}_hand" + (f"_{which.lower()}" if which else ""),
        "views": {camera: views.get(camera, camera) for camera in kept},
        "cameras": {camera: kind.cameras.get(camera, SIZE) for camera in kept},
    }
    bases = (FetchHand, kind) if where == "fetch" else (kind,)
    made: type[Task] = type(name, bases, attributes)
    return made
