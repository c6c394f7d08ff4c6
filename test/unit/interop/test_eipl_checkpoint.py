# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EIPL's files in and out. The files are made here to EIPL's format, from the plain seed."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from sarnn_ros.errors import PolicyError
from sarnn_ros.interop.eipl_checkpoint import export_eipl, import_eipl, read_eipl
from sarnn_ros.model.layers import create_position_encoding
from sarnn_ros.policy.directory import load_config
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.spec import CameraSpec, JointSource, Spec
from sarnn_ros.streams.observe import Observation
from sarnn_ros.streams.preprocess import crop_resize

pytestmark = pytest.mark.usefixtures("quick_export")

HEIGHT, WIDTH = 14, 18
BOUNDS = np.array([[-1.0, 0.0, 2.0], [1.0, 0.5, 3.0]])
ARGS: dict[str, Any] = {
    "model": "sarnn", "rec_dim": 6, "k_dim": 2, "temperature": 1e-2, "heatmap_size": 0.07,
    "vmin": 0.1, "vmax": 0.9, "stdev": 0.1, "compile": False, "tag": "20260101_0000_00",
}  # fmt: skip
#: An npy header of 14 TiB, with nothing behind it.
HUGE = b"\x93NUMPY\x01\x00v\x00" + (
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1000000000000), }".ljust(117) + b"\n"
)
PREFIXES = {"plain": "", "compiled": "_orig_mod.", "both": "module._orig_mod."}


def make_spec(**changes: Any) -> Spec:
    values: dict[str, Any] = {
        "cameras": (CameraSpec(width=WIDTH, height=HEIGHT),),
        "joints": (JointSource(names=("a", "b", "c")),),
    }
    return Spec(**{**values, **changes})


