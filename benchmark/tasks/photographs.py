# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The same tasks on a table of wood with a cup on it, and a workshop behind: photographs.

`Transfer`, `PickAndPlace` and so on, as in `clutter.py`. Demonstrations and trials alike show
them, in the same place; they come with scikit-image, which the extra `benchmark` brings:

    .venv-tasks/bin/python -m benchmark.tasks --tasks benchmark.tasks.photographs:PickAndPlace
"""

from __future__ import annotations

from benchmark.tasks.clutter import find
from benchmark.tasks.surfaces import Surfaces, photograph
from benchmark.tasks.task import Task


class Photographed(Task):
    """Mixed in before a task."""

    def __init__(self) -> None:
        super().__init__()
        self.surfaces = Surfaces(photograph("coffee"), photograph("motorcycle_left"))


def __getattr__(name: str) -> type[Task]:
    """The class of a task, made when it is asked for."""
    _, kind = find(name)
    made: type[Task] = type(name, (Photographed, kind), {"name": f"{kind.name}_photographs"})
    return made
