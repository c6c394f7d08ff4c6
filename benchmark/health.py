# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Does prediction health mean something? The simulated arm with a good policy, and with things
wrong: `python benchmark/health.py POLICY …`, for policies of the demo. Prints the tables of
benchmark/results/health.md. Some seven minutes of one core for a policy.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.scene_watch import DRIFT_WINDOW_S, drift_text
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.watchdogs import EffortWatch
from sarnn_ros.policy.drift import DriftMonitor
from sarnn_ros.policy.health import HealthMonitor
from sarnn_ros.policy.runtime import Policy, Prediction
from sarnn_ros.sim.camera import RayCamera
from sarnn_ros.sim.rollout import rollout
from sarnn_ros.sim.scene import LiftScene
from sarnn_ros.sim.task import place_anywhere
from sarnn_ros.streams.observe import Observation
from sarnn_ros.streams.preprocess import crop_resize

Image = NDArray[np.uint8]

#: Tick in the middle of the reach, at which sudden faults begin.
REACHING = 20
#: `watch.effort`, which is off by default.
EFFORT = 1.0
#: Thresholds that `health.stop_above` could have.
THRESHOLDS = (0.8, 1.0, 1.25, 1.5, 2.0, 2.5)


@dataclass
class Trial:
    """Steps the policy on what a fault leaves of the observation, and watches its health.

    :param fault: what the camera shows at a tick, of what it would show.
    """

    policy: Policy
    scene: LiftScene
    fault: Fault
    begins: int
    image: bool
    kept: dict[str, Any] = field(default_factory=dict)

    def reset(self) -> None:
        settings, config = Settings(), self.policy.config
        known = config.envelope.effort is not None
        watch = settings.watch.model_copy(update={"effort": EFFORT if known else 0.0})
        window = round(settings.health.window * config.spec.rate)
        self.policy.reset()
        self._health = HealthMonitor(config, window=window, count_images=self.image)
        self._drift = DriftMonitor(
            config.envelope.cameras, window=round(DRIFT_WINDOW_S * config.spec.rate)
        )
        self.scores: list[float] = []
        self.drifts: set[str] = set()
        self.touched: int | None = None
        self.pushed: int | None = None
        self._efforts = EffortWatch(
            config.envelope.effort, config.spec.joint_labels, lambda: watch, print
        )

    def step(self, observation: Observation) -> Prediction:
        (camera,) = self.policy.spec.cameras
        image = observation.sources[camera.name]
        if self.touched is None and fingers_touch(self.scene):
            self.touched = len(self.scores)
        if self.pushed is None and self._efforts.check(self.scene.efforts):
            self.pushed = len(self.scores)
        if len(self.scores) >= self.begins:
            image = self.fault(self, image)
        observation = dataclasses.replace(
            observation, images={camera.name: crop_resize(image, camera)}
        )
        prediction = self.policy.step(observation, want_image=self.image)
        score = self._health.see(observation, prediction).score
        self.scores.append(0.0 if score is None else score)
        for name, drift in self._drift.see(observation.images).items():
            if drift_text(name, drift):
                self.drifts.add(name)
        if "blocked" in self.kept:
            return dataclasses.replace(prediction, action=self.kept["blocked"])
        self.kept["joints"] = prediction.action
        return prediction


def fingers_touch(scene: LiftScene) -> bool:
    """Whether a finger touches cube, table or the other finger."""
    model, contacts = scene.model, scene.data.contact
    fingers = {model.body("finger_left").id, model.body("finger_right").id}
    bodies = model.geom_bodyid[np.stack([contacts.geom1, contacts.geom2])]
    return bool(np.isin(bodies, list(fingers)).any())


def fine(trial: Trial, image: Image) -> Image:
    return image


def hidden(trial: Trial, image: Image) -> Image:
    return trial.scene.render(hide_cube=True)


def frozen(trial: Trial, image: Image) -> Image:
    return trial.kept.setdefault("image", image)


def shifted(share: float) -> Callable[[Trial, Image], Image]:
    def shift(trial: Trial, image: Image) -> Image:
        height, width = image.shape[:2]
        move = np.float32([[1, 0, share * width], [0, 1, share * height / 2]])
        return cv2.warpAffine(image, move, (width, height), borderMode=cv2.BORDER_REPLICATE)

    return shift


def light(factor: float) -> Callable[[Trial, Image], Image]:
    return lambda trial, image: np.clip(image * factor, 0, 255).astype(np.uint8)


def moved(trial: Trial, image: Image) -> Image:
    if not trial.kept.get("moved"):
        trial.kept["moved"] = True
        place = trial.scene.model.joint("cube").qposadr[0] + 1
        trial.scene.data.qpos[place] -= np.copysign(0.08, trial.scene.data.qpos[place])
        return trial.scene.render()
    return image


def blocked(trial: Trial, image: Image) -> Image:
    trial.kept.setdefault("blocked", trial.kept["joints"])
    return image


