# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The table of the states: complete, unambiguous, and the one in the documentation."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import pytest

from sarnn_ros.control.state import (
    ACTIVE,
    LATCHED,
    MAY_COMMAND,
    NEXT_STEP,
    STARTED,
    TABLE,
    Action,
    Event,
    Refused,
    State,
    Status,
    transition,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "reference" / "states.md"
#: What a tick may lead to.
TICK = {
    Event.RAMP, Event.WARM_UP, Event.BLEND, Event.COMMAND, Event.LED, Event.PREVENTED
}  # fmt: skip


def after(state: State, event: Event) -> tuple[State, tuple[Action, ...]] | None:
    try:
        return transition(state, event)
    except Refused:
        return None


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_safety_of_every_transition(state, event):
    result = after(state, event)
    if result is None:
        return
    then, actions = result
    if Action.SEND in actions:
        assert event in TICK and state in STARTED and then in MAY_COMMAND
    if then in MAY_COMMAND and then is not state:
        assert Action.SEND in actions, "only a tick leads into a state that commands"
    if state in LATCHED and then not in LATCHED:
        assert event in (Event.RESET, Event.CLEANUP)
        assert then not in STARTED, "a reset alone moves nothing"
    if then in STARTED and state not in STARTED:
        assert event in (Event.START, Event.ACTIVATE_AND_START)
        assert then is State.HOLDING and Action.BEGIN in actions
    if (
        state in MAY_COMMAND
        and then not in MAY_COMMAND
        and event not in (Event.START, Event.RESET)
    ):
        assert Action.HOLD in actions or event is Event.STALL


@pytest.mark.parametrize("state", State)
def test_what_must_always_be_possible(state):
    assert after(state, Event.CLEANUP) == (
        State.UNCONFIGURED,
        (Action.HOLD,) if state in STARTED else (),
    )
    if state in ACTIVE:
        assert after(state, Event.STOP) is not None
        assert after(state, Event.RESET) is not None
        assert after(state, Event.FAULT)[0] is State.FAULTED
        assert after(state, Event.DEACTIVATE) is not None
    for event in TICK:
        assert (after(state, event) is not None) == (state in STARTED)
    assert (after(state, Event.START) is None) == (state in LATCHED or state not in ACTIVE)
    loads = after(state, Event.LOAD) is not None
    assert loads == (state not in STARTED | {State.UNCONFIGURED, State.FINALIZED})


def test_a_status_names_state_reason_and_next_step():
    assert Status(State.STOPPED).text == "stopped: call ~/start"
    assert Status(State.COMMANDING, dry_run=True).text == "commanding (dry run)"
    fault = Status(State.FAULTED, "a joint jumped", "jump", dry_run=True)
    assert fault.text == "faulted (dry run): call ~/reset, then ~/start: a joint jumped"
    assert fault.brief == "faulted (dry run): jump" and fault.level == "faulted"
    assert Status(State.HOLDING, "no image", "no_observation").level == "waiting"
    assert Status(State.COMMANDING, "no tick", "no_tick").level == "faulted"
    for state in set(State) - STARTED | {State.STALLED}:
        assert state in NEXT_STEP, "whoever waits for a person says for what"


def diagram() -> str:
    """The table for Mermaid. What starts in any state that is started is drawn once, from a box
    around them."""
    states: list[State] = [state for state in State if state is not State.FINALIZED]
    names: dict[State, str] = {state: state.name.title().replace("_", "") for state in states}
    lines = ["stateDiagram-v2", "    [*] --> Unconfigured"]
    lines += [
        f"    {names[state]}: {state.value}" for state in states if names[state] != state.value
    ]
    lines += ["    state Started {"]
    lines += [f"        {names[state]}" for state in states if state in STARTED]
    lines += ["    }"]
    for sources, event, target, actions in TABLE:
        if sources == frozenset(State):
            continue
        label = event.value + "".join(f" / {action.value}" for action in actions)
        starts = ["Started"] if sources >= STARTED else []
        rest = sources - STARTED if starts else sources
        starts += [names[state] for state in states if state in rest]
        lines += [
            f"    {start} --> {start if target is None else names[target]}: {label}"
            for start in starts
        ]
    return "\n".join(lines) + "\n"


def test_the_diagram_in_the_documentation_is_of_this_table():
    text = DOCUMENT.read_text(encoding="utf-8")
    begin, end = "```{mermaid}\n", "```\n"
    head, rest = text.split(begin)
    _, tail = rest.split(end, 1)
    wanted = head + begin + diagram() + end + tail
    if os.environ.get("SARNN_WRITE_DOCS"):
        DOCUMENT.write_text(wanted, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == wanted, "run with SARNN_WRITE_DOCS=1"
    for state in State:
        assert f"| `{state.value}` |" in text
