# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SARNN's one tick as an ONNX graph, written node by node from the weights. NumPy and onnx only.

Two graphs share this: the command graph (attention points and joints) and the full one, which adds
the predicted images. The recurrent state goes in and out, so either can run at any tick. Written
by hand rather than traced: the graph then is exactly what is meant, and the same each time.

Inputs: `image_<camera>` (1, 3, H, W) and `joints` (1, D) in the model's ranges, `h` and `c`
(1, rec_dim). Outputs: `joints_next` (1, D), `points` and `points_next` (1, 2 * k_dim * cameras),
`h_next`, `c_next`, and in the full graph `predicted_<camera>` (1, 3, H, W). All float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sarnn_ros.policy.directory import ModelConfig

Array = NDArray[np.float32]
Weights = Mapping[str, Array]

#: Of every LeakyReLU in SARNN.
SLOPE = 0.3
#: The newest that onnxruntime 1.18 reads in full.
OPSET = 17
#: Channels that onnxruntime's convolutions compute together (AVX-512, Arm; 8 with AVX2).
_BLOCK = 16


def build_graph(
    model: ModelConfig, weights: Weights, cameras: Sequence[str], *, images: bool
) -> bytes:
    """The serialised graph.

    :param weights: the model's state dict.
    :param cameras: names, in the spec's order.
    :param images: whether the graph predicts images (the full graph).
    """
    graph = _Graph()
    inputs, outputs = [], []
    branches = []
    for index, (name, (height, width)) in enumerate(zip(cameras, model.im_size)):
        prefix = f"other_cameras.{index - 1}." if index else ""
        branch = {
            key.removeprefix(prefix): value
            for key, value in weights.items()
            if key.startswith(prefix)
        }
        branches.append(branch)
        inputs.append(_tensor(f"image_{name}", (1, 3, height, width)))
    points = [
        _attention(graph, model, branch, f"image_{name}")
        for branch, name in zip(branches, cameras)
    ]
    graph.add("Concat", points, axis=0, name="all_points")
    graph.add("Reshape", ["all_points", graph.shape(1, -1)], name="points")
    joints_next, points_next = _recurrence(graph, model, weights)

    size = 2 * model.k_dim * len(cameras)
    inputs += [_tensor("joints", (1, model.joint_dim))]
    inputs += [_tensor(name, (1, model.rec_dim)) for name in ("h", "c")]
    outputs += [_tensor(joints_next, (1, model.joint_dim))]
    outputs += [_tensor(name, (1, size)) for name in ("points", points_next)]
    outputs += [_tensor(name, (1, model.rec_dim)) for name in ("h_next", "c_next")]
    if images:
        parts = graph.split(points_next, [2 * model.k_dim] * len(cameras))
        for branch, name, part, size_hw in zip(branches, cameras, parts, model.im_size):
            _prediction(graph, model, branch, f"image_{name}", part, size_hw, f"predicted_{name}")
            outputs.append(_tensor(f"predicted_{name}", (1, 3, *size_hw)))
    return graph.serialise(inputs, outputs)


def _encoder(
    graph: _Graph, model: ModelConfig, weights: Weights, image: str, name: str, scale: float = 1.0
) -> str:
    """Three unpadded 3x3 convolutions, each with LeakyReLU. Features are multiplied by `scale`."""
    kernels = [weights[f"{name}.{layer}.weight"] for layer in (0, 2, 4)]
    biases = [weights[f"{name}.{layer}.bias"] for layer in (0, 2, 4)]
    out = graph.conv(image, kernels[0], biases[0], strides=[model.stride, model.stride])
    out = graph.conv(out, kernels[1], biases[1])
    # LeakyReLU(s * x) = s * LeakyReLU(x) for s > 0: the factor costs nothing in the weights.
    factor = np.float32(scale)
    return graph.conv_to_few(out, kernels[2] * factor, biases[2] * factor)


