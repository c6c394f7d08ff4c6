# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EIPL's reference implementation, written plainly: the network from stock torch layers, the loss
tick by tick.

The baseline of the benchmarks and the reference of the tests. Nothing is imported from sarnn_ros,
and nothing is clever: this is what we must be equal to, and faster than.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ReferenceSARNN(nn.Module):
    """One camera; parameter names as EIPL's. `im_size` is (height, width)."""

    def __init__(
        self,
        rec_dim: int,
        k_dim: int,
        joint_dim: int,
        temperature: float = 1e-4,
        heatmap_size: float = 0.1,
        im_size: tuple[int, int] = (64, 64),
    ) -> None:
        super().__init__()
        self.temperature, self.heatmap_size = temperature, heatmap_size
        height, width = im_size[0] - 6, im_size[1] - 6

        def encoder() -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(3, 16, 3), nn.LeakyReLU(0.3),
                nn.Conv2d(16, 32, 3), nn.LeakyReLU(0.3),
                nn.Conv2d(32, k_dim, 3), nn.LeakyReLU(0.3),
            )  # fmt: skip

        self.pos_encoder, self.im_encoder = encoder(), encoder()
        self.rec = nn.LSTMCell(joint_dim + 2 * k_dim, rec_dim)
        self.decoder_joint = nn.Sequential(nn.Linear(rec_dim, joint_dim), nn.LeakyReLU(0.3))
        self.decoder_point = nn.Sequential(nn.Linear(rec_dim, 2 * k_dim), nn.LeakyReLU(0.3))
        self.decoder_image = nn.Sequential(
            nn.ConvTranspose2d(k_dim, 32, 3), nn.LeakyReLU(0.3),
            nn.ConvTranspose2d(32, 16, 3), nn.LeakyReLU(0.3),
            nn.ConvTranspose2d(16, 3, 3), nn.LeakyReLU(0.3),
        )  # fmt: skip
        y, x = torch.meshgrid(
            torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij"
        )
        self.register_buffer("x", x, persistent=False)
        self.register_buffer("y", y, persistent=False)

    def forward(
        self, image: Tensor, joints: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        features = self.pos_encoder(image)
        attention = torch.softmax(features.flatten(2) / self.temperature, -1)
        attention = attention.reshape(features.shape)
        x, y = (attention * self.x).sum((2, 3)), (attention * self.y).sum((2, 3))
        enc_pts = torch.stack([x, y], -1).flatten(1)

        state = self.rec(torch.cat([enc_pts, joints], -1), state)
        y_joint, dec_pts = self.decoder_joint(state[0]), self.decoder_point(state[0])

        centre = dec_pts.reshape(len(dec_pts), -1, 2, 1, 1)
        square = (self.x - centre[:, :, 0]) ** 2 + (self.y - centre[:, :, 1]) ** 2
        heat = torch.exp(-square / self.heatmap_size)
        y_image = self.decoder_image(heat * self.im_encoder(image))
        return y_image, y_joint, enc_pts, dec_pts, state


def step_loop_losses(
    model: nn.Module, images: Tensor, joints: Tensor, clean: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Image, joint and point loss of equally long episodes, as in EIPL's `process_epoch`.

    :param images: inputs (B, T, 3, H, W); `clean` are the same without noise.
    :param joints: inputs (B, T, D); targets[:, t] is what the prediction at t should be.
    """
    state = None
    y_images, y_joints, enc, dec = [], [], [], []
    for t in range(images.shape[1] - 1):
        y_image, y_joint, enc_pts, dec_pts, state = model(images[:, t], joints[:, t], state)
        y_images.append(y_image)
        y_joints.append(y_joint)
        enc.append(enc_pts)
        dec.append(dec_pts)
    mse = nn.functional.mse_loss
    image_loss = mse(torch.stack(y_images, 1), clean[:, 1:])
    joint_loss = mse(torch.stack(y_joints, 1), targets[:, :-1])
    # Two ticks make one prediction, and no pair of points to compare.
    pairs = len(enc) > 1
    point_loss = mse(torch.stack(dec[:-1]), torch.stack(enc[1:])) if pairs else 0 * joint_loss
    return image_loss, joint_loss, point_loss
