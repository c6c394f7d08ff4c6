# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the robot's side is doing: one state, and one table of the transitions between states.

Diagnostics, overlay, log, service answers and the documentation use these words. Dry run is no
state: it is a mode in which all of this happens and nothing is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

Level = Literal["fine", "waiting", "faulted"]


class State(Enum):
    """The value is the word that users see."""

    UNCONFIGURED = "unconfigured"  # no policy is loaded
    INACTIVE = "inactive"
    INACTIVE_FAULTED = "inactive, faulted"
    STOPPED = "stopped"  # active, waits for ~/start
    HOLDING = "holding"  # started, but something prevents a command; goes on within start.wait
    RAMPING = "ramping"  # moving to the pose in which the demonstrations began
    WARMING_UP = "warming up"  # the policy observes, and commands nothing yet
    BLENDING = "blending"  # from the present position into the policy's commands
    COMMANDING = "commanding"
    TAKEN_OVER = "taken over"  # a person's commands are sent, and the policy observes
    STALLED = "stalled"  # started, but the simulated clock stands still
    FAULTED = "faulted"  # a fault is latched until ~/reset
    FINALIZED = "finalized"  # the lifecycle node was shut down; no transition leads out


class Event(Enum):
    """The value is the word in the diagram."""

    CONFIGURE = "configure"
    CLEANUP = "cleanup"
    ACTIVATE = "activate"
    ACTIVATE_AND_START = "activate and start"
    DEACTIVATE = "deactivate"
    START = "~/start"
    STOP = "~/stop"
    RESET = "~/reset"
    LOAD = "~/load"  # another policy takes the place of this one
    # What a tick leads to.
    RAMP = "ramp"
    WARM_UP = "warm up"
    BLEND = "blend"
    COMMAND = "command"
    LED = "a person leads"  # by ~/takeover
    PREVENTED = "prevented"  # no observation, a fault that has not latched, a refused command
    FAULT = "fault latched"
    STALL = "clock stands still"
    TIMEOUT = "run_timeout"  # the run has taken as long as it may
    TIME_LIMIT = "time_limit"  # likewise, by the goal of ~/run
    WAITED = "start.wait"  # it has held as long as it may
    AWAY = "away from the start"  # the arm is not where the demonstrations began


class Action(Enum):
    """What a transition does, in this order."""

    FORGET = "forget"  # the recurrent state and the motion so far
    BEGIN = "begin"  # the start sequence, with its ramp
    HOLD = "hold"  # see `Controller._hold`
    SEND = "send"  # the command of the tick; every other transition sends none


S, E, A = State, Event, Action

#: A tick sends its command in these. In others no set-point is sent, but for those on the way to
#: the last command where a simulated clock stood still in between.
MAY_COMMAND = frozenset({S.RAMPING, S.BLENDING, S.COMMANDING, S.TAKEN_OVER})
#: A motion is in progress: a gap in it latches.
MOVING = MAY_COMMAND | {S.WARMING_UP}
#: The policy leads.
POLICY_LEADS = frozenset({S.BLENDING, S.COMMANDING})
#: The user wants commands.
STARTED = MOVING | {S.HOLDING, S.STALLED}
#: A fault is latched. Only RESET leaves these for others, and CLEANUP.
LATCHED = frozenset({S.FAULTED, S.INACTIVE_FAULTED})
ACTIVE = STARTED | {S.STOPPED, S.FAULTED}
_ANY = frozenset(State)
_WAITS = (ACTIVE - STARTED) | {S.INACTIVE, S.INACTIVE_FAULTED}