@pytest.fixture
def plain(reference_sarnn: ModuleType) -> torch.nn.Module:
    """The network that EIPL would have trained."""
    torch.manual_seed(5)
    model: torch.nn.Module = reference_sarnn.ReferenceSARNN(
        6, 2, 3, temperature=1e-2, heatmap_size=0.07, im_size=(HEIGHT, WIDTH)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def save_as_eipl(
    plain: torch.nn.Module, folder: Path, prefix: str = "", args: dict[str, Any] | None = None
) -> Path:
    """SARNN.pth, args.json and joint_bounds.npy as EIPL's tutorial leaves them."""
    pos_xy, pos_x, pos_y = create_position_encoding(WIDTH - 6, HEIGHT - 6)
    state = {**plain.state_dict(), "pos_encoder.6.pos_x": pos_x, "pos_encoder.6.pos_y": pos_y}
    state["issm.pos_xy"] = pos_xy
    folder.mkdir(exist_ok=True)
    torch.save(
        {
            "epoch": 7,
            "model_state_dict": {prefix + name: value for name, value in state.items()},
            "train_loss": 0.1,
            "test_loss": 0.2,
        },
        folder / "SARNN.pth",
    )
    if args is not None:
        (folder / "args.json").write_text(json.dumps(args))
    np.save(folder / "joint_bounds.npy", BOUNDS)
    return folder / "SARNN.pth"


def observation(tick: int, image: np.ndarray, joints: np.ndarray) -> Observation:
    return Observation(
        tick_ns=tick, images={"camera": image}, state=joints, stamps={}, sources={"camera": image}
    )


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_closed_loop_equals_eipls(plain: torch.nn.Module, tmp_path: Path, backend: str) -> None:
    """200 ticks in which every command is the next state, computed as EIPL's scripts do."""
    weights = save_as_eipl(plain, tmp_path / "log", args=ARGS)
    import_eipl(weights, make_spec(), tmp_path / "log" / "joint_bounds.npy", tmp_path / "policy")
    policy = Policy.load(tmp_path / "policy", backend=backend)
    rng = np.random.default_rng(0)
    ours = theirs = np.array([0.1, 0.2, 2.5])
    state = None
    for tick in range(200):
        image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        prediction = policy.step(observation(tick, image, ours), want_image=True)
        pixels = torch.from_numpy(image.astype(np.float32).transpose(2, 0, 1)[None] / 255)
        joints = (theirs - BOUNDS[0]) / (BOUNDS[1] - BOUNDS[0]) * 0.8 + 0.1
        with torch.no_grad():
            y_image, y_joint, enc, dec, state = plain(
                pixels * 0.8 + 0.1, torch.from_numpy(joints).float()[None], state
            )
        theirs = (y_joint[0].double().numpy() - 0.1) / 0.8 * (BOUNDS[1] - BOUNDS[0]) + BOUNDS[0]
        ours = prediction.action
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
        np.testing.assert_allclose(prediction.encoder_points["camera"].ravel(), enc[0], atol=2e-4)
        np.testing.assert_allclose(prediction.decoder_points["camera"].ravel(), dec[0], atol=2e-5)
        expected = ((y_image[0].numpy().transpose(1, 2, 0) - 0.1) / 0.8 * 255).clip(0, 255)
        assert prediction.images is not None
        assert np.abs(prediction.images["camera"] - expected).max() < 0.6


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_names_as_compiled_or_distributed(
    plain: torch.nn.Module, tmp_path: Path, prefix: str
) -> None:
    model = read_eipl(save_as_eipl(plain, tmp_path, prefix, ARGS)).model
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_what_is_not_said_is_inferred_and_told(plain: torch.nn.Module, tmp_path: Path) -> None:
    weights = save_as_eipl(plain, tmp_path)
    imported = read_eipl(weights)
    assert imported.model.im_size == (HEIGHT, WIDTH)
    assert (imported.model.rec_dim, imported.model.k_dim, imported.model.joint_dim) == (6, 2, 3)
    notes = "\n".join(imported.notes)
    for word in ("rec_dim is 6", "joint_dim is 3", f"im_size is [{HEIGHT}, {WIDTH}]"):
        assert word in notes
    assert "temperature assumed to be 0.0001" in notes
    # EIPL's own args.json has no joint_dim and no im_size.
    (tmp_path / "args.json").write_text(json.dumps(ARGS))
    notes = "\n".join(read_eipl(weights).notes)
    assert "joint_dim" in notes
    assert "im_size" in notes
    assert "temperature" not in notes
    assert "rec_dim" not in notes


def test_the_value_range_is_eipls_and_said(plain: torch.nn.Module, tmp_path: Path) -> None:
    weights = save_as_eipl(plain, tmp_path / "log", args=ARGS)
    notes = import_eipl(weights, make_spec(), tmp_path / "log/joint_bounds.npy", tmp_path / "p")
    assert any("[0.1, 0.9]" in note for note in notes)
    config = load_config(tmp_path / "p")
    assert config.spec.image_range == config.spec.joint_range == (0.1, 0.9)
    assert config.normalisation.minimum == tuple(BOUNDS[0])


def test_there_and_back(plain: torch.nn.Module, tmp_path: Path) -> None:
    weights = save_as_eipl(plain, tmp_path / "log", args=ARGS)
    import_eipl(weights, make_spec(), tmp_path / "log/joint_bounds.npy", tmp_path / "policy")
    export_eipl(tmp_path / "policy", tmp_path / "back")
    first, second = (torch.load(tmp_path / name / "SARNN.pth") for name in ("log", "back"))
    assert first.keys() == second.keys()
    for name, value in first["model_state_dict"].items():
        torch.testing.assert_close(second["model_state_dict"][name], value, rtol=0, atol=1e-7)
    args = json.loads((tmp_path / "back/args.json").read_text())
    assert {key: args[key] for key in ("rec_dim", "k_dim", "temperature", "vmin", "vmax")} == {
        key: ARGS[key] for key in ("rec_dim", "k_dim", "temperature", "vmin", "vmax")
    }
    np.testing.assert_allclose(np.load(tmp_path / "back/joint_bounds.npy"), BOUNDS)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(PolicyError, match="there is a policy already"):
        import_eipl(weights, make_spec(), tmp_path / "log/joint_bounds.npy", tmp_path / "policy")
    with pytest.raises(PolicyError, match="exists already"):
        export_eipl(tmp_path / "policy", tmp_path / "log")
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_the_size_of_the_camera_is_not_known(plain: torch.nn.Module, tmp_path: Path) -> None:
    weights = save_as_eipl(plain, tmp_path / "log", args=ARGS)
    import_eipl(weights, make_spec(), tmp_path / "log/joint_bounds.npy", tmp_path / "policy")
    camera = next(iter(load_config(tmp_path / "policy").envelope.cameras.values()))
    assert camera.width is None and camera.height is None
    assert "| unknown |" in (tmp_path / "policy" / "README.md").read_text()


def test_a_learnt_temperature_goes_there_and_back(plain: torch.nn.Module, tmp_path: Path) -> None:
    """EIPL's SpatialSoftmax(temperature=None) has it as a parameter."""
    weights = save_as_eipl(plain, tmp_path / "log", args={**ARGS, "temperature": None})
    content = torch.load(weights)
    content["model_state_dict"]["pos_encoder.6.temperature"] = torch.tensor([0.05])
    torch.save(content, weights)
    bounds = tmp_path / "log/joint_bounds.npy"
    import_eipl(weights, make_spec(), bounds, tmp_path / "old")
    with pytest.raises(PolicyError, match=r"a slope of 0\.01"):
        export_eipl(tmp_path / "old", tmp_path / "back")
    import_eipl(weights, make_spec(), bounds, tmp_path / "policy", slope=0.3)
    export_eipl(tmp_path / "policy", tmp_path / "back")
    back = torch.load(tmp_path / "back" / "SARNN.pth")["model_state_dict"]
    assert float(back["pos_encoder.6.temperature"]) == pytest.approx(0.05)
    assert json.loads((tmp_path / "back/args.json").read_text())["temperature"] is None
    assert read_eipl(tmp_path / "back/SARNN.pth").notes == ()


@pytest.mark.parametrize("way", ["area", "linear"])
def test_how_images_are_resized_goes_there_and_back(
    plain: torch.nn.Module, tmp_path: Path, way: str
) -> None:
    weights = save_as_eipl(plain, tmp_path / "log", args={**ARGS, "interpolation": way})
    bounds = tmp_path / "log/joint_bounds.npy"
    (camera,) = make_spec().cameras
    other = camera.model_copy(update={"interpolation": "linear" if way == "area" else "area"})
    spec = make_spec().model_copy(update={"cameras": (other,)})
    notes = import_eipl(weights, spec, bounds, tmp_path / "policy", slope=0.3)
    assert any(f"by interpolation '{way}'" in note for note in notes)
    assert load_config(tmp_path / "policy").spec.cameras[0].interpolation == way
    export_eipl(tmp_path / "policy", tmp_path / "back")
    assert json.loads((tmp_path / "back/args.json").read_text())["interpolation"] == way


def test_bgr_weights_see_rgb_images_alike(plain: torch.nn.Module, tmp_path: Path) -> None:
    model = read_eipl(save_as_eipl(plain, tmp_path, args=ARGS), bgr=True).model
    image, joints = torch.rand(1, 3, HEIGHT, WIDTH), torch.rand(1, 3)
    expected = plain(image, joints)
    found = model(image.flip(1), joints)
    torch.testing.assert_close(found[0].flip(1), expected[0], atol=1e-5, rtol=1e-4)
    for left, right in zip(found[1:4], expected[1:4], strict=True):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-4)


