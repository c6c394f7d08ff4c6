# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The pose of a frame from messages of tf: the chain, who else publishes, what is void."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bag_making as make
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sarnn_ros.data.session import Channel, channels
from sarnn_ros.errors import BagError, DecodeError
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.spec import COMPONENTS, Spec
from sarnn_ros.streams.ingest import Ingest
from sarnn_ros.streams.poses import NoTransform, TransformChain

MS = 1_000_000
TOOL = {
    "topic": "/tf", "type": make.TF, "frame_id": "base", "child_frame_id": "tool",
    "names": list(COMPONENTS[make.TF]), "command": False,
}  # fmt: skip
STATE = {"names": list(make.NAMES)}
SPEC = make.spec(joints=[STATE, TOOL])
STILL = ((0, 0, 0), (0, 0, 0, 1))


def quaternion(turn: np.ndarray) -> np.ndarray:
    """Of a rotation vector, rad."""
    angle = np.linalg.norm(turn)
    return np.array([*np.sinc(angle / 2 / np.pi) / 2 * turn, np.cos(angle / 2)])


def matrix(position: Any, turn: Any) -> np.ndarray:
    """Homogeneous, by OpenCV."""
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = cv2.Rodrigues(np.asarray(turn, np.float64))[0], position
    return made


def expected(pose: np.ndarray) -> np.ndarray:
    return np.concatenate([pose[:3, 3], pose[:3, 0], pose[:3, 1]])


class Listener:
    """One source of tf; `last` is what a tick would see."""

    def __init__(self, spec: Spec = SPEC) -> None:
        self.ingest = Ingest(spec)
        self.stream = self.ingest.sources[1]

    def hear(self, *transforms: Any, at: int = make.START) -> list[DecodeError]:
        return list(self.ingest.push("/tf", make.tf(*transforms), at).refused)

    @property
    def last(self) -> Any:
        return self.stream.contents[-1].values if self.stream.contents else None


@given(
    hnp.arrays(np.float64, (4, 3), elements=st.floats(-3, 3, width=16)),
    hnp.arrays(np.float64, (4, 3), elements=st.floats(-2, 2, width=16)),
    st.lists(st.sampled_from([1.0, -1.0, 1.005]), min_size=4, max_size=4),
)
def test_a_chain_is_the_product_of_its_parts(turns: Any, positions: Any, factors: Any) -> None:
    """Whatever the signs of the quaternions, if they are a little too long, and in whichever order
    the parts come."""
    frames = ["base", "a", "b", "c", "tool"]
    parts = [
        make.transform(make.START, parent, child, position, factor * quaternion(turn))
        for parent, child, position, turn, factor in zip(
            frames, frames[1:], positions, turns, factors
        )
    ]
    listener = Listener()
    assert not listener.hear(*parts[2:])
    assert listener.last is None and "end at 'b', not at 'base'" in listener.stream.last_void
    assert not listener.hear(*parts[1::-1])
    product = np.linalg.multi_dot([matrix(p, t) for p, t in zip(positions, turns)])
    assert listener.last == pytest.approx(expected(product), abs=1e-9)


def test_other_publishers_are_neither_used_nor_faults() -> None:
    listener = Listener()
    assert not listener.hear(make.transform(make.START, "map", "cart", *STILL))
    assert listener.last is None and "there are cart" in listener.stream.last_void
    assert not listener.hear(make.transform(make.START, "base", "tool", (1, 2, 3), STILL[1]))
    assert not listener.hear(make.transform(make.START + 1, "map", "cart", *STILL))
    assert listener.stream.stamps == [make.START]
    assert listener.stream.last_void is None
    assert listener.last.tolist() == [1, 2, 3, 1, 0, 0, 0, 1, 0]


def test_the_stamp_is_that_of_the_newest_part() -> None:
    """So that a tick sees nothing of later; a part that has stopped makes the pose void."""
    listener = Listener()
    listener.hear(make.transform(make.START, "base", "arm", *STILL))
    listener.hear(make.transform(make.START + 100 * MS, "arm", "tool", *STILL), at=make.START)
    assert listener.stream.stamps == [make.START + 100 * MS]
    late = make.transform(make.START + 101 * MS, "arm", "tool", *STILL)
    (error,) = listener.hear(late, at=make.START)
    assert "'arm' is 0.101 s older" in error.problem
    assert len(listener.stream.stamps) == 1