def covered(trial: Trial, image: Image) -> Image:
    image = image.copy()
    height, width = image.shape[:2]
    image[height // 3 : 2 * height // 3, width // 4 : 2 * width // 3] = (200, 160, 140)
    return image


def blue(scene: LiftScene) -> None:
    recolour(scene, (0.1, 0.2, 0.8, 1.0))


def ball(scene: LiftScene) -> None:
    """A smaller, green ball. It does not roll away by itself."""
    geom = scene.model.geom("cube")
    geom.type, geom.size = mujoco.mjtGeom.mjGEOM_SPHERE, (0.025, 0, 0)
    recolour(scene, (0.1, 0.6, 0.2, 1.0))


def recolour(scene: LiftScene, colour: tuple[float, ...]) -> None:
    scene.model.geom("cube").rgba = colour
    scene.camera = RayCamera(scene.model, "front", scene.camera.width, scene.camera.height)


Fault = Callable[[Trial, Image], Image]


@dataclass(frozen=True)
class Case:
    """:param begins: tick. :param harmless: a policy should cope: an alarm is a false one.
    :param change: of the scene, before the trials.
    """

    fault: Fault = fine
    begins: int = 0
    harmless: bool = False
    change: Callable[[LiftScene], None] = lambda scene: None


CASES = {
    "nothing wrong": Case(harmless=True),
    "cube invisible": Case(hidden),
    "cube vanishes in mid-reach": Case(hidden, REACHING),
    "camera freezes in mid-reach": Case(frozen, REACHING),
    "camera frozen from the start": Case(frozen),
    "camera shifted by 5 % of the image": Case(shifted(0.05)),
    "camera shifted by 10 %": Case(shifted(0.1)),
    "camera knocked by 10 % in mid-reach": Case(shifted(0.1), REACHING),
    "a hand before the camera in mid-reach": Case(covered, REACHING),
    "a blue cube": Case(change=blue),
    "a green ball": Case(change=ball),
    "arm blocked in mid-reach": Case(blocked, REACHING),
    "half the light": Case(light(0.5), harmless=True),
    "light × 1.5": Case(light(1.5), harmless=True),
    "cube moved by 8 cm in mid-reach": Case(moved, REACHING, harmless=True),
}


@dataclass(frozen=True)
class Outcome:
    """One trial: the score at each tick, 0 where unknown; when fingers first touched something,
    and when `watch.effort` found an effort too large."""

    case: str
    success: bool
    drift: bool
    touched: int | None
    pushed: int | None
    scores: list[float]

    def alarm(self, limit: float) -> int | None:
        """The first tick above the limit."""
        return next((tick for tick, score in enumerate(self.scores) if score > limit), None)

    def caught(self, limit: float) -> bool:
        """Alarmed before the fingers touched anything."""
        alarm = self.alarm(limit)
        return alarm is not None and (self.touched is None or alarm < self.touched)


def try_case(policy: Policy, name: str, count: int, image: bool) -> list[Outcome]:
    case, scene, outcomes = CASES[name], LiftScene(), []
    case.change(scene)
    rng = np.random.default_rng(11)
    for number in range(count):
        trial = Trial(policy, scene, case.fault, case.begins, image)
        result = rollout(trial, scene, place_anywhere(rng), policy.spec, seed=number)
        found = (bool(trial.drifts), trial.touched, trial.pushed, trial.scores)
        outcomes.append(Outcome(name, result.success, *found))
    return outcomes


def row(outcomes: list[Outcome], rate: float) -> str:
    """What happened in one case."""
    limit, begins, count = (
        Settings().health.warn_above,
        CASES[outcomes[0].case].begins,
        len(outcomes),
    )
    peaks = [max(one.scores) for one in outcomes]
    alarms = [alarm for one in outcomes if (alarm := one.alarm(limit)) is not None]
    after = f"{np.median(np.array(alarms) - begins) / rate:.1f}" if alarms else ""
    cells = (
        outcomes[0].case,
        f"{count}",
        f"{sum(one.success for one in outcomes) / count:.0%}",
        f"{np.median(peaks):.2f}",
        f"{min(peaks):.2f} to {max(peaks):.2f}",
        f"{len(alarms) / count:.0%}",
        after,
        f"{sum(one.drift for one in outcomes) / count:.0%}",
        f"{sum(one.pushed is not None for one in outcomes) / count:.0%}",
    )
    return f"| {' | '.join(cells)} |"


def threshold_rows(outcomes: list[Outcome]) -> list[str]:
    """Of each case and threshold: alarms where all went well; and where a trial failed, the share
    that alarmed before the fingers touched anything, and that alarmed at all."""
    lines = []
    for name, case in CASES.items():
        trials = [one for one in outcomes if one.case == name and one.success == case.harmless]
        cells = []
        for limit in THRESHOLDS:
            alarms = sum(one.alarm(limit) is not None for one in trials)
            caught = sum(one.caught(limit) for one in trials)
            cells.append(f"{alarms}" if case.harmless else f"{caught}, {alarms}")
        kind = "lifted" if case.harmless else "not lifted"
        lines.append(f"| {name}, {kind} | {len(trials)} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policies", nargs="+")
    parser.add_argument("--trials", type=int, default=20, help="of each fault; five times of none")
    parser.add_argument("--image", action="store_true", help="as with health.image")
    parser.add_argument("--json", type=Path, help="write each trial here")
    arguments = parser.parse_args()
    everything: list[Outcome] = []
    for path in arguments.policies:
        policy = Policy.load(path)
        print(
            f"\n{path}\n\n| | trials | lifted | score, median | range | above 1 "
            "| first, after (s) | drift warned | effort |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for name in CASES:
            count = arguments.trials * (5 if name == "nothing wrong" else 1)
            outcomes = try_case(policy, name, count, arguments.image)
            print(row(outcomes, policy.spec.rate), flush=True)
            everything += outcomes
            if arguments.json:
                text = json.dumps([dataclasses.asdict(one) for one in everything])
                arguments.json.write_text(text)
    print(f"\n| | trials | {' | '.join(f'above {limit:g}' for limit in THRESHOLDS)} |")
    print("|---|---|" + "---|" * len(THRESHOLDS))
    print("\n".join(threshold_rows(everything)))


if __name__ == "__main__":
    main()
