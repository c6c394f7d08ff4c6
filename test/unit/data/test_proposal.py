# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The spec that is proposed from a bag: it must work as it is, and leave no joint out unsaid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bag_making as make
import cv2
import numpy as np
import pytest
from bag_making import SECOND, START, T

from sarnn_ros.data.bags import Bag
from sarnn_ros.data.proposal import _look_at_bag, camera_names, propose, propose_spec
from sarnn_ros.data.reading import read_bag
from sarnn_ros.data.topic_sample import Sample
from sarnn_ros.errors import BagError
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.spec import dump_spec, load_spec

MS = 1_000_000
ARRAY, TRAJECTORY = "std_msgs/msg/Float64MultiArray", "trajectory_msgs/msg/JointTrajectory"


def trajectory(stamp: int, values: list[float]) -> Any:
    point = T["trajectory_msgs/msg/JointTrajectoryPoint"](
        np.array(values), np.zeros(0), np.zeros(0), np.zeros(0),
        T["builtin_interfaces/msg/Duration"](0, 0),
    )  # fmt: skip
    return T[TRAJECTORY](make.header(stamp), list(make.NAMES), [point])


def array(stamp: int, values: list[float]) -> Any:
    layout = T["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    return T[ARRAY](layout=layout, data=np.array(values[::-1]))  # in the controller's order


def cameras_only(topic: str, _: int, message: Any) -> Any:
    return message if topic == "/image_raw" else None


def add_joints(made: make.Recording, topic: str, sign: float = 1.0, **more: Any) -> None:
    for index in range(200):
        stamp = START + index * 10 * MS
        message = make.joint_state(stamp, [sign * index / 100, -sign * index / 100], **more)
        made.add(topic, make.JOINTS, stamp + MS, message)


def test_it_works_as_it_is(tmp_path: Path):
    bag = make.recording().write(tmp_path / "bag")
    spec = propose_spec(bag).spec
    assert [one.topic for one in spec.cameras] == ["/image_raw"]
    assert (spec.cameras[0].width, spec.cameras[0].height) == (96, 72)
    assert spec.joints[0].names == make.NAMES and spec.clock == "header" and spec.rate == 10
    file = tmp_path / "spec.yaml"
    file.write_text(dump_spec(spec))
    assert load_spec(file) == spec
    assert load_dataset([bag], spec).episodes


def test_a_clock_that_was_never_set(tmp_path: Path):
    def change(topic, index, message):
        message.header.stamp.sec -= 1_600_000_000
        return message

    bag = make.recording(change=change).write(tmp_path / "bag")
    assert propose_spec(bag).spec.clock == "receive"


def test_commands_and_compressed_twins(tmp_path: Path):
    made = make.recording(1.0)
    for index in range(20):
        stamp = make.START + index * 50 * MS
        made.add("/arm_command", make.JOINTS, stamp, make.joint_state(stamp, [0.0, 1.0]))
        made.add("/image_raw/compressed", make.COMPRESSED, stamp,
                 make.compressed(stamp, b"\xff\xd8\xff"))  # fmt: skip
    spec = propose_spec(made.write(tmp_path / "bag")).spec
    assert spec.command.topic == "/arm_command" and len(spec.cameras) == 1
    assert spec.joints[0].topic == "/joint_states"


@pytest.mark.parametrize("drawn", ["/sarnn/attention_overlay", "/recorder/places"])
def test_a_controllers_reference_is_no_second_arm_and_a_drawn_picture_no_camera(
    drawn: str, tmp_path: Path
):
    made = make.recording()
    for index in range(200):
        stamp = START + index * 10 * MS
        lead = make.joint_state(stamp, [index / 100 + 0.3, -index / 100 + 0.3])
        made.add("/joint_references", make.JOINTS, stamp + MS, lead)
        image = make.image(stamp, np.zeros((12, 16, 3), np.uint8), "rgb8")
        made.add(drawn, make.IMAGE, stamp + MS, image)
    spec = propose_spec(made.write(tmp_path / "bag")).spec
    assert [one.topic for one in spec.joints] == ["/joint_states"] and not spec.joints[0].prefix
    assert (spec.target, spec.command.topic) == ("command", "/joint_references")
    assert [one.topic for one in spec.cameras] == ["/image_raw"]


def test_nothing_to_propose_from(tmp_path: Path):
    made = make.recording(change=lambda topic, _, m: None if topic == "/image_raw" else m)
    with pytest.raises(BagError, match=r"no camera.*joint_states"):
        propose_spec(made.write(tmp_path / "bag"))


def test_arm_and_gripper_alternating_on_one_topic(tmp_path: Path):
    made = make.recording()
    for index in range(200):
        stamp = START + index * 10 * MS + 5 * MS
        message = make.joint_state(stamp, [float(index > 100)], ["gripper"])
        made.add("/joint_states", make.JOINTS, stamp, message)
    bag = made.write(tmp_path / "bag")
    spec = propose_spec(bag).spec
    assert [one.names for one in spec.joints] == [make.NAMES, ("gripper",)]
    episodes, report = read_bag(bag, spec)
    assert report.verdict == "sound" and not report.void
    assert episodes[0].joints.shape[1] == 3
    stream = next(one for one in report.streams if one.topic == "/joint_states")
    assert stream.void == 0


def test_slow_joints_set_the_rate_and_images_of_a_whole_tick_are_allowed(tmp_path: Path):
    def thinned(topic: str, index: int, message: Any) -> Any:
        return message if topic == "/image_raw" or index % 40 == 0 else None

    spec = propose_spec(make.recording(change=thinned).write(tmp_path / "bag")).spec
    assert spec.rate < 10
    assert spec.cameras[0].max_age >= 1 / spec.rate


STEADY, ON_CHANGE = [2 * index for index in range(10)], [0, 0.5, 1, 8, 8.5, 9]


@pytest.mark.parametrize(
    ("times", "topics", "age"),
    [
        (STEADY, ["/hand/joint_states"], 6.0),
        (STEADY, ["/left/joint_states", "/right/joint_states"], 6.0),
        (ON_CHANGE, ["/left/joint_states", "/right/joint_states"], 11.1),  # to the bag's end
        (ON_CHANGE, ["/joint_states"], 11.1),
    ],
)
def test_a_gripper_that_publishes_now_and_then_does_not_slow_the_policy(
    times: list[float], topics: list[str], age: float, tmp_path: Path
):
    made = make.recording(20.0)
    for number, topic in enumerate(topics):
        for row, at in enumerate(times):
            stamp = START + int(at * SECOND)
            message = make.joint_state(stamp, [0.01 * row], [f"hand{number}"])
            made.add(topic, make.JOINTS, stamp + MS, message)
    bag = made.write(tmp_path / "bag")
    spec = (found := propose_spec(bag)).spec
    hands = [f"hand{number}" for number in range(len(topics))]
    ages = {one.names[0]: one.max_age for one in spec.joints}
    assert spec.rate == 10 and [*sorted(ages)] == [*hands, "shoulder"]
    assert ages["shoulder"] == pytest.approx(0.1, abs=0.01)
    assert [ages[hand] for hand in hands] == pytest.approx([age] * len(hands), abs=0.05)
    assert all(any(f"'{hand}' of '/" in note for note in found.notes) for hand in hands)
    episodes, report = read_bag(bag, spec)
    assert report.verdict == "sound" and not report.void
    assert [len(one.ticks) for one in episodes] == [pytest.approx(200, abs=2)]


@pytest.mark.parametrize("space", ["", "robot/"], ids=["of their own", "in a common namespace"])
def test_two_arms_with_equal_joint_names_get_a_prefix(space: str, tmp_path: Path):
    made = make.recording(change=cameras_only)
    add_joints(made, f"/{space}left/joint_states")
    add_joints(made, f"/{space}right/joint_states", sign=-1.0)
    # Of the left arm again, as an aggregator repeats it.
    add_joints(made, f"/{space}all/joint_states")
    bag = made.write(tmp_path / "bag")
    spec = propose_spec(bag).spec
    assert {one.topic for one in spec.joints} <= {
        f"/{space}{arm}/joint_states" for arm in ("left", "right", "all")
    }  # fmt: skip
    assert len(spec.joints) == 2 and len({one.prefix for one in spec.joints}) == 2
    assert spec.command_names[2:] == ("right_shoulder", "right_elbow")
    (episode,), _ = read_bag(bag, spec)
    assert np.array_equal(episode.joints[:, :2], -episode.joints[:, 2:])
    assert load_spec_of(spec, tmp_path) == spec


def led_arms(*arms: tuple[str, str]) -> make.Recording:
    """Arms that each follow a leader 60 ms later, all of equal joint names.

    :param arms: topics' parts of an arm and of its leader.
    """
    made = make.recording(4.0, change=cameras_only)
    for number, pair in enumerate(arms):
        for late, part in zip((60 * MS, 0), pair):
            for index in range(400):
                stamp = START + index * 10 * MS
                values = motion(stamp - late + number * SECOND)
                message = make.joint_state(stamp, values)
                made.add(f"/{part}/joint_states", make.JOINTS, stamp + MS, message)
    return made


@pytest.mark.parametrize(
    ("arm", "leader"),
    [
        ("follower", "leader"),
        ("puppet", "master_1"),
        ("robot/arm", "gello"),
        ("teleop/follower", "teleop/leader_arm"),
        ("webmaster", "teleop"),  # whole words
    ],
)
def test_a_leader_is_the_command_and_is_not_observed(arm: str, leader: str, tmp_path: Path):
    bag = led_arms((arm, leader)).write(tmp_path / "bag")
    spec = propose_spec(bag).spec
    assert [(one.topic, one.names) for one in spec.joints] == [
        (f"/{arm}/joint_states", make.NAMES)
    ]
    assert (spec.target, spec.command.topic) == ("command", f"/{leader}/joint_states")
    (episode,), report = read_bag(bag, spec)
    assert not report.problems and episode.targets.shape[1] == 2


def test_an_arm_alone_that_is_called_a_leader_is_observed(tmp_path: Path):
    made = make.recording(change=cameras_only)
    add_joints(made, "/leader/joint_states")
    spec = propose_spec(made.write(tmp_path / "bag")).spec
    assert [one.topic for one in spec.joints] == ["/leader/joint_states"]


def test_two_leaders_are_not_observed_and_it_is_said_what_to_do(tmp_path: Path):
    """ALOHA's: a spec takes commands from one topic."""
    pairs = [(f"puppet_{side}", f"master_{side}") for side in ("left", "right")]
    spec = (proposal := propose_spec(led_arms(*pairs).write(tmp_path / "bag"))).spec
    assert [one.topic for one in spec.joints] == [f"/{arm}/joint_states" for arm, _ in pairs]
    assert spec.target == "next_state" and "/master" not in spec.command.topic
    (note,) = [one for one in proposal.notes if "no command is proposed" in one]
    assert "'/master_left/joint_states', '/master_right/joint_states'" in note
    assert "in one message" in note and "'puppet_right_elbow'" in note


def test_a_gripper_that_is_mostly_as_another_is_no_repeat(tmp_path: Path):
    """Both are open most of the time, and close for a second each."""
    made = make.recording(20.0)
    for side, closes in (("left", 5), ("right", 9)):
        for index in range(20 * 30):
            stamp = START + index * SECOND // 30
            width = 0.04 * (1 - (closes <= index / 30 < closes + 1))
            message = make.joint_state(stamp, [width, width], ["finger1", "finger2"])
            made.add(f"/{side}/franka_gripper/joint_states", make.JOINTS, stamp + MS, message)
    found = propose_spec(made.write(tmp_path / "bag"))
    assert [one.prefix for one in found.spec.joints] == ["", "left_", "right_"]
    assert not any("repeats" in note for note in found.notes)


def test_what_comes_late_and_unevenly_while_moving_is_a_repeat_and_is_said(tmp_path: Path):
    made = make.recording(6.0, change=cameras_only)
    late = np.random.default_rng(0).uniform(5, 17, 600)
    for index in range(600):
        stamp = START + index * 10 * MS
        driver, all_joints = make.joint_state(stamp, motion(stamp)), motion(stamp)
        made.add("/arm/joint_states", make.JOINTS, stamp, driver)
        sent = stamp + int(late[index] * MS)
        again = make.joint_state(sent, all_joints + [1.0], [*make.NAMES, "wheel"])
        made.add("/joint_states", make.JOINTS, sent, again)
    found = propose_spec(made.write(tmp_path / "bag"))
    assert [(one.topic, one.prefix) for one in found.spec.joints] == [("/joint_states", "")]
    (note,) = [one for one in found.notes if "repeats" in one]
    assert note.startswith("'/arm/joint_states' repeats '/joint_states' and is left out")


def load_spec_of(spec: Any, tmp_path: Path) -> Any:
    file = tmp_path / "again.yaml"
    file.write_text(dump_spec(spec))
    return load_spec(file)


@pytest.mark.parametrize(
    ("kind", "topic", "message"),
    [
        (ARRAY, "/controller/commands", array),
        (TRAJECTORY, "/controller/joint_trajectory", trajectory),
        (make.JOINTS, "/joint_command", make.joint_state),
    ],
)
@pytest.mark.parametrize("steady", [True, False])
def test_recorded_commands_are_proposed_as_target(kind, topic, message, steady, tmp_path: Path):
    made = make.recording()
    for index in range(0, 200, 5 if steady else 90):
        stamp = START + index * 10 * MS
        values = [index / 100 + 0.01, -index / 100 + 0.01]
        made.add(topic, kind, stamp + MS, message(stamp, values))
    bag = made.write(tmp_path / "bag")
    spec = propose_spec(bag).spec
    assert (spec.command.topic, spec.command.type) == (topic, kind)
    assert spec.target == ("command" if steady else "next_state")
    if kind == ARRAY:
        assert spec.command.names == make.NAMES[::-1]
    (episode,), report = read_bag(bag, spec)
    assert not report.problems
    if steady:
        assert episode.targets[5] == pytest.approx(episode.joints[5] + [0.08, -0.07], abs=0.06)


@pytest.mark.parametrize("lead", [0, 50 * MS], ids=["measured", "commanded"])
@pytest.mark.parametrize("other", [None, "trajectory"])
def test_numbers_that_are_the_state_are_no_command(lead: int, other: str | None, tmp_path: Path):
    """The arm rests most of the time. A trajectory names its joints, and comes before numbers."""
    made = make.recording(8.0, change=cameras_only)

    def path(stamp: int) -> list[float]:
        return motion(START + min(max(stamp - START - 3 * SECOND, 0), 2 * SECOND))

    for index in range(800):
        stamp = START + index * 10 * MS
        made.add("/joint_states", make.JOINTS, stamp, make.joint_state(stamp, path(stamp)))
        made.add("/arm/positions", ARRAY, stamp + MS, array(stamp, path(stamp + MS + lead)))
        if other and index % 7 == 0:
            goal = trajectory(stamp, path(stamp + 50 * MS))
            made.add("/arm_controller/joint_trajectory", TRAJECTORY, stamp, goal)
    found = propose_spec(made.write(tmp_path / "bag"))
    notes = [one for one in found.notes if "/arm/positions" in one]
    if other:
        assert found.spec.command.topic == "/arm_controller/joint_trajectory"
        assert len(notes) == 1 and "not used, beside '/arm_controller" in notes[0]
    elif lead:
        assert (found.spec.target, found.spec.command.topic) == ("command", "/arm/positions")
        assert not any("not taken" in note for note in notes)
    else:
        assert found.spec.target == "next_state"
        assert len(notes) == 1 and "positions at the same time" in notes[0]


def test_numbers_that_may_be_any_joints_are_not_proposed(tmp_path: Path):
    made = make.recording()
    for index in range(200):
        stamp = START + index * 10 * MS
        made.add("/commands", ARRAY, stamp, array(stamp, [9.0, 9.0]))
    assert propose_spec(made.write(tmp_path / "bag")).spec.target == "next_state"


@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
def test_a_depth_camera_alone_gets_the_range_of_its_values(encoding: str, tmp_path: Path):
    def depth(topic: str, index: int, message: Any) -> Any:
        if topic != "/image_raw":
            return message
        stamp = message.header.stamp.sec * SECOND + message.header.stamp.nanosec
        pixels = np.linspace(500, 1500, 12 * 16).reshape(12, 16).astype(np.uint16)
        return make.image(stamp, pixels, encoding)

    bag = make.recording(change=depth).write(tmp_path / "bag")
    spec = propose_spec(bag).spec
    assert spec.cameras[0].value_range == pytest.approx((510, 1490), abs=10)
    assert load_dataset([bag], spec).episodes


def compressed_depth(form: str, extension: str) -> make.Recording:
    def change(topic: str, index: int, message: Any) -> Any:
        return None if topic == "/image_raw" else message

    made = make.recording(change=change)
    pixels = np.linspace(500, 1500, 12 * 16).reshape(12, 16).astype(np.uint16)
    if extension == ".jpg":
        pixels = pixels.astype(np.uint8)
    data = cv2.imencode(extension, pixels)[1].tobytes()
    for index in range(60):
        stamp = START + index * SECOND // 30
        message = make.compressed(stamp, data, form)
        made.add("/depth/compressed", make.COMPRESSED, stamp + MS, message)
    return made


def test_depth_that_was_compressed_as_png_gets_the_range_of_its_values(tmp_path: Path):
    bag = compressed_depth("16UC1; png compressed ", ".png").write(tmp_path / "bag")
    spec = propose_spec(bag).spec
    assert spec.cameras[0].value_range == pytest.approx((510, 1490), abs=10)
    (episode,), _ = read_bag(bag, spec)
    assert next(iter(episode.images.values())).max() > 240


def test_depth_that_was_compressed_as_jpeg_is_refused(tmp_path: Path):
    bag = compressed_depth("16UC1; jpeg compressed ", ".jpg").write(tmp_path / "bag")
    with pytest.raises(BagError, match=r"'16UC1; jpeg compressed ' is not supported") as error:
        propose_spec(bag)
    assert "record the raw depth image" in (error.value.remedy or "")


def test_a_camera_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path):
    def colours(topic: str, _: int, message: Any) -> Any:
        if topic == "/image_raw":
            message.encoding = "8UC3"
        return message

    with pytest.raises(BagError) as error:
        propose_spec(make.recording(change=colours).write(tmp_path / "bag"))
    assert "'/image_raw': image encoding '8UC3' is not supported" in error.value.problem
    assert "publish one of" in (error.value.remedy or "")


