# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Demonstrations whose paces differ: when they are at the same moment, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.training import pace, warping
from sarnn_ros.training import trainer as trainer_module
from sarnn_ros.training.config import TrainConfig, make_config
from sarnn_ros.training.expected_places import tell
from sarnn_ros.training.explained import REGRESSION_SAMPLES, at_shares
from sarnn_ros.training.late_points import Late, moments
from sarnn_ros.training.pace import (
    MAX_LEFT_SHARE,
    aligned_at,
    compare_paces,
    left_unexplained,
    moments_alike,
)
from sarnn_ros.training.recipe import decide
from sarnn_ros.training.run import make_trainer
from sarnn_ros.training.sequences import Sequences
from sarnn_ros.training.trainer import Trainer

Array = NDArray[np.float64]
MakeTask = Callable[..., Dataset]
SAMPLES = 64


def paces(rng: np.random.Generator, count: int, differ: float) -> Array:
    """At which share of their time demonstrations are after n samples of the motion, (E, N)."""
    times = np.exp(differ * rng.standard_normal((count, 6)))
    ends = np.cumsum(np.pad(times, ((0, 0), (1, 0))), 1)
    even = np.linspace(0, 1, 7)
    return np.array([np.interp(np.linspace(0, 1, SAMPLES), even, one / one[-1]) for one in ends])


def reaching(rng: np.random.Generator, count: int, differ: float) -> tuple[Array, Array, Array]:
    """There, down, up and away, with a gripper: places (E, 2), trajectories (E, N, 3), and `paces`
    of them."""
    places = rng.uniform(0.2, 0.8, (count, 2))
    times = paces(rng, count, differ)
    ways = []
    for place, time in zip(places, times, strict=True):
        way = np.array([[0.5, 1, 0.5], [0.5, *place], [0.1, *place], [0.9, *place], [0.9, 1, 0]])
        way = np.insert(way, 3, way[2] + [0, 0, 0.1], 0)
        motion = np.stack([np.interp(np.linspace(0, 5, SAMPLES), range(6), x) for x in way.T], 1)
        even = np.linspace(0, 1, SAMPLES)
        ways.append(np.stack([np.interp(even, time, x) for x in motion.T], 1))
    return places, np.array(ways), times


def seen(rng: np.random.Generator, places: Array) -> Array:
    return np.tile(places, (1, 3)) + rng.normal(0, 0.005, (len(places), 6))


def shown_and_seen(seed: int, differ: float) -> tuple[Array, Array, Array]:
    """Of 30 demonstrations points of the first images, trajectories, and `paces`."""
    rng = np.random.default_rng(seed)
    places, wanted, times = reaching(rng, 30, differ)
    return seen(rng, places), wanted, times


NONE = np.zeros((30, 0))
EVEN = np.linspace(0, 1, SAMPLES)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_found_when_they_are_at_the_same_moment(seed: int) -> None:
    points, wanted, right = shown_and_seen(seed, 0.4)
    at = moments_alike(wanted, points, NONE)
    # By the mean demonstration's time, which the right moments are told by, too.
    back = np.interp(EVEN, right.mean(0), EVEN)
    right = np.array([np.interp(back, EVEN, one) for one in right])
    off, before = np.abs(at - right).mean(), np.abs(EVEN - right).mean()
    assert before > 0.03
    assert off < 0.4 * before
    left = left_unexplained(points, aligned_at(wanted, at), NONE)
    assert left < 0.04 * left_unexplained(points, wanted, NONE)
    assert np.abs(at.mean(0) - EVEN).max() < 0.002


@pytest.mark.parametrize("seed", range(3))
def test_of_one_pace_nothing_is_gained(seed: int) -> None:
    points, wanted, _ = shown_and_seen(seed, 0.0)
    at = moments_alike(wanted, points, NONE)
    assert np.abs(at - EVEN).mean() < 0.015
    left = left_unexplained(points, aligned_at(wanted, at), NONE)
    assert left > MAX_LEFT_SHARE * left_unexplained(points, wanted, NONE)


@pytest.mark.parametrize("seed", range(4))
def test_on_a_straight_way_points_that_are_off_tell_no_pace(seed: int) -> None:
    """They are off as if paces were."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0.15, 0.8, (25, 2))
    points = np.tile(places, (1, 8)) + rng.normal(0, 0.08, (25, 16))
    goals = np.concatenate([places, places.mean(1, keepdims=True)], 1)
    assert compare_paces(list(goals[:, None] * EVEN[4:, None]), points, np.zeros((25, 0))) is None


def test_of_many_some_are_told_by_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is nearly the same as if each is told by all others."""
    points, wanted, _ = shown_and_seen(0, 0.4)
    usual = moments_alike(wanted, points, NONE)
    monkeypatch.setattr(pace, "PARTS", 7)
    monkeypatch.setattr(warping, "AT_ONCE", 4)
    assert np.abs(moments_alike(wanted, points, NONE) - usual).mean() < 0.005


