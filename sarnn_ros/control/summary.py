# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the active node does at this moment, in a line: for diagnostics and overlay. No ROS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sarnn_ros.control.controller import Controller
from sarnn_ros.control.faults import Fault

Level = Literal["fine", "waiting", "faulted"]


@dataclass(frozen=True)
class Summary:
    """:param state: a word or two; :param fault: what keeps it from commanding, if anything."""

    level: Level
    state: str
    fault: Fault | None = None
    remedy: str = ""

    @property
    def text(self) -> str:
        """For people who can read a sentence."""
        if self.fault is None:
            return f"{self.state}{self.remedy}"
        return f"{self.state}: {self.fault.text}{self.remedy}"

    @property
    def brief(self) -> str:
        """For a picture: the fault by its code."""
        return self.state if self.fault is None else f"{self.state}: {self.fault.code}"


def summarise(controller: Controller, *, dry_run: bool) -> Summary:
    """Of an active node."""
    if stalled := controller.stalled_s:  # what was true at the last tick is not news any more
        remedy = ": has the clock stopped, or does the network hang?"
        return Summary("faulted", f"no tick for {stalled:.1f} s", remedy=remedy)
    faults = controller.faults.active  # hard ones first
    if faults and faults[0].hard:
        return Summary("faulted", "faulted", faults[0], "; call ~/reset, then ~/start")
    if not controller.running:
        return Summary("fine", "stopped", remedy=": call ~/start")
    if faults:
        return Summary("waiting", "holding", faults[0])
    return Summary("fine", "dry run" if dry_run else controller.phase or "commanding")