#: (from, event, to, actions). None as `to`: stays as it is. The first row that fits counts; an
#: event for which there is no row is refused.
TABLE: tuple[tuple[frozenset[State], Event, State | None, tuple[Action, ...]], ...] = (
    # the lifecycle
    (frozenset({S.UNCONFIGURED}), E.CONFIGURE, S.INACTIVE, ()),
    (frozenset({S.INACTIVE}), E.ACTIVATE, S.STOPPED, (A.FORGET,)),
    (frozenset({S.INACTIVE}), E.ACTIVATE_AND_START, S.HOLDING, (A.FORGET, A.BEGIN)),
    (frozenset({S.INACTIVE_FAULTED}), E.ACTIVATE, S.FAULTED, (A.FORGET,)),
    (frozenset({S.INACTIVE_FAULTED}), E.ACTIVATE_AND_START, S.FAULTED, (A.FORGET,)),
    (STARTED, E.DEACTIVATE, S.INACTIVE, (A.HOLD,)),
    (frozenset({S.STOPPED}), E.DEACTIVATE, S.INACTIVE, ()),
    (frozenset({S.FAULTED}), E.DEACTIVATE, S.INACTIVE_FAULTED, ()),
    (STARTED, E.CLEANUP, S.UNCONFIGURED, (A.HOLD,)),
    (_ANY, E.CLEANUP, S.UNCONFIGURED, ()),
    # the services
    (STARTED | {S.STOPPED}, E.START, S.HOLDING, (A.FORGET, A.BEGIN)),
    (STARTED, E.STOP, S.STOPPED, (A.HOLD,)),
    (frozenset({S.STOPPED, S.FAULTED}), E.STOP, None, ()),
    (frozenset({S.FAULTED}), E.RESET, S.STOPPED, (A.FORGET,)),
    (frozenset({S.STOPPED, S.RAMPING}), E.RESET, None, (A.FORGET,)),
    (STARTED, E.RESET, S.HOLDING, (A.FORGET,)),
    # Not while holding: that may go on by itself.
    (_WAITS, E.LOAD, None, (A.FORGET,)),
    # the ticks
    (STARTED, E.RAMP, S.RAMPING, (A.SEND,)),
    (STARTED, E.WARM_UP, S.WARMING_UP, (A.HOLD,)),
    (STARTED, E.BLEND, S.BLENDING, (A.SEND,)),
    (STARTED, E.COMMAND, S.COMMANDING, (A.SEND,)),
    (STARTED, E.LED, S.TAKEN_OVER, (A.SEND,)),
    # A ramp does not go on by itself: a person may step up to an arm that has stopped.
    (frozenset({S.RAMPING}), E.PREVENTED, S.STOPPED, (A.HOLD,)),
    (STARTED, E.PREVENTED, S.HOLDING, (A.HOLD,)),
    (STARTED, E.TIMEOUT, S.STOPPED, (A.HOLD,)),
    (STARTED, E.TIME_LIMIT, S.STOPPED, (A.HOLD,)),
    # A run that waited does not go on either, long after somebody asked for it.
    (frozenset({S.HOLDING}), E.WAITED, S.STOPPED, ()),
    (frozenset({S.HOLDING, S.STALLED}), E.AWAY, S.STOPPED, ()),
    (STARTED, E.AWAY, S.STOPPED, (A.HOLD,)),
    (STARTED, E.FAULT, S.FAULTED, (A.HOLD,)),
    (frozenset({S.STOPPED, S.FAULTED}), E.FAULT, S.FAULTED, ()),
    (frozenset({S.INACTIVE, S.INACTIVE_FAULTED}), E.FAULT, S.INACTIVE_FAULTED, ()),
    (frozenset({S.RAMPING}), E.STALL, S.STOPPED, (A.HOLD,)),
    (STARTED, E.STALL, S.STALLED, ()),
)


class Refused(RuntimeError):
    """The state does not allow the event."""


def transition(state: State, event: Event) -> tuple[State, tuple[Action, ...]]:
    """The state after the event, and what has to be done.

    :raises Refused: the table has no row for it.
    """
    for sources, on, target, actions in TABLE:
        if event is on and state in sources:
            return (state if target is None else target), actions
    raise Refused(f"{event.value} is refused while {state.value}")


#: What a person does next to have commands sent.
NEXT_STEP = {
    S.UNCONFIGURED: "configure it (ros2 lifecycle set), or start the node with autostart:=true",
    S.INACTIVE: "activate it (ros2 lifecycle set)",
    S.INACTIVE_FAULTED: "activate it, then call ~/reset and ~/start",
    S.STOPPED: "call ~/start",
    S.FAULTED: "call ~/reset, then ~/start",
    S.TAKEN_OVER: "to hand back, call ~/takeover with false",
    S.STALLED: "has the simulation been paused, or /clock lost its publisher?",
    S.FINALIZED: "end the process, and start another",
}

_LEVELS: dict[State, Level] = {
    S.HOLDING: "waiting",
    S.STALLED: "faulted",
    S.FAULTED: "faulted",
    S.INACTIVE_FAULTED: "faulted",
}


@dataclass(frozen=True)
class Status:
    """The state, why it is that one, and what to do.

    :param reason: what prevents commands, for a person.
    :param code: the same as a stable name.
    :param blocked: while stopped: what would keep ~/start from commanding.
    :param blocked_by: the same as a stable name.
    """

    state: State
    reason: str = ""
    code: str = ""
    dry_run: bool = False
    blocked: str = ""
    blocked_by: str = ""

    @property
    def level(self) -> Level:
        if self.code == "no_tick":
            return "faulted"
        return "waiting" if self.blocked else _LEVELS.get(self.state, "fine")

    @property
    def name(self) -> str:
        """The state's word, and whether it is a dry run."""
        dry = self.dry_run and self.state in ACTIVE
        return f"{self.state.value} (dry run)" if dry else self.state.value

    @property
    def text(self) -> str:
        """State, reason, next step; of a latched fault, whose reason may be long, the step
        first."""
        step = NEXT_STEP.get(self.state, "")
        if self.blocked:
            step += f"; not yet: {self.blocked}"
        if self.state in LATCHED:
            return ": ".join(filter(None, (self.name, step, self.reason)))
        return ": ".join(filter(None, (self.name, "; ".join(filter(None, (self.reason, step))))))

    @property
    def brief(self) -> str:
        """For a picture: the reason by its code."""
        if self.blocked_by:
            return f"{self.name}; not yet: {self.blocked_by}"
        return f"{self.name}: {self.code}" if self.code else self.name