URDF = """<robot name="arm"><joint name="shoulder" type="revolute"/>
<joint name="elbow" type="prismatic"/><joint name="conveyor" type="continuous"/></robot>"""


def an_arm_beside_a_conveyor(moves: float, still: float = 0.0, **changes: Any) -> make.Recording:
    """Joint states with one axis more than the trajectories command; cameras in a namespace."""
    made = make.Recording()
    for index in range(200):
        stamp = START + index * 10 * MS
        sent = 0 if changes.get("unstamped") else stamp
        position = [moves * index, -moves * index, 0.5 + still * (index % 2)]
        state = make.joint_state(sent, position, [*make.NAMES, "conveyor"])
        made.add("/cell_b/joint_states", make.JOINTS, stamp + MS, state)
        if index % 5 == 0:
            lead = [value + 0.01 for value in position[:2]]
            made.add("/cell_b/arm/joint_trajectory", TRAJECTORY, stamp + MS, trajectory(0, lead))
            for camera in ("top_cam/image_raw", "side_cam/color/image_raw"):
                image = make.image(stamp, make.colour(index), "rgb8")
                made.add(f"/cell_b/{camera}", make.IMAGE, stamp + MS, image)
    return made


def test_an_axis_that_stands_still_and_is_not_commanded_is_left_out_and_said(tmp_path: Path):
    bag = an_arm_beside_a_conveyor(0.01, still=0.001).write(tmp_path / "bag")
    spec, notes = (proposal := propose_spec(bag)).spec, "; ".join(proposal.notes)
    assert [one.names for one in spec.joints] == [make.NAMES]
    assert spec.joints[0].topic == "/cell_b/joint_states"
    assert (spec.command.topic, spec.target) == ("/cell_b/arm/joint_trajectory", "command")
    assert (spec.clock, spec.command.clock) == ("header", "receive")
    assert "left out" in notes and "'conveyor'" in notes
    assert "command.clock: receive" in notes and "are not set (0)" in notes
    text = dump_spec(spec, notes=proposal.notes)
    assert "# left out" in text and "# command.clock" in text
    assert load_dataset([bag], load_spec_of(spec, tmp_path)).episodes


