# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The end of a training in a tenth of the time, for tests that are about something else.

torch.onnx takes a second for each graph. Networks of one shape have the same graph, so it is made
once per process and filled with the weights of each. `export_policy` compares it with PyTorch as
ever. The tests of the export itself, in test_policy_runtime.py, go without this. The learning
curves take half a second: the picture of the first training serves all.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper

from sarnn_ros.model.deploy import deploy
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy import export
from sarnn_ros.policy.graph import export_graphs
from sarnn_ros.viz.curves import plot_curves

Graphs = tuple[bytes, bytes]
_made: dict[tuple[object, ...], Graphs] = {}


def quick_graphs(model: SARNN, cameras: Sequence[str], gate: Mapping[str, int]) -> Graphs:
    """What `export_graphs` gives, in milliseconds from the second time on."""
    shape = (export.describe_model(model), repr(model), *cameras)
    if shape not in _made:
        generic = copy.deepcopy(model)
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in generic.parameters():
                # Not as initialised: equal biases become one, and those of zero are left out.
                parameter.uniform_(0.1, 0.2, generator=random)
        _made[shape] = export_graphs(generic, cameras, gate)
    weights = {f"model.{name}": value for name, value in deploy(model).state_dict().items()}
    command, full = (_filled(graph, weights) for graph in _made[shape])
    return command, full


def _filled(graph: bytes, weights: Mapping[str, torch.Tensor]) -> bytes:
    content = onnx.load_from_string(graph)
    for initializer in content.graph.initializer:
        if initializer.name in weights:
            value = weights[initializer.name].numpy()
            initializer.CopyFrom(numpy_helper.from_array(value, initializer.name))
    return bytes(content.SerializeToString())


_pictures: list[bytes] = []


def quick_curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    """In place of `plot_curves`; it writes the first picture again."""
    if not _pictures:
        plot_curves(history, path)
        _pictures.append(path.read_bytes())
    path.write_bytes(_pictures[0])


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the slow ones, for the rest of the test."""
    monkeypatch.setattr(export, "export_graphs", quick_graphs)
    monkeypatch.setattr("sarnn_ros.training.run.plot_curves", quick_curves)
