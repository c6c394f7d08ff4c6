# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Standardised attention points: what the recurrent part trains on, and how it is saved.

Attention points move by a few hundredths of the image, which is little beside the joints. Adam
takes long to make the weights large enough; standardised points spare it that. For deployment the
standardisation is folded into the recurrent weights: the file stays EIPL's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sarnn_ros.model.sarnn import SARNN

#: Standard deviation of standardised points: about that of joints normalised to [0, 1].
DEVIATION = 0.3
#: Points that deviate less, as a share of the image, are amplified as if they deviated so much.
MIN_DEVIATION = 0.01


class PointScale(NamedTuple):
    """Standardised = (points - mean) * factor; both (P,)."""

    mean: Tensor
    factor: Tensor

    @classmethod
    def of(cls, points: Tensor) -> PointScale:
        """The scale that gives points (N, P) the mean 0 and the standard deviation 0.3."""
        return cls(points.mean(0), DEVIATION / points.std(0).clamp(min=MIN_DEVIATION))

    def __call__(self, points: Tensor) -> Tensor:
        """Standardise points (…, P)."""
        return (points - self.mean) * self.factor

    @torch.no_grad()
    def fold(self, model: SARNN) -> None:
        """Change the recurrent weights, which expect standardised points, to expect plain ones.

        W·(f∘(p - m)) + b = (W∘f)·p + (b - (W∘f)·m).
        """
        weight = model.rec.weight_ih[:, : len(self.mean)]  # points come before the joints
        weight.mul_(self.factor)
        model.rec.bias_ih.sub_(weight @ self.mean)
