# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One episode in a file: npz, ACT's and RoboManipBaselines' HDF5. The same rows in each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bag_making as make
import cv2
import h5py
import numpy as np
import pytest

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.data.report import examine
from sarnn_ros.errors import BagError
from sarnn_ros.interop.loading import Arrays, load_dataset, propose
from sarnn_ros.interop.video import FilmWriter

COUNT, RATE = 31, 20.0
IMAGES = np.stack([make.colour(row * 7) for row in range(COUNT)])
STATE = np.stack([np.arange(COUNT) / 10, -np.arange(COUNT) / 20], axis=1)
ACTION = STATE + 0.005
TOUCH = np.sin(np.arange(COUNT))
TIME = np.arange(COUNT) / RATE + 12.0


def npz(path: Path) -> Path:
    arrays = {"images": IMAGES, "joints": STATE, "action": ACTION, "touch": TOUCH}
    np.savez(path.with_suffix(".npz"), **arrays, intrinsics=np.eye(3), note="left hand")
    return path.with_suffix(".npz")


def npz_with_time(path: Path) -> Path:
    np.savez(path.with_suffix(".npz"), images=IMAGES, qpos=STATE, actions=ACTION, time=TIME,
             touch=TOUCH)  # fmt: skip
    return path.with_suffix(".npz")


def act(path: Path) -> Path:
    with h5py.File(path.with_suffix(".hdf5"), "w") as file:
        file["observations/images/top"] = IMAGES
        file["observations/qpos"], file["observations/qvel"] = STATE, STATE * 0
        file["observations/touch"], file["action"] = TOUCH, ACTION
        file.attrs["sim"] = False
    return path.with_suffix(".hdf5")


def act_compressed(path: Path) -> Path:
    """As ACT's later scripts: JPEG files, padded to the longest; here PNG, to be compared."""
    files = [cv2.imencode(".png", image)[1].reshape(-1) for image in IMAGES]
    longest = max(map(len, files))
    with h5py.File(path.with_suffix(".hdf5"), "w") as file:
        file["observations/images/top"] = np.stack(
            [np.pad(raw, (0, longest - len(raw))) for raw in files]
        )
        file["observations/qpos"], file["action"] = STATE, ACTION
        file["observations/touch"] = TOUCH
    return path.with_suffix(".hdf5")


def _rmb(file: h5py.File) -> None:
    file["time"], file["touch"] = TIME, TOUCH
    file["measured_joint_pos"], file["command_joint_pos"] = STATE, ACTION
    file["measured_eef_wrench"] = np.tile(np.arange(6.0), (COUNT, 1))


def rmb_single(path: Path) -> Path:
    with h5py.File(path.with_suffix(".hdf5"), "w") as file:
        _rmb(file)
        file["top_rgb_image"] = IMAGES
        file["top_depth_image"] = np.zeros(IMAGES.shape[:3], np.float32)
    return path.with_suffix(".hdf5")


def rmb_compact(path: Path) -> Path:
    folder = path.with_suffix(".rmb")
    folder.mkdir(parents=True)
    with h5py.File(folder / "main.rmb.hdf5", "w") as file:
        _rmb(file)
    film = FilmWriter(folder / "top_rgb_image.rmb.mp4", (16, 12), RATE)
    for image in IMAGES:
        film.add(image)
    film.close()
    (folder / "top_depth_image.rmb.mp4").write_bytes(b"not looked at")
    return folder


LAYOUTS: list[Callable[[Path], Path]] = [
    npz, npz_with_time, act, act_compressed, rmb_single, rmb_compact
]  # fmt: skip


def load(path: Path, **spec: Any) -> Dataset:
    """At half the rate of the rows."""
    return load_dataset([path], make.spec(**spec), arrays=Arrays(rate=RATE))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("target", ["next_state", "command"])
def test_every_layout_says_the_same(layout, target: str, tmp_path):
    touch = {"topic": "touch", "names": ["fingertip"], "type": "std_msgs/msg/Float64",
             "clock": "receive", "command": False}  # fmt: skip
    joints = [{"names": list(make.NAMES)}, touch]
    (episode,) = load(layout(tmp_path / "take"), joints=joints, target=target).episodes
    assert len(episode.ticks) == 16 and (np.diff(episode.ticks) == 100_000_000).all()
    assert np.array_equal(episode.joints, np.column_stack([STATE, TOUCH])[::2])
    commands = ACTION[[*range(1, COUNT, 2), COUNT - 1]]
    expected = commands if target == "command" else STATE[[*range(2, COUNT, 2), COUNT - 1]]
    assert episode.targets[:, :2] == pytest.approx(expected)
    images = episode.images["front"].astype(int)
    assert np.abs(images - IMAGES[::2]).mean() < (3 if layout is rmb_compact else 1e-9)
    assert max(episode.lead) == pytest.approx(0.105)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda one: one.__name__)
