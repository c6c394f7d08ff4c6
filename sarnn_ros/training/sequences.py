# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Episodes as padded tensors on the training device. No training logic.

Images stay uint8 until a frame is used. On the CPU, and if they do not fit on a GPU, they stay
where the data set has them, usually in the cache's memory-mapped files, and are read frame by
frame: the operating system keeps in memory what fits, and the process itself grows by none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sarnn_ros.data.dataset import Dataset, release
from sarnn_ros.spec import Spec
from sarnn_ros.streams.preprocess import to_range, unit_images
from sarnn_ros.training.completions import Run, complete
from sarnn_ros.training.expected_places import Told, tell
from sarnn_ros.training.explained import (
    REGRESSION_SAMPLES,
    Starts,
    first_shares,
    motion_weights,
    trajectories,
)
from sarnn_ros.training.pace import aligned_at, compare_paces
from sarnn_ros.training.recipe import is_few

#: Of what a person does after taking over, so much of a mean demonstration is not learnt: how they
#: leave where the policy had gone wrong. Runs that went well are not among those that were
#: corrected, so policies learnt to leave at that time, whether they were right or wrong. Fetch's
#: push, ten demonstrations and ten corrections, one seed: 22 of 50 for 10. Of a takeover within
#: that time all is learnt: the policy has hardly gone anywhere.
LEAVING_SHARE = 0.2


class StoredFrames:
    """One camera's frames of E episodes where they are: takes no memory. Indexed like the padded
    tensor, except that a tick beyond the end of its episode is an error.

    :param arrays: per episode, uint8 (T, H, W, 3) RGB, all of one size; may be memory-mapped.
    :param device: where frames that are taken go.
    """

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
        pixels, numbers = frames.numpy(), episodes.tolist()
        for row, (episode, tick) in enumerate(zip(numbers, ticks.tolist(), strict=True)):
            pixels[row] = self._arrays[episode][tick]
        for episode in set(numbers):
            release(self._arrays[episode])
        return frames.to(self._device, non_blocking=pinned)


class Scenes(NamedTuple):
    """Episodes of which it is known how what is to be seen differs.

    :ivar episodes: their numbers, (E,), demonstrations first.
    :ivar wanted: trajectories of their motions, (E, N, D), see `Sequences.motions`.
    :ivar states: the first ones, (E, K), see `explained.first_shares`.
    """

    episodes: Tensor
    wanted: NDArray[np.float64]
    states: NDArray[np.float64]


