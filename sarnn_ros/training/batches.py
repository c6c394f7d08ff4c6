# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From episodes to the inputs of an update: which ones, which frames, how distorted.

All random numbers of a training are drawn here, but for its first weights and the search for
attention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sarnn_ros.training.augment import IMAGE_NOISE, add_noise, distort
from sarnn_ros.training.recipe import RECIPE, Plan
from sarnn_ros.training.sequences import Sequences

#: Noise on points that were searched for, as a share of their deviation, per tick and as an offset
#: per episode: otherwise the recurrent part would learn few episodes by heart.
POINT_NOISE = 0.1
#: Share of the sequences whose points stay, from a random tick on, as they were. Fetch push, with
#: mixtures: 37 of 50 for 27; pick-and-place 29 for 25.
HELD_SHARE = 0.5
#: Share of corrected runs, which are not mixed, among the sequences of recurrent updates, at most.
MAX_CORRECTED_SHARE = 0.3
#: Least and largest share of the first episode in a mixture of two: from below 0 to above 1, so
#: that the policy also learns what lies a little outside of the demonstrations.
MIXTURE_SHARES = (-0.2, 1.2)


@dataclass(frozen=True)
class Batch:
    """B episodes for an update, and N of their frames.

    :param frames: augmented inputs per camera, (N, 3, H, W); the first `encoded` of them are
        encoded anew, the first P have their next image predicted.
    :param row: (N,), where they lie in points, joints and targets, (B, T - 1, …).
    :param tick: likewise.
    :param following: the clean next images, per camera (P, 3, H, W); empty without an image loss.
    :param learnt: (B, T - 1), ticks that count in the losses.
    :param frozen: the attention is not trained.
    """

    frames: Sequence[Tensor]
    row: Tensor
    tick: Tensor
    encoded: int
    following: Sequence[Tensor]
    points: Tensor
    joints: Tensor
    targets: Tensor
    learnt: Tensor
    frozen: bool


@dataclass(frozen=True)
class RecurrentBatch:
    """B episodes for an update of the recurrent part alone.

    :param seen: the points that it sees, (B, T - 1, P).
    :param points: those to predict.
    :param joints: (B, T - 1, D).
    :param targets: likewise.
    :param learnt: (B, T - 1), ticks that count in the losses, also after the episode's end.
    """

    seen: Tensor
    points: Tensor
    joints: Tensor
    targets: Tensor
    learnt: Tensor


def _looked_up(values: Tensor, shares: Tensor) -> Tensor:
    """Values (B, K, N), of N - 1 equal parts, at these shares of them, (B, K, T), linearly
    interpolated."""
    at = shares * (values.shape[-1] - 1)
    before = at.long().clamp(max=values.shape[-1] - 2)
    early, late = values.gather(-1, before), values.gather(-1, before + 1)
    return torch.lerp(early, late, at - before)


