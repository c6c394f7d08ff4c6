# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From a trained network to a policy directory, checked before it is written."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from sarnn_ros import __version__
from sarnn_ros.errors import PolicyError
from sarnn_ros.model.layers import SpatialSoftmax
from sarnn_ros.model.sarnn import SARNN, VisionBranch, through
from sarnn_ros.policy.backends import Array, OnnxBackend, initial_state, load_model, open_gate
from sarnn_ros.policy.card import CARD, write_card
from sarnn_ros.policy.directory import (
    COMMAND_GRAPH,
    CONFIG,
    FULL_GRAPH,
    WEIGHTS,
    CameraReference,
    Envelope,
    Health,
    ModelConfig,
    Normalisation,
    Places,
    PolicyConfig,
    commit,
    gate_shapes,
)
from sarnn_ros.policy.graph import export_graphs
from sarnn_ros.policy.reference import encode, file_name
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.spec import Spec
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.streams.registration import Reference

#: Largest difference between ONNX Runtime and PyTorch on the same input, in the model's ranges;
#: of an output that is larger than 1, as a share of its largest value: rounding grows with it.
TOLERANCE = 1e-4
#: Rounding of a feature before the softmax, relative to the largest one: some 100 units in the
#: last place, for convolutions that sum in another order.
_FEATURE_ROUNDING = 1e-5


def export_policy(
    out_dir: str | Path,
    model: SARNN,
    *,
    spec: Spec,
    normaliser: JointNormaliser,
    envelope: Envelope,
    training: Mapping[str, Any],
    health: Callable[[Policy], Health | None] = lambda policy: None,
    references: Mapping[str, tuple[Reference, CameraReference]] | None = None,
    places: Places | None = None,
    extra_files: Mapping[str, Path] | None = None,
) -> PolicyConfig:
    """Write a policy directory, whole or not at all; see `directory.commit`. And its card.

    :param model: left as it is, wherever it is.
    :param training: a summary that JSON can hold.
    :param health: measures the finished policy's prediction errors; see `policy.health`.
    :param references: see `policy.reference`.
    :param places: see `policy.expectation`.
    :param extra_files: further files to keep with the policy (curves), by the name to give them.
    :returns: the config as written.
    :raises PolicyError: the parts do not fit together, the weights are not finite, ONNX Runtime
        does not compute what PyTorch does, or the directory cannot be written. Nothing is changed
        then.
    """
    references, extra_files = references or {}, extra_files or {}
    model = copy.deepcopy(model).cpu().float().eval()
    state = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    if bad := [name for name, value in state.items() if not bool(torch.isfinite(value).all())]:
        raise PolicyError(
            f"weights that are not finite: {', '.join(bad)}",
            where=out_dir,
            remedy="train again with a lower learning rate, or go back to an earlier checkpoint",
        )
    try:
        config = PolicyConfig(
            code_version=__version__,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            model=describe_model(model),
            spec=spec,
            normalisation=Normalisation(
                minimum=tuple(np.asarray(normaliser.minimum, np.float64).tolist()),
                maximum=tuple(np.asarray(normaliser.maximum, np.float64).tolist()),
            ),
            envelope=envelope,
            places=places,
            references={name: about for name, (_, about) in references.items()},
            training=dict(training),
            files={},
        )
    except ValueError as error:
        raise PolicyError(f"the parts do not fit together: {error}", where=out_dir) from error
    cameras = [camera.name for camera in spec.cameras]
    command, full = export_graphs(model, cameras, gate_shapes(config.model))
    contents = {WEIGHTS: save(state), COMMAND_GRAPH: command, FULL_GRAPH: full}
    contents |= {file_name(name): encode(one) for name, (one, _) in references.items()}
    if taken := sorted(set(extra_files) & {*contents, CONFIG, CARD}):
        raise PolicyError(f"extra files cannot be called {taken}", where=out_dir)
    with tempfile.TemporaryDirectory(prefix="sarnn_export_") as scratch:
        files = {name: Path(scratch) / name for name in contents}
        for name, path in files.items():
            path.write_bytes(contents[name])
        trial = Path(scratch) / "trial"
        written = commit(trial, config, files)
        backend = OnnxBackend(trial, written, threads=1)
        # Against what the config describes: a network edited in memory only is refused.
        check_backend(backend, load_model(trial, written), written)
        config = config.model_copy(update={"health": health(Policy(written, backend))})
        config = commit(out_dir, config, {**files, **extra_files})
    write_card(Path(out_dir), config)
    return config


