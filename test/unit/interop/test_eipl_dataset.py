# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EIPL's layout: there and back, padding, and files that do not fit."""

from __future__ import annotations

from pathlib import Path

import bag_making as make
import numpy as np
import pytest

from sarnn_ros.data.dataset import Dataset, make_dataset
from sarnn_ros.errors import BagError, ConfigError
from sarnn_ros.interop.eipl_dataset import export_eipl, import_eipl
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.streams.preprocess import JointNormaliser


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    for number, seconds in enumerate((1.0, 1.5, 1.2)):
        make.recording(seconds).write(tmp_path / "bags" / f"take{number}")
    return load_dataset([tmp_path / "bags"], make.spec(joint_range=[0.1, 0.9]))


def export(dataset: Dataset, folder: Path) -> None:
    parts = [
        [dataset.episodes[i] for i in rows] for rows in (dataset.training, dataset.validation)
    ]
    export_eipl(folder, *parts, dataset.spec)


def test_there_and_back(dataset, tmp_path):
    export(dataset, tmp_path / "eipl")
    images = np.load(tmp_path / "eipl" / "train" / "images.npy")
    joints = np.load(tmp_path / "eipl" / "train" / "joints.npy")
    assert images.dtype == np.uint8 and images.shape[0] == 2 and images.shape[2:] == (12, 16, 3)
    assert joints.dtype == np.float32 and joints.shape[:2] == images.shape[:2]
    back = import_eipl(tmp_path / "eipl" / "train", dataset.spec)
    for one, index in zip(back, dataset.training):
        original = dataset.episodes[index]
        assert np.array_equal(one.images["front"], original.images["front"])
        assert np.array_equal(one.joints, original.joints.astype(np.float32))
        assert len(one.ticks) == len(original.ticks)
        assert (np.diff(one.ticks) == dataset.spec.period_ns).all()
        assert np.array_equal(one.targets[:-1], one.joints[1:])
    assert make_dataset(dataset.spec, back).episodes


def test_standing_still_is_no_padding(tmp_path):
    """Padding repeats both; an arm that waits for something to happen is part of the task."""
    images = np.zeros((1, 9, 12, 16, 3), np.uint8)
    images[0, :7, 0, 0, 0] = np.arange(7)
    images[0, 7:] = images[0, 6]
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "joints.npy", np.zeros((1, 9, 2), np.float32))
    (episode,) = import_eipl(tmp_path, make.spec())
    assert len(episode.ticks) == 7


def test_the_bounds_normalise_as_eipl_would(dataset, tmp_path):
    export(dataset, tmp_path / "eipl")
    bounds = np.load(tmp_path / "eipl" / "joint_bounds.npy")
    assert bounds.shape == (3, 2)
    normaliser = JointNormaliser.from_eipl_bounds(bounds, (0.1, 0.9))
    values = normaliser.normalise(dataset.episodes[dataset.training[0]].joints)
    assert values.min() >= 0.1 - 1e-6 and values.max() <= 0.9 + 1e-6


def test_taken_wherever_a_bag_is(dataset, tmp_path):
    export(dataset, tmp_path / "eipl")
    back = load_dataset([tmp_path / "eipl"], dataset.spec, cache=tmp_path / "cache")
    assert [one.name for one in back.episodes] == ["test#0", "train#0", "train#1"]
    np.save(tmp_path / "eipl" / "test" / "joints.npy", np.zeros((1, 1, 7)))
    damaged = load_dataset([tmp_path / "eipl"], dataset.spec)
    assert [one.verdict for one in damaged.bags] == ["left out", "sound"]
    assert "7)" in damaged.problems[0].found


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
        (np.zeros((2, 5, 8, 8, 3), np.uint8), np.full((2, 5, 2), np.nan), "not finite"),
        (None, np.zeros((2, 5, 2)), "cannot be read"),
        (b"garbage", np.zeros((2, 5, 2)), "cannot be read"),
        (np.array([object()]), np.zeros((2, 5, 2)), "cannot be read"),
    ],
)
def test_files_that_do_not_fit(images, joints, says: str, tmp_path):
    np.save(tmp_path / "joints.npy", joints)
    if isinstance(images, bytes):
        (tmp_path / "images.npy").write_bytes(images)
    elif images is not None:
        np.save(tmp_path / "images.npy", images, allow_pickle=True)
    with pytest.raises(BagError, match=says):
        import_eipl(tmp_path, make.spec())


def test_nothing_is_overwritten(dataset, tmp_path):
    (tmp_path / "eipl").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        export(dataset, tmp_path / "eipl")
