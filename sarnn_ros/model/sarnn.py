# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SARNN: spatial attention with a recurrent neural network. Torch only; no data, no training.

Parameter names, initialisation and outputs are those of EIPL's implementation, so that its
checkpoints load and its papers apply. Beyond it: several cameras, a stride-2 variant, points that
are replaced where they are not where they are expected, and numbers that tell the motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from sarnn_ros.geometry import feature_size
from sarnn_ros.model import MAX_GATED_SHARE
from sarnn_ros.model.layers import ConvTranspose2d, InverseSpatialSoftmax, SpatialSoftmax

#: (h, c) of the LSTM, each (B, rec_dim).
State = tuple[Tensor, Tensor]
#: Where each point is expected in this image, (B, P), and how far from there it may be,
#: (B, P / 2), see `through`; and the motion, (B, motion_dim), of a network that gets it.
Gate = tuple[Tensor, ...]
#: One camera's images as a tensor, or one tensor per camera.
Images = Tensor | Sequence[Tensor]


class VisionBranch(nn.Module):
    """One camera: points out of its image, and a predicted image out of points.

    :param im_size: (height, width) in pixels.
    :param stride: of the first convolution. 1 is EIPL's network; 2 costs about a quarter.
    :param slope: of every LeakyReLU below zero.
    """

    def __init__(
        self,
        k_dim: int,
        temperature: float | None,
        heatmap_size: float,
        im_size: tuple[int, int],
        stride: int = 1,
        slope: float = 0.3,
    ) -> None:
        super().__init__()
        self.im_size = im_size
        height, width = (feature_size(pixels, stride) for pixels in im_size)
        if min(height, width) < 2:
            raise ValueError(f"im_size {im_size} leaves a {height}x{width} feature map: too small")

        def activation() -> nn.Module:
            return nn.LeakyReLU(slope, inplace=True)

        def encoder() -> list[nn.Module]:
            return [
                nn.Conv2d(3, 16, 3, stride), activation(),
                nn.Conv2d(16, 32, 3), activation(),
                nn.Conv2d(32, k_dim, 3), activation(),
            ]  # fmt: skip

        self.pos_encoder = nn.Sequential(*encoder(), SpatialSoftmax(width, height, temperature))
        self.im_encoder = nn.Sequential(*encoder())
        self.issm = InverseSpatialSoftmax(width, height, heatmap_size, normalized=True)
        # With stride 2 the rows and columns that the encoder dropped are padded back.
        missing = ((im_size[0] - 3) % stride, (im_size[1] - 3) % stride)
        self.decoder_image = nn.Sequential(
            ConvTranspose2d(k_dim, 32, 3), activation(),
            ConvTranspose2d(32, 16, 3), activation(),
            nn.ConvTranspose2d(16, 3, 3, stride, output_padding=missing), activation(),
        )  # fmt: skip

    def extract(self, image: Tensor) -> Tensor:
        """Images (N, 3, H, W) to attention points (N, 2 * k_dim): x0, y0, x1, y1, …"""
        # A transposed image has as many cells, and would give points that mean nothing.
        found = tuple(image.shape[2:])
        assert found == self.im_size, f"images of {found}, not of im_size {self.im_size}"
        keys: Tensor = self.pos_encoder(image)[0]
        return keys.flatten(1)

    def render(self, image: Tensor, points: Tensor) -> Tensor:
        """The image predicted for the next tick, (N, 3, H, W).

        :param image: of this tick, (N, 3, H, W).
        :param points: predicted for the next tick, (N, 2 * k_dim).
        """
        heat = self.issm(points.reshape(len(points), points.shape[1] // 2, 2))
        predicted: Tensor = self.decoder_image(heat * self.im_encoder(image))
        return predicted


class SARNN(VisionBranch):
    """The network of EIPL's reference implementation. The first camera's layers are the network's
    own, unprefixed.

    :param rec_dim: size of the LSTM's state.
    :param k_dim: attention points per camera.
    :param joint_dim: entries of the joint vector.
    :param temperature: of the spatial softmax; None learns it.
    :param heatmap_size: of the heat map around each predicted point.
    :param kernel_size: 3; there because EIPL's has it.
    :param im_size: (height, width) of the images, EIPL's order; one pair per camera if several.
    :param stride: 1, or 2 for the faster variant, which EIPL cannot load.
    :param slope: of every LeakyReLU below zero. EIPL's had 0.01 until December 2023.
    :param motion_dim: beside the points the recurrent part gets so many numbers that tell the
        motion, estimated from all points together, see `policy.expectation`. EIPL cannot load it.
    :ivar point_dim: 2 * k_dim * cameras, P below.
    """

    def __init__(
        self,
        rec_dim: int,
        k_dim: int = 5,
        joint_dim: int = 14,
        temperature: float | None = 1e-4,
        heatmap_size: float = 0.1,
        kernel_size: int = 3,
        im_size: Sequence[int] | Sequence[Sequence[int]] = (64, 64),
        stride: int = 1,
        slope: float = 0.3,
        motion_dim: int = 0,
    ) -> None:
        if kernel_size != 3:
            raise ValueError(
                f"kernel_size {kernel_size} must be 3: EIPL has the argument, but its grids and "
                "image sizes fit no other"
            )
        sizes = [(height, width) for height, width in _pairs(im_size)]
        super().__init__(k_dim, temperature, heatmap_size, sizes[0], stride, slope)
        self.rec_dim = rec_dim
        self.k_dim = k_dim
        self.joint_dim = joint_dim
        self.stride = stride
        self.slope = slope
        self.motion_dim = motion_dim
        self.point_dim = points = 2 * k_dim * len(sizes)
        self.rec = nn.LSTMCell(points + motion_dim + joint_dim, rec_dim)
        self.decoder_joint = nn.Sequential(nn.Linear(rec_dim, joint_dim), nn.LeakyReLU(slope))
        self.decoder_point = nn.Sequential(nn.Linear(rec_dim, points), nn.LeakyReLU(slope))
        self.other_cameras = nn.ModuleList(
            VisionBranch(k_dim, temperature, heatmap_size, size, stride, slope)
            for size in sizes[1:]
        )
        self.apply(_initialise)

    @property
    def branches(self) -> list[VisionBranch]:
        """One per camera, in the spec's order."""
        return [self, *(cast(VisionBranch, branch) for branch in self.other_cameras)]

    def forward(
        self, xi: Images, xv: Tensor, state: State | None = None, gate: Gate | None = None
    ) -> tuple[Images, Tensor, Tensor, Tensor, State]:
        """One tick.

        :param xi: image (B, 3, H, W); a sequence of them for several cameras.
        :param xv: joints (B, joint_dim).
        :param state: as returned; None at the start of an episode.
        :param gate: None: open, and a motion of 0, the mean one.
        :returns: y_image (as xi), y_joint (B, joint_dim), both predicted for the next tick;
            enc_pts seen now and dec_pts predicted, (B, 2 * k_dim * cameras); the new state.
        """
        y_joint, enc_pts, dec_pts, state = self.act(xi, xv, state, gate)
        return self.predict_image(xi, dec_pts), y_joint, enc_pts, dec_pts, state

    def act(
        self, xi: Images, xv: Tensor, state: State | None = None, gate: Gate | None = None
    ) -> tuple[Tensor, Tensor, Tensor, State]:
        """`forward` without the predicted image, which nothing else depends on."""
        points = enc_pts = self.encode(xi)
        motion: Sequence[Tensor] = [xv.new_zeros(len(xv), self.motion_dim)]
        if gate is not None:
            points, motion = through(enc_pts, *gate[:2]), gate[2:]
        state = self.rec(torch.cat([points, *motion, xv], dim=-1), state)
        hidden = state[0]
        return self.decoder_joint(hidden), enc_pts, self.decoder_point(hidden), state

    def encode(self, xi: Images) -> Tensor:
        """Attention points of every camera, (N, 2 * k_dim * cameras). No recurrence: N = B * T."""
        images = [xi] if isinstance(xi, Tensor) else xi
        found = [branch.extract(x) for branch, x in zip(self.branches, images, strict=True)]
        return torch.cat(found, dim=-1)

    def recur(
        self, points: Tensor, joints: Tensor, state: State | None = None
    ) -> tuple[Tensor, State]:
        """`rec` over whole sequences: points (B, T, P), joints (B, T, D) to hidden (B, T, R).

        :param points: and after them the motion, (B, T, motion_dim), of a network that gets it.
        :param state: h and c.
        """
        inputs = torch.cat([points, joints], dim=-1)
        # Of another number of inputs torch.lstm makes numbers that mean nothing.
        wanted = self.rec.weight_ih.shape[1]
        assert inputs.shape[-1] == wanted, f"{inputs.shape[-1]} inputs, not {wanted}"
        if state is None:
            zero = inputs.new_zeros(inputs.shape[0], self.rec_dim)
            state = (zero, zero)
        rec = self.rec
        hidden, last_h, last_c = torch.lstm(
            inputs,
            (state[0].unsqueeze(0), state[1].unsqueeze(0)),
            (rec.weight_ih, rec.weight_hh, rec.bias_ih, rec.bias_hh),
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=False,
            batch_first=True,
        )
        return hidden, (last_h[0], last_c[0])

    def predict_image(self, xi: Images, dec_pts: Tensor) -> Images:
        """Next image of every camera from this tick's images and the predicted points."""
        if isinstance(xi, Tensor):
            return self.render(xi, dec_pts)
        parts = torch.split(dec_pts, 2 * self.k_dim, dim=-1)
        branches = zip(self.branches, xi, parts, strict=True)
        return [branch.render(image, points) for branch, image, points in branches]


def through(points: Tensor, expected: Tensor, reach: Tensor) -> Tensor:
    """What the recurrent part gets of the points of this image, (B, P).

    A point that is further from where it is expected, (B, P), than it may be, (B, P / 2), is
    replaced by the expected one: its filter has found something else, which was never shown. So
    does the validation gate of target tracking (Bar-Shalom and Fortmann 1988). If more than
    `MAX_GATED_SHARE` of them are, things or a camera have moved, and what is seen counts.
    """
    off = (points - expected).reshape(*reach.shape, 2)
    outside = off.square().sum(-1) > reach.square()
    few = outside.to(points.dtype).mean(-1, keepdim=True) <= MAX_GATED_SHARE
    replaced = (outside & few).unsqueeze(-1).expand(off.shape).reshape(points.shape)
    return torch.where(replaced, expected, points)


def _pairs(im_size: Sequence[int] | Sequence[Sequence[int]]) -> list[Sequence[int]]:
    if isinstance(im_size[0], int):
        return [im_size]  # type: ignore[list-item]
    return list(im_size)  # type: ignore[arg-type]


def _initialise(module: nn.Module) -> None:
    """As EIPL: Xavier uniform weights, orthogonal recurrent weights, no bias."""
    if isinstance(module, SpatialSoftmax) and isinstance(module.temperature, nn.Parameter):
        nn.init.ones_(module.temperature)
    elif isinstance(module, nn.LSTMCell):
        nn.init.xavier_uniform_(module.weight_ih)
        nn.init.orthogonal_(module.weight_hh)
        nn.init.zeros_(module.bias_ih)
        nn.init.zeros_(module.bias_hh)
    elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