def test_an_axis_that_moves_or_may_move_is_not_left_out(tmp_path: Path):
    moving = propose_spec(an_arm_beside_a_conveyor(0.01, still=0.1).write(tmp_path / "moving"))
    resting = propose_spec(an_arm_beside_a_conveyor(0.0).write(tmp_path / "resting"))
    for proposal in (moving, resting):
        assert proposal.spec.joints[0].names == (*make.NAMES, "conveyor")
        assert proposal.spec.target == "next_state"
        assert "no command is proposed" in proposal.notes[0]
        assert "lacks 'conveyor'" in proposal.notes[0]
    assert "no joint moved" in resting.notes[-1]


def test_a_joint_moves_if_it_does_so_later(tmp_path: Path):
    """The arm of this bag rests for longer than topics are looked at for all else."""
    made = make.recording(change=cameras_only, seconds=6.0)
    for index in range(600):
        stamp = START + index * 10 * MS
        made.add("/joint_states", make.JOINTS, stamp,
                 make.joint_state(stamp, [max(0, index - 500) / 100, 0.0]))  # fmt: skip
    notes = propose_spec(made.write(tmp_path / "bag")).notes
    assert notes == ("did not move while others did: 'elbow'. Leave out what is not of the arm",)


@pytest.mark.parametrize("often", [False, True])
def test_a_joint_that_is_not_finite_at_times(often: bool, tmp_path: Path):
    """As a gripper before it is homed."""
    made = make.recording(change=cameras_only)
    for index in range(100):
        stamp = START + index * 20 * MS
        hand = np.nan if often or index < 3 else 0.01 * index
        names = ["", "elbow"] if index == 50 else ["elbow", "hand"]
        made.add("/joint_states", make.JOINTS, stamp,
                 make.joint_state(stamp, [0.02 * index, hand], names))  # fmt: skip
    found = propose_spec(made.write(tmp_path / "bag"))
    (source,) = found.spec.joints
    assert source.names == (("elbow",) if often else ("elbow", "hand"))
    assert any("'hand'" in note for note in found.notes) is often


