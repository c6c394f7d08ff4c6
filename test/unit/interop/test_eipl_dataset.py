# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EIPL's layout: there and back, padding, its split and bounds, and files that do not fit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import bag_making as make
import numpy as np
import pytest

from sarnn_ros.data.dataset import Dataset, Episode, make_dataset
from sarnn_ros.errors import BagError, ConfigError
from sarnn_ros.interop.eipl_dataset import export_eipl
from sarnn_ros.interop.loading import Arrays, find_recordings, load_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    for number, seconds in enumerate((1.0, 1.5, 1.2)):
        make.recording(seconds).write(tmp_path / "bags" / f"take{number}")
    return load_dataset([tmp_path / "bags"], make.spec(joint_range=[0.1, 0.9]))


def episodes(folder: Path, spec=None) -> tuple[Episode, ...]:
    return load_dataset([folder], spec or make.spec()).episodes


def test_there_and_back(dataset, tmp_path):
    export_eipl(tmp_path / "eipl", dataset)
    images = np.load(tmp_path / "eipl" / "train" / "images.npy")
    joints = np.load(tmp_path / "eipl" / "train" / "joints.npy")
    assert images.dtype == np.uint8 and images.shape[0] == 2 and images.shape[2:] == (12, 16, 3)
    assert joints.dtype == np.float32 and joints.shape[:2] == images.shape[:2]
    back = episodes(tmp_path / "eipl" / "train", dataset.spec)
    for one, index in zip(back, dataset.training):
        original = dataset.episodes[index]
        assert np.array_equal(one.images["front"], original.images["front"])
        assert np.array_equal(one.joints, original.joints.astype(np.float32))
        assert len(one.ticks) == len(original.ticks)
        assert (np.diff(one.ticks) == dataset.spec.period_ns).all()
        assert np.array_equal(one.targets[:-1], one.joints[1:])


def test_standing_still_is_no_padding(tmp_path):
    """Padding repeats both; an arm that waits for something to happen is part of the task."""
    images = np.zeros((1, 9, 12, 16, 3), np.uint8)
    images[0, :7, 0, 0, 0] = np.arange(7)
    images[0, 7:] = images[0, 6]
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "joints.npy", np.zeros((1, 9, 2), np.float32))
    (episode,) = episodes(tmp_path)
    assert len(episode.ticks) == 7


def test_split_and_bounds_are_those_of_the_folder(dataset, tmp_path):
    """The bounds are (2, D), as EIPL reads them: `normalization(joints, bounds, range)`."""
    export_eipl(tmp_path / "eipl", dataset)
    file = tmp_path / "eipl" / "joint_bounds.npy"
    bounds = np.load(file)
    assert bounds.shape == (2, 2)
    joints = dataset.episodes[dataset.training[0]].joints
    as_eipl = (joints - bounds[0]) / (bounds[1] - bounds[0]) * 0.8 + 0.1
    assert dataset.normaliser.normalise(joints) == pytest.approx(as_eipl)
    np.save(file, [[-3.0, -4.0], [3.0, 4.0]])
    back = load_dataset([tmp_path / "eipl"], dataset.spec, cache=tmp_path / "cache", seed=5)
    assert [one.name for one in back.episodes] == ["test#0", "train#0", "train#1"]
    assert back.training == (1, 2) and back.validation == (0,)
    assert back.normaliser.maximum.tolist() == [3.0, 4.0]
    every = load_dataset([tmp_path / "eipl"], dataset.spec, validation=0)
    assert every.training == (0, 1, 2)
    # Beside a bag neither can hold.
    mixed = load_dataset([tmp_path / "eipl", tmp_path / "bags"], dataset.spec)
    assert len(mixed.validation) == 1 and mixed.normaliser.maximum[0] < 2.0
    np.save(file, np.zeros((2, 3)))
    with pytest.raises(BagError, match="bounds of 3 joints"):
        load_dataset([tmp_path / "eipl"], dataset.spec)


def test_a_damaged_folder_takes_no_other_down(dataset, tmp_path):
    export_eipl(tmp_path / "eipl", dataset)
    np.save(tmp_path / "eipl" / "test" / "joints.npy", np.zeros((1, 1, 7)))
    damaged = load_dataset([tmp_path / "eipl"], dataset.spec)
    assert [one.verdict for one in damaged.bags] == ["left out", "sound", "sound"]
    assert "but (1, 1) joints" in damaged.problems[0].found


def test_of_an_episode_in_train_and_in_test_the_one_in_train_is_used(dataset, tmp_path):
    export_eipl(tmp_path / "eipl", dataset)
    shutil.rmtree(tmp_path / "eipl" / "test")
    shutil.copytree(tmp_path / "eipl" / "train", tmp_path / "eipl" / "test")
    used = load_dataset([tmp_path / "eipl"], dataset.spec)
    assert len(used.training) == len(dataset.training) and not used.validation


