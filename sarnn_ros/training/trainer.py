# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop. Nothing of ROS, nothing of the terminal.

Both recipes run the same update on the same loss (`losses.py`); `fast` does less per update:

- Only some frames of a batch (`encoder_frames`), drawn at random, are encoded anew and carry
  gradient into the attention. The recurrent part runs over whole episodes on the points that
  every frame had when it was last encoded.
- The next image is predicted for some of those frames only (`image_frames`).
- In between, `inner_steps` updates of the recurrent part alone, on those stored points: the
  convolutions are nearly all of the cost, and the recurrent part is what needs the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import swa_utils

from sarnn_ros.errors import TrainingError
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.spec import Spec
from sarnn_ros.streams.preprocess import to_range
from sarnn_ros.training.attention import START_TICKS, start_spread
from sarnn_ros.training.augment import add_noise, distort
from sarnn_ros.training.config import TrainConfig
from sarnn_ros.training.losses import Batch, Objective, encode, image_loss, recurrent_losses
from sarnn_ros.training.machine import one_thread
from sarnn_ros.training.memory import Fits
from sarnn_ros.training.schedule import cosine, loss_weight
from sarnn_ros.training.sequences import Sequences
from sarnn_ros.training.team import Team

#: Attention is blind if no point differs this much between the starts of episodes (the image is 1
#: wide), or only this share of what points did before: untrained ones follow any salient object.
#: Lift task: 0.27 throughout in trainings that succeed; from 0.27 to 0.03 in one that does not.
BLIND = 0.05
BLIND_SHARE = 0.5


#: A loss has exploded if it is so many times that of the worst prediction within the value ranges.
#: Nothing else is sound to compare it with: the best epoch's loss may be a thousand times smaller
#: than one that Adam's next spike passes through and comes back from, and the first one's may have
#: exploded itself. Untrained networks have a quarter of that worst loss; here, predictions are off
#: by ten times the range, and no training that was seen there has come to anything. It needs no
#: memory, so that a resumed training stops where an uninterrupted one does.
EXPLODED = 100.0


class Diverged(TrainingError):
    """The loss has exploded, or it or the weights are no longer finite."""


@dataclass(frozen=True)
class Losses:
    """Means over an epoch, unweighted; `total` is weighted, as optimised."""

    image: float
    joint: float
    point: float
    total: float


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to. `number` counts from 0; seconds are wall time."""

    number: int
    training: Losses
    validation: Losses | None
    learning_rate: float
    seconds: float


def make_model(config: TrainConfig, spec: Spec) -> SARNN:
    """A fresh network for the spec's cameras and joints."""
    sizes = [(camera.height, camera.width) for camera in spec.cameras]
    model = SARNN(
        config.rec_dim,
        config.k_dim,
        spec.joint_dim,
        config.temperature,
        config.heatmap_size,
        im_size=sizes[0] if len(sizes) == 1 else sizes,
        stride=config.stride,
    )
    # CPU convolutions are faster on channels-last memory, a GPU's are not slower.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


