# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EIPL's files, in and out: `SARNN.pth`, `args.json`, `joint_bounds.npy`.

EIPL keeps the network's sizes in the training script, the value range in `args.json` and the
joints' bounds beside the data; what is missing is inferred from the weights, and reported. The
SARNN of RoboManipBaselines is read, too (`rmb_checkpoint`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json
from torch import Tensor

from sarnn_ros.errors import PolicyError
from sarnn_ros.files import atomic_file, write_text
from sarnn_ros.interop import rmb_checkpoint
from sarnn_ros.interop.eipl_dataset import read_bounds
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy.backends import load_model
from sarnn_ros.policy.directory import (
    CONFIG,
    CameraEnvelope,
    Envelope,
    load_config,
    read_regular,
)
from sarnn_ros.policy.export import export_policy
from sarnn_ros.spec import Spec
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.validation import describe

#: How the grids of all cameras but the first end.
_OTHER_GRID = ".issm.pos_xy"
#: What files of RoboManipBaselines do not say, or only in a pickle, which could run code.
_RMB_NOTES = (
    "RoboManipBaselines' SARNN: joints are scaled by the bounds, images are in [0, 1]",
    "it crops the middle of each image (image_crop_size_list): the spec's 'crop' must be the same",
    "its state is what was commanded, unless state_keys said otherwise",
)
#: Slope of the LeakyReLUs, now and until December 2023.
SLOPE, OLD_SLOPE = 0.3, 0.01
#: Larger weights are no trained network's; they overflow float32 within a few layers.
_LARGEST_WEIGHT = 1e6
#: How the parameters of other networks begin.
_OTHER_NETWORKS = {
    "encoder_image.": "EIPL's CNNRNN",
    "mtrnn.": "EIPL's MTRNN",
    "rnn.": "EIPL's LSTM",
    "encoder.": "EIPL's CAE",
}

#: Prefixes that torch.compile and DistributedDataParallel put before every name.
_PREFIXES = ("_orig_mod.", "module.")
#: Pixels that the convolutions take from height and width.
_BORDER_PIXELS = 6
#: Parameters with an axis of colour channels.
_COLOUR_AXES = {
    "pos_encoder.0.weight": 1,
    "im_encoder.0.weight": 1,
    "decoder_image.4.weight": 1,
    "decoder_image.4.bias": 0,
}

#: Without bags nobody knows how fast the arm was shown to move: this share of the range per tick.
ASSUMED_STEP_SHARE = 0.1


_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[_Finite, Field(gt=0)]


class _Args(BaseModel):
    """What we take from args.json. The defaults are what EIPL's tutorials train with."""

    model_config = ConfigDict(strict=True)

    model: Annotated[Literal["sarnn"], BeforeValidator(lambda name: str(name).lower())] = "sarnn"
    kernel_size: Literal[3] = 3
    temperature: _Positive | None = 1e-4  # None: learnt, so it is among the weights
    heatmap_size: _Positive = 0.1
    vmin: _Finite = 0.0
    vmax: _Finite = 1.0
    slope: _Finite | None = None  # of the LeakyReLUs; only files that we exported have it,
    interpolation: Literal["linear", "area"] = "linear"  # and this; EIPL's tools resize so
    rec_dim: int | None = None
    k_dim: int | None = None
    joint_dim: int | None = None
    im_size: list[int] | None = None

    @model_validator(mode="after")
    def _check(self) -> _Args:
        if not self.vmin < self.vmax:
            raise ValueError(f"vmin is {self.vmin} and vmax {self.vmax}, which is no range")
        return self


#: They must be known, and are not in the weights.
_ASSUMED = ("temperature", "heatmap_size", "vmin", "vmax")


@dataclass(frozen=True)
class Imported:
    """A network from EIPL's files, what its images and joints are scaled to, what had to be
    inferred or assumed on the way, and how its images were resized."""

    model: SARNN
    image_range: tuple[float, float]
    joint_range: tuple[float, float]
    notes: tuple[str, ...]
    interpolation: Literal["linear", "area"]


def read_eipl(
    weights: Path, args: Path | None = None, *, bgr: bool = False, slope: float | None = None
) -> Imported:
    """Build the network that EIPL saved, or RoboManipBaselines.

    :param weights: the `.pth` or `.ckpt`; loaded without executing code. Names as saved plainly,
        by `torch.compile` or by DistributedDataParallel.
    :param args: EIPL's `args.json`; by default the one beside the weights, if there is one.
    :param bgr: the network was trained on BGR images (as OpenCV reads them); it is changed to
        take and predict RGB, exactly.
    :param slope: of the LeakyReLUs; None: 0.01 if the temperature is a parameter, which it was
        until December 2023, when EIPL changed the slope too; else 0.3.
    :raises PolicyError: unreadable, not a SARNN, or contradicting `args`.
    """
    state = _read_state(weights)
    is_rmb = rmb_checkpoint.is_rmb(state)
    settings, notes = (_Args(), list(_RMB_NOTES)) if is_rmb else _read_args(weights, args)
    old = "pos_encoder.6.temperature" in state
    slope = settings.slope if slope is None else slope
    if slope is None:
        slope = OLD_SLOPE if old else SLOPE
        if old:
            notes.append(
                f"slope of the LeakyReLUs assumed to be {OLD_SLOPE}: the temperature is among the "
                f"weights, as in EIPL until December 2023; if it was trained later, give {SLOPE}"
            )
    try:
        if is_rmb:
            state = rmb_checkpoint.to_sarnn(state)
        model = _build(state, settings, slope, notes)
        model.load_state_dict(state, strict=True)
    except (KeyError, RuntimeError, ValueError, IndexError, TypeError) as error:
        raise PolicyError(
            f"not the weights of a SARNN ({error})",
            where=weights,
            remedy="give the SARNN.pth that EIPL's train.py saved, of its SARNN model, or the "
            ".ckpt of RoboManipBaselines' SARNN",
        ) from error
    if bgr:
        _swap_channels(model)
        notes.append("changed from BGR to RGB images")
    image_range = joint_range = settings.vmin, settings.vmax
    if is_rmb:
        image_range, joint_range = rmb_checkpoint.IMAGE_RANGE, rmb_checkpoint.JOINT_RANGE
    way = settings.interpolation
    return Imported(model.eval(), image_range, joint_range, tuple(notes), way)


def import_eipl(
    weights: Path,
    spec: Spec,
    bounds: Path,
    out: Path,
    bgr: bool = False,
    slope: float | None = None,
) -> tuple[str, ...]:
    """Make a policy directory from EIPL's files.

    :param spec: what the robot offers; its sizes must be the network's, its value ranges and its
        interpolation become those that EIPL trained with.
    :param bounds: EIPL's `joint_bounds.npy`, SI units.
    :returns: what was inferred or assumed, for the user to check.
    :raises PolicyError: the files are unreadable or do not fit together, or there is a policy.
    """
    if (out / CONFIG).exists():
        raise PolicyError("there is a policy already", where=out, remedy="give another --out")
    imported = read_eipl(weights, bgr=bgr, slope=slope)
    model, notes = imported.model, list(imported.notes)
    offered, needed = (
        f"{joints} joints and {len(sizes)} camera{'s' * (len(sizes) > 1)} of "
        + ", ".join(f"{height} x {width}" for height, width in sizes)
        for joints, sizes in (
            (spec.joint_dim, [(camera.height, camera.width) for camera in spec.cameras]),
            (model.joint_dim, [branch.im_size for branch in model.branches]),
        )
    )
    if offered != needed:
        raise PolicyError(
            f"the spec has {offered} (height x width), the network {needed}",
            where=weights,
            remedy="correct the spec",
        )
    for name in ("image_range", "joint_range"):
        wanted = getattr(imported, name)
        if getattr(spec, name) != wanted:
            notes.append(f"{name} set to the network's {list(wanted)}")
            spec = spec.model_copy(update={name: wanted})
    way = imported.interpolation
    if any(camera.interpolation != way for camera in spec.cameras):
        notes.append(f"images are resized by interpolation '{way}', as in the network's training")
        cameras = tuple(
            camera.model_copy(update={"interpolation": way}) for camera in spec.cameras
        )
        spec = spec.model_copy(update={"cameras": cameras})
    normaliser = read_bounds(bounds, spec, PolicyError)
    notes.append(
        "command limits assumed: the bounds as positions, "
        f"{ASSUMED_STEP_SHARE:.0%} of them per tick"
    )
    export_policy(
        out,
        model,
        spec=spec,
        normaliser=normaliser,
        envelope=_assumed_envelope(normaliser, spec),
        training={"imported_from": "EIPL", "weights": weights.name, "notes": notes},
    )
    return tuple(notes)


def export_eipl(policy: Path, out: Path) -> list[Path]:
    """Write a policy as EIPL's `SARNN.pth`, `args.json` and `joint_bounds.npy` into `out`.

    :raises PolicyError: EIPL's SARNN cannot hold it, or a file is there or cannot be written.
    """
    files = [out / name for name in ("SARNN.pth", "args.json", "joint_bounds.npy")]
    for file in files:
        if file.exists():
            raise PolicyError("exists already", where=file, remedy="give another --out")
    config = load_config(policy)
    shape, spec = config.model, config.spec
    camera = spec.cameras[0]
    ranges = f"{spec.image_range} and {spec.joint_range}"
    problems = {
        problem: remedy
        for found, problem, remedy in (
            (len(spec.cameras) != 1, f"{len(spec.cameras)} cameras", "one camera"),
            (shape.stride != 1, "a stride of 2", "--set stride=1"),
            (shape.motion_dim, "numbers that tell the motion", "--set motion=false"),
            (
                shape.slope != SLOPE,
                f"a slope of {shape.slope} (it has {SLOPE} since December 2023)",
                "the network of now",
            ),
            (
                spec.image_range != spec.joint_range,
                f"different ranges of images and joints ({ranges})",
                "the same image_range and joint_range in the spec",
            ),
        )
        if found
    }
    if problems:
        raise PolicyError(
            f"EIPL's SARNN cannot have {', '.join(problems)}",
            where=policy,
            remedy=f"train with {', '.join(problems.values())}",
        )
    state = load_model(policy, config).state_dict()
    low, high = spec.image_range
    args = {
        "model": "sarnn",
        "rec_dim": shape.rec_dim,
        "k_dim": shape.k_dim,
        "joint_dim": shape.joint_dim,
        "im_size": [camera.height, camera.width],
        "temperature": shape.temperature,
        "heatmap_size": shape.heatmap_size,
        "vmin": low,
        "vmax": high,
        "slope": shape.slope,
        "interpolation": camera.interpolation,
        "compile": False,
        "tag": out.name,
    }
    normalisation = config.normalisation
    try:
        out.mkdir(parents=True, exist_ok=True)
        with atomic_file(files[0]) as partial:
            torch.save({"epoch": 0, "model_state_dict": state, "train_loss": 0.0,
                        "test_loss": 0.0}, partial)  # fmt: skip
        write_text(files[1], json.dumps(args, indent=4, sort_keys=True))
        with atomic_file(files[2]) as partial:
            np.save(partial, np.stack([normalisation.minimum, normalisation.maximum]))
    except (OSError, RuntimeError) as error:
        raise PolicyError(f"cannot be written ({error})", where=out) from error
    return files


def _read_state(weights: Path) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals(_safe_globals()):
            content = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever the damage provokes
        reason = str(error).split("WeightsUnpickler error:")[-1].strip().partition("\n")[0]
        raise PolicyError(
            f"cannot be read as weights ({type(error).__name__}: {reason})",
            where=weights,
            remedy="give the .pth that EIPL's train.py saved; a file that runs code is not loaded",
        ) from error
    state = content.get("model_state_dict", content) if isinstance(content, Mapping) else None
    problem = _no_weights(state)
    if problem:
        raise PolicyError(problem, where=weights, remedy="give EIPL's SARNN.pth")
    assert isinstance(state, Mapping)
    return {_plain_name(name): value.float() for name, value in state.items()}


def _safe_globals() -> list[Any]:
    """What a NumPy number in a checkpoint is made of: a loss, as `loss.mean()` of an array gives.

    NumPy 2 moved the function that unpickling calls, and files of both kinds exist.
    """
    scalar = np.float64(0).__reduce__()[0]
    types = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64)]
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        (np.dtype, "numpy.dtype"),
        *types,
    ]


