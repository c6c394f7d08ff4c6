# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Small policies with random weights, exported as training would: for all tests and benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy.directory import CameraEnvelope, Envelope
from sarnn_ros.policy.export import export_policy
from sarnn_ros.spec import Spec
from sarnn_ros.streams.preprocess import JointNormaliser


def network(spec: Spec, *, seed: int = 0, **settings: Any) -> SARNN:
    """An initialised network for the spec; small, unless `settings` say otherwise."""
    torch.manual_seed(seed)
    sizes = [(camera.height, camera.width) for camera in spec.cameras]
    settings = {"rec_dim": 16, "k_dim": 4, "joint_dim": spec.joint_dim} | settings
    return SARNN(im_size=sizes[0] if len(sizes) == 1 else sizes, **settings)


def make_linear(model: SARNN, matrix: Any, centre: float) -> None:
    """From now on it predicts centre + matrix (x - centre), of the normalised joints x that it
    observes: gates wide open, and so little of tanh that it is straight.

    :param matrix: (joints, joints). Gradients must be off.
    """
    small, size, dim = 0.02, model.rec.hidden_size, model.decoder_joint[0].out_features
    for parameter in (*model.rec.parameters(), *model.decoder_joint[0].parameters()):
        parameter.zero_()
    gates = model.rec.bias_ih.view(4, size)  # input, forget, cell, output
    gates[0], gates[1], gates[3] = 20.0, -20.0, 20.0
    turned = small * torch.as_tensor(matrix, dtype=torch.float32)
    cells = slice(2 * size, 2 * size + dim)
    model.rec.weight_ih[cells, -dim:] = turned  # the points come before the joints
    model.rec.bias_ih[cells] = -centre * turned.sum(dim=1)
    model.decoder_joint[0].weight[:, :dim] = torch.eye(dim) / small
    model.decoder_joint[0].bias.fill_(centre)


def add_alternation(model: SARNN, amplitudes: Any) -> None:
    """After `make_linear`: from now on each prediction is so much above and below that in turns,
    whatever is observed. A unit of its own turns its sign at every tick; it takes five to reach
    its height.

    :param amplitudes: per joint, normalised. Gradients must be off.
    """
    size, unit = model.rec.hidden_size, len(amplitudes)
    cell = 2 * size + unit
    model.rec.weight_hh[cell, unit] = -3.0
    model.rec.bias_ih[cell] = 0.1  # it begins at zero
    model.decoder_joint[0].weight[:, unit] = torch.as_tensor(amplitudes) / 0.74


def envelope(
    spec: Spec, *, source_size: tuple[int, int] = (64, 64), reach: float = 1.0, **changes: Any
) -> Envelope:
    """What training says of its data: joints within ±`reach`, cameras of `source_size`.

    :param source_size: (width, height).
    :param changes: one number for all joints, or a tuple.
    """
    dim = spec.joint_dim
    step = changes.get("max_step", 0.3)
    fields = {
        "position_min": -reach,
        "position_max": reach,
        "max_step": step,
        "max_change": step,
        "second_difference": step,
        "min_dwell": None,
        "start_pose": 0.3,
        "start_pose_spread": 0.1,
    } | changes
    camera = CameraEnvelope(
        width=source_size[0],
        height=source_size[1],
        brightness_mean=127.0,
        brightness_std=5.0,
        color_mean=(127.0, 127.0, 127.0),
    )
    return Envelope(
        cameras={one.name: camera for one in spec.cameras},
        **{
            name: value if isinstance(value, tuple) else (value,) * dim
            for name, value in fields.items()
        },
    )


def write_policy(
    out: Path,
    spec: Spec,
    model: SARNN | None = None,
    *,
    limits: Envelope | None = None,
    normaliser: JointNormaliser | None = None,
    training: dict[str, Any] | None = None,
    health: Callable[[Any], Any] | None = None,
    references: Any = None,
) -> Path:
    """Export it. By default the joints are normalised from [-1, 1]."""
    dim = spec.joint_dim
    options = {} if health is None else {"health": health}
    export_policy(
        out,
        network(spec) if model is None else model,
        spec=spec,
        normaliser=normaliser or JointNormaliser([-1.0] * dim, [1.0] * dim, spec.joint_range),
        envelope=limits or envelope(spec),
        training=training or {},
        references=references,
        **options,
    )
    return out
