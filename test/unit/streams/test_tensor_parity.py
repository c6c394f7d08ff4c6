# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training and robot see the same: the float32 tensors that enter the network, bit for bit.

A bag through training's path against the same messages through the live path, for every encoding,
geometry, kind of tick and kind of joint source. Which message belongs to which tick, when things
go wrong, is test_parity_offline.py's; DDS is test/ros/test_parity.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bag_making as make
import cv2
import numpy as np
import parity
import pytest
from encodings_table import CASES, Case, message_of

from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.spec import ARRAY_TYPES, NAMED_TYPES, NUMBER_TYPES, Spec

MS = 1_000_000
SECONDS = 1.6
IMAGE_DELAY, JOINT_DELAY = 20 * MS, 2 * MS
STATE = {"names": list(make.NAMES)}
RECEIVE = {"clock": "receive"}


def record(
    path: Path, spec: Spec, image_of: Callable[[np.random.Generator, int], Any] | None = None
) -> Path:
    """Random images at 30 Hz and random joints at 100 Hz on every topic of the spec."""
    rng = np.random.default_rng(7)
    recording = make.Recording()
    for camera in spec.cameras:
        for index in range(round(SECONDS * 30)):
            stamp = make.START + index * make.SECOND // 30 + int(rng.integers(0, 3 * MS))
            if image_of is None:
                message = make.image(stamp, rng.integers(0, 256, (20, 28, 3), np.uint8))
            else:
                message = image_of(rng, stamp)
            recording.add(f"/{camera.topic}", camera.type, stamp + IMAGE_DELAY, message)
    for topic, kind in {source.topic: source.type for source in spec.joints}.items():
        for index in range(round(SECONDS * 100)):
            stamp = make.START + index * 10 * MS + int(rng.integers(0, 3 * MS))
            recording.add(f"/{topic}", kind, stamp + JOINT_DELAY, joints_of(kind, rng, stamp))
    return recording.write(path)


