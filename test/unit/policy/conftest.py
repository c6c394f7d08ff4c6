# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Policies with random weights, exported for real."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from policies import envelope, network

from sarnn_ros.policy.export import export_policy
from sarnn_ros.spec import Spec, parse_spec
from sarnn_ros.streams.observe import Observation
from sarnn_ros.streams.preprocess import JointNormaliser

JOINTS = ("shoulder", "elbow", "gripper")


class Parts:
    """What an export needs; change an attribute to export something else.

    :param sizes: (height, width) per camera.
    """

    def __init__(self, *sizes: tuple[int, int], seed: int = 0, **model: Any) -> None:
        sizes = sizes or ((24, 32),)
        self.spec: Spec = parse_spec(
            {
                "cameras": [
                    {"name": f"camera{index}", "height": height, "width": width}
                    for index, (height, width) in enumerate(sizes)
                ],
                "joints": {"names": JOINTS},
                "joint_range": [0.1, 0.9],
            }
        )
        self.model = network(self.spec, seed=seed, **{"rec_dim": 20, **model})
        self.normaliser = JointNormaliser(
            np.array([-1.5, 0.0, 0.0]), np.array([1.5, 2.0, 0.045]), self.spec.joint_range
        )
        self.envelope = envelope(
            self.spec,
            source_size=(640, 480),
            position_min=(-1.5, 0.0, 0.0),
            position_max=(1.5, 2.0, 0.045),
            max_step=(0.1, 0.1, 0.01),
            start_pose=(0.0, 0.5, 0.045),
            start_pose_spread=(0.01, 0.01, 0.0),
        )

    def export(self, out: Path, **more: Any) -> Path:
        export_policy(
            out,
            self.model,
            spec=self.spec,
            normaliser=self.normaliser,
            envelope=self.envelope,
            training={"epochs": 3},
            **more,
        )
        return out

    def observation(self, seed: int = 0) -> Observation:
        random = np.random.default_rng(seed)
        return Observation(
            tick_ns=1,
            images={
                camera.name: random.integers(
                    0, 256, (camera.height, camera.width, 3), dtype=np.uint8
                )
                for camera in self.spec.cameras
            },
            state=random.uniform(self.normaliser.minimum, self.normaliser.maximum),
            stamps={},
            sources={},
        )


@pytest.fixture(scope="session")
def parts() -> Parts:
    return Parts()


@pytest.fixture(scope="session")
def make_parts() -> Callable[..., Parts]:
    return Parts


@pytest.fixture(scope="session")
def _exported(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return parts.export(tmp_path_factory.mktemp("exported") / "policy")


@pytest.fixture
def policy_dir(_exported: Path, tmp_path: Path) -> Path:
    """The policy of `parts`, a copy of one's own."""
    return shutil.copytree(_exported, tmp_path / "policy")
