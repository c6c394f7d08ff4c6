# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Efforts and wrenches as further inputs: from a bag to what a policy sees, predicts and may do.

The live side, over DDS, is in test/ros (test_parity.py, test_inference_node.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bag_making as make
import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sarnn_ros.control.limits import JointLimiter
from sarnn_ros.control.resolve import guard_limits
from sarnn_ros.control.settings import build_settings
from sarnn_ros.data.report import examine
from sarnn_ros.data.report_view import tables
from sarnn_ros.errors import DecodeError
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.policy.health import replay
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.spec import JointSource, Spec
from sarnn_ros.streams.decode import decode_effort, decode_vector
from sarnn_ros.streams.ingest import Joints, effort_vector
from sarnn_ros.training.config import make_config
from sarnn_ros.training.recipe import decide
from sarnn_ros.training.run import train

pytestmark = pytest.mark.usefixtures("quick_export")

EFFORT = {"names": ["elbow"], "field": "effort", "command": False}
FORCE = {
    "topic": "wrench",
    "type": make.WRENCH,
    "names": ["torque.x", "force.z"],
    "command": False,
}
SOURCES = [EFFORT, {"names": list(make.NAMES)}, FORCE]


def forces(seconds: float = 2.0, *, drop: int | None = None) -> make.Recording:
    """The plain recording; state i has efforts [50 + i, -i], wrench i [i, …, i + 5].

    :param drop: from this joint state on every other one has no usable effort of the elbow.
    """

    def with_effort(topic: str, index: int, message: Any) -> Any:
        if topic == "/joint_states":
            broken = drop is not None and index >= drop and index % 2
            message.effort = np.array([50.0 + index, np.nan if broken else -index])
        return message

    made = make.recording(seconds, change=with_effort)
    for index in range(int(seconds * 50)):
        stamp = make.START + index * 20_000_000
        made.add(
            "/wrench", make.WRENCH, stamp + 1_000_000, make.wrench(stamp, index + np.arange(6))
        )
    return made


def spec() -> Spec:
    return make.spec(joints=SOURCES)


def test_components_are_picked_by_name() -> None:
    source = JointSource(**FORCE)
    message = make.wrench(1, [1, 2, 3, 4, 5, 6])
    assert decode_vector(message, source).tolist() == [4, 3]
    with pytest.raises(DecodeError, match=r"not finite: force\.z"):
        decode_vector(make.wrench(1, [1, 2, np.inf, 4, 5, 6]), source)
    # Only what is asked for need be finite.
    assert decode_vector(make.wrench(1, [np.nan, 2, 3, 4, 5, 6]), source).tolist() == [4, 3]


POSE = {"topic": "tool", "type": make.POSE, "command": False}
AXES = [f"axis_{axis}.{part}" for axis in "xy" for part in "xyz"]


@given(
    hnp.arrays(np.float64, 4, elements=st.floats(-1, 1, width=16)), st.sampled_from([1.0, -1.0])
)
def test_the_rotation_of_a_pose_is_two_columns_of_its_matrix(turn: Any, sign: float) -> None:
    """By OpenCV from the rotation vector; the same of q and -q, so that nothing jumps."""
    assume(np.linalg.norm(turn) > 0.1)
    x, y, z, w = turn / np.linalg.norm(turn)
    length = np.linalg.norm([x, y, z])
    angle = 2 * np.arctan2(length, w)
    vector = np.array([x, y, z]) / max(length, 1e-300) * angle
    matrix = cv2.Rodrigues(vector)[0]
    message = make.pose(1, [1, 2, 3], sign * np.array([x, y, z, w]))
    got = decode_vector(message, JointSource(**POSE, names=["position.y", *AXES]))
    assert got[0] == 2
    assert got[1:] == pytest.approx(matrix.T[:2].reshape(-1), abs=1e-9)


@pytest.mark.parametrize("turn", [[0, 0, 0, 0], [0, 0, 0, 1.2], [0, 0, np.nan, 1]])
def test_a_quaternion_that_is_none(turn: list[float]) -> None:
    with pytest.raises(DecodeError, match="quaternion of length"):
        decode_vector(make.pose(1, [1, 2, 3], turn), JointSource(**POSE, names=["axis_x.y"]))
    # Who asks for the position alone does not mind.
    position = JointSource(**POSE, names=["position.z", "position.x"])
    assert decode_vector(make.pose(1, [1, 2, 3], turn), position).tolist() == [3, 1]


def test_a_bag_gives_them_at_their_ticks(tmp_path: Path) -> None:
    episode = load_dataset([forces().write(tmp_path / "bag")], spec()).episodes[0]
    effort, shoulder, elbow, torque, force = episode.joints.T
    np.testing.assert_array_equal(effort, np.round(100 * elbow))  # of the same message
    np.testing.assert_array_equal(shoulder, -elbow)
    np.testing.assert_array_equal(torque, force + 1)
    assert np.diff(force).tolist() == [5.0] * (len(force) - 1)  # 50 Hz at 10 Hz
    np.testing.assert_array_equal(episode.targets[:-1], episode.joints[1:])


def test_what_one_source_cannot_use_another_may(tmp_path: Path) -> None:
    """Live, each source takes or refuses a message by itself; so must bags, in any order."""
    sound = load_dataset([forces().write(tmp_path / "sound")], spec()).episodes[0]
    path = forces(drop=1).write(tmp_path / "broken")
    for order in (SOURCES, [SOURCES[1], SOURCES[0], SOURCES[2]]):
        dataset = load_dataset([path], make.spec(joints=order))
        column = dataset.spec.joint_labels.index("elbow")
        np.testing.assert_array_equal(dataset.episodes[0].joints[:, column], sound.joints[:, 2])
        stream = next(one for one in dataset.bags[0].streams if one.topic == "/joint_states")
        assert (stream.messages, stream.void) == (200, 100)
        found = [one for one in examine(dataset).problems if "not finite: elbow" in one.found]
        assert len(found) == 1


def test_a_jump_of_force_is_no_fault(tmp_path: Path) -> None:
    def contact(topic: str, index: int, message: Any) -> Any:
        if topic == "/joint_states":
            message.effort = np.array([0.0, 60.0 if index > 100 else index / 100])
        return message

    path = make.recording(change=contact).write(tmp_path / "bag")
    problems = examine(load_dataset([path], make.spec(joints=SOURCES[:2]))).problems
    assert not [one for one in problems if "effort" in one.where]


@pytest.mark.usefixtures("quick_export")
def test_from_bag_to_a_policy_that_feels(tmp_path: Path) -> None:
    bags = [forces().write(tmp_path / "bags" / str(number)) for number in range(3)]
    dataset = load_dataset(bags, spec())
    settings = {"epochs": 2, "k_dim": 2, "rec_dim": 8, "threads": 1, "device": "cpu"}
    train(decide(dataset, make_config(settings)), tmp_path / "policy")
    policy = Policy.load(tmp_path / "policy")
    assert policy.spec.command_names == make.NAMES
    observation, prediction = next(replay(policy, dataset.episodes[0]))
    assert prediction.action.shape == (5,)

    # The network feels the forces: with others it moves otherwise.
    policy.reset()
    other = observation.state + np.array([-90.0, 0, 0, 40.0, 40.0])
    observed = type(observation)(**(vars(observation) | {"state": other}))
    commanded = list(policy.spec.command_indices)
    moved = policy.step(observed).action[commanded]
    assert not np.array_equal(moved, prediction.action[commanded])

    # What the guard judges are positions: the elbow's limits are rad, not its 200 N m.
    limits = guard_limits(build_settings({}), policy.spec, policy.config.envelope)
    assert limits.position_max.shape == (2,)
    assert limits.position_max.max() < 3
    guard = JointLimiter(limits, policy.spec.command_names)
    here = observation.state[commanded]
    assert guard.check(here, here, 0.1).ok
    trip = guard.check(here + [0.0, 100.0], here, 0.1).violations[0]
    assert (trip.joint, trip.reason) == ("elbow", "position")


def test_the_efforts_of_commanded_joints_are_kept_beside_their_positions(tmp_path: Path) -> None:
    """Of the commanded source alone, and from the bag to the policy's envelope and the report."""
    bags = [forces(drop=60).write(tmp_path / "bags" / str(number)) for number in range(2)]
    dataset = load_dataset(bags, make.spec())
    efforts = dataset.episodes[0].efforts
    assert efforts is not None and len(efforts) == len(dataset.episodes[0].ticks)
    shoulder, elbow = efforts.T
    assert np.isfinite(shoulder).all() and np.diff(shoulder).tolist() == [10.0] * (
        len(efforts) - 1
    )
    np.testing.assert_array_equal(np.isnan(elbow), -elbow != shoulder - 50)
    report = examine(dataset)
    assert [joint.effort for joint in report.joints] == list(dataset.effort_spans)
    assert report.joints[0].effort == (shoulder.min(), shoulder.max())
    (title,) = [title for title in tables(report) if title.startswith("Joints")]
    heads, rows = tables(report)[title]
    told = f"{shoulder.min():.4g} … {shoulder.max():.4g}"
    assert (heads[-1], rows[0][-1]) == ("effort", told)
    without = load_dataset([make.recording().write(tmp_path / "none")], make.spec())
    assert without.episodes[0].efforts is None
    assert tables(examine(without))[title][1][0][-1] == "none"
    cached = [load_dataset(bags, make.spec(), cache=tmp_path / "cache") for _ in range(2)]
    for loaded in cached:
        np.testing.assert_array_equal(loaded.episodes[0].efforts, efforts)
        assert loaded.fingerprint == dataset.fingerprint

    # An observed effort is another thing: of joints that are not commanded there is none to watch.
    observed = load_dataset(bags[:1], spec())
    assert observed.episodes[0].efforts is not None
    assert np.isnan(observed.episodes[0].efforts[:, [0, 3, 4]]).all()


def test_efforts_are_no_reason_to_refuse_a_message() -> None:
    source = JointSource(names=list(make.NAMES))

    def effort(values: Any) -> Any:
        message = make.joint_state(make.START, [0.1, 0.2])
        message.effort = np.array(values, np.float64)
        return decode_effort(message, source)

    assert effort([3, 4]).tolist() == [3, 4]
    for unknown in ([], [3], [3, 4, 5]):
        assert effort(unknown) is None
    joints = [Joints(np.zeros(2), effort([np.inf, 4])), Joints(np.zeros(1))]
    np.testing.assert_array_equal(effort_vector(joints), [np.nan, 4, np.nan])
    assert effort_vector([Joints(np.zeros(2), effort([np.nan, -np.inf]))]) is None
    turned = JointSource(names=list(make.NAMES[::-1]))
    message = make.joint_state(make.START, [0.1, 0.2])
    message.effort = np.array([3.0, 4.0])
    assert decode_effort(message, turned).tolist() == [4, 3]
    for other in (source.model_copy(update={"command": False}), JointSource(**FORCE)):
        assert decode_effort(message, other) is None
