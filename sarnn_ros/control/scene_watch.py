# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the scene still looks and behaves as in the demonstrations: prediction health and camera
drift at the robot, when to warn, and when to stop. How both are measured is in `policy`. No ROS.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sarnn_ros.control.faults import Faults
from sarnn_ros.control.settings import DriftSettings, Settings
from sarnn_ros.policy.directory import PolicyConfig
from sarnn_ros.policy.drift import Drift, DriftMonitor
from sarnn_ros.policy.health import HealthMonitor, HealthReading

if TYPE_CHECKING:
    from sarnn_ros.control.tick import Tick

#: Takes a stable key and a text.
Warn = Callable[[str, str], object]

NO_REFERENCE = (
    "the policy does not say which prediction errors are usual: write it again with "
    "'sarnn train … --resume' and the bags"
)


class SceneWatch:
    """Looks at each tick after its command was sent, so that it delays none. What it finds takes
    effect at the next tick. `see` and `faults` are for the control thread, `reset` for any.

    :param settings: the current ones; :param warn: tells the user.
    :ivar health, drift: the newest readings; may be read anywhere.
    """

    def __init__(self, config: PolicyConfig, settings: Callable[[], Settings], warn: Warn) -> None:
        self._config = config
        self._settings = settings
        self._warn = warn
        self._indices = list(config.spec.command_indices)
        now, rate = settings(), config.spec.rate
        self._health = HealthMonitor(
            config, window=max(1, round(now.health.window * rate)), count_images=now.health.image
        )
        self._drift = DriftMonitor(
            config.envelope.cameras, window=max(1, round(now.drift.window * rate))
        )
        self._lock = threading.Lock()  # a reset must not come in the middle of `see`
        self._obeyed = False
        self._told: set[str] = set()
        self.health = HealthReading()
        self.drift: dict[str, Drift] = {}

    def reset(self) -> None:
        """Start anew: readings and warnings."""
        with self._lock:
            self._forget()
            self._drift.reset()
            self.drift = {}
            self._told.clear()

    def _forget(self) -> None:
        self._health.reset()
        self._obeyed = False
        self.health = HealthReading()

    def see(self, tick: Tick) -> None:
        with self._lock:
            self._see(tick)

    def _see(self, tick: Tick) -> None:
        if tick.reset is not None:
            self._forget()
        if tick.observation is None or tick.prediction is None:
            return
        settings = self._settings()
        # While the robot holds, ramps, blends or is clamped, or after an interrupted segment, it
        # does not go where was predicted. In a dry run somebody else may move it, or a bag.
        followed = (self._obeyed and not tick.interrupted) or settings.dry_run
        predicted = tick.prediction.action[self._indices]
        self._obeyed = tick.sent is not None and np.allclose(tick.sent.position, predicted)
        self.health = self._health.see(tick.observation, tick.prediction, joints_followed=followed)
        self.drift = self._drift.see(tick.observation.images)
        if text := self._unhealthy(settings.health.warn_above):
            self._tell("health", f"{text}; does the scene look as in the demonstrations?")
        for camera, drift in self.drift.items():
            if text := drift_text(camera, drift, settings.drift):
                self._tell(f"drift:{camera}", text)

    def faults(self) -> Faults:
        """The fault `health`, where `health.stop_above` asks for it."""
        health = self._settings().health
        if not health.stop_above:
            return Faults()
        text = self._unhealthy(health.stop_above)
        if self._config.health is None:
            text = f"health.stop_above is set, but {NO_REFERENCE}"
        found = {"health": text} if text else {}
        return Faults(hard=found) if health.latch else Faults(soft=found)

    def _unhealthy(self, limit: float) -> str:
        score = self.health.score
        if not limit or score is None or score <= limit:
            return ""
        return f"prediction health {score:.2f} is above {limit:g} ({self.health.worst})"

    def _tell(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._warn(key, text)

    # -- for diagnostics, from any thread -------------------------------------------------------

    def health_status(self) -> tuple[bool, str, dict[str, object]]:
        """(all is well or unknown, a text, values)."""
        health = self.health
        values: dict[str, object] = {f"ratio {term}": x for term, x in health.ratios.items()}
        if warning := self._unhealthy(self._settings().health.warn_above):
            return False, warning, {"score": health.score, **values}
        if health.score is None:
            known = self._config.health is not None
            text = "unknown: too little seen yet" if known else f"unknown: {NO_REFERENCE}"
            return True, text, values
        return True, f"{health.score:.2f} ({health.worst})", {"score": health.score, **values}

    def drift_status(self) -> tuple[bool, str, dict[str, object]]:
        """(no camera drifts, a text, values)."""
        limits, texts = self._settings().drift, []
        values: dict[str, object] = {}
        for camera, drift in self.drift.items():
            texts.append(drift_text(camera, drift, limits))
            values[f"brightness {camera}"] = float(drift.color.mean())
            values[f"brightness trained {camera}"] = float(drift.trained.mean())
            values[f"brightness change {camera}"] = drift.brightness_change
            values[f"color change {camera}"] = drift.color_change
        text = "; ".join(filter(None, texts))
        return not text, text or "as in training" * bool(texts) or "unknown yet", values


def drift_text(camera: str, drift: Drift, limits: DriftSettings) -> str:
    """What to warn of, or nothing."""
    found = []
    change = drift.brightness_change
    if limits.brightness and abs(change) > limits.brightness and not drift.usual:
        found.append(
            f"{abs(change):.0%} {'brighter' if change > 0 else 'darker'} than in training "
            f"({drift.color.mean():.0f} of 255, then {drift.trained.mean():.0f})"
        )
    if limits.color and drift.color_change > limits.color:
        live, trained = (
            "/".join(f"{channel:.0f}" for channel in color)
            for color in (drift.color, drift.trained)
        )
        found.append(f"of another colour than in training (R/G/B {live}, then {trained})")
    if not found:
        return ""
    return (
        f"{camera}: the image is {' and '.join(found)}: check lamps, blinds, and the camera's "
        "exposure and white balance; if it is to stay so, demonstrate in this light as well"
    )
