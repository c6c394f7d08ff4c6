# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The tensors that enter the network: as training makes them, and as a policy's backend gets them.

No ROS: the live side is an `ObservationBuffer` that is fed a bag's messages in order of arrival.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from sarnn_ros.data.bags import Bag, absolute
from sarnn_ros.data.dataset import Dataset
from sarnn_ros.data.displacements import Displacement
from sarnn_ros.policy.backends import Outputs
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.spec import Spec
from sarnn_ros.streams.observe import Missing, ObservationBuffer
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.streams.registration import Registration
from sarnn_ros.training.sequences import make_sequences

#: What enters the network at one tick: per camera (3, H, W), and "state" (D,).
Tensors = dict[str, np.ndarray]


def training_tensors(dataset: Dataset) -> dict[int, Tensors]:
    """By tick of the first episode, as the training loop makes them before augmentation."""
    data = make_sequences(dataset, [0], torch.device("cpu"))
    ticks = dataset.episodes[0].ticks.tolist()
    rows = torch.arange(len(ticks))
    frames = data.scaled_frames(torch.zeros_like(rows), rows)
    names = [camera.name for camera in dataset.spec.cameras]
    return {
        tick: {
            **{name: images[row].numpy() for name, images in zip(names, frames)},
            "state": data.joints[0, row].numpy(),
        }
        for row, tick in enumerate(ticks)
    }


def displacement(
    camera: str, episode: str, matrix: np.ndarray, size: tuple[int, int]
) -> Displacement:
    """That a camera stood elsewhere in one episode, to be undone."""
    nothing = np.zeros((1, 1, 3), np.uint8)
    found = Registration(matrix, "homography", 0.0, 1.0, 1.0, size)
    return Displacement(camera, (episode,), 9, episode, found, (nothing, nothing), undone=True)


class BackendInputs:
    """Stands where a backend stands and keeps what it is given."""

    def __init__(self, spec: Spec, k_dim: int) -> None:
        self._spec = spec
        self._points = np.zeros((1, 2 * k_dim * len(spec.cameras)), np.float32)
        self.tensors: Tensors = {}

    def run(
        self,
        images: Sequence[np.ndarray],
        state: np.ndarray,
        recurrent: Any,
        gate: Any,
        *,
        want_image: bool,
    ) -> Outputs:
        names = [camera.name for camera in self._spec.cameras]
        self.tensors = {name: image[0] for name, image in zip(names, images)}
        self.tensors["state"] = state[0]
        return Outputs(np.zeros_like(state), self._points, self._points, recurrent, None)


def policy_of(spec: Spec, normaliser: JointNormaliser) -> tuple[Policy, BackendInputs]:
    """A policy whose bounds went through JSON, as those of a policy directory do."""
    low, high = json.loads(json.dumps([normaliser.minimum.tolist(), normaliser.maximum.tolist()]))
    config: Any = SimpleNamespace(
        spec=spec,
        normalisation=SimpleNamespace(minimum=low, maximum=high),
        model=SimpleNamespace(
            im_size=[(camera.height, camera.width) for camera in spec.cameras],
            joint_dim=spec.joint_dim,
            rec_dim=4,
            k_dim=2,
            motion_dim=0,
        ),
        places=None,
        health=None,
    )
    inputs = BackendInputs(spec, 2)
    return Policy(config, inputs), inputs


def live_tensors(
    bag_path: Path,
    spec: Spec,
    normaliser: JointNormaliser,
    ticks: Sequence[int],
    delay_ns: int,
    moved: Mapping[str, np.ndarray] | None = None,
) -> dict[int, Tensors]:
    """By tick, what the backend gets when the bag's messages arrive as they were recorded.

    :param ticks: on the grid, when to observe. Where images are ticks, the images say.
    :param delay_ns: a tick of the grid is observed so much later, when all has arrived.
    :param moved: per camera, what is undone.
    """
    policy, inputs = policy_of(spec, normaliser)
    buffer = ObservationBuffer(spec)
    buffer.undo(moved or {})
    names = {absolute(topic): topic for topic in buffer.routes}
    seen: dict[int, Tensors] = {}

    def observe(tick: int) -> None:
        found = buffer.observe(tick)
        if not isinstance(found, Missing):
            policy.step(found)
            seen[tick] = inputs.tensors

    due = list(ticks) if spec.trigger is None else []
    with Bag(bag_path) as bag:
        for message in bag.messages(names):
            while due and message.receive_ns > due[0] + delay_ns:
                observe(due.pop(0))
            topic = names[message.topic]
            arrival = buffer.push(topic, bag.decode(message), message.receive_ns)
            if arrival.tick_ns is not None:
                observe(arrival.tick_ns)
    for tick in due:
        observe(tick)
    return seen


def differences(expected: dict[int, Tensors], found: dict[int, Tensors]) -> list[str]:
    """Which tensors are not the same to the last bit."""
    wrong = [f"tick {tick} on one side" for tick in expected.keys() ^ found.keys()]
    for tick in sorted(expected.keys() & found.keys()):
        one, other = expected[tick], found[tick]
        wrong += [f"{tick}: {name} on one side" for name in one.keys() ^ other.keys()]
        for name in one.keys() & other.keys():
            a, b = one[name], other[name]
            if (a.dtype, a.shape) != (b.dtype, b.shape) or a.dtype != np.float32:
                wrong.append(f"{tick}: {name}: {a.dtype} {a.shape}, {b.dtype} {b.shape}")
            elif a.tobytes() != b.tobytes():
                count = int((np.ascontiguousarray(a) != np.ascontiguousarray(b)).sum())
                wrong.append(f"{tick}: {name}: {count} of {a.size} values")
    return wrong


def perturbed(tensors: dict[int, Tensors], tick: int, name: str, place: int) -> dict[int, Tensors]:
    """The same with one value changed by one last bit."""
    changed = tensors[tick][name].copy()
    flat = changed.reshape(-1)
    flat[place % flat.size] = np.nextafter(flat[place % flat.size], np.float32(np.inf))
    return tensors | {tick: tensors[tick] | {name: changed}}
