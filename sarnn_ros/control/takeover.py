# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The commands of a person who takes over from the policy: the newest, and whether it may be
followed. What follows from it passes the same limits as a prediction. No ROS here.

Vectors have one entry per commanded joint, rad or m.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.start import most_beyond
from sarnn_ros.errors import DecodeError
from sarnn_ros.spec import JointSource
from sarnn_ros.streams.decode import decode_vector

Vector = NDArray[np.float64]


class Teleoperator:
    """See the module. Any thread may call it.

    :param topic: of the commands, for messages.
    :param source: how they are read. What they are stamped with does not count: it may be nothing,
        or another computer's time.
    :param span: the trained range of each joint.
    :param free: joints that may be anywhere when a person takes over.
    :param max_age_s: so long a command is followed, s.
    :ivar publishers: counts those of the topic.
    """

    def __init__(
        self,
        topic: str,
        source: JointSource,
        span: Vector,
        free: Sequence[int],
        max_age_s: float,
    ) -> None:
        self.publishers: Callable[[], int] = lambda: 1
        self._topic = topic
        self._source = source
        self._span = span
        self._free = free
        self._max_age_s = max_age_s
        self._newest: tuple[int, Vector] | None = None
        self._void = ""

    @property
    def type(self) -> str:
        """Of the messages."""
        return self._source.type

    def take(self, message: Any, steady_ns: int) -> None:
        """A message has come."""
        try:
            self._newest = steady_ns, decode_vector(message, self._source)
            self._void = ""
        except DecodeError as error:
            self.refuse(error.problem)

    def refuse(self, why: str) -> None:
        """A message has come that cannot be used."""
        self._void = f"; the last message is void: {why}"

    def command(self, steady_ns: int) -> Vector | str:
        """The command to follow, or why there is none."""
        if (count := self.publishers()) > 1:
            return f"{count} publishers on '{self._topic}': end all but the person's"
        newest = self._newest
        if newest is None:
            return f"no command has come on '{self._topic}'{self._void}"
        age_s = (steady_ns - newest[0]) * 1e-9
        if age_s > self._max_age_s:
            return (
                f"no command on '{self._topic}' for {age_s:.1f} s, at most {self._max_age_s:g} s "
                f"are allowed (takeover.max_age){self._void}"
            )
        return newest[1]

    def far(self, position: Vector, present: Vector, margin: float, floor: float) -> str:
        """Why the person may not take over with this command; empty: they may.

        :param margin: how far it may be from where the arm is, as a fraction of the trained range.
        :param floor: the smallest such distance, rad or m.
        """
        allowed = np.maximum(margin * self._span, floor)
        distance = np.abs(position - present)
        found = most_beyond(distance, allowed, self._source.names, self._free)
        if found is None:
            return ""
        worst, joint = found
        return (
            f"{joint} is at {present[worst]:.4g}, and '{self._topic}' "
            f"commands {position[worst]:.4g}; {allowed[worst]:.3g} rad or m are allowed: bring "
            "the leader to where the arm is, or raise start.margin"
        )