def activations(model: torch.nn.Module) -> set[float]:
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.LeakyReLU)]
    return {layer.negative_slope for layer in layers}


def test_old_checkpoints_have_another_slope(plain: torch.nn.Module, tmp_path: Path) -> None:
    weights = save_as_eipl(plain, tmp_path / "log", args=ARGS)
    assert activations(read_eipl(weights).model) == {0.3}
    assert activations(read_eipl(weights, slope=0.01).model) == {0.01}
    content = torch.load(weights)
    content["model_state_dict"]["pos_encoder.6.temperature"] = torch.tensor([0.05])
    torch.save(content, weights)
    imported = read_eipl(weights)
    assert activations(imported.model) == {0.01}
    assert any("slope" in note and "December 2023" in note for note in imported.notes)
    assert activations(read_eipl(weights, slope=0.3).model) == {0.3}

    import_eipl(weights, make_spec(), tmp_path / "log/joint_bounds.npy", tmp_path / "policy")
    assert load_config(tmp_path / "policy").model.slope == 0.01
    for backend in ("torch", "onnxruntime"):
        policy = Policy.load(tmp_path / "policy", backend)
        image = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        found = policy.step(observation(1, image, BOUNDS.mean(axis=0)))
        pixels = torch.from_numpy(image.astype(np.float32).transpose(2, 0, 1)[None] / 255)
        with torch.no_grad():
            expected = imported.model(pixels * 0.8 + 0.1, torch.full((1, 3), 0.5))[1]
        position = (expected[0].numpy() - 0.1) / 0.8 * (BOUNDS[1] - BOUNDS[0]) + BOUNDS[0]
        np.testing.assert_allclose(found.action, position, atol=2e-5)


