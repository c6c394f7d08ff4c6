# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SARNN rewritten for inference: same outputs, in layers that ONNX Runtime computes faster.

Torch only. Without it the command graph takes 1.3 times as long (k_dim 5).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sarnn_ros.model.sarnn import SARNN

#: Channels that ONNX Runtime's convolutions compute together (AVX-512, Arm; 8 with AVX2).
_BLOCK = 16


def deploy(model: SARNN) -> SARNN:
    """A copy for inference, with the same outputs to rounding, and other parameters.

    Transposed convolutions of stride 1 become convolutions with the flipped kernel, and
    convolutions to few channels are split in two; see `_convolution`.
    """
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        for branch in model.branches:
            for encoder in (branch.pos_encoder, branch.im_encoder):
                last = encoder[4]
                assert isinstance(last, nn.Conv2d) and last.bias is not None
                encoder[4] = _convolution(last.weight, last.bias, padding=0)
            for index, layer in enumerate(branch.decoder_image):
                if isinstance(layer, nn.ConvTranspose2d) and layer.stride == (1, 1):
                    assert layer.bias is not None
                    kernel = layer.weight.flip(2, 3).transpose(0, 1)
                    branch.decoder_image[index] = _convolution(kernel, layer.bias, padding=2)
    return model


def _convolution(kernel: Tensor, bias: Tensor, padding: int) -> nn.Module:
    """A 3x3 convolution, in two steps where its outputs would fill less than a third of a block.

    Then the kernel's three columns get outputs of their own, and a second convolution, of ones,
    adds them up: the same sums in half the time.
    """
    outputs, inputs = kernel.shape[:2]
    if 3 * outputs > _BLOCK:
        return _layer(kernel, bias, (padding, padding))
    columns = kernel.new_zeros(_BLOCK, inputs, 3, 1)
    columns[: 3 * outputs] = kernel.permute(0, 3, 1, 2).reshape(3 * outputs, inputs, 3, 1)
    ones = kernel.new_zeros(outputs, _BLOCK, 1, 3)
    for output in range(outputs):
        ones[output, 3 * output : 3 * output + 3, 0] = torch.eye(3)
    return nn.Sequential(_layer(columns, None, (padding, 0)), _layer(ones, bias, (0, padding)))


def _layer(kernel: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> nn.Conv2d:
    outputs, inputs, height, width = kernel.shape
    size, there = (height, width), bias is not None
    layer = nn.Conv2d(inputs, outputs, size, padding=padding, bias=there, dtype=kernel.dtype)
    layer.weight.copy_(kernel)
    if bias is not None:
        assert layer.bias is not None
        layer.bias.copy_(bias)
    return layer