def test_a_bag_shorter_than_the_sample_is_read_once(tmp_path: Path):
    bag = make.recording(1.0).write(tmp_path / "bag")
    samples = {"/image_raw": Sample("/image_raw", make.IMAGE),
               "/joint_states": Sample("/joint_states", make.JOINTS)}  # fmt: skip
    with Bag(bag) as opened:
        _look_at_bag(opened, samples)
        assert samples["/joint_states"].count == opened.topics["/joint_states"].count == 100


def test_a_type_without_stamps(tmp_path: Path):
    made = make.recording()
    for index in range(200):
        stamp = START + index * 10 * MS
        made.add("/command", ARRAY, stamp + MS, array(stamp, [index / 100, -index / 100]))
    (note,) = [one for one in propose_spec(made.write(tmp_path / "bag")).notes if "clock" in one]
    assert "those of '/command' do not exist: the type has no header" in note


def test_stamps_of_zero_are_why_messages_count_as_they_arrive(tmp_path: Path):
    bag = an_arm_beside_a_conveyor(0.01, unstamped=True).write(tmp_path / "bag")
    proposal = propose_spec(bag)
    assert proposal.spec.clock == "receive"
    assert proposal.notes[0].startswith("clock: receive")
    assert "those of '/cell_b/joint_states' are not set (0)" in proposal.notes[0]
    assert "image_raw" not in proposal.notes[0]


