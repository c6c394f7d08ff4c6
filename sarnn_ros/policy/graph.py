# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One tick of SARNN as ONNX graphs, exported from the PyTorch module.

Inputs: `state` (1, D), the recurrent state `h` and `c` (1, rec_dim), the parts of the gate
(`directory.gate_shapes`) and `image_<camera>` (1, 3, H, W), in the model's ranges. Outputs:
`action` (1, D), `points` and `points_next` (1, 2 * k_dim * cameras), `h_next` and `c_next`, and in
the full graph `predicted_<camera>` (1, 3, H, W). All float32. The recurrent state goes in and out,
so either graph can run at any tick.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence

import onnx
import torch
from onnxscript import ir
from torch import Tensor, nn

from sarnn_ros.model.deploy import deploy
from sarnn_ros.model.sarnn import SARNN

#: The oldest that torch exports to; onnxruntime 1.18 reads it in full.
OPSET = 18
OUTPUTS = ("action", "points", "points_next", "h_next", "c_next")


class _Tick(nn.Module):
    """One tick with the recurrent state as plain inputs and outputs.

    :param gated: inputs of the gate.
    """

    def __init__(self, model: SARNN, gated: int) -> None:
        super().__init__()
        self.model = model
        self.gated = gated

    def forward(self, state: Tensor, h: Tensor, c: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        gate, images = others[: self.gated], others[self.gated :]
        predicted, *told, recurrent = self.model(images, state, (h, c), gate)
        return *told, *recurrent, *predicted


def export_graphs(
    model: SARNN, cameras: Sequence[str], gate: Mapping[str, int]
) -> tuple[bytes, bytes]:
    """The command graph (attention points and action) and the full one, serialised.

    :param model: on the CPU, in float32.
    :param cameras: names, in the spec's order.
    :param gate: see `directory.gate_shapes`.
    """
    tick = _Tick(deploy(model), len(gate)).eval()
    sizes = (model.joint_dim, model.rec_dim, model.rec_dim, *gate.values())
    zeros = [torch.zeros(1, size) for size in sizes]
    images = [torch.zeros(1, 3, *branch.im_size) for branch in model.branches]
    inputs = ["state", "h", "c", *gate, *(f"image_{name}" for name in cameras)]
    outputs = [*OUTPUTS, *(f"predicted_{name}" for name in cameras)]
    with _quiet():
        program = torch.onnx.export(
            tick,
            (*zeros, *images),
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            verbose=False,
        )
    assert program is not None
    # Its notes name the files of this machine, and would make no two exports equal.
    ir.passes.common.ClearMetadataAndDocStringPass()(program.model)
    full = program.model_proto
    command = onnx.utils.Extractor(full).extract_model(inputs, list(OUTPUTS))
    for graph in (command, full):
        onnx.checker.check_model(graph, full_check=True)
    return command.SerializeToString(), full.SerializeToString()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, which are for its own developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
