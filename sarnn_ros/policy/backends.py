# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What computes one tick of the network: ONNX Runtime, or PyTorch. Both are without state.

Arrays are float32 in the model's ranges. PyTorch is imported by its own backend only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.errors import ConfigError, EnvironmentProblem, PolicyError
from sarnn_ros.model import ANYWHERE
from sarnn_ros.policy.directory import (
    COMMAND_GRAPH,
    FULL_GRAPH,
    WEIGHTS,
    ModelConfig,
    PolicyConfig,
    gate_shapes,
    read_file,
)

if TYPE_CHECKING:
    from sarnn_ros.model.sarnn import SARNN

Array = NDArray[np.float32]
#: h and c of the LSTM, each (1, rec_dim).
Recurrent = tuple[Array, Array]
#: The inputs of the gate, in the order of `directory.gate_shapes`; see `model.sarnn.through`.
Gate = tuple[Array, ...]

BACKENDS = ("onnxruntime", "torch")

#: What our exports consist of. None runs a graph of its own, as If, Loop and Scan do: so every run
#: ends.
OPERATORS = frozenset(
    {"Add", "Concat", "Conv", "ConvTranspose", "Div", "Exp", "Gemm", "LeakyRelu", "MatMul", "Mul",
     "Neg", "Pow", "Reshape", "Sigmoid", "Slice", "Softmax", "Split", "Sub", "Tanh", "Unsqueeze"}
    # of the points' gate
    | {"And", "Cast", "Expand", "Greater", "LessOrEqual", "ReduceMean", "ReduceSum", "Where"}
    # of other versions of torch
    | {"Constant", "Flatten", "Identity", "Squeeze", "Transpose"}
)  # fmt: skip
#: Nodes of a graph. Our exports have about half.
MAX_NODES_PER_CAMERA = 128


@dataclass(frozen=True)
class Outputs:
    """One tick's results: action (1, D), points (1, 2 * k_dim * cameras) seen now and predicted
    for the next tick, the new recurrent state, and where asked for the next image (1, 3, H, W) per
    camera.
    """

    action: Array
    points: Array
    points_next: Array
    recurrent: Recurrent
    images: list[Array] | None


def initial_state(model: ModelConfig) -> Recurrent:
    """The recurrent state at the start of an episode."""
    zero = np.zeros((1, model.rec_dim), np.float32)
    return zero, zero


def open_gate(model: ModelConfig) -> Gate:
    """What lets all points in."""
    return tuple(
        np.full((1, size), ANYWHERE if name == "reach" else 0.0, np.float32)
        for name, size in gate_shapes(model).items()
    )


def make_backend(
    name: str, directory: Path, config: PolicyConfig, *, threads: int, device: str
) -> Backend:
    """The backend of this name.

    :param device: 'auto' (a GPU where there is one), 'cpu', or what PyTorch calls it.
    :raises ConfigError: a device that this backend has not.
    :raises PolicyError: an unknown name, or files that do not fit the config.
    :raises EnvironmentProblem: what the backend needs is not installed.
    """
    if name == "onnxruntime":
        if device not in ("auto", "cpu"):
            raise ConfigError(
                f"the backend 'onnxruntime' runs on the CPU, not on '{device}'",
                where="device",
                remedy="use the backend 'torch'",
            )
        return OnnxBackend(directory, config, threads=threads)
    if name == "torch":
        return TorchBackend(directory, config, threads=threads, device=device)
    raise PolicyError(f"no backend '{name}'", remedy=f"choose one of {', '.join(BACKENDS)}")


class OnnxBackend:
    """ONNX Runtime on the CPU. Two sessions: with the predicted images and without, which costs
    a third."""

    def __init__(self, directory: Path, config: PolicyConfig, *, threads: int) -> None:
        from onnxruntime import RunOptions

        self._make_options = RunOptions
        cameras = [camera.name for camera in config.spec.cameras]
        self._images = [f"image_{name}" for name in cameras]
        self._gate = tuple(gate_shapes(config.model))
        self._outputs = ["action", "points", "points_next", "h_next", "c_next"]
        self._predicted = [f"predicted_{name}" for name in cameras]
        self._command, self._full = (
            _session(directory, config, graph, threads, outputs)
            for graph, outputs in (
                (COMMAND_GRAPH, self._outputs),
                (FULL_GRAPH, self._outputs + self._predicted),
            )
        )
        self._running: Any = None

    def run(
        self,
        images: Sequence[Array],
        state: Array,
        recurrent: Recurrent,
        gate: Gate,
        *,
        want_image: bool,
    ) -> Outputs:
        """:param images: (1, 3, H, W) per camera, in the spec's order.
        :param state: (1, D).
        :param recurrent: the state, of the step before or `initial_state`.
        :param gate: of the points; see `open_gate`.
        :raises PolicyError: cancelled.
        """
        inputs = dict(zip(self._images, images), state=state)
        inputs |= dict(zip(("h", "c", *self._gate), (*recurrent, *gate)))
        if want_image:
            session, names = self._full, self._outputs + self._predicted
        else:
            session, names = self._command, self._outputs
        self._running = options = self._make_options()
        try:
            action, points, points_next, h, c, *predicted = session.run(names, inputs, options)
        except Exception as error:  # onnxruntime has a dozen kinds, with no common base
            what = "took too long and was cancelled" if options.terminate else f"failed: {error}"
            raise PolicyError(f"the policy's step {what}") from error
        finally:
            self._running = None
        return Outputs(action, points, points_next, (h, c), predicted or None)

    def cancel(self) -> None:
        options = self._running
        if options is not None:
            options.terminate = True


