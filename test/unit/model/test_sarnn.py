# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The network against a NumPy forward pass written from the paper's description."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from sarnn_ros.model.sarnn import SARNN

Weights = dict[str, np.ndarray]


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.3 * x)


def conv(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    """Unpadded 3x3 convolution of (C, H, W), with LeakyReLU."""
    windows = sliding_window_view(x, (3, 3), axis=(1, 2))
    out = np.einsum("chwij,ocij->ohw", windows, weights[name + ".weight"])
    return leaky(out + weights[name + ".bias"][:, None, None])


def conv_transpose(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    """Every input cell adds its kernel to a 3x3 patch of the output; with LeakyReLU."""
    kernel = weights[name + ".weight"]
    _, height, width = x.shape
    out = np.zeros((kernel.shape[1], height + 2, width + 2))
    for i in range(3):
        for j in range(3):
            out[:, i : i + height, j : j + width] += np.einsum(
                "chw,co->ohw", x, kernel[:, :, i, j]
            )
    return leaky(out + weights[name + ".bias"][:, None, None])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def oracle(
    weights: Weights, image: np.ndarray, joints: np.ndarray, state: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, ...]:
    """One tick of the network of one camera: image', joints', points, points', h', c'."""
    encoded = {}
    for encoder in ("pos_encoder", "im_encoder"):
        x = image
        for layer in (0, 2, 4):
            x = conv(x, weights, f"{encoder}.{layer}")
        encoded[encoder] = x
    features = encoded["pos_encoder"]
    _, height, width = features.shape
    x_grid, y_grid = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    attention = np.exp((features - features.max((1, 2), keepdims=True)) / 1e-4)
    attention /= attention.sum((1, 2), keepdims=True)
    points = np.stack([(attention * x_grid).sum((1, 2)), (attention * y_grid).sum((1, 2))], 1)

    hidden, cell = state
    gates = weights["rec.weight_ih"] @ np.concatenate([points.ravel(), joints])
    gates += weights["rec.bias_ih"] + weights["rec.weight_hh"] @ hidden + weights["rec.bias_hh"]
    i, f, g, o = np.split(gates, 4)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    hidden = sigmoid(o) * np.tanh(cell)

    def head(name: str) -> np.ndarray:
        return leaky(weights[f"{name}.0.weight"] @ hidden + weights[f"{name}.0.bias"])

    y_joint, y_points = head("decoder_joint"), head("decoder_point")
    square = (x_grid - y_points.reshape(-1, 2)[:, 0, None, None]) ** 2
    square += (y_grid - y_points.reshape(-1, 2)[:, 1, None, None]) ** 2
    x = np.exp(-square / 0.1) * encoded["im_encoder"]
    for layer in (0, 2, 4):
        x = conv_transpose(x, weights, f"decoder_image.{layer}")
    return x, y_joint, points.ravel(), y_points, hidden, cell


@pytest.mark.parametrize(("height", "width"), [(16, 16), (14, 20), (21, 12)])
def test_forward_equals_the_oracle_over_a_sequence(height: int, width: int) -> None:
    torch.manual_seed(3)
    model = SARNN(rec_dim=7, k_dim=4, joint_dim=3, im_size=(height, width)).double()
    with torch.no_grad():
        for parameter in model.parameters():  # biases start at zero and would hide mistakes
            parameter.add_(0.05 * torch.randn_like(parameter))
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    rng = np.random.default_rng(0)
    state = None
    oracle_state = (np.zeros(7), np.zeros(7))
    for _ in range(4):
        image, joints = rng.random((3, height, width)), rng.random(3)
        with torch.no_grad():
            *outputs, state = model(
                torch.from_numpy(image)[None], torch.from_numpy(joints)[None], state
            )
        *expected, h, c = oracle(weights, image, joints, oracle_state)
        oracle_state = (h, c)
        for output, value in zip((*outputs, *state), (*expected, h, c), strict=True):
            np.testing.assert_allclose(output[0], value, atol=1e-5)


def test_state_dict_has_the_names_and_shapes_of_eipls_checkpoints() -> None:
    shapes = {n: tuple(v.shape) for n, v in SARNN(50, 5, 6, im_size=(64, 64)).state_dict().items()}
    encoder = {"0": (16, 3, 3, 3), "2": (32, 16, 3, 3), "4": (5, 32, 3, 3)}
    decoder = {"0": (5, 32, 3, 3), "2": (32, 16, 3, 3), "4": (16, 3, 3, 3)}
    expected = {
        "pos_encoder.6.pos_x": (58 * 58,),
        "pos_encoder.6.pos_y": (58 * 58,),
        "issm.pos_xy": (2, 58, 58),
        "rec.weight_ih": (200, 16),
        "rec.weight_hh": (200, 50),
        "rec.bias_ih": (200,),
        "rec.bias_hh": (200,),
        "decoder_joint.0.weight": (6, 50),
        "decoder_joint.0.bias": (6,),
        "decoder_point.0.weight": (10, 50),
        "decoder_point.0.bias": (10,),
    }
    for name, layers in (("pos_encoder", encoder), ("im_encoder", encoder)):
        expected |= {f"{name}.{index}.weight": shape for index, shape in layers.items()}
        expected |= {f"{name}.{index}.bias": shape[:1] for index, shape in layers.items()}
    expected |= {f"decoder_image.{index}.weight": shape for index, shape in decoder.items()}
    expected |= {f"decoder_image.{index}.bias": shape[1:2] for index, shape in decoder.items()}
    assert shapes == expected


def test_initialisation_is_xavier_with_orthogonal_recurrence_and_no_bias() -> None:
    torch.manual_seed(0)
    model = SARNN(20, 5, 6, im_size=(32, 32))
    # Xavier uniform: bounded by sqrt(6 / (fan_in + fan_out)), and not far from that bound.
    bound = (6 / (3 * 9 + 16 * 9)) ** 0.5
    largest = float(model.pos_encoder[0].weight.detach().abs().max())
    assert 0.9 * bound < largest <= bound
    recurrent = model.rec.weight_hh  # (4 * 20, 20): orthonormal columns
    torch.testing.assert_close(recurrent.T @ recurrent, torch.eye(20), atol=1e-5, rtol=0)
    biases = [value for name, value in model.named_parameters() if "bias" in name]
    assert biases
    assert all(not value.any() for value in biases)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 24), (22, 19)])
