# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What keeps the node from commanding, and since when. No ROS here; what a fault is, others say.

A *soft* fault is true of one tick: the node holds while it lasts and goes on when it is over. A
*hard* fault latches until the user resets it. The book remembers which is which, so that each is
said once when it appears and once when it is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One reason not to command.

    :param code: stable name, as in docs/explanation/safety.md, with the source after a colon.
    :param text: what was found, for a person.
    :param hard: latched until reset.
    :param since_ns: the tick it appeared at.
    """

    code: str
    text: str
    hard: bool
    since_ns: int


@dataclass(frozen=True)
class Changes:
    """What a tick changed: to be logged."""

    appeared: tuple[Fault, ...] = ()
    recovered: tuple[Fault, ...] = ()


class FaultBook:
    """The faults that are on now. Safe to read and reset from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._soft: dict[str, Fault] = {}
        self._hard: dict[str, Fault] = {}
        self._counts: dict[str, int] = {}

    def update(
        self, tick_ns: int, soft: Mapping[str, str] | None, hard: Mapping[str, str] | None = None
    ) -> Changes:
        """Enter one tick's faults, text by code: soft ones not named are over; None: not known,
        they stay as they are."""
        with self._lock:
            appeared = []
            kinds = ((self._soft, soft or {}, False), (self._hard, hard or {}, True))
            for book, found, is_hard in kinds:
                for code, text in found.items():
                    known = book.get(code)
                    book[code] = Fault(code, text, is_hard, known.since_ns if known else tick_ns)
                    if known is None:
                        self._counts[code] = self._counts.get(code, 0) + 1
                        appeared.append(book[code])
            recovered = tuple(
                fault
                for code, fault in self._soft.items()
                if soft is not None and code not in soft
            )
            for fault in recovered:
                del self._soft[fault.code]
            return Changes(tuple(appeared), recovered)

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
