# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the scene still looks and behaves as in the demonstrations: prediction health and camera
drift at the robot, when to warn, and when to stop. How both are measured is in `policy`. No ROS.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.faults import Faults
from sarnn_ros.control.log import Log
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.state import STARTED, State
from sarnn_ros.policy.directory import PolicyConfig
from sarnn_ros.policy.drift import Drift, DriftMonitor
from sarnn_ros.policy.health import PLACES, HealthMonitor, HealthReading, JointsUse

if TYPE_CHECKING:
    from sarnn_ros.control.tick import Tick

#: The arm does what the policy predicts, or is blended into it.
POLICY_COMMANDS = frozenset({State.BLENDING, State.COMMANDING})
#: A proposed `health.stop_above` is so many times the largest score of good runs.
STOP_FACTOR = 1.5
#: Brightness and colour are averaged over this long, s: a shadow that passes is no drift.
DRIFT_WINDOW_S = 5.0
#: There is a warning, and nothing but that, when the mean brightness differs from training by more
#: than this part of it, and is outside what training saw; and when a colour channel's share of the
#: light does by more than that.
MAX_BRIGHTNESS_CHANGE, MAX_COLOR_CHANGE = 0.25, 0.1

NO_REFERENCE = "the policy does not say which prediction errors are usual: "
#: What helps, of a policy that was imported, and of others.
IMPORTED = "it was imported, and only what 'sarnn train' has trained does"
WRITE_AGAIN = "write it again with 'sarnn train … --resume' and the bags"


@dataclass
class _Run:
    """From ~/start until nothing more is commanded: the largest score, and what the log said.

    :ivar commanded: the policy has moved the arm.
    """

    commanded: bool = False
    largest: float = -math.inf
    worst: str | None = None
    told: bool = False
    over: bool = False


