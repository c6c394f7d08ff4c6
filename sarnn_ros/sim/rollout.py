# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One trial of a policy on the scene, in this process and in exact simulated time. No ROS.

For choosing between policies and for benchmarks: hundreds of times cheaper than a trial over DDS,
with the same sensor ages, command delay and image preprocessing.
The demo's report is made over DDS (`referee.py`), never with this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.errors import SpecError
from sarnn_ros.sim.scene import JOINT_NAMES, LiftScene
from sarnn_ros.sim.task import TRIAL_TICKS, Placement, Vision, is_success
from sarnn_ros.spec import NANOSECONDS, JointSource, Spec
from sarnn_ros.streams.observe import Observation
from sarnn_ros.streams.preprocess import crop_resize

#: From a tick to the moment its command takes effect, s (measured over DDS: 5 to 15 ms).
COMMAND_DELAY = 0.01
CAMERA_PERIOD = 1 / 30
JOINT_PERIOD = 1 / 100
#: Transport of an image: none younger than this can have arrived at a tick, s.
CAMERA_DELAY = 0.004


class Prediction(Protocol):
    """What a policy predicts at a tick: the next action, (D,) in the spec's order, rad or m."""

    @property
    def action(self) -> NDArray[np.float64]: ...


class Driver(Protocol):
    """What is tried: `sarnn_ros.policy.runtime.Policy`, or a control."""

    def reset(self) -> None: ...

    def step(self, observation: Observation) -> Prediction: ...


@dataclass(frozen=True)
class Rollout:
    """What happened in a trial. One row per tick: the state when the policy was asked."""

    success: bool
    lifts: NDArray[np.float64]  # (T,) cube above the table, m
    positions: NDArray[np.float64]  # (T, 6) measured joints
    commands: NDArray[np.float64]  # (T, 6) commanded joints

    @property
    def max_lift(self) -> float:
        """Highest the cube was above the table, m."""
        return float(self.lifts.max())


class Replay:
    """A control that ignores its observations: one trajectory, (T, D) in the spec's order."""

    def __init__(self, trajectory: NDArray[np.float64]) -> None:
        self._trajectory = trajectory
        self.reset()

    def reset(self) -> None:
        self._tick = -1

    def step(self, observation: Observation) -> Replay:
        self._tick = min(self._tick + 1, len(self._trajectory) - 1)
        return self

    @property
    def action(self) -> NDArray[np.float64]:
        return self._trajectory[self._tick]


def rollout(
    policy: Driver,
    scene: LiftScene,
    cube: Placement,
    spec: Spec,
    *,
    vision: Vision = "live",
    ticks: int = TRIAL_TICKS,
    seed: int = 0,
) -> Rollout:
    """Reset scene and policy, run one trial.

    :param spec: what the policy observes; its topics must be those of the simulator.
    :param seed: of the phases between sensors and ticks.
    :raises SpecError: the spec asks for a topic, joint or camera the simulator has not.
    """
    rng = np.random.default_rng(seed)
    period = spec.period_ns / NANOSECONDS
    camera_phase = rng.uniform(0.0, CAMERA_PERIOD)
    joint_phase = rng.uniform(0.0, JOINT_PERIOD)
    if len(spec.cameras) != 1 or spec.cameras[0].topic.lstrip("/") != "image_raw":
        raise SpecError(f"the simulator has one camera, 'image_raw'; found {spec.cameras}")
    camera = spec.cameras[0]
    commanded = [_index(name) for name in spec.command_names]

    scene.reset(cube.x, cube.y, cube.yaw)
    policy.reset()
    image = scene.render(hide_cube=vision == "hidden")
    lifts, positions, commands = [], [], []
    now = 0.0
    for tick in range(ticks):
        # The first tick comes when every sensor has published once, as in a bag.
        if spec.tick == "image":  # the image nearest to a period after the last tick
            image_time = _newest(now + period + CAMERA_PERIOD / 2, CAMERA_PERIOD, camera_phase)
            now, delay = image_time, CAMERA_DELAY + COMMAND_DELAY
        else:
            now, delay = (tick + 1) * period, COMMAND_DELAY
            image_time = _newest(now - CAMERA_DELAY, CAMERA_PERIOD, camera_phase)
        joint_time = _newest(now, JOINT_PERIOD, joint_phase)
        for time, read_image in sorted([(image_time, True), (joint_time, False)]):
            scene.advance_to(time)
            if not read_image:
                joints = np.concatenate([_read(scene, source) for source in spec.joints])
            elif vision != "frozen":
                image = scene.render(hide_cube=vision == "hidden")
        scene.advance_to(now)
        observation = Observation(
            tick_ns=round(now * NANOSECONDS),
            images={camera.name: crop_resize(image, camera)},
            state=joints,
            stamps={},
            sources={camera.name: image},
        )
        predicted = policy.step(observation).action
        command = scene.references
        command[commanded] = predicted[list(spec.command_indices)]
        lifts.append(scene.cube_lift)
        positions.append(scene.positions)
        commands.append(command)
        scene.advance_to(now + delay)
        scene.command(command, duration=period)
    scene.advance_to(now + period)
    lifts.append(scene.cube_lift)
    return Rollout(is_success(lifts), np.array(lifts), np.array(positions), np.array(commands))


def _newest(before: float, period: float, phase: float) -> float:
    """Time of a periodic sensor's newest sample at or before `before`, s."""
    return phase + float(np.floor((before - phase) / period)) * period


def _index(name: str) -> int:
    if name not in JOINT_NAMES:
        raise SpecError(f"the simulator has no joint '{name}', only {', '.join(JOINT_NAMES)}")
    return JOINT_NAMES.index(name)


def _read(scene: LiftScene, source: JointSource) -> NDArray[np.float64]:
    values = {
        ("joint_states", "position"): scene.positions,
        ("joint_states", "velocity"): scene.velocities,
        ("joint_references", "position"): scene.references,
    }.get((source.topic.lstrip("/"), source.field))
    if values is None:
        raise SpecError(f"the simulator does not publish {source.field} on '{source.topic}'")
    return values[[_index(name) for name in source.names]]
