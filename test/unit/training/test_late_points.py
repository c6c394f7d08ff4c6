# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The square that decides what the arm does is shown only after the episode has begun."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reaching import config, reach

from sarnn_ros.data.dataset import make_dataset
from sarnn_ros.policy.directory import ANYWHERE_DEVIATION, load_config
from sarnn_ros.policy.expectation import Expectation
from sarnn_ros.training import attention_search, run
from sarnn_ros.training.late_points import Moment, choose_late, moments, share_left
from sarnn_ros.training.recipe import RECIPE, decide
from sarnn_ros.training.run import make_trainer, train
from sarnn_ros.training.trainer import Trainer

SHOWN = 4


@pytest.fixture(autouse=True)
def _few_exemplars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_search, "EXEMPLARS", 32)


def searched(shown: int, *, permuted: bool = False, count: int = 50) -> tuple[Trainer, list[str]]:
    data = reach(count, shown=shown, permuted=permuted)
    trainer = make_trainer(decide(data, config(k_dim=6)))
    said: list[str] = []
    trainer.search_attention(said.append)
    return trainer, said


def late_places(trainer: Trainer, tick: int) -> NDArray[np.float64]:
    """Correlation of each late point's place at a tick with the square's, by axis."""
    data = trainer.training
    rows = torch.arange(len(data))
    points = trainer.encode(
        data, torch.stack([rows, torch.full_like(rows, tick)], 1), trainer.model
    )
    points = points.reshape(len(data), -1, 2)[:, list(trainer.late.points)].double().numpy()
    goals = data.targets[rows, data.lengths - 1].double().numpy()
    return np.array(
        [
            [np.corrcoef(points[:, point, axis], goals[:, axis])[0, 1] for axis in (0, 1)]
            for point in range(points.shape[1])
        ]
    )


def test_what_is_shown_later_is_found_later() -> None:
    trainer, said = searched(SHOWN)
    assert trainer.searched is not None and trainer.searched[0] < 0.3
    assert set(trainer.late.points) == {10, 11}, "the last ones, of the camera that shows it"
    assert late_places(trainer, SHOWN).min() > 0.9
    assert abs(late_places(trainer, 0)).max() < 0.6
    assert "later images" in said[-2] and "nothing" not in said[-2]
    assert said[-1].endswith("too little to be given")


@pytest.mark.parametrize(("shown", "permuted"), [(0, False), (SHOWN, True)])
def test_otherwise_no_point_is_given_away(shown: int, permuted: bool) -> None:
    """What first images show is not looked for, and what decides nothing is not found."""
    trainer, said = searched(shown, permuted=permuted)
    assert trainer.late.points == ()
    assert any("nothing" in text for text in said) == permuted


def test_few_demonstrations_do_not_tell_whether_something_comes_late() -> None:
    """They leave much of how they differ, whatever is seen."""
    trainer, said = searched(SHOWN, count=RECIPE.min_episodes_for_late_points - 1)
    assert trainer.searched is not None
    assert trainer.late.points == () and isnan(trainer.left)
    assert not any("later images" in one for one in said)


def test_how_much_is_left_is_that_of_an_episode_left_out() -> None:
    trainer, _ = searched(SHOWN)
    rows = np.arange(int(trainer.training.demonstrations.sum()))
    nothing, goals = np.zeros((len(rows), 1)), trainer.training.targets[:, -2].double().numpy()
    left = share_left(moments(trainer.training, rows, nothing))
    assert left > RECIPE.min_left_for_late_points
    assert share_left(moments(trainer.training, rows, goals)) < 0.2 * left


@pytest.mark.parametrize("seed", range(3))
def test_what_fits_by_chance_is_not_chosen(seed: int) -> None:
    """Where the rest of a few trajectories differs by chance, some of many points fit it."""
    rng = np.random.default_rng(seed)
    count, wanted = 30, rng.normal(size=(30, 3))
    ticks, known = torch.zeros(count, dtype=torch.long), np.zeros((count, 0))
    found = [Moment(ticks, known, wanted)] * 2
    points = np.repeat(rng.uniform(size=(1, count, 400, 2)), 2, 0)
    chosen, left, _ = choose_late(torch.from_numpy(points), found, 4)
    assert chosen == []
    assert left == pytest.approx(share_left(found))
    told = points.copy()
    told[1, :, 7] = 0.5 + 0.1 * wanted[:, :2]  # at the second moment only
    chosen, less, first = choose_late(torch.from_numpy(told), found, 4)
    assert chosen[0] == 7 and less < left - 0.2
    assert first == 1


def test_whole_images_are_searched_where_the_crop_cuts_it_off(tmp_path: Path) -> None:
    """And a training that was stopped goes on with them."""
    whole = reach(50, shown=SHOWN)
    blind = [
        replace(
            episode,
            images={name: np.repeat(one[:1], len(one), 0) for name, one in episode.images.items()},
            digest=f"{episode.digest} cropped",
        )
        for episode in whole.episodes
    ]
    cropped = make_dataset(whole.spec, blind, validation=0.2, seed=0)
    settings = config(k_dim=6, epochs=4)
    plan = replace(decide(cropped, settings), uncropped=lambda: decide(whole, settings))
    said: list[str] = []
    out = tmp_path / "policy"
    assert not train(plan, out, should_stop=lambda: True, warn=said.append).finished
    assert any("whole images are searched" in text for text in said)
    assert train(plan, out, resume=True).finished
    training = load_config(out).training
    assert training["data"] == whole.fingerprint
    assert training["late"][0] == [10, 11]
    places = load_config(out).places
    assert places is not None
    anywhere = np.array(places.deviation[0]) >= ANYWHERE_DEVIATION
    assert np.flatnonzero(anywhere).tolist() == [10, 11]
    found = Expectation(places, np.random.default_rng(0).uniform(size=(12, 2)))
    assert (found.near[anywhere] > 1.5).all(), "wherever they are, they may be"


@pytest.mark.parametrize(
    ("cropped", "whole", "taken"),
    [
        ((0.3, 0.0), (0.3, 0.2), "whole"),
        ((0.3, 0.0), (0.5, 0.25), "whole"),
        ((0.3, 0.1), (0.5, 0.3), "cropped"),  # they make up for what whole images do not tell
        ((0.3, 0.1), (0.3, 0.11), "cropped"),
        ((0.3, 0.1), (nan, nan), "cropped"),  # memory holds too few whole images to tell
        ((nan, nan), (0.5, 0.4), "cropped"),
    ],
)
def test_whole_images_are_taken_where_less_is_left_with_them(
    cropped: tuple[float, float],
    whole: tuple[float, float],
    taken: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def plan(name: str, uncropped: Any = None) -> Any:
        return SimpleNamespace(
            name=name,
            before=None,
            why_anew="",
            config=SimpleNamespace(attention="search"),
            uncropped=uncropped,
        )

    def make(plan: Any) -> Any:
        left, gained = {"cropped": cropped, "whole": whole}[plan.name]
        return SimpleNamespace(
            name=plan.name, left=left, gained=gained, search_attention=lambda warn: None
        )

    monkeypatch.setattr(run, "make_trainer", make)
    found: Any = run.start(plan("cropped", lambda: plan("whole")), lambda text: None)
    assert found.name == taken
