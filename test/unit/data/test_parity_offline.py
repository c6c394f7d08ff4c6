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

from sarnn_ros.data.dataset import Episode
from sarnn_ros.data.reading import read_bag
from sarnn_ros.spec import NANOSECONDS, Spec
from sarnn_ros.streams.observe import Missing, Observation, ObservationBuffer

MS = 1_000_000


@dataclass(frozen=True)
class Sent:
    """One message. `kind`: good; void: malformed or not finite; unstamped."""

    camera: bool
    stamp: int
    receive: int
    kind: str
    index: int

    @property
    def topic(self) -> str:
        return "image_raw" if self.camera else "joint_states"

    def message(self) -> object:
        stamp = 0 if self.kind == "unstamped" else self.stamp
        if self.camera:
            message = make.image(stamp, make.colour(self.index))
            if self.kind == "void":
                message.step += 1
            return message
        values = [self.index / 7, np.nan if self.kind == "void" else -self.index]
        message = make.joint_state(stamp, values)
        message.effort = np.array(self.effort)
        return message

    @property
    def effort(self) -> list[float]:
        """Of every third message none, of others not all."""
        return [[], [np.inf, self.index], [self.index / 3, 2.0]][self.index % 3]


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


def felt(effort: list[float] | np.ndarray | None) -> np.ndarray:
    """What must be known of the two joints' efforts: nothing is NaN."""
    if effort is None or not len(effort):
        return np.full(2, np.nan)
    return np.where(np.isfinite(effort), effort, np.nan)


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
            if buffer.push(one.topic, one.message(), one.receive).refused:
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
            assert seen.state.tolist() == [state.index / 7, -state.index]
            np.testing.assert_array_equal(felt(seen.effort), felt(state.effort))

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
        efforts = [felt(None)] * len(rows) if got.efforts is None else got.efforts
        assert (got.efforts is None) == all(not expected[row][1].effort for row in rows)
        for effort, row in zip(efforts, rows, strict=True):
            np.testing.assert_array_equal(effort, felt(expected[row][1].effort))
        for image, row in zip(got.images["front"], rows, strict=True):
            assert np.array_equal(image, make.colour(expected[row][0].index))


def test_more_joint_states_than_ticks_need():
    """A slow policy on a fast arm, 400 joint states within the time that a tick may look back."""
    sent = [
        Sent(camera, make.START + index * period * MS, make.START + (index * period + 5) * MS,
             "good", index)
        for camera, period, count in ((True, 40, 50), (False, 1, 2000)) for index in range(count)
    ]  # fmt: skip
    sent.sort(key=lambda one: one.receive)
    spec = make.spec(rate=5.0)
    episode = read(sent, spec)
    assert isinstance(episode, Episode)
    seen = watch(sent, spec, episode.ticks.tolist())
    for row, one in enumerate(seen):
        assert isinstance(one, Observation), one
        assert one.stamps["joint_states"] == one.tick_ns
        assert episode.joints[row].tobytes() == one.state.tobytes()
        assert episode.images["front"][row].tobytes() == one.images["front"].tobytes()


def live_on_images(sent: list[Sent], spec: Spec) -> list[Observation | Missing]:
    """The live side where images are ticks: each image that is one is observed as it arrives,
    when every joint state stamped up to it has."""
    buffer = ObservationBuffer(spec)
    joints = [one for one in sent if not one.camera]
    seen: list[Observation | Missing] = []
    for one in (one for one in sent if one.camera):
        now = one.receive
        while joints and joints[0].receive <= now + 31 * MS:
            if joints[0].receive > now and spec.clock == "receive":
                break  # not before the image
            other = joints.pop(0)
            buffer.push("joint_states", other.message(), min(other.receive, now))
        if (tick := buffer.push("image_raw", one.message(), now).tick_ns) is not None:
            seen.append(buffer.observe(tick))
    return seen


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sendings(), st.sampled_from(["header", "receive"]), st.sampled_from([15.0, 20.0, 30.0]))
def test_bag_and_live_agree_where_images_are_ticks(sent: list[Sent], clock: str, rate: float):
    # Void images and late arrivals included: images up to 0.5 s old are still admitted.
    spec = make.spec(clock=clock, rate=rate, tick="image", max_age=0.5)
    seen = live_on_images(sent, spec)
    ticks = [one.tick_ns for one in seen]
    assert (np.diff(ticks) > 0).all()
    stamps = [stamp for one in sent if one.camera and (stamp := time_of(one, clock)) is not None]
    assert set(ticks) <= set(stamps) and ticks[:1] == stamps[:1]

    usable = [row for row, one in enumerate(seen) if isinstance(one, Observation)]
    silence = 0.5 * NANOSECONDS + spec.period_ns
    got = read(sent, spec)
    if len(usable) < 3:
        assert isinstance(got, str)
    elif usable[-1] - usable[0] + 1 != len(usable):
        assert isinstance(got, str) and "hole" in got
    elif (np.diff([ticks[row] for row in usable]) > silence).any():
        assert isinstance(got, str) and "no image" in got
    else:
        assert isinstance(got, Episode), got
        assert got.ticks.tolist() == [ticks[row] for row in usable]
        for row, one in enumerate(seen[usable[0] : usable[-1] + 1]):
            assert got.joints[row].tobytes() == one.state.tobytes()
            assert got.images["front"][row].tobytes() == one.images["front"].tobytes()


def test_a_camera_that_stops_for_a_while_is_a_hole_where_images_are_ticks(tmp_path: Path):
    lost = range(20, 32)  # 0.43 s from one to the next
    recording = make.recording(drop_images=lost)
    bag = recording.write(tmp_path / "bag")
    episodes, report = read_bag(bag, make.spec(tick="image", max_age=0.2))
    assert not episodes and "no image at 1 of" in report.problems[0].found
    (episode,), _ = read_bag(bag, make.spec(tick="image", max_age=0.4))
    assert np.diff(episode.ticks).max() > 0.4 * NANOSECONDS  # bridged by nothing: a late tick
    parts, _ = read_bag(bag, make.spec(tick="image", max_age=0.2, episodes={"gap": 0.3}))
    assert [len(part.ticks) for part in parts] == [7, 10]


def test_the_order_of_arrival_decides_where_images_are_ticks(tmp_path: Path):
    """Each image is overtaken by the next: the bag must not think that it could be put right."""
    sent = [
        Sent(camera, make.START + index * 20 * MS, make.START + (index ^ late) * 20 * MS + 40 * MS,
             "good", index)
        for camera, late in ((True, 1), (False, 0)) for index in range(60)
    ]  # fmt: skip
    sent.sort(key=lambda one: one.receive)
    spec = make.spec(tick="image")
    got = read(sent, spec)
    assert isinstance(got, Episode)
    seen = live_on_images(sent, spec)
    assert got.ticks.tolist() == [one.tick_ns for one in seen]
    assert got.ticks[0] == make.START + 20 * MS
