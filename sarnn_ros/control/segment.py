# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The path from one set-point to the next. Pure arithmetic: no ROS, no threads, no limits.

Units are rad or m, s and ns; vectors have one entry per commanded joint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Kind = Literal["linear", "cubic"]


@dataclass
class Segment:
    """A path that never leaves the interval between two set-points: a cubic Hermite curve.

    :param kind: 'linear' ignores the velocities: a straight line. 'cubic' takes them over as far
        as the curve then stays monotonic: in the direction of the segment, at most three times its
        mean velocity (Fritsch and Carlson, "Monotone Piecewise Cubic Interpolation", SIAM J.
        Numer. Anal. 17, 1980). So it may not overshoot a set-point that the limits let through.
    :param start_ns: when it is at `start`, moving with `start_velocity`.
    :param end_ns: when it is at `end`, moving with `end_velocity`; later than `start_ns`.
    """

    kind: Kind
    start_ns: int
    end_ns: int
    start: Vector
    end: Vector
    start_velocity: Vector
    end_velocity: Vector

    def __post_init__(self) -> None:
        mean = (self.end - self.start) / self._duration
        low, high = np.minimum(0.0, 3.0 * mean), np.maximum(0.0, 3.0 * mean)
        if self.kind == "linear":
            low = high = mean
        self.start_velocity = np.clip(self.start_velocity, low, high)
        self.end_velocity = np.clip(self.end_velocity, low, high)

    @property
    def _duration(self) -> float:
        return (self.end_ns - self.start_ns) * 1e-9

    def _phase(self, time_ns: int) -> float:
        return min(max((time_ns - self.start_ns) / (self.end_ns - self.start_ns), 0.0), 1.0)

    def position(self, time_ns: int) -> Vector:
        """Before the start it is at `start`, after the end at `end`, exactly."""
        u = self._phase(time_ns)
        if u == 0.0:
            return self.start.copy()
        if u == 1.0:
            return self.end.copy()
        distance = self.end - self.start
        position = self.start + u * u * (3.0 - 2.0 * u) * distance
        position += u * (1.0 - u) ** 2 * self._duration * self.start_velocity
        position -= u * u * (1.0 - u) * self._duration * self.end_velocity
        # Rounding must not leave the interval that the ends were checked for.
        return np.clip(
            position, np.minimum(self.start, self.end), np.maximum(self.start, self.end)
        )

    def velocity(self, time_ns: int) -> Vector:
        """rad/s or m/s. Before the start the start's, after the end the end's."""
        u = self._phase(time_ns)
        mean = (self.end - self.start) / self._duration
        velocity: Vector = (
            6.0 * u * (1.0 - u) * mean
            + (1.0 - u) * (1.0 - 3.0 * u) * self.start_velocity
            + u * (3.0 * u - 2.0) * self.end_velocity
        )
        return velocity
