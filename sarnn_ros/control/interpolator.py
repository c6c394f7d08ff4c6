# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Between the control loop and the outlet: the set-points on the segment from the last command to
the new one.

They are sent from a thread of their own: the control thread may be busy with the network for most
of a period, and the executor's with messages, while a set-point is due every few milliseconds.
Every one passes the limits. No ROS here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.limits import JointLimiter
from sarnn_ros.control.outlet import (
    NO_FRESH_JOINTS,
    Basis,
    Command,
    CommandOutlet,
    Instant,
    Interruption,
    Sent,
)
from sarnn_ros.control.segment import Kind, Segment
from sarnn_ros.control.ticker import GridTicker

Vector = NDArray[np.float64]


class SetpointInterpolator:
    """See the module. Safe to call from any thread; after `end` nothing of a segment is sent.
    `JointLimits.between_commands` judge each set-point.

    :param period_ns: of the policy: how long the segment to a command takes.
    :param interval_ns: between set-points; 0: commands are sent as they come, without a thread.
    :param kind: 'linear' or 'cubic'; see `segment`.
    :param immediate: joints that go to a command at once: those of a two-valued gripper. Where
        its fingers are measured is no set-point of it: they stand where what they hold stops them,
        and a segment from there would lead past the threshold at which it opens.
    """

    def __init__(
        self,
        period_ns: int,
        interval_ns: int,
        kind: Kind,
        outlet: CommandOutlet,
        immediate: Sequence[int] = (),
    ) -> None:
        self._period_ns = period_ns
        self._interval_ns = interval_ns
        self._kind = kind
        self._outlet = outlet
        self._clocks = outlet.clocks
        self._immediate = list(immediate)
        self.on_error: Callable[[Exception], None] = lambda error: None
        self._segment: Segment | None = None
        self._began: Instant | None = None  # when the segment was asked for
        self._here: Vector | None = None  # where a motion began with it
        self._interruption: Interruption | None = None
        self._interruptions: Counter[str] = Counter()
        self.ticker: GridTicker | None = None
        if interval_ns:
            clocks = self._clocks
            self.ticker = GridTicker(
                interval_ns, clocks.now_ns, self.tick, lambda error: self.on_error(error),
                simulated=clocks.simulated, name="command",
            )  # fmt: skip

    @property
    def interruptions(self) -> dict[str, int]:
        """How often a segment was not finished, by reason."""
        with self._outlet.lock:
            return dict(self._interruptions)

    def interruption(self) -> Interruption | None:
        """Why a segment was interrupted since the last `end`, if one was. Returned once."""
        with self._outlet.lock:
            found, self._interruption = self._interruption, None
            return found

    def ready(
        self, command: Command, basis: Basis, here: Vector
    ) -> Callable[[], None] | Interruption:
        """What sends a command that the limits allow, or begins the segment to it. The lock is to
        be held until it has been called.

        :param here: where a motion begins that begins now, see `Motion.here`.
        :returns: or why it may not be sent.
        """
        if not self._interval_ns:
            return self._outlet.ready(command, basis)
        return self._outlet.check(command.position, basis) or partial(self._set_out, command, here)

    def _set_out(self, command: Command, here: Vector) -> None:
        """Begin the segment to a command: at the set-point sent last, or `here` if the motion
        begins. It takes one period, as in joint_trajectory_controller, from now on
        or from at most one interval later: no lag is added but that.
        """
        outlet = self._outlet
        self._began = now = self._clocks.read()
        # At the next wake-up: the first set-point lies one interval ahead of that.
        start_ns = (now.now_ns // self._interval_ns + 1) * self._interval_ns
        # A joint may stand beyond its limit by a hair: no set-point may.
        limits = outlet.limiter.limits
        self._here = here
        start = np.clip(here, limits.position_min, limits.position_max)
        velocity = np.zeros_like(here)
        if outlet.sent is not None:
            start = outlet.sent.command.position.copy()
            passed_ns = now.now_ns - outlet.sent.at.now_ns
            if passed_ns <= 2 * self._interval_ns:  # not at rest yet
                velocity = outlet.sent.command.velocity
            # When the last set-point is reached. If the command comes just before a wake-up, that
            # is now: a segment that began later would send the last set-point once more.
            if 0 <= passed_ns <= 1.5 * self._interval_ns:
                start_ns = outlet.sent.at.now_ns + self._interval_ns
        start[self._immediate] = command.position[self._immediate]
        self._segment = Segment(
            self._kind,
            start_ns,
            start_ns + self._period_ns,
            start,
            command.position,
            velocity,
            command.velocity,
        )

    def end(self) -> Sent | None:
        """End the segment. The next one begins at the measured position.

        :returns: what was sent last; None if there is nothing, or if the segment was
            interrupted: the motion could not go on from it, so it is not to be held.
        """
        with self._outlet.lock:
            sent, self._outlet.sent, self._segment = self._outlet.sent, None, None
            self._interruption = None
            return sent

    def tick(self, *_: int) -> None:
        """Send the next set-point of the segment, if there is one. On the command thread."""
        outlet = self._outlet
        with outlet.lock:
            path, began, now = self._segment, self._began, self._clocks.read()
            if path is None or began is None:
                return
            end_ns = path.end_ns + self._period_ns
            steady_ns = now.steady_ns - began.steady_ns
            in_time = path.start_ns - self._period_ns <= now.now_ns <= end_ns
            if not in_time or (
                not self._clocks.simulated()
                and steady_ns > 2 * self._period_ns + self._interval_ns
            ):
                self._interrupt(Interruption("clock", "the clock jumped, or no core was free"))
                return
            if doubt := outlet.doubt():
                self._interrupt(Interruption("sensors_in_doubt", doubt))
                return
            present = outlet.present(now.now_ns)
            if present is None:
                self._interrupt(NO_FRESH_JOINTS)
                return
            # What is sent now is to be reached when the next one is sent.
            target_ns, sent = now.now_ns + self._interval_ns, outlet.sent
            elapsed_ns = self._interval_ns if sent is None else now.now_ns - sent.at.now_ns
            limiter = outlet.limiter
            between = limiter.limits.between_commands
            result = JointLimiter(between, limiter.names, limiter.lead).check(
                path.position(target_ns),
                present,
                max(elapsed_ns, self._interval_ns) * 1e-9,
                previous=None if sent is None else sent.command.position,
                start=self._here,
            )
            if not result.ok:
                self._interrupt(Interruption(result.violations[0].reason, result.reason, True))
                return
            point = result.command
            command = Command(point, path.velocity(target_ns), point)
            if interruption := outlet.send(command, Basis(now, self._period_ns)):
                self._interrupt(interruption)
            elif target_ns >= path.end_ns and np.array_equal(point, path.end):
                self._segment = None

    def _interrupt(self, interruption: Interruption) -> None:
        """End the segment; the next one begins at the measured position. The arm may have been
        pushed away from the last set-point: segments from there could be refused for ever."""
        self._segment = self._outlet.sent = None
        self._interruption = interruption
        self._interruptions[interruption.code] += 1
