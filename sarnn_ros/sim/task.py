# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The lift task: where the cube may stand, and what counts as success. Numbers only, no physics.

The protocol is the one EIPL uses with robosuite: some positions on a line are taught, those in
between never are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

#: Distance of the line of positions from the robot's base, m.
CUBE_X = 0.42
#: Nine positions 5 cm apart, m. Every other one is taught.
POSITIONS_Y = tuple(round(-0.20 + 0.05 * index, 2) for index in range(9))
TAUGHT_Y = POSITIONS_Y[::2]
UNTAUGHT_Y = POSITIONS_Y[1::2]

#: Where controls are tried. Not in the middle: the mean of all demonstrations ends there by
#: symmetry, so that success would say nothing.
CONTROL_Y = tuple(y for y in POSITIONS_Y if y != 0.0)

#: Ticks (10 Hz) of a demonstration and of a trial. A policy gets a second more than the expert.
RATE = 10.0
DEMONSTRATION_TICKS = 80
TRIAL_TICKS = 90

#: The cube must be this high above the table, m, and stay so over the last ticks of the trial.
LIFT_HEIGHT = 0.05
HOLD_TICKS = 5

#: How exactly somebody puts the cube on its mark: standard deviation in m and rad.
PLACING_NOISE = 0.002
PLACING_NOISE_YAW = 0.03


@dataclass(frozen=True)
class Placement:
    """A cube on the table: position, m, and yaw, rad."""

    x: float
    y: float
    yaw: float = 0.0


def place(y: float, rng: np.random.Generator, x: float = CUBE_X) -> Placement:
    """The cube put by hand on the mark (x, y), m: close to it, never exactly."""
    dx, dy = rng.normal(0.0, PLACING_NOISE, size=2)
    return Placement(x + float(dx), y + float(dy), float(rng.normal(0.0, PLACING_NOISE_YAW)))


def place_anywhere(rng: np.random.Generator) -> Placement:
    """The cube anywhere along the line, up to 1 cm beside it."""
    y = float(rng.uniform(POSITIONS_Y[0], POSITIONS_Y[-1]))
    return place(y, rng, x=CUBE_X + float(rng.uniform(-0.01, 0.01)))


def is_success(lifts: Sequence[float]) -> bool:
    """Whether the cube was lifted and is still held at the end.

    :param lifts: height of the cube above the table over the trial, m, once per tick.
    """
    return len(lifts) >= HOLD_TICKS and bool(np.min(lifts[-HOLD_TICKS:]) >= LIFT_HEIGHT)


#: `hidden`: the cube is invisible to the camera.
Vision = Literal["live", "hidden"]
#: Who commands the arm: the policy, or a replay of the mean demonstration.
Driver = Literal["sarnn", "replay"]


@dataclass(frozen=True)
class TrialPlan:
    """One trial: where the cube stands, what the camera shows, who commands."""

    kind: str
    cube: Placement
    vision: Vision = "live"
    driver: Driver = "sarnn"


#: Groups of trials in the report. The controls must fail: a success rate without them proves
#: nothing.
KINDS = ("taught", "untaught", "random", "control_no_vision", "control_replay")


def plan_trials(repeats: int, others: int, seed: int) -> list[TrialPlan]:
    """The trials of an evaluation, in the order of `KINDS`.

    :param repeats: trials at each of the nine positions.
    :param others: trials of each other kind; of the controls, spread over `CONTROL_Y`.
    """
    rng = np.random.default_rng(seed)
    trials = [
        TrialPlan(kind, place(y, rng))
        for kind, positions in (("taught", TAUGHT_Y), ("untaught", UNTAUGHT_Y))
        for y in positions
        for _ in range(repeats)
    ]
    trials += [TrialPlan("random", place_anywhere(rng)) for _ in range(others)]
    spread = [CONTROL_Y[index * len(CONTROL_Y) // others] for index in range(others)]
    # A camera that is frozen would be no control: the first image shows where the cube is.
    trials += [TrialPlan("control_no_vision", place(y, rng), vision="hidden") for y in spread]
    trials += [TrialPlan("control_replay", place(y, rng), driver="replay") for y in spread]
    return trials
