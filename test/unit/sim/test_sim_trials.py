# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Closed-loop success: who does nothing has none, who knows where the cube is has all."""

from __future__ import annotations

import os
import signal
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import sarnn_ros
from sarnn_ros.sim import trials
from sarnn_ros.sim.expert import plan
from sarnn_ros.sim.rollout import rollout
from sarnn_ros.sim.scene import home_joints
from sarnn_ros.sim.task import Placement
from sarnn_ros.sim.trials import closed_loop
from sarnn_ros.spec import Spec, load_spec

SPEC = load_spec(Path(sarnn_ros.__file__).parent.parent / "config" / "demo_spec.yaml")


class Still:
    """Stays at home."""

    spec: Spec = SPEC

    def reset(self) -> None:
        pass

    def step(self, observation) -> SimpleNamespace:
        return SimpleNamespace(action=home_joints())


class Expert(Still):
    """Follows the expert's plan; the test tells it where the cube is."""

    def aim(self, cube: Placement) -> None:
        self.commands = iter(plan(cube, np.random.default_rng(0)))
        self.last = home_joints()

    def step(self, observation) -> SimpleNamespace:
        self.last = next(self.commands, self.last)
        return SimpleNamespace(action=self.last)


def test_who_does_nothing_has_no_success() -> None:
    """In worker processes, as it is used."""
    rates = closed_loop(Still, trials=1, random=1)
    assert rates == {"taught": 0.0, "untaught": 0.0, "random": 0.0}


class Killed(Still):
    """Its process is ended while it is tried, as by the kernel for want of memory."""

    def step(self, observation) -> SimpleNamespace:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_worker_that_was_killed_is_an_error() -> None:
    with pytest.raises(BrokenProcessPool):
        closed_loop(Killed, trials=1, random=1)


def test_who_knows_where_the_cube_is_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    def aimed(driver, scene, cube, spec, *, seed):
        driver.aim(cube)
        return rollout(driver, scene, cube, spec, seed=seed)

    monkeypatch.setattr(trials, "rollout", aimed)
    jobs = [("taught", Placement(0.42, -0.1), 0), ("random", Placement(0.42, 0.13), 1)]
    assert trials._try(Expert, jobs) == [("taught", True), ("random", True)]
