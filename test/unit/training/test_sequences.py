# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that stay in files: the same values, and hardly any memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.training.sequences import Sequences, StoredFrames, make_sequences

MakeTask = Callable[..., Dataset]
CPU = torch.device("cpu")


def sequences(dataset: Dataset, budget: int) -> Sequences:
    cameras = [camera.name for camera in dataset.spec.cameras]
    return make_sequences(dataset.episodes, cameras, dataset.normaliser, CPU, budget)


def test_frames_are_the_same_wherever_they_are_kept(make_task: MakeTask) -> None:
    dataset = make_task([9, 5, 1], sizes=((16, 14), (12, 18)))
    size = 3 * 9 * 3 * (16 * 14 + 12 * 18)  # padded to the longest episode
    held, stored = sequences(dataset, size), sequences(dataset, size - 1)
    assert all(isinstance(images, torch.Tensor) for images in held.images)
    assert all(isinstance(images, StoredFrames) for images in stored.images)
    episodes, ticks = torch.tensor([1, 0, 2, 0]), torch.tensor([4, 8, 0, 3])
    pairs = zip(held.frames(episodes, ticks), stored.frames(episodes, ticks), strict=True)
    for one, other in pairs:
        assert torch.equal(one, other)
    with pytest.raises(IndexError):
        stored.frames(torch.tensor([1]), torch.tensor([5]))


def test_frames_in_files_take_no_memory(tmp_path: Path) -> None:
    class Big:
        """400 MB of zeros; the file is sparse."""

        name = "big"

        def __init__(self) -> None:
            shape = (4000, 200, 167, 3)
            pixels = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.uint8, shape)
            self.images = {"front": pixels}
            self.joints = self.targets = np.zeros((4000, 2))

    def anonymous() -> int:
        """What cannot be dropped and read again, bytes."""
        memory = psutil.Process().memory_info()
        return int(memory.rss - memory.shared)

    normaliser = JointNormaliser(np.zeros(2), np.ones(2), (0.0, 1.0))
    before = anonymous()
    stored = make_sequences([Big()], ["front"], normaliser, CPU, budget=100 << 20)
    for ticks in torch.arange(4000).split(50):
        stored.frames(torch.zeros_like(ticks), ticks)
    assert anonymous() - before < 100 << 20
    held = make_sequences([Big()], ["front"], normaliser, CPU, budget=1 << 30)
    assert anonymous() - before > 300 << 20, "the measure would have seen it"
    assert len(held) == 1


def test_held_frames_are_copied_episode_by_episode(make_task: MakeTask) -> None:
    """Beside what is held there is never more than one episode (NumPy's memory is traced)."""
    dataset = make_task([40] * 20, sizes=((40, 40),))
    tracemalloc.start()
    try:
        sequences(dataset, 1 << 30)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    episode = dataset.episodes[0].images["camera0"].nbytes
    assert episode <= peak < 2 * episode
