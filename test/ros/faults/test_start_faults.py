# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Faults while the arm ramps to the demonstrated start pose: whatever it is, the ramp ends, and
does not go on when the fault is resolved."""

from __future__ import annotations

import numpy as np
import pytest
from arms import assert_silent
from in_time import NotInTime, assert_in_time
from outcomes import Outcomes
from stream_faults import FAULTS as CATALOGUE

pytestmark = pytest.mark.slow

#: The demonstrations began between 0.2 and 0.4 rad: 0.8 rad to go.
START = (-0.6, 0.3, 0.3)
SPEED = 0.5
NAMES = (
    "joint states stop",
    "a position is NaN",
    "a joint teleports",
    "two publishers of joint states",
    "the arm is blocked",
    "images stop",
    "the image is resized",
    "the controller goes away",
)
FAULTS = [fault for fault in CATALOGUE if fault.name in NAMES]
CODES = {"the arm is blocked": "guard"}


@pytest.fixture(scope="module")
def arm(policy, make_arms):
    arms = make_arms(policy, ["joint_state"], start=START, start__ramp_speed=SPEED)
    return arms["joint_state"]


@pytest.fixture(scope="session")  # a test that begins anew may have a new rig, and adds to this
def outcomes():
    return Outcomes("start", ("while ramping",))


def start(arm, wait):
    """The first command of a ramp that has begun. A machine that keeps this robot's messages back
    interrupts a ramp as well, and rightly: then it is begun again."""
    for _ in range(5):
        arm.robot.catch_up()  # the hold of a ramp that was interrupted is not of the next one
        before, heard = len(arm.robot.commands), arm.heard
        assert_in_time(arm.call("start").success, arm.process.output)
        wait(
            lambda before=before, heard=heard: (
                len(arm.robot.commands) >= before + 3
                or (arm.heard >= heard + 2 and arm.message.startswith("stopped"))
            ),
            lambda: arm.process.output,
        )
        if len(arm.robot.commands) >= before + 3:
            return arm.robot.commands[before]
    raise NotInTime(arm.process.output)


def begin(fault, arm, wait):
    """The fault while the arm ramps, until the node has told it. What should latch does so only
    while it ramps: where the machine kept messages back and interrupted that ramp before, it is
    all done again."""
    latches = fault.effect == "latches"
    for _ in range(5):
        start(arm, wait)
        heard, hiccups = arm.heard, arm.hiccups
        fault.begin(arm)
        wait(
            lambda heard=heard: (
                arm.faulted or (arm.heard >= heard + 2 and arm.message.startswith("stopped"))
            ),
            lambda: f"{arm.message}\n{arm.process.output}",
        )
        if arm.faulted == latches:
            return
        assert latches and arm.hiccups > hiccups, arm.process.output
        arm.robot.mend()
        assert_silent(arm, wait)  # and where it moved to is seen before the next run
    raise NotInTime(arm.process.output)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "_"))
def test_fault(fault, arm, outcomes, wait):
    arm.call("stop")
    arm.robot.reset()
    assert arm.call("reset").success
    begin(fault, arm, wait)
    stopped = fault.effect != "latches"
    assert_silent(arm, wait)
    arm.robot.mend()
    assert_silent(arm, wait)
    if not stopped:
        assert not arm.call("start").success
        assert arm.call("reset").success
        assert_silent(arm, wait)
    # From where the arm is, which after a teleport is where it always was.
    first = start(arm, wait)
    assert first.position[0] - first.present[0] == pytest.approx(SPEED / 10, abs=0.02)
    code = CODES.get(fault.name, fault.code)
    outcomes.enter(fault.name, "while ramping", "stops" if stopped else "latches", code)
    arm.promises.check(arm.robot)
    reached = np.array([command.position[0] for command in arm.robot.commands])
    assert reached.max() < 0.2, "it never arrived"


def test_the_table_in_the_documentation_is_what_happened(outcomes):
    outcomes.compare(len(FAULTS))
