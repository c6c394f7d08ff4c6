# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SARNN's loss over whole sequences, parallel in time and masked. No optimiser, no data loading.

Nothing in the encoder or the image decoder depends on the recurrent state when the inputs are the
recorded ones. So all frames are encoded at once, one LSTM runs over the sequences, and all
predictions are decoded at once: the loss and gradient of the seed's step loop, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sarnn_ros.model.sarnn import SARNN


def masked_mse(prediction: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error over the valid (B, T) rows of (B, T, D); 0 where there is none."""
    squares = ((prediction - truth) ** 2).mean(-1)
    return (squares * valid).sum() / valid.sum().clamp(min=1)


def encode(model: SARNN, frames: Sequence[Tensor], chunk: int) -> Tensor:
    """Attention points (N, P) of N frames.

    More than `chunk` frames are taken in chunks that are computed again for the gradient, so that
    the memory is that of one chunk.
    """
    if len(frames[0]) <= chunk:
        return model.encode(frames)
    chunks = zip(*(torch.split(camera, chunk) for camera in frames), strict=True)
    return torch.cat([_recompute(model.encode, part) for part in chunks])


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
    chunk: int,
) -> Tensor:
    """Mean squared error of the predicted images, averaged over the cameras.

    :param frames: inputs, per camera (N, 3, H, W).
    :param decoded: points decoded at those frames, (N, P).
    :param following: the clean frames one tick later.
    """
    if len(decoded) <= chunk:
        return _image_error(model, decoded, *frames, *following) / len(decoded)
    tensors = (decoded, *frames, *following)
    parts = zip(*(torch.split(tensor, chunk) for tensor in tensors), strict=True)
    errors = [_recompute(_image_error, model, *part) for part in parts]
    return torch.stack(errors).sum() / len(decoded)


def _image_error(model: SARNN, decoded: Tensor, *images: Tensor) -> Tensor:
    """Sum over frames of the error averaged over each frame's pixels and over cameras."""
    cameras = len(images) // 2
    predicted = model.predict_image(images[:cameras], decoded)
    errors = [
        ((image - truth) ** 2).mean((1, 2, 3)).sum()
        for image, truth in zip(predicted, images[cameras:], strict=True)
    ]
    return torch.stack(errors).mean()


def _recompute(function: Callable[..., Tensor], *arguments: object) -> Tensor:
    """Call without keeping activations; the backward pass computes them again."""
    result: Tensor = checkpoint(function, *arguments, use_reentrant=False)
    return result
