# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""RoboManipBaselines' SARNN, imported: the same commands and points as the network itself gives.

The network is written here from its layers' names and its description, square images only, as its
grids allow no others."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sarnn_ros.errors import PolicyError
from sarnn_ros.interop.eipl_checkpoint import import_eipl, read_eipl
from sarnn_ros.interop.rmb_checkpoint import JOINT_RANGE, to_sarnn
from sarnn_ros.model.layers import InverseSpatialSoftmax, SpatialSoftmax
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.spec import CameraSpec, JointSource, Spec
from sarnn_ros.streams.observe import Observation

SIDES, K, REC, JOINTS = (14, 16), 2, 6, 3
BOUNDS = np.array([[-1.0, 0.0, 2.0], [1.0, 0.5, 3.0]])


def _layers(*channels: int, kind: type[nn.Module] = nn.Conv2d) -> list[nn.Module]:
    return [layer for a, b in pairwise(channels) for layer in (kind(a, b, 3), nn.LeakyReLU(0.3))]


class Rmb(nn.Module):
    """Joints in [0, 1] and one image per camera in, their predictions and the points out."""

    def __init__(self, sides: tuple[int, ...] = SIDES) -> None:
        super().__init__()
        maps = [side - 6 for side in sides]
        self.attention_encoder_list = nn.ModuleList(
            nn.Sequential(*_layers(3, 16, 32, K), SpatialSoftmax(side, side, 1e-4))
            for side in maps
        )
        self.image_encoder_list = nn.ModuleList(
            nn.Sequential(*_layers(3, 16, 32, K)) for _ in maps
        )
        self.lstm = nn.LSTMCell(JOINTS + 2 * K * len(sides), REC)
        self.state_decoder = nn.Sequential(nn.Linear(REC, JOINTS))
        self.attention_decoder_list = nn.ModuleList(
            nn.Sequential(nn.Linear(REC, 2 * K), nn.LeakyReLU(0.3)) for _ in maps
        )
        self.inv_softmax_list = nn.ModuleList(InverseSpatialSoftmax(side, side) for side in maps)
        self.image_decoder_list = nn.ModuleList(
            nn.Sequential(*_layers(K, 32, 16, 3, kind=nn.ConvTranspose2d)[:-1]) for _ in maps
        )

    def forward(
        self, images: list[Tensor], joints: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor], tuple[Tensor, Tensor]]:
        seen = [net(image)[0] for net, image in zip(self.attention_encoder_list, images)]
        state = self.lstm(torch.cat([joints, *(one.flatten(1) for one in seen)], 1), state)
        next_ = [net(state[0]).reshape(-1, K, 2) for net in self.attention_decoder_list]
        shown = [
            draw(heat(points) * encode(image))
            for draw, heat, points, encode, image in zip(
                self.image_decoder_list, self.inv_softmax_list, next_, self.image_encoder_list,
                images,
            )
        ]  # fmt: skip
        return self.state_decoder(state[0]), shown, seen, next_, state


@pytest.fixture
def network() -> Rmb:
    torch.manual_seed(3)
    made = Rmb().eval()
    with torch.no_grad():  # so that predictions lie on both sides of 0
        made.state_decoder[0].bias.copy_(torch.tensor([-0.4, 0.5, 1.3]))
    return made


def spec(sides: tuple[int, ...] = SIDES) -> Spec:
    return Spec(
        cameras=tuple(
            CameraSpec(name=f"camera{row}", topic=f"image{row}", width=side, height=side)
            for row, side in enumerate(sides)
        ),
        joints=(JointSource(names=("a", "b", "c")),),
    )


def test_closed_loop_equals_the_original(network: Rmb, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "policy_last.ckpt")
    np.save(tmp_path / "bounds.npy", BOUNDS)
    notes = import_eipl(
        tmp_path / "policy_last.ckpt", spec(), tmp_path / "bounds.npy", tmp_path / "policy"
    )
    assert any("image_crop_size_list" in note for note in notes)
    policy = Policy.load(tmp_path / "policy")
    assert policy.spec.joint_range == JOINT_RANGE
    rng = np.random.default_rng(0)
    width = BOUNDS[1] - BOUNDS[0]
    joints, state = BOUNDS.mean(0), None
    lowest = 1.0
    for tick in range(8):
        images = {
            f"camera{row}": rng.integers(0, 256, (side, side, 3), np.uint8)
            for row, side in enumerate(SIDES)
        }
        tensors = [
            torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
            for image in images.values()
        ]
        scaled = torch.tensor(((joints - BOUNDS[0]) / width)[None], dtype=torch.float32)
        with torch.no_grad():
            wanted, _, seen, next_, state = network(tensors, scaled, state)
        said = policy.step(Observation(tick, images, joints, {}, images))
        lowest = min(lowest, float(wanted.min()))
        np.testing.assert_allclose((said.action - BOUNDS[0]) / width, wanted[0].numpy(), atol=2e-5)
        for row, name in enumerate(images):
            np.testing.assert_allclose(said.encoder_points[name], seen[row][0], atol=1e-5)
            np.testing.assert_allclose(said.decoder_points[name], next_[row][0], atol=1e-5)
        joints = said.action
    assert lowest < -0.1  # below the bounds, where an activation would show


def test_bgr_weights_see_rgb_images_of_each_camera_alike(network: Rmb, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "policy_last.ckpt")
    rgb, bgr = (read_eipl(tmp_path / "policy_last.ckpt", bgr=one).model for one in (False, True))
    images = [torch.rand(1, 3, side, side) for side in SIDES]
    joints = torch.rand(1, JOINTS)
    zeros = torch.zeros(1, REC), torch.zeros(1, REC)
    expected = rgb.act(images, joints, zeros)
    found = bgr.act([image.flip(1) for image in images], joints, zeros)
    for left, right in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-4)


def test_a_predicted_image_differs_below_black_only(network: Rmb) -> None:
    ours = SARNN(REC, K, JOINTS, im_size=[(side, side) for side in SIDES])
    ours.load_state_dict(to_sarnn(network.state_dict()))
    images = [torch.rand(1, 3, side, side) for side in SIDES]
    with torch.no_grad():
        _, wanted, _, next_, _ = network(images, torch.rand(1, JOINTS), None)
        found = ours.predict_image(images, torch.cat([one.flatten(1) for one in next_], 1))
    for one, other in zip(found, wanted):
        assert (other < 0).any() and (other > 0).any()
        torch.testing.assert_close(one.clamp(min=0), other.clamp(min=0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("damage", ["missing", "shape", "camera"])
def test_damaged_weights(network: Rmb, tmp_path: Path, damage: str) -> None:
    state = network.state_dict()
    if damage == "missing":
        del state["attention_decoder_list.1.0.bias"]
    elif damage == "shape":
        state["lstm.weight_ih"] = state["lstm.weight_ih"][:, :-1]
    else:
        state["image_encoder_list.x.0.bias"] = torch.zeros(2)
    torch.save(state, tmp_path / "policy_last.ckpt")
    with pytest.raises(PolicyError, match="not the weights of a SARNN"):
        read_eipl(tmp_path / "policy_last.ckpt")
