# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One tick: observe, predict, limit, conclude, send. On the control thread alone; whether it may
command, and what a user asks for meanwhile, is in `controller`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.controller import Controller, Order
from sarnn_ros.control.faults import Faults
from sarnn_ros.control.following import STILL_STEPS
from sarnn_ros.control.motion import CONTIGUOUS_PERIODS, Motion
from sarnn_ros.control.outlet import Basis, Instant, Interruption
from sarnn_ros.control.parts import Ports
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.state import MAY_COMMAND, MOVING, STARTED, Event, State
from sarnn_ros.control.tick import Tick
from sarnn_ros.streams.observe import Missing, Observation

Vector = NDArray[np.float64]

#: After so long without permission to command, and one and a half periods, the recurrent state is
#: forgotten, s: what it knows of the scene may no longer be so.
RESET_GAP_S = 1.0


class ControlLoop:
    """See the module, and `build_controller`.

    :param settings: the current ones.
    """

    def __init__(
        self, controller: Controller, settings: Callable[[], Settings], ports: Ports
    ) -> None:
        self.parts = parts = controller.parts
        self._controller = controller
        self._settings = settings
        self._ports = ports
        self._clocks = ports.clocks
        spec, envelope = parts.policy.spec, parts.policy.config.envelope
        self._period_ns = spec.period_ns
        self._rows = list(spec.command_indices)
        self._trained_min = np.array(envelope.position_min)[self._rows]
        self._trained_max = np.array(envelope.position_max)[self._rows]
        # The next tick is no gap, whatever is asked for.
        self._gap_ns = round(max(RESET_GAP_S * 1e9, CONTIGUOUS_PERIODS * spec.period_ns))
        self._begun = False  # the run has moved the arm, or warmed up
        self._far = ""  # why the policy may not begin where the arm is
        self._cameras = 0  # what was known of them before this observation
        self._led_ns = 0  # the last tick at which a person's command was sent
        self._last_tick: tuple[int, Instant] | None = None
        self._motion = Motion(spec.period_ns)
        self._repeated = 0  # how often in a row a refused step was repeated
        # The commanded joints, as observed at this tick.
        self._present: Vector = np.zeros(len(self._rows))

    def tick(self, label_ns: int, due_ns: int) -> None:
        """Everything that happens at one tick.

        :param due_ns: when it could have begun: a tick has the stamp of its image, but cannot
            begin before the image has arrived.
        """
        controller, began = self._controller, self._clocks.read()
        controller.ticking = True
        controller.statistics.expect()
        try:
            tick = self._tick(label_ns, due_ns, began)
        finally:
            controller.ticking = False
        controller.tell(tick.changes)
        self.parts.scene.see(tick)
        self._ports.on_tick(tick)

    def _tick(self, label_ns: int, due_ns: int, began: Instant) -> Tick:
        tick = Tick(label_ns)
        if due_ns != label_ns:
            tick.stages["arrival"] = max(due_ns - label_ns, 0) * 1e-9
        tick.stages["wake"] = max(began.now_ns - due_ns, 0) * 1e-9
        self._controller.end_overdue_run()
        order = self._begin(tick)
        faults = self._follow_clocks(tick, began, order)
        self._observe(tick, order, faults)
        tick.lap("observe")
        event, wanted = self._predict(tick, order, faults)
        tick.lap("policy")
        if wanted is not None:
            if event is not Event.LED:
                self._find_flips(faults)
            wanted = self._limit(tick, event, wanted, faults)
        if wanted is not None and event not in (Event.RAMP, Event.LED):
            self._look_outside(wanted, faults)
        tick.lap("guard")
        since = Instant(label_ns, began.steady_ns)
        self._conclude(tick, order, event, wanted, since, faults)
        if self._waited(tick, order, event, faults):
            self.parts.policy.undo()
            if event is Event.WARM_UP:
                self.parts.sequence.undo_warm_up()
        tick.lap("publish")
        self._controller.statistics.add(tick)
        return tick

    def _waited(self, tick: Tick, order: Order, event: Event, faults: Faults) -> bool:
        """Whether the run goes on from where it was before this tick. A policy knows how long it
        has been moving, and would run ahead of an arm that waits: further away at each tick, so
        that one refusal leads to the next.

        Not of a step that took too long: as the first of an episode does, it might do so again
        and again. Nor for ever of one that is refused: a single wild prediction goes by.
        """
        if tick.sent is not None:
            self._repeated = 0
        refused = "guard" in faults.soft
        if (
            tick.prediction is None
            or tick.sent is not None
            or (event is Event.WARM_UP and not faults.soft and not faults.hard)
            or order.state not in STARTED
            or self._settings().dry_run
            or "late" in faults.soft
            or (refused and self._repeated >= self._settings().guard.latch_after - 2)
        ):
            return False
        self._repeated += refused
        return True

    def _begin(self, tick: Tick) -> Order:
        """Carry out the requests since the last tick."""
        order = self._controller.begin_tick()
        tick.reset = order.forget
        if order.activated:
            self._last_tick = None
        if order.state not in MAY_COMMAND and order.state is not State.STALLED:
            self._motion.commands = []  # that motion has ended, with a hold
        if tick.reset:
            self._restart()
        if order.begin:
            self._begun = False
            self.parts.sequence.begin()
        return order

    def _restart(self) -> None:
        self.parts.policy.reset()
        self.parts.interpolator.end()
        self.parts.outside.reset()
        self._motion = Motion(self._period_ns)
        self._controller.measured = self._controller.held = None
        self._forget_lag()

    def _forget_lag(self) -> None:
        """What is on its way is not known."""
        self.parts.lag.reset()
        self.parts.limiter.forget_lead()

    def _follow_clocks(self, tick: Tick, began: Instant, order: Order) -> Faults:
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
            self._controller.clock_was_set_back(began)
            self.parts.buffer.rewind(began.now_ns)
            self.parts.cameras.rewind(began.now_ns)
        else:
            # Images come about every period, the grid at exact multiples.
            tick.missed = max(round((tick.label_ns - label_ns) / self._period_ns) - 1, 0)
        return faults

    def _find_stall(self, then: Instant, now: Instant, state: State, faults: Faults) -> None:
        """Whether there was too long a gap in a motion between two instants."""
        gap_s = self._clocks.elapsed_s(then, now)
        if gap_s > self._controller.longest_gap_s and state in MOVING:
            faults.hard["stalled"] = (
                f"nothing was done for {gap_s:.2f} s in the middle of a motion: was the "
                "process stopped, or no core free? The arm may have been moved meanwhile"
            )

    def _observe(self, tick: Tick, order: Order, faults: Faults) -> None:
        """The observation, and all checks of whether it can be trusted."""
        parts = self.parts
        # Before observing: what is found later is undone from the next observation on.
        self._cameras = parts.cameras.version
        cameras = parts.cameras.faults()
        found = parts.buffer.observe(tick.label_ns)
        if isinstance(found, Missing):  # first: without an image no camera can be registered
            for name, text in found.reasons.items():
                faults.soft[f"no_observation:{name}"] = f"{name}: {text}"
        faults.update(cameras)
        # After observing, so that these checks have seen every message of this observation.
        faults.update(self._ports.faults())
        faults.hard.update(parts.formats.changed)
        if order.state in STARTED:
            faults.update(parts.scene.faults())
        faults.update(parts.description.faults())
        if isinstance(found, Missing):
            return
        tick.observation = found
        measured_ns = min(found.stamps[name] for name in parts.policy.spec.joint_source_names)
        self._present = found.state[self._rows]
        self._controller.measured = (measured_ns, self._present)
        if not self._motion.commands:
            self._see_hold()
        if tick.reset or order.state not in STARTED:
            parts.watch.reset()
            parts.following.reset()
            parts.lag.reset()
        faults.update(parts.watch.check(found))
        limits, max_lag = parts.limiter.limits, self._settings().guard.max_lag
        parts.limiter.lead = parts.lag.see(tick.label_ns, self._present, limits, max_lag)
        faults.hard.update(self._watch_effort(found, order))
        commands = self._motion.commands
        commanded = commands[-1][1] if commands else None  # also of before a missed tick
        if not self._settings().dry_run:
            faults.hard.update(
                parts.following.check(
                    *(found.state, self._present, tick.label_ns, measured_ns),
                    *(commanded, self._motion.kept),
                )
            )

    def _see_hold(self) -> None:
        parts, held = self.parts, self._controller.held
        self._motion.kept = None
        if held is not None:
            still = STILL_STEPS * parts.limiter.limits.max_step
            self._motion.kept = held.see(self._present, still)
            parts.lag.add(held.set_point)

    def _watch_effort(self, found: Observation, order: Order) -> dict[str, str]:
        """Efforts of what is not commanded, or leads from elsewhere to where the demonstrations
        began, are not those of the demonstrations."""
        watch, here = self.parts.effort, self._present
        watch.look_for(found.effort)
        trained = (self._trained_min <= here) & (here <= self._trained_max)
        if (
            order.state not in MAY_COMMAND
            or self._settings().dry_run
            or (order.state is State.RAMPING and not trained.all())
        ):
            watch.reset()
            return {}
        return watch.check(found.effort)

    def _predict(self, tick: Tick, order: Order, faults: Faults) -> tuple[Event, Vector | None]:
        """One step of the policy, and what this tick does with it: the event and the set-point.

        The policy also runs while nothing may be commanded, for the display. If that lasted longer
        than `RESET_GAP_S`, its recurrent state is reset before it commands again.
        """
        if tick.observation is None:
            self._find_interruption(tick, faults)
            return Event.PREVENTED, None
        controller, sequence, settings = self._controller, self.parts.sequence, self._settings()
        clear = not (faults.soft or faults.hard or controller.faults.latched)
        allowed = clear and order.state in STARTED
        self._far = self._far_to_begin(tick, order) if allowed else ""
        allowed = allowed and not self._far
        here = self._here(tick)
        led = allowed and order.led
        ramping = allowed and not led and not settings.dry_run and sequence.ramps(here)
        if allowed and not ramping:
            self._permit(tick)
        self._find_interruption(tick, faults)
        if tick.interrupted and not settings.dry_run:
            self.parts.policy.undo()  # the step whose command was not reached
        tick.seen = self._as_demonstrated(tick.observation)
        tick.prediction = self.parts.policy.step(
            tick.seen,
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
        if self._far:
            return Event.AWAY, None
        if not allowed or faults.soft or faults.hard:
            return Event.PREVENTED, None
        if led:
            return self._lead(tick, here, faults)
        if ramping:
            self._motion.allowed_ns = None  # after the ramp the policy is reset
            return Event.RAMP, sequence.ramp(here, self._motion.past(tick.label_ns)[0])
        event, wanted = sequence.follow(tick.prediction.action[self._rows], here)
        return event, None if event is Event.WARM_UP else wanted

    def _far_to_begin(self, tick: Tick, order: Order) -> str:
        """Why the policy may not begin, or begin anew, where the arm is; empty: it may, or it goes
        on, or a ramp comes before."""
        if self._settings().dry_run or self.parts.sequence.ramp_to_come:
            return ""
        goes_on = self._controller.policy_began and not self._is_reset(tick)
        if goes_on or (order.led and self._begun):
            return ""
        return self._controller.far(self._present)

    def _is_reset(self, tick: Tick) -> bool:
        """Whether the policy is, before it commands again: after a gap, and where it was made to
        forget."""
        since = self._motion.allowed_ns
        return since is None or tick.label_ns - since > self._gap_ns

    def _here(self, tick: Tick) -> Vector:
        return self._motion.here(tick.label_ns, self._present, self.parts.limiter)

    def _as_demonstrated(self, found: Observation) -> Observation:
        """With the joints where they would be if they lagged as while demonstrating: by an arm
        that lags by more the policy would be told that it is slow."""
        behind = self.parts.lag.behind
        if self.parts.policy.config.envelope.lag is None or not behind.any():
            return found
        state = found.state.copy()
        state[self._rows] += behind
        return replace(found, state=state)

    def _lead(self, tick: Tick, here: Vector, faults: Faults) -> tuple[Event, Vector | None]:
        """A person's command instead of the prediction. While none comes the robot holds."""
        teleoperator = self.parts.teleoperator
        assert teleoperator is not None
        command = teleoperator.command(self._clocks.steady_ns())
        settings = self._settings()
        stood = self._motion.past(tick.label_ns)[1] is None
        led_s = (tick.label_ns - self._led_ns) * 1e-9
        if not isinstance(command, str) and stood and not 0 < led_s <= settings.takeover.max_age:
            # While the arm held for longer the leader may have gone anywhere.
            margin, floor = settings.start.margin, settings.guard.floor
            command = teleoperator.far(command, self._present, margin, floor) or command
        if isinstance(command, str):
            faults.soft["takeover"] = f"taken over, but {command}"
            return Event.PREVENTED, None
        return Event.LED, self.parts.sequence.lead(command, here)

    def _permit(self, tick: Tick) -> None:
        """Note that the policy may command; after a gap it is reset."""
        if self._is_reset(tick):
            if tick.reset is None:
                tick.reset = "start" if self._motion.allowed_ns is None else "gap"
            self.parts.policy.reset()
            self._controller.policy_is_reset()
            self.parts.sequence.restart()
            # The velocity limit also holds between a ramp's last command and the policy's first.
            commands, kept = self._motion.commands, self._motion.kept
            self._motion = Motion(self._period_ns, commands=commands, kept=kept)
        self._motion.allowed_ns = tick.label_ns

    def _find_interruption(self, tick: Tick, faults: Faults) -> bool:
        """After an interrupted segment the arm is not where its command says: the motion begins
        anew.

        :returns: whether there was one.
        """
        interruption = self.parts.interpolator.interruption()
        if interruption is None:
            return False
        tick.interrupted = True
        self._motion.commands, self._motion.kept = [], None
        self._controller.held = None
        self._forget_lag()
        if interruption.refused:
            self._refuse(interruption.text, faults, set_point=True)
        else:
            faults.soft["interpolation"] = (
                f"no set-points to the last command: {interruption.text}"
            )
        return True

    def _find_flips(self, faults: Faults) -> None:
        """Whether the prediction opens and closes a two-valued gripper all the time."""
        gripper, motion, guard = self.parts.gripper, self._motion, self._settings().guard
        grip = gripper.grip
        if grip is None:
            return
        # After a person led, or a ramp, the grip is theirs until the policy has commanded.
        before, motion.wanted = motion.wanted, grip.wanted if motion.followed else None
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
            self._controller.note("warning", "gripper", text)

    def _limit(self, tick: Tick, event: Event, wanted: Vector, faults: Faults) -> Vector | None:
        """The command that the limits allow, if any."""
        elapsed_s, previous, before = self._motion.past(tick.label_ns)
        led = event is Event.LED
        ramp = led or event is Event.RAMP or self._motion.followed < 2
        result = self.parts.limiter.check(
            wanted,
            self._present,
            elapsed_s,
            previous,
            before,
            start=self._here(tick),
            ramp=ramp,
            clamp=led,
        )
        reasons = [violation.reason for violation in result.violations]
        self._controller.statistics.violations.update(reasons)
        if not result.ok:
            self._refuse(result.reason, faults)
            return None
        if not self.parts.limiter.within_step(result.command, self._present):
            text = (
                f"the arm follows its commands {self.parts.lag.seconds:.3g} s late. They lead it "
                "by more than a step as demonstrated, which guard.max_lag allows for"
            )
            self._controller.note("warning", "lag", text)
        return result.command

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
        limits, tick_s = self.parts.limiter.limits, self._period_ns * 1e-9
        found = outside.see(command, limits, settings.guard, tick_s)
        if found:
            (faults.soft if settings.dry_run else faults.hard)["outside"] = found
        elif outside.warning and not warned:
            self._controller.note("warning", "outside", outside.warning)

    def _conclude(
        self,
        tick: Tick,
        order: Order,
        event: Event,
        wanted: Vector | None,
        since: Instant,
        faults: Faults,
    ) -> None:
        """Send the command, or hold, and set the state accordingly."""
        controller = self._controller
        with controller.lock:
            faults.update(self._ports.faults())  # once more: meanwhile the policy was computed
            done = not controller.follows(order)
            begins = event not in (Event.PREVENTED, Event.AWAY)
            if not done and begins and not faults.soft and not faults.hard:
                found = self.parts.cameras.settle(self._cameras)
                faults.soft |= {"camera": found} if found else {}
            if not done and wanted is not None and not faults.soft and not faults.hard:
                done = self._send(tick, event, wanted, since, faults)
            cause = ""
            if not done:
                # The process may have been stopped within this tick.
                self._find_stall(since, self._clocks.read(), controller.state, faults)
                if event is Event.AWAY:
                    anew = controller.policy_began
                    cause = "the policy would begin anew" if anew else self._far
                elif event is not Event.WARM_UP or faults.soft or faults.hard:
                    event = Event.PREVENTED
            tick.changes = controller.end_tick(
                order, tick.label_ns, faults, None if done else event, cause
            )
            self._begun = self._begun or controller.state in MOVING
            if not self._begun:
                self.parts.cameras.fix(False)
            tick.state = controller.state

    def _send(
        self, tick: Tick, event: Event, position: Vector, since: Instant, faults: Faults
    ) -> bool:
        """Send the tick's command, unless the last check refuses it.

        :returns: whether it was sent.
        """
        if self._find_interruption(tick, faults):
            return False
        controller, parts, settings = self._controller, self.parts, self._settings()
        limit_ns = round(settings.watch.max_latency * 1e9) or self._period_ns
        basis = Basis(since, limit_ns, controller.measured)
        command = self._motion.command(tick.label_ns, position, self._present, parts.limiter)
        here = self._here(tick)
        send: Callable[[], None] | Interruption | None
        if settings.dry_run:
            send = parts.outlet.check(position, basis)
        else:
            send = parts.interpolator.ready(command, basis, here)
        if isinstance(send, Interruption):
            arrival_s = tick.stages.get("arrival", 0.0)
            if send.refused:
                self._refuse(send.text, faults)
            elif send.code == "late" and arrival_s * 1e9 > limit_ns:
                faults.soft["late"] = (
                    f"its image took {arrival_s:.3f} s to arrive, and a command may be "
                    f"{limit_ns * 1e-9:.3f} s late: a faster camera, codec or link, or raise "
                    "watch.max_latency"
                )
            else:
                faults.soft["late" if send.code == "late" else "interpolation"] = send.text
            return False
        controller.advance(event)
        if send is not None:
            send()
        self._motion.add(tick.label_ns, position, here)
        if not settings.dry_run:
            parts.lag.add(position)
        if event is Event.LED:
            self._led_ns = tick.label_ns
        policys = event not in (Event.RAMP, Event.LED)
        self._motion.followed = self._motion.followed + 1 if policys else 0
        self._motion.refusals.add(False, 1)
        tick.sent = None if settings.dry_run else command
        return True
