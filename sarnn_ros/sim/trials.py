# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Many trials of a policy in simulated time, for choosing between trainings. No ROS.

The demo's report is made over DDS (`referee.py`), never with this.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Protocol

import numpy as np

from sarnn_ros.sim.rollout import Driver, rollout
from sarnn_ros.sim.scene import LiftScene
from sarnn_ros.sim.task import TAUGHT_Y, UNTAUGHT_Y, Placement, place, place_anywhere
from sarnn_ros.spec import Spec

WORKERS = 2
#: Of the places.
SEED = 1

Job = tuple[str, Placement, int]


class SpecDriver(Driver, Protocol):
    """A driver that knows what it observes: `sarnn_ros.policy.runtime.Policy`."""

    @property
    def spec(self) -> Spec: ...


def closed_loop(
    load: Callable[[], SpecDriver], *, trials: int = 4, random: int = 18
) -> dict[str, float]:
    """Success rates at taught, untaught and random positions, in [0, 1].

    :param load: makes the driver in a worker process; it must be picklable.
    :param trials: per position. They are the same for every policy.
    :raises BrokenProcessPool: a worker was killed, e.g. for want of memory.
    """
    rng = np.random.default_rng(SEED)
    cubes = {
        "taught": [place(y, rng) for y in TAUGHT_Y for _ in range(trials)],
        "untaught": [place(y, rng) for y in UNTAUGHT_Y for _ in range(trials)],
        "random": [place_anywhere(rng) for _ in range(random)],
    }
    jobs = [(kind, cube, number) for kind in cubes for number, cube in enumerate(cubes[kind])]
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
        shares = [jobs[worker::WORKERS] for worker in range(WORKERS)]
        outcomes = [one for share in pool.map(_try, [load] * WORKERS, shares) for one in share]
    return {
        kind: round(float(np.mean([success for name, success in outcomes if name == kind])), 3)
        for kind in cubes
    }


def _try(load: Callable[[], SpecDriver], jobs: Sequence[Job]) -> list[tuple[str, bool]]:
    driver, scene = load(), LiftScene()
    return [
        (kind, rollout(driver, scene, cube, driver.spec, seed=number).success)
        for kind, cube, number in jobs
    ]