def describe_model(model: SARNN) -> ModelConfig:
    """The arguments that make a network of this shape."""
    softmax = _softmax(model)
    learnt = isinstance(softmax.temperature, nn.Parameter)
    return ModelConfig(
        rec_dim=model.rec_dim,
        k_dim=model.k_dim,
        joint_dim=model.joint_dim,
        temperature=None if learnt else float(softmax.temperature),
        heatmap_size=model.issm.heatmap_size,
        im_size=tuple(branch.im_size for branch in model.branches),
        stride=2 if model.stride == 2 else 1,
        slope=model.slope,
        motion_dim=model.motion_dim,
    )


@torch.no_grad()
def check_backend(backend: OnnxBackend, model: SARNN, config: PolicyConfig) -> None:
    """Compare with PyTorch over some ticks of noise, each from the backend's own state.

    A softmax of temperature 1e-4 magnifies the rounding of its features ten-thousandfold where two
    of them nearly tie. So the points may differ by as much as rounding can move them, which is
    worked out per point; all else is compared given the points, to `TOLERANCE`.

    :raises PolicyError: they differ by more.
    """
    random = np.random.default_rng(0)
    (low, high), (joint_low, joint_high) = config.spec.image_range, config.spec.joint_range
    recurrent = initial_state(config.model)
    for tick in range(8):
        images = [
            random.uniform(low, high, (1, 3, *size)).astype(np.float32)
            for size in config.model.im_size
        ]
        joints = random.uniform(joint_low, joint_high, (1, model.joint_dim)).astype(np.float32)
        before = [torch.from_numpy(part) for part in recurrent]
        gate = open_gate(config.model)
        if tick % 2:  # a third of the points must be where they are expected
            gate[0][:] = random.uniform(0, 1, gate[0].shape)
            gate[1][:, ::3] = 0
            for motion in gate[2:]:
                motion[:] = random.normal(size=motion.shape)
        found = backend.run(images, joints, recurrent, gate, want_image=True)
        brief = backend.run(images, joints, recurrent, gate, want_image=False)
        recurrent = found.recurrent

        xi = [torch.from_numpy(image) for image in images]
        exact, slack = _exact_points(model, xi)
        limits = [torch.from_numpy(part) for part in gate]
        points = through(torch.from_numpy(found.points), *limits[:2])
        seen = [points, *limits[2:], torch.from_numpy(joints)]
        h, c = model.rec(torch.cat(seen, -1), (before[0], before[1]))
        dec_pts = model.decoder_point(h)
        expected: dict[str, tuple[Any, Tensor, Any]] = {
            "points": (found.points, exact, TOLERANCE + slack),
            "points without image": (brief.points, exact, TOLERANCE + slack),
            "action": (found.action, model.decoder_joint(h), TOLERANCE),
            "predicted points": (found.points_next, dec_pts, TOLERANCE),
            "h": (recurrent[0], h, TOLERANCE),
            "c": (recurrent[1], c, TOLERANCE),
        }
        assert found.images is not None
        for index, image in enumerate(model.predict_image(xi, dec_pts)):
            expected[f"image {index}"] = (found.images[index], image, TOLERANCE * (high - low))
        for name, (value, reference, tolerance) in expected.items():
            difference = np.abs(value - reference.numpy())
            relative = TOLERANCE * float(reference.abs().max())
            if not (difference <= np.maximum(tolerance, relative)).all():
                raise PolicyError(
                    f"ONNX Runtime and PyTorch differ in {name} by {difference.max():.2g} "
                    f"at tick {tick}",
                    remedy="a network with other activations or layers than its ModelConfig says "
                    "cannot be exported; a new option of model/ belongs there too",
                )


def _exact_points(model: SARNN, images: list[Tensor]) -> tuple[Tensor, Array]:
    """The points in double precision, and how far rounding of the features may move each."""
    points, slack = [], []
    for branch, image in zip(model.branches, images):
        branch = copy.deepcopy(branch).double()
        softmax = _softmax(branch)
        features = branch.pos_encoder[:-1](image.double())
        keys, attention = softmax(features)[:2]
        grid = torch.stack([softmax.pos_x, softmax.pos_y], dim=-1)
        distance = (grid - keys[0][:, None]).abs()
        spread = (attention[0].flatten(1)[..., None] * distance).sum(1)
        rounding = _FEATURE_ROUNDING * float(features.abs().max())
        points.append(keys.flatten(1))
        slack.append((spread * rounding / float(softmax.temperature)).flatten())
    return torch.cat(points, -1), torch.cat(slack).numpy()


def _softmax(branch: VisionBranch) -> SpatialSoftmax:
    softmax = branch.pos_encoder[-1]
    assert isinstance(softmax, SpatialSoftmax)
    return softmax