class Batches:
    """Draws the batches of a training."""

    def __init__(self, data: Sequences, plan: Plan, generator: torch.Generator) -> None:
        self._data = data
        self._plan = plan
        self._config = plan.config
        self._generator = generator
        self._learnt = data.learnt()

    def shuffled(self) -> tuple[Tensor, ...]:
        """All episodes once, in batches of `batch_size` or, the last one, less."""
        return torch.split(self._permutation(len(self._data)), self._config.batch_size)

    def draw(self, episodes: Tensor, points: Tensor, frozen: bool) -> Batch:
        """The batch of these episodes (B,).

        :param points: theirs, (B, T - 1, P).
        """
        config, data = self._config, self._data
        where = torch.nonzero(data.steps()[episodes])  # row in the batch, tick
        count = len(where)
        encoded = min(config.encoder_frames or count, count)
        pictured = min(config.image_frames or count, count) if config.image_loss else 0
        if encoded < count or pictured < count:
            where = where[self._permutation(count)[: max(encoded, pictured)]]

        row, tick = where.T
        frames = []  # distorted alike per episode and camera, with noise per pixel
        for images in data.frames(episodes[row], tick):
            images = data.scale(distort(images, row, len(episodes), config, self._generator))
            frames.append(add_noise(images, IMAGE_NOISE * data.image_span, self._generator))
        following: list[Tensor] = []
        if config.image_loss:  # even for no frame: Adam goes on where a gradient is 0, not None
            following = data.scaled_frames(episodes[row[:pictured]], tick[:pictured] + 1)
        return Batch(
            frames=frames,
            row=row,
            tick=tick,
            encoded=encoded,
            following=following,
            points=points,
            joints=self._noisy_joints(data.joints[episodes, :-1]),
            targets=data.targets[episodes, :-1],
            learnt=self._learnt[episodes],
            frozen=frozen,
        )

    def draw_recurrent(
        self,
        count: int,
        points: Tensor,
        deviation: Tensor | None = None,
        late: tuple[Tensor, float, float] | None = None,
    ) -> RecurrentBatch:
        """`count` episodes for an update of the recurrent part alone.

        :param points: of all episodes, (E, T - 1, P).
        :param deviation: of each point, (P,); None: they get no noise.
        :param late: which coordinates are of points that tell something late, bool (P,), the share
            of an episode up to which they tell nothing, and by which they do; None: no one.
        """
        data = self._data
        drawn = self._drawn()
        episodes = drawn[self._permutation(len(drawn))[:count]]
        moving = data.lengths[episodes]
        parts = [points[episodes], data.joints[episodes, :-1], data.targets[episodes, :-1]]
        learnt = self._learnt[episodes]
        if self._plan.mixup or self._alike is not None:
            parts = self._mixed(episodes, points)
        if self._alike is not None:
            shown = data.demonstrations[episodes]
            moving = torch.where(shown, self._usual_length, moving)
            ticks = torch.arange(learnt.shape[1], device=self._device)
            learnt = torch.where(shown[:, None], ticks < self._usual_length - 1, learnt)
        wanted, joints, targets, learnt = self._padded([*parts, learnt], moving)
        seen = wanted if deviation is None else self._noisy_points(wanted, deviation)
        held = self._held(seen, moving)
        seen = held if late is None else self._late(seen, held, moving, *late)
        return RecurrentBatch(seen, wanted, self._noisy_joints(joints), targets, learnt)

    def _drawn(self) -> Tensor:
        """Episodes to choose from: all demonstrations, and by chance some of the corrected runs,
        which are at most `MAX_CORRECTED_SHARE` on average."""
        shown = self._data.demonstrations
        corrected = ~shown
        if not corrected.any() or not shown.any():
            return torch.arange(len(shown), device=self._device)
        most = MAX_CORRECTED_SHARE / (1 - MAX_CORRECTED_SHARE) * shown.sum()
        kept = self._uniform(len(shown)) < most / corrected.sum()
        return torch.nonzero(shown | (corrected & kept))[:, 0]

    def _mixed(self, episodes: Tensor, points: Tensor) -> list[Tensor]:
        """Points, joints and targets of each of the episodes (B,), some of them mixed with
        demonstrations, as long as that episode, or as the mean one if paces differ. None is mixed
        that is no demonstration.

        :param points: of all episodes, (E, T - 1, P).
        """
        data = self._data
        usable = torch.nonzero(data.demonstrations)[:, 0]
        if self._plan.mix_neighbours:
            mixed, weight = self._pairs(episodes)
        else:
            mixed, weight = self._several(episodes, usable)
        alone = self._uniform(len(episodes)) >= self._plan.mixup
        weight = torch.where(alone[:, None], torch.eye(1, weight.shape[1]).to(weight), weight)
        rows = torch.nonzero(data.demonstrations[episodes])[:, 0]
        mixed, weight = mixed[rows], weight[rows][..., None, None]
        last = (data.lengths[mixed] - 2).clamp(min=0)[..., None]
        at, others = self._same_moments(mixed, last), mixed[..., None]
        # What a mixture aims at is of its own next tick, not of each episode's. Before the first
        # one it is where the joints are.
        wanted = torch.cat([data.joints[:, :1], data.targets[:, :-1]], 1)
        now, following = torch.minimum(at[..., :-1], last), at[..., 1:]
        parts = [points[episodes], data.joints[episodes, :-1], data.targets[episodes, :-1]]
        for part, whole, ticks, end in (
            (parts[0], points, now, last),
            (parts[1], data.joints, now, last),
            (parts[2], wanted, following, last + 1),
        ):
            before = ticks.long()
            early, late = whole[others, before], whole[others, torch.minimum(before + 1, end)]
            share = (ticks - before)[..., None]
            part[rows] = (weight * torch.lerp(early, late, share)).sum(1)
        return parts

    def _same_moments(self, mixed: Tensor, last: Tensor) -> Tensor:
        """At which ticks each of the episodes `mixed` (B, K) is at the same moment, (B, K, T): at
        each tick of the first of them, or of the mean demonstration, if paces differ.

        :param last: the last ticks that have a next one, (B, K, 1): all end together, and are then
            one tick further.
        """
        steps = torch.arange(self._data.ticks, device=self._device)
        if self._alike is None:
            end = last[:, :1]
            at = steps * (last / end.clamp(min=1))
        else:
            end = torch.full_like(last, max(self._usual_length - 2, 1))
            shares = (steps / end).clamp(max=1)
            at = _looked_up(self._alike[mixed], shares.expand(*mixed.shape, -1)) * last
        return torch.where(steps > end, last + 1.0, at)

    @cached_property
    def _usual_length(self) -> int:
        """Ticks of the demonstrations on average."""
        return round(float(self._data.lengths[self._data.demonstrations].double().mean()))

    @cached_property
    def _alike(self) -> Tensor | None:
        """At which share of its time each demonstration is where the mean one is after 0, 1, … of
        N - 1 equal parts of its own, (E, N); None if paces do not differ."""
        data = self._data
        if data.alike is None:
            return None
        there = np.tile(np.linspace(0, 1, data.alike.shape[1]), (len(data), 1))
        there[data.demonstrations.cpu().numpy()] = data.alike
        return torch.from_numpy(there).float().to(self._device)

    def _pairs(self, episodes: Tensor) -> tuple[Tensor, Tensor]:
        """Each episode with a neighbour, and their weights, both (B, 2)."""
        drawn = self._uniform(len(episodes)) * self._neighbours.shape[1]
        share = self._uniform(len(episodes), *MIXTURE_SHARES)
        mixed = torch.stack([episodes, self._neighbours[episodes, drawn.long()]], 1)
        return mixed, torch.stack([share, 1 - share], 1)

    def _several(self, episodes: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
        """Each episode with others of the usable ones, and their weights, both (B, K).

        The weights w sum up to 1, and w = 1/K + (g - mean of g) / √K of K normal numbers g: then
        the sum of w² is 1 on average, too, and mixtures differ as much from each other as
        episodes do.
        """
        count = RECIPE.episodes_per_mixture
        drawn = (self._uniform(len(episodes) * (count - 1)) * len(usable)).long()
        mixed = torch.cat([episodes[:, None], usable[drawn.reshape(-1, count - 1)]], 1)
        normal = torch.empty(mixed.shape, device=self._device).normal_(generator=self._generator)
        return mixed, 1 / count + (normal - normal.mean(1, keepdim=True)) / count**0.5

    @cached_property
    def _neighbours(self) -> Tensor:
        """The episodes most like each, nearest first, (E, up to `RECIPE.neighbours`); an
        episode itself where there is none."""
        data = self._data
        own = torch.arange(len(data)).unsqueeze(1)
        usable = torch.nonzero(data.demonstrations.cpu())[:, 0]
        count = min(RECIPE.neighbours, len(usable) - 1)
        if count < 1:
            return own.to(self._device)
        motions = torch.from_numpy(data.wanted.reshape(len(usable), -1))
        distance = torch.cdist(motions, motions).fill_diagonal_(math.inf)
        nearest = own.repeat(1, count)
        nearest[usable] = usable[distance.argsort(1)[:, :count]]
        return nearest.to(self._device)

    def _noisy_joints(self, joints: Tensor) -> Tensor:
        """The joints (B, T, D) that predictions are made from."""
        deviation = self._config.joint_noise * self._data.joint_span
        return add_noise(joints, deviation, self._generator)

    def _noisy_points(self, points: Tensor, deviation: Tensor) -> Tensor:
        """Attention points (B, T, P) with `POINT_NOISE`.

        :param deviation: of each point, (P,).
        """
        deviation = POINT_NOISE * deviation
        for shape in (points.shape, (len(points), 1, points.shape[-1])):
            noise = points.new_empty(shape).normal_(generator=self._generator)
            points = points + deviation * noise
        return points

    def _held(self, points: Tensor, lengths: Tensor, since: float = 0.0) -> Tensor:
        """Attention points (B, T, P), held in some of the episodes (`HELD_SHARE`), not before a
        share of each.

        In recorded images the hand, and what it holds, always are where the demonstration went.
        At the robot they are where the policy went. So the policy must not need to see them.
        """
        count, ticks = points.shape[:2]
        last = (self._uniform(count, since) * lengths).long()
        held = self._uniform(count) < HELD_SHARE
        last = last.where(held, torch.full_like(last, ticks))
        shown = torch.minimum(torch.arange(ticks, device=points.device), last[:, None])
        return points[torch.arange(count, device=points.device)[:, None], shown]

    def _late(
        self,
        points: Tensor,
        held: Tensor,
        lengths: Tensor,
        late: Tensor,
        untold: float,
        told: float,
    ) -> Tensor:
        """Points (B, T, P), of which some tell something late.

        These are held only after that. As long as they tell nothing each sequence has those of
        another one: else the recurrent part would know the episodes by them, by heart.
        """
        ticks = torch.arange(points.shape[1], device=points.device)
        early = (ticks < untold * lengths[:, None]).unsqueeze(-1)
        other = points[self._permutation(len(points))]
        mine = self._held(points, lengths, told)
        return torch.where(late, torch.where(early, other, mine), held)

    def _padded(self, parts: Sequence[Tensor], lengths: Tensor) -> list[Tensor]:
        """Sequences (B, T - 1, …) of which the last step is repeated after the end. At the robot a
        policy runs on when its motion is over: it must not go anywhere.

        :param parts: the last of them says which steps are learnt.
        """
        more = math.ceil(self._config.pad_after * self._data.ticks)
        ticks = torch.arange(parts[0].shape[1] + more, device=lengths.device)
        steps = torch.minimum(ticks, (lengths - 2).clamp(min=0)[:, None])
        rows = torch.arange(len(lengths), device=lengths.device)[:, None]
        *values, learnt = [part[rows, steps] for part in parts]
        return [*values, learnt & (ticks < (lengths - 1 + more)[:, None])]

    def _uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        drawn = torch.empty(count, device=self._device)
        return drawn.uniform_(low, high, generator=self._generator)

    def _permutation(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self._generator, device=self._device)

    @property
    def _device(self) -> torch.device:
        return self._generator.device
