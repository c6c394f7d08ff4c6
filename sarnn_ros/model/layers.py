# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The layers that make SARNN: points from feature maps, and heat maps from points. Torch only.

Names and signatures are those of EIPL's `SpatialSoftmax` and `InverseSpatialSoftmax`. Width and
height are what they say: EIPL swaps them twice, which cancels for square images only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def create_position_encoding(
    width: int, height: int, normalized: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates of every cell of a `height` x `width` map.

    :param normalized: x and y both span [0, 1]; otherwise they are cell indices.
    :returns: float32 pos_xy (2, height, width), pos_x and pos_y (height * width,), row by row.
    """
    x = torch.linspace(0, 1, width) if normalized else torch.arange(width).float()
    y = torch.linspace(0, 1, height) if normalized else torch.arange(height).float()
    pos_y, pos_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([pos_x, pos_y]), pos_x.flatten(), pos_y.flatten()


class SpatialSoftmax(nn.Module):
    """Expected position of each channel's softmax: where the channel "looks".

    :param temperature: of the softmax; None makes it a parameter learnt from 1.
    """

    pos_x: Tensor
    pos_y: Tensor

    def __init__(
        self,
        width: int,
        height: int,
        temperature: float | None = 1e-4,
        normalized: bool = True,
    ) -> None:
        super().__init__()
        self.width = width
        self.height = height
        self.temperature = nn.Parameter(torch.ones(1)) if temperature is None else temperature
        _, pos_x, pos_y = create_position_encoding(width, height, normalized)
        self.register_buffer("pos_x", pos_x)
        self.register_buffer("pos_y", pos_y)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, height, width) to keys (N, C, 2) as [x, y], and attention maps of x's shape."""
        found = tuple(x.shape[2:])
        assert found == (self.height, self.width), f"{found}, not {(self.height, self.width)}"
        attention = torch.softmax(x.flatten(2) / self.temperature, dim=-1)
        keys = attention @ torch.stack([self.pos_x, self.pos_y], dim=-1)
        return keys, attention.reshape(x.shape)


class InverseSpatialSoftmax(nn.Module):
    """A heat map exp(-d^2 / heatmap_size) around each point, on the grid of `SpatialSoftmax`.

    :param convex: False turns the map over (1 - heat), as EIPL's option of that name.
    """

    pos_xy: Tensor
    _row: Tensor
    _column: Tensor

    def __init__(
        self,
        width: int,
        height: int,
        heatmap_size: float = 0.1,
        normalized: bool = True,
        convex: bool = True,
    ) -> None:
        super().__init__()
        self.width = width
        self.height = height
        self.heatmap_size = heatmap_size
        self.normalized = normalized
        self.convex = convex
        pos_xy, _, _ = create_position_encoding(width, height, normalized)
        self.register_buffer("pos_xy", pos_xy)
        # Its two axes by themselves: taken from it at every step, they would be a Gather in the
        # exported graph of a large image, an operator that `policy.graph` does not allow.
        self.register_buffer("_row", pos_xy[0, 0].clone(), persistent=False)
        self.register_buffer("_column", pos_xy[1, :, 0].clone(), persistent=False)

    def forward(self, keys: Tensor) -> Tensor:
        """Points (N, C, 2) as [x, y] to heat maps (N, C, height, width) in [0, 1]."""
        # exp(-(dx^2 + dy^2) / s) = exp(-dx^2 / s) exp(-dy^2 / s): two vectors, not a full grid.
        heat_x = torch.exp(-((self._row - keys[..., :1]) ** 2) / self.heatmap_size)
        heat_y = torch.exp(-((self._column - keys[..., 1:]) ** 2) / self.heatmap_size)
        heat = heat_y.unsqueeze(-1) * heat_x.unsqueeze(-2)
        return heat if self.convex else 1.0 - heat


class ConvTranspose2d(nn.ConvTranspose2d):
    """Transposed convolution of stride 1, computed as a convolution with the flipped kernel.

    Same parameters and result (to rounding) as torch's; on CPU its forward and backward together
    take about four fifths of the time where there are more channels out than in.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        kernel = self.weight.flip(2, 3).transpose(0, 1)
        border = self.kernel_size[0] - 1
        return functional.conv2d(input, kernel, self.bias, padding=border)
