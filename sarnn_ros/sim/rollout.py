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
CAMERA_PERIOD, JOINT_PERIOD = 1 / 30, 1 / 100
#: Transport of an image: none younger than this can have arrived at a tick, s.
CAMERA_DELAY = 0.004


class Prediction(Protocol):
    """What a driver says at a tick: the next action, (D,) in the spec's order, rad or m."""

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
    if len(spec.cameras) != 1 or spec.cameras[0].topic.lstrip("/") != "image_raw":
        raise SpecError(f"the simulator has one camera, 'image_raw'; found {spec.cameras}")
    period = spec.period_ns / NANOSECONDS
    commanded = [_index(name) for name in spec.command_names]

    scene.reset(cube.x, cube.y, cube.yaw)
    policy.reset()
    sensors = _Sensors(scene, spec, vision, np.random.default_rng(seed))
    lifts, positions, commands = [], [], []
    now = 0.0
    for _ in range(ticks):
        now, delay = sensors.next_tick(now)
        predicted = policy.step(sensors.observe(now)).action
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


class _Sensors:
    """The camera and the joint sensors, each with a phase of its own, of a scene that was reset.

    :param rng: of the phases.
    """

    def __init__(
        self, scene: LiftScene, spec: Spec, vision: Vision, rng: np.random.Generator
    ) -> None:
        self._scene = scene
        self._spec = spec
        self._vision = vision
        self._period = spec.period_ns / NANOSECONDS
        self._camera_phase = rng.uniform(0.0, CAMERA_PERIOD)
        self._joint_phase = rng.uniform(0.0, JOINT_PERIOD)
        self._ticks = 0

    def next_tick(self, last: float) -> tuple[float, float]:
        """Its time, and how long after it its command takes effect, s."""
        self._ticks += 1
        if self._spec.tick == "image":  # the image nearest to a period after the last tick
            latest = last + self._period + CAMERA_PERIOD / 2
            self._image_time = _newest(latest, CAMERA_PERIOD, self._camera_phase)
            return self._image_time, CAMERA_DELAY + COMMAND_DELAY
        # The first tick comes when every sensor has published once, as in a bag.
        now = self._ticks * self._period
        self._image_time = _newest(now - CAMERA_DELAY, CAMERA_PERIOD, self._camera_phase)
        return now, COMMAND_DELAY

    def observe(self, now: float) -> Observation:
        """Advance the scene to the tick; the newest image and joints of then."""
        scene, camera = self._scene, self._spec.cameras[0]
        joint_time = _newest(now, JOINT_PERIOD, self._joint_phase)
        for time, is_image in sorted([(self._image_time, True), (joint_time, False)]):
            scene.advance_to(time)
            if is_image:
                image = scene.render(hide_cube=self._vision == "hidden")
            else:
                joints = np.concatenate([_read(scene, source) for source in self._spec.joints])
        scene.advance_to(now)
        return Observation(
            tick_ns=round(now * NANOSECONDS),
            images={camera.name: crop_resize(image, camera)},
            state=joints,
            stamps={},
            sources={camera.name: image},
        )


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
        ("joint_states", "effort"): scene.efforts,
        ("joint_references", "position"): scene.references,
    }.get((source.topic.lstrip("/"), source.field))
    if values is None:
        raise SpecError(f"the simulator does not publish {source.field} on '{source.topic}'")
    return values[[_index(name) for name in source.names]]
