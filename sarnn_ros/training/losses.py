# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SARNN's loss over whole sequences, parallel in time and masked. No optimiser, no data loading.

Nothing in the encoder or the image decoder depends on the recurrent state when the inputs are the
recorded ones. So all frames are encoded at once, one LSTM runs over the sequences, and all
predictions are decoded at once: the loss and gradient of the seed's step loop, to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.training.chunks import map_chunks, sum_chunks
from sarnn_ros.training.memory import Fits


def masked_mse(prediction: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error over the valid (B, T) rows of (B, T, D); 0 where there is none."""
    squares = ((prediction - truth) ** 2).mean(-1)
    return (squares * valid).sum() / valid.sum().clamp(min=1)


def encode(model: SARNN, frames: Sequence[Tensor], fits: int) -> Tensor:
    """Attention points (N, P) of N frames.

    :param fits: frames whose activations fit into memory, see `chunks.map_chunks`.
    """
    parameters = [
        parameter for branch in model.branches for parameter in branch.pos_encoder.parameters()
    ]
    return map_chunks(lambda *part: model.encode(part), parameters, frames, fits)


def recurrent_losses(
    model: SARNN, points: Tensor, joints: Tensor, targets: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Joint and attention-point loss of B sequences.

    The point loss is bidirectional: the point decoded at t for t + 1 and the one encoded at t + 1
    pull each other (seed: Backpropagation Through Time). As there, the last frame only serves as
    an image target.

    :param points: encoded points (B, T - 1, P).
    :param joints: (B, T - 1, D), inputs.
    :param targets: (B, T - 1, D), what the prediction at t should be.
    :param lengths: ticks per episode, (B,), of T.
    :returns: joint loss, point loss, decoded points (B, T - 1, P).
    """
    hidden, _ = model.recur(points, joints)
    decoded = model.decoder_point(hidden)
    ticks = torch.arange(points.shape[1], device=points.device)
    valid = ticks < (lengths - 1).unsqueeze(1)
    joint_loss = masked_mse(model.decoder_joint(hidden), targets, valid)
    point_loss = masked_mse(decoded[:, :-1], points[:, 1:], valid[:, 1:])
    return joint_loss, point_loss, decoded


def image_loss(
    model: SARNN,
    frames: Sequence[Tensor],
    decoded: Tensor,
    following: Sequence[Tensor],
    fits: int,
    autocast: bool = False,
) -> Tensor:
    """Mean squared error of the predicted images, averaged over the cameras.

    :param frames: inputs, per camera (N, 3, H, W).
    :param decoded: points decoded at those frames, (N, P).
    :param following: the clean frames one tick later.
    :param fits: frames to predict at once on a GPU, see `chunks.sum_chunks`.
    :param autocast: predict in bfloat16 where torch holds it safe. Only here: of a feature map
        divided by the temperature 1e-4, bfloat16's 8 bits would leave the attention a lottery.
    """
    parameters = [
        parameter
        for branch in model.branches
        for part in (branch.im_encoder, branch.decoder_image)
        for parameter in part.parameters()
    ]

    def errors(points: Tensor, *images: Tensor) -> Tensor:
        """Of each frame, over its pixels and the cameras."""
        cameras = len(images) // 2
        with torch.autocast(points.device.type, torch.bfloat16, enabled=autocast):
            predicted = model.predict_image(images[:cameras], points)
        squares = [
            ((image.to(truth.dtype) - truth) ** 2).mean((1, 2, 3))
            for image, truth in zip(predicted, images[cameras:], strict=True)
        ]
        return torch.stack(squares).mean(0)

    total = sum_chunks(errors, parameters, [decoded, *frames, *following], fits)
    return total / max(1, len(decoded))


@dataclass(frozen=True)
class Batch:
    """What one process contributes to an update: B episodes, and N of their frames.

    frames: augmented inputs per camera, (N, 3, H, W); the first `encoded` of them train the
    attention, the first P have their next image predicted. row, tick: (N,), where they lie in
    points, joints and targets, (B, T - 1, …). following: per camera (P, 3, H, W), clean.
    shares: this process's part of what each mean (image, joint, point) is taken over.
    fixed: the attention is encoded only, and not trained.
    """

    frames: Sequence[Tensor]
    row: Tensor
    tick: Tensor
    encoded: int
    following: Sequence[Tensor]
    points: Tensor
    joints: Tensor
    targets: Tensor
    lengths: Tensor
    shares: tuple[float, float, float]
    fixed: bool


class Objective(nn.Module):
    """The losses of a batch as a module, which is what DistributedDataParallel wraps."""

    def __init__(self, model: SARNN, fits: Fits, autocast: bool = False) -> None:
        super().__init__()
        self.model = model
        self.fits = fits
        self.autocast = autocast

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Image, joint and point loss (3,), times the batch's shares, and the encoded points."""
        model, row, tick, encoded = self.model, batch.row, batch.tick, batch.encoded
        with torch.set_grad_enabled(torch.is_grad_enabled() and not batch.fixed):
            fresh = encode(model, [camera[:encoded] for camera in batch.frames], self.fits.points)
        points = batch.points.index_put((row[:encoded], tick[:encoded]), fresh)
        joint, point, decoded = recurrent_losses(
            model, points, batch.joints, batch.targets, batch.lengths
        )
        image = torch.zeros_like(joint)
        if batch.following:
            count = len(batch.following[0])
            inputs = [camera[:count] for camera in batch.frames]
            there = decoded[row[:count], tick[:count]]
            image = image_loss(
                model, inputs, there, batch.following, self.fits.images, self.autocast
            )
        losses = torch.stack([image, joint, point])
        return losses * losses.new_tensor(batch.shares), fresh
