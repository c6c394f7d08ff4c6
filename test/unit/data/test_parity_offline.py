# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Bag and live see the same, and both see what the rule says: random recordings, good and bad.

The live side here is `ObservationBuffer` fed in order of arrival; test/ros/test_parity.py does it
over DDS. The oracle knows neither: it looks at every message for every tick.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import bag_making as make
import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sarnn_ros.data.episodes import Episode, read_bag
from sarnn_ros.data.observe import Missing, ObservationBuffer
from sarnn_ros.errors import DecodeError
from sarnn_ros.spec import Spec

MS = 1_000_000


@dataclass(frozen=True)
class Sent:
    """One message. `kind`: good; void: malformed or not finite; unstamped."""

    camera: bool
    stamp: int
    receive: int
    kind: str
    index: int

    def message(self) -> object:
        stamp = 0 if self.kind == "unstamped" else self.stamp
        if self.camera:
            message = make.image(stamp, make.colour(self.index))
            if self.kind == "void":
                message.step += 1
            return message
        values = [self.index / 7, np.nan if self.kind == "void" else -self.index]
        return make.joint_state(stamp, values)


@st.composite
def sendings(draw: st.DrawFn) -> list[Sent]:
    """Two streams of about a second, with whatever goes wrong."""
    sent: list[Sent] = []
    for camera, period in ((True, 33), (False, 20)):
        offset = draw(st.integers(0, 150))
        step_at = draw(st.none() | st.integers(10, 25))
        for index in range(draw(st.integers(20, 40))):
            if draw(st.integers(0, 19)) == 0:
                continue  # dropped
            time = offset + index * period + draw(st.integers(-12, 12))
            if step_at is not None and index >= step_at:
                time += draw(st.sampled_from([0, 0, 0, -40, 400]))  # the clock was set
            if draw(st.integers(0, 9)) == 0 and sent and sent[-1].camera == camera:
                stamp = sent[-1].stamp  # the same stamp again
            else:
                stamp = make.START + time * MS + draw(st.sampled_from([0, 0, 1, -1]))
            receive = max(stamp, make.START) + draw(st.integers(0, 30)) * MS
            kind = draw(st.sampled_from(["good"] * 12 + ["void", "unstamped"]))
            sent.append(Sent(camera, stamp, receive, kind, index))
    assume(sent)
    return sorted(sent, key=lambda one: one.receive)


def time_of(one: Sent, clock: str) -> int | None:
    """The stamp that orders the message, None if it may not be used."""
    if one.kind == "void" or (one.kind == "unstamped" and clock == "header"):
        return None
    return one.stamp if clock == "header" else one.receive


def oracle(sent: list[Sent], tick: int, max_age: int, clock: str) -> Sent | None:
    best: tuple[int, int, Sent] | None = None
    for order, one in enumerate(sent):
        stamp = time_of(one, clock)
        if stamp is None:
            continue
        if stamp <= tick and (best is None or (stamp, order) > best[:2]):
            best = (stamp, order, one)
    return best[2] if best and tick - best[0] <= max_age else None


def read(sent: list[Sent], spec: Spec) -> Episode | str:
    recording = make.Recording()
    for one in sent:
        topic, kind = ("/image_raw", make.IMAGE) if one.camera else ("/joint_states", make.JOINTS)
        recording.add(topic, kind, one.receive, one.message())
    with tempfile.TemporaryDirectory() as folder:
        episodes, report = read_bag(recording.write(Path(folder) / "bag"), spec)
    return episodes[0] if episodes else report.problems[0].found


def watch(sent: list[Sent], spec: Spec, ticks: list[int]) -> list[object]:
    """What the live side observes at each tick, everything stamped up to then having arrived."""
    buffer = ObservationBuffer(spec)
    waiting = list(sent)
    seen: list[object] = []
    for tick in ticks:
        # Up to 30 ms of transport; the arrival of later messages must change nothing.
        while waiting and waiting[0].receive <= tick + 31 * MS:
            one = waiting.pop(0)
            push = (
                (lambda m, t: buffer.push_image("front", m, t))
                if one.camera
                else (lambda m, t: buffer.push_joints(0, m, t))
            )
            try:
                push(one.message(), one.receive)
            except DecodeError:
                assert one.kind != "good"
        seen.append(buffer.observe(tick))
    return seen


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sendings(), st.sampled_from(["header", "receive"]), st.sampled_from([0.05, 0.1, 0.2]))
def test_bag_live_and_rule_agree(sent: list[Sent], clock: str, max_age: float):
    spec = make.spec(clock=clock, rate=20.0, max_age=max_age)
    period = spec.period_ns
    cameras = [one for one in sent if one.camera]
    joints = [one for one in sent if not one.camera]
    start = min(min(one.stamp, one.receive) for one in sent) // period * period
    grid = list(range(start, max(one.receive for one in sent) + period, period))
    expected = [
        (oracle(cameras, tick, spec.cameras[0].max_age_ns, clock),
         oracle(joints, tick, spec.joints[0].max_age_ns, clock))
        for tick in grid
    ]  # fmt: skip

    for tick, seen, (image, state) in zip(grid, watch(sent, spec, grid), expected, strict=True):
        if image is None or state is None:
            assert isinstance(seen, Missing) and seen.tick_ns == tick
            assert ("front" in seen.reasons) == (image is None)
            assert ("joint_states" in seen.reasons) == (state is None)
        else:
            assert np.array_equal(seen.images["front"], make.colour(image.index))
            assert seen.joints.tolist() == [state.index / 7, -state.index]

    # The bag ends with its last message: no tick comes after that.
    end = max((time for one in sent if (time := time_of(one, clock)) is not None), default=0)
    rows = [row for row, pair in enumerate(expected) if None not in pair and grid[row] <= end]
    got = read(sent, spec)
    if len(rows) < 3:
        assert isinstance(got, str)
    elif rows[-1] - rows[0] + 1 != len(rows):
        assert isinstance(got, str) and "hole" in got
    else:
        assert isinstance(got, Episode), got
        assert got.ticks.tolist() == [grid[row] for row in rows]
        assert got.joints.tolist() == [[expected[r][1].index / 7, -expected[r][1].index]
                                       for r in rows]  # fmt: skip
        for image, row in zip(got.images["front"], rows, strict=True):
            assert np.array_equal(image, make.colour(expected[row][0].index))
