# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Scaled attention points: what the recurrent part trains on, and how it is saved.

Attention points move by a few hundredths of the image, which is little beside the joints, and
there are many more of them than things to see. Adam takes long to make the weights of small inputs
large enough, and with few episodes any of many inputs is learnt by heart. So the recurrent part
trains on other coordinates of the same points: the directions in which points tell the
trajectories apart, by ridge regression, are large, all others small. For deployment this linear
map is folded into the recurrent weights.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from sarnn_ros.model.sarnn import SARNN

#: Standard deviation of the points in the directions that tell trajectories apart: about that of
#: joints normalised to [0, 1].
TELLING_DEVIATION = 0.3
#: Their standard deviation in every other direction.
OTHER_DEVIATION = 0.03
#: Beside numbers that tell the motion, points are so much smaller. Fetch's pick-and-place in
#: clutter, one seed: 41 of 50 with a tenth, 39 with a third.
SHARE_BESIDE_MOTION = 0.1
#: What `batches.POINT_NOISE` of these numbers is a share of.
MOTION_NOISE = 0.1
#: Points that deviate less, as a share of the image, hardly move: they are scaled as if they
#: deviated so much. (For a regression it is `explained.MIN_DEVIATION`.)
MIN_POINT_DEVIATION = 0.01
#: Share of what the regression explains, below which a direction counts as an other one.
MIN_EXPLAINED_SHARE = 0.01


class PointScale(NamedTuple):
    """Scaled = matrix · (points - mean); mean and deviation of the points (P,), matrix (P, P).
    The first `telling` coordinates tell the trajectories apart in first images, those that tell
    more first. Then come those that tell them apart later."""

    mean: Tensor
    deviation: Tensor
    matrix: Tensor
    telling: int

    @classmethod
    def of(cls, points: Tensor, *told: tuple[Tensor, Tensor]) -> PointScale:
        """
        :param points: of all frames, (N, P).
        :param told: points of the frames that trajectories were regressed on, (M, P), and the
            slope of that regression, (P, R). The first of several are of first images; each has
            points of its own, the others are 0 in both.
        """
        deviation = points.std(0).clamp(min=MIN_POINT_DEVIATION)
        unit = deviation.double()
        groups = [_telling(first.double(), slope.double(), unit) for first, slope in told]
        telling = torch.cat(groups, 1)
        # Orthonormal, the telling directions' span first: what follows spans the others.
        count = telling.shape[1]
        basis, _ = torch.linalg.qr(torch.cat([telling, torch.eye(len(unit)).to(telling)], 1))
        others = OTHER_DEVIATION * basis[:, count : len(unit)]
        matrix = torch.cat([telling, others], 1) / unit.unsqueeze(1)
        return cls(points.mean(0), deviation, matrix.T.to(points), groups[0].shape[1])

    def with_motion(self, count: int, told: bool) -> PointScale:
        """The scale of these points and, after them, of the motion, `count` numbers with a
        deviation of 1. Where these are told, points matter less, and are smaller."""
        one = torch.ones(count).to(self.mean)
        share = SHARE_BESIDE_MOTION if told else 1.0
        rows = pad(share * self.matrix, (0, count)), pad(torch.diag(one), (len(self.mean), 0))
        deviation = torch.cat([self.deviation, MOTION_NOISE * one])
        return PointScale(
            torch.cat([self.mean, 0 * one]), deviation, torch.cat(rows), self.telling
        )

    def to(self, device: torch.device) -> PointScale:
        mean, deviation, matrix = (part.to(device) for part in self[:3])
        return PointScale(mean, deviation, matrix, self.telling)

    def __call__(self, points: Tensor) -> Tensor:
        """Scale points (…, P)."""
        return (points - self.mean) @ self.matrix.T

    @torch.no_grad()
    def fold(self, model: SARNN) -> None:
        """Change the recurrent weights, which expect scaled points, to expect plain ones.

        W·M·(p - m) + b = (W·M)·p + (b - (W·M)·m).
        """
        weight = model.rec.weight_ih[:, : len(self.mean)]  # points come before the joints
        weight.copy_(weight @ self.matrix)
        model.rec.bias_ih.sub_(weight @ self.mean)

    @torch.no_grad()
    def unfold(self, model: SARNN) -> None:
        """The inverse of `fold`: plain points were expected, scaled ones will be."""
        weight = model.rec.weight_ih[:, : len(self.mean)]
        model.rec.bias_ih.add_(weight @ self.mean)
        weight.copy_(torch.linalg.solve(self.matrix.double().T, weight.double().T).T.to(weight))


def _telling(first: Tensor, slope: Tensor, unit: Tensor) -> Tensor:
    """Directions in which points tell trajectories apart, (P, K), of points in these units."""
    first = (first - first.mean(0)) / unit
    slope = slope * unit.unsqueeze(1)
    _, explains, directions = torch.linalg.svd(first @ slope, full_matrices=False)
    shares = explains**2 / (explains**2).sum().clamp(min=1e-12)
    telling: Tensor = slope @ directions[shares > MIN_EXPLAINED_SHARE].T
    if telling.numel():
        telling = TELLING_DEVIATION * telling / (first @ telling).std(0)
    return telling
