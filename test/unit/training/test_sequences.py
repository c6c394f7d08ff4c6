# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that stay in files: the right ones, and hardly any memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.training.sequences import StoredFrames, make_sequences

MakeTask = Callable[..., Dataset]
CPU = torch.device("cpu")


def test_frames_are_those_of_the_episodes(make_task: MakeTask) -> None:
    dataset = make_task([9, 5, 1], sizes=((16, 14), (12, 18)))
    stored = make_sequences(dataset, (0, 1, 2), CPU)
    episodes, ticks = [1, 0, 2, 0], [4, 8, 0, 3]
    found = stored.frames(torch.tensor(episodes), torch.tensor(ticks))
    for camera, frames in zip(dataset.spec.cameras, found, strict=True):
        for row, (episode, tick) in enumerate(zip(episodes, ticks, strict=True)):
            pixels = dataset.episodes[episode].images[camera.name][tick]
            shown = (frames[row] * 255).round().byte().permute(1, 2, 0)
            np.testing.assert_array_equal(shown.numpy(), pixels)
    with pytest.raises(IndexError):
        stored.frames(torch.tensor([1]), torch.tensor([5]))


def test_frames_in_files_take_no_memory(tmp_path: Path) -> None:
    """400 MB of zeros; the file is sparse."""
    shape = (4000, 200, 167, 3)
    pixels = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.uint8, shape)

    def resident() -> int:
        """Bytes, those of mapped files too: they are not freed before memory is short."""
        return int(psutil.Process().memory_info().rss)

    before = resident()
    stored = StoredFrames([pixels], CPU)
    for ticks in torch.arange(4000).split(50):
        stored[torch.zeros_like(ticks), ticks]
    assert resident() - before < 100 << 20
    held = np.array(pixels) + 1
    assert resident() - before > 300 << 20, "the measure would have seen it"
    assert len(held) == 4000
