# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How the cost of a policy step grows with image, points, state, cameras and joints.

One quantity at a time is changed from the usual policy. Beside the time stand its growth from the
smallest one, the multiplications
of the network, and how close that comes to what one core reaches in a large matrix product: the
roofline of a network whose weights and images fit into the cache.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from common import arguments, finish, machine, make_spec, write_policy
from onnx import TensorProto, helper, numpy_helper

from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.streams.observe import Observation

USUAL = {"size": 64, "k_dim": 5, "rec_dim": 50, "cameras": 1, "joints": 6, "stride": 1}
SERIES: dict[str, list[int]] = {
    "size": [32, 64, 96, 128, 192],
    "k_dim": [1, 5, 6, 16, 32],
    "rec_dim": [20, 50, 200, 500],
    "cameras": [1, 2, 4],
    "joints": [2, 6, 14, 30],
    "stride": [1, 2],
}


def gflop(size: int, k_dim: int, rec_dim: int, cameras: int, joints: int, stride: int) -> float:
    """Of the command step as the paper has it: two per multiplication, in 1e9."""
    first = (size - 3) // stride + 1
    encoder = 9 * (3 * 16 * first**2 + 16 * 32 * (first - 2) ** 2 + 32 * k_dim * (first - 4) ** 2)
    points = 2 * k_dim * cameras
    recurrent = 4 * rec_dim * (points + joints + rec_dim) + rec_dim * (points + joints)
    return 2e-9 * (cameras * encoder + recurrent)


def peak() -> float:
    """GFLOP/s of one core: onnxruntime's own product of matrices that fit into its cache."""
    a = np.random.default_rng(0).random((384, 384), np.float32)
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "a"], ["y"])],
        "product",
        [tensor("x", TensorProto.FLOAT, a.shape)],
        [tensor("y", TensorProto.FLOAT, a.shape)],
        [numpy_helper.from_array(a, "a")],
    )
    opset = [helper.make_opsetid("", 17)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = helper.make_model(graph, ir_version=8, opset_imports=opset).SerializeToString()
    session = onnxruntime.InferenceSession(content, options)
    best = min(_seconds(lambda: session.run(None, {"x": a})) for _ in range(300))
    return 2e-9 * len(a) ** 3 / best


def _seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(scratch: Path, roof: float, **values: int) -> dict[str, Any]:
    values = {**USUAL, **values}
    size, cameras, joints = values["size"], values["cameras"], values["joints"]
    spec = make_spec(size, joints=joints, cameras=cameras)
    torch.manual_seed(0)
    sizes = [(size, size)] * cameras
    model = SARNN(
        values["rec_dim"], values["k_dim"], joints, im_size=sizes, stride=values["stride"]
    )
    policy = Policy.load(write_policy(scratch / "policy", spec, model))
    random = np.random.default_rng(0)
    images = {
        camera.name: random.integers(0, 256, (size, size, 3), dtype=np.uint8)
        for camera in spec.cameras
    }
    observation = Observation(1, images, np.zeros(joints), {}, {})
    result: dict[str, Any] = {}
    for name, want_image in (("command_ms", False), ("full_ms", True)):

        def step(want_image: bool = want_image) -> None:
            policy.step(observation, want_image=want_image)

        times = [_seconds(step) for _ in range(120)]
        result[name] = round(float(np.median(times[20:])) * 1e3, 3)
    work = gflop(**values)
    result["mflop"] = round(work * 1e3, 1)
    result["percent_of_peak"] = round(100 * work / (result["command_ms"] * 1e-3) / roof)
    return result


def growth(row: dict[str, Any], first: dict[str, Any]) -> dict[str, float]:
    """Times the first row of the series."""
    return {
        f"{name}_growth": round(row[f"{name}_ms"] / first[f"{name}_ms"], 2)
        for name in ("command", "full")
    }


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    roof = peak()
    result: dict[str, Any] = {"machine": machine(), "peak_gflop_per_s": round(roof)}
    with tempfile.TemporaryDirectory() as scratch:
        for name, values in SERIES.items():
            rows = [measure(Path(scratch), roof, **{name: value}) for value in values]
            result[name] = {
                str(value): row | growth(row, rows[0]) for value, row in zip(values, rows)
            }
    finish(result, options.json)


if __name__ == "__main__":
    main()
