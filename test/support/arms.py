# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Real node processes with a robot each, one per command interface; and what has to be true of
them while there is a fault."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from in_time import NotInTime, assert_in_time, is_not_in_time
from promises import Promises
from ros_testing import JOINTS, SECOND

START = (0.3, 0.3, 0.3)
INTERFACES = ("joint_state", "joint_trajectory", "forward_position", "interpolated")
RATE = 50
#: The interface `interpolated`: set-points at 50 Hz, and a gripper that opens and closes.
INTERPOLATED = {
    "command_interface": "joint_state",
    "command_rate": RATE,
    "interpolation": "cubic",
    "gripper__joints": ["gripper"],
    "gripper__interface": "float64",
    "gripper__open": [-0.5],
    "gripper__closed": [0.9],
}
JOINTS_LATE = "no_observation:joint_states"
#: `watch.max_latency`, s: no command leaves later than this after its tick. 0.02 on a quiet
#: machine; on a busy one the nodes would hold too often for the tests to come to an end.
LATE = float(os.environ.get("SARNN_LATE", "0.1"))


class Arm:
    """One interface: its node process, its robot, and what diagnostics say of it."""

    def __init__(
        self,
        interface: str,
        policy: Any,
        start_node: Any,
        make_robot: Any,
        start: tuple[float, ...] = START,
        **options: Any,
    ) -> None:
        self.interface = interface
        parameters: dict[str, Any] = {"command_interface": interface}
        promised: dict[str, Any] = {"late_ns": round(LATE * SECOND)}
        gripper = ""
        if interface == "interpolated":
            parameters, gripper = INTERPOLATED, "gripper"
            grips = frozenset({*INTERPOLATED["gripper__open"], *INTERPOLATED["gripper__closed"]})
            promised |= {"interval_ns": SECOND // RATE, "grips": grips}
        self.promises = Promises.of(policy, **promised)
        self.robot = make_robot(
            JOINTS,
            start,
            interface=parameters["command_interface"],
            namespace=f"/{interface}/",
            gripper=gripper,
        )
        self.process = start_node(
            "-r",
            f"__ns:=/{interface}",
            policy=policy,
            watch__max_latency=LATE,
            **parameters,
            **options,
        )
        self.before = 0  # commands before the fault
        self.hiccups_before = 0
        self.missed = 0
        self.values: dict[str, int] = {}  # what diagnostics count
        self.heard = 0  # diagnostics
        self.message = ""
        self.active_faults: set[str] = set()
        self.faulted = False

    def hear(self, status: Any, part: str) -> None:
        """One of the node's statuses."""
        if part == "sarnn: timing":
            values = {item.key: item.value for item in status.values}
            self.missed = int(values["ticks missed"])
        if part == "sarnn: control":
            # First, since it is looked at after the others have been waited for.
            self.values = {
                item.key: int(item.value) for item in status.values if item.value.isdecimal()
            }
            self.heard += 1
            self.message = status.message
            self.faulted = status.level == status.ERROR
            self.active_faults = {
                value.key.removeprefix("fault ")
                for value in status.values
                if value.key.startswith("fault ")
            }

    @property
    def hiccups(self) -> int:
        """How often the node has missed a tick, or was late, or this robot's joints were."""
        late = (self.values.get(f"faults {code}", 0) for code in ("late", JOINTS_LATE))
        return self.missed + sum(late)

    def call(self, service: str) -> Any:
        return self.robot.graph.trigger(f"/{self.interface}/sarnn/{service}")

    def swing(self, wait: Any) -> None:
        """From the start position, without faults, until five commands of the new run have come.

        Where no core is free for a second, or a stopped neighbour blocks the middleware as long
        (docs/explanation/safety.md), the node latches as it should, and this begins again.
        """

        def swings() -> bool:
            last = self.robot.commands[-5:]
            is_new = [command.at_ns > started_ns for command in last]
            return len(last) == 5 and all(is_new) and not self.active_faults

        def stalled() -> bool:
            return "stalled" in self.active_faults

        started_ns = 0
        for _ in range(5):
            self.robot.reset()
            assert self.call("reset").success
            wait(lambda: not stalled(), lambda: self.process.output)
            assert_in_time(self.call("start").success, self.process.output)
            started_ns = time.time_ns()
            wait(lambda: swings() or stalled(), lambda: self.process.output)
            if swings():
                return
        raise NotInTime(f"it stalled five times by itself\n{self.process.output}")


@pytest.fixture(scope="module")
def make_arms(
    start_node: Any, make_robot: Any, graph: Any, wait: Any
) -> Callable[..., dict[str, Arm]]:
    """Starts a node and a robot for each of the interfaces; all of them command."""

    def make(
        policy: Any, interfaces: Sequence[str] = INTERFACES, **options: Any
    ) -> dict[str, Arm]:
        from diagnostic_msgs.msg import DiagnosticArray

        arms = {name: Arm(name, policy, start_node, make_robot, **options) for name in interfaces}

        def hear(message: Any) -> None:
            for status in message.status:
                interface, _, part = status.name.removeprefix("/").partition("/")
                if interface in arms:
                    arms[interface].hear(status, part)

        graph.node.create_subscription(DiagnosticArray, "/diagnostics", hear, 50)
        for arm in arms.values():
            wait(lambda arm=arm: arm.robot.commands, lambda arm=arm: arm.process.output)
        return arms

    return make


def at_once(arms: dict[str, Arm], work: Callable[[Arm], Any]) -> None:
    """The same with every arm, side by side: each of them waits most of the time.

    Of more than one failure the one is raised that is more than something not in time.
    """
    with ThreadPoolExecutor(len(arms)) as pool:
        done = [pool.submit(work, arm) for arm in arms.values()]
    errors = [error for one in done if (error := one.exception()) is not None]
    if errors:
        raise min(errors, key=is_not_in_time)


# -- what a fault leads to ----------------------------------------------------------------------


def sees_and_holds(arm: Arm, fault: Any, wait: Any) -> None:
    """The fault is named, no command comes, and all goes on by itself when it is resolved."""
    wait(
        lambda: fault.is_seen(arm),
        lambda: f"{fault.code}, has {arm.active_faults}\n{arm.process.output}",
    )
    if fault.none_from is not None:
        wait(lambda: fault.none_from(arm.robot), "the conflict")
    assert_silent(arm, wait)
    if fault.none_from is not None:
        assert_none_from(arm, fault.none_from(arm.robot))
    arm.robot.mend()
    seen = len(arm.robot.commands)
    wait(lambda: len(arm.robot.commands) > seen + 2, lambda: f"goes on\n{arm.process.output}")


def latches(arm: Arm, fault: Any, wait: Any) -> None:
    """The fault stays after its cause, ~/start does not help, and ~/reset moves nothing."""
    wait(
        lambda: arm.faulted and fault.is_seen(arm),
        lambda: f"{fault.code}, has {arm.active_faults}\n{arm.process.output}",
    )
    assert not arm.call("start").success
    arm.robot.mend()
    assert_silent(arm, wait)
    answer = arm.call("reset")
    assert answer.success and "~/start" in answer.message
    assert_silent(arm, wait)


def goes_on(arm: Arm, fault: Any, wait: Any) -> None:
    """Eight ticks in a row are commanded while it lasts.

    Not the first eight: on a busy machine this robot's own messages may come too late, and then
    the node holds, as it should. What harms does so again within any eight ticks.
    """
    wait(
        lambda: unbroken_ns(arm) >= 7 * arm.promises.period_ns and not arm.active_faults,
        lambda: f"{arm.active_faults}, {unbroken_ns(arm) / SECOND:.2f} s\n{arm.process.output}",
    )


def unbroken_ns(arm: Arm) -> int:
    """For how long commands have come without a gap, since the fault began."""
    times = [command.at_ns for command in list(arm.robot.commands)[arm.before :]]
    first = len(times) - 1
    while first > 0 and times[first] - times[first - 1] <= 1.5 * arm.promises.period_ns:
        first -= 1
    return times[-1] - times[first] if times else 0


def rests(arm: Arm, fault: Any, wait: Any) -> None:
    seen = arm.robot.published
    wait(lambda: arm.robot.published > seen + 100, "a second of bursts")


EFFECTS = {
    "holds": sees_and_holds,
    "latches": latches,
    "goes on": goes_on,
    "holds at times": rests,
}


def assert_joints(arm: Arm) -> None:
    wanted = {name for name in JOINTS if name != arm.robot.gripper}
    for command in arm.robot.commands:
        assert set(command.names) == wanted
    assert bool(arm.robot.grips) == bool(arm.robot.gripper)


def assert_silent(arm: Arm, wait: Any) -> None:
    """To be called when the fault was reported: no command is sent later than a period from now,
    for three ticks more.

    A hold, which repeats the last command, is of the first tick that finds the fault: it is sent
    a period and that tick's lateness from now, of which the node is allowed `late_ns`.
    """
    robot, promises, begin = arm.robot, arm.promises, arm.robot.now_ns
    if not robot.connected:
        assert_counts_none(arm, wait)
        return

    def allowed() -> int:
        return begin + promises.period_ns + promises.sending_ns(robot)

    def end() -> int:
        return allowed() + promises.late_ns + 3 * promises.period_ns

    wait(lambda: robot.now_ns > end(), "three ticks")
    robot.catch_up()
    with robot.record:
        last = list(robot.commands[-2:])
    is_hold = len(last) == 1 or (len(last) == 2 and last[1].holds(last[0]))
    late = (robot.last_ns - allowed() - is_hold * promises.late_ns) / SECOND
    text = f"a command {late:.3f} s later than allowed\n{arm.process.output}"
    # A hold may come late from a node that got no core. Only one: the next would be a command.
    assert_in_time(late <= 0.0 or not is_hold or late * SECOND > promises.period_ns, text)
    assert late <= 0.0, text


def assert_none_from(arm: Arm, since_ns: int) -> None:
    """Not one command was sent from that moment on; a hold, which repeats the last one, may be."""
    robot = arm.robot
    allowed = since_ns + arm.promises.both_ways_ns(robot)
    commands = list(robot.commands)
    for before, command in pairwise(commands):
        late = (command.at_ns - allowed) / SECOND
        assert late <= 0.0 or command.holds(before), (
            f"a command {late:.3f} s after the fault began\n{arm.process.output}"
        )


def assert_counts_none(arm: Arm, wait: Any) -> None:
    """As `assert_silent`, where nobody listens, by what the node itself counts."""
    commands, heard = arm.values["commands"], arm.heard
    wait(lambda: arm.heard >= heard + 2, "two more diagnostics, which come once a second")
    assert arm.values["commands"] == commands, arm.process.output
