# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Episodes as padded tensors on the training device. No training logic.

Images stay uint8 until a frame is used: a quarter of the memory, and moving a frame costs little.
Those that would not fit stay where the data set has them, in the cache's memory-mapped files, and
are read frame by frame: the same values, and so the same training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sarnn_ros.streams.preprocess import unit_images


class EpisodeArrays(Protocol):
    """What is needed of `data.dataset.Episode`."""

    @property
    def name(self) -> str: ...
    @property
    def images(self) -> Mapping[str, NDArray[np.uint8]]: ...
    @property
    def joints(self) -> NDArray[np.float64]: ...
    @property
    def targets(self) -> NDArray[np.float64]: ...


class Normaliser(Protocol):
    """What is needed of `streams.preprocess.JointNormaliser`."""

    def normalise(self, joints: NDArray[np.float64]) -> NDArray[np.float32]: ...


class StoredFrames:
    """One camera's frames of E episodes where they are: to be indexed like the padded tensor, but
    for a tick that its episode has not, and holding no memory.

    :param arrays: per episode, uint8 (T, H, W, 3) RGB, all of one size; may be memory-mapped.
    :param device: where frames that are taken go.
    """

    nbytes = 0

    def __init__(self, arrays: Sequence[NDArray[np.uint8]], device: torch.device) -> None:
        self._arrays = arrays
        self._device = device

    def __getitem__(self, index: tuple[Tensor, Tensor]) -> Tensor:
        """The frames [episodes, ticks], uint8 (N, H, W, 3).

        :raises IndexError: beyond the end of an episode.
        """
        episodes, ticks = index
        # A GPU fetches pinned memory by itself while the next thing is prepared.
        pinned = self._device.type == "cuda"
        shape = (len(ticks), *self._arrays[0].shape[1:])
        frames = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        pixels = frames.numpy()
        for row, (episode, tick) in enumerate(zip(episodes.tolist(), ticks.tolist(), strict=True)):
            pixels[row] = self._arrays[episode][tick]
        return frames.to(self._device, non_blocking=pinned)


@dataclass
class Sequences:
    """E episodes padded to T ticks.

    names: of the episodes. images: per camera, uint8 (E, T, H, W, 3) RGB. joints, targets:
    float32 (E, T, D), normalised; targets[:, t] is what the prediction made at t should be.
    lengths: int64 (E,).
    """

    names: tuple[str, ...]
    images: tuple[Tensor | StoredFrames, ...]
    joints: Tensor
    targets: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def ticks(self) -> int:
        return self.joints.shape[1]

    def steps(self, less: int = 1) -> Tensor:
        """Which ticks t have a tick t + less, bool (E, T - less): the unpadded part."""
        ticks = torch.arange(self.ticks - less, device=self.lengths.device)
        return ticks < (self.lengths - less).unsqueeze(1)

    def frames(self, episodes: Tensor, ticks: Tensor) -> list[Tensor]:
        """The frames [episodes, ticks], float32 (N, 3, H, W) in [0, 1], one tensor per camera.

        Their memory is channels-last, which CPU convolutions are faster with.
        """
        return [unit_images(images[episodes, ticks]) for images in self.images]


def make_sequences(
    episodes: Sequence[EpisodeArrays],
    cameras: Sequence[str],
    normaliser: Normaliser,
    device: torch.device,
    budget: int,
) -> Sequences:
    """Pad the episodes to the longest one and put them on `device`.

    :param budget: bytes that the padded images may take. If they would take more they stay where
        they are (`StoredFrames`).
    """
    lengths = torch.tensor([len(episode.joints) for episode in episodes])
    longest = int(lengths.max())

    def pad(arrays: Sequence[NDArray[Any]], dtype: torch.dtype) -> Tensor:
        shape = (len(arrays), longest, *arrays[0].shape[1:])
        padded = torch.zeros(shape, dtype=dtype, device=device)
        for row, array in zip(padded, arrays, strict=True):
            row[: len(array)] = torch.from_numpy(np.array(array))  # one episode twice in memory
        return padded

    images = {name: [episode.images[name] for episode in episodes] for name in cameras}
    padded = [len(arrays) * longest * arrays[0][0].nbytes for arrays in images.values()]

    def place(arrays: list[NDArray[np.uint8]]) -> Tensor | StoredFrames:
        if sum(padded) > budget:
            return StoredFrames(arrays, device)
        return pad(arrays, torch.uint8)

    return Sequences(
        tuple(episode.name for episode in episodes),
        tuple(place(arrays) for arrays in images.values()),
        pad([normaliser.normalise(episode.joints) for episode in episodes], torch.float32),
        pad([normaliser.normalise(episode.targets) for episode in episodes], torch.float32),
        lengths.to(device),
    )
