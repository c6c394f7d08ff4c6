# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The whole robot's side, as `build_controller` makes it, with a policy, an arm and clocks that a
test sets by hand. No thread runs; the test calls the ticks."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from sarnn_ros.control.assembly import build_controller
from sarnn_ros.control.faults import Faults
from sarnn_ros.control.outlet import Clocks, Command
from sarnn_ros.control.parts import Ports
from sarnn_ros.control.settings import build_settings
from sarnn_ros.control.tick import Tick
from sarnn_ros.policy.runtime import Prediction
from sarnn_ros.spec import parse_spec
from sarnn_ros.streams.observe import Missing, Observation

PERIOD = 100_000_000
SPEC = parse_spec({"cameras": [{"name": "front"}], "joints": [{"names": ["a", "b"]}]})
MAX_STEP = 0.2


class FakePolicy:
    """Predicts what the test says, and counts its steps since the last reset."""

    def __init__(self, spec: Any, low: Any, high: Any, effort: Any, lag: Any) -> None:
        self.spec = spec
        self.action = np.zeros(2)
        self.references: dict[str, Any] = {}
        self.steps = 0
        self.saw = np.zeros(2)  # the joints
        self.cancelled = False
        self.meanwhile = lambda: None  # what happens while it computes
        low, high = np.array(low), np.array(high)
        self.config = SimpleNamespace(
            spec=spec,
            health=None,
            normalisation=SimpleNamespace(minimum=(-1.0, -1.0), maximum=(1.0, 1.0)),
            envelope=SimpleNamespace(
                position_min=(-1.0, -1.0),
                position_max=(1.0, 1.0),
                max_step=(MAX_STEP, MAX_STEP),
                max_change=(MAX_STEP, MAX_STEP),
                first_lead=None,
                lag=lag,
                second_difference=(MAX_STEP / 2, MAX_STEP / 2),
                min_dwell=(None, None),
                effort=effort,
                start_pose=(low + high) / 2,
                start_pose_spread=(high - low) / 2,
                cameras={},
            ),
        )

    def reset(self) -> None:
        self.steps = 0

    def undo(self) -> None:
        self.steps -= 1

    def cancel(self) -> None:
        self.cancelled = True

    def step(self, observation: Any, **_: Any) -> Prediction:
        self.steps += 1
        self.saw = observation.state
        self.meanwhile()
        return Prediction(self.action.copy(), {}, {}, {})


class Bench:
    """One joint state, exactly at each tick; the arm goes where it is told, at once.

    :param parameters: of the node, with `__` for a dot.
    """

    def __init__(
        self,
        low: Any = (-0.1, -0.1),
        high: Any = (0.1, 0.1),
        interval: int = 0,
        spec: Any = SPEC,
        *,
        active: bool = True,
        simulated: bool = False,
        effort: Any = None,
        lag: Any = (0, 0),
        **parameters: Any,
    ) -> None:
        given = {"guard.position_margin": 0.0, "guard.step_margin": 1.0, "guard.floor": 0.0}
        given["start.margin"] = 1.0  # a test may begin anywhere
        if interval:
            given["command_rate"] = 1e9 / interval
        given |= {name.replace("__", "."): value for name, value in parameters.items()}
        self.settings = build_settings(given)
        self.policy = FakePolicy(spec, low, high, effort, lag)
        self.label = 50 * PERIOD
        self.now = self.label
        self.steady = 0  # ahead of `now` by so much
        self.present = np.zeros(2)
        self.effort: Any = None
        self.age = 0
        self.follows = True
        self.fresh = True
        self.missing: dict[str, str] = {}
        self.found = Faults()
        self.sent: list[Command] = []
        self.ticks: list[Tick] = []
        self.rewound: list[int] = []
        self.said: list[tuple[str, str]] = []
        self.control = build_controller(
            self.policy,  # type: ignore[arg-type]
            lambda: self.settings,
            Ports(
                Clocks(self.read_now, self.read_steady, lambda: simulated),
                prepare=lambda command: partial(self.send, command),
                faults=lambda: Faults(dict(self.found.soft), dict(self.found.hard)),
                log=self.log,
                on_tick=self.ticks.append,
            ),
        )
        self.tick = self.control.threads.ticker.on_tick
        parts = self.control.parts
        parts.buffer = SimpleNamespace(  # type: ignore[assignment]
            observe=self.observe,
            rewind=self.rewound.append,
            clear=lambda now: None,
            undo=lambda moved: None,
        )
        parts.outlet.present = lambda now: self.present if self.fresh else None
        self.interpolator = parts.interpolator
        if active:
            self.control.activate(start=False)

    def read_now(self) -> int:
        return self.now

    def read_steady(self) -> int:
        return self.now + self.steady

    def log(self, level: str, key: str, text: str) -> bool:
        made = hasattr(self, "control")
        assert not made or not self.control.lock._is_owned(), "a log may wait for the network"
        self.said.append((level, text))
        return True

    def observe(self, label: int) -> Observation | Missing:
        if self.missing:
            return Missing(label, self.missing)
        stamps = dict.fromkeys(self.policy.spec.joint_source_names, label - self.age)
        return Observation(label, {}, self.present.copy(), stamps, {}, effort=self.effort)

    def send(self, command: Command) -> None:
        self.sent.append(command)
        if self.follows:
            self.present = command.position.copy()

    def run(self, ticks: int = 1) -> Tick:
        for _ in range(ticks):
            self.label += PERIOD
            self.now = self.label
            self.tick(self.label, self.label)
        return self.ticks[-1]

    @property
    def path(self) -> np.ndarray:
        return np.array([command.position for command in self.sent])
