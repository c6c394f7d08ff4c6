# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A small task whose attention can be searched for: a square decides where the arm goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from training_fixtures import as_episode

from sarnn_ros.data.dataset import Dataset, make_dataset
from sarnn_ros.spec import CameraSpec, JointSource, Spec
from sarnn_ros.training.config import TrainConfig, make_config

SIZES = ((24, 20), (20, 20))


def reach(
    count: int = 25,
    *,
    permuted: bool = False,
    starts: float = 0.0,
    shown: int = 0,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> Dataset:
    """Two joints go from rest to where a red square lies; a robot, alike in all episodes, stands
    in a cluttered background. Only the last camera shows the square.

    :param starts: they go from anywhere in this range instead, and a grey hand with them.
    :param shown: the tick from which the square is shown; they rest until then."""
    rng = np.random.default_rng(0)
    cameras = tuple(
        CameraSpec(name=f"camera{index}", topic=f"image{index}", width=width, height=height)
        for index, (width, height) in enumerate(sizes)
    )
    spec = Spec(cameras=cameras, joints=(JointSource(names=("a", "b")),))
    backgrounds = [rng.integers(0, 120, (camera.height, camera.width, 3)) for camera in cameras]
    places = rng.uniform(0.1, 0.8, (count, 2))
    goals = np.roll(places, 7, axis=0) if permuted else places
    froms = starts * np.random.default_rng(1).uniform(size=(count, 2))
    episodes = []
    for index in range(count):
        length = 12 + index % 2
        images = {}
        since = np.maximum(np.arange(length) - shown, 0)
        done = np.minimum(since / (8 - shown), 1)[:, None] ** 2
        joints = froms[index] + done * (goals[index] - froms[index])
        for camera, background in zip(cameras, backgrounds, strict=True):
            frames = np.repeat(background[None], length, axis=0)
            frames = np.clip(frames + rng.integers(-8, 8, frames.shape), 0, 255).astype(np.uint8)
            if starts:
                for frame, (x, y) in zip(frames, joints * (camera.width - 6, camera.height - 6)):
                    frame[int(y) : int(y) + 6, int(x) : int(x) + 6] = (150, 150, 150)
            if camera is cameras[-1]:
                column, row = (places[index] * (camera.width - 4, camera.height - 4)).astype(int)
                frames[shown:, row : row + 4, column : column + 4] = (230, 30, 30)
            images[camera.name] = frames
        episodes.append(as_episode(f"e{index}", images, joints, cameras, f"e{index}"))
    return make_dataset(spec, episodes, [], validation=0.2, seed=0)


def config(**settings: Any) -> TrainConfig:
    values = {"attention": "search", "k_dim": 2, "rec_dim": 16, "threads": 1, "device": "cpu",
              "epochs": 12, "inner_steps": 20, "image_frames": 4, "learning_rate": 5e-3,
              "validate_every": 4, "brightness": 0.1, "contrast": 0.1}  # fmt: skip
    return make_config({**values, **settings})
