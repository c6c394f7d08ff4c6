# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One tick: observe, predict, guard, send. No ROS here: what is sent, logged or shown goes through
the callables that the node hands in.

`tick` runs on the control thread alone; `start`, `stop` and `reset` come from the executor's and
return at once. A command that was on its way when one of them was called is not sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.faults import Changes, Fault, FaultBook
from sarnn_ros.control.interpolator import Command, Streamer
from sarnn_ros.control.limits import CommandGuard, GuardVerdict
from sarnn_ros.control.settings import NodeParameters
from sarnn_ros.control.start import StartSequence
from sarnn_ros.control.statistics import LoopStatistics
from sarnn_ros.control.watchdogs import Findings, ObservationWatch
from sarnn_ros.policy.runtime import Policy, Prediction
from sarnn_ros.streams.observe import Missing, Observation, ObservationBuffer

Vector = NDArray[np.float64]

#: Ticks this many periods apart, or more, have had a tick left out between them.
CONTIGUOUS = 1.5
#: A tick may be so late before it is said that there is none, s: a simulated clock may be slow,
#: and shorter delays are counted as missed ticks.
PATIENCE_S = 1.0


@dataclass
class Tick:
    """All about one tick: for statistics, display, and tests. Fields stay None where a tick
    did not get that far."""

    label_ns: int
    missed: int = 0
    reset: str | None = None
    observation: Observation | None = None
    prediction: Prediction | None = None
    verdict: GuardVerdict | None = None
    sent: Command | None = None
    ramp_aborted: bool = False
    way_left: bool = False
    changes: Changes = field(default_factory=Changes)
    stages: dict[str, float] = field(default_factory=dict)


@dataclass
class _Run:
    """What has to be forgotten when the motion is interrupted."""

    allowed_ns: int | None = None
    commands: list[tuple[int, Vector]] = field(default_factory=list)
    refused: int = 0  # commands in a row
    left: int = 0  # ways in a row that the guard refused

    def past(self, label_ns: int, period_ns: int) -> tuple[float, Vector | None, Vector | None]:
        """How the motion came to this tick: seconds since the tick of the command before (one
        period if there is none), that command, and where the motion was so long before it. A
        command counts if no tick was left out since: after that the motion begins anew.
        """
        if not self.commands:
            return period_ns * 1e-9, None, None
        label, last = self.commands[-1]
        elapsed = label_ns - label
        if not 0 < elapsed < CONTIGUOUS * period_ns:
            return period_ns * 1e-9, None, None
        earlier, before = self.commands[0]  # there are two at most
        if not 0 < label - earlier < CONTIGUOUS * period_ns:
            return elapsed * 1e-9, last, None
        # The same velocity, over as long a time as has passed now: images are not quite periodic.
        return elapsed * 1e-9, last, last - (last - before) * (elapsed / (label - earlier))


