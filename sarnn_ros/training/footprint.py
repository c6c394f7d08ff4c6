# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much RAM an update takes, and how many frames fit into it. Arithmetic only.

Counted are the tensors that torch keeps for the gradient, each as large as the image or, behind a
first convolution of stride 2, as a quarter of it. That is somewhat more than torch really keeps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.training.chunks import CPU_CHUNK

#: Memory for activations; a GPU that predicts images may need it once more (`chunks.py`). The same
#: on every machine, so that frames are split in the same way.
ACTIVATION_BYTES = 3 * 2**30
#: Copies of a camera's frames while they are distorted. Measured: 7.3 with erasing and hue, 4.3
#: without.
DISTORTION_COPIES = 8


def point_bytes(model: SARNN) -> int:
    """Bytes per frame for attention points, all cameras: image, 16 and 32 channels, k maps,
    softmax."""
    return _bytes(model, whole=3, strided=16 + 32 + 2 * model.k_dim)


def image_bytes(model: SARNN) -> int:
    """Bytes per predicted image, all cameras: image, encoder, heat and its product with the k
    maps; decoder, predicted image, its error."""
    return _bytes(model, whole=3 * 3, strided=16 + 32 + 3 * model.k_dim + 32 + 16)


def _bytes(model: SARNN, whole: int, strided: int) -> int:
    pixels = sum(height * width for height, width in (branch.im_size for branch in model.branches))
    return 4 * (whole * pixels + strided * pixels // model.stride**2)


class Fits(NamedTuple):
    """Frames whose activations fit into memory, of attention points and of predicted images."""

    points: int
    images: int

    @classmethod
    def of(cls, model: SARNN) -> Fits:
        """As many as `ACTIVATION_BYTES` hold."""
        return cls(
            max(1, ACTIVATION_BYTES // point_bytes(model)),
            max(1, ACTIVATION_BYTES // image_bytes(model)),
        )


def update_bytes(
    model: SARNN, fits: Fits, device: torch.device, encoded: int, pictured: int
) -> int:
    """Upper bound for an update: its float32 frames, copies while they are distorted, which the
    process keeps (`machine.keep_memory`), and what the gradient needs.

    :param encoded: frames that train the attention.
    :param pictured: frames whose next image is predicted.
    """
    sizes = [3 * 4 * height * width for height, width in (b.im_size for b in model.branches)]
    frames = max(encoded, pictured)
    at_once = min(pictured, fits.images)
    if device.type == "cpu":
        at_once = min(at_once, CPU_CHUNK * torch.get_num_threads())
    gradient = min(encoded, fits.points) * point_bytes(model) + at_once * image_bytes(model)
    return (frames + pictured) * sum(sizes) + DISTORTION_COPIES * frames * max(sizes) + gradient