@pytest.mark.parametrize("seed", range(3))
def test_points_that_tell_nothing_tell_no_pace(seed: int) -> None:
    """All are more alike after alignment, and what differs then is still unexplained. Of the same
    episodes so many numbers would explain nearly all."""
    rng = np.random.default_rng(seed)
    _, wanted, _ = reaching(rng, 30, 0.8)
    points = rng.uniform(0.2, 0.8, (30, 20))
    at = moments_alike(wanted, points, NONE)
    left = left_unexplained(points, aligned_at(wanted, at), NONE)
    assert left > 0.9
    assert left > MAX_LEFT_SHARE * left_unexplained(points, wanted, NONE)


@settings(max_examples=30, deadline=None)
@given(st.integers(6, 12), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-3, 1.0]))
def test_moments_begin_and_end_with_the_demonstration(count: int, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    wanted = size * rng.uniform(size=(count, SAMPLES, 2))
    at = moments_alike(wanted, rng.uniform(size=(count, 4)), np.zeros((count, 0)))
    assert at.shape == (count, SAMPLES)
    np.testing.assert_allclose(at[:, 0], 0, atol=1e-9)
    np.testing.assert_allclose(at[:, -1], 1, atol=1e-9)
    assert (np.diff(at) >= -1e-9).all()
    assert np.isfinite(aligned_at(wanted, at)).all()


def test_only_what_is_to_be_seen_is_told_of_the_motion() -> None:
    points, wanted, _ = shown_and_seen(1, 0.4)
    cpu = torch.device("cpu")
    at = moments_alike(wanted, points, NONE)
    before, after = (tell(one, NONE, cpu) for one in (wanted, aligned_at(wanted, at)))
    assert before.motions.shape[1] > after.motions.shape[1]
    padded = after.of_motions(before.motions.shape[1])
    assert padded.motions.shape == before.motions.shape
    assert padded.ways.shape == before.ways.shape
    assert not padded.motions[:, after.motions.shape[1] :].any()
    torch.testing.assert_close(padded.of_motions(1).ways, after.ways[:1])


def small(**values: Any) -> TrainConfig:
    return make_config(
        {"k_dim": 2, "rec_dim": 8, "epochs": 2, "inner_steps": 3, "encoder_frames": 12,
         "image_frames": 5, "threads": 1, "device": "cpu", "motion": True, "joint_noise": 0,
         "pad_after": 0, "mixup": 1.0, **values}
    )  # fmt: skip


def by_hand(make_task: MakeTask, **values: Any) -> Trainer:
    """Of 12 demonstrations, whose joints tell which share of the motion is over."""
    rng = np.random.default_rng(0)
    plan = decide(make_task([20, 31, 26, 40] * 3, validation=0), small(**values))
    trainer = make_trainer(replace(plan, mix_neighbours=False))
    data = trainer.training
    times = paces(rng, len(data), 0.5)
    for row, (length, time) in enumerate(zip(data.lengths.tolist(), times, strict=True)):
        over = np.interp(np.linspace(0, 1, length - 1), time, np.linspace(0, 1, SAMPLES))
        data.targets[row, : length - 1] = torch.from_numpy(over).float()[:, None]
        data.joints[row, : length - 1] = data.targets[row, : length - 1]
    data.align(times)
    return trainer


@pytest.mark.parametrize("mixup", [0.0, 1.0], ids=["alone", "mixed"])
def test_the_recurrent_part_learns_them_at_one_pace(make_task: MakeTask, mixup: float) -> None:
    """All are as long as a mean one, and at each tick the same share of the motion is over."""
    trainer = by_hand(make_task, mixup=mixup)
    data = trainer.training
    points = torch.zeros(len(data), data.ticks - 1, trainer.model.point_dim)
    drawn = trainer.batches.draw_recurrent(len(data), points)
    steps = round(float(data.lengths.double().mean())) - 1
    assert drawn.learnt.sum(1).tolist() == [steps] * len(data)
    over = drawn.joints[:, :steps, 0]
    assert float((over - torch.linspace(0, 1, steps)).abs().max()) < 0.05


@pytest.mark.parametrize("neighbours", [True, False], ids=["neighbours", "several"])
@pytest.mark.parametrize("paces_differ", [True, False])
def test_a_mixture_is_where_its_target_was_one_tick_later(
    make_task: MakeTask, paces_differ: bool, neighbours: bool
) -> None:
    """Though the demonstrations go through their own ticks faster and slower."""
    trainer = by_hand(make_task, mixup=1.0, joint_noise=0.0)
    trainer.batches._plan = replace(trainer.plan, mix_neighbours=neighbours)
    data = trainer.training
    data.targets[:, :-1] = data.joints[:, 1:]
    if not paces_differ:
        data.alike = None
    points = torch.zeros(len(data), data.ticks - 1, trainer.model.point_dim)
    for _ in range(5):
        drawn = trainer.batches.draw_recurrent(len(data), points)
        later = drawn.learnt[:, 1:]
        torch.testing.assert_close(drawn.targets[:, :-1][later], drawn.joints[:, 1:][later])


def test_ticks_of_a_moment(make_task: MakeTask) -> None:
    trainer = by_hand(make_task)
    data = trainer.training
    rows = torch.arange(len(data))
    for share in (0.0, 0.3, 0.5, 1.0):
        over = data.targets[rows, data.ticks_at(share), 0]
        assert float((over - share).abs().max()) < 0.05
    data.alike = None
    assert data.ticks_at(0.5).tolist() == [round(0.5 * (one - 2)) for one in data.lengths.tolist()]


def shown(make_task: MakeTask, differ: float) -> tuple[Trainer, Array]:
    """30 demonstrations of reaching, and points of their first images."""
    rng = np.random.default_rng(3)
    trainer = make_trainer(decide(make_task([41] * 30, validation=0), small()))
    data = trainer.training
    places, wanted, _ = reaching(rng, len(data), differ)
    ticks = data.targets.shape[1] - 1
    for row, way in enumerate(wanted):
        found = at_shares(way, np.linspace(0, 1, ticks))
        data.targets[row, :ticks] = torch.from_numpy(found).float()[:, : data.targets.shape[2]]
    data.told = data.tell(exact=data.few)
    return trainer, seen(rng, places)


@pytest.mark.parametrize(("differ", "expected"), [(0.4, True), (0.0, False)])
def test_only_paces_that_differ_are_made_alike(
    make_task: MakeTask, differ: float, expected: bool
) -> None:
    trainer, points = shown(make_task, differ)
    data = trainer.training
    count, before = data.told.motions.shape[1], data.wanted
    assert data.compare_paces(points) is expected
    assert (data.alike is not None) is expected
    assert data.told.motions.shape[1] == count
    right = data.tell(exact=data.few).of_motions(count)
    torch.testing.assert_close(data.told.motions, right.motions)
    half = moments(data, np.arange(30), points)[4].wanted.reshape(30, REGRESSION_SAMPLES, -1)
    np.testing.assert_allclose(half[:, [0, -1]], data.wanted[:, [15, -1]], atol=0.05)
    left = [left_unexplained(points, one, NONE) for one in (before, data.wanted)]
    assert left[1] < 0.4 * left[0] if expected else left[1] == left[0]


def test_the_search_compares_paces_before_it_looks_for_what_comes_late(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, points = shown(make_task, 0.4)
    data = trainer.training
    compare, order, said = data.compare_paces, [], []

    def compared(_: Sequences, found: Array) -> bool:
        assert found.shape == (30, trainer.model.point_dim)
        order.append("paces")
        return compare(points)

    def late(*_: Any) -> tuple[Late, float, float]:
        order.append("late")
        return Late(), nan, nan

    monkeypatch.setattr(Sequences, "compare_paces", compared)
    monkeypatch.setattr(trainer_module, "search_late", late)
    trainer.search_attention(said.append)
    assert order == ["paces", "late"]
    assert any("paces differ" in text for text in said)


def test_training_goes_on_at_the_same_moments(make_task: MakeTask) -> None:
    trainer = by_hand(make_task)
    trainer.freeze_attention()
    again = make_trainer(trainer.plan)
    again.training.targets = trainer.training.targets
    again.training.joints = trainer.training.joints
    again.load_state_dict(trainer.state_dict())
    assert again.training.alike is not None
    np.testing.assert_array_equal(again.training.alike, trainer.training.alike)
    torch.testing.assert_close(again.training.told.motions, trainer.training.told.motions)
