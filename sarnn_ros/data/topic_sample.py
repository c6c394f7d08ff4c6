# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the first messages of a topic tell, of a bag or live: for `data.proposal`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.errors import DecodeError, SarnnError
from sarnn_ros.spec import (
    ARRAY_TYPES,
    COMPRESSED_IMAGE_TYPE,
    IMAGE_TYPE,
    NANOSECONDS,
    TRAJECTORY_TYPE,
)
from sarnn_ros.streams.decode import (
    check_image,
    decode_image,
    needs_range,
    source_values,
    stamp_ns,
)

IMAGE_TYPES = (IMAGE_TYPE, COMPRESSED_IMAGE_TYPE)
#: So many messages of a topic tell its rate, its names and whether it has stamps.
SAMPLE_MESSAGES = 200
#: After those, whether a joint moves is looked at so often, ns.
MOTION_STEP_NS = NANOSECONDS // 20
#: A joint is used if its position is finite in more than this share of the messages.
MIN_FINITE_SHARE = 0.5
#: A stamp further from receipt than this was not made by a clock that was set, s.
MAX_CLOCK_DIFFERENCE = 5.0


@dataclass
class Group:
    """The messages of a topic that name the same joints; or all images, or all arrays.

    :param received: when the first `SAMPLE_MESSAGES` came, ns: they tell the rate.
    :param values: one row of positions for each message of `at_ns`; empty rows for images.
    :param at_ns: when these came: the first ones, and after those one now and then.
    :param late: by how much receipt was after the stamps, where there are any, s.
    :param bad_stamps: what is wrong with the stamps of some, in words.
    :param spread: of each joint, largest less smallest position, rad or m.
    :param lost: of all messages, the share that did not arrive.
    :param not_finite: joints that are left out, as their positions are not finite in most
        messages.
    """

    topic: str
    type: str
    names: tuple[str, ...] = ()
    received: list[int] = field(default_factory=list)
    values: list[NDArray[np.float64]] = field(default_factory=list)
    at_ns: list[int] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    bad_stamps: str = ""
    spread: dict[str, float] = field(default_factory=dict)
    lost: float = 0.0
    not_finite: tuple[str, ...] = ()

    def add(
        self, receive_ns: int, message: Any, values: NDArray[np.float64], *, full: bool
    ) -> None:
        """:param full: it is known how often messages come, and whether they have stamps."""
        if full and receive_ns - self.at_ns[-1] < MOTION_STEP_NS:
            return
        self.values.append(values)
        self.at_ns.append(receive_ns)
        if full:
            return
        self.received.append(receive_ns)
        try:
            off = (stamp_ns(message) - receive_ns) / NANOSECONDS
            self.late.append(-off)
            if abs(off) >= MAX_CLOCK_DIFFERENCE and not self.bad_stamps:
                self.bad_stamps = (
                    f"are {abs(off):.3g} s {'after' if off > 0 else 'before'} receipt"
                )
        except DecodeError:
            stamped = hasattr(message, "header")
            why = "are not set (0)" if stamped else "do not exist: the type has no header"
            self.bad_stamps = self.bad_stamps or why

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        return self.topic, self.names

    @property
    def rate(self) -> float:
        """Hz, as sent; the median, as messages come in bursts."""
        steps = np.diff(self.received)
        if not len(steps):
            return 1.0
        step = np.mean(steps) * (1 - self.lost) if self.lost else np.median(steps)
        return float(NANOSECONDS / max(1.0, float(step)))

    @property
    def latency(self) -> float:
        """Of most messages, from stamp to receipt, s; 0 where stamps say nothing of it."""
        late = [] if self.bad_stamps else self.late
        return max(0.0, float(np.quantile(late, 0.95))) if late else 0.0

    def at(self, times: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Values at each time, (len(times), n): between two messages on the line that joins them,
        before and after all the nearest."""
        columns = np.array(self.values).T
        return np.stack([np.interp(times, self.at_ns, one) for one in columns], axis=1)


class Sample:
    """The first messages of one topic, and for longer how far its joints move.

    :ivar lost: so many messages are known to have been sent and not to have arrived.
    :ivar error: why the first message that could not be used could not.
    """

    def __init__(self, topic: str, kind: str) -> None:
        self.topic, self.type = topic, kind
        self.camera = kind in IMAGE_TYPES
        self.count = self.lost = 0
        self.size = (0, 0)
        self.depth: tuple[float, float] | None = None
        self.error: SarnnError | None = None
        self._groups: dict[tuple[str, ...], Group] = {}  # by their names, sorted
        self._ranges: dict[str, tuple[float, float]] = {}
        self._newest_ns = 0

    @property
    def full(self) -> bool:
        return self.count >= SAMPLE_MESSAGES

    def wants(self, receive_ns: int) -> bool:
        """Whether a message that came then is of use to `add`."""
        if not self.full:
            return True
        # Several that take turns: of every so-manieth message all might be of one.
        takes_turns = len(self._groups) > 1
        since = receive_ns - self._newest_ns
        return not self.camera and (takes_turns or since >= MOTION_STEP_NS)

    def add(self, receive_ns: int, message: Any) -> None:
        """A message as it came."""
        full, self._newest_ns = self.full, receive_ns
        self.count += 1
        try:
            names, values = self._look_at(message)
        except DecodeError as error:
            self.error = self.error or error
            return
        for name, value in zip(names, values.tolist()):
            if np.isfinite(value):
                low, high = self._ranges.get(name, (value, value))
                self._ranges[name] = (min(low, value), max(high, value))
        # A driver may name them in another order each time.
        key = tuple(sorted(names))
        known = self._groups.get(key)
        if known is None:
            if full:
                return
            known = self._groups[key] = Group(self.topic, self.type, names)
        if names != known.names:
            values = values[[names.index(name) for name in known.names]]
        known.add(receive_ns, message, values, full=full)

    def groups(self) -> list[Group]:
        """Those that do not share a joint, the largest first. Of joints, those that are finite in
        most messages, and of messages those in which they all are."""
        found: list[Group] = []
        for group in sorted(self._groups.values(), key=lambda one: (-len(one.names), one.names)):
            if len(group.received) < 2 or {*group.names} & {n for one in found for n in one.names}:
                continue
            if group.names:
                values = np.array(group.values)
                finite = np.isfinite(values)
                kept = finite.mean(axis=0) > MIN_FINITE_SHARE
                rows = np.flatnonzero(finite[:, kept].all(axis=1))
                names = tuple(np.array(group.names)[kept].tolist())
                if not names or (rows < len(group.received)).sum() < 2:
                    continue
                spread = {name: high - low for name, (low, high) in self._ranges.items()}
                group = replace(
                    group, names=names, values=list(values[rows][:, kept]),
                    at_ns=[group.at_ns[row] for row in rows],
                    received=[group.at_ns[row] for row in rows if row < len(group.received)],
                    spread={name: spread[name] for name in names},
                    not_finite=tuple(one for one in group.names if one not in names),
                )  # fmt: skip
            found.append(replace(group, lost=self.lost / (self.lost + self.count)))
        return found

    def _look_at(self, message: Any) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Joint names and positions."""
        if self.camera:
            self.size = check_image(message)
            if needs_range(message):
                self._see_depth(message)
            elif self.type == COMPRESSED_IMAGE_TYPE and self.count <= 1:
                decode_image(message, value_range=(0.0, 1.0))  # whether the file can be decoded
            return (), np.zeros(0)
        if self.type in ARRAY_TYPES:
            labels = tuple(one.label for one in message.layout.dim)
            named = all(labels) and len({*labels}) == len(message.data)
            return labels if named else (), np.asarray(message.data, np.float64)
        if self.type == TRAJECTORY_TYPE:
            if not message.points:
                raise DecodeError("a trajectory without points")
            names, position = message.joint_names, message.points[-1].positions
        else:
            names, position = message.name, message.position
        if len(position) != len(names) or not len(names):
            raise DecodeError(f"{len(position)} positions for {len(names)} joints")
        if not all(names):
            raise DecodeError("a joint without a name")
        return tuple(names), np.asarray(position, np.float64)

    def _see_depth(self, message: Any) -> None:
        values = source_values(message).astype(np.float64)
        known = values[np.isfinite(values) & (values > 0)]
        if len(known):
            low, high = np.percentile(known, (1, 99))
            before = self.depth or (low, high)
            self.depth = (min(before[0], float(low)), max(before[1], float(high)))
