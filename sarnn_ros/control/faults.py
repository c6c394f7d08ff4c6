# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The faults that keep the node from commanding, and since when.

A *soft* fault is true of one tick: the node holds while it lasts and goes on when it is resolved.
A *hard* fault latches until the user resets it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from sarnn_ros.errors import shorten

#: All codes, each with a row in docs/reference/faults.md. A colon and the source may follow one.
CODES = frozenset((
    "no_observation", "late", "guard", "outside", "gripper", "gripper_action", "interpolation",
    "frozen", "image_size", "camera", "publishers", "commanders", "rate", "no_controller",
    "health", "robot_description", "image_changed", "stalled", "jump", "effort", "not_following",
    "non_finite", "internal", "takeover",
))  # fmt: skip


@dataclass
class Faults:
    """What one look found: text by code."""

    soft: dict[str, str] = field(default_factory=dict)
    hard: dict[str, str] = field(default_factory=dict)

    def update(self, other: Faults) -> None:
        self.soft.update(other.soft)
        self.hard.update(other.hard)


@dataclass(frozen=True)
class Fault:
    """One reason not to command.

    :param code: one of `CODES`, the source after a colon.
    :param text: what was found, for a person.
    :param hard: latched until reset.
    :param since_ns: the tick it appeared at.
    """

    code: str
    text: str
    hard: bool
    since_ns: int

    def __post_init__(self) -> None:
        if self.code.partition(":")[0] not in CODES:
            raise ValueError(f"the fault '{self.code}' is not in CODES")


@dataclass(frozen=True)
class FaultChanges:
    """What a tick changed: to be logged."""

    appeared: tuple[Fault, ...] = ()
    resolved: tuple[Fault, ...] = ()


class ActiveFaults:
    """The faults that are active now. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._soft: dict[str, Fault] = {}
        self._hard: dict[str, Fault] = {}
        self._counts: Counter[str] = Counter()

    def update(
        self, tick_ns: int, soft: Mapping[str, str] | None, hard: Mapping[str, str] | None = None
    ) -> FaultChanges:
        """Enter one tick's faults, text by code.

        :param soft: those not named are resolved. None: not known, they stay as they are.
        """
        with self._lock:
            appeared = []
            kinds = ((self._soft, soft or {}, False), (self._hard, hard or {}, True))
            for active, found, is_hard in kinds:
                for code, text in found.items():
                    known = active.get(code)
                    since_ns = known.since_ns if known else tick_ns
                    active[code] = Fault(code, shorten(text), is_hard, since_ns)
                    if known is None:
                        self._counts[code] += 1
                        appeared.append(active[code])
            resolved = tuple(
                fault
                for code, fault in self._soft.items()
                if soft is not None and code not in soft
            )
            for fault in resolved:
                del self._soft[fault.code]
            return FaultChanges(tuple(appeared), resolved)

    @property
    def active(self) -> tuple[Fault, ...]:
        """Hard faults first, each kind in the order of appearance."""
        with self._lock:
            return (*self._hard.values(), *self._soft.values())

    @property
    def latched(self) -> tuple[Fault, ...]:
        with self._lock:
            return tuple(self._hard.values())

    @property
    def counts(self) -> dict[str, int]:
        """How often each fault appeared, since configure."""
        with self._lock:
            return dict(self._counts)

    def reset(self) -> tuple[Fault, ...]:
        """Forget all faults; those that were latched are returned. Soft ones return by themselves
        at the next tick if they are still true."""
        with self._lock:
            latched = tuple(self._hard.values())
            self._hard.clear()
            self._soft.clear()
            return latched