class SceneWatch:
    """Looks at each tick after its command was sent, so that it delays none. What it finds takes
    effect at the next tick. `see` and `faults` are for the control thread, `reset` and `end_run`
    for any.

    A tick is compared with what the one before predicted if that one was commanded, and while
    health is what holds the robot. Otherwise the arm does not do what is predicted, or somebody
    moves it: health is unknown, and nothing follows from it.

    :param settings: the current ones.
    :ivar health, drift: the newest readings; may be read anywhere.
    """

    def __init__(self, config: PolicyConfig, settings: Callable[[], Settings], log: Log) -> None:
        self._config = config
        self._settings = settings
        self._log = log
        self._indices = list(config.spec.command_indices)
        now, rate = settings(), config.spec.rate
        self._health = HealthMonitor(
            config, window=max(1, round(now.health.window * rate)), count_images=now.health.image
        )
        self._drift = DriftMonitor(
            config.envelope.cameras, window=max(1, round(DRIFT_WINDOW_S * rate))
        )
        self._lock = threading.Lock()  # a reset must not come in the middle of `see`
        self._commanded = False  # by the policy, at the tick before
        self._obeyed = False  # and exactly what it predicted
        self._holds = False  # the score holds the robot
        self._told: set[str] = set()
        self._run = _Run()
        self._largest: list[float] = []  # of the runs so far
        self.health = HealthReading()
        self.drift: dict[str, Drift] = {}

    def reset(self) -> None:
        """Start anew: readings and warnings."""
        commanded = self._run.commanded
        self.end_run()
        self._run.commanded = commanded  # it may go on: ~/reset does not end it
        with self._lock:
            self._forget()
            self._drift.reset()
            self.drift = {}
            self._told.clear()

    def _forget(self) -> None:
        self._health.reset(in_run=self._run.commanded)
        self._commanded = self._obeyed = self._holds = False
        self.health = HealthReading()

    def see(self, tick: Tick) -> None:
        with self._lock:
            if tick.reset == "start" or tick.state not in STARTED:
                self.end_run()
            if tick.reset is not None:
                self._forget()
            self._see_health(tick, self._settings())
            if tick.observation is not None:
                self._see_drift(tick.observation.images)

    def _see_drift(self, images: Mapping[str, NDArray[np.uint8]]) -> None:
        self.drift = self._drift.see(images)
        for camera, drift in self.drift.items():
            text, key = drift_text(camera, drift), f"drift:{camera}"
            if text and key not in self._told and self._log("warning", key, text):
                self._told.add(key)

    def _see_health(self, tick: Tick, settings: Settings) -> None:
        commanded, self._commanded = self._commanded, tick.state in POLICY_COMMANDS
        self._run.commanded |= self._commanded
        held = self._holds and tick.state is State.HOLDING
        looks = held or (commanded and tick.state in STARTED)
        if not looks:
            self.health = HealthReading()
        if tick.seen is None or tick.prediction is None:
            return
        if not looks:
            self._health.expect(tick.seen, tick.prediction)
        else:
            joints = self._joints(tick, settings)
            found = self._health.see(tick.seen, tick.prediction, joints=joints)
            if found.score is not None or not held:  # a low score ends a hold, not an unknown one
                self.health = found
            self._tell_health(settings)
        predicted = tick.prediction.action[self._indices]
        self._obeyed = tick.sent is not None and np.allclose(tick.sent.position, predicted)
        self._holds = bool(self._unhealthy(settings.health.stop_above))

    def _joints(self, tick: Tick, settings: Settings) -> JointsUse:
        """While the robot holds, blends or is clamped, or after an interrupted segment, it does
        not go where was predicted. In a dry run somebody else moves it, or nobody."""
        if settings.dry_run:
            return "require"
        return "count" if self._obeyed and not tick.interrupted else "ignore"

    def _tell_health(self, settings: Settings) -> None:
        """Once in a run that the score has left its range, and once that it is back."""
        run, score, worst = self._run, self.health.score, self.health.worst
        if score is None:
            return
        if score > run.largest and not settings.dry_run:
            run.largest, run.worst = score, worst
        text = self._unhealthy(settings.health.warn_above)
        if text and not run.told:
            text += "; does the scene look as in the demonstrations?"
            if self.health.worst == PLACES:
                text += " By the first images something is missing, covered, or not what it seems"
            run.told = self._log("warning", "health", text)
        elif run.told and not text and not run.over:
            text = f"prediction health is back at {score:.2f} ({worst})"
            run.over = self._log("info", "health over", text)

    def end_run(self) -> None:
        """Nothing more is commanded: the log says how large the score was, if it was known."""
        run, self._run = self._run, _Run()
        if run.worst is None:
            return
        self._largest.append(run.largest)
        largest = max(self._largest)
        text = (
            f"prediction health of this run: at most {run.largest:.2f} ({run.worst}), of all "
            f"since configure {largest:.2f}; if they went well, health.stop_above could be "
            f"{stop_above(largest)}"
        )
        self._log("info", "health of run", text)

    def faults(self) -> Faults:
        """The fault `health`, where `health.stop_above` asks for it. To be asked while started: a
        robot that is not commanded has none."""
        health = self._settings().health
        if not health.stop_above:
            return Faults()
        text = self._unhealthy(health.stop_above)
        if self._config.health is None:
            text = f"health.stop_above is set, but {self._no_reference}"
        found = {"health": text} if text else {}
        return Faults(hard=found) if health.latch else Faults(soft=found)

    @property
    def _no_reference(self) -> str:
        imported = "imported_from" in self._config.training
        return NO_REFERENCE + (IMPORTED if imported else WRITE_AGAIN)

    def _unhealthy(self, limit: float) -> str:
        score = self.health.score
        if not limit or score is None or score <= limit:
            return ""
        return f"prediction health {score:.2f} is above {limit:g} ({self.health.worst})"

    # -- for diagnostics, from any thread -------------------------------------------------------

    def health_status(self) -> tuple[bool, str, dict[str, object]]:
        """(all is well or unknown, a text, values)."""
        health = self.health
        values: dict[str, object] = {f"ratio {term}": x for term, x in health.ratios.items()}
        values |= {"largest of this run": run} if (run := self._run.largest) >= 0 else {}
        if largest := list(self._largest):
            values |= {"largest of the run before": largest[-1], "runs": len(largest)}
            values["largest of all runs"] = max(largest)
            values["health.stop_above proposed"] = stop_above(max(largest))
        if warning := self._unhealthy(self._settings().health.warn_above):
            return False, warning, {"score": health.score, **values}
        if health.score is None:
            return True, f"unknown: {self._why_unknown()}", values
        return True, f"{health.score:.2f} ({health.worst})", {"score": health.score, **values}

    def _why_unknown(self) -> str:
        if self._config.health is None:
            return self._no_reference
        if not self._commanded:
            return "nothing is commanded"
        if self._settings().dry_run:
            return "in a dry run nobody moves the arm as predicted"
        return "too little seen yet"

    def drift_status(self) -> tuple[bool, str, dict[str, object]]:
        """(no camera drifts, a text, values)."""
        texts, values = [], dict[str, object]()
        for camera, drift in self.drift.items():
            texts.append(drift_text(camera, drift))
            values[f"brightness {camera}"] = float(drift.color.mean())
            values[f"brightness trained {camera}"] = float(drift.trained.mean())
            values[f"brightness change {camera}"] = drift.brightness_change
            values[f"color change {camera}"] = drift.color_change
        text = "; ".join(filter(None, texts))
        return not text, text or "as in training" * bool(texts) or "unknown yet", values


def stop_above(largest: float) -> float:
    """A threshold that good runs keep away from.

    :param largest: score of good runs.
    """
    return math.ceil(STOP_FACTOR * largest * 10) / 10


def drift_text(camera: str, drift: Drift) -> str:
    """What to warn of, or nothing."""
    found = []
    change = drift.brightness_change
    if abs(change) > MAX_BRIGHTNESS_CHANGE and not drift.usual:
        found.append(
            f"{abs(change):.0%} {'brighter' if change > 0 else 'darker'} than in training "
            f"({drift.color.mean():.0f} of 255, then {drift.trained.mean():.0f})"
        )
    if drift.color_change > MAX_COLOR_CHANGE:
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