def _attention(graph: _Graph, model: ModelConfig, weights: Weights, image: str) -> str:
    """Attention points (k_dim, 2) as [x, y]."""
    temperature = model.temperature
    if temperature is None:
        temperature = float(weights["pos_encoder.6.temperature"].reshape(()))
    features = _encoder(graph, model, weights, image, "pos_encoder", scale=1 / temperature)
    grid = np.stack([weights["pos_encoder.6.pos_x"], weights["pos_encoder.6.pos_y"]], axis=-1)
    logits = graph.add("Reshape", [features, graph.shape(model.k_dim, -1)])
    # Softmax subtracts the maximum first: no temperature makes it overflow.
    return graph.add("MatMul", [graph.add("Softmax", [logits], axis=-1), graph.constant(grid)])


def _recurrence(graph: _Graph, model: ModelConfig, weights: Weights) -> tuple[str, str]:
    """LSTM cell and the two heads: names of joints_next and points_next."""
    size = model.rec_dim
    # One product for all gates, in the order i, f, o, g: the sigmoids lie side by side.
    order = np.r_[0 : 2 * size, 3 * size : 4 * size, 2 * size : 3 * size]
    matrix = np.concatenate([weights["rec.weight_ih"], weights["rec.weight_hh"]], axis=1)[order]
    bias = (weights["rec.bias_ih"] + weights["rec.bias_hh"])[order]
    vector = graph.add("Concat", ["points", "joints", "h"], axis=1)
    gates = graph.linear(vector, matrix, bias)
    sigmoids, candidate = graph.split(gates, [3 * size, size])
    write, keep, read = graph.split(graph.add("Sigmoid", [sigmoids]), [size] * 3)
    written = graph.add("Mul", [write, graph.add("Tanh", [candidate])])
    kept = graph.add("Mul", [keep, "c"])
    graph.add("Add", [kept, written], name="c_next")
    graph.add("Mul", [read, graph.add("Tanh", ["c_next"])], name="h_next")

    heads = [f"{head}.0" for head in ("decoder_joint", "decoder_point")]
    matrix, bias = (
        np.concatenate([weights[f"{head}.{part}"] for head in heads])
        for part in ("weight", "bias")
    )
    both = graph.add("LeakyRelu", [graph.linear("h_next", matrix, bias)], alpha=SLOPE)
    joints, points = graph.split(
        both, [model.joint_dim, len(bias) - model.joint_dim], names=("joints_next", "points_next")
    )
    return joints, points


def _prediction(
    graph: _Graph,
    model: ModelConfig,
    weights: Weights,
    image: str,
    points: str,
    size: tuple[int, int],
    name: str,
) -> None:
    """The next image: features around the predicted points, decoded."""
    grid = weights["issm.pos_xy"]
    points = graph.add("Reshape", [points, graph.shape(model.k_dim, 2)])
    x, y = graph.split(points, [1, 1])
    # exp(-(dx^2 + dy^2) / s) is a product: two vectors instead of a full grid.
    heat = graph.add(
        "Mul",
        [
            _bell(graph, model, y, grid[1, :, 0], (1, model.k_dim, -1, 1)),
            _bell(graph, model, x, grid[0, 0], (1, model.k_dim, 1, -1)),
        ],
    )
    features = _encoder(graph, model, weights, image, "im_encoder")
    out = graph.add("Mul", [features, heat])
    kernels = [weights[f"decoder_image.{layer}.weight"] for layer in (0, 2, 4)]
    biases = [weights[f"decoder_image.{layer}.bias"] for layer in (0, 2, 4)]
    out = graph.conv(out, _flipped(kernels[0]), biases[0], pads=[2, 2, 2, 2])
    out = graph.conv(out, _flipped(kernels[1]), biases[1], pads=[2, 2, 2, 2])
    if model.stride == 1:
        graph.conv_to_few(out, _flipped(kernels[2]), biases[2], padding=2, name=name)
    else:
        graph.conv(
            out, kernels[2], biases[2], "ConvTranspose", name=name,
            strides=[model.stride] * 2,
            output_padding=[(side - 3) % model.stride for side in size],
        )  # fmt: skip