def test_what_is_no_chain() -> None:
    listener = Listener()
    listener.hear(make.transform(make.START, "tool", "loop", *STILL))
    listener.hear(make.transform(make.START, "loop", "tool", *STILL))
    assert "lead in a circle" in listener.stream.last_void
    (error,) = listener.hear(
        make.transform(make.START, "base", "tool", (0, 0, 0), (0, 0, 0, 1.02))
    )
    assert "quaternion of length 1.02" in error.problem
    (error,) = listener.hear(make.transform(0, "base", "tool", *STILL))
    assert "stamp is 0 s" in error.problem
    chain = TransformChain(SPEC.joints[1])
    for count in (1001, 600):
        crowd = [make.transform(1, "map", f"f{count}.{row}", *STILL) for row in range(count)]
        with pytest.raises(
            DecodeError, match="more than 1000" if count > 1000 else "no transform"
        ):
            chain.hear(make.tf(*crowd), 1)
    with pytest.raises(DecodeError, match="more than 1000"):
        chain.hear(make.tf(*(make.transform(1, "a", f"g{row}", *STILL) for row in range(600))), 1)


def arm(seconds: float = 2.0, tool: str = "tool") -> tuple[make.Recording, np.ndarray]:
    """The plain recording, a chain of two joints at 50 Hz that two nodes publish, and a map that a
    third one publishes. And the poses of the tool, (N, 9)."""
    made, poses = make.recording(seconds), []
    for index in range(int(seconds * 50)):
        stamp = make.START + index * 20 * MS
        turns = np.array([[0, 0, index / 20], [0, index / 30, 1]])
        positions = np.array([[0, 0, 0.3], [index / 100, 0, 0.2]])
        shoulder, elbow = (
            make.transform(stamp, parent, child, position, quaternion(turn))
            for parent, child, position, turn in zip(
                ("base", "arm"), ("arm", tool), positions, turns
            )
        )
        cart = make.transform(stamp, "map", "base", *STILL)
        for row, parts in enumerate(((shoulder,), (cart,), (elbow,))):
            made.add("/tf", make.TF, stamp + row * 100_000, make.tf(*parts))
        product = matrix(positions[0], turns[0]) @ matrix(positions[1], turns[1])
        poses.append(expected(product))
    return made, np.array(poses)


def test_a_bag_gives_the_pose_at_its_ticks(tmp_path: Path) -> None:
    made, poses = arm()
    dataset = load_dataset([made.write(tmp_path / "bag")], SPEC, validation=0)
    (episode,) = dataset.episodes
    ticks = (episode.ticks - make.START) // (20 * MS)
    np.testing.assert_allclose(episode.joints[:, 2:], poses[ticks], atol=1e-9)
    assert dataset.spec.joint_labels[2] == "/tf/tool/position.x"
    stream = next(one for one in dataset.bags[0].streams if one.topic == "/tf")
    assert stream.void == 0 and stream.messages == 300


def test_a_bag_whose_frames_are_others(tmp_path: Path) -> None:
    path = arm(tool="flange")[0].write(tmp_path / "bag")
    with pytest.raises(BagError, match=r"no transform moves 'tool'.*there are arm, base, flange"):
        load_dataset([path], SPEC)


def test_what_a_recorder_demands_of_a_shared_topic() -> None:
    """Several publishers are as it should be; the newest message may be of any of them."""
    channel = next(one for one in channels(SPEC) if one.topic == "/tf")
    messages = [
        make.tf(make.transform(make.START, "base", "tool", *STILL)),
        make.tf(make.transform(make.START, "map", "cart", *STILL)),
    ]

    def problems(channel: Channel, messages: list[Any]) -> str:
        for row in range(30):
            channel.arrived(row * 50 * MS, b"")
        nodes = [("arm", make.TF), ("cart", make.TF)]
        found = channel.problems("/tf", nodes, messages, make.START, 1500 * MS)
        return "; ".join(found)

    assert problems(channel, messages) == ""
    assert len(channel.last) == 30
    channel = next(one for one in channels(SPEC) if one.topic == "/tf")
    assert "unusable: no transform moves 'tool'" in problems(channel, messages[1:])


def test_a_message_that_moves_nothing_here_is_told_apart() -> None:
    chain = TransformChain(SPEC.joints[1])
    chain.hear(make.tf(make.transform(1, "base", "tool", *STILL)), 1)
    with pytest.raises(NoTransform, match="does not move 'tool'"):
        chain.hear(make.tf(), 2)