def test_a_data_set_that_was_moved_is_told_where_it_is(dataset, tmp_path):
    export_eipl(tmp_path / "eipl", dataset)
    load_dataset([tmp_path / "eipl"], dataset.spec, cache=tmp_path / "cache")
    (tmp_path / "monday").mkdir()
    (tmp_path / "eipl").rename(tmp_path / "monday" / "eipl")
    entries = list((tmp_path / "cache").iterdir())
    hit = load_dataset([tmp_path / "monday" / "eipl"], dataset.spec, cache=tmp_path / "cache")
    assert all("monday" in bag.path for bag in hit.bags)
    assert hit.problems and all("monday" in problem.where for problem in hit.problems)
    assert list((tmp_path / "cache").iterdir()) == entries, "not read anew"


def test_the_order_of_colours_is_asked_for(dataset, tmp_path):
    """EIPL's bag scripts write what OpenCV gives: BGR."""
    export_eipl(tmp_path / "eipl", dataset)
    for part in ("train", "test"):
        file = tmp_path / "eipl" / part / "images.npy"
        np.save(file, np.load(file)[..., ::-1])
    cache = tmp_path / "cache"
    wrong = load_dataset([tmp_path / "eipl"], dataset.spec, cache=cache)
    right = load_dataset([tmp_path / "eipl"], dataset.spec, arrays=Arrays(bgr=True), cache=cache)
    notes = [problem for problem in wrong.problems if "order of the colours" in problem.found]
    assert len(notes) == 3 and "--bgr" in notes[0].remedy
    assert any("taken as BGR" in problem.found for problem in right.problems)
    original = dataset.episodes[dataset.validation[0]].images["front"]
    assert np.array_equal(right.episodes[0].images["front"], original)
    assert not np.array_equal(wrong.episodes[0].images["front"], original)


def test_a_number_of_episodes_that_the_images_do_not_have_is_not_believed(tmp_path):
    """Each would be listed by itself before it is found to be wrong."""
    np.save(tmp_path / "images.npy", np.zeros((1, 5, 12, 16, 3), np.uint8))
    np.lib.format.open_memmap(tmp_path / "joints.npy", "w+", np.float32, (100_000, 1, 1))
    (only,) = find_recordings([tmp_path])
    (_, report) = only.read(make.spec(), Arrays())
    assert "(1, 5) images, but (100000, 1) joints" in report.problems[0].found


def test_normalised_as_eipl_does_on_request(dataset):
    spec = dataset.spec.model_copy(update={"joint_clip": 0.9})
    again = make_dataset(spec, dataset.episodes)
    span = dataset.normaliser.maximum - dataset.normaliser.minimum
    # EIPL's clip compares radians with the width of joint_range: (0.8 - 0.9) / 2 on each side.
    wider = np.where(span < 0.9, -0.1, 0.0)
    assert again.normaliser.maximum - again.normaliser.minimum == pytest.approx(span + wider)
    assert again.fingerprint != dataset.fingerprint


@pytest.mark.parametrize(
    ("images", "joints", "says"),
    [
        (np.zeros((2, 5, 8, 8, 3), np.float32), np.zeros((2, 5, 2)), "not uint8"),
        (np.zeros((2, 5, 8, 8, 1), np.uint8), np.zeros((2, 5, 2)), "not uint8"),
        (np.zeros((2, 5, 8, 8, 3), np.uint8), np.zeros((2, 5, 3)), "the spec has 2 joints"),
        (np.zeros((2, 5, 8, 8, 3), np.uint8), np.zeros((2, 4, 2)), "images, but"),
        (np.arange(240).reshape(2, 5, 2, 4, 3).astype(np.uint8), np.full((2, 5, 2), np.nan),
         "no row is finite"),
        (np.zeros((2, 5, 8, 8, 3), np.uint8), np.zeros((2, 5, 2), "U1"), "not numbers"),
        (None, np.zeros((2, 5, 2)), "not a bag|no bag"),
        (b"garbage", np.zeros((2, 5, 2)), "cannot be read"),
        (np.array([object()]), np.zeros((2, 5, 2)), "cannot be read"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(images, joints, says: str, tmp_path):
    np.save(tmp_path / "joints.npy", joints)
    if isinstance(images, bytes):
        (tmp_path / "images.npy").write_bytes(images)
    elif images is not None:
        np.save(tmp_path / "images.npy", images, allow_pickle=True)
    with pytest.raises(BagError, match=says):
        episodes(tmp_path)


def test_it_has_no_commands(dataset, tmp_path):
    export_eipl(tmp_path / "eipl", dataset)
    with pytest.raises(BagError, match="no commands"):
        episodes(tmp_path / "eipl", make.spec(target="command"))


def test_commands_are_not_left_out_in_silence(dataset, tmp_path):
    asks = replace(dataset, spec=make.spec(target="command"))
    with pytest.raises(ConfigError, match="has no commands"):
        export_eipl(tmp_path / "eipl", asks)
    smooths = make.spec(joints=[{"names": list(make.NAMES), "smooth": {make.NAMES[1]: 0.2}}])
    with pytest.raises(ConfigError, match=f"those of {make.NAMES[1]} are smoothed"):
        export_eipl(tmp_path / "eipl", replace(dataset, spec=smooths))


def test_nothing_is_overwritten(dataset, tmp_path):
    (tmp_path / "eipl").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        export_eipl(tmp_path / "eipl", dataset)
