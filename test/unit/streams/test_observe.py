# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the live side says when it sees nothing, keeps, forgets, and does from several threads.

That it sees the right thing is test_parity_offline.py's business."""

from __future__ import annotations

import threading

import bag_making as make
import numpy as np
import pytest
from bag_making import SECOND, START

from sarnn_ros.data.reading import read_bag
from sarnn_ros.errors import DecodeError
from sarnn_ros.spec import parse_spec
from sarnn_ros.streams.observe import MAX_JOINTS, Missing, Observation, ObservationBuffer

MS = 1_000_000


def push(buffer: ObservationBuffer, topic: str, message: object, receive: int) -> None:
    """Raises what is refused."""
    for error in buffer.push(topic, message, receive).refused:
        raise error


def joints(buffer: ObservationBuffer, stamp: int, values=(1.0, 2.0), receive=None) -> None:
    push(buffer, "joint_states", make.joint_state(stamp, values), receive or stamp)


def image(buffer: ObservationBuffer, stamp: int, index: int = 0, receive=None) -> None:
    push(buffer, "image_raw", make.image(stamp, make.colour(index)), receive or stamp)


def reason(buffer: ObservationBuffer, tick: int, source: str) -> str:
    seen = buffer.observe(tick)
    assert isinstance(seen, Missing)
    return seen.reasons[source]


def test_everything_about_an_observation():
    buffer = ObservationBuffer(make.spec(width=8, height=8))
    image(buffer, START + 1, 7)
    joints(buffer, START + 2)
    seen = buffer.observe(START + 10)
    assert isinstance(seen, Observation)
    assert seen.tick_ns == START + 10 and seen.state.tolist() == [1.0, 2.0]
    assert seen.images["front"].shape == (8, 8, 3)
    assert np.array_equal(seen.sources["front"], make.colour(7))
    assert seen.stamps == {"front": START + 1, "joint_states": START + 2}
    assert seen.headers["front"].frame_id == "camera"


def test_reasons():
    buffer = ObservationBuffer(make.spec())
    assert reason(buffer, START, "front") == "no message has arrived on 'image_raw'"
    joints(buffer, START)
    image(buffer, START + 300 * MS)
    assert reason(buffer, START, "front") == "stamped 0.300 s in the future"
    assert reason(buffer, START + 350 * MS, "joint_states").startswith("0.350 s old, at most 0.1")
    with pytest.raises(DecodeError):
        joints(buffer, START + 340 * MS, (np.nan, 1.0))
    said = reason(buffer, START + 350 * MS, "joint_states")
    assert "no usable message" in said and "shoulder = nan" in said
    buffer.refuse("joint_states", "too large to be read")
    assert reason(buffer, START + 350 * MS, "joint_states").endswith("too large to be read")
    assert "front" not in buffer.observe(START + 350 * MS).reasons


def test_the_joints_alone_between_two_ticks():
    buffer = ObservationBuffer(
        parse_spec(
            {
                "cameras": [{"name": "front"}],
                "joints": [{"names": ["elbow"]}, {"topic": "hand", "names": ["shoulder"]}],
            }
        )
    )
    push(buffer, "joint_states", make.joint_state(START, [1.0, 2.0]), START)
    assert buffer.joints_at(START) is None, "one of two sources"
    push(buffer, "hand", make.joint_state(START + 50 * MS, [3.0, 4.0]), START + 50 * MS)
    assert buffer.joints_at(START + 40 * MS) is None, "it was not yet so then"
    assert buffer.joints_at(START + 60 * MS).tolist() == [2.0, 3.0]
    assert buffer.joints_at(START + 101 * MS) is None, "one is too old"


def test_a_void_message_leaves_the_valid_one_in_use():
    buffer = ObservationBuffer(make.spec())
    image(buffer, START, 3)
    joints(buffer, START)
    with pytest.raises(DecodeError):
        push(buffer, "image_raw", make.image(START + 1, make.colour(4), step=1), START + 1)
    with pytest.raises(DecodeError):
        joints(buffer, START + 1, (1.0,))
    seen = buffer.observe(START + 50 * MS)
    assert isinstance(seen, Observation) and np.array_equal(seen.images["front"], make.colour(3))


