# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the robot's side is doing: its state, its faults, and the requests that change them. The
ticks are in `loop`. No ROS here: what is sent, logged or shown goes through the callables of
`Ports`.

`activate`, `start`, `stop`, `reset` and `deactivate` come from the executor's thread,
`look_for_stall` from a thread of its own; none of them waits for a tick. A command that was on its
way when one of them was called is not sent.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.description import CODE as DESCRIPTION
from sarnn_ros.control.faults import ActiveFaults, Fault, FaultChanges, Faults
from sarnn_ros.control.log import ControlLog, Standing, of_faults
from sarnn_ros.control.motion import Held
from sarnn_ros.control.outlet import NO_FRESH_JOINTS, Basis, Command, Instant
from sarnn_ros.control.parts import Parts, Ports
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.state import (
    ACTIVE,
    LATCHED,
    MOVING,
    POLICY_LEADS,
    STARTED,
    Action,
    Event,
    Refused,
    State,
    Status,
    transition,
)
from sarnn_ros.control.statistics import LoopStatistics
from sarnn_ros.control.ticker import Threads

Vector = NDArray[np.float64]

#: A gap in a motion of more than so many periods, and of more than `watch.max_gap`, latches:
#: meanwhile nobody looked, and the arm may have been moved. Shorter ones are missed ticks.
GAP_PERIODS = 5


@dataclass(frozen=True)
class Ending:
    """Why a run ended that nobody stopped.

    :param level: of the log.
    :param code: a stable name.
    :param cause: what led to it.
    """

    level: str
    code: str
    text: str
    cause: str = ""


_RAMP = Ending("error", "ramp", "the ramp to the start pose was interrupted")
ENDINGS = {
    Event.TIMEOUT: Ending("info", "run_timeout", "the run took as long as run_timeout allows"),
    Event.TIME_LIMIT: Ending("info", "time_limit", "the run took as long as its goal allows"),
    Event.WAITED: Ending(
        "warning", "waited", "nothing was commanded for as long as start.wait allows"
    ),
    Event.AWAY: Ending("warning", "away", "the arm is not where the demonstrations began"),
    Event.PREVENTED: _RAMP,
    Event.STALL: _RAMP,
}


@dataclass(frozen=True)
class Order:
    """What holds when a tick begins, and what was asked for since the tick before.

    :param generation: counts the requests: a tick sends nothing if one came meanwhile.
    :param resets: counts the resets: a tick reports no fault if one came meanwhile.
    :param forget: why the recurrent state and the motion so far are to be forgotten; None: not.
    :param begin: the start sequence begins.
    :param activated: no tick came since the activation.
    :param led: a person has taken over.
    """

    generation: int
    resets: int
    state: State
    forget: str | None = None
    begin: bool = False
    activated: bool = False
    led: bool = False


