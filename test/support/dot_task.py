# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A task for the benchmark that needs no simulator: a dot on a line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

#: `benchmark` is no package; its parts are found from the repository's root.
ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))
from benchmark.tasks.task import Task  # noqa: E402


class Dot(Task):
    """A finger on a line has to meet a red dot. The script fails for every fourth seed."""

    name = "dot"
    rate = 10.0
    ticks = 12
    joints = ("x", "opening")
    cameras: ClassVar[Mapping[str, tuple[int, int]]] = {"above": (48, 36)}
    ends_at_success = False

    def reset(self, seed: int) -> None:
        self._seed = seed
        self._dot = float(np.random.default_rng(seed).uniform(0.2, 0.8))
        self._finger, self._shown = 0.0, True

    def images(self) -> dict[str, Any]:
        width, height = self.cameras["above"]
        image = np.full((height, width, 3), 90, np.uint8)
        if self._shown:
            at = round(self._dot * (width - 6))
            image[10:16, at : at + 6] = (230, 20, 20)
        at = round(self._finger * (width - 4))
        image[28:34, at : at + 4] = 250
        return {"above": image}

    def state(self) -> np.ndarray:
        return np.array([self._finger, 0.5])

    def step(self, command: np.ndarray) -> None:
        self._finger = float(np.clip(command[0], 0, 1))

    def success(self) -> bool:
        return abs(self._finger - self._dot) < 0.05

    def script(self) -> Iterator[np.ndarray]:
        goal = self._dot if self._seed % 4 else 1.0
        for tick in range(1, self.ticks + 1):
            yield np.array([goal * min(1.0, tick / 9), 0.5])

    def positions(self) -> np.ndarray:
        return np.array([self._dot])

    def hide(self) -> None:
        self._shown = False
