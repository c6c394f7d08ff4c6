# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Registration of the simulator's camera, in whose picture the arm is most of what has edges."""

from __future__ import annotations

import cv2
import mujoco
import numpy as np
import pytest

from benchmark.tasks.cameras import ModelCamera, Moved
from sarnn_ros.sim.camera import RayCamera
from sarnn_ros.sim.scene import LiftScene
from sarnn_ros.streams.registration import MAX_UNCERTAINTY, make_reference, mapped, register


def test_an_arm_that_stands_elsewhere_is_no_moved_camera() -> None:
    scene, rng = LiftScene(), np.random.default_rng(0)

    def shot(away: float = 0.0) -> np.ndarray:
        scene.reset(0.42, rng.uniform(-0.2, 0.2))
        state = scene.data.qpos.copy()
        for place, (low, high) in zip(scene._qpos, scene.limits):
            state[place] = np.clip(state[place] + rng.uniform(-away, away), low, high)
        return scene.camera.render(state)

    reference = make_reference([shot() for _ in range(12)], (128, 128))
    for _ in range(12):
        found = register(shot(away=0.8), reference)
        assert found is not None and found.displacement < 0.005
    for right, down in ((6.0, 0.0), (-12.0, 3.0), (3.0, -5.0)):
        moved = np.array([[1.0, 0.0, right], [0.0, 1.0, down], [0.0, 0.0, 1.0]])
        image = cv2.warpPerspective(
            shot(), moved, (128, 128), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        found = register(image, reference)
        assert found is not None and np.allclose(found.matrix[:, 2], moved[:, 2], atol=2.0)


def test_a_cube_that_is_missing_is_no_moved_camera() -> None:
    scene, rng = LiftScene(), np.random.default_rng(0)

    def shot(hidden: bool = False) -> np.ndarray:
        scene.reset(0.42, rng.uniform(-0.2, 0.2))
        return scene.render(hide_cube=hidden)

    reference = make_reference([shot() for _ in range(12)], (128, 128))
    usual = register(shot(), reference)
    assert usual is not None
    for _ in range(6):
        found = register(shot(hidden=True), reference, None, reference.sure(usual.correlation))
        assert found is not None and found.displacement < 0.005


def pixel(scene: LiftScene, place: np.ndarray) -> np.ndarray:
    """Where the camera shows a place (3,), m: (2,)."""
    camera, matrix = scene.model.camera("front"), np.empty(9)
    mujoco.mju_quat2Mat(matrix, camera.quat.copy())
    x, y, z = matrix.reshape(3, 3).T @ (place - camera.pos)
    focal = 64 / np.tan(np.deg2rad(scene.model.cam_fovy[camera.id]) / 2)
    return np.array([63.5 - focal * x / z, 63.5 + focal * y / z])


@pytest.mark.parametrize(
    ("degrees", "aside"),
    [(2.0, 0.0), (4.0, 0.0), (-4.0, 0.0), (6.0, 0.0), (-6.0, 0.0), (0.0, 0.02), (0.0, 0.06)],
)
def test_around_the_cube_there_is_nothing_that_tells_where_a_camera_went(
    degrees: float, aside: float
) -> None:
    """Wall and arm do, and they are at another depth: by them the cube was 2 to 20 % off."""
    rng = np.random.default_rng(2)
    scene = LiftScene()

    def shot() -> np.ndarray:
        scene.reset(rng.uniform(0.32, 0.46), rng.uniform(-0.1, 0.1), 0.0)
        return scene.render()

    cubes = [np.array([x, y, 0.02]) for x in (0.32, 0.46) for y in (-0.1, 0.1)]
    reference = make_reference([shot() for _ in range(12)], (128, 128))
    assert reference.plain
    then = np.array([pixel(scene, cube) for cube in cubes])
    camera = ModelCamera(scene.model, scene.data, "front", np.array([0.42, 0.0, 0.05]))
    camera.move(Moved(degrees, 0.0, aside))
    scene.camera = RayCamera(scene.model, "front", 128, 128)
    now = np.array([pixel(scene, cube) for cube in cubes])
    for _ in range(4):
        found = register(shot(), reference)
        told = found is not None and found.uncertainty <= MAX_UNCERTAINTY
        assert told == ((degrees, aside) in [(2.0, 0.0), (0.0, 0.02)])
        if told:
            off = np.linalg.norm(mapped(found.matrix, now) - then, axis=1)
            assert off.max() < 0.01 * 128
