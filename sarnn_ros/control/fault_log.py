# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Says in the log what keeps the node from commanding, and when it is over. No ROS here; when a
fault is one, others say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sarnn_ros.control.faults import Changes, Fault


class FaultLog:
    """Whatever is not said because the same was said a moment ago is said later, if it is still
    true: a log must not end with "over" while the robot holds. For the control thread only.

    :param say: logs, unless it has just logged the like: takes level, code and text, and returns
        whether it did.
    """

    def __init__(self, say: Callable[[str, str, str], bool]) -> None:
        self._say = say
        self._said: dict[tuple[bool, str], Fault] = {}  # that are on, by the log

    def see(self, changes: Changes, active: Sequence[Fault]) -> None:
        """:param changes: of this tick; :param active: all faults that are on now."""
        on = {(fault.hard, fault.code): fault for fault in active}
        for fault in changes.appeared:  # anew, even if it was never seen to be over
            self._said.pop((fault.hard, fault.code), None)
        for key, fault in on.items():
            level, remedy = "warning", ""
            if fault.hard:
                level, remedy = "error", "; call ~/reset, then ~/start"
            if key not in self._said and self._say(
                level, f"{level}:{fault.code}", f"no command: {fault.text}{remedy}"
            ):
                self._said[key] = fault
        for key, fault in list(self._said.items()):
            if key in on:
                continue
            # A hard one ends by ~/reset, whose answer is logged.
            if fault.hard or self._say("info", f"over:{fault.code}", f"over: {fault.text}"):
                del self._said[key]