def _no_weights(state: object) -> str | None:
    """Why these cannot be a SARNN's weights, or None."""
    if not isinstance(state, Mapping) or not state:
        return "holds no weights"
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            return f"holds no weights: {name!r:.60} is {type(value).__name__}"
        if value.is_quantized or not value.is_floating_point() or value.layout != torch.strided:
            return f"{name} is {value.dtype}; weights are plain floating-point numbers"
        declared = value.numel() * value.element_size()
        if value.device.type != "cpu" or declared > value.untyped_storage().nbytes():
            return f"{name} declares {declared} bytes that are not there"
        if not bool(torch.isfinite(value).all()):
            return f"{name} is not finite; its training diverged"
        if value.numel() and float(value.abs().max()) > _LARGEST_WEIGHT:
            return f"{name} reaches {float(value.abs().max()):.3g}, too large for a weight"
    names = [_plain_name(name) for name in state]
    for prefix, network in _OTHER_NETWORKS.items():
        if any(name.startswith(prefix) for name in names):
            return f"holds the weights of {network}, not of EIPL's SARNN"
    return None


def _plain_name(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _read_args(weights: Path, args: Path | None) -> tuple[_Args, list[str]]:
    """EIPL's settings, and a note for every default."""
    path = args or weights.with_name("args.json")
    given: dict[str, Any] = {}
    if args is not None or path.exists():
        try:
            given = dict(from_json(read_regular(path)))  # bounds the nesting
        except (OSError, ValueError, TypeError) as error:
            raise PolicyError(f"cannot be read ({error})", where=path) from error
    defaults = {name: _Args.model_fields[name].default for name in _ASSUMED}
    try:
        settings = _Args(**given)
    except ValidationError as error:
        raise PolicyError(
            "; ".join(
                ": ".join((*map(str, item["loc"]), describe(item))) for item in error.errors()
            ),
            where=path,
            remedy="write what EIPL trained with, or leave it out for EIPL's default "
            f"({', '.join(f'{name} {value:g}' for name, value in defaults.items())})",
        ) from error
    notes = [
        f"{name} assumed to be {value}, EIPL's default"
        for name, value in defaults.items()
        if name not in settings.model_fields_set
    ]
    return settings, notes


def _build(state: Mapping[str, Tensor], settings: _Args, slope: float, notes: list[str]) -> SARNN:
    first = state["issm.pos_xy"]
    grids = [first, *(state[name] for name in sorted(state) if name.endswith(_OTHER_GRID))]
    im_size = [[int(side) + _BORDER_PIXELS for side in grid.shape[1:]] for grid in grids]
    sizes: dict[str, Any] = {
        "rec_dim": int(state["rec.weight_hh"].shape[1]),
        "k_dim": int(state["decoder_point.0.weight"].shape[0]) // 2 // len(grids),
        "joint_dim": int(state["decoder_joint.0.weight"].shape[0]),
        "im_size": im_size[0] if len(grids) == 1 else im_size,
    }
    for key, value in sizes.items():
        said = getattr(settings, key)
        if said is None:
            notes.append(f"{key} is {value}, from the weights")
        elif said != value:
            raise ValueError(f"{key} is {said} in args.json and {value} in the weights")
    model = SARNN(
        temperature=None if "pos_encoder.6.temperature" in state else settings.temperature,
        heatmap_size=settings.heatmap_size,
        slope=slope,
        **sizes,
    )
    own = model.state_dict()
    for name in own.keys() & dict(model.named_buffers()).keys():
        if not torch.allclose(state[name], own[name], atol=1e-6):
            raise ValueError(f"the grid {name} is not the one over [0, 1]")
    return model


def _swap_channels(model: SARNN) -> None:
    """Reverse the colour channels of what goes in and of what comes out."""
    with torch.no_grad():
        for branch in model.branches:
            for name, axis in _COLOUR_AXES.items():
                weights = branch.get_parameter(name)
                weights.copy_(weights.flip(axis))


def _assumed_envelope(normaliser: JointNormaliser, spec: Spec) -> Envelope:
    low, high = normaliser.minimum, normaliser.maximum
    cameras = {
        camera.name: CameraEnvelope(
            # Nothing is known: so wide that no image is ever far from it.
            width=None,
            height=None,
            brightness_mean=127.5,
            brightness_std=127.5,
            color_mean=(127.5, 127.5, 127.5),
        )
        for camera in spec.cameras
    }
    step = ASSUMED_STEP_SHARE * (high - low)
    return Envelope(
        position_min=tuple(low.tolist()),
        position_max=tuple(high.tolist()),
        max_step=tuple(step.tolist()),
        max_change=tuple(step.tolist()),
        second_difference=tuple((2.0 * step).tolist()),  # there and back
        min_dwell=(None,) * len(low),
        start_pose=tuple(((low + high) / 2).tolist()),
        start_pose_spread=tuple(((high - low) / 2).tolist()),
        cameras=cameras,
    )
