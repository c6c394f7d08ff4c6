# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One tick: observe, predict, limit, send. And the state that says whether it may. No ROS here:
what is sent, logged or shown goes through the callables of `Ports`.

`tick` runs on the control thread alone. `activate`, `start`, `stop`, `reset` and `deactivate` come
from the executor's, `look_for_stall` from a thread of its own; none of them waits for a tick. A
command that was on its way when one of them was called is not sent.
"""

from __future__ import annotations

import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.description import CODE as DESCRIPTION
from sarnn_ros.control.faults import ActiveFaults, Fault, FaultChanges, FaultLog, Faults
from sarnn_ros.control.motion import CONTIGUOUS, Motion
from sarnn_ros.control.outlet import Command, Instant, Interruption
from sarnn_ros.control.parts import Parts, Ports
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.state import (
    ACTIVE,
    LATCHED,
    MAY_COMMAND,
    MOVING,
    STARTED,
    Action,
    Event,
    Refused,
    State,
    Status,
    transition,
)
from sarnn_ros.control.statistics import LoopStatistics
from sarnn_ros.control.tick import StopWatch, Tick
from sarnn_ros.control.ticker import Thread, Ticker
from sarnn_ros.streams.observe import Missing, Observation

Vector = NDArray[np.float64]

#: A gap in a motion of more than so many periods, and of more than `watch.max_gap`, latches:
#: meanwhile nobody looked, and the arm may have been moved. Shorter ones are missed ticks.
GAP_PERIODS = 5
#: Why a run ended that nobody stopped, by the event: level of the log, code and text.
ENDINGS = {
    Event.TIMEOUT: ("info", "run_timeout", "the run took as long as run_timeout allows"),
    Event.WAITED: ("warning", "waited", "nothing was commanded for as long as start.wait allows"),
    Event.AWAY: ("warning", "away", "the arm is not where the demonstrations began"),
    Event.PREVENTED: ("error", "ramp", "the ramp to the start pose was interrupted"),
    Event.STALL: ("error", "ramp", "the ramp to the start pose was interrupted"),
}


@dataclass(frozen=True)
class _Order:
    """The state when a tick began.

    :param generation: counts the user's requests: a tick sends nothing if one came meanwhile.
    :param resets: counts the resets: a tick reports no fault if one came meanwhile.
    """

    generation: int
    resets: int
    state: State


class Controller:
    """The robot's side: its state, its faults, and one step of the loop. See `build_controller`.

    :param settings: the current ones.
    """

    def __init__(self, parts: Parts, settings: Callable[[], Settings], ports: Ports) -> None:
        self.state, _ = transition(State.UNCONFIGURED, Event.CONFIGURE)
        self.faults = ActiveFaults()
        self.statistics = LoopStatistics(lambda: ports.clocks.steady_ns() * 1e-9)
        self.violations: Counter[str] = Counter()
        self.parts = parts
        self.hung = False  # a thread did not end, and will not
        self._ticker: Ticker | None = None
        self._threads: tuple[Thread, ...] = ()
        self._fault_log = FaultLog(ports.log)
        self._settings = settings
        self._ports = ports
        self._clocks = ports.clocks
        spec = parts.policy.spec
        self._period_ns = spec.period_ns
        self._rows = list(spec.command_indices)
        silence_ns = 0 if spec.trigger is None else spec.trigger.max_age_ns
        watch = settings().watch
        self._stall_ns = max(GAP_PERIODS * spec.period_ns, round(watch.max_gap * 1e9)) + silence_ns
        # The next tick is no gap, whatever is asked for.
        self._gap_ns = round(max(watch.reset_gap * 1e9, CONTIGUOUS * spec.period_ns))

        self._lock = parts.outlet.lock  # held while a command is being published
        self._generation = self._resets = 0
        self._reset_reason: str | None = None  # for the control thread: forget
        self._beginning = False  # for the control thread: begin the start sequence
        self._begun = False  # the run has moved the arm, or warmed up
        self._ticking = False
        self._last_tick: tuple[int, Instant] | None = None
        self._run_began = self._held_since = self._clocks.read()
        self._ending: tuple[str, str, str] = ("", "", "")  # why it is stopped, unless by ~/stop
        self._cause = ""  # what led to that ending
        # For the log, whose lines are written when the lock is free: level, key and text.
        self._to_say: deque[tuple[str, str, str]] = deque()
        self._said: State | None = None
        self._motion = Motion(spec.period_ns)
        self._present: tuple[int, Vector] | None = None  # stamp and commanded joints

    # -- from other threads ---------------------------------------------------------------------

    def connect(self, ticker: Ticker, *others: Thread) -> None:
        """The threads: the one of `tick`, and further ones."""
        self._ticker = ticker
        setpoints = self.parts.interpolator.ticker
        self._threads = (*others, *([setpoints] if setpoints else []), ticker)

    def run(self) -> None:
        """Start the threads; after `activate`."""
        self.hung = False
        for thread in self._threads:
            thread.start()

    def image_tick(self, label_ns: int, receive_ns: int) -> None:
        """An image has arrived that is a tick."""
        if self._ticker is not None:
            self._ticker.image(label_ns, receive_ns)

    def clock_moved(self) -> None:
        """To be called whenever a simulated clock moves, and when any clock jumps."""
        for ticker in (self._ticker, self.parts.interpolator.ticker):
            if ticker is not None:
                ticker.clock_moved()

    def halt(self) -> bool:
        """Stop commanding, the hold sent; then end the threads.

        :returns: whether they have ended: a policy may never return. It sends nothing any more.
        """
        self.deactivate()
        if not self.hung and not self._end_threads():
            self.parts.policy.cancel()
            self.hung = not self._end_threads()
        return not self.hung

    def _end_threads(self) -> bool:
        ended = [thread.stop() for thread in self._threads]
        return all(ended)

    def close(self) -> bool:
        """For good. Returns as `halt`."""
        ended = self.halt()
        with self._lock:
            self._order(Event.CLEANUP)
        return ended

    def status(self) -> Status:
        """What it is doing, and why."""
        settings = self._settings()
        dry_run = settings.dry_run
        state, active = self.state, self.faults.active
        if state in ACTIVE and state not in LATCHED and (silence := self.stalled_s):
            why = "the policy has not returned" if self._ticking else "has the clock stopped?"
            return Status(state, f"no tick for {silence:.1f} s: {why}", "no_tick", dry_run)
        code, text = (active[0].code, active[0].text) if active else ("", "")
        if state in LATCHED and active:
            return Status(state, text, code, dry_run)
        if state is State.HOLDING:
            if not text:
                text = "waits for the next tick"
            elif not dry_run:
                text += f"; the run ends after {settings.start.wait:g} s of this (start.wait)"
            return Status(state, text, code, dry_run)
        if state is not State.STOPPED:
            return Status(state, dry_run=dry_run)
        blocked = text or self._away()
        _, code, text = self._ending
        if self._cause and not blocked:
            text += f": {self._cause}"
        return Status(state, text, code, dry_run, blocked)

    @property
    def started(self) -> bool:
        """Whether the user wants commands; faults aside."""
        return self.state in STARTED

    @property
    def run_s(self) -> float:
        """Since the start of the run, by the ROS clock if it is simulated, s."""
        began, now = self._run_began, self._clocks.read()
        if self._clocks.simulated():
            return (now.now_ns - began.now_ns) * 1e-9
        return (now.steady_ns - began.steady_ns) * 1e-9

    @property
    def stalled_s(self) -> float:
        """How long there has been no tick, if that is longer than it can be; else 0. To be asked
        while ticks are to come."""
        silence = self.statistics.silence_s
        return silence if silence > self._stall_ns * 1e-9 else 0.0

    def activate(self, *, start: bool) -> None:
        """Before the first tick. Messages and motion of before are forgotten; latched faults stay.

        :param start: command at once, unless a fault is latched.
        """
        self._forget_messages()
        with self._lock:
            self.parts.gripper.reset()
            self._last_tick = None
            self.statistics.expect()
            self._order(Event.ACTIVATE_AND_START if start else Event.ACTIVATE, "activation")

    def deactivate(self) -> None:
        """No command after this returns, except for the hold that it sends itself."""
        with self._lock:
            if self.state in ACTIVE:
                was = self.state
                self._order(Event.DEACTIVATE)
                if not self._to_say:
                    text = f"no hold is sent: it was {was.value}, and commanded nothing"
                    self._note("info", "hold", text)
        self._say()
        self.parts.scene.end_run()

    def start(self) -> None:
        """Begin to command, with a fresh recurrent state.

        :raises Refused: a fault is latched, or the arm is not where the demonstrations began.
        """
        with self._lock:
            if self.state in LATCHED:
                raise Refused(self.status().text)
            if away := self._away():
                raise Refused(f"not started: {away}")
            self._order(Event.START, "start")

    def _away(self, present: Vector | None = None) -> str:
        """Why no motion may begin where the arm is; empty: it may, or nobody knows where it is.

        :param present: the commanded joints; None: as measured last.
        """
        settings = self._settings()
        if settings.dry_run or settings.start.ramp_speed:
            return ""
        if present is None:
            present = self.parts.outlet.present(self._clocks.now_ns())
        if present is None:
            return ""
        return self.parts.start_poses.away(present, settings.start.margin, settings.guard.floor)

    def stop(self) -> None:
        """No command after this returns, except for the hold that it sends itself."""
        with self._lock:
            self._order(Event.STOP)
        self._say()

    def reset(self) -> tuple[Fault, ...]:
        """Forget the recurrent state, all faults, and all messages received before. After a
        latched fault nothing moves until `start`: a reset alone must not set a robot in motion.

        :returns: the faults that were latched.
        """
        # Before the reset: a tick between would latch again what it still finds.
        self._forget_messages()
        description = self.parts.description
        if description and any(fault.code == DESCRIPTION for fault in self.faults.latched):
            description.accept()
        with self._lock:
            self._resets += 1
            self._order(Event.RESET, "reset")
            return self.faults.reset()

    def may_load(self) -> None:
        """Whether another policy may take the place of this one.

        :raises Refused: the robot is commanded, or may be at the next tick.
        """
        try:
            transition(self.state, Event.LOAD)
        except Refused as error:
            raise Refused(f"{error}: call ~/stop first") from None

    def change_limits(self, settings: Settings) -> None:
        """Use new `guard.*` from now on.

        :raises Refused: the robot is being commanded.
        :raises ConfigError: limits of the wrong count, or that leave no room.
        """
        description = self.parts.description
        limits = self.parts.limits_by(settings, description.text if description else None)
        with self._lock:
            if self.state in MOVING and not settings.dry_run:
                raise Refused(
                    f"guard.*: not while {self.state.value}: the robot would follow other limits "
                    "in the middle of its motion; call ~/stop first"
                )
            self.parts.limiter.limits = limits
            if description is not None:
                description.limits_changed(limits)

    def latch(self, code: str, text: str) -> None:
        """A fault that was found between ticks: hold until `reset`."""
        with self._lock:
            changes = self.faults.update(self._clocks.now_ns(), None, {code: text})
            self._order(Event.FAULT)
        self._tell(changes)

    def failed(self, error: Exception) -> None:
        """A tick, or a set-point, raised an exception: a bug."""
        trace = "".join(traceback.format_exception(error))
        self.latch("internal", f"a tick failed: {error}")
        self._ports.log("error", "trace", trace)

    def look_for_stall(self) -> None:
        """To be called every so often from another thread: the control thread may hang."""
        with self._lock:
            silence = self.stalled_s
            if not silence or self.state not in STARTED:
                return
            paused = self._clocks.simulated() and not self._ticking
            changes = FaultChanges()
            if not paused:
                why = "the policy has not returned" if self._ticking else "no core was free"
                text = f"no tick for {silence:.1f} s: {why}"
                changes = self.faults.update(self._clocks.now_ns(), None, {"stalled": text})
                self._order(Event.FAULT)
            elif self.state is not State.STALLED:
                self._fire(Event.STALL)
        self._say()
        self._tell(changes)
        if self._ticking:
            self.parts.policy.cancel()

    def _note(self, level: str, key: str, text: str) -> None:
        """To be logged once the lock is free: a log may wait for the network. The same again in
        one run is suppressed as the log does it, but not in the next."""
        self._to_say.append((level, f"{key}:{self._generation}", text))

    def _say(self) -> None:
        while self._to_say:
            self._ports.log(*self._to_say.popleft())

    def _say_state(self) -> None:
        """Log where a tick has led, once. What it waits for, a latched fault and the answers to a
        person are logged elsewhere."""
        state, level, text = self.state, "", ""
        if state in MOVING or state is State.STALLED:
            level, text = "info", self.status().text
        elif state is State.STOPPED and any(self._ending):
            level, text = self._ending[0], self.status().text
        if state is not self._said and (
            not level or self._ports.log(level, f"{state.value}:{self._generation}", text)
        ):
            self._said = state

    def _tell(self, changes: FaultChanges) -> None:
        self._say()
        self._fault_log.see(self.state.value, changes, self.faults.active)
        if changes.appeared or changes.resolved:
            self._ports.changed()

    def _order(self, event: Event, reset: str | None = None, cause: str = "") -> None:
        """Fire a user's event: the tick in progress may no longer send."""
        self._generation += 1
        self._said = None
        self._fire(event, reset, cause)

    def _fire(self, event: Event, reset: str | None = None, cause: str = "") -> None:
        before = self.state
        self.state, actions = transition(before, event)
        if self.state is State.STOPPED and before is not State.STOPPED:
            self._ending = ENDINGS.get(event, ("", "", ""))
            self._cause = cause
        if self.state is State.HOLDING and (before is not State.HOLDING or reset):
            self._held_since = self._clocks.read()
        # From a run's first motion to its end.
        if self.state in MOVING or self.state not in STARTED:
            self.parts.cameras.fix(self.state in MOVING)
        for action in actions:
            if action is Action.FORGET:
                self._reset_reason = reset
                self.parts.interpolator.end()
            elif action is Action.BEGIN:
                self._beginning = True
                self.parts.cameras.begin(self._clocks.now_ns())
                self._run_began = self._clocks.read()
                self.statistics.expect()
            elif action is Action.HOLD:
                self._hold()

    def _forget_messages(self) -> None:
        """All messages stamped before now, also those that have not arrived yet: one of them may
        be what latched, and no motion begins from them."""
        self.parts.buffer.clear(self._clocks.now_ns())
        self.parts.formats.reset()
        self.parts.scene.reset()

    def _hold(self) -> None:
        """Send the last set-point again, at rest, if a fresh measurement shows the robot within a
        step of it. Otherwise nothing is sent: every controller keeps its last set-point by itself,
        and a set-point that cannot be checked against the present position is never sent. The log
        says why."""
        position = self.parts.interpolator.end()
        commands, self._motion.commands = self._motion.commands, []
        if commands and position is not None and not self._settings().dry_run:
            command, now = Command.standing(position), self._clocks.read()
            refused = self.parts.outlet.send(command, now, self._period_ns, self._present)
            self.parts.interpolator.end()
            if refused is None:
                self._note("info", "hold", "a hold was sent: the last command again, at rest")
            else:
                text = f"no hold was sent ({refused.text}): its controller keeps the last command"
                self._note("warning", "hold", text)

    # -- on the control thread ------------------------------------------------------------------

    def tick(self, label_ns: int, due_ns: int | None = None) -> None:
        """Everything that happens at one tick.

        :param due_ns: when it could have begun, if not at `label_ns`: a tick has the stamp of its
            image, but cannot begin before the image has arrived.
        """
        began = self._clocks.read()
        self._ticking = True
        self.statistics.expect()
        try:
            tick = self._tick(label_ns, label_ns if due_ns is None else due_ns, began)
        finally:
            self._ticking = False
        self._tell(tick.changes)
        self._say_state()
        self.parts.scene.see(tick)
        self._ports.on_tick(tick)

    def _tick(self, label_ns: int, due_ns: int, began: Instant) -> Tick:
        tick = Tick(label_ns)
        watch = StopWatch(tick.stages)
        if due_ns != label_ns:
            tick.stages["arrival"] = max(due_ns - label_ns, 0) * 1e-9
        tick.stages["wake"] = max(began.now_ns - due_ns, 0) * 1e-9
        self._end_run()
        order = self._begin(tick)
        faults = self._follow_clocks(tick, began, order)
        self._observe(tick, order, faults)
        watch.lap("observe")
        event, wanted = self._predict(tick, order, faults)
        watch.lap("policy")
        if wanted is not None:
            self._find_flips(faults)
            wanted = self._limit(tick, event, wanted, faults)
        if wanted is not None and event is not Event.RAMP:
            self._look_outside(wanted, faults)
        watch.lap("guard")
        since = Instant(label_ns, began.steady_ns)
        self._conclude(tick, order, event, wanted, since, faults)
        watch.lap("publish")
        tick.stages["total"] = watch.total()
        self.statistics.add(
            label_ns,
            missed=tick.missed,
            stages=tick.stages,
            ages=tick.ages(),
            reset=tick.reset is not None,
            sent=tick.sent is not None,
        )
        return tick

    def _end_run(self) -> None:
        """Stop if the run has taken as long as it may, or held as long as it may."""
        settings = self._settings()
        limit_s, wait_s = settings.run_timeout, settings.start.wait
        with self._lock:
            if limit_s and self.state in STARTED and self.run_s >= limit_s:
                self._order(Event.TIMEOUT)
            elif self.state is State.HOLDING and not settings.dry_run and self._held_s >= wait_s:
                active = self.faults.active
                self._order(Event.WAITED, cause=active[0].text if active else "")
            else:
                return
        self._ports.changed()

    @property
    def _held_s(self) -> float:
        """For how long it has been holding, s. A simulated clock may stand still, or leap when it
        begins."""
        since, now = self._held_since, self._clocks.read()
        held_ns = now.steady_ns - since.steady_ns
        if self._clocks.simulated():
            held_ns = min(held_ns, now.now_ns - since.now_ns)
        return held_ns * 1e-9

    def _begin(self, tick: Tick) -> _Order:
        """Carry out the requests since the last tick."""
        with self._lock:
            order = _Order(self._generation, self._resets, self.state)
            tick.reset, self._reset_reason = self._reset_reason, None
            beginning, self._beginning = self._beginning, False
        if tick.reset:
            self._restart()
        if beginning:
            self._begun = False
            self.parts.sequence.begin()
        return order

    def _restart(self) -> None:
        self.parts.policy.reset()
        self.parts.interpolator.end()
        self.parts.sequence.restart()
        self.parts.outside.reset()
        self._motion = Motion(self._period_ns)
        self._present = None

    def _follow_clocks(self, tick: Tick, began: Instant, order: _Order) -> Faults:
        """Whether time went back, or there was too long a gap in a motion."""
        faults = Faults()
        last, self._last_tick = self._last_tick, (tick.label_ns, began)
        if last is None:
            return faults
        label_ns, then = last
        self._find_stall(then, began, order.state, faults)
        # Not by the labels: a tick of a silent camera is labelled now, its next image is older.
        if began.now_ns < then.now_ns:
            tick.reset = f"time went back by {(then.now_ns - began.now_ns) * 1e-9:.3f} s"
            self._restart()
            if self._clocks.simulated():
                self._run_began = self._held_since = began
            self.parts.buffer.rewind(began.now_ns)
        else:
            # Images come about every period, the grid at exact multiples.
            tick.missed = max(round((tick.label_ns - label_ns) / self._period_ns) - 1, 0)
        return faults

    def _find_stall(self, then: Instant, now: Instant, state: State, faults: Faults) -> None:
        """Whether there was too long a gap in a motion between two instants."""
        gap_ns = now.steady_ns - then.steady_ns
        if self._clocks.simulated():  # which may have been paused, and the robot with it
            gap_ns = min(gap_ns, now.now_ns - then.now_ns)
        if gap_ns > self._stall_ns and state in MOVING:
            faults.hard["stalled"] = (
                f"nothing was done for {gap_ns * 1e-9:.2f} s in the middle of a motion: was the "
                "process stopped, or no core free? The arm may have been moved meanwhile"
            )

    def _observe(self, tick: Tick, order: _Order, faults: Faults) -> None:
        """The observation, and all checks of whether it can be trusted."""
        parts = self.parts
        found = parts.buffer.observe(tick.label_ns)
        # After observing, so that these checks have seen every message of this observation.
        faults.update(self._ports.faults())
        faults.hard.update(parts.formats.changed)
        if order.state in STARTED:
            faults.update(parts.scene.faults())
        faults.update(parts.cameras.faults())
        if parts.description is not None:
            faults.update(parts.description.faults())
        if isinstance(found, Missing):
            for name, text in found.reasons.items():
                faults.soft[f"no_observation:{name}"] = f"{name}: {text}"
            return
        tick.observation = found
        measured_ns = min(found.stamps[name] for name in parts.policy.spec.joint_source_names)
        self._present = (measured_ns, found.state[self._rows])
        if tick.reset or order.state not in STARTED:
            parts.watch.reset()
            parts.following.reset()
            parts.effort.reset()
        faults.update(parts.watch.check(found))
        faults.hard.update(self._watch_effort(found, order))
        commanded = self._motion.past(tick.label_ns)[1]
        if not self._settings().dry_run:
            faults.hard.update(
                parts.following.check(found.state, self._present[1], measured_ns, commanded)
            )

    def _watch_effort(self, found: Observation, order: _Order) -> dict[str, str]:
        """Efforts of what is not commanded, or leads from elsewhere to where the demonstrations
        began, are not those of the demonstrations."""
        watch = self.parts.effort
        watch.look_for(found.effort)
        if order.state not in MAY_COMMAND or self._settings().dry_run:
            return {}
        if order.state is State.RAMPING and not self._trained(found.state):
            return {}
        return watch.check(found.effort)

    def _trained(self, state: Vector) -> bool:
        """Whether the commanded joints are where they were in the demonstrations."""
        envelope, rows = self.parts.policy.config.envelope, self._rows
        low, high = np.array(envelope.position_min)[rows], np.array(envelope.position_max)[rows]
        return bool(((low <= state[rows]) & (state[rows] <= high)).all())

    def _predict(self, tick: Tick, order: _Order, faults: Faults) -> tuple[Event, Vector | None]:
        """One step of the policy, and what this tick does with it: the event and the set-point.

        The policy also runs while nothing may be commanded, for the display. If that lasted longer
        than `watch.reset_gap`, its recurrent state is reset before it commands again.
        """
        if tick.observation is None or self._present is None:
            self._find_interruption(tick, faults)
            return Event.PREVENTED, None
        sequence, settings = self.parts.sequence, self._settings()
        clear = not (faults.soft or faults.hard or self.faults.latched)
        allowed = clear and order.state in STARTED
        away = self._away(self._present[1]) if allowed and not self._begun else ""
        allowed = allowed and not away
        here = self._motion.here(tick.label_ns, self._present[1])
        ramping = allowed and not settings.dry_run and sequence.ramps(here)
        self._permit(tick, allowed and not ramping)
        tick.prediction = self.parts.policy.step(
            tick.observation,
            want_image=self._ports.wants_image(),
            input_param=settings.input_param_joints,
            input_param_image=settings.input_param_image,
        )
        if not np.isfinite(tick.prediction.action).all():
            faults.hard["non_finite"] = (
                f"the prediction is not finite: {tick.prediction.action.tolist()}; train again"
            )
            self.parts.policy.reset()  # or the recurrent state would stay not finite
        self._find_interruption(tick, faults)  # late: set-points are sent while the policy runs
        if away:
            return Event.AWAY, None
        if not allowed or faults.soft or faults.hard:
            return Event.PREVENTED, None
        if ramping:
            self._motion.allowed_ns = None  # after the ramp the policy is reset
            return Event.RAMP, sequence.ramp(here)
        event, wanted = sequence.follow(tick.prediction.action[self._rows], here)
        return event, None if event is Event.WARM_UP else wanted

    def _permit(self, tick: Tick, allowed: bool) -> None:
        """Note whether the policy may command; after a gap it is reset."""
        if not allowed:
            return
        since = self._motion.allowed_ns
        if since is None or tick.label_ns - since > self._gap_ns:
            if tick.reset is None:
                tick.reset = "start" if since is None else "gap"
            self.parts.policy.reset()
            self.parts.sequence.restart()
            # The velocity limit also holds between a ramp's last command and the policy's first.
            self._motion = Motion(self._period_ns, commands=self._motion.commands)
        self._motion.allowed_ns = tick.label_ns

    def _find_interruption(self, tick: Tick, faults: Faults) -> None:
        """After an interrupted segment the arm is not where its command says: the motion begins
        anew."""
        motion, interruption = self._motion, self.parts.interpolator.interruption()
        if interruption is None:
            return
        tick.interrupted = True
        motion.commands = []
        if interruption.refused:
            self._refuse(interruption.text, faults, set_point=True)
        else:
            faults.soft["interpolation"] = (
                f"no set-points to the last command: {interruption.text}"
            )

    def _find_flips(self, faults: Faults) -> None:
        """Whether the prediction opens and closes a two-valued gripper all the time."""
        gripper, motion, guard = self.parts.gripper, self._motion, self._settings().guard
        grip = gripper.grip
        if grip is None:
            return
        before, motion.wanted = motion.wanted, grip.wanted
        flipped = before is not None and not np.array_equal(before, grip.wanted)
        count, ticks = motion.flips.add(flipped, guard.latch_window)
        dwell = f"it stays for {gripper.min_dwell_s.max():.3g} s at least (gripper.min_dwell)"
        if count >= guard.latch_after:
            faults.hard["gripper"] = (
                f"the prediction changed between open and closed {count} times in {ticks} ticks; "
                f"{dwell}: does the scene look as in the demonstrations?"
            )
        elif flipped and not np.array_equal(grip.wanted, grip.closed):
            text = f"the prediction opens and closes the gripper in quick succession; {dwell}"
            self._ports.log("warning", "gripper", text)

    def _limit(self, tick: Tick, event: Event, wanted: Vector, faults: Faults) -> Vector | None:
        """The command that the limits allow, if any."""
        assert self._present is not None
        elapsed_s, previous, before = self._motion.past(tick.label_ns)
        ramp = event is Event.RAMP or self._motion.followed < 2
        result = self.parts.limiter.check(
            wanted, self._present[1], elapsed_s, previous, before, ramp=ramp
        )
        self.violations.update(violation.reason for violation in result.violations)
        if result.ok:
            return result.command
        self._refuse(result.reason, faults)
        return None

    def _refuse(self, reason: str, faults: Faults, *, set_point: bool = False) -> None:
        """Note what the limits refused. A few refusals among the last ticks latch: a policy that
        is refused at every other tick has the arm start and stop for ever."""
        if self._settings().dry_run:  # never latches for what the arm did not do
            faults.soft["guard"] = f"would have refused the command: {reason}"
            return
        guard = self._settings().guard
        text = f"set-point refused: {reason}" if set_point else f"command refused: {reason}"
        faults.soft["guard"] = text
        count, ticks = self._motion.refusals.add(True, guard.latch_window)
        if count >= guard.latch_after:
            faults.hard["guard"] = f"refused {count} times in {ticks} ticks, the last: {text}"

    def _look_outside(self, command: Vector, faults: Faults) -> None:
        """Whether the commands stay outside what was trained."""
        settings, outside = self._settings(), self.parts.outside
        warned = bool(outside.warning)
        guard, limits = settings.guard, self.parts.limiter.limits
        tick_s = self._period_ns * 1e-9
        found = outside.see(command, limits, guard.floor, guard.max_outside, tick_s)
        if found:
            (faults.soft if settings.dry_run else faults.hard)["outside"] = found
        elif outside.warning and not warned:
            self._ports.log("warning", "outside", outside.warning)

    def _conclude(
        self,
        tick: Tick,
        order: _Order,
        event: Event,
        wanted: Vector | None,
        since: Instant,
        faults: Faults,
    ) -> None:
        """Send the command, or hold, and set the state accordingly."""
        with self._lock:
            faults.update(self._ports.faults())  # once more: meanwhile the policy was computed
            current = order.generation == self._generation and self.state in STARTED
            done = False
            if current and wanted is not None and not faults.soft and not faults.hard:
                interruption = self._send(tick, event, wanted, since)
                done = interruption is None
                if interruption is not None and interruption.refused:
                    self._refuse(interruption.text, faults)
                elif interruption is not None:
                    code = "late" if interruption.code == "late" else "interpolation"
                    faults.soft[code] = interruption.text
            if current and not done:  # the process may have been stopped within this tick
                self._find_stall(since, self._clocks.read(), self.state, faults)
            if order.resets == self._resets:
                tick.changes = self.faults.update(tick.label_ns, faults.soft, faults.hard)
            if self.faults.latched:
                self._order(Event.FAULT)
            elif current and not done:
                if event is Event.AWAY and self._present is not None:
                    self._fire(event, cause=self._away(self._present[1]))
                else:
                    self._fire(event if event is Event.WARM_UP else Event.PREVENTED)
            self._begun = self._begun or self.state in MOVING
            tick.state = self.state

    def _send(
        self, tick: Tick, event: Event, position: Vector, since: Instant
    ) -> Interruption | None:
        """Send the tick's command, unless the last check refuses it."""
        assert self._present is not None
        parts, dry_run, watch = self.parts, self._settings().dry_run, self._settings().watch
        limit_ns = round(watch.max_latency * 1e9) or self._period_ns
        command = self._motion.command(
            tick.label_ns, position, self._present[1], parts.limiter.limits
        )
        send: Callable[[], None] | Interruption | None
        if dry_run:
            send = parts.outlet.check(position, since, limit_ns, self._present)
        else:
            send = parts.interpolator.ready(command, since, limit_ns, self._present)
        if isinstance(send, Interruption):
            return send
        self._fire(event)
        if send is not None:
            send()
        self._motion.add(tick.label_ns, position)
        self._motion.followed = 0 if event is Event.RAMP else self._motion.followed + 1
        self._motion.refusals.add(False, 1)
        tick.sent = None if dry_run else command
        return None
