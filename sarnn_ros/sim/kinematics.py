# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Kinematics of the simulated arm for a hand that points straight down.

Closed form. Lengths are those of `lift.xml`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Link lengths, m: shoulder to elbow, elbow to wrist, wrist to tool centre point.
UPPER_ARM = 0.30
FOREARM = 0.28
HAND = 0.15
#: Height of the shoulder's pitch axis above the table, m.
SHOULDER_HEIGHT = 0.22


def solve_top_down(position: ArrayLike) -> NDArray[np.float64]:
    """Arm joints that put the tool centre point at `position` with the hand pointing down
    and the fingers closing along world y.

    :param position: (3,) x, y, z in the world frame, m.
    :returns: (5,) joint1..joint5, rad, elbow up.
    :raises ValueError: the position is out of reach.
    """
    x, y, z = np.asarray(position, dtype=np.float64)
    out = np.hypot(x, y)
    up = z + HAND - SHOULDER_HEIGHT  # the wrist, seen from the shoulder
    reach = np.hypot(out, up)
    if not abs(UPPER_ARM - FOREARM) < reach < UPPER_ARM + FOREARM:
        raise ValueError(f"position {[float(x), float(y), float(z)]} m is out of reach")
    cosine = (reach**2 - UPPER_ARM**2 - FOREARM**2) / (2 * UPPER_ARM * FOREARM)
    elbow = np.arccos(np.clip(cosine, -1.0, 1.0))
    shoulder = np.arctan2(out, up) - np.arctan2(
        FOREARM * np.sin(elbow), UPPER_ARM + FOREARM * np.cos(elbow)
    )
    yaw = np.arctan2(y, x)
    # The hand looks down, so a roll of the same sign undoes the yaw.
    return np.array([yaw, shoulder, elbow, np.pi - shoulder - elbow, yaw])


def tool_position(joints: ArrayLike) -> NDArray[np.float64]:
    """Where the tool centre point would be if the hand pointed straight down: the inverse of
    `solve_top_down`.

    :param joints: (5,) or more, joint1 first, rad.
    :returns: (3,) x, y, z in the world frame, m.
    """
    yaw, shoulder, elbow = np.asarray(joints, dtype=np.float64)[:3]
    out = UPPER_ARM * np.sin(shoulder) + FOREARM * np.sin(shoulder + elbow)
    up = UPPER_ARM * np.cos(shoulder) + FOREARM * np.cos(shoulder + elbow)
    return np.array([out * np.cos(yaw), out * np.sin(yaw), up + SHOULDER_HEIGHT - HAND])
