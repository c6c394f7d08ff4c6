# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Between the control loop and the publisher: what is sent when, and what was sent last.

With a command rate of its own it sends set-points on the way from the last one to the new one,
from a thread of its own: the control thread may be busy with the network for most of a period,
and the executor's with messages, while a set-point is due every few milliseconds. What may not be
sent is the guard's to say, at every single point. No ROS here.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.limits import CommandGuard
from sarnn_ros.control.segment import Segment, segment
from sarnn_ros.control.ticker import GridTicker

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Command:
    """What goes to the robot, one entry per commanded joint, in the policy's order.

    :param position: (n,), rad or m, to be reached one period after it is sent.
    :param velocity: (n,), rad/s or m/s, on arrival there; zero for a hold.
    :param rest: (n,), rad or m: where it comes to rest another period later if nothing follows.
        joint_trajectory_controller wants a trajectory to end at rest, and an arm whose node died
        must not coast; without this way out it would stop at every single tick.
    """

    position: Vector
    velocity: Vector
    rest: Vector

    @classmethod
    def standing(cls, position: Vector) -> Command:
        """At rest there."""
        return cls(position, np.zeros_like(position), position)


@dataclass(frozen=True)
class Left:
    """A way that was not walked to its end.

    :param text: why, for a person; :param refused: whether by the guard.
    """

    text: str
    refused: bool


@dataclass(frozen=True)
class _Sent:
    at_ns: int
    position: Vector
    velocity: Vector


class Streamer:
    """See the module. Safe to call from any thread; after `end` nothing of a way is sent.

    :param period_ns: of the policy: how long the way to a command takes.
    :param interval_ns: between set-points; 0: commands are sent as they come, without a thread.
    :param interpolation: 'linear' or 'cubic'; see `motion.segment`.
    :param guard: judges each set-point on the way: finite, position, step from the present
        position, velocity. A velocity too high makes the way longer. Acceleration is for the
        commands themselves: between set-points a few milliseconds apart it means nothing.
    :param present: the commanded joints as last measured, (n,), at a time in ns; None if that is
        too old.
    :param send: publishes; called with no other call of it under way.
    :param at_once: joints that go to a command without a way: those of a two-valued gripper. Where
        its fingers are measured is no set-point of it: they stand where what they hold stops them,
        and a way from there would lead past the threshold at which it opens.
    """

    def __init__(
        self,
        period_ns: int,
        interval_ns: int,
        interpolation: str,
        guard: CommandGuard,
        *,
        now_ns: Callable[[], int],
        present: Callable[[int], Vector | None],
        send: Callable[[Command], None],
        on_error: Callable[[Exception], None],
        simulated: Callable[[], bool] = lambda: False,
        at_once: Sequence[int] = (),
    ) -> None:
        self._period_ns = period_ns
        self._interval_ns = interval_ns
        self._interpolation = interpolation
        self._guard = guard
        self._now_ns = now_ns
        self._present = present
        self._send = send
        self._at_once = list(at_once)
        self._lock = threading.Lock()
        self._segment: Segment | None = None
        self._sent: _Sent | None = None
        self._left: Left | None = None
        self._stops: Counter[str] = Counter()
        self._ticker = (
            GridTicker(
                interval_ns, now_ns, self.tick, on_error, simulated=simulated, name="command"
            )
            if interval_ns
            else None
        )

    def start(self) -> None:
        if self._ticker is not None:
            self._ticker.start()

    def stop(self) -> None:
        """Returns when nothing is being sent and nothing will be."""
        self.end()
        if self._ticker is not None:
            self._ticker.stop()

    def clock_moved(self) -> None:
        """See `Ticker.clock_moved`."""
        if self._ticker is not None:
            self._ticker.clock_moved()

    @property
    def stops(self) -> dict[str, int]:
        """How often a way was not walked to its end, by reason."""
        with self._lock:
            return dict(self._stops)

    def left(self) -> Left | None:
        """How the way was left, if it was since the last `end`; told once."""
        with self._lock:
            left, self._left = self._left, None
            return left

    def go(self, command: Command, present: Vector) -> None:
        """Send a command that the guard let through, or set out for it.

        The way begins at the set-point sent last, or at `present` if the motion begins, and takes
        one period, as it would in joint_trajectory_controller. It is at its end one period after
        it was asked for, or at most one interval later: no lag is added but that. Joints that go
        `at_once` are there from its first set-point on.
        """
        now = self._now_ns()
        with self._lock:
            if not self._interval_ns:
                self._publish(command, now)
                return
            # At the next wake-up: the first set-point on the way lies one interval ahead of that.
            start_ns = (now // self._interval_ns + 1) * self._interval_ns
            start, velocity = present, np.zeros_like(present)
            if self._sent is not None:
                start = self._sent.position
                if now <= self._sent.at_ns + 2 * self._interval_ns:  # it has not come to rest
                    velocity = self._sent.velocity
            start = start.copy()
            start[self._at_once] = command.position[self._at_once]
            self._segment = segment(
                self._interpolation,
                start_ns,
                start_ns + self._period_ns,
                start,
                command.position,
                velocity,
                command.velocity,
            )

    def end(self) -> Vector | None:
        """The way is over. The next one begins at the present position.

        :returns: the set-point sent last, or None: also where the way was left, since a set-point
            from which there was no way on is none to insist on.
        """
        with self._lock:
            sent, self._sent, self._segment, self._left = self._sent, None, None, None
            return None if sent is None else sent.position

    def hold(self, position: Vector) -> None:
        """Send a set-point at rest; to be called after `end`."""
        with self._lock:
            self._send(Command.standing(position))

    def _publish(self, command: Command, now: int) -> None:
        self._send(command)
        self._sent = _Sent(now, command.position, command.velocity)

    def tick(self, *_: int) -> None:
        """Send the next set-point of the way, if there is one. On the command thread."""
        with self._lock:
            way, now = self._segment, self._now_ns()
            if way is None:
                return
            if not way.start_ns - self._period_ns <= now <= way.end_ns + self._period_ns:
                self._leave("clock", Left("the clock jumped, or no core was free", False))
                return
            present = self._present(now)
            if present is None:
                self._leave("no fresh joint state", Left("no fresh joint state", False))
                return
            # What is sent now is to be reached when the next one is sent.
            target_ns = now + self._interval_ns
            elapsed_ns = self._interval_ns if self._sent is None else now - self._sent.at_ns
            verdict = _on_the_way(self._guard).check(
                way.position(target_ns),
                present,
                max(elapsed_ns, self._interval_ns) * 1e-9,
                previous=None if self._sent is None else self._sent.position,
            )
            if not verdict.ok:
                self._leave(verdict.trips[0].reason, Left(verdict.reason, True))
                return
            point = verdict.command
            self._publish(Command(point, way.velocity(target_ns), point), now)
            if target_ns >= way.end_ns and np.array_equal(point, way.end):
                self._segment = None

    def _leave(self, reason: str, left: Left) -> None:
        """The next way begins at the present position: from the set-point sent last, which the arm
        may have been pushed away from, it could be refused for ever."""
        self._segment = self._sent = None
        self._left = left
        self._stops[reason] += 1


def _on_the_way(guard: CommandGuard) -> CommandGuard:
    """What judges the set-points between two commands that this guard let through."""
    limits = dataclasses.replace(
        guard.limits,
        max_acceleration=np.full_like(guard.limits.max_acceleration, np.inf),
        clamp=frozenset({"velocity"}),
    )
    return CommandGuard(limits, guard.names)
