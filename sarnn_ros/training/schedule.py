# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How loss weights and the learning rate change with the epoch. Pure functions.

EIPL's `LossScheduler` counts its own calls, and so advances per batch and during validation. Here
the epoch is an argument, and a resumed training gets the same values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

Curve = Literal["linear", "s", "inverse_s", "deceleration", "acceleration"]

_SHAPES: dict[Curve, Callable[[float], float]] = {
    "linear": lambda t: t,
    "s": lambda t: t - math.sin(2 * math.pi * t) / (2 * math.pi),
    "inverse_s": lambda t: t + math.sin(2 * math.pi * t) / (2 * math.pi),
    # EIPL's names: its "deceleration" starts flat, its "acceleration" ends flat.
    "deceleration": lambda t: 1 - math.cos(math.pi * t / 2),
    "acceleration": lambda t: math.sin(math.pi * t / 2),
}
CURVES: tuple[Curve, ...] = get_args(Curve)


def loss_weight(epoch: int, weight: float, decay_end: int, curve: Curve = "s") -> float:
    """The weight at an epoch: 0 at first, `weight` from `decay_end` on.

    As in EIPL, the curve spans `decay_end` points, so that epoch `decay_end - 1` already
    reaches the full weight.

    :param epoch: from 0.
    """
    if epoch >= decay_end:
        return weight
    t = epoch / (decay_end - 1) if decay_end > 1 else 0.0
    return weight * _SHAPES[curve](t)


def cosine(progress: float, floor: float = 0.0) -> float:
    """Half a cosine from 1 to `floor` as `progress` goes from 0 to 1."""
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