class Trainer:
    """Model, optimiser and data of one training; `run` yields after every epoch.

    Everything random comes from `generator`, and all state is in `state_dict`. In a `team`, every
    process has all episodes and does its part of each update (`team.py`).
    """

    def __init__(
        self,
        model: SARNN,
        training: Sequences,
        validation: Sequences | None,
        config: TrainConfig,
        spec: Spec,
        team: Team | None = None,
    ) -> None:
        self.config = config
        self.model = model
        self.training = training
        self.validation = validation
        self.device = training.joints.device
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self._start_optimizer()
        self.epoch = 0
        self.restarts = 0
        #: Largest `attention_spread` after any epoch since the start.
        self.widest = 0.0
        self.fits = Fits.of(model)
        self.team = team or Team()
        if config.compile:
            model.compile_convolutions()
        objective = Objective(model, self.fits, config.autocast)
        partly_used = config.image_loss == 0 or config.attend_until is not None
        self.objective = self.team.wrap(objective, partly_used)
        self.joint_labels = spec.joint_labels
        self._joint_scale = spec.joint_range[1] - spec.joint_range[0]
        self._image_range = spec.image_range
        self._image_low, high = spec.image_range
        self._image_scale = high - self._image_low
        self._largest_loss = EXPLODED * (
            config.image_loss * self._image_scale**2
            + config.joint_loss * self._joint_scale**2
            + config.point_loss  # points lie in [0, 1]
        )
        #: Points of every frame when it was last encoded, (E, T - 1, P); None before the first
        #: epoch, and where every update encodes all frames anew.
        self.points: Tensor | None = None

    def run(self, clock: Callable[[], float]) -> Iterator[Epoch]:
        """Train the epochs that are left.

        :param clock: seconds, e.g. `time.monotonic`.
        :raises Diverged: the loss has exploded, or it or the weights are no longer finite.
        """
        config = self.config
        if self.points is None and (config.encoder_frames is not None or config.inner_steps > 0):
            self.points = self._encode_all(self.training, self.model)
        while self.epoch < config.epochs:
            start = clock()
            self.model.train()
            order = torch.randperm(
                len(self.training), generator=self.generator, device=self.device
            )
            batches = torch.split(order, config.batch_size)
            sums = torch.zeros(4, device=self.device)
            for index, episodes in enumerate(batches):
                self._set_learning_rate(self.epoch + index / len(batches))
                losses = self._update(episodes)
                recurrent = losses[3]
                with one_thread():
                    for _ in range(config.inner_steps):
                        recurrent = self._update_recurrent(len(episodes))
                if self.average is not None:
                    self.average.update_parameters(self.model)
                sums += losses
                # The last recurrent step's as well, as a loss is of before its step: otherwise an
                # epoch of one update would end, and be saved, in ruins.
                largest = float(torch.maximum(losses[3], recurrent))
                if not largest <= self._largest_loss:  # be it NaN
                    what = "has exploded" if math.isfinite(largest) else "is not finite"
                    raise self._diverged(f"the loss {what}", index, episodes, losses)
            self.team.align(self.model)
            # Likewise: without this, a checkpoint could hold the ruins.
            if not all(bool(torch.isfinite(weight).all()) for weight in self.model.parameters()):
                raise self._diverged("the weights are not finite", index, episodes, losses)
            epoch = Epoch(
                self.epoch,
                Losses(*(sums / len(batches)).tolist()),
                self.validate() if (self.epoch + 1) % config.validate_every == 0 else None,
                self._learning_rate(self.epoch),
                clock() - start,
            )
            self.epoch += 1
            if config.attend_by is not None:
                self.widest = max(self.widest, self.attention_spread() or 0.0)
                if (
                    self.epoch == config.attend_by
                    and self.restarts < config.restarts
                    and self.team.decide(self.is_blind())
                ):
                    self._start_afresh()
            yield epoch

    def final_model(self) -> SARNN:
        """What should be deployed: the averaged weights where there are any."""
        if self.average is None:
            return self.model
        averaged: SARNN = self.average.module  # type: ignore[assignment]
        return averaged

    def finish(self, weights: dict[str, Tensor] | None) -> SARNN:
        """`final_model`, with these weights if given. From now on the attention is judged by it;
        training cannot go on."""
        model = self.final_model()
        if weights is not None:
            model.load_state_dict(weights)
        self.points = self._encode_all(self.training, model)
        return model

    @property
    def attention_fixed(self) -> bool:
        """Whether the attention has learnt what it is to learn (`attend_until`).

        Once the joints are well predicted, the pull of the point loss and what is left of the
        joint loss can lead the points away from what matters (docs/explanation/training.md).
        """
        until = self.config.attend_until
        return until is not None and self.epoch >= until

    def attention_spread(self) -> float | None:
        """How far a point at the start of an episode deviates between the training episodes, as a
        share of the image; the largest of all points. None of fewer than three episodes that have
        a next tick.

        The robot stands still there, so such a point looks at what makes the episodes differ. A
        policy without one repeats the mean motion, however small its loss.
        """
        points = self.points
        if points is None:
            points = self._encode_all(self.training, self.model)
        steps = (self.training.lengths - 1).clamp(min=0).tolist()
        starts = points[:, :START_TICKS].cpu().numpy()
        shape = (-1, points.shape[-1] // 2, 2)
        found = start_spread(
            one[:count].reshape(shape) for one, count in zip(starts, steps, strict=True)
        )
        return None if found is None else float(found.max())

    def is_blind(self) -> bool:
        """Whether the attention has lost, or never found, what differs between the episodes."""
        spread = self.attention_spread()
        return spread is not None and spread < max(BLIND, BLIND_SHARE * self.widest)

    def _start_afresh(self) -> None:
        """New weights, and from epoch 0. Follows from the seed, as everything random."""
        self.restarts += 1
        self.epoch = 0
        self.widest = 0.0
        torch.manual_seed(
            int(torch.randint(2**31, (1,), generator=self.generator, device=self.device))
        )
        self.model.initialise()
        self._start_optimizer()
        if self.points is not None:
            self.points = self._encode_all(self.training, self.model)

    def _start_optimizer(self) -> None:
        config = self.config
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=config.learning_rate, eps=config.adam_eps, fused=True
        )
        self.average = None
        if config.average:
            decay = swa_utils.get_ema_multi_avg_fn(config.average)  # type: ignore[no-untyped-call]
            self.average = swa_utils.AveragedModel(self.model, multi_avg_fn=decay)

    def _update(self, episodes: Tensor) -> Tensor:
        """One step on the loss of these episodes (B,). Returns image, joint, point, total."""
        config, data, team = self.config, self.training, self.team
        where = torch.nonzero(data.steps()[episodes])
        count = len(where)
        encoded = min(config.encoder_frames or count, count)
        pictured = min(config.image_frames or count, count) if config.image_loss else 0
        if encoded < count or pictured < count:
            order = torch.randperm(count, generator=self.generator, device=self.device)
            where = where[order[: max(encoded, pictured)]]

        batch, own = self._batch(episodes, where, encoded, pictured)
        losses, fresh = self.objective(batch)
        weights = losses.new_tensor([config.image_loss, config.joint_loss, self._point_weight()])
        self._step((weights * losses).sum() * team.size)  # which DDP averages
        losses = team.sum(losses.detach())
        if self.points is not None:
            row, tick = where[:encoded].T
            points = fresh.new_zeros(encoded, fresh.shape[1])
            points[own[: len(fresh)]] = fresh.detach()
            self.points[episodes[row], tick] = team.sum(points)
        return torch.cat([losses, (weights * losses).sum(0, keepdim=True)])

    def _batch(
        self, episodes: Tensor, where: Tensor, encoded: int, pictured: int
    ) -> tuple[Batch, Tensor]:
        """Our part of a batch, and which of its frames (N, 2) `where` it takes.

        Random numbers are drawn for the whole batch, in every process the same.
        """
        config, data, team = self.config, self.training, self.team
        own = team.own(where[:, 0])
        row, tick = where[own].T
        ours = int((own < encoded).sum())
        shown = int((own < pictured).sum())
        frames = self._augmented(episodes, where[:, 0], row, tick, own)
        following = []
        if config.image_loss:  # be it of no frame: DDP wants a gradient of every parameter
            following = self.scaled(data.frames(episodes[row[:shown]], tick[:shown] + 1))
        mine = team.own(torch.arange(len(episodes), device=self.device))
        lengths = data.lengths[episodes]
        steps, pairs = (lengths - 1).clamp(min=0), (lengths - 2).clamp(min=0)
        shares = (
            shown / max(1, pictured),
            float(steps[mine].sum() / steps.sum().clamp(min=1)),
            float(pairs[mine].sum() / pairs.sum().clamp(min=1)),
        )
        joints = self._noisy_joints(episodes)
        if len(mine) == 0:  # fewer episodes than processes: one that counts for nothing
            mine, lengths = mine.new_zeros(1), torch.zeros_like(lengths)
        points = self._points(episodes[mine])
        return Batch(
            frames,
            row // team.size,
            tick,
            ours,
            following,
            points,
            joints[mine],
            data.targets[episodes[mine], :-1],
            lengths[mine],
            shares,
            self.attention_fixed,
        ), own

    def _update_recurrent(self, count: int) -> Tensor:
        """One step of the recurrent part alone, on `count` episodes' stored points. Returns its
        loss."""
        assert self.points is not None
        data, config = self.training, self.config
        order = torch.randperm(len(data), generator=self.generator, device=self.device)
        episodes = order[:count]
        joint, point, _ = recurrent_losses(
            self.model,
            self.points[episodes],
            self._noisy_joints(episodes),
            data.targets[episodes, :-1],
            data.lengths[episodes],
        )
        loss = config.joint_loss * joint + self._point_weight() * point
        self._step(loss)
        return loss.detach()

    @torch.no_grad()
    def validate(self) -> Losses | None:
        """Losses of `final_model` on the validation episodes, clean inputs and whole weights."""
        data, config = self.validation, self.config
        if data is None:
            return None
        model = self.final_model().eval()
        points = self._encode_all(data, model)
        joint, point, decoded = recurrent_losses(
            model, points, data.joints[:, :-1], data.targets[:, :-1], data.lengths
        )
        where = torch.nonzero(data.steps())
        image = torch.zeros((), device=self.device)
        for part in torch.split(where, self.fits.images):
            row, tick = part.T
            error = image_loss(
                model,
                self.scaled(data.frames(row, tick)),
                decoded[row, tick],
                self.scaled(data.frames(row, tick + 1)),
                self.fits.images,
                config.autocast,
            )
            image += error * len(part) / len(where)
        model.train()
        total = config.image_loss * image + config.joint_loss * joint + config.point_loss * point
        return Losses(*torch.stack([image, joint, point, total]).tolist())

    def _step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()

    def _points(self, episodes: Tensor) -> Tensor:
        if self.points is not None:
            return self.points[episodes]
        width = 2 * self.model.k_dim * len(self.model.branches)
        return self.training.joints.new_zeros(len(episodes), self.training.ticks - 1, width)

    def _encode_all(self, data: Sequences, model: SARNN) -> Tensor:
        """Points (E, T - 1, P) of every clean frame that has a next one; 0 elsewhere."""
        where = torch.nonzero(data.steps())
        encoded = self.encode(data, where, model)
        points = data.joints.new_zeros(len(data), data.ticks - 1, encoded.shape[-1])
        return points.index_put(tuple(where.T), encoded)

    @torch.no_grad()
    def encode(self, data: Sequences, where: Tensor, model: SARNN) -> Tensor:
        """Points (N, P) of clean frames, few of which are in memory at once.

        :param where: (N, 2), episode and tick.
        """
        parts = torch.split(where, min(self.fits.points, 256))
        return torch.cat(
            [encode(model, self.scaled(data.frames(*part.T)), self.fits.points) for part in parts]
        )

    def _augmented(
        self, episodes: Tensor, rows: Tensor, row: Tensor, tick: Tensor, own: Tensor
    ) -> list[Tensor]:
        """Our input frames (row, tick), distorted alike per episode and camera, with noise per
        pixel."""
        noise = self.config.image_noise * self._image_scale
        part = None if self.team.size == 1 else own
        frames = []
        for images in self.training.frames(episodes[row], tick):
            images = distort(images, row, len(episodes), self.config, self.generator)
            scaled = self.scaled([images])[0]
            frames.append(add_noise(scaled, noise, self.generator, part, len(rows)))
        return frames

    def _noisy_joints(self, episodes: Tensor) -> Tensor:
        deviation = self.config.joint_noise * self._joint_scale
        return add_noise(self.training.joints[episodes, :-1], deviation, self.generator)

    def scaled(self, frames: list[Tensor]) -> list[Tensor]:
        """From [0, 1] to the spec's image range."""
        return [to_range(camera, self._image_range) for camera in frames]

    def to_uint8(self, image: Tensor) -> NDArray[np.uint8]:
        """One image (3, H, W) in the spec's image range to RGB uint8 (H, W, 3), clipped."""
        unit = ((image - self._image_low) / self._image_scale).clamp(0, 1)
        pixels: NDArray[np.uint8] = (unit * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        return pixels.copy()

    def _point_weight(self) -> float:
        config = self.config
        return loss_weight(self.epoch, config.point_loss, config.decay_end, config.curve)

    def _learning_rate(self, epoch: float) -> float:
        config = self.config
        return config.learning_rate * cosine(epoch / config.epochs, config.learning_rate_end)

    def _set_learning_rate(self, epoch: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(epoch)

    def _diverged(self, what: str, index: int, episodes: Tensor, losses: Tensor) -> Diverged:
        names = ("image", "joint", "point", "total")
        values = ", ".join(f"{n} {v:g}" for n, v in zip(names, losses.tolist(), strict=True))
        batch = ", ".join(self.training.names[episode] for episode in episodes.tolist())
        return Diverged(
            f"{what} ({values})",
            where=f"epoch {self.epoch + 1}, batch {index + 1}, of the episodes {batch}",
            remedy="train anew with a lower learning_rate or with clip_norm, and look at those "
            "episodes with 'sarnn inspect'",
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs, on top of config and data."""
        return {
            "epoch": self.epoch,
            "restarts": self.restarts,
            "widest": self.widest,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "generator": self.generator.get_state(),
            "points": self.points,
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Continue from `state_dict`.

        :returns: whether with the same random numbers. A GPU and a CPU draw them in different
            ways, with states of different sizes: then they follow from seed and epoch.
        """
        self.epoch = state["epoch"]
        self.restarts = state["restarts"]
        self.widest = state["widest"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.points = None if state["points"] is None else state["points"].to(self.device)
        drawn = state["generator"].cpu()
        same: bool = drawn.shape == self.generator.get_state().shape
        if same:
            self.generator.set_state(drawn)
        else:
            numbers = np.random.SeedSequence([self.config.seed, self.restarts, self.epoch])
            self.generator.manual_seed(int(numbers.generate_state(1)[0]))
        return same
