# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The film of a trial."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from benchmark.tasks.film import MOMENTS, write_film
from sarnn_ros.policy.runtime import Prediction
from sarnn_ros.spec import CameraSpec, JointSource, Spec


def test_cameras_of_different_sizes_are_one_below_the_other(tmp_path: Path) -> None:
    sizes = {"top": (640, 480), "wrist": (480, 640)}
    cameras = tuple(CameraSpec(name=name, topic=name, width=64, height=48) for name in sizes)
    spec = Spec(cameras=cameras, joints=(JointSource(names=("a",)),))
    images = {
        name: np.full((height, width, 3), 200, np.uint8) for name, (width, height) in sizes.items()
    }
    points = dict.fromkeys(sizes, np.full((2, 2), 0.5))
    trial = [(images, Prediction(np.zeros(1), points, points))] * MOMENTS
    write_film(trial, spec, 10.0, 1, tmp_path / "trial")
    picture = cv2.imread(str(tmp_path / "trial.png"))
    assert picture.shape == (480 + 640, MOMENTS * 640, 3)
    assert (tmp_path / "trial.mp4").stat().st_size > 0
