# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A small task to train on: a white square moves, and the joints follow where it is."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sarnn_ros.data.dataset import Dataset, Episode, make_dataset
from sarnn_ros.spec import CameraSpec, JointSource, Spec

MakeDataset = Callable[..., Dataset]


def make_episode(name: str, length: int, seed: int, cameras: Sequence[CameraSpec]) -> Episode:
    """`length` ticks; the square starts anywhere and moves on at its own speed."""
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform(0.2, 0.5, 2), rng.uniform(-0.02, 0.04, 2)
    places = start + np.arange(length)[:, None] * speed
    images = {}
    for camera in cameras:
        images[camera.name] = np.full((length, camera.height, camera.width, 3), 40, np.uint8)
        for image, (x, y) in zip(images[camera.name], places, strict=True):
            column, row = int(x * camera.width), int(y * camera.height)
            image[row : row + 3, column : column + 3] = 230
    joints = np.column_stack([places, places.sum(1)])
    return as_episode(name, images, joints, cameras, f"{name}-{seed}-{length}")


def as_episode(
    name: str,
    images: dict[str, NDArray[np.uint8]],
    joints: NDArray[np.float64],
    cameras: Sequence[CameraSpec],
    digest: str,
) -> Episode:
    """At 10 Hz; the targets are the joints of the next tick."""
    return Episode(
        name=name,
        ticks=np.arange(len(joints), dtype=np.int64) * 100_000_000,
        images=images,
        joints=joints,
        targets=np.concatenate([joints[1:], joints[-1:]]),
        source_sizes={camera.name: (camera.width, camera.height) for camera in cameras},
        digest=digest,
    )


@pytest.fixture(scope="session")
def make_task() -> MakeDataset:
    """Call with the episodes' lengths; `sizes` are (width, height) per camera."""

    def make(
        lengths: Sequence[int] = (9, 9, 9, 9, 9),
        *,
        seed: int = 0,
        validation: float = 0.2,
        sizes: Sequence[tuple[int, int]] = ((16, 14),),
    ) -> Dataset:
        cameras = tuple(
            CameraSpec(name=f"camera{index}", topic=f"image{index}", width=width, height=height)
            for index, (width, height) in enumerate(sizes)
        )
        spec = Spec(cameras=cameras, joints=(JointSource(names=("a", "b", "c")),))
        episodes = [
            make_episode(f"e{index}", length, seed * 100 + index, cameras)
            for index, length in enumerate(lengths)
        ]
        return make_dataset(spec, episodes, [], validation=validation, seed=0)

    return make


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """The networks here are far too small for more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def reference_sarnn() -> ModuleType:
    """benchmark/reference_sarnn.py, which is no package."""
    path = Path(__file__).parents[2] / "benchmark" / "reference_sarnn.py"
    spec = importlib.util.spec_from_file_location("reference_sarnn", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
