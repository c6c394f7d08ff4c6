# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How long a training has still to go, from how long its last epochs took. Nothing is shown here.

The median, as an epoch now and then takes several times as long where others use the machine.
Epochs that end with a validation are apart: they take longer, and when they come is known.
"""

from __future__ import annotations

from collections import deque
from statistics import median

#: Epochs of either kind that are remembered: enough to be calm, few enough to follow the machine.
WINDOW = 25


class Eta:
    """:param epochs: in all. :param validate_every: the last of so many epochs validates."""

    def __init__(self, epochs: int, validate_every: int) -> None:
        self._epochs = epochs
        self._every = validate_every
        self._plain: deque[float] = deque(maxlen=WINDOW)
        self._validated: deque[float] = deque(maxlen=WINDOW)

    def see(self, number: int, seconds: float) -> None:
        """Enter an epoch: its number, from 0, and how long it took."""
        (self._validated if self._validates(number) else self._plain).append(seconds)

    def left(self, number: int) -> float:
        """Seconds for the epochs from `number` on; the first of them may come again, as when
        training starts afresh. At least one epoch must have been seen.
        """
        validated = self._epochs // self._every - number // self._every
        plain = max(0, self._epochs - number) - validated
        return plain * median(self._plain or self._validated) + validated * median(
            self._validated or self._plain
        )

    def _validates(self, number: int) -> bool:
        return (number + 1) % self._every == 0


def duration_text(seconds: float) -> str:
    """For people: the two largest units."""
    whole = round(seconds)
    hours, minutes = divmod(round(whole / 60), 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    if whole >= 120:
        return f"{minutes} min"
    return f"{whole} s"