def joints_of(kind: str, rng: np.random.Generator, stamp: int) -> Any:
    """A message of this type with random values of three joints in random order."""
    names = [str(name) for name in rng.permutation(["extra", *make.NAMES])]
    values = [rng.normal(size=3) for _ in range(3)]
    if kind == make.JOINTS:
        return make.joint_state(stamp, values[0], names, velocity=values[1], effort=values[2])
    if kind == make.WRENCH:
        return make.wrench(stamp, np.concatenate(values[:2]))
    if kind == make.POSE:
        turn = rng.normal(size=4)
        return make.pose(stamp, values[0], turn / np.linalg.norm(turn))
    if kind == make.TF:
        turns = rng.normal(size=(2, 4))
        turns /= np.linalg.norm(turns, axis=1, keepdims=True)
        parts = [
            make.transform(stamp, parent, child, *where)
            for parent, child, where in zip(("base", "arm"), ("arm", "tool"), zip(values, turns))
        ]
        # Of another node, of one joint, or of both.
        return make.tf(*parts[rng.integers(0, 3) :])
    if kind in NUMBER_TYPES:
        return make.T[kind](data=float(np.float32(values[0][0])))
    if kind in ARRAY_TYPES:
        width = np.float32 if "32" in kind else np.float64
        layout = make.T["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
        return make.T[kind](layout=layout, data=values[0].astype(width))
    empty = np.zeros(0)
    duration = make.T["builtin_interfaces/msg/Duration"](sec=0, nanosec=0)
    point = make.T["trajectory_msgs/msg/JointTrajectoryPoint"](
        positions=values[0], velocities=values[1], accelerations=empty, effort=values[2],
        time_from_start=duration,
    )  # fmt: skip
    points = {"points": [point]}
    if kind == make.CONTROLLER_STATE:
        points = {"reference": point, "feedback": point}
    return make.T[kind](header=make.header(stamp), joint_names=names, **points)


def sides(path: Path, spec: Spec, moved: dict[str, np.ndarray] | None = None) -> tuple[dict, dict]:
    """The tensors of training and of the robot. :param moved: what is undone, by camera."""
    displacements = [
        parity.displacement(camera, path.name, matrix, (28, 20))
        for camera, matrix in (moved or {}).items()
    ]
    dataset = load_dataset([path], spec, validation=0, displacements=displacements)
    (episode,) = dataset.episodes
    # A tick before and one after: there the robot must see nothing, or the same nothing.
    ticks = episode.ticks.tolist()
    trained = parity.training_tensors(dataset)
    live = parity.live_tensors(path, spec, dataset.normaliser, ticks, IMAGE_DELAY, moved)
    if spec.trigger is not None:  # beyond the episode, ticks were trimmed
        live = {tick: tensors for tick, tensors in live.items() if ticks[0] <= tick <= ticks[-1]}
    return trained, live


def assert_same(trained: dict, live: dict) -> None:
    assert len(trained) >= 6
    for name in next(iter(trained.values())):  # and it is not one image or state all along
        assert len({tensors[name].tobytes() for tensors in trained.values()}) > 3, name
    assert parity.differences(trained, live) == []


def raw(case: Case, layout: str) -> Callable[[np.random.Generator, int], Any]:
    def image_of(rng: np.random.Generator, stamp: int) -> Any:
        message, _ = message_of(case, layout, rng)
        message.header = make.header(stamp)
        return message

    return image_of


@pytest.mark.parametrize("layout", ["tight", "padded", "big-endian"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.encoding)
def test_every_encoding(case: Case, layout: str, tmp_path: Path) -> None:
    spec = make.spec(width=9, height=8, value_range=case.value_range)
    assert_same(*sides(record(tmp_path / "bag", spec, raw(case, layout)), spec))


@pytest.mark.parametrize("form", ["jpeg", "png", "16 bit"])
def test_compressed_images(form: str, tmp_path: Path) -> None:
    def image_of(rng: np.random.Generator, stamp: int) -> Any:
        if form == "16 bit":
            pixels = rng.integers(0, 6000, (20, 28)).astype(np.uint16)
            data = cv2.imencode(".png", pixels)[1].tobytes()
            return make.compressed(stamp, data, "16UC1; png compressed ")
        pixels = rng.integers(0, 256, (20, 28, 3), np.uint8)
        data = cv2.imencode(".jpg" if form == "jpeg" else ".png", pixels)[1].tobytes()
        return make.compressed(stamp, data, f"bgr8; {form} compressed bgr8")

    spec = make.spec(
        width=9,
        height=8,
        type=make.COMPRESSED,
        value_range=[100, 5000] if form[0] == "1" else None,
    )
    assert_same(*sides(record(tmp_path / "bag", spec, image_of), spec))


@pytest.mark.parametrize("size", [(28, 20), (14, 10), (9, 8), (56, 40), (40, 10)])
@pytest.mark.parametrize("crop", [None, (3, 2, 21, 15), (1, 0, 14, 10)])
@pytest.mark.parametrize("image_range", [(0.0, 1.0), (0.1, 0.9), (-1.0, 1.0)])
def test_every_geometry_and_range(
    size: tuple[int, int], crop: tuple[int, ...] | None, image_range: tuple, tmp_path: Path
) -> None:
    spec = make.spec(
        width=size[0], height=size[1], image_range=image_range, joint_range=image_range,
        crop=dict(zip(("x", "y", "width", "height"), crop)) if crop else None,
    )  # fmt: skip
    assert_same(*sides(record(tmp_path / "bag", spec), spec))


@pytest.mark.parametrize("tick", ["grid", "image"])
@pytest.mark.parametrize("clock", ["header", "receive"])
@pytest.mark.parametrize("rate", [5.0, 7.3, 10.0, 15.0, 30.0])
def test_every_tick(tick: str, clock: str, rate: float, tmp_path: Path) -> None:
    spec = make.spec(tick=tick, clock=clock, rate=rate, width=9, height=8)
    assert_same(*sides(record(tmp_path / "bag", spec), spec))


def sources() -> Iterator[Any]:
    """Every type and field, beside a source that is commanded."""
    for kind in NAMED_TYPES:
        for field in ("position", "velocity", "effort"):
            yield pytest.param({"type": kind, "field": field, **STATE}, id=f"{kind} {field}")
    for kind in NUMBER_TYPES:
        yield pytest.param({"type": kind, "names": ["a"], **RECEIVE}, id=kind)
    for kind in ARRAY_TYPES:
        yield pytest.param({"type": kind, "names": ["a", "b"], **RECEIVE}, id=kind)
        picked = {"type": kind, "names": ["a", "b"], "indices": [2, 0], **RECEIVE}
        yield pytest.param(picked, id=f"{kind} by index")
    yield pytest.param({"type": make.WRENCH, "names": ["torque.y", "force.x"]}, id=make.WRENCH)
    yield pytest.param({"type": make.POSE, "names": ["axis_y.z", "position.x"]}, id=make.POSE)
    tool = {"topic": "tf", "frame_id": "base", "child_frame_id": "tool"}
    for names in (["axis_y.z", "position.x"], ["position.z"]):
        yield pytest.param({"type": make.TF, "names": names, **tool}, id=f"{make.TF} {names[0]}")


@pytest.mark.parametrize("source", list(sources()))
@pytest.mark.parametrize("clip", [None, 0.2], ids=["bounds", "clip"])
def test_every_joint_source(source: dict[str, Any], clip: float | None, tmp_path: Path) -> None:
    other = {"topic": "other", "command": False, **source}
    joints = [other, {"topic": "arm", "names": ["extra"]}]
    spec = make.spec(joints=joints, joint_clip=clip, joint_range=[0.1, 0.9], width=9, height=8)
    assert_same(*sides(record(tmp_path / "bag", spec), spec))


@pytest.mark.parametrize("crop", [None, {"x": 3, "y": 2, "width": 21, "height": 15}])
def test_a_camera_that_was_moved(crop: dict[str, int] | None, tmp_path: Path) -> None:
    """The same warp is undone, before crop and resize, in training and at the robot."""
    spec = make.spec(width=9, height=8, crop=crop)
    path = record(tmp_path / "bag", spec)
    matrix = np.array([[1.01, 0.03, -0.05 * 28], [-0.02, 0.99, 0.6], [1e-4, -2e-4, 1]])
    trained, live = sides(path, spec, {"front": matrix})
    assert_same(trained, live)
    still, _ = sides(path, spec)
    assert len(parity.differences(still, trained)) == len(trained), "only images differ"


def test_two_cameras(tmp_path: Path) -> None:
    cameras = [
        {"name": "front", "width": 9, "height": 8},
        {"name": "wrist", "topic": "wrist", "width": 14, "height": 10},
    ]
    spec = make.spec(cameras=cameras, image_range=[0.1, 0.9])
    assert_same(*sides(record(tmp_path / "bag", spec), spec))


def test_one_last_bit_anywhere_is_found(tmp_path: Path) -> None:
    """Whichever tensor of whichever tick, on either side."""
    speed = {"topic": "arm", "field": "velocity", "names": ["elbow"], "command": False}
    spec = make.spec(width=9, height=8, joints=[STATE, speed])
    trained, live = sides(record(tmp_path / "bag", spec), spec)
    assert_same(trained, live)
    places = np.random.default_rng(0).integers(0, 1000, len(trained))
    for place, (tick, tensors) in zip(places.tolist(), trained.items(), strict=True):
        for name in tensors:
            changed = parity.perturbed(live, tick, name, place)
            assert len(parity.differences(trained, changed)) == 1
            changed = parity.perturbed(trained, tick, name, place)
            assert len(parity.differences(changed, live)) == 1
    assert parity.differences(trained, dict(list(live.items())[1:]))
