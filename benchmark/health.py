# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Does prediction health mean something? The simulated arm with a good policy, and with things
wrong: `python benchmark/health.py POLICY`, for a policy of the demo. Prints the table of
docs/explanation/safety.md. Some six minutes of one core.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.scene_watch import drift_text
from sarnn_ros.control.settings import Settings
from sarnn_ros.policy.drift import DriftMonitor
from sarnn_ros.policy.health import HealthMonitor
from sarnn_ros.policy.runtime import Policy, Prediction
from sarnn_ros.sim.rollout import rollout
from sarnn_ros.sim.scene import LiftScene
from sarnn_ros.sim.task import place_anywhere
from sarnn_ros.streams.observe import Observation
from sarnn_ros.streams.preprocess import crop_resize

Image = NDArray[np.uint8]

#: Tick in the middle of the reach, at which sudden faults begin.
REACHING = 20


@dataclass
class Trial:
    """Steps the policy on what a fault leaves of the observation, and watches its health.

    :param fault: what the camera shows at a tick, of what it would show.
    """

    policy: Policy
    scene: LiftScene
    fault: Callable[[Trial, Image], Image]
    begins: int
    image: bool
    kept: dict[str, Any] = field(default_factory=dict)

    def reset(self) -> None:
        settings, config = Settings(), self.policy.config
        window = round(settings.health.window * config.spec.rate)
        self.policy.reset()
        self._health = HealthMonitor(config, window=window, count_images=self.image)
        self._drift = DriftMonitor(
            config.envelope.cameras, window=round(settings.drift.window * config.spec.rate)
        )
        self.scores: list[float] = []
        self.drifts: set[str] = set()

    def step(self, observation: Observation) -> Prediction:
        (camera,) = self.policy.spec.cameras
        image = observation.sources[camera.name]
        if len(self.scores) >= self.begins:
            image = self.fault(self, image)
        observation = dataclasses.replace(
            observation, images={camera.name: crop_resize(image, camera)}
        )
        prediction = self.policy.step(observation, want_image=self.image)
        score = self._health.see(observation, prediction).score
        self.scores.append(0.0 if score is None else score)
        for name, drift in self._drift.see(observation.images).items():
            if drift_text(name, drift, Settings().drift):
                self.drifts.add(name)
        if "blocked" in self.kept:
            return dataclasses.replace(prediction, action=self.kept["blocked"])
        self.kept["joints"] = prediction.action
        return prediction


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


CASES: dict[str, tuple[Callable[[Trial, Image], Image], int]] = {
    "nothing wrong": (fine, 0),
    "cube invisible": (hidden, 0),
    "cube vanishes in mid-reach": (hidden, REACHING),
    "camera freezes in mid-reach": (frozen, REACHING),
    "camera shifted by 5 % of the image": (shifted(0.05), 0),
    "camera shifted by 10 %": (shifted(0.1), 0),
    "camera knocked by 10 % in mid-reach": (shifted(0.1), REACHING),
    "a hand before the camera in mid-reach": (covered, REACHING),
    "arm blocked in mid-reach": (blocked, REACHING),
    "half the light": (light(0.5), 0),
    "light × 1.5": (light(1.5), 0),
    "cube moved by 8 cm in mid-reach": (moved, REACHING),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policy")
    parser.add_argument("--trials", type=int, default=20, help="of each fault; thrice of none")
    parser.add_argument("--image", action="store_true", help="as with health.image")
    arguments = parser.parse_args()
    policy, scene = Policy.load(arguments.policy), LiftScene()
    limit = Settings().health.warn_above
    rate = policy.spec.rate
    print(
        "| | trials | lifted | score, median | range | above 1 | first, after (s) | drift warned |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, (fault, begins) in CASES.items():
        count = arguments.trials * (3 if fault is fine else 1)
        rng = np.random.default_rng(11)
        lifted, drifts, peaks, delays = 0, 0, [], []
        for number in range(count):
            trial = Trial(policy, scene, fault, begins, arguments.image)
            result = rollout(trial, scene, place_anywhere(rng), policy.spec, seed=number)
            lifted += result.success
            drifts += bool(trial.drifts)
            peaks.append(max(trial.scores))
            alarms = np.flatnonzero(np.array(trial.scores) > limit)
            delays += [(alarms[0] - begins) / rate] if len(alarms) else []
        after = f"{np.median(delays):.1f}" if delays else ""
        print(
            f"| {name} | {count} | {lifted / count:.0%} | {np.median(peaks):.2f} | "
            f"{min(peaks):.2f} to {max(peaks):.2f} | {len(delays) / count:.0%} | {after} | "
            f"{drifts / count:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