def test_an_array_that_names_its_joints_needs_no_guess(tmp_path: Path):
    made = make.recording()
    dimension = T["std_msgs/msg/MultiArrayDimension"]
    layout = T["std_msgs/msg/MultiArrayLayout"](
        dim=[dimension(name, 1, 1) for name in make.NAMES[::-1]], data_offset=0
    )
    for index in range(0, 200, 5):
        message = T[ARRAY](layout=layout, data=np.array([9.0, 9.0]))  # like no joint's state
        made.add("/commands", ARRAY, START + index * 10 * MS + MS, message)
    spec = propose_spec(made.write(tmp_path / "bag")).spec
    assert (spec.target, spec.command.names) == ("command", make.NAMES[::-1])


def test_the_robots_description_tells_which_joints_slide(tmp_path: Path):
    made = an_arm_beside_a_conveyor(0.01)
    made.add("/cell_b/robot_description", "std_msgs/msg/String", START,
             T["std_msgs/msg/String"](data=URDF))  # fmt: skip
    spec = propose_spec(made.write(tmp_path / "bag")).spec
    assert spec.joints[0].prismatic == ("elbow",)
    assert spec.joint_units == ("rad", "m")


@pytest.mark.parametrize(
    ("topics", "names"),
    [
        (["/image_raw"], ["camera"]),
        (["/camera/color/image_raw"], ["camera"]),
        (["/cell_b/top_cam/image_raw", "/side_cam/color/image_raw"], ["top_cam", "side_cam"]),
        (["/front/image_raw/compressed"], ["front"]),
        (["/left/camera/image_raw", "/right/camera/image_raw"], ["left", "right"]),
        (["/a/wrist/rgb/image_rect_color", "/b/wrist/image"], ["a_wrist", "b_wrist"]),
        (["/cam/image_raw", "/cam/rgb/image_raw"], ["cam", "cam2"]),
        (["/_1st/image_raw"], ["st"]),
    ],
)
def test_cameras_are_called_what_their_topics_call_them(topics: list[str], names: list[str]):
    assert camera_names(topics) == names


