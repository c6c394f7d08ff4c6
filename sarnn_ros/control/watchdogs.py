# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Signs that what is observed cannot be trusted, although every message in it is sound. No ROS.

A watchdog names a fault, soft or hard, with a text that says what was found and what to do. What
then happens is for `control`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.faults import Faults
from sarnn_ros.control.settings import WatchSettings
from sarnn_ros.spec import NANOSECONDS
from sarnn_ros.streams.observe import Observation

#: A joint's largest step is taken as no smaller than this, rad or m: measurement noise must not
#: count as large steps.
MIN_LARGEST_STEP = 1e-3
#: Less than so many largest steps may be noise of a joint at rest, which must not add up.
MOVED_STEPS = 0.25
#: A joint that moves by more of its largest steps than this from one message to the next, or
#: within one period, has jumped: an arm cannot.
JUMP_STEPS = 3.0
#: So many efforts in a row beyond what was trained are a contact; a single one may be noise.
EFFORT_TICKS = 2

NO_EFFORTS = (
    "watch.effort is set, but the policy knows no efforts: record joint states that have them "
    "('sarnn inspect' says so), and train again"
)


@dataclass
class _Picture:
    stamp: int
    pixels: NDArray[np.uint8]
    #: Joints when it was seen first, or when they last had moved.
    present: NDArray[np.float64]
    repeats: int = 0
    travel: float = 0.0


class ObservationWatch:
    """Looks at one observation after the other: camera frozen, image size, joints that jump.

    For the control thread only.

    :param sizes: (width, height) of each camera's source image in training.
    :param indices: of the commanded joints, in the state.
    :param max_step: their largest step now, rad or m.
    """

    def __init__(
        self,
        settings: WatchSettings,
        sizes: Mapping[str, tuple[int, int]],
        indices: list[int],
        names: tuple[str, ...],
        max_step: Callable[[], NDArray[np.float64]],
    ) -> None:
        self._settings = settings
        self._sizes = sizes
        self._indices = indices
        self._names = names
        self._max_step = max_step
        self.reset()

    def reset(self) -> None:
        """Forget all observations so far."""
        self._pictures: dict[str, _Picture] = {}
        self._present: NDArray[np.float64] | None = None

    def _largest_step(self) -> NDArray[np.float64]:
        return np.maximum(self._max_step(), MIN_LARGEST_STEP)

    def check(self, observation: Observation) -> Faults:
        faults = Faults()
        present = observation.state[self._indices]
        if observation.jumps is not None and self._present is not None:
            self._check_jump(observation.jumps[self._indices], faults)
        self._present = present
        for name, pixels in observation.sources.items():
            self._check_size(name, pixels, faults)
            self._check_frozen(name, pixels, observation.stamps[name], present, faults)
        return faults

    def _check_jump(self, changes: NDArray[np.float64], faults: Faults) -> None:
        limit = JUMP_STEPS
        largest = self._largest_step()
        steps = changes / largest
        worst = int(steps.argmax())
        if steps[worst] > limit:
            faults.hard["jump"] = (
                f"{self._names[worst]} moved by {changes[worst]:.4g} rad or m from one message to "
                f"the next, {limit:g} times its largest step is "
                f"{limit * largest[worst]:.4g} rad or m: check the encoder, the driver's "
                "units, and whether two drivers publish"
            )

    def _check_size(self, name: str, pixels: NDArray[np.uint8], faults: Faults) -> None:
        height, width = pixels.shape[:2]
        trained = self._sizes.get(name)  # of an imported policy it is not known
        if self._settings.image_size and trained and (width, height) != trained:
            faults.soft[f"image_size:{name}"] = (
                f"{name}: the image has {width} x {height} pixels, in training it had "
                f"{trained[0]} x {trained[1]}: set the camera to that, or train with this; "
                "watch.image_size:=false resizes whatever comes"
            )

    def _check_frozen(
        self,
        name: str,
        pixels: NDArray[np.uint8],
        stamp: int,
        present: NDArray[np.float64],
        faults: Faults,
    ) -> None:
        last = self._pictures.get(name)
        if last is None or not _alike(last.pixels, pixels):
            self._pictures[name] = _Picture(stamp, pixels, present)
            return
        last.repeats += stamp != last.stamp
        last.stamp = stamp
        steps = float((np.abs(present - last.present) / self._largest_step()).max())
        if steps >= MOVED_STEPS:
            last.travel += steps
            last.present = present
        limit = self._settings.frozen_ticks
        # A still scene gives equal images where the camera has no noise; a moving arm does not.
        if limit and last.repeats >= limit and last.travel >= 1.0:
            faults.soft[f"frozen:{name}"] = (
                f"{name}: {last.repeats} images alike, byte for byte, while the robot moved: "
                "restart the camera's driver"
            )