def test_images_are_resized_as_eipl_does(plain: torch.nn.Module, tmp_path: Path) -> None:
    weights = save_as_eipl(plain, tmp_path / "log", args=ARGS)
    notes = import_eipl(weights, make_spec(), tmp_path / "log/joint_bounds.npy", tmp_path / "p")
    assert any("by interpolation 'linear'" in note for note in notes)
    (camera,) = load_config(tmp_path / "p").spec.cameras
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    found = crop_resize(image, camera)
    np.testing.assert_array_equal(found, cv2.resize(image, (WIDTH, HEIGHT)))  # linear, its default
    assert not np.array_equal(found, crop_resize(image, make_spec().cameras[0]))


@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
def test_losses_may_be_numpy_numbers(plain: torch.nn.Module, tmp_path: Path, module: str) -> None:
    """As airec's train.py saves them, with NumPy 1 and 2."""
    weights = save_as_eipl(plain, tmp_path, args=ARGS)
    losses = {"train_loss": np.float64(0.1), "test_loss": np.float32(0.2)}
    torch.save({**torch.load(weights), **losses}, weights)
    with zipfile.ZipFile(weights) as archive:
        parts = {item.filename: archive.read(item) for item in archive.infolist()}
    with zipfile.ZipFile(weights, "w") as archive:
        for name, content in parts.items():
            if name.endswith("data.pkl"):
                content, count = re.subn(rb"numpy\._?core", module.encode(), content)
                assert count
            archive.writestr(name, content)
    read_eipl(weights)


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize(
    "damage", ["missing", "text", "code", "no weights", "other network", "args", "args of another"]
)
def test_bad_files_are_clear_errors(plain: torch.nn.Module, tmp_path: Path, damage: str) -> None:
    weights = save_as_eipl(plain, tmp_path, args=ARGS)
    if damage == "missing":
        weights.unlink()
    elif damage == "text":
        weights.write_text("not weights")
    elif damage == "code":
        weights.write_bytes(pickle.dumps(Trap(tmp_path / "ran"), protocol=2))
    elif damage == "no weights":
        torch.save({"model_state_dict": {}}, weights)
    elif damage == "other network":
        torch.save(torch.nn.Linear(3, 2).state_dict(), weights)
    elif damage == "args":
        (tmp_path / "args.json").write_text("{")
    else:
        (tmp_path / "args.json").write_text(json.dumps({**ARGS, "rec_dim": 50}))
    with pytest.raises(PolicyError, match=r"SARNN\.pth|args\.json"):
        read_eipl(weights)
    assert not (tmp_path / "ran").exists()


def one_weight(value: torch.Tensor) -> dict[object, object]:
    return {"pos_encoder.0.weight": value}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({1: torch.zeros(2)}, "holds no weights: 1 is Tensor"),
        ([torch.zeros(2)], "holds no weights"),
        (one_weight(torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)), "qint8"),
        (one_weight(torch.zeros(2, dtype=torch.complex64)), "complex64"),
        (one_weight(torch.full((2,), torch.nan)), "not finite"),
        (one_weight(torch.zeros(1).expand(100_000, 100_000)), "40000000000 bytes that are not"),
        (one_weight(torch.zeros(2, device="meta")), "8 bytes that are not there"),
        (one_weight(torch.full((2,), 1e38)), r"reaches 1e\+38"),
        ({"encoder_image.0.weight": torch.zeros(2)}, "EIPL's CNNRNN"),
        ({"_orig_mod.mtrnn.i2f.weight": torch.zeros(2)}, "EIPL's MTRNN"),
        ({"rnn.weight_ih": torch.zeros(2)}, "EIPL's LSTM"),
        ({"encoder.0.weight": torch.zeros(2)}, "EIPL's CAE"),
        ({"attention_encoder_list.0.0.weight": torch.zeros(2)}, "not the weights of a SARNN"),
    ],
)
def test_what_is_no_sarnn_is_named(tmp_path: Path, state: object, message: str) -> None:
    torch.save({"model_state_dict": state}, tmp_path / "SARNN.pth")
    with pytest.raises(PolicyError, match=message) as error:
        read_eipl(tmp_path / "SARNN.pth")
    assert error.value.remedy


