# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Another normalisation of the joints for a network that was trained with one."""

from __future__ import annotations

from typing import Any

import torch

from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.streams.preprocess import JointNormaliser


@torch.no_grad()
def renormalise(model: SARNN, old: JointNormaliser, new: JointNormaliser) -> None:
    """Change the weights so that joints normalised by `new` give what those by `old` gave.

    With old = gain · new + shift, W·old + b = (W·gain)·new + (b + W·shift), and an output y of
    `old` is (y - shift) / gain of `new`. The latter is exact where y is above 0, as the last
    layer is followed by a LeakyReLU.
    """
    low, high = new.joint_range
    span = old.maximum - old.minimum
    gain = (new.maximum - new.minimum) / span
    shift = low - gain * low + (high - low) * (new.minimum - old.minimum) / span
    gains, shifts = (torch.from_numpy(one).to(model.rec.bias_ih) for one in (gain, shift))
    inputs = model.rec.weight_ih[:, -len(gain) :]  # after the points
    model.rec.bias_ih.add_(inputs @ shifts)
    inputs.mul_(gains)
    last: Any = model.decoder_joint[0]
    last.weight.div_(gains.unsqueeze(1))
    last.bias.sub_(shifts).div_(gains)
