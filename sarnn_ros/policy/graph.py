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
    graph.add("Concat", points, axis=1, name="points")
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


def _encoder(graph: _Graph, model: ModelConfig, weights: Weights, image: str, name: str) -> str:
    """Three unpadded 3x3 convolutions, each with LeakyReLU."""
    out = image
    for layer, stride in ((0, model.stride), (2, 1), (4, 1)):
        kernel, bias = weights[f"{name}.{layer}.weight"], weights[f"{name}.{layer}.bias"]
        out = graph.conv(out, kernel, bias, strides=[stride, stride])
    return out


def _attention(graph: _Graph, model: ModelConfig, weights: Weights, image: str) -> str:
    """Attention points (1, 2 * k_dim): x0, y0, x1, y1, …"""
    features = _encoder(graph, model, weights, image, "pos_encoder")
    grid = np.stack([weights["pos_encoder.6.pos_x"], weights["pos_encoder.6.pos_y"]], axis=-1)
    temperature = model.temperature
    if temperature is None:
        temperature = float(weights["pos_encoder.6.temperature"].reshape(()))
    logits = graph.add("Reshape", [features, graph.shape(model.k_dim, -1)])
    # Divided as torch does; Softmax subtracts the maximum first, so that nothing overflows.
    logits = graph.add("Div", [logits, graph.constant(np.float32(temperature))])
    keys = graph.add("MatMul", [graph.add("Softmax", [logits], axis=-1), graph.constant(grid)])
    return graph.add("Reshape", [keys, graph.shape(1, 2 * model.k_dim)])


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
    for layer, stride in ((0, 1), (2, 1), (4, model.stride)):
        kernel = weights[f"decoder_image.{layer}.weight"]
        bias = weights[f"decoder_image.{layer}.bias"]
        last = name if layer == 4 else None
        if stride == 1:
            # A transposed convolution is a convolution with the flipped kernel; onnxruntime has
            # fast code for the latter only.
            flipped = np.ascontiguousarray(kernel[:, :, ::-1, ::-1].transpose(1, 0, 2, 3))
            out = graph.conv(out, flipped, bias, pads=[2, 2, 2, 2], name=last)
        else:
            missing = [(side - 3) % stride for side in size]
            out = graph.conv(
                out, kernel, bias, "ConvTranspose", name=last,
                strides=[stride, stride], output_padding=missing,
            )  # fmt: skip


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