def test_a_spec_is_proposed(layout, tmp_path):
    spec = propose([layout(tmp_path / "take")], Arrays(rate=5.0)).spec
    has_time = layout in (npz_with_time, rmb_single, rmb_compact)
    assert spec.rate == (10.0 if has_time else 5.0)
    assert spec.joint_labels == ("joint_0", "joint_1")
    assert spec.cameras[0].name == ("images" if "npz" in layout.__name__ else "top")
    path = next(tmp_path.iterdir())
    assert load_dataset([path], spec, arrays=Arrays(rate=5.0)).episodes


@pytest.mark.parametrize("layout", ["npz", "rmb"])
def test_time_may_begin_below_zero(layout, tmp_path):
    """As of a trigger."""
    if layout == "npz":
        np.savez(tmp_path / "a.npz", images=IMAGES, qpos=STATE, time=TIME - TIME[14])
    else:
        path = rmb_single(tmp_path / "a")
        with h5py.File(path, "a") as file:
            file["time"][:] = TIME - TIME[-1] - 5.0
    (path,) = tmp_path.iterdir()
    plain = load(npz_with_time(tmp_path / "b"))
    assert len(load(path).episodes[0].ticks) == len(plain.episodes[0].ticks)


@pytest.mark.parametrize("target", ["next_state", "command"])
def test_actions_of_another_number_of_rows(target, tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, joints=STATE, action=ACTION[:-1])
    spec = propose([tmp_path / "a.npz"], Arrays(rate=RATE)).spec
    spec = spec.model_copy(update={"target": target})
    if target == "next_state":
        assert load_dataset([tmp_path], spec, arrays=Arrays(rate=RATE)).episodes
    else:
        with pytest.raises(BagError, match=r"no "):
            load_dataset([tmp_path], spec, arrays=Arrays(rate=RATE))


def test_numbers_below_images_are_no_pictures(tmp_path):
    path = act(tmp_path / "take")
    with h5py.File(path, "a") as file:
        file["observations/images/timestamps"] = TIME
    assert load(path).episodes


def test_rows_that_are_slower_than_the_ticks_are_told(tmp_path):
    path = npz(tmp_path / "take")
    spec = propose([path], Arrays(rate=10.0)).spec
    for rate in (5.0, 10.0):
        problems = examine(load_dataset([path], spec, arrays=Arrays(rate=rate))).problems
        told = [one.where for one in problems if "slower than the 10 Hz" in one.found]
        assert bool(told) is (rate < 10.0), told


def test_columns_by_index_and_by_their_own_key(tmp_path):
    path = rmb_single(tmp_path / "take")
    array = "std_msgs/msg/Float64MultiArray"
    joints = [
        {"topic": "arm", "type": array, "clock": "receive", "names": ["b"], "indices": [1]},
        {"topic": "measured_eef_wrench", "type": "geometry_msgs/msg/WrenchStamped",
         "names": ["force.z", "torque.x"], "command": False},
    ]  # fmt: skip
    (episode,) = load(path, joints=joints).episodes
    assert np.array_equal(episode.joints[:, 0], STATE[::2, 1])
    assert episode.joints[0, 1:].tolist() == [2.0, 3.0]


def test_columns_of_the_action_without_names_are_those_of_the_state(tmp_path):
    array = {"type": "std_msgs/msg/Float64MultiArray", "clock": "receive"}
    turned = [
        {"topic": "arm", **array, "names": [name], "indices": [column]}
        for name, column in (("b", 1), ("a", 0))
    ]
    (episode,) = load(npz(tmp_path / "take"), joints=turned, target="command").episodes
    commands = ACTION[[*range(1, COUNT, 2), COUNT - 1]]
    assert np.array_equal(episode.targets, commands[:, ::-1])

    wide = np.column_stack([STATE, TOUCH])  # and the action has two columns: which are they?
    np.savez(tmp_path / "wide.npz", images=IMAGES, joints=wide, action=ACTION)
    with pytest.raises(BagError, match="in another order than the state's columns"):
        load(tmp_path / "wide.npz", joints=turned, target="command")
    in_order = turned[::-1]
    (episode,) = load(tmp_path / "wide.npz", joints=in_order, target="command").episodes
    assert np.array_equal(episode.targets, commands)


@pytest.mark.parametrize(
    ("rows", "rate"), [(15, 7.5), (25, 25 / 3), (12.5, 6.25), (30, 10), (50, 10), (8, 8)]
)
def test_a_proposed_tick_is_a_whole_number_of_rows(rows: float, rate: float, tmp_path):
    count = 120
    state = 0.01 * np.arange(count)[:, None] * [1.0, -1.0]
    np.savez(tmp_path / "take.npz", images=np.resize(IMAGES, (count, 12, 16, 3)), joints=state)
    arrays = Arrays(rate=rows)
    spec = propose([tmp_path], arrays).spec
    assert spec.rate == pytest.approx(rate, abs=1e-5)
    dataset = load_dataset([tmp_path], spec, arrays=arrays)
    steps = np.diff(dataset.episodes[0].joints[:, 0])
    assert steps == pytest.approx(np.full(len(steps), 0.01 * round(rows / rate)))
    assert not [one for one in dataset.problems if "rows come at" in one.found]

    uneven = spec.model_copy(update={"rate": rate * 0.7})
    told = [one.remedy for one in load_dataset([tmp_path], uneven, arrays=arrays).problems]
    assert any(one.startswith("set 'rate: ") for one in told), told


