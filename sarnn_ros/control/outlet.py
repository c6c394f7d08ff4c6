# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The one place from which commands are sent, and the last check of each: is it still the time
for it, and is the robot still where it was? A process may be stopped, or starved, between any two
lines. No ROS here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.limits import JointLimiter

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Command:
    """What goes to the robot, one entry per commanded joint, in the policy's order.

    :param position: (n,), rad or m, to be reached one period after it is sent.
    :param velocity: (n,), rad/s or m/s, on arrival there; zero for a hold.
    :param is_hold: nothing is decided anew.
    :param rest: (n,), rad or m: where it comes to rest another period later if nothing follows.
        joint_trajectory_controller wants a trajectory to end at rest, and an arm whose node died
        must not coast; without this point it would stop at every single tick.
    """

    position: Vector
    velocity: Vector
    rest: Vector
    is_hold: bool = False

    @classmethod
    def standing(cls, position: Vector) -> Command:
        """A hold: at rest there within a period, a two-valued gripper as it is."""
        return cls(position, np.zeros_like(position), position, is_hold=True)

    def trajectory(self, rows: Sequence[int], period_ns: int) -> list[tuple[Vector, Vector, int]]:
        """What joint_trajectory_controller gets of it: position, velocity, and ns from the start.

        :param rows: of the joints of that controller.
        """
        index = list(rows)
        points = [(self.position[index], self.velocity[index], period_ns)]
        if self.velocity[index].any():
            points.append((self.rest[index], np.zeros(len(index)), 2 * period_ns))
        return points


@dataclass(frozen=True)
class Instant:
    """A moment on both clocks, ns."""

    now_ns: int
    steady_ns: int


#: `time.monotonic` stands still on Linux while the computer sleeps. What was asked for before
#: would be followed, where the arm may have been moved.
STEADY_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_ns() -> int:
    """A clock that nobody sets, and that runs on while the process or the computer sleeps, ns."""
    return time.clock_gettime_ns(STEADY_CLOCK)


@dataclass(frozen=True)
class Clocks:
    """:param now_ns: the clock that stamps and ticks share, ns: it may jump, and if it is
        simulated, stand still.
    :param steady_ns: a clock that nobody sets and that runs on while the process is stopped, ns.
        All that is compared with it is to be read from it, too.
    :param simulated: true while `now_ns` moves by messages.
    """

    now_ns: Callable[[], int]
    steady_ns: Callable[[], int] = steady_ns
    simulated: Callable[[], bool] = lambda: False

    def read(self) -> Instant:
        return Instant(self.now_ns(), self.steady_ns())

    def elapsed_s(self, since: Instant, until: Instant) -> float:
        """By the steady clock. A simulated one may stand still, and the robot with it, or leap:
        then the shorter time of the two, s."""
        elapsed_ns = until.steady_ns - since.steady_ns
        if self.simulated():
            elapsed_ns = min(elapsed_ns, until.now_ns - since.now_ns)
        return elapsed_ns * 1e-9


@dataclass(frozen=True)
class Basis:
    """What a set-point was made for and from.

    :param since: the moment that it is for.
    :param limit_ns: how much later it may leave.
    :param measured: stamp and commanded joints, (n,), of the observation it came from.
    """

    since: Instant
    limit_ns: int
    measured: tuple[int, Vector] | None = None


@dataclass(frozen=True)
class Interruption:
    """Why a set-point was not sent.

    :param code: `late`, `no_fresh_joints`, or the check that it violates.
    :param text: for a person.
    :param refused: by the limits.
    """

    code: str
    text: str
    refused: bool = False


NO_FRESH_JOINTS = Interruption("no_fresh_joints", "no fresh joint state")


@dataclass(frozen=True)
class Sent:
    """The command or set-point sent last."""

    at: Instant
    command: Command

    def standstill(self, passed_s: float, period_s: float) -> Vector:
        """Where an arm on this command's trajectory comes to rest at a constant rate within a
        period from now on, (n,): where it was sent to would be behind it by the next tick.

        :param passed_s: since it was sent.
        """
        velocity, rest = self.command.velocity, self.command.rest
        ahead_s = np.clip(passed_s - 0.5 * period_s, -0.5 * period_s, 0.5 * period_s)
        point = self.command.position + velocity * ahead_s
        return np.where(velocity > 0.0, np.minimum(point, rest), np.maximum(point, rest))


class CommandOutlet:
    """See the module. `lock` is to be held while calling it.

    :param prepare: makes the messages of a command, and changes nothing. Of what it returns, the
        first publishes them, the second notes that this was done.
    :param present: the commanded joints as last measured, (n,), at a time in ns; None if that is
        too old.
    :param doubt: why the sensors cannot be trusted at this moment; empty if they can, as far as is
        known.
    :param fresh_ns: how old an observation may be that is used where `present` gives none.
    """

    def __init__(
        self,
        prepare: Callable[[Command], tuple[Callable[[], None], Callable[[], None]]],
        limiter: JointLimiter,
        clocks: Clocks,
        present: Callable[[int], Vector | None],
        doubt: Callable[[], str],
        fresh_ns: int,
    ) -> None:
        self.lock = threading.RLock()
        self.clocks = clocks
        self.limiter = limiter
        self.present = present
        self.doubt = doubt
        self.sent: Sent | None = None
        self._prepare = prepare
        self._fresh_ns = fresh_ns

    def check(
        self, position: Vector, basis: Basis, rest: Vector | None = None
    ) -> Interruption | None:
        """Whether a set-point may leave now.

        :param rest: see `Command`; computed from the observation, and the arm may have been put
            elsewhere since.
        :returns: why not, if so.
        """
        late = self._late(basis)
        if late:
            return late
        now_ns, measured = self.clocks.now_ns(), basis.measured
        present = self.present(now_ns)
        if present is None and measured is not None:
            present = measured[1] if 0 <= now_ns - measured[0] <= self._fresh_ns else None
        if present is None:
            return NO_FRESH_JOINTS
        for point in (position,) if rest is None else (position, rest):
            result = self.limiter.check_step(point, present)
            if not result.ok:
                return Interruption(result.violations[0].reason, result.reason, True)
        return self._late(basis)  # once more: the limits took some of the time

    def _late(self, basis: Basis) -> Interruption | None:
        now, since = self.clocks.read(), basis.since
        late = max(now.now_ns - since.now_ns, now.steady_ns - since.steady_ns)
        if late <= basis.limit_ns:
            return None
        limit_s = basis.limit_ns * 1e-9
        text = f"the command is {late * 1e-9:.3f} s late, more than {limit_s:.3f} s"
        return Interruption("late", f"{text}: was the process stopped, or no core free?")

    def ready(self, command: Command, basis: Basis) -> Callable[[], None] | Interruption:
        """What publishes it, to be called at once; or what `check` has against it."""
        publish, commit = self._prepare(command)  # which takes a while: before the check

        def send() -> None:
            publish()
            commit()
            self.sent = Sent(self.clocks.read(), command)

        return self.check(command.position, basis, command.rest) or send

    def send(self, command: Command, basis: Basis) -> Interruption | None:
        """Publish it, if `check` has nothing against it."""
        send = self.ready(command, basis)
        return send if isinstance(send, Interruption) else send()