class Controller:
    """See the module, and `build_controller`.

    :param settings: the current ones.
    :ivar threads: of the loop and of those that look after it; set by `build_controller`.
    :ivar lock: held while a command is being published, and while the state changes. Nothing is
        logged, and nothing that takes long is done, by a thread that holds it.
    :ivar ticking: the control thread is in the middle of a tick.
    :ivar policy_began: it has commanded in this run, since it was reset last.
    :ivar measured: stamp and commanded joints, (n,), of the last observation.
    :ivar led: a person has taken over, until they hand back or the run ends.
    :ivar longest_gap_s: between two ticks of a motion.
    :ivar hung: a thread did not end, and will not.
    """

    threads: Threads

    def __init__(self, parts: Parts, settings: Callable[[], Settings], ports: Ports) -> None:
        self.state, _ = transition(State.UNCONFIGURED, Event.CONFIGURE)
        self.faults = ActiveFaults()
        self.statistics = LoopStatistics(lambda: ports.clocks.steady_ns() * 1e-9)
        self.parts = parts
        self.lock = parts.outlet.lock
        self.ticking = self.hung = self.led = False
        self._halting = False  # the step under way is cut short: that it fails is no fault
        self.measured: tuple[int, Vector] | None = None
        self.held: Held | None = None  # by the last hold
        self._settings = settings
        self._ports = ports
        self._clocks = ports.clocks
        self._log = ControlLog(ports.log)
        spec = parts.policy.spec
        self._period_ns = spec.period_ns
        silence_ns = 0 if spec.trigger is None else spec.trigger.max_age_ns
        gap_s = max(GAP_PERIODS * spec.period_ns * 1e-9, settings().watch.max_gap)
        self.longest_gap_s = gap_s + silence_ns * 1e-9
        self._order = Order(0, 0, self.state)  # for the next tick
        self._run_began = self._held_since = self._clock_moved = self._clocks.read()
        self._stalled_while_waiting = False
        self.policy_began = False
        self._limit_s = 0.0  # of the run, by its goal
        self._ending: Ending | None = None  # None: by ~/stop, or never started

    # -- what it is doing -----------------------------------------------------------------------

    def status(self) -> Status:
        """What it is doing, and why."""
        settings, state, blocked, blocked_by = self._settings(), self.state, "", ""
        first = next(iter(self.faults.active), None)
        code, text = (first.code, first.text) if first else ("", "")
        if state in LATCHED:
            pass
        elif state in ACTIVE and (silence := self.stalled_s):
            why = "the policy has not returned" if self.ticking else "has the clock stopped?"
            code, text = "no_tick", f"no tick for {silence:.1f} s: {why}"
        elif state is State.HOLDING:
            if not text:
                text = "waits for the next tick"
            elif not settings.dry_run:
                text += f"; the run ends after {settings.start.wait:g} s of this (start.wait)"
        elif state is State.STOPPED:
            blocked = text or self.away()
            blocked_by = code or "start.margin" * bool(blocked)
            code = text = ""
            if ending := self._ending:
                code, text = ending.code, ending.text
                if ending.cause and ending.cause not in blocked:
                    text += f": {ending.cause}"
        else:
            code = text = ""
        return Status(state, text, code, settings.dry_run, blocked, blocked_by)

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
        if self._clocks.simulated() and not self.ticking:  # one that is slow does not stand
            stands_s = (self._clocks.steady_ns() - self._clock_moved.steady_ns) * 1e-9
            silence = min(silence, stands_s)
        return silence if silence > self.longest_gap_s else 0.0

    def away(self) -> str:
        """Why no motion may begin where the arm is; empty: it may, or nobody knows where it is."""
        settings = self._settings()
        if settings.dry_run or settings.start.ramp_speed:
            return ""
        present = self.parts.outlet.present(self._clocks.now_ns())
        return "" if present is None else self.far(present)

    def far(self, present: Vector) -> str:
        """Why the policy may not begin at `present`, the commanded joints; empty: it may."""
        far = self._far_from_start(present)
        ramp = "set start.ramp_speed, which moves it there first"
        if self._settings().start.ramp_speed:
            ramp = "call ~/start, which moves it there first"
        return far and (
            f"{far}: bring the arm there, or {ramp}; to start elsewhere on purpose raise "
            "start.margin"
        )

    def policy_is_reset(self) -> None:
        """It begins anew: a person who leads may not hand back to it anywhere."""
        with self.lock:
            self.policy_began = False

    def _far_from_start(self, present: Vector) -> str:
        settings = self._settings()
        return self.parts.start_poses.away(present, settings.start.margin, settings.guard.floor)

    # -- requests, from other threads -----------------------------------------------------------

    def activate(self, *, start: bool) -> None:
        """Before the first tick. Messages and motion of before are forgotten; latched faults stay.

        :param start: command at once, unless a fault is latched.
        """
        self._forget_messages()
        with self.lock:
            self.parts.gripper.reset()
            self.statistics.expect()
            self._override(Event.ACTIVATE_AND_START if start else Event.ACTIVATE, "activation")
            self._limit_s = 0.0
            self._order = replace(self._order, activated=True)

    def run(self) -> None:
        """Start the threads; after `activate`."""
        self.hung = self._halting = False
        self.threads.start()

    def deactivate(self) -> None:
        """No command after this returns, except for the hold that it sends itself."""
        with self.lock:
            if self.state in ACTIVE:
                was, commanded = self.state, self.parts.outlet.sent is not None
                self._override(Event.DEACTIVATE)
                if not commanded or self._settings().dry_run:
                    text = f"no hold is sent: it was {was.value}, and commanded nothing"
                    self.note("info", "hold", text)
        self._log.write()
        self.parts.scene.end_run()

    def halt(self) -> bool:
        """Stop commanding, the hold sent; then end the threads.

        :returns: whether they have ended: a policy may never return. It sends nothing any more.
        """
        self.deactivate()
        if not self.hung and not self.threads.stop():
            self._halting = True
            self.parts.policy.cancel()
            self.hung = not self.threads.stop()
        return not self.hung

    def close(self) -> None:
        """For good, after `halt`."""
        with self.lock:
            self._override(Event.CLEANUP)

    def start(self, limit_s: float = 0.0) -> None:
        """Begin to command, with a fresh recurrent state.

        :param limit_s: the run ends so long after its start, s; 0: no such limit. `run_timeout`
            holds all the same.
        :raises Refused: a fault is latched, or the arm is not where the demonstrations began: a
            run under way is stopped, as a person may now go and bring the arm there.
        """
        with self.lock:
            if self.state in LATCHED:
                raise Refused(self.status().text)
            away, started = self.away(), self.state in STARTED
            if away and started:
                self._override(Event.STOP)
            elif not away:
                self._override(Event.START, "start")
                self._limit_s = limit_s
        self._log.write()
        if away:
            raise Refused(f"{'stopped' if started else 'not started'}: {away}")

    def stop(self) -> None:
        """No command after this returns, except for the hold that it sends itself."""
        with self.lock:
            self._override(Event.STOP)
        self._log.write()

    def take_over(self, led: bool) -> None:
        """Let a person lead, or the policy again, which has observed meanwhile.

        :raises Refused: nothing is started, or no command of a person can be followed from here,
            or the policy has yet to begin, and not from here.
        """
        with self.lock:
            if self.state not in STARTED:
                raise Refused(f"no run to take over: {self.status().text}")
            if led and not self.led and (why := self._why_not_led()):
                raise Refused(f"not taken over: {why}")
            if not led and self.led and (why := self._why_not_back()):
                raise Refused(f"not handed back: {why}")
            if led != self.led:
                # The tick in progress may not send any more: its command is the other's.
                self._order = replace(self._order, generation=self._order.generation + 1)
                self.led = led

    def _why_not_led(self) -> str:
        teleoperator, settings = self.parts.teleoperator, self._settings()
        if teleoperator is None:
            return "takeover.command_topic is not set: where do a person's commands come from?"
        command = teleoperator.command(self._clocks.steady_ns())
        if isinstance(command, str):
            return command
        present = self.parts.outlet.present(self._clocks.now_ns())
        if present is None:
            return NO_FRESH_JOINTS.text
        return teleoperator.far(command, present, settings.start.margin, settings.guard.floor)

    def _why_not_back(self) -> str:
        """A person who has led from where the arm was, or from its ramp, may be anywhere."""
        if self.policy_began or self._settings().dry_run:
            return ""
        present = self.parts.outlet.present(self._clocks.now_ns())
        if present is None:
            return NO_FRESH_JOINTS.text
        far = self._far_from_start(present)
        return far and (
            f"the policy has yet to begin, and {far}: lead the arm there, or call ~/stop and "
            "~/start"
        )

    def reset(self) -> tuple[Fault, ...]:
        """Forget the recurrent state, all faults, and all messages received before. After a
        latched fault nothing moves until `start`: a reset alone must not set a robot in motion.

        :returns: the faults that were latched.
        """
        # Before the reset: a tick between would latch again what it still finds.
        self._forget_messages()
        if any(fault.code == DESCRIPTION for fault in self.faults.latched):
            self.parts.description.accept()
        with self.lock:
            self._order = replace(self._order, resets=self._order.resets + 1)
            self._override(Event.RESET, "reset")
            return self.faults.reset()

    def may_load(self) -> None:
        """Whether another policy may take the place of this one.

        :raises Refused: the robot is commanded, or may be at the next tick.
        """
        try:
            transition(self.state, Event.LOAD)
        except Refused as error:
            raise Refused(f"{error}: call ~/stop first") from None

    def check_limits(self, settings: Settings) -> None:
        """:raises ConfigError: `guard.*` of the wrong count, or that leave no room."""
        self.parts.limits_by(settings, self.parts.description.text)

    def change_limits(self, settings: Settings) -> None:
        """Use new `guard.*` from now on.

        :raises Refused: the robot is being commanded.
        :raises ConfigError: limits of the wrong count, or that leave no room.
        """
        limits = self.parts.limits_by(settings, self.parts.description.text)
        with self.lock:
            if self.state in MOVING and not settings.dry_run:
                raise Refused(
                    f"guard.*: not while {self.state.value}: the robot would follow other limits "
                    "in the middle of its motion; call ~/stop first"
                )
            if self.state in STARTED:  # the tick in progress judged by the others
                self._order = replace(self._order, generation=self._order.generation + 1)
            self.parts.limiter.limits = limits

    def latch(self, code: str, text: str) -> None:
        """A fault that was found between ticks: hold until `reset`."""
        with self.lock:
            changes = self.faults.update(self._clocks.now_ns(), None, {code: text})
            self._override(Event.FAULT)
        self.tell(changes)

    def failed(self, error: Exception) -> None:
        """A tick, or a set-point, raised an exception: a bug."""
        if self._halting:
            return
        self.latch("internal", f"a tick failed: {error}")
        self._ports.log("error", "trace", "".join(traceback.format_exception(error)))

    def look_for_stall(self) -> None:
        """To be called every so often from another thread: the control thread may hang."""
        self._see_clock()
        with self.lock:
            silence = self.stalled_s
            if not silence or self.state not in STARTED:
                return
            paused = self._clocks.simulated() and not self.ticking
            changes = FaultChanges()
            if not paused:
                why = "the policy has not returned" if self.ticking else "no core was free"
                text = f"no tick for {silence:.1f} s: {why}"
                changes = self.faults.update(self._clocks.now_ns(), None, {"stalled": text})
                self._override(Event.FAULT)
            elif self.state is not State.STALLED:
                self.advance(Event.STALL)
        self.tell(changes)
        if self.ticking:
            self.parts.policy.cancel()

    # -- for the control thread -----------------------------------------------------------------

    def begin_tick(self) -> Order:
        """What the tick that begins now has to follow."""
        self._see_clock()
        with self.lock:
            order = self._order
            self._order = replace(order, forget=None, begin=False, activated=False)
            return replace(order, state=self.state, led=self.led)

    def _see_clock(self) -> None:
        now = self._clocks.read()
        if now.now_ns != self._clock_moved.now_ns:
            self._clock_moved = now

    def follows(self, order: Order) -> bool:
        """Whether the tick of this order may still send. The lock is held."""
        return order.generation == self._order.generation and self.state in STARTED

    def end_tick(
        self, order: Order, label_ns: int, faults: Faults, event: Event | None, cause: str = ""
    ) -> FaultChanges:
        """Enter what a tick has found, and set the state accordingly. The lock is held.

        :param event: that it leads to unless a fault is latched, if it did not send.
        """
        changes = FaultChanges()
        if order.resets == self._order.resets:
            changes = self.faults.update(label_ns, faults.soft, faults.hard)
        if self.faults.latched:
            self._override(Event.FAULT)
        elif event is not None:
            self.advance(event, cause=cause)
        return changes

    def end_overdue_run(self) -> None:
        """Stop if the run has taken as long as it may, or held as long as it may."""
        settings = self._settings()
        limit_s, wait_s = settings.run_timeout, settings.start.wait
        with self.lock:
            if limit_s and self.state in STARTED and self.run_s >= limit_s:
                self._override(Event.TIMEOUT)
            elif self._limit_s and self.state in STARTED and self.run_s >= self._limit_s:
                self._override(Event.TIME_LIMIT)
            elif (
                self.state is State.HOLDING
                and not settings.dry_run
                and self._clocks.elapsed_s(self._held_since, self._clocks.read()) >= wait_s
            ):
                active = self.faults.active
                self._override(Event.WAITED, cause=active[0].text if active else "")
            else:
                return
        self._ports.changed()

    def clock_was_set_back(self, now: Instant) -> None:
        """A simulated clock takes the run's time along."""
        if self._clocks.simulated():
            self._run_began = self._held_since = now

    # -- transitions ----------------------------------------------------------------------------

    def _override(self, event: Event, forget: str | None = None, cause: str = "") -> None:
        """An event after which the tick in progress may no longer send."""
        self._order = replace(self._order, generation=self._order.generation + 1)
        self.advance(event, forget, cause)

    def advance(self, event: Event, forget: str | None = None, cause: str = "") -> None:
        """Carry out a transition. The lock is held.

        :param forget: the reason for that, if the transition wants it.
        :param cause: what led to an ending.
        """
        before = self.state
        self.state, actions = transition(before, event)
        if self.state is State.STOPPED and before is not State.STOPPED:
            ending = ENDINGS.get(event)
            self._ending = ending and replace(ending, cause=cause)
        if self.state not in STARTED or Action.BEGIN in actions:
            self.led = False
        self.policy_began |= self.state in POLICY_LEADS
        # A warm-up commands nothing: an arm must not begin to move long after it was asked for.
        waits = State.HOLDING, State.WARMING_UP
        if self.state is State.STALLED and before is not State.STALLED:
            self._stalled_while_waiting = before in waits
        waited = before in waits or (before is State.STALLED and self._stalled_while_waiting)
        if self.state is State.HOLDING and (not waited or forget):
            self._held_since = self._clocks.read()
        # From a run's first motion to its end.
        if self.state in MOVING or self.state not in STARTED:
            self.parts.cameras.fix(self.state in MOVING)
        for action in actions:
            if action is Action.FORGET:
                self._order = replace(self._order, forget=forget)
                self.parts.interpolator.end()
            elif action is Action.BEGIN:
                self._order = replace(self._order, begin=True)
                self.policy_began = False
                self.parts.cameras.begin(self._clocks.now_ns())
                self._run_began = self._clocks.read()
                self.statistics.expect()
            elif action is Action.HOLD:
                self._hold()

    def _hold(self) -> None:
        """Send the last set-point again, at rest, if a fresh measurement shows the robot within a
        step of it; to a controller that is under way on a trajectory, where that comes to rest.
        Otherwise nothing is sent: every controller keeps its last set-point by itself, and a
        set-point that cannot be checked against the present position is never sent. The log says
        why."""
        interruption = self.parts.interpolator.interruption()
        sent = self.parts.interpolator.end()
        if self._settings().dry_run:
            return
        if sent is None:
            if interruption is not None:  # which no tick has told
                self.held = None
                self._no_hold(f"no set-points to the last command: {interruption.text}")
            return
        now, position = self._clocks.read(), sent.command.position.copy()
        passed_s = self._clocks.elapsed_s(sent.at, now)
        rows = self.parts.trajectory_rows
        position[rows] = sent.standstill(passed_s, self._period_ns * 1e-9)[rows]
        basis = Basis(now, self._period_ns, self.measured)
        self.held = None if self.measured is None else Held(position, self.measured[1])
        self.parts.limiter.forget_lead()  # it may be old, or what was on its way has arrived
        refused = self.parts.outlet.send(Command.standing(position), basis)
        self.parts.interpolator.end()
        if refused is None:
            self.note("info", "hold", "a hold was sent: the last command, at rest")
        else:
            self._no_hold(refused.text)

    def _no_hold(self, why: str) -> None:
        text = f"no hold was sent ({why}): its controller keeps the last command"
        self.note("warning", "no_hold", text)  # also just after one that was

    def _forget_messages(self) -> None:
        """All messages stamped before now, also those that have not arrived yet: one of them may
        be what latched, and no motion begins from them."""
        self.parts.buffer.clear(self._clocks.now_ns())
        self.parts.formats.reset()
        self.parts.scene.reset()

    # -- what is logged -------------------------------------------------------------------------

    def note(self, level: str, key: str, text: str) -> None:
        """To be logged once the lock is free. The same again in one run is suppressed as the log
        does it, but not in the next."""
        self._log.note(level, f"{key}:{self._order.generation}", text)

    def tell(self, changes: FaultChanges) -> None:
        """Log what was noted, and what is true now; tell of changed faults. The lock is free."""
        self._log.see(self._standing())
        if changes.appeared or changes.resolved:
            self._ports.changed()

    def _standing(self) -> Iterator[Standing]:
        """The faults, and the state if a tick has led to it. What it waits for and the answers to
        a person are logged elsewhere."""
        state, ending, level = self.state, self._ending, ""
        yield from of_faults(state.value, self.faults.active)
        if state in MOVING or state is State.STALLED:
            level = "info"
        elif state is State.STOPPED and ending:
            level = ending.level
        if level:
            key = f"{state.value}:{self._order.generation}"
            yield Standing(level, key, self.status().text)
