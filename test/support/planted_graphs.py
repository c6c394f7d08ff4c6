# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs that no export of ours wrote, planted into a policy directory."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sarnn_ros.policy.directory import _checksum


def graph_of(*nodes: onnx.NodeProto, camera: str = "camera0", rec_dim: int = 20) -> bytes:
    """A command graph by name and shape, made of these nodes, which give `action`."""
    shapes = {"state": 3, "h": rec_dim, "c": rec_dim, "expected": 8, "reach": 4}
    inputs = [value(f"image_{camera}", 1, 3, 24, 32), *(value(k, 1, n) for k, n in shapes.items())]
    outputs = [value("action", 1, 3), value("points", 1, 8), value("points_next", 1, 8)]
    outputs += [value("h_next", 1, rec_dim), value("c_next", 1, rec_dim)]
    made = [
        helper.make_node("Slice", ["h", "zero", "eight", "one"], ["points"]),
        helper.make_node("Slice", ["h", "zero", "eight", "one"], ["points_next"]),
        helper.make_node("Add", ["h", "h"], ["h_next"]),
        helper.make_node("Add", ["c", "c"], ["c_next"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([number]), name)
        for name, number in {"zero": 0, "eight": 8, "one": 1, "most": 2**62}.items()
    ]
    graph = helper.make_graph([*nodes, *made], "g", inputs, outputs, constants)
    return helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)]
    ).SerializeToString()


def value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def endless() -> onnx.NodeProto:
    """2**62 rounds of a loop whose result depends on the input."""
    flag = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Cos", ["x"], ["y"])],
        "body",
        [flag("i", TensorProto.INT64, []), flag("go", TensorProto.BOOL, []), value("x", 1, 3)],
        [flag("on", TensorProto.BOOL, []), value("y", 1, 3)],
    )
    return helper.make_node("Loop", ["most", "", "state"], ["action"], body=body)


def plant(directory: Path, content: bytes) -> None:
    """As someone would who knows the format: the digests are right."""
    (directory / "policy_command.onnx").write_bytes(content)
    path = directory / "config.json"
    values = json.loads(path.read_text())
    del values["sha256"]
    values["files"]["policy_command.onnx"] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps({**values, "sha256": _checksum(values)}))