def test_lost_images_do_not_loosen_the_age(tmp_path: Path):
    """Two of three are lost: the camera still sends at 30 Hz."""
    camera, joints = Sample("/top/image_raw", make.IMAGE), Sample("/joint_states", make.JOINTS)
    for index in range(30):
        stamp = START + index * 100 * MS
        camera.add(stamp, make.image(stamp, make.colour(index), "rgb8"))
        joints.add(stamp, make.joint_state(stamp, [index / 10, 0.0]))
    before = propose([camera, joints], [], "here").spec.cameras[0].max_age
    camera.lost = 60
    proposal = propose([camera, joints], [], "here")
    assert (before, proposal.spec.cameras[0].max_age) == (0.3, 0.1)
    (note,) = [one for one in proposal.notes if "lost" in one]
    assert "67%" in note and "30 Hz" in note and "sarnn dds-profile" in note


def fast_arm(rate: int = 500, seconds: float = 6.0) -> make.Recording:
    """A fast driver; the sample of its messages ends in the first half second."""
    made = make.recording(seconds, change=cameras_only)
    for index in range(int(rate * seconds)):
        stamp = START + index * SECOND // rate
        message = make.joint_state(stamp, motion(stamp))
        made.add("/joint_states", make.JOINTS, stamp, message)
    return made


