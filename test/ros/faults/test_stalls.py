# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The process is stopped at a random moment and goes on seconds later, while the arm was moved:
nothing that it had been about to send leaves, and nothing moves before somebody says so."""

from __future__ import annotations

import random
import signal

import pytest
import test_stream_faults as streams
from outcomes import Outcomes
from test_process_faults import is_silent

ROUNDS = 6
FAULT = "the process is stopped for a while"


@pytest.fixture(scope="module")
def arms(policy, start_node, make_robot, graph, wait):
    from diagnostic_msgs.msg import DiagnosticArray

    names = streams.INTERFACES
    arms = {name: streams.Arm(name, policy, start_node, make_robot) for name in names}
    for arm in arms.values():
        graph.node.create_subscription(DiagnosticArray, "/diagnostics", arm.hear, 50)
        wait(lambda arm=arm: arm.robot.commands, lambda arm=arm: arm.process.output)
    return arms


@pytest.fixture(scope="module")
def outcomes():
    return Outcomes("stalls", streams.INTERFACES)


@pytest.mark.parametrize("interface", streams.INTERFACES)
def test_stopped_and_gone_on(interface, arms, outcomes, wait):
    arm, choice = arms[interface], random.Random(interface)
    robot = arm.robot
    for _ in range(ROUNDS):
        robot.reset()
        assert arm.call("reset").success
        assert arm.call("start").success, arm.process.output
        wait(lambda: len(robot.commands) >= 5, lambda: arm.process.output)
        published = robot.published + choice.randrange(20)
        wait(lambda until=published: robot.published > until, "a moment within a tick")
        arm.process.send(signal.SIGSTOP)
        assert is_silent(robot, wait, ticks=14)
        with robot.record:
            robot.position[0] -= 0.8
        arm.process.send(signal.SIGCONT)
        wait(
            lambda: arm.faulted and "stalled" in arm.active_faults,
            lambda: f"{arm.message}\n{arm.process.output}",
        )
        streams.assert_silent(arm, wait)
        assert not arm.call("start").success
        arm.promises.check(robot)
    outcomes.enter(FAULT, interface, "latches", "stalled")


def test_the_table_in_the_documentation_is_what_happened(outcomes):
    outcomes.compare(1)