class EffortWatch:
    """Looks at the measured efforts, beside those of the demonstrations: has the arm touched what
    it did not touch then? For the control thread only.

    An effort that is not known at a tick says nothing: it neither counts nor ends a count.

    :param spans: of each joint of the spec the lowest and highest demonstrated effort, in the
        driver's unit, None where unknown; None: the policy has none at all.
    :param names: of the joints.
    :param settings: the current ones.
    :param warn: tells the user.
    """

    def __init__(
        self,
        spans: Sequence[tuple[float, float] | None] | None,
        names: Sequence[str],
        settings: Callable[[], WatchSettings],
        warn: Callable[[str], object],
    ) -> None:
        known = [row for row, span in enumerate(spans or ()) if span is not None]
        self._rows = known
        self._names = [names[row] for row in known]
        self._low, self._high = np.array([(spans or ())[row] for row in known]).reshape(-1, 2).T
        self._settings = settings
        self._warn = warn
        self._told = False
        self.reset()

    def reset(self) -> None:
        """Forget all efforts so far."""
        self._counts: NDArray[np.int64] = np.zeros(len(self._rows), np.int64)

    def look_for(self, effort: NDArray[np.float64] | None) -> None:
        """Say once which joints are not watched since their driver tells no effort."""
        if self._told or not self._settings().effort:
            return
        self._told = True
        if not self._rows:
            self._warn(NO_EFFORTS)
        known = self._known(effort)
        if missing := [name for name, told in zip(self._names, np.isfinite(known)) if not told]:
            self._warn(
                f"the joint states tell no effort of {', '.join(missing)}, in the demonstrations "
                "they did: watch.effort cannot see there whether the arm touches something; set "
                "the driver up as it was then, or watch.effort:=0.0"
            )

    def check(self, effort: NDArray[np.float64] | None) -> dict[str, str]:
        """Look at one tick.

        :param effort: as `Observation.effort`.
        :returns: hard faults, text by code.
        """
        margin = self._settings().effort
        if not margin or not self._rows:
            return {}
        known, slack = self._known(effort), margin * (self._high - self._low)
        with np.errstate(invalid="ignore"):  # comparisons with NaN are false
            beyond = (known < self._low - slack) | (known > self._high + slack)
            within = ~beyond & np.isfinite(known)
        self._counts = (self._counts + beyond) * ~within
        worst = int(self._counts.argmax())
        if self._counts[worst] < EFFORT_TICKS or not beyond[worst]:
            return {}
        return {
            "effort": f"{self._names[worst]} has an effort of {known[worst]:.4g}, for "
            f"{self._counts[worst]} ticks beyond what was trained ({self._low[worst]:.4g} to "
            f"{self._high[worst]:.4g}, in its driver's unit; watch.effort allows "
            f"{slack[worst]:.4g} more): has the arm touched something?"
        }

    def _known(self, effort: NDArray[np.float64] | None) -> NDArray[np.float64]:
        return np.full(len(self._rows), np.nan) if effort is None else effort[self._rows]


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    # Noise shows in a few pixels; only what seems frozen is worth a look at them all.
    coarse = np.s_[::16, ::16]
    return np.array_equal(one[coarse], other[coarse]) and np.array_equal(one, other)


class FormatWatch:
    """Looks at each image as it arrives: size and encoding must stay what they were first.

    For any thread. Raw images only: a compressed one shows its size when decoded.

    :param since_ns: images stamped before it are ignored: one that was sent before a reset must
        not become the first.
    """

    def __init__(self, since_ns: Callable[[], int]) -> None:
        self._since_ns = since_ns
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._first: dict[str, tuple[Any, ...]] = {}
            self._changed: dict[str, str] = {}

    def see(self, camera: str, message: Any) -> None:
        encoding = getattr(message, "encoding", None)
        stamp = message.header.stamp
        if encoding is None or stamp.sec * NANOSECONDS + stamp.nanosec < self._since_ns():
            return
        found = (message.width, message.height, encoding)
        with self._lock:
            first = self._first.setdefault(camera, found)
            if found != first:
                self._changed[f"image_changed:{camera}"] = (
                    f"{camera}: the image changed from {first[0]} x {first[1]} {first[2]} to "
                    f"{found[0]} x {found[1]} {found[2]}: was the camera reconfigured?"
                )

    @property
    def changed(self) -> dict[str, str]:
        """Hard faults, text by code, until reset."""
        with self._lock:
            return dict(self._changed)
