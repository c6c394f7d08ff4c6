# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SARNN: spatial attention with a recurrent neural network. Torch only; no data, no training.

Parameter names, initialisation and outputs are those of EIPL's implementation, so that its
checkpoints load and its papers apply. Beyond it: several cameras, a stride-2 variant, and points
that are remembered (`point_memory`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from sarnn_ros.geometry import feature_size
from sarnn_ros.model import MAX_GATED_SHARE, UNSEEN_STRENGTH
from sarnn_ros.model.layers import ConvTranspose2d, InverseSpatialSoftmax, SpatialSoftmax

#: (h, c) of the LSTM, each (B, rec_dim); with `point_memory` also strength, (B, k_dim * cameras),
#: and remembered points, (B, 2 * k_dim * cameras).
State = tuple[Tensor, ...]
#: Where each point is expected in this image, and where a point may be remembered, (B, P), each
#: with how far from there it may be, (B, P / 2), see `through`; and the motion, if there is one.
Gate = tuple[Tensor, ...]
#: One camera's images as a tensor, or one tensor per camera.
Images = Tensor | Sequence[Tensor]


class VisionBranch(nn.Module):
    """One camera: points out of its image, and a predicted image out of points.

    :param im_size: (height, width) in pixels.
    :param stride: of the first convolution. 1 is EIPL's network; 2 costs about a quarter.
    :param slope: of every LeakyReLU below zero.
    :param strength: tell it, see `extract`.
    """

    def __init__(
        self,
        k_dim: int,
        temperature: float | None,
        heatmap_size: float,
        im_size: tuple[int, int],
        stride: int = 1,
        slope: float = 0.3,
        strength: bool = False,
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

        self.pos_encoder = nn.Sequential(
            *encoder(), SpatialSoftmax(width, height, temperature, True, strength)
        )
        self.im_encoder = nn.Sequential(*encoder())
        self.issm = InverseSpatialSoftmax(width, height, heatmap_size, normalized=True)
        # With stride 2 the rows and columns that the encoder dropped are padded back.
        missing = ((im_size[0] - 3) % stride, (im_size[1] - 3) % stride)
        self.decoder_image = nn.Sequential(
            ConvTranspose2d(k_dim, 32, 3), activation(),
            ConvTranspose2d(32, 16, 3), activation(),
            nn.ConvTranspose2d(16, 3, 3, stride, output_padding=missing), activation(),
        )  # fmt: skip

    def extract(self, image: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, H, W) to attention points (N, 2 * k_dim): x0, y0, x1, y1, … With
        `strength`, also how strongly each filter answers to the image, (N, k_dim): the logarithm
        of the sum of exponentials by which the spatial softmax divides."""
        # A transposed image has as many cells, and would give points that mean nothing.
        found = tuple(image.shape[2:])
        assert found == self.im_size, f"images of {found}, not of im_size {self.im_size}"
        keys, _, *strength = self.pos_encoder(image)
        return keys.flatten(1), *strength

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
    :param point_memory: beside the points seen now, the recurrent part gets the remembered ones,
        see `remember`. Its input, and the state, are larger then, and EIPL cannot load it.
    :param fading: of each point, all cameras', by how much what is remembered counts less per
        tick; none: 0.
    :param motion_dim: beside both it gets so many numbers that tell the motion, estimated from
        all points together, see `policy.expectation`. With `point_memory` only.
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
        point_memory: bool = False,
        fading: Sequence[float] = (),
        motion_dim: int = 0,
    ) -> None:
        if kernel_size != 3:
            raise ValueError(
                f"kernel_size {kernel_size} must be 3: EIPL has the argument, but its grids and "
                "image sizes fit no other"
            )
        if motion_dim and not point_memory:
            raise ValueError("motion_dim needs point_memory")
        sizes = [(height, width) for height, width in _pairs(im_size)]
        kind = (stride, slope, point_memory)
        super().__init__(k_dim, temperature, heatmap_size, sizes[0], *kind)
        self.rec_dim = rec_dim
        self.k_dim = k_dim
        self.joint_dim = joint_dim
        self.stride = stride
        self.slope = slope
        self.point_memory = point_memory
        self.motion_dim = motion_dim
        self.point_dim = points = 2 * k_dim * len(sizes)
        fades = torch.tensor(fading or [0.0] * (points // 2))
        self.register_buffer("fading", fades, persistent=False)
        self.fading: Tensor
        seen = points * (2 if point_memory else 1) + motion_dim
        self.rec = nn.LSTMCell(seen + joint_dim, rec_dim)
        self.decoder_joint = nn.Sequential(nn.Linear(rec_dim, joint_dim), nn.LeakyReLU(slope))
        self.decoder_point = nn.Sequential(nn.Linear(rec_dim, points), nn.LeakyReLU(slope))
        self.other_cameras = nn.ModuleList(
            VisionBranch(k_dim, temperature, heatmap_size, size, *kind) for size in sizes[1:]
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
        :param gate: of the points, for a network with `point_memory`, and after it the motion
            (B, motion_dim), if there is one; None: open, and a motion of 0, the mean one.
        :returns: y_image (as xi), y_joint (B, joint_dim), both predicted for the next tick;
            enc_pts seen now and dec_pts predicted, (B, 2 * k_dim * cameras); the new state.
        """
        y_joint, enc_pts, dec_pts, state = self.act(xi, xv, state, gate)
        return self.predict_image(xi, dec_pts), y_joint, enc_pts, dec_pts, state

    def act(
        self, xi: Images, xv: Tensor, state: State | None = None, gate: Gate | None = None
    ) -> tuple[Tensor, Tensor, Tensor, State]:
        """`forward` without the predicted image, which nothing else depends on."""
        memory: tuple[Tensor, ...] = ()
        enc_pts, *strengths = self.look(xi)
        points = enc_pts
        if self.point_memory:
            (strength,) = strengths
            before = state[2:] if state is not None else _empty_memory(enc_pts, strength)
            if gate is not None:
                points, strength = through(gate[:4], enc_pts, strength)
            memory = self.remember(points, strength, before)
        motion: tuple[Tensor, ...] = ()
        if self.motion_dim:
            motion = (xv.new_zeros(len(xv), self.motion_dim) if gate is None else gate[4],)
        inputs = torch.cat([points, *memory[1:], *motion, xv], dim=-1)
        hidden, cell = self.rec(inputs, state[:2] if state is not None else None)
        after = (hidden, cell, *memory)
        return self.decoder_joint(hidden), enc_pts, self.decoder_point(hidden), after

    def encode(self, xi: Images) -> Tensor:
        """Attention points of every camera, (N, 2 * k_dim * cameras). No recurrence: N = B * T."""
        return self.look(xi)[0]

    def look(self, xi: Images) -> tuple[Tensor, ...]:
        """`encode`, and with `point_memory` how strongly each filter answers, (N, k_dim *
        cameras)."""
        images = [xi] if isinstance(xi, Tensor) else xi
        found = [branch.extract(x) for branch, x in zip(self.branches, images, strict=True)]
        return tuple(torch.cat(parts, dim=-1) for parts in zip(*found, strict=True))

    def remember(
        self, points: Tensor, strength: Tensor, memory: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        """One tick of the point memory: the spatial softmax over all images so far.

        What a filter looks for is where it answered most strongly since the episode began. So a
        point stays while the arm hides the object, and comes to it when the arm uncovers it,
        without anything that is learnt. As in a softmax by parts, with the strength
        s = log Σ exp(logit) of one image and S of those before it: S' = log(exp S + exp s),
        and the mean moves by exp(s - S') of the way to the point of this image. With `fading`, S
        is less by that at each tick: what is seen now outweighs what was seen as well long ago.

        :param points: of this image, (B, P).
        :param strength: (B, P / 2).
        :param memory: strength, (B, P / 2), and remembered points, (B, P), before this image.
        :returns: both after it.
        """
        before, kept = memory
        before = before - self.fading
        high = torch.maximum(before, strength)
        after = high + torch.log(torch.exp(before - high) + torch.exp(strength - high))
        share = torch.exp(strength - after).unsqueeze(-1)
        pairs = (*strength.shape, 2)
        moved = kept.reshape(pairs) + share * (points - kept).reshape(pairs)
        return after, moved.reshape(points.shape)

    def with_remembered(self, points: Tensor, strength: Tensor) -> Tensor:
        """Points of whole sequences, and the remembered ones beside them, (B, T, 2 * P).

        :param points: (B, T, P).
        :param strength: (B, T, P / 2).
        """
        memory = _empty_memory(points[:, 0], strength[:, 0])
        found = []
        for tick in range(points.shape[1]):
            memory = self.remember(points[:, tick], strength[:, tick], memory)
            found.append(memory[1])
        return torch.cat([points, torch.stack(found, 1)], -1)

    def recur(
        self, points: Tensor, joints: Tensor, state: State | None = None
    ) -> tuple[Tensor, State]:
        """`rec` over whole sequences: points (B, T, P), joints (B, T, D) to hidden (B, T, R).

        :param points: with `point_memory`, beside the remembered ones, (B, T, 2 * P), and after
            these the motion, (B, T, motion_dim).
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


def through(gate: Gate, points: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """What the recurrent part gets instead of points that are not where they are expected: their
    filters have found something else, which was never shown.

    A point outside is replaced by the expected one, and is not remembered: the validation gate of
    target tracking (Bar-Shalom and Fortmann 1988). If more than `MAX_GATED_SHARE` of them are
    outside, things or a camera have moved, and what is seen counts. Nor is a point remembered that
    is far from where its thing was in the first images.

    :param gate: its first four parts.
    :param points: of this image, (B, P).
    :param strength: (B, P / 2).
    :returns: both after it.
    """
    expected, reach, places, near = gate
    outside = _beyond(points, expected, reach)
    few = outside.to(points.dtype).mean(-1, keepdim=True) <= MAX_GATED_SHARE
    outside = outside & few
    unseen = torch.full_like(strength, UNSEEN_STRENGTH)
    elsewhere = outside | _beyond(points, places, near)
    replaced = outside.unsqueeze(-1).expand(*outside.shape, 2).reshape(points.shape)
    return torch.where(replaced, expected, points), torch.where(elsewhere, unseen, strength)


def _beyond(points: Tensor, places: Tensor, reach: Tensor) -> Tensor:
    """Which points (B, P) are further from their places than they may be, bool (B, P / 2)."""
    off = (points - places).reshape(*reach.shape, 2)
    return off.square().sum(-1) > reach.square()


def _empty_memory(points: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
    """The point memory before the first tick, for such points and strengths."""
    return torch.full_like(strength, UNSEEN_STRENGTH), torch.zeros_like(points)


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