@pytest.mark.parametrize("content", ['{"a":' * 100_000, "[" * 100_000, "[1]", "\0"])
def test_an_args_json_that_is_none(plain: torch.nn.Module, tmp_path: Path, content: str) -> None:
    weights = save_as_eipl(plain, tmp_path)
    (tmp_path / "args.json").write_text(content)
    with pytest.raises(PolicyError, match=r"args\.json: cannot be read"):
        read_eipl(weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "CNNRNN"}, r"model: must be 'sarnn' \(found 'cnnrnn'\)"),
        ({"kernel_size": 5}, r"kernel_size: must be 3 \(found 5\)"),
        ({"vmax": 10**400}, r"vmax: must be .* \(found 1000"),
        ({"heatmap_size": "0.1"}, r"heatmap_size: must be a number \(found '0.1'\)"),
        ({"heatmap_size": 0}, r"heatmap_size: must be more than 0 \(found 0\)"),
        ({"heatmap_size": None}, r"heatmap_size: must be a number \(found None\)"),
        ({"temperature": "1e-4"}, r"temperature: must be a number \(found '1e-4'\)"),
        ({"temperature": True}, r"temperature: must be a number \(found True\)"),
        ({"vmin": None}, r"vmin: must be a number \(found None\)"),
        ({"vmax": float("inf")}, r"vmax: must be finite \(found inf\)"),
        ({"vmin": [0.1], "vmax": "1"}, r"vmin: .*\[0.1\]\); vmax: .*'1'\)"),
        ({"vmin": 0.9, "vmax": 0.1}, "vmin is 0.9 and vmax 0.1, which is no range"),
        ({"rec_dim": "50"}, r"rec_dim: must be a whole number \(found '50'\)"),
    ],
)
def test_settings_that_are_no_numbers_are_clear_errors(
    plain: torch.nn.Module, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    weights = save_as_eipl(plain, tmp_path, args={**ARGS, **changes})
    with pytest.raises(PolicyError, match=message) as error:
        read_eipl(weights)
    assert "args.json" in str(error.value.where)
    assert "heatmap_size 0.1" in str(error.value.remedy)


@pytest.mark.parametrize(
    ("changes", "bounds", "message"),
    [
        ({"joints": (JointSource(names=("a", "b")),)}, BOUNDS, "2 joints"),
        ({"cameras": (CameraSpec(width=64, height=64),)}, BOUNDS, "camera of 64 x 64 .*14 x 18"),
        ({}, BOUNDS[:, :2], "bounds of 2 joints"),
        ({}, BOUNDS[0], "shape"),
        ({}, BOUNDS[::-1], "the minimum is larger than the maximum"),
        ({}, BOUNDS.astype(complex), "type complex128"),
        ({}, np.full((2, 3), np.nan), "finite"),
        ({}, b"", "not EIPL's bounds"),
        ({}, HUGE, "not EIPL's bounds"),
        ({}, None, r"joint_bounds\.npy"),
        ({"cameras": (CameraSpec(), CameraSpec(name="b"))}, BOUNDS, "2 cameras of .*1 camera of"),
    ],
)
def test_files_that_do_not_fit_the_spec(
    plain: torch.nn.Module, tmp_path: Path, changes: Any, bounds: Any, message: str
) -> None:
    weights = save_as_eipl(plain, tmp_path / "log", args=ARGS)
    path = tmp_path / "log" / "joint_bounds.npy"
    path.unlink()
    if isinstance(bounds, bytes):
        path.write_bytes(bounds)
    elif bounds is not None:
        np.save(path, bounds)
    with pytest.raises(PolicyError, match=message):
        import_eipl(weights, make_spec(**changes), path, tmp_path / "policy")
    assert not (tmp_path / "policy").exists()
