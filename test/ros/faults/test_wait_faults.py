# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What keeps a started arm from being commanded ends the run after `start.wait`: long after
somebody asked for it, nothing moves by itself. And a start far from where the demonstrations began
is refused."""

from __future__ import annotations

import pytest
from arms import assert_silent
from outcomes import Outcomes
from stream_faults import FAULTS as CATALOGUE

pytestmark = pytest.mark.slow

NAMES = (
    "joint states stop",
    "images stop",
    "two publishers of images",
    "the controller goes away",
    "another node commands, too",
)
FAULTS = [fault for fault in CATALOGUE if fault.name in NAMES]
WAIT = 0.8


@pytest.fixture(scope="module")
def arm(policy, make_arms):
    return make_arms(policy, ["joint_state"])["joint_state"]


@pytest.fixture(scope="session")  # a test that begins anew may have a new rig, and adds to this
def outcomes():
    return Outcomes("waits", ("at ~/start", "while commanding"))


def swing(arm, wait):
    """It commands, and from now on waits no longer than that."""
    parameter = ("/joint_state/sarnn", "start.wait")
    assert arm.robot.graph.set_parameter(*parameter, 600.0)[0]
    arm.swing(wait)
    assert arm.robot.graph.set_parameter(*parameter, WAIT)[0]


def ends_and_stays(arm, fault, wait, since=0):
    """The run ends with its reason, and does not go on when that has gone."""
    said = "stopped: nothing was commanded for as long as start.wait allows"
    wait(lambda: arm.message.startswith(said), lambda: f"{arm.message}\n{arm.process.output}")
    arm.process.wait_for(said, after=since)
    arm.robot.mend()
    wait(lambda: not arm.active_faults, lambda: f"{arm.active_faults}\n{arm.process.output}")
    seen = arm.robot.published
    wait(lambda: arm.robot.published > seen + 100 * WAIT, "more than it would have waited")
    assert_silent(arm, wait)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "_"))
def test_fault(fault, arm, outcomes, wait):
    swing(arm, wait)
    assert arm.call("stop").success
    fault.begin(arm)
    wait(lambda: fault.is_seen(arm), lambda: f"{arm.active_faults}\n{arm.process.output}")
    wait(lambda: arm.message.startswith("stopped: call ~/start; not yet: "), lambda: arm.message)
    # A tick under way while it was stopped may be counted only after that was said.
    seen = arm.robot.published
    wait(lambda: arm.robot.published > seen + 150, "the next count")
    since, sent = len(arm.process.output), arm.values["commands"]
    answer = arm.call("start")
    assert answer.success and answer.message.startswith("started: holding: ")
    assert f"the run ends after {WAIT:g} s of this (start.wait)" in answer.message
    ends_and_stays(arm, fault, wait, since)
    assert arm.values["commands"] == sent
    outcomes.enter(fault.name, "at ~/start", "stops", fault.code)

    swing(arm, wait)
    since = len(arm.process.output)
    fault.begin(arm)
    ends_and_stays(arm, fault, wait, since)
    outcomes.enter(fault.name, "while commanding", "stops", fault.code)
    arm.promises.check(arm.robot)


def test_the_table_in_the_documentation_is_what_happened(outcomes):
    outcomes.compare(len(FAULTS))


def test_far_from_the_start_pose_a_start_is_refused(arm, wait):
    """The demonstrations began between 0.2 and 0.4 rad; the trained range is 2 rad wide."""
    swing(arm, wait)
    assert arm.call("stop").success
    # What is still on its way would move it back.
    arm.robot.wait_for_hold(lambda: arm.process.output)
    with arm.robot.record:
        arm.robot.position[1] = arm.robot.goal[1] = 0.75
        seen = arm.robot.published
    wait(lambda: arm.robot.published > seen + 50, "the node has seen it")
    assert arm.call("reset").success  # it jumped
    wait(lambda: "not yet: joint2 is at 0.75" in arm.message, lambda: arm.message)
    before, answers = len(arm.robot.commands), []

    def is_refused():
        answers.append(arm.call("start"))
        return not answers[-1].success

    # Until joints come after the reset nobody knows where it is: then the next tick judges.
    wait(is_refused, lambda: arm.message)
    for words in ("not started: joint2 is at 0.75, 0.35 rad or m from", "start.ramp_speed"):
        assert words in answers[-1].message
    assert_silent(arm, wait)
    assert len(arm.robot.commands) == before
    name = "/joint_state/sarnn"
    assert arm.robot.graph.set_parameter(name, "start.margin", 1.0)[0]
    assert arm.call("start").success
    wait(
        lambda: len(arm.robot.commands) > before or "refused" in arm.message,
        lambda: arm.process.output,
    )
