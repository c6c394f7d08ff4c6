# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The same bag through training and, over real DDS, through the real inference node: the float32
tensors that enter the network are the same, bit for bit. The wide table, without DDS, is
test/unit/streams/test_tensor_parity.py."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import bag_making as make
import cv2
import numpy as np
import parity
import pytest
from in_time import NotInTime
from ros_testing import JOINTS, TIMEOUT, Graph, small_spec, wait_until

from sarnn_ros.data.bags import Bag, absolute
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.policy.directory import load_config
from sarnn_ros.spec import Spec
from sarnn_ros.streams.decode import stamp_ns
from sarnn_ros.streams.preprocess import JointNormaliser

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).parents[1] / "support"
SECONDS = 2.5
#: What is undone where the camera was moved by 5 % of its image's width.
MOVED = np.array([[1.0, 0.01, -0.05 * 64], [-0.01, 1.0, 0.7], [2e-4, -1e-4, 1.0]])
FLOAT = "std_msgs/msg/Float64"


def hard_to_read(compressed: bool, tick: str) -> make.Recording:
    """A recording with whatever must not make a difference: drops, duplicates, disorder, void
    messages, padding, reordered and extra joints."""
    rng = np.random.default_rng(3)
    recording = make.Recording()
    for index in range(round(SECONDS * 30)):
        if index % 13 == 5:
            continue
        stamp = make.START + round(index / 30 * make.SECOND) + int(rng.integers(0, 3_000_000))
        delay = int(rng.integers(1_000_000, 25_000_000))
        pixels = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (64, 48))
        if compressed:
            data = cv2.imencode(".jpg", pixels)[1].tobytes()
            # Broken ones only between the ticks, or there is no episode.
            if index % 11 == 3 if tick == "grid" else index % 33 == 4:
                data = b"no image" + data
            recording.add(
                "/image_raw/compressed",
                make.COMPRESSED,
                stamp + delay,
                make.compressed(stamp, data),
            )
            continue
        rows = np.pad(pixels.reshape(48, -1), ((0, 0), (0, 5)))
        message = make.image(stamp, rows, "bgr8", width=64, step=rows.shape[1])
        if index % 11 == 3:
            message.step -= 1
        recording.add("/image_raw", make.IMAGE, stamp + delay, message)
    for index in range(round(SECONDS * 100)):
        stamp = make.START + index * 10_000_000 + int(rng.integers(-4_000_000, 4_000_000))
        names = ["extra", *rng.permutation(JOINTS)]
        values = rng.normal(size=4)
        if index % 17 == 2:
            values[2] = np.nan
        if index % 19 == 7:
            stamp = 0
        if index % 23 == 9:
            stamp = make.START + (index - 1) * 10_000_000
        receive = make.START + index * 10_000_000 + 5_000_000
        efforts = 50 * rng.normal(size=4)
        if index % 29 == 11:
            efforts[:] = np.nan
        message = make.joint_state(stamp, values, names, effort=efforts)
        recording.add("/joint_states", make.JOINTS, receive, message)
    for index in range(round(SECONDS * 50)):
        receive = make.START + index * 20_000_000 + 3_000_000
        message = make.T[FLOAT](data=float(rng.normal()) if index % 9 else np.nan)
        recording.add("/gripper", FLOAT, receive, message)
        values = 20 * rng.normal(size=6)
        if index % 7 == 3:
            values[2] = np.inf
        recording.add("/wrench", make.WRENCH, receive, make.wrench(receive - 2_000_000, values))
        turn = rng.normal(size=4)
        turn *= (index % 11 != 5) / np.linalg.norm(turn)  # one in eleven was not set
        pose = make.pose(receive - 1_000_000, values[:3], turn)
        recording.add("/tool", make.POSE, receive, pose)
        # Two nodes move the arm's two frames; the elbow's is sometimes late by a message.
        for row, (parent, child) in enumerate((("base", "arm"), ("arm", "hand"))):
            turn = rng.normal(size=4)
            stamp = receive - (row + 1) * 1_000_000 - (row and index % 8 == 3) * 20_000_000
            part = make.transform(stamp, parent, child, values[3:], turn / np.linalg.norm(turn))
            recording.add("/tf", make.TF, receive + row * 500_000, make.tf(part))
    return recording


