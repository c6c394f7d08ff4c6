# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The command limits by a robot description that comes on a topic. No ROS.

Nothing may be commanded until a usable one has come. If a later one has other limits, it may be
another robot's: that is a hard fault. The earlier limits stay in use, and `~/reset` takes those
that were published last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import numpy as np

from sarnn_ros.control.faults import Faults
from sarnn_ros.control.limits import JointLimiter, JointLimits, Vector
from sarnn_ros.errors import ConfigError

CODE = "robot_description"
AS_BEFORE = "~/reset goes on with the limits as they were before"


class DescriptionWatch:
    """For any thread.

    :param topic: for messages; empty: none is asked for, and none will come.
    :param resolve: the limits by a description's text, or a `ConfigError`.
    :param own: those in it, whatever else narrows them.
    :param limiter: gets the limits while a fault prevents commands.
    """

    def __init__(
        self,
        topic: str,
        resolve: Callable[[str], JointLimits],
        own: Callable[[str], Mapping[str, Vector]],
        limiter: JointLimiter,
    ) -> None:
        self._resolve, self._own = resolve, own
        self._limiter = limiter
        self._lock = threading.Lock()
        self._next: str | None = None
        self.text: str | None = None  # the description in use
        self._fault = topic and (
            f"no robot description has arrived on '{topic}': is robot_state_publisher running, in "
            "this namespace? It must publish as transient local"
        )

    def take(self, text: str) -> None:
        """A description has arrived."""
        if text == self.text and not self._fault:
            return
        problem = ""
        try:
            limits = self._resolve(text)
            differs = self.text is not None and not _equal(self._own(text), self._own(self.text))
        except ConfigError as error:
            problem = str(error)
        with self._lock:
            if problem:
                self._next = None
                self._fault = problem
                if self.text is not None:
                    self._fault += f"; {AS_BEFORE}"
                return
            if self.text is None:
                self._limiter.limits = limits
                self.text, self._fault = text, ""
            elif differs:
                self._next = text
                self._fault = (
                    "the robot description has changed the limits of a commanded joint: is it "
                    "still that robot? ~/reset takes them"
                )
            elif self._fault:
                self._next = None
                self._fault = (
                    "the robot description had changed or was unusable, and is as before again; "
                    f"{AS_BEFORE}"
                )

    def accept(self) -> None:
        """The user has seen the fault. To be called while nothing is commanded. A description
        that leaves no room, by what the user has set meanwhile, stays a fault."""
        text = self._next
        try:
            limits = None if text is None else self._resolve(text)
        except ConfigError as error:
            with self._lock:
                self._fault = str(error)
            return
        with self._lock:
            if self.text is None or text != self._next:
                return
            if limits is not None:
                self._limiter.limits = limits
                self.text, self._next = text, None
            self._fault = ""

    def faults(self) -> Faults:
        with self._lock:
            found = {CODE: self._fault} if self._fault else {}
            return Faults(soft=found) if self.text is None else Faults(hard=found)


def _equal(first: Mapping[str, Vector], second: Mapping[str, Vector]) -> bool:
    return all(np.array_equal(value, second[name]) for name, value in first.items())
