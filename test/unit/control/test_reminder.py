# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""When a waiting node says what it waits for."""

from __future__ import annotations

from sarnn_ros.control.reminder import Reminder


def said(states: dict[int, tuple[str, str]], seconds: int) -> list[tuple[int, str]]:
    """What is logged and when, looked at once a second; `states` from a second on."""
    now, log, current = [0], [], ("", "")
    reminder = Reminder(lambda text: log.append((now[0], text)), lambda: float(now[0]))
    for now[0] in range(seconds):
        current = states.get(now[0], current)
        reminder.see(*current)
    return log


def test_often_at_first_and_then_once_a_minute():
    log = said({0: ("inactive", "activate it")}, 300)
    assert [second for second, _ in log] == [3, 9, 21, 45, 93, 153, 213, 273]
    assert {text for _, text in log} == {"activate it"}


def test_another_state_begins_anew_and_the_newest_reason_is_said():
    log = said({0: ("holding", "no image"), 5: ("stopped", "a"), 7: ("stopped", "b")}, 10)
    assert log == [(3, "no image"), (8, "b")]


def test_nothing_is_said_while_it_commands():
    assert said({0: ("commanding", "")}, 300) == []