class Controller:
    """The control loop's state and its one step.

    :param now_ns: the clock that stamps and ticks share, ns.
    :param streamer: sends the commands; called with no other call of it under way.
    :param sequence: how a motion begins.
    :param watch: looks at each observation; :param elsewhere: what was found outside the loop.
    :param on_tick: sees each tick when it is over.
    """

    def __init__(
        self,
        policy: Policy,
        buffer: ObservationBuffer,
        guard: CommandGuard,
        parameters: Callable[[], NodeParameters],
        *,
        now_ns: Callable[[], int],
        streamer: Streamer,
        sequence: StartSequence,
        want_image: Callable[[], bool],
        watch: ObservationWatch,
        elsewhere: Callable[[], Findings],
        on_tick: Callable[[Tick], None],
    ) -> None:
        self.faults = FaultBook()
        self.statistics = LoopStatistics()
        self.trips: dict[str, int] = {}
        self._policy = policy
        self._buffer = buffer
        self._guard = guard
        self._parameters = parameters
        self._now_ns = now_ns
        self._streamer = streamer
        self._sequence = sequence
        self._want_image = want_image
        self._watch = watch
        self._elsewhere = elsewhere
        self._on_tick = on_tick
        spec = policy.spec
        self._period_ns = spec.period_ns
        self._indices = list(spec.command_indices)
        silence_ns = 0 if spec.trigger is None else spec.trigger.max_age_ns
        self._patience_s = max(PATIENCE_S, (2 * spec.period_ns + silence_ns) * 1e-9)
        self._fresh_ns = spec.period_ns + max(source.max_age_ns for source in spec.joints)
        # The next tick is no gap, whatever is asked for.
        gap_ns = parameters().watch.reset_gap * 1e9
        self._gap_ns = round(max(gap_ns, CONTIGUOUS * spec.period_ns))

        self._gate = threading.Lock()  # held while a command is being published
        self._epoch = 0  # commands of an earlier epoch are void
        self._resets = 0  # what was found before one is forgotten with it
        self._running = False
        self._beginning = False
        self._reset_reason: str | None = None
        self._last_tick: tuple[int, int] | None = None  # label and time of the last tick, ns
        self._run = _Run()
        self._present: tuple[int, Vector] | None = None

    # -- from the executor's thread -------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the user wants commands; faults aside."""
        return self._running

    @property
    def phase(self) -> str:
        """See `StartSequence.phase`."""
        return self._sequence.phase

    @property
    def interpolation_stops(self) -> dict[str, int]:
        """See `Streamer.stops`."""
        return self._streamer.stops

    @property
    def stalled_s(self) -> float:
        """How long there has been no tick, if that is longer than it can be; else 0. To be asked
        while ticks are to come."""
        silence = self.statistics.silence_s
        return silence if silence > self._patience_s else 0.0

    def activate(self, *, start: bool) -> tuple[Fault, ...]:
        """Before the first tick: nothing from earlier ones counts, except faults that are latched.

        :param start: command at once, if none is.
        :returns: the latched faults.
        """
        latched = self.faults.latched
        with self._gate:
            self._epoch += 1
            self._streamer.end()
            self._reset_reason = "activation"
            self._last_tick = None
            self.statistics.expect()
            self._running = self._beginning = start and not latched
        return latched

    def start(self) -> None:
        """Begin to command, with a fresh recurrent state.

        :raises RuntimeError: while a fault is latched.
        """
        if latched := self.faults.latched:
            raise RuntimeError(f"{latched[0].text}: call ~/reset first")
        with self._gate:
            self._epoch += 1
            self._streamer.end()
            self._reset_reason = "start"
            self._running = self._beginning = True

    def stop(self) -> None:
        """No command after this returns, except for the hold that it sends itself."""
        with self._gate:
            self._epoch += 1
            was_running, self._running = self._running, False
            if was_running:
                self._hold()

    def reset(self) -> tuple[Fault, ...]:
        """Forget the recurrent state and all faults. After a latched one nothing moves until
        `start`: a reset alone must not set a robot in motion.

        :returns: the faults that were latched.
        """
        with self._gate:
            self._epoch += 1
            self._streamer.end()
            self._resets += 1
            self._reset_reason = "reset"
            latched = self.faults.reset()
            if latched:
                self._running = False
            return latched

    # -- on the control thread ------------------------------------------------------------------

    def tick(self, label_ns: int, due_ns: int | None = None) -> None:
        """Everything that happens at one tick.

        :param due_ns: when it could have begun, if not at `label_ns`: an image is a tick by its
            stamp, but cannot be seen before it has arrived.
        """
        tick = Tick(label_ns)
        watch = _StopWatch(tick.stages)
        if due_ns is None or due_ns == label_ns:
            due_ns = label_ns
        else:
            tick.stages["arrival"] = max(due_ns - label_ns, 0) * 1e-9
        now_ns = self._now_ns()
        tick.stages["wake"] = max(now_ns - due_ns, 0) * 1e-9
        with self._gate:
            epoch, running, resets = self._epoch, self._running, self._resets
            tick.reset, self._reset_reason = self._reset_reason, None
            beginning, self._beginning = self._beginning, False
        if tick.reset:
            self._restart()
        if beginning:
            self._sequence.begin()
        self._follow_clock(tick, now_ns)

        found = self._buffer.observe(label_ns)
        watch.lap("observe")
        # After observing: whatever came with this observation has been looked at by now.
        faults = self._elsewhere()
        if isinstance(found, Missing):
            for name, text in found.reasons.items():
                faults.soft[f"no_observation:{name}"] = f"{name}: {text}"
            self._see_way(tick, faults)
        else:
            tick.observation = found
            measured_ns = min(found.stamps[name] for name in self._policy.spec.joint_source_names)
            self._present = (measured_ns, found.state[self._indices])
            if tick.reset or not running:
                self._watch.reset()
            faults.update(self._watch.check(found))
            allowed = running and not faults.soft and not faults.hard and not self.faults.latched
            ramping = (
                allowed
                and not self._parameters().dry_run
                and self._sequence.ramps(self._last(label_ns))
            )
            self._predict(tick, allowed and not ramping, faults)
            watch.lap("policy")
            self._see_way(tick, faults)  # as late as can be: it is walked meanwhile
            if running:
                self._judge(tick, self._wanted(tick, allowed, ramping), allowed, faults)
            watch.lap("guard")

        with self._gate:
            if resets == self._resets:
                tick.changes = self.faults.update(label_ns, faults.soft, faults.hard)
        if tick.verdict is not None and tick.verdict.ok and not self.faults.active:
            self._command(tick, epoch)
        if tick.sent is None:
            self._interrupt(tick, epoch)
        watch.lap("publish")
        tick.stages["total"] = watch.total()
        self.statistics.add(
            label_ns,
            missed=tick.missed,
            stages=tick.stages,
            ages=None if tick.observation is None else _ages(tick.observation),
            reset=tick.reset is not None,
            sent=tick.sent is not None,
        )
        self._on_tick(tick)

    def _follow_clock(self, tick: Tick, now_ns: int) -> None:
        last, self._last_tick = self._last_tick, (tick.label_ns, now_ns)
        if last is None:
            return
        label_ns, then_ns = last
        # Not by the labels: a tick of a silent camera is labelled now, its next image is older.
        if now_ns < then_ns:
            tick.reset = f"time went back by {(then_ns - now_ns) * 1e-9:.3f} s"
            self._restart()
            self._buffer.rewind(now_ns)
        else:
            # Images come about every period, the grid at exact multiples.
            tick.missed = max(round((tick.label_ns - label_ns) / self._period_ns) - 1, 0)

    def _restart(self) -> None:
        self._policy.reset()
        self._streamer.end()
        self._sequence.restart()
        self._run = _Run()
        self._present = None

    def _predict(self, tick: Tick, allowed: bool, faults: Findings) -> None:
        """One step of the policy. It runs while not allowed to command too, for the display; what
        its recurrent state then remembers is carried into the motion only if that was no longer
        than `watch.reset_gap`."""
        since = self._run.allowed_ns
        if allowed and (since is None or tick.label_ns - since > self._gap_ns):
            if tick.reset is None:
                tick.reset = "start" if since is None else "gap"
            self._restart_run()
        if allowed:
            self._run.allowed_ns = tick.label_ns
        parameters = self._parameters()
        assert tick.observation is not None
        tick.prediction = self._policy.step(
            tick.observation,
            want_image=self._want_image(),
            input_param=parameters.input_param_joints,
            input_param_image=parameters.input_param_image,
        )
        if not np.isfinite(tick.prediction.action).all():
            faults.hard["non_finite"] = (
                f"the prediction is not finite: {tick.prediction.action.tolist()}; train again"
            )
            self._policy.reset()  # the recurrent state would stay what it is for ever

    def _restart_run(self) -> None:
        self._policy.reset()
        self._sequence.restart()
        self._run = _Run(commands=self._run.commands)  # a ramp's: there is one motion

    def _see_way(self, tick: Tick, faults: Findings) -> None:
        """A way that was left was not what its command says: the motion begins anew, and whatever
        keeps leaving them latches. In a row are the ways, not the ticks: each is followed by a
        tick that holds."""
        left = self._streamer.left()
        if left is None:
            if self._run.past(tick.label_ns, self._period_ns)[1] is not None:
                self._run.left = 0
            return
        tick.way_left = True
        self._run.commands = []
        if not left.refused:
            faults.soft["interpolation"] = f"the way to the last command was left: {left.text}"
            return
        self._run.left += 1
        faults.soft["guard"] = text = f"set-point refused: {left.text}"
        if self._run.left >= self._parameters().guard.latch_after:
            faults.hard["guard"] = f"{text} ({self._run.left} ways in a row)"

    def _wanted(self, tick: Tick, allowed: bool, ramping: bool) -> Vector | None:
        """What the guard is asked about: the prediction, or what the start makes of it."""
        assert tick.prediction is not None
        predicted = tick.prediction.action[self._indices]
        if ramping:
            self._run.allowed_ns = None  # the policy begins afresh after it
            return self._sequence.ramp(self._last(tick.label_ns))
        if allowed:
            return self._sequence.follow(predicted, self._last(tick.label_ns))
        return None if self._sequence.phase else predicted

    def _last(self, label_ns: int) -> Vector:
        """Where the motion is: the command of the tick before, or else the present position."""
        assert self._present is not None
        _, previous, _ = self._run.past(label_ns, self._period_ns)
        return self._present[1] if previous is None else previous

    def _judge(self, tick: Tick, wanted: Vector | None, allowed: bool, faults: Findings) -> None:
        """The guard's verdict, and what follows from a bad one."""
        assert tick.observation is not None
        if wanted is None:
            return
        elapsed_s, previous, before = self._run.past(tick.label_ns, self._period_ns)
        tick.verdict = self._guard.check(
            wanted,
            tick.observation.state[self._indices],
            elapsed_s,
            previous=previous,
            before=before,
        )
        for trip in tick.verdict.trips:
            self.trips[trip.reason] = self.trips.get(trip.reason, 0) + 1
        if not tick.verdict.ok:
            text = f"command refused: {tick.verdict.reason}"
            faults.soft["guard"] = text
            self._run.refused += allowed
            if self._run.refused >= self._parameters().guard.latch_after:
                faults.hard["guard"] = f"{text} ({self._run.refused} ticks in a row)"
        else:
            self._run.refused = 0
        late = (self._now_ns() - tick.label_ns) * 1e-9
        limit = self._parameters().watch.max_latency or self._period_ns * 1e-9
        if late > limit:
            faults.soft["late"] = f"the command is {late:.3f} s late, more than {limit:.3f} s"

    def _command(self, tick: Tick, epoch: int) -> None:
        assert tick.verdict is not None and self._present is not None
        position = tick.verdict.command
        last = self._last(tick.label_ns)
        elapsed_s, _, _ = self._run.past(tick.label_ns, self._period_ns)
        limits, here = self._guard.limits, self._present[1]
        # From speed to rest at a constant rate takes half the way of a period at speed; the way
        # out obeys the limits of the command itself.
        rest = np.clip(
            position + 0.5 * (position - last),
            np.maximum(limits.position_min, np.minimum(position, here - limits.max_step)),
            np.minimum(limits.position_max, np.maximum(position, here + limits.max_step)),
        )
        command = Command(position, (position - last) / elapsed_s, rest)
        if self._parameters().dry_run:
            return
        with self._gate:
            if epoch != self._epoch or not self._running:
                return
            self._streamer.go(command, self._present[1])
            self._sequence.commanded()
            self._run.commands = [*self._run.commands[-1:], (tick.label_ns, position)]
        tick.sent = command

    def _interrupt(self, tick: Tick, epoch: int) -> None:
        """The first tick without a command after one with: hold. A ramp that was interrupted does
        not go on by itself: whoever sees an arm stop half-way may step up to it."""
        with self._gate:
            if epoch == self._epoch and self._running:
                # Not by `_run`: a reset or a clock that went back may have just emptied it.
                if self._sequence.ramp_under_way:
                    self._running, tick.ramp_aborted = False, True
                self._hold()

    def _hold(self) -> None:
        """The set-point sent last once more, at rest, if a fresh measurement shows the robot near
        it. Without that nothing is sent: every controller keeps its last set-point by itself, and
        one that was not checked against the present position is not sent at all."""
        position = self._streamer.end()
        commands, self._run.commands = self._run.commands, []
        known = self._present  # read once: at a stop, a tick under way may take it away
        if not commands or position is None or known is None:
            return
        measured_ns, present = known
        fresh = 0 <= self._now_ns() - measured_ns <= self._fresh_ns
        near = (np.abs(position - present) <= self._guard.limits.max_step).all()
        if fresh and near and not self._parameters().dry_run:
            self._streamer.hold(position)


def _ages(observation: Observation) -> dict[str, float]:
    return {
        str(source): (observation.tick_ns - stamp) * 1e-9
        for source, stamp in observation.stamps.items()
    }


class _StopWatch:
    """Seconds between laps, on the monotonic clock."""

    def __init__(self, laps: dict[str, float]) -> None:
        self._laps = laps
        self._start = self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = now - self._last
        self._last = now

    def total(self) -> float:
        return time.perf_counter() - self._start
