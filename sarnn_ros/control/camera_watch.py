# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether each camera still stands where it stood while demonstrating, in such light, and what is
undone if not. No ROS.

Looks every few seconds while no run is under way. What was found when a run begins to move the
robot stays until its end: a picture that jumps in the middle of a motion would look like an object
that jumps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import cv2
import numpy as np

from sarnn_ros.control.faults import Faults
from sarnn_ros.control.log import Log
from sarnn_ros.control.settings import Settings
from sarnn_ros.policy.directory import PolicyConfig
from sarnn_ros.policy.reference import (
    RECOGNISED_SHARE,
    as_bright,
    judge_light,
    judge_place,
)
from sarnn_ros.spec import CameraSpec
from sarnn_ros.streams.light import Factors
from sarnn_ros.streams.observe import ObservationBuffer
from sarnn_ros.streams.registration import (
    MIN_REPEATS,
    Image,
    Reference,
    Registration,
    describe,
    recognise,
    register,
    shrink,
)

#: Between two looks, s, and between two registrations of one camera, ns.
LOOK_S, REGISTER_NS = 0.25, 2_000_000_000
#: After a registration nothing is looked at for so many times as long as it took.
IDLE_FACTOR = 5
#: Another picture is named as the likely one if what does not correlate with it is at most this
#: part of what does not with the camera's own, which is not asked if that correlates by so much of
#: the usual. Mirrored pictures of scenes that look much the same so: 0.01 to 0.1; in their place
#: behind a hand: 0.86 and more.
LIKELIER, SURELY_OWN = 0.5, 0.98
#: The map that is searched from correlates by up to so much less than the final one.
LESS = 0.02
#: What is undone is told again if the picture has moved by so much more, as a share of the width.
NEWS = 0.02

Verdict = Literal["in place", "corrected", "moved", "not recognised", "other light"]


@dataclass(frozen=True)
class Placement:
    """Where one camera stands.

    :param text: for a person.
    :param found: None where it was not recognised at all.
    :param light: what is undone of another light; None: nothing.
    """

    verdict: Verdict
    text: str
    found: Registration | None = None
    light: Factors | None = None

    @property
    def well(self) -> bool:
        return self.verdict in ("in place", "corrected")

    @property
    def moves(self) -> tuple[str, ...]:
        """How to move the camera back, where that is known."""
        if self.found is None or self.verdict not in ("corrected", "moved"):
            return ()
        return tuple(f"{one.move}: {one.amount}" for one in describe(self.found))

    @property
    def untouched(self) -> bool:
        """Its images go to the policy as they come."""
        return self.verdict == "in place" and self.light is None


class Ghost(NamedTuple):
    """What is drawn over a camera's image: what it showed when the demonstrations began, uint8
    (H, W, 3) RGB in the size of its own image, and lines of text."""

    image: Image
    lines: tuple[str, ...]


