# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The SARNN of RoboManipBaselines as weights of ours.

Its layers have other names, its recurrent part takes the state before the points, and its
predictions pass no activation. Ours pass a LeakyReLU, which leaves positive values alone; so the
joints' range is moved to where all predictions are positive, which changes weights and biases on
both sides of it and nothing else. A predicted image is the same where it is not below black.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

#: The network's joints: RoboManipBaselines' 0 to 1 ("limits") become this. Predictions that lie
#: less than two ranges below the bounds are exact.
JOINT_RANGE = (0.4, 0.6)
IMAGE_RANGE = (0.0, 1.0)

#: What each list has one of per camera.
_BRANCHES = {
    "attention_encoder_list": "pos_encoder",
    "image_encoder_list": "im_encoder",
    "inv_softmax_list": "issm",
    "image_decoder_list": "decoder_image",
}
_POINTS = "attention_decoder_list"


def is_rmb(names: Iterable[str]) -> bool:
    """Whether parameters of these names are of this network."""
    return any(name.startswith("attention_encoder_list.") for name in names)


def to_sarnn(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of `SarnnPolicy` as those of `model.sarnn.SARNN`, for joints in `JOINT_RANGE`.

    :raises KeyError: one is missing.
    :raises RuntimeError: their shapes contradict each other.
    """
    found: dict[str, Tensor] = {}
    cameras = set()
    for name, value in state.items():
        part, _, rest = name.partition(".")
        if part in _BRANCHES:
            camera, _, rest = rest.partition(".")
            cameras.add(int(camera))
            prefix = f"other_cameras.{int(camera) - 1}." if int(camera) else ""
            found[f"{prefix}{_BRANCHES[part]}.{rest}"] = value
    low, high = JOINT_RANGE
    scale = high - low
    joints = len(state["state_decoder.0.bias"])
    weights = state["lstm.weight_ih"]
    of_joints, of_points = weights[:, :joints] / scale, weights[:, joints:]
    found["rec.weight_ih"] = torch.cat([of_points, of_joints], dim=1)
    found["rec.bias_ih"] = state["lstm.bias_ih"] - low * of_joints.sum(dim=1)
    for name in ("weight_hh", "bias_hh"):
        found[f"rec.{name}"] = state[f"lstm.{name}"]
    found["decoder_joint.0.weight"] = scale * state["state_decoder.0.weight"]
    found["decoder_joint.0.bias"] = scale * state["state_decoder.0.bias"] + low
    for name in ("weight", "bias"):
        points = [state[f"{_POINTS}.{camera}.0.{name}"] for camera in sorted(cameras)]
        found[f"decoder_point.0.{name}"] = torch.cat(points)
    return found
