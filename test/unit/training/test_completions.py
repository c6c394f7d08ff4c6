# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a demonstration would have been where a run of a policy was corrected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from training_fixtures import MakeDataset as MakeTask

from sarnn_ros.training import sequences
from sarnn_ros.training.completions import Run, complete
from sarnn_ros.training.explained import REGRESSION_SAMPLES, stretch, trajectories
from sarnn_ros.training.sequences import make_sequences

Array = NDArray[np.float64]
HOME, TICKS = np.array([0.5, 0.5, 0.9]), 50


def way(points: Sequence[Array], ticks: Sequence[int]) -> Array:
    """From point to point, and the ticks at which they are reached."""
    at = np.arange(ticks[-1] + 1)
    return np.stack([np.interp(at, ticks, column) for column in np.array(points).T], 1)


def demonstration(thing: Array, goal: Array, ticks: int = TICKS) -> Array:
    """Over the thing, down to it, and to the goal."""
    down, up = np.append(thing, 0.1), np.append(thing, 0.3)
    times = [round(share * ticks) for share in (0, 0.3, 0.5, 0.9, 1)]
    over = np.append(goal, 0.2)
    return way([HOME, up, down, over, over], times)


def scene(rng: np.random.Generator) -> tuple[Array, Array]:
    return rng.uniform(0.2, 0.8, 2), rng.uniform(0.2, 0.8, 2)


def shown(rng: np.random.Generator, count: int = 12) -> Array:
    return trajectories([demonstration(*scene(rng)) for _ in range(count)])


def error(found: Array | None, thing: Array, goal: Array) -> float:
    assert found is not None
    true = stretch(demonstration(thing, goal), REGRESSION_SAMPLES)
    return float(np.sqrt(((found - true) ** 2).sum(-1).mean()))


def begun_anew(rng: np.random.Generator, thing: Array, goal: Array) -> Run:
    """The policy went to another place, the person up and to the thing, at a pace of his own."""
    wrong = demonstration(np.clip(thing + rng.uniform(0.15, 0.25, 2), 0, 1), goal)[:18]
    anew = demonstration(thing, goal, round(rng.uniform(0.7, 1.4) * TICKS))
    return Run(wrong, np.concatenate([way([wrong[-1], HOME], [0, 8]), anew]))


def gone_on(rng: np.random.Generator, thing: Array, goal: Array) -> Run:
    """The policy took the thing, and went to another goal; the person leads to the right one."""
    elsewhere = demonstration(thing, np.clip(goal + rng.uniform(0.15, 0.25, 2), 0, 1))
    elsewhere = elsewhere[: rng.integers(28, 44)]
    over = np.append(goal, 0.2)
    return Run(elsewhere, way([elsewhere[-1], over, over], [0, 15, 25]))


@pytest.mark.parametrize("correct", [begun_anew, gone_on])
def test_both_parts_of_a_run_tell_where_things_were(correct: Callable[..., Run]) -> None:
    shares = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        demonstrations = shown(rng)
        thing, goal = scene(rng)
        [found] = complete(demonstrations, [correct(rng, thing, goal)], TICKS, 3)
        mean = error(demonstrations.mean(0), thing, goal)
        shares.append(1.0 if found is None else error(found, thing, goal) / mean)
    assert np.median(shares) < 0.35
    assert np.quantile(shares, 0.9) < 0.6


def test_what_no_demonstration_goes_along_has_no_completion() -> None:
    rng = np.random.default_rng(0)
    demonstrations = shown(rng)
    before = demonstration(*scene(rng))[:10]
    ticks = np.arange(60)
    circle = np.stack([0.5 + 0.4 * np.cos(ticks), 0.5 + 0.4 * np.sin(ticks), 0 * ticks], 1)
    right = demonstration(*scene(rng))
    found = complete(demonstrations, [Run(before, circle), Run(right[:10], right[10:])], TICKS, 3)
    assert [one is None for one in found] == [True, False]


def test_what_counts_nothing_makes_no_run_fit() -> None:
    """Such as a force, which is the same all the time then."""
    rng = np.random.default_rng(0)
    demonstrations = shown(rng)
    runs = [begun_anew(rng, *scene(rng)) for _ in range(4)]
    runs += [Run(one.policy, one.person + rng.normal(0, 0.09, one.person.shape)) for one in runs]
    found = complete(demonstrations, runs, TICKS, 3)
    pad = ((0, 0), (0, 9))
    padded = [Run(*(np.pad(part, pad) for part in run)) for run in runs]
    same = complete(np.pad(demonstrations, ((0, 0), *pad)), padded, TICKS, 3)
    assert [one is None for one in found] == [False] * 4 + [True] * 4
    for one, other in zip(found, same, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            np.testing.assert_allclose(other[:, :3], one, atol=1e-6)


def test_without_a_persons_part_nothing_is_told() -> None:
    rng = np.random.default_rng(0)
    right = demonstration(*scene(rng))
    assert complete(shown(rng), [Run(right, right[:0]), Run(right[:0], right[:0])], TICKS, 3) == [
        None,
        None,
    ]


@pytest.mark.parametrize(("policy", "person"), [(0, 12), (1, 12), (12, 1), (12, 2)])
def test_short_parts_are_no_error(policy: int, person: int) -> None:
    rng = np.random.default_rng(0)
    right = demonstration(*scene(rng))
    [found] = complete(shown(rng), [Run(right[:policy], right[-person:])], TICKS, 3)
    assert found is None or np.isfinite(found).all()


def test_demonstrations_that_do_not_differ_complete_to_themselves() -> None:
    same = demonstration(np.full(2, 0.3), np.full(2, 0.6))
    [found] = complete(trajectories([same] * 8), [Run(same[:20], same[20:])], TICKS, 3)
    assert found is not None
    np.testing.assert_allclose(found, trajectories([same])[0], atol=1e-6)


def test_scenes_of_demonstrations_alone_are_these(make_task: MakeTask) -> None:
    dataset = make_task([9, 7, 12, 9], validation=0)
    data = make_sequences(dataset, dataset.training, torch.device("cpu"))
    episodes, wanted, states = data.scenes
    assert episodes.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(wanted, trajectories(data.unpad(data.targets[:, :-1])))
    np.testing.assert_array_equal(states, data.first_states())


def test_of_entries_that_count_less_a_completion_knows(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[float] = []
    monkeypatch.setattr(
        sequences,
        "complete",
        lambda shown, runs, ticks, entries: counted.append(entries) or [None],
    )
    dataset = make_task([9, 7, 12, 9], validation=0)
    data = make_sequences(dataset, dataset.training, torch.device("cpu"))
    data.led[3, :4] = False
    less = replace(data, weights=np.array([0.0, 0.5, 1.0]))
    assert less.scenes.episodes.tolist() == [0, 1, 2]
    assert counted == [1.25]
