# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Targets, splitting, other kinds of joint sources, the split into training and validation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bag_making as make
import numpy as np
import pytest
from bag_making import SECOND, START, STORE, T
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from sarnn_ros.data.dataset import make_dataset, split
from sarnn_ros.data.reading import read_bag
from sarnn_ros.data.report import examine
from sarnn_ros.data.targets import smooth_switches
from sarnn_ros.errors import BagError, SpecError
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.policy.envelope import envelope_from_dataset
from sarnn_ros.spec import Spec, parse_spec

MS = 1_000_000


def next_states(joints: np.ndarray) -> np.ndarray:
    return np.concatenate([joints[1:], joints[-1:]])


def read(made: make.Recording, spec: Spec, tmp_path: Path):
    return read_bag(made.write(tmp_path / "bag"), spec)


def array(values: list[float]):
    layout = T["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    return T["std_msgs/msg/Float64MultiArray"](layout=layout, data=np.array(values))


def trajectory(stamp: int, values: list[float], names=make.NAMES):
    point = T["trajectory_msgs/msg/JointTrajectoryPoint"]
    points = [
        point(np.array(rows), np.zeros(0), np.zeros(0), np.zeros(0),
              T["builtin_interfaces/msg/Duration"](0, 0))
        for rows in ([9.0] * len(values), values)
    ]  # fmt: skip
    return T["trajectory_msgs/msg/JointTrajectory"](make.header(stamp), list(names), points)


class TestTargets:
    def command(self, times_ms: list[int], made: make.Recording) -> None:
        for index, time in enumerate(times_ms):
            stamp = START + time * MS
            message = make.joint_state(stamp, [10.0 + index, -10.0 - index], ["elbow", "shoulder"])
            made.add("/joint_command", make.JOINTS, stamp + MS, message)

    def test_how_far_the_commands_led_is_known_if_the_bag_tells(self, tmp_path):
        def episode(name, spec, change=None):
            made = make.recording(1.0)
            if change:
                change(made)
            (one,), report = read_bag(made.write(tmp_path / name), spec)
            assert report.verdict == "sound"
            return one

        def commands(made):
            # In the joints' other order, and two that are not the robot's.
            for time, values in ((150, [-0.5, 0.4]), (450, [-0.3, 0.9])):
                stamp = START + time * MS
                message = make.joint_state(stamp, values, ["elbow", "shoulder"])
                made.add("/joint_command", make.JOINTS, stamp + MS, message)
            for time, value in ((550, np.nan), (650, 0.0)):
                stamp = START + time * MS
                message = make.joint_state(stamp, [9.0, value], ["elbow", "wrist"])
                made.add("/joint_command", make.JOINTS, stamp + MS, message)

        spec = make.spec()
        plain, told = episode("plain", spec), episode("told", spec, commands)
        assert plain.lead == ()
        # At 0.1 s the joints are at [0.1, -0.1], at 0.4 s at [0.4, -0.4].
        assert told.lead == pytest.approx((0.5, 0.4), abs=0.011)
        assert told.digest == plain.digest, "nothing that is learnt has changed"
        unordered = make.spec(command={"type": "std_msgs/msg/Float64MultiArray"})
        assert episode("unordered", unordered, commands).lead == ()

    def test_the_newest_command_of_the_coming_tick(self, tmp_path):
        made = make.recording(1.0)
        self.command([150, 200, 201, 300, 450, 700], made)
        (episode,), _ = read(made, make.spec(target="command"), tmp_path)
        got = {
            (int(tick) - START) // (100 * MS): target
            for tick, target in zip(episode.ticks, episode.targets)
        }
        assert got[1].tolist() == [-11.0, 11.0]  # (100, 200]: the one at 200
        assert got[2].tolist() == [-13.0, 13.0]  # (200, 300]: at 300, not the one at 201
        assert got[3].tolist() == [-13.0, 13.0]  # none: the controller goes on with the last
        assert got[4].tolist() == [-14.0, 14.0]
        assert got[6].tolist() == [-15.0, 15.0]

    def test_before_any_command_the_next_state(self, tmp_path):
        made = make.recording(1.0)
        self.command([650], made)
        (episode,), _ = read(made, make.spec(target="command"), tmp_path)
        assert np.array_equal(episode.targets[:5], episode.joints[1:6])
        assert episode.targets[5].tolist() == [-10.0, 10.0]

    def test_an_episode_does_not_begin_with_the_command_of_the_one_before(self, tmp_path):
        made = make.recording(1.0)
        made.messages += make.recording(1.5, start=START + 5 * SECOND).messages
        self.command([100, 900, 5650], made)
        spec = make.spec(target="command", episodes={"gap": 1.0})
        (first, second), _ = read(made, spec, tmp_path)
        assert first.targets[-1].tolist() == [-11.0, 11.0]
        begin = (START + 5650 * MS - int(second.ticks[0])) // (100 * MS)
        assert np.array_equal(second.targets[:begin], second.joints[1 : begin + 1])
        assert second.targets[begin].tolist() == [-12.0, 12.0]

    @pytest.mark.parametrize(("late_ms", "words"), [
        (0, None), (500, "500 ms after their stamp"), (-50, "50 ms after they were received"),
    ])  # fmt: skip
    def test_commands_by_another_clock_are_told(self, late_ms, words, tmp_path):
        made = make.recording(1.0)
        for time in range(0, 1000, 50):
            stamp = START + time * MS
            message = make.joint_state(stamp - late_ms * MS, [0.1, 0.2], make.NAMES)
            made.add("/joint_command", make.JOINTS, stamp, message)
        made.write(tmp_path / "bag")
        dataset = load_dataset([tmp_path / "bag"], make.spec(target="command"), validation=0)
        found = [one.found for one in examine(dataset).problems if "joint_command" in one.where]
        assert [words in one for one in found] == ([] if words is None else [True]), found

    def test_what_is_not_commanded_follows_the_state(self, tmp_path):
        made = make.recording(1.0)
        for time in range(0, 1000, 50):
            stamp = START + time * MS
            made.add(
                "/joint_command", make.JOINTS, stamp, make.joint_state(stamp, [7.0], ["elbow"])
            )
        spec = parse_spec({
            "cameras": [{"name": "front", "width": 16, "height": 12}],
            "joints": [{"names": ["shoulder"], "command": False}, {"names": ["elbow"]}],
            "target": "command",
        })  # fmt: skip
        (episode,), _ = read(made, spec, tmp_path)
        assert (episode.targets[:, 1] == 7.0).all()
        assert np.array_equal(episode.targets[:-1, 0], episode.joints[1:, 0])

    @pytest.mark.parametrize("kind", ["array", "trajectory"])
    def test_commands_of_other_types(self, kind: str, tmp_path):
        made = make.recording(1.0)
        for time in range(0, 1000, 50):
            stamp = START + time * MS
            if kind == "array":
                message, name = array([4.0, 3.0]), "std_msgs/msg/Float64MultiArray"
            else:
                message, name = (
                    trajectory(stamp, [3.0, 4.0]),
                    "trajectory_msgs/msg/JointTrajectory",
                )
            made.add("/joint_command", name, stamp, message)
        command = {"type": name}
        if kind == "array":
            command |= {"names": ["elbow", "shoulder"], "clock": "receive"}
        (episode,), _ = read(made, make.spec(target="command", command=command), tmp_path)
        assert (episode.targets == [3.0, 4.0]).all()

    def test_an_array_whose_order_is_not_given(self, tmp_path):
        command = {"type": "std_msgs/msg/Float64MultiArray"}
        with pytest.raises(SpecError, match="does not name shoulder, elbow"):
            make.spec(target="command", command=command).command_source  # noqa: B018

    def test_commands_that_name_other_joints(self, tmp_path):
        made = make.recording(1.0)
        stamp = START + 10 * MS
        made.add("/joint_command", make.JOINTS, stamp, make.joint_state(stamp, [0.0], ["wrist"]))
        episodes, report = read(made, make.spec(target="command"), tmp_path)
        assert not episodes and "'elbow' is missing; found wrist" in report.problems[0].found

    def test_commands_with_a_stamp_of_0_are_told_as_such(self, tmp_path):
        """A trajectory's stamp of 0 means "now" to its controller: they do name the joints."""
        made = make.recording(1.0)
        for time in (10, 110, 210):
            message = trajectory(0, [0.1, 0.2])
            made.add("/joint_command", "trajectory_msgs/msg/JointTrajectory", START + time * MS,
                     message)  # fmt: skip
        command = {"topic": "/joint_command", "type": "trajectory_msgs/msg/JointTrajectory"}
        spec = make.spec(target="command", command=command)
        episodes, report = read(made, spec, tmp_path)
        (problem,) = report.problems
        assert not episodes and problem.where.endswith("/joint_command")
        assert (
            "none of 3 messages can be used, the first because: the stamp is 0 s" in problem.found
        )
        assert "'clock: receive'" in problem.remedy
        spec = make.spec(target="command", command={**command, "clock": "receive"})
        ((episode,), _) = read_bag(tmp_path / "bag", spec)
        assert episode.targets[1].tolist() == [0.1, 0.2]


class TestSmoothing:
    def test_is_a_cosine_about_the_switch(self):
        values = np.repeat([0.0, 1.0], 10)
        got = smooth_switches(values, 3)
        ramp = (1 - np.cos(np.pi * np.linspace(0, 1, 6))) / 2
        assert got == pytest.approx(np.concatenate([np.zeros(7), ramp, np.ones(7)]))

    def test_levels_direction_and_a_constant(self):
        assert smooth_switches(np.repeat([0.04, 0.01], 5), 2).tolist() == pytest.approx(
            [0.04] * 3 + [0.04, 0.0325, 0.0175, 0.01] + [0.01] * 3
        )
        assert smooth_switches(np.full(5, 0.3), 2).tolist() == [0.3] * 5

    @pytest.mark.parametrize("ticks", [0, 3, 8])
    @pytest.mark.parametrize("flip", [False, True])
    def test_a_ramp_at_an_end_is_cut_off_and_does_not_jump(self, ticks: int, flip: bool):
        values = np.repeat([0.0, 1.0], [ticks + 1, 30])
        got = smooth_switches(values[::-1] if flip else values, 10)
        whole = smooth_switches(np.repeat([0.0, 1.0], [30, 30]), 10)[29 - ticks :]
        assert (got[::-1] if flip else got) == pytest.approx(whole)
        assert np.abs(np.diff(got)).max() < 0.083

    @pytest.mark.parametrize("ticks", [(9, 4, 9), (9, 5, 3, 6, 9), (2, 2, 7, 3)])
    def test_of_ramps_that_overlap_each_tick_has_that_of_the_nearest_switch(self, ticks):
        levels = np.arange(len(ticks)) % 2
        switches, steps = np.cumsum(ticks)[:-1] - 0.5, 4
        expected = []
        for tick in range(sum(ticks)):
            nearest = np.abs(tick - switches).argmin()
            share = np.clip((tick - switches[nearest]) / (2 * steps - 1) + 0.5, 0, 1)
            ramp = (1 - np.cos(np.pi * share)) / 2
            expected.append(ramp if levels[nearest + 1] else 1 - ramp)
        assert smooth_switches(np.repeat(levels, ticks) * 1.0, steps) == pytest.approx(expected)

    @pytest.mark.parametrize("values", [[0, 0, 1, 0, 0], [0, 1, 0, 1, 0, 1], [0, 1]])
    def test_switches_close_together_stay_between_the_levels(self, values: list[int]):
        got = smooth_switches(np.array(values, float), 4)
        assert len(got) == len(values) and got.min() >= 0 and got.max() <= 1

    def test_targets_only(self, tmp_path):
        def change(topic: str, index: int, message):
            if topic == "/joint_states":
                message.position[1] = float(index >= 100)
            return message

        spec = parse_spec({
            "cameras": [{"name": "front", "width": 16, "height": 12}],
            "joints": [{"names": ["shoulder", "elbow"], "smooth": {"elbow": 0.3}}],
        })  # fmt: skip
        (episode,), _ = read(make.recording(change=change), spec, tmp_path)
        assert set(episode.joints[:, 1]) == {0.0, 1.0}
        assert len(set(episode.targets[:, 1])) == 6
        assert np.array_equal(episode.targets[:-1, 0], episode.joints[1:, 0])
        # The limits at the robot come from how the arm moved.
        plain = make_dataset(make.spec(), [replace(episode, targets=next_states(episode.joints))])
        assert envelope_from_dataset(make_dataset(spec, [episode])) == envelope_from_dataset(plain)

    def test_a_motion_that_is_smoothed_is_warned_of(self, tmp_path):
        path = make.recording().write(tmp_path / "bag")
        smooth = {"names": list(make.NAMES), "smooth": {"elbow": 0.3}}
        report = examine(load_dataset([path], make.spec(joints=[smooth])))
        (found,) = [one for one in report.problems if one.where == "elbow"]
        assert "is smoothed" in found.found and found.severity == "warning"

    def test_a_name_that_is_no_joint(self):
        with pytest.raises(SpecError, match="did you mean 'elbow'"):
            make.spec(joints=[{"names": list(make.NAMES), "smooth": {"elbov": 0.3}}])


class TestSources:
    def make(self, tmp_path: Path, source: dict, kind: str, message) -> np.ndarray:
        made = make.recording(1.0)
        for time in range(0, 1000, 20):
            stamp = START + time * MS
            made.add("/gripper", kind, stamp, message(stamp))
        spec = parse_spec({
            "cameras": [{"name": "front", "width": 16, "height": 12}],
            "joints": [{"names": ["elbow"]}, {"topic": "gripper", "type": kind} | source],
        })  # fmt: skip
        episodes, report = read(made, spec, tmp_path)
        assert episodes, [problem.found for problem in report.problems]
        return episodes[0].joints[:, 1:]

    def test_a_number(self, tmp_path):
        kind = "std_msgs/msg/Float64"
        source = {"names": ["finger"], "clock": "receive"}
        got = self.make(tmp_path, source, kind, lambda _: T[kind](data=0.5))
        assert (got == 0.5).all()

    def test_part_of_an_array(self, tmp_path):
        source = {"names": ["a", "b"], "indices": [2, 0], "clock": "receive"}
        kind = "std_msgs/msg/Float64MultiArray"
        got = self.make(tmp_path, source, kind, lambda _: array([1.0, 2.0, 3.0]))
        assert (got == [3.0, 1.0]).all()

    def test_the_end_of_a_trajectory(self, tmp_path):
        source = {"names": ["a"]}
        got = self.make(
            tmp_path, source, "trajectory_msgs/msg/JointTrajectory",
            lambda stamp: trajectory(stamp, [1.0, 2.0], ["b", "a"]),
        )  # fmt: skip
        assert (got == 2.0).all()

    @pytest.mark.parametrize(
        ("values", "says"), [([1.0], "index 1"), ([1.0, np.nan], "not finite"), ([], "index 1")]
    )
    def test_an_array_that_does_not_fit(self, values: list[float], says: str, tmp_path):
        source = {"names": ["a", "b"], "clock": "receive"}
        kind = "std_msgs/msg/Float64MultiArray"
        with pytest.raises(AssertionError, match=says):
            self.make(tmp_path, source, kind, lambda _: array(values))


class TestSplitting:
    def test_by_gap(self, tmp_path):
        made = make.recording(1.0)
        made.messages += make.recording(1.5, start=START + 5 * SECOND).messages
        spec = make.spec(episodes={"gap": 1.0})
        episodes, _ = read(made, spec, tmp_path)
        assert [(episode.name, len(episode.ticks)) for episode in episodes] == [
            ("bag#0", 10), ("bag#1", 14)
        ]  # fmt: skip
        assert np.array_equal(episodes[1].images["front"][0], make.colour(2))
        unsplit, report = read_bag(tmp_path / "bag", make.spec())
        assert not unsplit and "gap" in report.problems[0].remedy

    def test_a_short_hole_spoils_only_its_episode(self, tmp_path):
        made = make.recording(2.0, drop_images=range(20, 31))
        made.messages += make.recording(1.5, start=START + 5 * SECOND).messages
        episodes, report = read(made, make.spec(episodes={"gap": 1.0}), tmp_path)
        assert [episode.name for episode in episodes] == ["bag#1"]
        assert report.verdict == "sound" and "bag#0" in report.problems[0].where

    def test_by_times(self, tmp_path):
        spec = make.spec(episodes={"times": [[0.0, 0.5], [1.0, 1.45]]})
        episodes, _ = read(make.recording(), spec, tmp_path)
        starts = [(int(episode.ticks[0]) - START) // MS for episode in episodes]
        assert starts == [100, 1100] and [len(e.ticks) for e in episodes] == [6, 5]

    @pytest.mark.parametrize(
        "times", [[[0.0, 0.5], [1.0, 1.45]], [[1.0, 1.45], [0.0, 0.5]], [[0.0, 1.0], [0.5, 1.4]]]
    )
    def test_commands_count_however_the_episodes_are_listed(self, times, tmp_path):
        """Only those of an episode that ended before are another's."""
        made = make.recording()
        for index in range(100):
            stamp = START + index * 20 * MS
            message = make.joint_state(stamp, [100.0 + index, 0.0])
            made.add("/joint_command", make.JOINTS, stamp + MS, message)
        spec = make.spec(episodes={"times": times}, target="command")
        episodes, report = read(made, spec, tmp_path)
        assert len(episodes) == 2 and not report.problems
        for episode in episodes:
            assert (episode.targets[:, 0] >= 100.0).all()


class TestDataset:
    @pytest.mark.parametrize(
        ("count", "share", "held_out"), [(1, 0.2, 0), (2, 0.2, 1), (5, 0.0, 0), (10, 0.25, 2),
                                         (10, 0.9, 9), (3, 1.0, 2)],
    )  # fmt: skip
    def test_split(self, count: int, share: float, held_out: int):
        training, validation = split(count, share, seed=3)
        assert sorted(training + validation) == list(range(count))
        assert len(validation) == held_out
        assert split(count, share, seed=3) == (training, validation)

    def test_normalised_by_training_episodes_only(self, tmp_path):
        for number, seconds in enumerate((1.0, 1.5, 2.0)):
            make.recording(seconds).write(tmp_path / f"take{number}")
        dataset = load_dataset([tmp_path], make.spec(), validation=0.34)
        parts = [dataset.episodes[index] for index in dataset.training]
        joints = np.concatenate([episode.joints for episode in parts])
        assert dataset.normaliser.minimum == pytest.approx(joints.min(axis=0))
        assert dataset.normaliser.maximum == pytest.approx(joints.max(axis=0))
        everything = np.concatenate([episode.joints for episode in dataset.episodes])
        held_out = dataset.episodes[dataset.validation[0]]
        assert len(held_out.ticks) < 19 or everything.max() > joints.max()

    def test_the_fingerprint_tells_data_spec_and_split_apart(self, tmp_path):
        make.recording(1.0).write(tmp_path / "a" / "one")
        make.recording(1.0, start=START + SECOND).write(tmp_path / "a" / "two")
        spec = make.spec()
        first = load_dataset([tmp_path / "a"], spec)
        assert first.fingerprint == load_dataset([tmp_path / "a"], spec).fingerprint
        others = {
            load_dataset([tmp_path / "a" / "one"], spec).fingerprint,
            load_dataset([tmp_path / "a"], make.spec(joint_range=[0.1, 0.9])).fingerprint,
            load_dataset([tmp_path / "a"], spec, validation=0).fingerprint,
        }
        assert len({first.fingerprint, *others}) == 4

    def test_progress_reaches_the_end(self, tmp_path):
        make.recording(0.5).write(tmp_path / "one")
        seen: list[tuple[int, int, str]] = []
        load_dataset([tmp_path], make.spec(), progress=lambda *values: seen.append(values))
        assert seen == [(0, 1, "one"), (1, 1, "")]

    def test_an_error_of_the_bag_names_it(self, tmp_path):
        make.recording(0.1).write(tmp_path / "short")
        with pytest.raises(BagError, match="short"):
            load_dataset([tmp_path], make.spec())


@pytest.mark.parametrize(("pixels", "used"), [(3, 2), (0, 1)])
def test_another_object_on_the_same_way_is_another_episode(pixels: int, used: int, tmp_path):
    spec = make.spec()
    (first,), report = read(make.recording(1.0), spec, tmp_path)
    images = {name: array.copy() for name, array in first.images.items()}
    for array in images.values():
        array[:, :pixels, :pixels, 0] ^= 255
    other = replace(first, name="other", digest="other", images=images)
    report.episodes.append("other")
    assert len(make_dataset(spec, [first, other], reports=[report]).episodes) == used


def test_bag_making_serialises_what_it_says():
    assert STORE.deserialize_cdr(
        STORE.serialize_cdr(make.joint_state(START, [1.0, 2.0]), make.JOINTS), make.JOINTS
    ).position.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("field", ["reference", "desired"])
def test_a_controllers_state_of_a_type_that_only_the_bag_defines(tmp_path, field):
    """control_msgs is in no typestore of ours; up to Humble the field was called `desired`."""
    kind = "control_msgs/msg/JointTrajectoryControllerState"
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(
        get_types_from_msg(
            "std_msgs/Header header\nstring[] joint_names\n"
            f"trajectory_msgs/JointTrajectoryPoint {field}",
            kind,
        )
    )
    types = store.types
    made = make.recording(seconds=1.0)
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for topic, message_type, receive, message in made.messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message_type, typestore=store)
            raw = STORE.serialize_cdr(message, message_type)
            writer.write(connections[topic], receive, raw)
        states = writer.add_connection("/gripper_controller/state", kind, typestore=store)
        for index in range(100):
            stamp = START + index * 10 * MS
            point = types["trajectory_msgs/msg/JointTrajectoryPoint"](
                np.array([0.5, index / 100]), np.zeros(0), np.zeros(0), np.zeros(0),
                types["builtin_interfaces/msg/Duration"](0, 0),
            )  # fmt: skip
            state = types[kind](
                **{"header": make.header(stamp), "joint_names": ["other", "grip"], field: point}
            )
            writer.write(states, stamp + MS, store.serialize_cdr(state, kind))
    source = {"topic": "gripper_controller/state", "type": kind, "names": ["grip"]}
    spec = make.spec(joints=[{"names": list(make.NAMES)}, source])
    episode = load_dataset([tmp_path / "bag"], spec, validation=0).episodes[0]
    expected = (episode.ticks - START) // (10 * MS) / 100
    np.testing.assert_allclose(episode.joints[:, 2], expected)