def check_graph(content: bytes, path: Path, cameras: int) -> None:
    """Refuse a graph that our export cannot have written.

    :raises PolicyError: unreadable, an operator that is not in `OPERATORS`, too many nodes, or
        weights in another file.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's DecodeError, by whichever implementation
        raise PolicyError(f"is no ONNX graph ({error})", where=path) from error
    graph = model.graph
    kinds = {f"{node.domain}.{node.op_type}".lstrip(".") for node in graph.node}
    problems = [f"the operator {kind}" for kind in sorted(kinds - OPERATORS)]
    if model.functions:
        problems.append("functions")
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node
           for attribute in node.attribute):  # fmt: skip
        problems.append("graphs within the graph")
    if any(tensor.external_data or tensor.data_location for tensor in graph.initializer):
        problems.append("weights in another file")
    if len(graph.node) > (most := MAX_NODES_PER_CAMERA * cameras):
        problems.append(f"{len(graph.node)} nodes (at most {most})")
    if problems:
        raise PolicyError(
            f"the graph has {', '.join(problems)}, which no export of ours has",
            where=path,
            remedy="export the policy again; do not run a policy that you do not trust",
        )


def _session(
    directory: Path, config: PolicyConfig, graph: str, threads: int, outputs: list[str]
) -> Any:
    import onnxruntime

    path, content = directory / graph, read_file(directory, config, graph)
    check_graph(content, path, len(config.spec.cameras))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads keep other threads from the core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            content, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has a dozen kinds, with no common base
        raise PolicyError(
            f"onnxruntime {onnxruntime.__version__} cannot load it: {error}",
            where=path,
            remedy="export the policy again, or update onnxruntime",
        ) from error
    _check_session(session, config, path, outputs)
    return session


def _check_session(session: Any, config: PolicyConfig, path: Path, outputs: list[str]) -> None:
    model, spec = config.model, config.spec
    points = 2 * model.k_dim * len(spec.cameras)
    sizes = {camera.name: [1, 3, camera.height, camera.width] for camera in spec.cameras}
    shapes = {f"image_{name}": size for name, size in sizes.items()}
    shapes |= {f"predicted_{name}": size for name, size in sizes.items()}
    shapes |= {"state": [1, model.joint_dim], "action": [1, model.joint_dim]}
    shapes |= {"points": [1, points], "points_next": [1, points]}
    shapes |= {name: [1, model.rec_dim] for name in ("h", "c", "h_next", "c_next")}
    gate = gate_shapes(model)
    shapes |= {name: [1, size] for name, size in gate.items()}
    inputs = [f"image_{name}" for name in sizes] + ["state", "h", "c", *gate]
    for expected, values in ((inputs, session.get_inputs()), (outputs, session.get_outputs())):
        found = {value.name: value.shape for value in values}
        wanted = {name: shapes[name] for name in expected}
        if found != wanted:
            raise PolicyError(
                f"the graph has {found}, config.json asks for {wanted}",
                where=path,
                remedy="export the policy again",
            )


class TorchBackend:
    """PyTorch: for a GPU, or to compare with."""

    def __init__(
        self, directory: Path, config: PolicyConfig, *, threads: int, device: str
    ) -> None:
        try:
            import torch
        except ImportError as error:
            raise EnvironmentProblem(
                "the backend 'torch' needs PyTorch, which is not installed",
                remedy="pip install 'sarnn_ros[train]', or use the backend 'onnxruntime'",
            ) from error
        from sarnn_ros.model.device import find_device

        self._torch = torch
        torch.set_num_threads(threads)
        self._device = find_device(device)
        self._model = load_model(directory, config).to(self._device)

    def run(
        self,
        images: Sequence[Array],
        state: Array,
        recurrent: Recurrent,
        gate: Gate,
        *,
        want_image: bool,
    ) -> Outputs:
        with self._torch.inference_mode():
            xi, xv = [self._tensor(image) for image in images], self._tensor(state)
            h, c = map(self._tensor, recurrent)
            limits = tuple(map(self._tensor, gate))
            y_joint, enc_pts, dec_pts, after = self._model.act(xi, xv, (h, c), limits)
            predicted = self._model.predict_image(xi, dec_pts) if want_image else None
        tensors = (y_joint, enc_pts, dec_pts, *after)
        action, points, points_next, *kept = (tensor.cpu().numpy() for tensor in tensors)
        pictures = None if predicted is None else [image.cpu().numpy() for image in predicted]
        return Outputs(action, points, points_next, (kept[0], kept[1]), pictures)

    def cancel(self) -> None:
        """Nothing: a network made by our own code does not run for ever."""

    def _tensor(self, array: Array) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


def load_model(directory: str | Path, config: PolicyConfig) -> SARNN:
    """The policy's network as a PyTorch module, in evaluation mode.

    :raises PolicyError: the weights are missing, damaged or of other shapes than the config says.
    """
    import torch
    from safetensors.torch import load

    from sarnn_ros.model.sarnn import SARNN

    directory = Path(directory)
    sizes = config.model.model_dump(exclude={"kind"})
    content = read_file(directory, config, WEIGHTS)
    try:
        weights = load(content)
        with torch.device("meta"):  # which takes no memory, however large it says it is
            SARNN(**sizes).load_state_dict(weights, assign=True)
        model = SARNN(**sizes)
        model.load_state_dict(weights)
    except Exception as error:  # SafetensorError is not exported; load_state_dict's RuntimeError
        raise PolicyError(
            f"the weights do not fit the model in config.json: {error}",
            where=directory / WEIGHTS,
            remedy="export the policy again",
        ) from error
    return model.eval()


#: One tick of the network.
Backend = OnnxBackend | TorchBackend