def motion(stamp: int) -> list[float]:
    time = (stamp - START) / SECOND
    return [np.sin(time), 0.5 * np.cos(1.3 * time)]


@pytest.mark.parametrize("rate", [25, 500])
def test_what_is_slower_is_compared_with_a_fast_driver_at_its_own_times(
    rate: int, tmp_path: Path
) -> None:
    made = fast_arm(rate)
    for index in range(25 * 6):
        stamp = START + index * SECOND // 25
        again = make.joint_state(stamp, motion(stamp))
        made.add("/joint_states_throttled", make.JOINTS, stamp + MS, again)
        # The controller's own order.
        made.add("/controller/commands", ARRAY, stamp, array(stamp, motion(stamp + SECOND // 20)))
    spec = propose_spec(made.write(tmp_path / "bag")).spec
    assert [(one.topic, one.prefix) for one in spec.joints] == [("/joint_states", "")]
    assert spec.target == "command" and spec.command is not None
    assert spec.command.names == make.NAMES[::-1]


def test_joints_that_take_turns_are_both_looked_at_later_on(tmp_path: Path) -> None:
    """The gripper moves after the sample, and is always the second of a pair."""
    made = make.recording(6.0, change=cameras_only)
    for index in range(250 * 6):
        stamp = START + index * SECOND // 250
        made.add("/joint_states", make.JOINTS, stamp, make.joint_state(stamp, motion(stamp)))
        grip = make.joint_state(stamp, [0.0 if index < 900 else 0.08], ["grip"])
        made.add("/joint_states", make.JOINTS, stamp + MS // 10, grip)
        made.add("/c/joint_trajectory", TRAJECTORY, stamp, trajectory(stamp, motion(stamp)))
    proposal = propose_spec(made.write(tmp_path / "bag"))
    assert [one.names for one in proposal.spec.joints] == [make.NAMES, ("grip",)]
    assert any("lacks 'grip'" in note for note in proposal.notes)


def test_names_in_another_order_each_time_are_the_same_joints(tmp_path: Path) -> None:
    made = make.recording(3.0, change=cameras_only)
    for index in range(300):
        stamp = START + index * SECOND // 100
        names, values = list(make.NAMES), motion(stamp)
        if index % 3 == 1:
            names, values = names[::-1], values[::-1]
        message = make.joint_state(stamp, values, names)
        made.add("/joint_states", make.JOINTS, stamp, message)
    spec = propose_spec(made.write(tmp_path / "bag")).spec
    assert [one.names for one in spec.joints] == [make.NAMES]
    assert spec.rate == 10 and spec.joints[0].max_age == 0.1


def test_a_camera_whose_images_come_late_may_be_older(tmp_path: Path) -> None:
    made = make.recording(3.0)
    late = [
        (topic, kind, receive + 85 * MS * (topic == "/image_raw"), message)
        for topic, kind, receive, message in made.messages
    ]
    made.messages[:] = sorted(late, key=lambda one: one[2])
    spec = propose_spec(made.write(tmp_path / "bag")).spec
    assert spec.cameras[0].max_age >= 0.185


def test_numbers_that_could_be_commands_are_told(tmp_path: Path) -> None:
    made = fast_arm(100)
    for index in range(120):
        stamp = START + index * SECOND // 20
        made.add("/controller/commands", ARRAY, stamp, array(stamp, [0.2, 0.2]))
    notes = propose_spec(made.write(tmp_path / "bag")).notes
    assert any("name them in command.names" in note for note in notes)