FORCES = [
    {"names": ["joint2", "joint1"], "field": "effort", "command": False},
    {"topic": "wrench", "type": make.WRENCH, "names": ["torque.y", "force.z"], "command": False},
    {"topic": "tool", "type": make.POSE, "names": ["axis_y.x", "position.y"], "command": False},
]
if find_spec("tf2_msgs"):  # an installed ROS has it, the wheels have not
    FORCES.append(
        {
            "topic": "/tf", "type": make.TF, "frame_id": "base", "child_frame_id": "hand",
            "names": ["axis_x.y", "position.z"], "command": False,
        }
    )  # fmt: skip


class Replay:
    """Publishes a bag message by message, each when the node has taken the one before."""

    def __init__(self, graph: Graph, bag: Bag, spec: Spec) -> None:
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
        from rosgraph_msgs.msg import Clock
        from std_msgs.msg import String

        from sarnn_ros.ros.messages import message_class

        self.bag = bag
        self._node = graph.node
        self.published = 0
        self._clock_type = Clock
        self._publishers = {
            topic: graph.node.create_publisher(message_class(kind), topic, 10)
            for topic, kind in {
                absolute(one.topic): one.type for one in (*spec.cameras, *spec.joints)
            }.items()
        }
        self._clock = graph.node.create_publisher(
            Clock, "/clock", QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        )
        # Kept by the node for whoever is discovered late.
        lasting = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._heard: set[str] = set()
        self._told = threading.Condition()
        graph.node.create_subscription(String, "acknowledge", self._hear, lasting)

    def close(self) -> None:
        for publisher in [*self._publishers.values(), self._clock]:
            self._node.destroy_publisher(publisher)

    def connected(self) -> bool:
        every = [*self._publishers.values(), self._clock]
        known = all(publisher.get_subscription_count() for publisher in every)
        return known and "connected" in self._heard

    def _hear(self, message: Any) -> None:
        with self._told:
            self._heard.add(message.data)
            self._told.notify_all()

    def publish(self, topic: str, raw: Any) -> None:
        self._publishers[topic].publish(bytes(raw))  # as recorded, not serialized again
        self.published += 1
        self.wait(f"received {self.published}")

    def set_clock(self, time_ns: int) -> None:
        message = self._clock_type()
        message.clock.sec, message.clock.nanosec = divmod(time_ns, make.SECOND)
        for _ in range(100):
            # Nodes listen to the clock by best effort: what is lost must be said again.
            self._clock.publish(message)
            if self._is_told(f"clock {time_ns}", 0.3):
                return
        raise NotInTime(f"the node's clock does not come to {time_ns}")

    def tick(self, time_ns: int) -> None:
        self.set_clock(time_ns)
        self.wait(f"tick {time_ns}")

    def wait(self, text: str) -> None:
        assert self._is_told(text, TIMEOUT), f"not told: {text}"

    def _is_told(self, text: str, timeout: float) -> bool:
        """Whether the node says so in time; a message takes a tenth of a poll's pause."""
        with self._told:
            return self._told.wait_for(lambda: text in self._heard, timeout)


