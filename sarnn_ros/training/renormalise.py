# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Other inputs for a network that was trained: joints normalised otherwise, and other numbers that
tell the motion."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.streams.preprocess import JointNormaliser


def gains_of(old: JointNormaliser, new: JointNormaliser) -> NDArray[np.float64]:
    """How many times as wide the new bounds of each joint are, (D,)."""
    return (new.maximum - new.minimum) / (old.maximum - old.minimum)


@torch.no_grad()
def renormalise(model: SARNN, old: JointNormaliser, new: JointNormaliser) -> None:
    """Change the weights so that joints normalised by `new` give what those by `old` gave.

    With old = gain · new + shift, W·old + b = (W·gain)·new + (b + W·shift), and an output y of
    `old` is (y - shift) / gain of `new`. The latter is exact where y is above 0, as the last
    layer is followed by a LeakyReLU.
    """
    low, high = new.joint_range
    span = old.maximum - old.minimum
    gain = gains_of(old, new)
    shift = low - gain * low + (high - low) * (new.minimum - old.minimum) / span
    gains, shifts = (torch.from_numpy(one).to(model.rec.bias_ih) for one in (gain, shift))
    inputs = model.rec.weight_ih[:, -len(gain) :]  # after the points
    model.rec.bias_ih.add_(inputs @ shifts)
    inputs.mul_(gains)
    last: Any = model.decoder_joint[0]
    last.weight.div_(gains.unsqueeze(1))
    last.bias.sub_(shifts).div_(gains)


#: How far off an old estimate of a motion is that counts for half, and rounds of the regression.
MISS_SCALE, ROUNDS = 0.3, 10


@torch.no_grad()
def retell(model: SARNN, old: NDArray[np.float64], new: Tensor) -> None:
    """Change the weights, and `motion_dim`, so that `new` numbers tell what the `old` ones told,
    if there were any: a linear function of them, as both are of the motions. Old ones are
    estimates, of which a few are far off: weighted least squares with Cauchy's weights.

    :param old: of E episodes, (E, motion_dim).
    :param new: of the same, (E, C).
    """
    inputs = np.concatenate([np.ones((len(new), 1)), new.double().cpu().numpy()], 1)
    weight = np.ones(len(new))
    for _ in range(ROUNDS):
        root = np.sqrt(weight)[:, None]
        slope = np.linalg.lstsq(root * inputs, root * old, rcond=None)[0]
        off = np.linalg.norm(old - inputs @ slope, axis=1)
        weight = 1 / (1 + (off / MISS_SCALE) ** 2)
    rec, (points, motion, joints) = model.rec, _weights(model)
    told = torch.from_numpy(slope).to(motion)
    rec.bias_ih.add_(motion @ told[0])
    rec.weight_ih = nn.Parameter(torch.cat([points, motion @ told[1:].T, joints], 1))
    model.motion_dim = new.shape[1]


@torch.no_grad()
def without_motion(model: SARNN) -> SARNN:
    """The network that has no input for the motion, and does what this one does without any."""
    plain, (points, _, joints) = copy.deepcopy(model), _weights(model)
    plain.rec.weight_ih = nn.Parameter(torch.cat([points, joints], 1))
    plain.motion_dim = 0
    return plain


def _weights(model: SARNN) -> Sequence[Tensor]:
    """Of what enters the recurrent part: of the points, the motion and the joints."""
    sizes = [model.point_dim, model.motion_dim, model.joint_dim]
    return torch.split(model.rec.weight_ih, sizes, 1)