def _flipped(kernel: Array) -> Array:
    """A transposed convolution is a convolution with the flipped kernel; onnxruntime has fast
    code for the latter only."""
    return kernel[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)


def _bell(
    graph: _Graph, model: ModelConfig, points: str, grid: Array, shape: tuple[int, ...]
) -> str:
    """exp(-(grid - point)^2 / heatmap_size) per point, (k_dim, N) in the given shape."""
    distance = graph.add("Sub", [points, graph.constant(grid[None])])
    square = graph.add("Mul", [distance, distance])
    exponent = graph.add("Div", [square, graph.constant(np.float32(-model.heatmap_size))])
    return graph.add("Reshape", [graph.add("Exp", [exponent]), graph.shape(*shape)])


def _tensor(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


class _Graph:
    """Collects nodes and constants; names them by counting."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(
        self, kind: str, inputs: Sequence[str], *, name: str | None = None, **attributes: Any
    ) -> str:
        """A node with one output, whose name is returned."""
        output = name or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def split(self, value: str, sizes: Sequence[int], *, names: Sequence[str] = ()) -> list[str]:
        """Cut along the second axis."""
        if len(sizes) == 1:
            return [value]
        outputs = [*names] or [f"Split_{len(self._nodes)}_{part}" for part in range(len(sizes))]
        lengths = self.constant(np.array(sizes, dtype=np.int64))
        self._nodes.append(helper.make_node("Split", [value, lengths], outputs, axis=1))
        return outputs

    def conv(
        self,
        value: str,
        kernel: Array,
        bias: Array,
        kind: str = "Conv",
        *,
        name: str | None = None,
        **attributes: Any,
    ) -> str:
        """A convolution with LeakyReLU."""
        inputs = [value, self.constant(kernel), self.constant(bias)]
        linear = self.add(kind, inputs, **attributes)
        return self.add("LeakyRelu", [linear], name=name, alpha=SLOPE)

    def conv_to_few(
        self, value: str, kernel: Array, bias: Array, *, padding: int = 0, name: str | None = None
    ) -> str:
        """A 3x3 convolution with LeakyReLU, to few channels.

        Up to five would leave most of a block empty. So its three columns go to channels of their
        own first, and a second convolution, of ones, adds them up: the same sums at half the time.
        """
        outputs, inputs = kernel.shape[:2]
        if 3 * outputs > _BLOCK:
            return self.conv(value, kernel, bias, pads=[padding] * 4, name=name)
        columns = np.zeros((_BLOCK, inputs, 3, 1), np.float32)
        columns[: 3 * outputs, :, :, 0] = kernel.transpose(0, 3, 1, 2).reshape(-1, inputs, 3)
        ones = np.zeros((outputs, _BLOCK, 1, 3), np.float32)
        for output in range(outputs):
            ones[output, 3 * output + np.arange(3), 0, np.arange(3)] = 1.0
        parts = self.add("Conv", [value, self.constant(columns)], pads=[padding, 0, padding, 0])
        return self.conv(parts, ones, bias, pads=[0, padding, 0, padding], name=name)

    def linear(self, value: str, matrix: Array, bias: Array) -> str:
        """value @ matrix.T + bias"""
        return self.add("Gemm", [value, self.constant(matrix), self.constant(bias)], transB=1)

    def constant(self, value: NDArray[np.generic] | np.generic) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def shape(self, *sizes: int) -> str:
        return self.constant(np.array(sizes, dtype=np.int64))

    def serialise(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> bytes:
        graph = helper.make_graph(self._nodes, "sarnn", inputs, outputs, self._constants)
        model = helper.make_model(
            graph,
            producer_name="sarnn_ros",
            ir_version=8,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
        return content
