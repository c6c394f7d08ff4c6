# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a frame's activations take, and so how many frames fit. Arithmetic only.

Counted are the tensors that torch keeps for the gradient, each as large as the image or, behind a
first convolution of stride 2, as a quarter of it: somewhat more than there is.
"""

from __future__ import annotations

from typing import NamedTuple

from sarnn_ros.model.sarnn import SARNN

#: For activations; a GPU that predicts images may need it once more (`chunks.py`). The same
#: everywhere, whatever is free: how frames are split must not differ between machines.
MEMORY_BYTES = 3 * 2**30


def point_bytes(model: SARNN) -> int:
    """Of a frame's attention points, all cameras: image, 16 and 32 channels, k maps, softmax."""
    return _bytes(model, whole=3, strided=16 + 32 + 2 * model.k_dim)


def image_bytes(model: SARNN) -> int:
    """Of a predicted image, all cameras: image, encoder, heat and its product with the k maps;
    decoder, predicted image, its error."""
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
        """As many as `MEMORY_BYTES` hold."""
        return cls(
            max(1, MEMORY_BYTES // point_bytes(model)), max(1, MEMORY_BYTES // image_bytes(model))
        )
