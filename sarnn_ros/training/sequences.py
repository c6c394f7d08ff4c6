# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Episodes as padded tensors on the training device. No training logic.

Images stay uint8 until a frame is used: a quarter of the memory, and moving a frame costs little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class EpisodeArrays(Protocol):
    """What is needed of `data.episodes.Episode`."""

    @property
    def images(self) -> Mapping[str, NDArray[np.uint8]]: ...
    @property
    def joints(self) -> NDArray[np.float64]: ...
    @property
    def targets(self) -> NDArray[np.float64]: ...


class Normaliser(Protocol):
    """What is needed of `data.preprocess.JointNormaliser`."""

    def normalise(self, joints: NDArray[np.float64]) -> NDArray[np.float32]: ...


@dataclass
class Sequences:
    """E episodes padded to T ticks.

    images: per camera, uint8 (E, T, H, W, 3) RGB. joints, targets: float32 (E, T, D), normalised;
    targets[:, t] is what the prediction made at t should be. lengths: int64 (E,).
    """

    images: tuple[Tensor, ...]
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
        return [
            images[episodes, ticks].permute(0, 3, 1, 2).to(torch.float32) / 255
            for images in self.images
        ]

    def select(self, episodes: Tensor) -> Sequences:
        """Some of the episodes, (B, …)."""
        return Sequences(
            tuple(images[episodes] for images in self.images),
            self.joints[episodes],
            self.targets[episodes],
            self.lengths[episodes],
        )


def make_sequences(
    episodes: Sequence[EpisodeArrays],
    cameras: Sequence[str],
    normaliser: Normaliser,
    device: torch.device,
) -> Sequences:
    """Pad the episodes to the longest one and put them on `device`."""
    lengths = torch.tensor([len(episode.joints) for episode in episodes])
    longest = int(lengths.max())

    def pad(arrays: list[Tensor]) -> Tensor:
        padded = arrays[0].new_zeros((len(arrays), longest, *arrays[0].shape[1:]))
        for row, array in zip(padded, arrays, strict=True):
            row[: len(array)] = array
        return padded.to(device)

    return Sequences(
        tuple(
            pad([torch.from_numpy(np.array(episode.images[name])) for episode in episodes])
            for name in cameras
        ),
        pad([torch.from_numpy(normaliser.normalise(episode.joints)) for episode in episodes]),
        pad([torch.from_numpy(normaliser.normalise(episode.targets)) for episode in episodes]),
        lengths.to(device),
    )
