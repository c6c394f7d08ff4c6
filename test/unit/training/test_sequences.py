# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Frames that stay in files: the right ones, and hardly any memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.data.differences import MIN_JOINT_RANGE
from sarnn_ros.spec import parse_spec
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.training.explained import motion_weights
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


def test_a_joint_that_hardly_moves_and_a_force_are_no_motion(make_task: MakeTask) -> None:
    """A millimetre of noise would count as a joint that goes its whole way."""
    dataset = make_task([9, 9, 9])
    width = dataset.normaliser.maximum - dataset.normaliser.minimum
    assert (width > MIN_JOINT_RANGE).all()
    usual = make_sequences(dataset, (0, 1, 2), CPU)
    assert (usual.weights == 1).all()
    noisy = JointNormaliser(
        dataset.normaliser.minimum,
        dataset.normaliser.minimum + np.append(0.1 * MIN_JOINT_RANGE, width[1:]),
        dataset.spec.joint_range,
    )
    found = make_sequences(replace(dataset, normaliser=noisy), (0, 1, 2), CPU).weights
    np.testing.assert_allclose(found, [0.1, *usual.weights[1:]])
    names = dataset.spec.joint_labels
    forces = parse_spec(
        {
            "cameras": [{"name": "front"}],
            "joints": [
                {"names": list(names)},
                {"names": list(names), "topic": "f", "field": "effort", "command": False},
            ],
        }
    )
    double = JointNormaliser(
        np.tile(dataset.normaliser.minimum, 2), np.tile(dataset.normaliser.maximum, 2), (0, 1)
    )
    assert motion_weights(double, forces).tolist() == [1] * len(names) + [0] * len(names)

    less = replace(usual, weights=np.append(0.0, usual.weights[1:]))
    assert not less.wanted[..., 0].any() and usual.wanted[..., 0].any()
    np.testing.assert_array_equal(less.wanted[..., 1:], usual.wanted[..., 1:])
    assert not less.first_states()[:, 0].any() and usual.first_states()[:, 0].any()