@dataclass
class Sequences:
    """E episodes padded to T ticks.

    :param names: of the episodes.
    :param images: per camera, uint8 (E, T, H, W, 3) RGB.
    :param joints: float32 (E, T, D), normalised.
    :param targets: likewise; targets[:, t] is what the prediction made at t should be.
    :param lengths: ticks per episode, int64 (E,).
    :param weights: what each entry of the targets counts where motions are compared, (D,), see
        `explained.motion_weights`.
    :param led: bool (E, T), ticks of which the targets are learnt, see `Episode.led`; False beyond
        the end.
    :ivar alike: when the demonstrations are at the same moment of the task, see
        `pace.moments_alike`; None: at the same share of their time.
    """

    names: tuple[str, ...]
    images: tuple[Tensor | StoredFrames, ...]
    joints: Tensor
    targets: Tensor
    lengths: Tensor
    led: Tensor
    weights: NDArray[np.float64]
    spec: Spec
    alike: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def ticks(self) -> int:
        return self.joints.shape[1]

    @property
    def image_span(self) -> float:
        return self.spec.image_range[1] - self.spec.image_range[0]

    @property
    def joint_span(self) -> float:
        return self.spec.joint_range[1] - self.spec.joint_range[0]

    def steps(self) -> Tensor:
        """Which ticks have a next one, bool (E, T - 1): the unpadded part."""
        ticks = torch.arange(self.ticks - 1, device=self.lengths.device)
        return ticks < (self.lengths - 1).unsqueeze(1)

    def learnt(self) -> Tensor:
        """Which of them count in the losses, bool (E, T - 1)."""
        return self.steps() & (self.led & ~self._leaving())[:, :-1]

    def _leaving(self) -> Tensor:
        """The first ticks of each takeover, bool (E, T): see `LEAVING_SHARE`."""
        shown = self.demonstrations
        if not shown.any():
            return torch.zeros_like(self.led)
        ticks = torch.arange(self.ticks, device=self.led.device)
        began = self.led & ~functional.pad(self.led, (1, -1))
        start = torch.where(began, ticks, 0).cummax(1).values
        leaving = round(LEAVING_SHARE * float(self.lengths[shown].double().mean()))
        return self.led & (start >= leaving) & (ticks - start < leaving)

    @cached_property
    def demonstrations(self) -> Tensor:
        """Which episodes a person led from their first tick to their last, bool (E,), and have two
        ticks. What differs between them is what is to be seen: where a policy went astray differs,
        too, and nothing in the first image tells it."""
        return (self.led.sum(1) == self.lengths) & (self.lengths > 1)

    @cached_property
    def scenes(self) -> Scenes:
        """The demonstrations, and the corrected runs of which it is known what a demonstration
        would have been."""
        shown, motions = self.demonstrations, self.motions
        episodes = torch.nonzero(shown)[:, 0]
        wanted = trajectories(self.unpad(motions))
        corrected = torch.nonzero(~shown & self.led.any(1))[:, 0]
        if len(corrected) and len(episodes):
            low, span = self.spec.joint_range[0], self.joint_span
            runs = []
            for number in corrected.tolist():
                took_over = int(self.led[number].int().argmax())
                values = motions[number, : int(self.lengths[number]) - 1].double().cpu().numpy()
                values = (values - low) / span
                runs.append(Run(values[:took_over], values[took_over:]))
            ticks = float(self.lengths[episodes].double().mean()) - 1
            entries = float((self.weights**2).sum())
            found = complete((wanted - low) / span, runs, ticks, entries)
            kept = [one is not None for one in found]
            episodes = torch.cat([episodes, corrected[torch.tensor(kept, device=shown.device)]])
            completed = [low + span * one for one in found if one is not None]
            wanted = np.concatenate([wanted, np.array(completed).reshape(-1, *wanted.shape[1:])])
        return Scenes(episodes, wanted, self._first_shares(episodes))

    @cached_property
    def told(self) -> Told:
        """How the demonstrations' motions differ, exactly if they are few, and where they
        start."""
        return self.tell(exact=self.few)

    def tell(self, *, exact: bool) -> Told:
        """`expected_places.tell` of the demonstrations."""
        return tell(self.wanted, self.starts, self.joints.device, exact)

    @property
    def motions(self) -> Tensor:
        """The targets per tick that has a next one, (E, T - 1, D), normalised, by what each entry
        counts."""
        return self.targets[:, :-1] * torch.from_numpy(self.weights).to(self.targets)

    @property
    def wanted(self) -> NDArray[np.float64]:
        """Trajectories of the demonstrations' motions at the same moments, (E, N, D)."""
        shares = self._shares_at(np.linspace(0, 1, REGRESSION_SAMPLES))
        return aligned_at(self.unpad(self.motions), shares)

    def _shares_at(self, moments: NDArray[np.floating]) -> NDArray[np.float64]:
        """After which shares of its time each demonstration is where the mean one is after these
        (N,), (E, N)."""
        if self.alike is None:
            return np.tile(moments, (int(self.demonstrations.sum()), 1))
        even = np.linspace(0, 1, self.alike.shape[1])
        return np.stack([np.interp(moments, even, one) for one in self.alike])

    @property
    def starts(self) -> NDArray[np.float64]:
        """Where the demonstrations start, (E, K), see `explained.Starts`."""
        states = self.first_states()
        return Starts(states)(states)

    def ticks_at(self, share: float) -> Tensor:
        """When each demonstration is where the mean one is after this share of its time, (E,)."""
        last = self.lengths[self.demonstrations].cpu().numpy() - 2
        ticks = (self._shares_at(np.array([share]))[:, 0] * last).round().astype(np.int64)
        return torch.from_numpy(ticks).to(self.lengths.device)

    def compare_paces(self, points: NDArray[np.float64]) -> bool:
        """Find out whether the paces of the demonstrations differ, and then when they are at the
        same moment.

        :param points: of their first images, (E, P).
        """
        rows = [row / self.joint_span for row in self.unpad(self.motions)]
        at = compare_paces(rows, points, self.starts)
        if at is not None:
            self.align(at)
        return at is not None

    def align(self, at: NDArray[np.float64]) -> None:
        """From now on moments are alike `at` these shares, see `alike`."""
        self.alike = at
        self.told = self.tell(exact=self.few).of_motions(self.told.motions.shape[1])

    @property
    def few(self) -> bool:
        """Whether the demonstrations are, see `recipe.is_few`."""
        return is_few(int(self.demonstrations.sum()))

    def unpad(self, values: Tensor) -> list[NDArray[np.float32]]:
        """Values per tick that has a next one, (E, T - 1, D), of each demonstration."""
        shown = self.demonstrations
        rows = zip(values[shown].cpu().numpy(), (self.lengths[shown] - 1).tolist(), strict=True)
        return [row[:steps] for row, steps in rows]

    def first_states(self) -> NDArray[np.float64]:
        """`explained.first_shares` of the demonstrations, (E, K)."""
        return self._first_shares(torch.nonzero(self.demonstrations)[:, 0])

    def _first_shares(self, episodes: Tensor) -> NDArray[np.float64]:
        first = self.joints[episodes, 0].double().cpu().numpy()
        return first_shares(first, self.spec, self.weights)

    def frames(self, episodes: Tensor, ticks: Tensor) -> list[Tensor]:
        """The frames [episodes, ticks], float32 (N, 3, H, W) in [0, 1], one tensor per camera.

        Their memory is channels-last, which CPU convolutions are faster with.
        """
        return [unit_images(images[episodes, ticks]) for images in self.images]

    def scale(self, images: Tensor) -> Tensor:
        """From [0, 1] to the spec's range."""
        scaled: Tensor = to_range(images, self.spec.image_range)
        return scaled

    def scaled_frames(self, episodes: Tensor, ticks: Tensor) -> list[Tensor]:
        """`frames` in the spec's range."""
        return [self.scale(camera) for camera in self.frames(episodes, ticks)]