def replay(replay: Replay, spec: Spec, ticks: list[int]) -> None:
    """Clock and messages in order: at a tick, everything stamped up to it has arrived. Where
    images are ticks, the node is waited for when the image is out."""
    topics = {absolute(one.topic) for one in (*spec.cameras, *spec.joints)}
    messages = list(replay.bag.messages(topics))
    camera = absolute(spec.cameras[0].topic)
    if spec.clock == "header" and spec.trigger is not None:
        due = [
            message.receive_ns - (0 if message.topic == camera else 30_000_000)
            for message in messages
        ]
    elif spec.clock == "header":
        due = [message.receive_ns - 30_000_000 for message in messages]  # none is later than that
    else:
        due = [message.receive_ns for message in messages]
    events = [(time, 0, message) for time, message in zip(due, messages, strict=True)]
    if spec.trigger is None:
        events += [(tick, 1, None) for tick in ticks]
    events.sort(key=lambda event: event[:2])
    replay.set_clock(events[0][0])  # without a clock, every stamp is in the future
    for time, _, message in events:
        if message is None:
            replay.tick(time)
            continue
        on_image = spec.trigger is not None and message.topic == camera
        if spec.clock == "receive" or on_image:
            replay.set_clock(time)  # so that the node receives it when the recorder did
        replay.publish(message.topic, message.raw)
        if on_image:
            image = replay.bag.decode(message)
            label = stamp_ns(image) if spec.clock == "header" else time
            if label in ticks:
                replay.wait(f"tick {label}")


# Every pair of the three; each with each other, without DDS, is in test_tensor_parity.
@pytest.mark.parametrize(
    ("tick", "clock", "compressed", "moved"),
    [
        ("grid", "header", False, False),
        ("grid", "receive", True, False),
        ("image", "header", True, False),
        ("image", "receive", False, False),
        ("grid", "header", False, True),
    ],
)
def test_the_policy_sees_what_it_was_trained_on(
    tick: str,
    clock: str,
    compressed: bool,
    moved: bool,
    graph: Graph,
    launch: Callable[..., Any],
    make_policy: Callable[..., Path],
    tmp_path: Path,
):
    camera = {"name": "front", "width": 32, "height": 24, "max_age": 0.25}
    if compressed:
        camera |= {"topic": "image_raw/compressed", "type": make.COMPRESSED}
    camera["crop"] = {"x": 3, "y": 2, "width": 50, "height": 40}
    joints = [{"names": list(JOINTS)}, *FORCES]
    if clock == "receive":  # the only clock of messages without a header
        joints.append({"topic": "gripper", "type": FLOAT, "names": ["finger"]})
    image_range = [-1.0, 1.0] if compressed else [0.0, 1.0]
    spec = small_spec(
        tick=tick, clock=clock, cameras=[camera], joints=joints, image_range=image_range
    )
    bag_path = hard_to_read(compressed, tick).write(tmp_path / "bag")
    known = [parity.displacement("front", "bag", MOVED, (64, 48))] if moved else []
    dataset = load_dataset([bag_path], spec, validation=0, displacements=known)
    episode = dataset.episodes[0]
    assert len(episode.ticks) >= 20
    ticks = episode.ticks.tolist()

    out = tmp_path / "seen"
    out.mkdir()
    if moved:
        np.savez(tmp_path / "moved.npz", front=MOVED)
    policy = make_policy(spec=spec, source_size=(64, 48))
    node = launch(
        sys.executable, SUPPORT / "observing_node.py", out, policy, "--ros-args",
        "-p", f"policy:={policy}", "-p", "use_sim_time:=true", "-p", "reliability:=reliable",
        "-p", "watch.max_ahead:=0.3",  # the replay's clock moves from tick to tick
    )  # fmt: skip
    with Bag(bag_path) as bag:
        player = Replay(graph, bag, spec)
        wait_until(player.connected, lambda: f"subscriptions\n{node.output}")
        period = spec.period_ns
        # Ticks before and after as well: there the node must see nothing, or the same nothing.
        replay(player, spec, [ticks[0] - period, *ticks])
        player.close()
    node.stop()

    seen = {int(path.stem): dict(np.load(path)) for path in out.iterdir()}
    bounds = load_config(policy).normalisation
    normaliser = JointNormaliser(bounds.minimum, bounds.maximum, spec.joint_range)
    trained = parity.training_tensors(replace(dataset, normaliser=normaliser))
    assert parity.differences(trained, seen) == []
    assert len({tensors["front"].tobytes() for tensors in trained.values()}) > 15
    for name in seen[ticks[5]]:
        changed = parity.perturbed(seen, ticks[5], name, 100)
        assert len(parity.differences(trained, changed)) == 1