def test_rows_with_a_time_of_their_own_are_the_ticks_where_they_are_no_more_often(tmp_path):
    times = 0.1 * np.arange(COUNT) + np.random.default_rng(0).uniform(-2e-3, 2e-3, COUNT)
    np.savez(tmp_path / "take.npz", images=IMAGES, joints=STATE, time=times[:, None])
    spec = propose([tmp_path]).spec
    (episode,) = load_dataset([tmp_path], spec).episodes
    assert np.array_equal(episode.joints, STATE)


def test_a_guessed_rate_is_told(tmp_path):
    path = npz(tmp_path / "take")
    for rate in (None, RATE):
        problems = load_dataset([path], make.spec(), arrays=Arrays(rate=rate)).problems
        told = [one for one in problems if "does not say the rate" in one.found]
        assert bool(told) is (rate is None)
        assert all(one.remedy == "give --fps" for one in told)


def test_cameras_whose_keys_end_alike_are_told_apart(tmp_path):
    with h5py.File(tmp_path / "take.hdf5", "w") as file:
        for side in ("left", "right"):
            file[f"observations/images/{side}/rgb"] = IMAGES
        file["observations/qpos"] = STATE
    spec = propose([tmp_path]).spec
    assert [one.name for one in spec.cameras] == ["left", "right"]
    assert load_dataset([tmp_path], spec).episodes


def test_several_in_a_folder_and_bgr(tmp_path):
    for number in (2, 10):
        np.savez(tmp_path / f"take{number}.npz", images=IMAGES, joints=STATE + number)
    (tmp_path / "day2").mkdir()
    act(tmp_path / "day2" / "take")
    dataset = load_dataset([tmp_path], make.spec(), arrays=Arrays(rate=RATE, bgr=True))
    assert [one.name for one in dataset.episodes] == ["take", "take2", "take10"]
    for episode in dataset.episodes:
        assert np.array_equal(episode.images["front"], IMAGES[::2, ..., ::-1])


@pytest.mark.parametrize(
    ("arrays", "spec", "says"),
    [
        ({"images": IMAGES}, {}, "no state"),
        ({"joints": STATE}, {}, "no images"),
        ({"images": IMAGES[:-1], "joints": STATE}, {}, "rows differ: joints 31, images 30"),
        ({"images": IMAGES, "joints": STATE, "time": TIME[::-1]}, {}, "does not rise"),
        ({"images": IMAGES, "joints": STATE, "time": np.append(TIME[:-1], np.nan)}, {},
         "is nan in row 30: seconds are wanted"),
        ({"images": IMAGES.transpose(0, 3, 1, 2), "joints": STATE}, {},
         r"no images, .*images uint8 \(31, 3, 12, 16\)"),
        ({"images": IMAGES, "joints": STATE * np.nan}, {}, "no row is finite"),
        ({"images": IMAGES, "joints": np.zeros((COUNT, 3))}, {}, "3 columns without names"),
        ({"images": IMAGES, "joints": STATE}, {"target": "command"}, "no commands"),
        ({"images": IMAGES, "joints": STATE, "action": np.zeros((COUNT, 5))},
         {"target": "command"}, "5 columns without names"),
        ({"top": IMAGES, "side": IMAGES, "joints": STATE}, {}, "no camera 'front'"),
        ({"images": IMAGES, "joints": STATE}, {"crop": {"x": 9, "y": 0, "width": 8, "height": 8}},
         "exceeds the image of 16 x 12"),
        ({"images": IMAGES, "joints": np.array([object()])}, {}, "cannot be read"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit(arrays, spec, says: str, tmp_path):
    np.savez(tmp_path / "take.npz", **arrays)
    with pytest.raises(BagError, match=says):
        load(tmp_path / "take.npz", **spec)


@pytest.mark.parametrize("layout", [npz, act, rmb_compact], ids=lambda one: one.__name__)
def test_a_cut_file_takes_no_other_down(layout, tmp_path):
    layout(tmp_path / "sound")
    whole = layout(tmp_path / "zcut")
    file = whole / "top_rgb_image.rmb.mp4" if whole.is_dir() else whole
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    dataset = load(tmp_path)
    assert [one.verdict for one in dataset.bags] == ["sound", "left out"]
    assert "zcut" in next(one.where for one in dataset.problems if one.severity == "error")


def test_a_row_that_is_not_finite_counts_as_never_sent(tmp_path):
    state = STATE.copy()
    state[10] = np.nan
    np.savez(tmp_path / "take.npz", images=IMAGES, joints=state)
    dataset = load(tmp_path / "take.npz")
    assert dataset.episodes[0].joints[5].tolist() == STATE[9].tolist()  # 50 ms old
    assert dataset.bags[0].void["joints"].count == 1
