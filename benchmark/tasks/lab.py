# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The same tasks as a lab's camera shows them: photographs, exposure and noise.

`Transfer`, `PickAndPlace` and so on, as in `clutter.py`. The table is a photograph of wood with a
cup of coffee, and what is behind it one of a workshop, the same in all episodes; they come with
scikit-image, which the extra `test` brings. The camera sets exposure and white balance by
itself, otherwise in each episode, and its pictures are noisy. Demonstrations and trials alike:

    .venv-tasks/bin/python -m benchmark.tasks --tasks benchmark.tasks.lab:PickAndPlace
"""

from __future__ import annotations

import numpy as np

from benchmark.tasks.clutter import find
from benchmark.tasks.surfaces import Surfaces, photograph
from benchmark.tasks.task import Image, Task

#: By how much a picture is darker or brighter, and each channel beside that, as a share; and the
#: standard deviation of the noise, 0 to 255.
EXPOSURE, WHITE_BALANCE, NOISE = 0.2, 0.06, 3.0


class InLab(Task):
    """Mixed in before a task."""

    def __init__(self) -> None:
        super().__init__()
        self.surfaces = Surfaces(photograph("coffee.png"), photograph("motorcycle_left.png"))

    def reset(self, seed: int) -> None:
        super().reset(seed)
        self._noise = np.random.default_rng((seed, 41))
        exposure = 1.0 + self._noise.uniform(-EXPOSURE, EXPOSURE)
        self._gains = exposure * (1.0 + self._noise.uniform(-WHITE_BALANCE, WHITE_BALANCE, 3))

    def images(self) -> dict[str, Image]:
        return {name: self._exposed(image) for name, image in super().images().items()}  # type: ignore[safe-super]

    def _exposed(self, image: Image) -> Image:
        noise = self._noise.normal(0.0, NOISE, image.shape)
        return np.asarray((image * self._gains + noise).clip(0, 255), np.uint8)


def __getattr__(name: str) -> type[Task]:
    """The class of a task, made when it is asked for."""
    _, kind = find(name)
    made: type[Task] = type(name, (InLab, kind), {"name": f"{kind.name}_lab"})
    return made