def test_predicted_image_has_the_size_of_the_input(height: int, width: int, stride: int) -> None:
    model = SARNN(8, 3, 2, im_size=(height, width), stride=stride)
    image = torch.rand(2, 3, height, width)
    assert model(image, torch.rand(2, 2))[0].shape == image.shape


def test_stride_two_looks_where_geometry_says() -> None:
    from sarnn_ros.geometry import points_to_model_pixels

    model = SARNN(8, 1, 2, im_size=(24, 32), stride=2).double()
    for layer, weight in ((0, 1.0), (2, 1.0), (4, 1.0)):  # pass the centre pixel through
        model.pos_encoder[layer].weight.data.zero_()
        model.pos_encoder[layer].weight.data[:, :, 1, 1] = weight
    image = torch.zeros(1, 3, 24, 32, dtype=torch.float64)
    image[:, :, 11, 21] = 1.0  # odd rows and columns are centres of cells
    points = model.encode(image)[0].detach().numpy()
    assert points_to_model_pixels(points, 32, 24, stride=2) == pytest.approx(np.array([21, 11]))


def test_several_cameras_of_different_sizes() -> None:
    torch.manual_seed(0)
    model = SARNN(8, 3, 2, im_size=((16, 20), (12, 14)))
    images = (torch.rand(2, 3, 16, 20), torch.rand(2, 3, 12, 14))
    y_images, y_joint, enc_pts, dec_pts, _ = model(images, torch.rand(2, 2))
    assert [image.shape for image in y_images] == [image.shape for image in images]
    assert y_joint.shape == (2, 2)
    assert enc_pts.shape == dec_pts.shape == (2, 12)
    # The first camera's points come first, and only from its own image.
    other = model.encode((images[0], torch.rand(2, 3, 12, 14)))
    assert torch.equal(other[:, :6], enc_pts[:, :6])
    assert not torch.equal(other[:, 6:], enc_pts[:, 6:])
    # The first camera keeps the names that one camera alone has.
    alone = SARNN(8, 3, 2, im_size=(16, 20)).state_dict().keys()
    assert alone <= model.state_dict().keys()
    extra = model.state_dict().keys() - alone
    assert all(name.startswith("other_cameras.0.") for name in extra)


def test_act_is_forward_without_the_image() -> None:
    model = SARNN(8, 3, 2, im_size=(16, 16))
    image, joints = torch.rand(2, 3, 16, 16), torch.rand(2, 2)
    _, y_joint, enc_pts, dec_pts, state = model(image, joints)
    for left, right in zip(
        (y_joint, enc_pts, dec_pts, *state),
        (*model.act(image, joints)[:3], *model.act(image, joints)[3]),
        strict=True,
    ):
        assert torch.equal(left, right)


def test_recur_is_the_cell_over_time() -> None:
    model = SARNN(8, 3, 2, im_size=(16, 16)).double()
    points, joints = torch.rand(2, 5, 6).double(), torch.rand(2, 5, 2).double()
    state = None
    for t in range(5):
        state = model.rec(torch.cat([points[:, t], joints[:, t]], -1), state)
        hidden, last = model.recur(points[:, : t + 1], joints[:, : t + 1])
        torch.testing.assert_close(hidden[:, t], state[0])
        torch.testing.assert_close(last, state)
    first, state = model.recur(points[:, :2], joints[:, :2])
    rest, _ = model.recur(points[:, 2:], joints[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, rest], 1), hidden)


@pytest.mark.parametrize("im_size", [(7, 64), (64, 7)])
def test_an_image_without_room_for_a_position_is_refused(im_size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="too small"):
        SARNN(8, 3, 2, im_size=im_size)


def test_the_signature_is_eipls() -> None:
    """`SARNN(rec_dim, k_dim, joint_dim, temperature, heatmap_size, kernel_size, im_size)`."""
    model = SARNN(8, 3, 2, 1e-2, 0.2, 3, [16, 20])
    assert (model.im_size, model.issm.heatmap_size) == ((16, 20), 0.2)
    with pytest.raises(ValueError, match="kernel_size 5 must be 3"):
        SARNN(8, 3, 2, kernel_size=5)


def test_images_of_another_size_are_refused() -> None:
    """A transposed one has as many pixels."""
    model = SARNN(8, 3, 2, im_size=(16, 20))
    with pytest.raises(AssertionError, match=r"\(20, 16\), not of im_size \(16, 20\)"):
        model(torch.rand(1, 3, 20, 16), torch.rand(1, 2))
    with pytest.raises(AssertionError, match=r"\(14, 10\), not \(10, 14\)"):
        model.pos_encoder[-1](torch.rand(1, 3, 14, 10))