def test_an_image_that_only_decoding_finds_broken_voids_the_tick():
    buffer = ObservationBuffer(make.spec(type=make.COMPRESSED))
    joints(buffer, START)
    import cv2

    data = cv2.imencode(".jpg", make.colour(1))[1].tobytes()
    push(buffer, "image_raw", make.compressed(START, data), START)
    assert isinstance(buffer.observe(START + MS), Observation)
    cut = make.compressed(START + 2 * MS, data[: len(data) // 2])
    push(buffer, "image_raw", cut, START + 2 * MS)
    assert "cannot be decoded" in reason(buffer, START + 3 * MS, "front")
    assert isinstance(buffer.observe(START + MS), Observation)  # not the tick before


def test_the_crop_is_checked_at_arrival():
    buffer = ObservationBuffer(make.spec(crop={"x": 0, "y": 0, "width": 17, "height": 5}))
    with pytest.raises(DecodeError, match="exceeds the image of 16 x 12"):
        image(buffer, START)


def test_memory_is_bounded():
    buffer = ObservationBuffer(make.spec())
    for index in range(2000):
        joints(buffer, START + index * 10 * MS)
    assert len(buffer.sources[0].stamps) <= 25  # two periods of 0.1 s, and one before


def test_of_a_flood_a_tick_sees_the_right_message_or_none():
    buffer = ObservationBuffer(make.spec())
    image(buffer, START)
    count = MAX_JOINTS + 10
    for index in range(count):
        joints(buffer, START + index, (float(index), 0.0), receive=START + count)
    assert len(buffer.sources[0].stamps) == MAX_JOINTS
    for tick in (10, 2000, count - 1):
        assert buffer.observe(START + tick).state.tolist() == [tick, 0.0]
    assert "in the future" in reason(buffer, START + 9, "joint_states")


def test_when_the_clock_is_set_back_what_came_before_is_never_seen_again():
    buffer = ObservationBuffer(make.spec())
    late, early = START + 10 * SECOND, START
    image(buffer, late)
    joints(buffer, late)
    joints(buffer, early, (3.0, 4.0))
    image(buffer, early + MS)
    seen = buffer.observe(early + 2 * MS)
    assert isinstance(seen, Observation) and seen.state.tolist() == [3.0, 4.0]
    assert set(buffer.observe(late + MS).reasons) == {"front", "joint_states"}


@pytest.mark.parametrize("came", [True, False])
def test_the_clock_set_back_while_nothing_comes(came: bool):
    buffer = ObservationBuffer(make.spec())
    late, early = START + 10 * SECOND, START
    image(buffer, late)
    joints(buffer, late)
    if came:
        joints(buffer, early)
    buffer.rewind(early + MS)
    assert ("joint_states" in buffer.observe(early + MS).reasons) != came
    assert set(buffer.observe(late + MS).reasons) == {"front", "joint_states"}


def test_a_jump_between_two_messages_is_seen_also_if_no_tick_sees_them():
    buffer = ObservationBuffer(make.spec())
    image(buffer, START)
    for index, value in enumerate((0.0, 0.1, 0.2, 9.2, 0.3, 0.4)):
        joints(buffer, START + 10 * index * MS, (value, 1.0))
    seen = buffer.observe(START + 25 * MS)
    np.testing.assert_allclose(seen.jumps, [0.1, 0.0])
    seen = buffer.observe(START + 50 * MS)
    assert seen.state.tolist() == [0.4, 1.0]
    np.testing.assert_allclose(seen.jumps, [9.0, 0.0])
    joints(buffer, START + 250 * MS, (2.4, 1.0))  # two periods later: 1.0 per period
    image(buffer, START + 250 * MS)
    np.testing.assert_allclose(buffer.observe(START + 250 * MS).jumps, [1.0, 0.0])


def test_how_far_ahead_a_stamp_may_be_is_a_parameter():
    buffer = ObservationBuffer(make.spec(), max_ahead_ns=SECOND // 20)
    image(buffer, START + SECOND // 20, receive=START)
    for push in (image, joints):
        with pytest.raises(DecodeError, match=r"0.051 s in the future, at most 0.050 s") as caught:
            push(buffer, START + 51 * MS, receive=START)
        assert "watch.max_ahead" in str(caught.value)


@pytest.mark.parametrize(("ahead", "void"), [(0.2, False), (0.21, True), (3600.0, True)])
def test_a_stamp_too_far_ahead_is_void_live_and_in_a_bag(ahead: float, void: bool, tmp_path):
    """It would pass for fresh when it is due, and be old in truth."""
    buffer = ObservationBuffer(make.spec())
    if void:
        with pytest.raises(DecodeError, match="in the future"):
            joints(buffer, START + round(ahead * SECOND), receive=START)
    else:
        joints(buffer, START + round(ahead * SECOND), receive=START)
    made = make.recording()
    stamp = START + SECOND
    message = make.joint_state(stamp + round(ahead * SECOND), [5.0, 5.0])
    made.add("/joint_states", make.JOINTS, stamp, message)
    _, report = read_bag(made.write(tmp_path / "bag"), make.spec())
    assert ("/joint_states" in report.void) == void


def test_clear_forgets():
    buffer = ObservationBuffer(make.spec())
    image(buffer, START)
    joints(buffer, START)
    buffer.clear()
    assert isinstance(buffer.observe(START), Missing)


@pytest.mark.parametrize("clock", ["header", "receive"])
def test_clear_forgets_what_is_on_its_way(clock: str):
    """By its stamp; where stamps tell nothing, what comes is taken."""
    buffer = ObservationBuffer(make.spec(clock=clock))
    now = START + 50 * MS
    buffer.clear(now)
    image(buffer, now - MS, receive=now + MS)
    joints(buffer, now - MS, receive=now + MS)
    assert isinstance(buffer.observe(now + 2 * MS), Missing) == (clock == "header")
    assert buffer.images_since_ns == (now if clock == "header" else 0)
    image(buffer, now)
    joints(buffer, now)
    assert isinstance(buffer.observe(now + 2 * MS), Observation)


def test_clear_is_undone_by_a_clock_that_is_set_back():
    """Else nothing would be seen until it has come there again."""
    buffer = ObservationBuffer(make.spec())
    buffer.clear(START + 3600 * SECOND)
    image(buffer, START)
    joints(buffer, START)
    assert isinstance(buffer.observe(START + MS), Observation)


def test_a_topic_called_like_a_camera():
    spec = parse_spec({
        "cameras": [{"name": "gripper", "width": 16, "height": 12}],
        "joints": [{"topic": "gripper", "names": ["a"]}, {"names": ["b"]},
                   {"names": ["c"], "field": "velocity", "command": False}],
    })  # fmt: skip
    assert spec.joint_source_names == ("/gripper", "joint_states#1", "joint_states#2")
    buffer = ObservationBuffer(spec)
    push(buffer, "gripper", make.joint_state(START, [1.0], ["a"]), START)
    assert set(buffer.observe(START).reasons) == {"gripper", "joint_states#1", "joint_states#2"}


def test_drivers_of_an_arm_and_of_a_gripper_may_share_a_topic():
    buffer = ObservationBuffer(make.spec(joints=[{"names": ["a"]}, {"names": ["g"]}]))
    for name, refused in (("a", 0), ("g", 0), ("x", 2)):
        message = make.joint_state(START, [1.0], [name])
        assert len(buffer.push("joint_states", message, START).refused) == refused
    image(buffer, START)
    assert buffer.observe(START).state.tolist() == [1.0, 1.0]


def test_pushing_and_observing_at_once():
    buffer = ObservationBuffer(make.spec())
    stop = threading.Event()
    failures: list[BaseException] = []

    def push() -> None:
        try:
            index = 0
            while not stop.is_set():
                index += 1
                joints(buffer, START + index * 1000, (float(index), -float(index)))
                image(buffer, START + index * 1000, index)
        except BaseException as error:  # reported below, whatever it is
            failures.append(error)

    thread = threading.Thread(target=push)
    thread.start()
    try:
        found = 0
        for _ in range(20_000):
            seen = buffer.observe(START + 90 * MS)
            if isinstance(seen, Observation):
                found += 1
                assert seen.state[0] == -seen.state[1]
                index = (seen.stamps["front"] - START) // 1000
                assert seen.images["front"][0, 0, 0] == index % 256
            if found == 500:
                break
    finally:
        stop.set()
        thread.join()
    assert not failures and found == 500