class CameraWatch:
    """`look` is for a thread of its own; the rest for any.

    :param references: by camera.
    :param settings: the current ones.
    :ivar placements: by camera, as found last; a camera without a reference is not in it.
    :ivar version: of these: another number after each change.
    """

    def __init__(
        self,
        config: PolicyConfig,
        references: Mapping[str, Reference],
        buffer: ObservationBuffer,
        settings: Callable[[], Settings],
        log: Log,
    ) -> None:
        self._config = config
        self._references = references
        self._buffer = buffer
        self._settings = settings
        self._log = log
        self._lock = threading.Lock()
        self._fixed = False
        self._since_ns = 0
        self._fresh: set[str] = set()  # looked at since then
        self._looked: dict[str, tuple[int, int]] = {}  # stamp, and when to look again, ns
        self._told: dict[str, tuple[Verdict, bool, tuple[float, float]]] = {}
        self.placements: dict[str, Placement] = {}
        self.version = 0

    @property
    def enabled(self) -> bool:
        return self._settings().registration.max_displacement > 0.0 and bool(self._references)

    def begin(self, now_ns: int) -> None:
        """A run begins: each camera is looked at once more, in an image stamped from now on."""
        with self._lock:
            self._fixed = False
            self._since_ns = now_ns
            self._fresh.clear()

    def rewind(self, now_ns: int) -> None:
        """The clock was set back to this."""
        with self._lock:
            self._since_ns = min(self._since_ns, now_ns)

    def settle(self, version: int) -> str:
        """A run is about to move the robot: what is undone stays as it is, see `fix`. Not if that
        has changed since this `version`, which was read before the observation: why, then."""
        if not self.enabled:
            self._forget()  # it may have been turned off just now
        with self._lock:
            if not self._fixed and version != self.version:
                return "a camera has just been registered: its next image counts"
            self._fixed = True
            return ""

    def fix(self, fixed: bool) -> None:
        """Whether what is undone stays as it is: from a run's first motion to its end."""
        with self._lock:
            self._fixed = fixed

    def look(self) -> None:
        """Register the newest image of each camera, where it is time."""
        if not self.enabled:
            self._forget()
            return
        for camera in self._config.spec.cameras:
            if camera.name not in self._references or not self._is_due(camera):
                continue
            newest = self._buffer.newest_source(camera)
            if newest is None:
                continue
            stamp, source, _ = newest
            began = time.monotonic_ns()
            placement = self._judge(camera, source)
            # A search takes long: it must not keep a core busy while nothing moves.
            wait_ns = max(REGISTER_NS, IDLE_FACTOR * (time.monotonic_ns() - began))
            self._looked[camera.name] = stamp, stamp + wait_ns
            self._set(camera.name, placement, stamp)

    def _is_due(self, camera: CameraSpec) -> bool:
        stamp = self._buffer.newest_stamp(camera)
        if self._fixed or stamp is None:
            return False
        if camera.name not in self._fresh:
            return stamp >= self._since_ns
        looked, due = self._looked[camera.name]
        return stamp >= due or stamp < looked  # the clock was set back

    def _forget(self) -> None:
        with self._lock:
            if self.placements and not self._fixed:
                self._buffer.undo({})
                self.placements = {}
                self._fresh.clear()
                self.version += 1  # last, see `_set`

    def _set(self, camera: str, placement: Placement, stamp: int) -> None:
        with self._lock:
            if self._fixed or stamp < self._since_ns:  # the run began meanwhile
                return
            placements = {**self.placements, camera: placement}
            self._buffer.undo(
                {
                    name: one.found.matrix
                    for name, one in placements.items()
                    if one.verdict == "corrected" and one.found is not None
                },
                {name: one.light for name, one in placements.items() if one.light is not None},
            )
            # After `undo`: the control thread reads these without the lock, and then observes.
            self.placements = placements
            self._fresh.add(camera)
            self.version += 1
        now = placement.verdict, placement.light is not None, _shift(placement)
        told = self._told.get(camera)
        if told is None or told[:2] != now[:2] or np.ptp([told[2], now[2]], axis=0).max() > NEWS:
            level = "info" if placement.untouched else "warning"
            if self._log(level, f"camera:{camera}", placement.text):
                self._told[camera] = now

    def _judge(self, camera: CameraSpec, source: Image) -> Placement:
        reference = self._references[camera.name]
        name = f"camera '{camera.name}'"
        if source.shape[1::-1] != reference.source:
            return Placement("not recognised", self._other_size(camera.name, source))
        about, image = self._config.references[camera.name], shrink(source)
        before = self.placements.get(camera.name)
        near = before.found.matrix if before and before.found and before.well else None
        sure = reference.sure(about.correlation)
        if before and before.found and before.well and reference.repeats <= MIN_REPEATS:
            # Behind an arm it fits less well at each look: no search of a second each time.
            sure = min(sure, SURELY_OWN * before.found.correlation - LESS)
        found = register(image, reference, near, sure)
        limit, usual = self._settings().registration.max_displacement, about.correlation
        place = judge_place(found, reference, about, limit)
        if found is None or place == "not recognised":
            return Placement("not recognised", self._unlike(camera.name, image, found), found)
        if found.correlation < SURELY_OWN * usual and (
            instead := self._instead(camera.name, image, found.correlation)
        ):
            return Placement("not recognised", instead)
        if place == "in place":
            text = f"{name} is in its place, to {found.displacement:.1%} of the width"
            return self._lit(Placement("in place", text, found), image, camera)
        if place == "not told exactly":
            return Placement(
                "moved",
                f"{name} has been moved, or much of its scene: its picture does not tell exactly "
                "where things are, so it is not corrected for. Move it back until the overlay's "
                "ghost image fits. Something with a pattern beside the objects, while "
                "demonstrating, would tell",
                found,
            )
        where = f"{name} has been moved: {_where(found)}"
        if place == "elsewhere":
            text = f"{where}. This is undone before the policy sees it"
            return self._lit(Placement("corrected", text, found), image, camera)
        back = "move it back until the overlay's ghost image fits"
        if place == "cut off":
            lost = reference.out_of_view(found.matrix)
            text = f"{where}; {lost:.0%} of where objects may lie is out of its view: {back}"
            return Placement("moved", text, found)
        return Placement(
            "moved",
            f"{where}; that is {found.overall:.0%} of the width at a corner, more than "
            f"registration.max_displacement allows, {limit:.0%}: {back}, or record demonstrations "
            "from there",
            found,
        )

    def _lit(self, placement: Placement, image: Image, camera: CameraSpec) -> Placement:
        """And in which light the camera, which is recognised, shows its `image`."""
        assert placement.found is not None
        about, reference = self._config.references[camera.name], self._references[camera.name]
        light = judge_light(image, reference, about, placement.found.matrix, camera)
        if not light.text:
            return placement
        mark = "," if light.refused else ";"
        verdict = "other light" if light.refused else placement.verdict
        text = f"{placement.text}{mark} {light.text}"
        return replace(placement, verdict=verdict, text=text, light=light.undo)

    def _unlike(self, camera: str, image: Image, found: Registration | None) -> str:
        """What it may be instead."""
        return self._instead(camera, image, -1.0 if found is None else found.correlation) or (
            f"camera '{camera}' does not show the scene of the demonstrations: is it another "
            "camera, turned away, or covered? registration.max_displacement:=0 does without this "
            "check"
        )

    def _other_size(self, camera: str, source: Image) -> str:
        width, height = self._references[camera].source
        size = source.shape[1::-1]
        text = f"camera '{camera}': {size[0]} x {size[1]} pixels, its demonstrations have "
        text += f"{width} x {height}: "
        for other, reference in self._references.items():
            if size == reference.source:
                return f"{text}camera '{other}' has so many, are their topics swapped?"
        turned = size == (height, width)
        return text + ("is it turned by 90°?" if turned else "set its resolution as it was")

    def _instead(self, camera: str, image: Image, known: float) -> str:
        """What explains the picture much better than what is `known`, how well it correlates with
        the camera's own reference; empty: nothing."""
        usual = self._config.references[camera].correlation
        least = max(1.0 - LIKELIER * (1.0 - known), RECOGNISED_SHARE * usual)
        guesses: list[tuple[str, Image, str]] = [
            ("stands upside down", np.ascontiguousarray(image[::-1, ::-1]), camera),
            ("is mirrored", np.ascontiguousarray(image[:, ::-1]), camera),
            *(
                (f"shows what camera '{other}' showed: are their topics swapped?", image, other)
                for other in self._references
                if other != camera
            ),
        ]
        for text, picture, other in guesses:
            if recognise(picture, self._references[other]) >= least:
                return f"camera '{camera}' {text}"
        return ""

    def ghost(self, camera: str) -> Ghost | None:
        """For a person who moves the camera back; None if it is in its place, or in a run."""
        placement = self.placements.get(camera)
        if self._fixed or placement is None or placement.verdict == "in place":
            return None
        reference = self._references[camera]
        image = np.asarray(cv2.resize(reference.image, reference.source), np.uint8)
        verdict = "moved, but undone" if placement.verdict == "corrected" else placement.verdict
        return Ghost(image, (f"camera: {verdict}", *placement.moves))

    def faults(self) -> Faults:
        """Before a run moves the robot, each camera must be in its place, or corrected for."""
        if not self.enabled or self._fixed:
            return Faults()
        found = {}
        for camera in self._references:
            placement = self.placements.get(camera)
            if placement is None or camera not in self._fresh:
                found[f"camera:{camera}"] = f"camera '{camera}' has not been registered yet"
            elif not placement.well:
                found[f"camera:{camera}"] = placement.text
        return Faults(soft=found)

    # -- for diagnostics, from any thread -------------------------------------------------------

    def status(self) -> tuple[bool, str, dict[str, object]]:
        """(all cameras are in their place, a text, values)."""
        if not self._settings().registration.max_displacement:
            return True, "cameras are not registered: registration.max_displacement is 0", {}
        placements, texts = dict(self.placements), []
        values: dict[str, object] = {}
        for name in (camera.name for camera in self._config.spec.cameras):
            placement = placements.get(name)
            if name not in self._references:
                texts.append(
                    f"camera '{name}' is not registered: the policy has no reference of it, as "
                    "it moves with the robot, or its pictures do not tell where it stands"
                )
            elif placement is None:
                texts.append(f"camera '{name}' has not been registered yet")
            else:
                texts.append(placement.text)
                values[f"place {name}"] = placement.verdict
                if (found := placement.found) is not None:
                    values[f"displacement {name} (share of width)"] = found.displacement
                    values[f"uncertainty {name} (share of width)"] = found.uncertainty
                    values[f"correlation {name}"] = found.correlation
                if placement.light is not None:
                    values[f"light {name} (times)"] = as_bright(placement.light)
        well = all(one.untouched for one in placements.values())
        return well, "; ".join(texts), values


def _shift(placement: Placement) -> tuple[float, float]:
    """Right and down, as shares of the width."""
    if placement.found is None:
        return 0.0, 0.0
    width = placement.found.size[0]
    right, down = placement.found.shift
    return right / width, down / width


def _where(found: Registration) -> str:
    """Where the picture lies, and how to move the camera back."""
    told = describe(found)
    if not told:
        return "its picture is sheared or stretched"
    parts, moves = ", ".join(one.where for one in told), ", ".join(one.move for one in told)
    return f"its picture lies {parts} ({moves})"