def make_sequences(dataset: Dataset, indices: Sequence[int], device: torch.device) -> Sequences:
    """These episodes of the data set, at least one; joints padded to the longest one.

    Images are put on a GPU if they take at most half of the memory that is free there.
    """
    episodes = [dataset.episodes[index] for index in indices]
    spec, normalise = dataset.spec, dataset.normaliser.normalise
    lengths = torch.tensor([len(episode.joints) for episode in episodes])
    longest = int(lengths.max())

    def pad(arrays: Sequence[NDArray[Any]], dtype: torch.dtype) -> Tensor:
        shape = (len(arrays), longest, *arrays[0].shape[1:])
        padded = torch.zeros(shape, dtype=dtype, device=device)
        for row, array in zip(padded, arrays, strict=True):
            row[: len(array)] = torch.from_numpy(np.array(array))  # one episode twice in memory
        return padded

    images = [[episode.images[camera.name] for episode in episodes] for camera in spec.cameras]
    needed = sum(len(arrays) * longest * arrays[0][0].nbytes for arrays in images)
    on_gpu = device.type == "cuda" and needed <= torch.cuda.mem_get_info(device)[0] // 2
    return Sequences(
        names=tuple(episode.name for episode in episodes),
        images=tuple(
            pad(arrays, torch.uint8) if on_gpu else StoredFrames(arrays, device)
            for arrays in images
        ),
        joints=pad([normalise(episode.joints) for episode in episodes], torch.float32),
        targets=pad([normalise(episode.targets) for episode in episodes], torch.float32),
        lengths=lengths.to(device),
        led=pad(
            [
                np.ones(len(episode.joints), np.bool_) if episode.led is None else episode.led
                for episode in episodes
            ],
            torch.bool,
        ),
        weights=motion_weights(dataset.normaliser, spec),
        spec=spec,
    )
