# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where other things lie about, filters learn what the motions follow, and nothing else."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quick_export
import torch
from numpy.typing import NDArray
from reaching import config, reach
from torch import Tensor, nn

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.model.sarnn import SARNN, VisionBranch
from sarnn_ros.policy.directory import load_config
from sarnn_ros.training import attention_search, trainer
from sarnn_ros.training.attention_search import Candidates, learn_candidates
from sarnn_ros.training.checkpoint import load_checkpoint
from sarnn_ros.training.expected_places import (
    MAX_MISS,
    Told,
    as_expected,
    find_things,
    places_of_things,
)
from sarnn_ros.training.late_points import Late
from sarnn_ros.training.learnt_filters import learn_filters
from sarnn_ros.training.recipe import decide, prepare
from sarnn_ros.training.rounds import load_before
from sarnn_ros.training.run import checkpoint_path, make_trainer, train

HEIGHT, WIDTH, EPISODES = 32, 40, 40
#: Cells of the last map.
COLUMNS, ROWS = WIDTH - 6, HEIGHT - 6


def scenes(count: int, seed: int) -> tuple[Tensor, NDArray[np.int64]]:
    """A dark square with a light bar through it, between others with none or with one across, on a
    table that is bright on one side: (E, 3, H, W), and its left upper corner (E, 2)."""
    rng = np.random.default_rng(seed)
    images = np.full((count, HEIGHT, WIDTH, 3), 170.0)
    images *= np.linspace(0.4, 1.2, WIDTH)[:, None]
    places = rng.integers((0, 0), (WIDTH - 5, HEIGHT - 5), (count, 2))
    for image, at in zip(images, places, strict=True):
        for across in (True, False, True, False):
            left, top = rng.integers((0, 0), (WIDTH - 5, HEIGHT - 5))
            square(image, left, top)
            if across:
                image[top : top + 5, left + 2] = 120
        square(image, *at)
        image[at[1] + 2, at[0] : at[0] + 5] = 120
    images += rng.normal(0, 3, images.shape)
    shown = torch.from_numpy(images.clip(0, 255) / 255).float().permute(0, 3, 1, 2)
    return shown, places


def square(image: NDArray[np.float64], left: int, top: int) -> None:
    image[top : top + 5, left : left + 5] = (70, 40, 40)


def hits(points: Tensor, places: NDArray[np.int64]) -> Tensor:
    """The share of the images (E,) in which each point is on the square, (M,)."""
    middles = torch.from_numpy(places[:, None] + 2.0 - 3.0)
    off = points * torch.tensor([COLUMNS - 1, ROWS - 1]) - middles
    return (off.norm(dim=2) < 4.5).double().mean(0)


def branch(seed: int = 0) -> VisionBranch:
    torch.manual_seed(seed)
    made: VisionBranch = SARNN(8, 12, 2, im_size=(HEIGHT, WIDTH)).branches[0]
    return made


@pytest.fixture(scope="module")
def shown() -> tuple[Tensor, NDArray[np.int64]]:
    return scenes(EPISODES, 0)


def found(places: NDArray[np.float64], *shares: float) -> Candidates:
    """As if the motions told places (E, T, 2) of things, and discriminants had found them in these
    shares of the episodes."""
    at = torch.from_numpy(places).float()
    nothing = torch.zeros(0)
    return Candidates(nothing, nothing, nothing, at, torch.tensor(shares))


def test_what_is_learnt_is_found_in_images_that_were_not_shown(
    shown: tuple[Tensor, NDArray[np.int64]],
) -> None:
    images, places = shown
    new, true = scenes(100, 1)
    one, generator = branch(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        learnt = learn_candidates(
            one, [images, images], found(places[:, None] - 1.0, 0.7), 1.0, generator
        )
        assert learnt is not None
        candidates, held_out = learnt
        last = one.pos_encoder[4]
        last.weight.copy_(candidates.weight[-12:])
        last.bias.copy_(candidates.bias[-12:])
        points = one.pos_encoder(new)[0]
    assert hits(points, true).min() > 0.85
    assert 0.75 < hits(held_out.points[0], places).min() < 1  # of half of the images


@pytest.mark.parametrize(
    ("shown_too", "shares"),
    [(False, [0.0]), (True, [0.0, 0.61]), (True, [0.7, 0.5])],
    ids=["nothing is learnt", "one is lost", "discriminants find more on average"],
)
def test_places_that_nothing_tells_are_not_learnt(
    shown_too: bool, shares: list[float], shown: tuple[Tensor, NDArray[np.int64]]
) -> None:
    """:param shown_too: something before it that is learnt.
    :param shares: in which discriminants have found each."""
    images, places = shown
    at = np.random.default_rng(2).uniform((5, 5), (COLUMNS - 5, ROWS - 5), (EPISODES, 1, 2))
    if shown_too:
        at = np.concatenate([places[:, None] - 1.0, at], 1)
    one, generator = branch(), torch.Generator().manual_seed(0)
    before = copy.deepcopy(one.state_dict())
    with torch.no_grad():
        learnt = learn_candidates(one, [images, images], found(at, *shares), 1.0, generator)
    assert learnt is None
    torch.testing.assert_close(one.state_dict(), before, rtol=0, atol=0)


def test_what_discriminants_find_as_often_is_learnt_from_one_half_alone(
    shown: tuple[Tensor, NDArray[np.int64]], monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = []

    def learn(trunk: nn.Sequential, images: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
        learnt.append(images.shape[1])
        return learn_filters(trunk, images, *others)

    monkeypatch.setattr(attention_search, "learn_filters", learn)
    images, places = shown
    thing, generator = found(places[:, None] - 1.0, 0.98), torch.Generator().manual_seed(0)
    with torch.no_grad():
        assert learn_candidates(branch(), [images, images], thing, 1.0, generator) is None
    assert learnt == [EPISODES // 2]


def test_each_half_of_the_episodes_is_judged_by_what_the_other_has_learnt(
    shown: tuple[Tensor, NDArray[np.int64]],
) -> None:
    """In every second episode the place is that of something else, which is as easily learnt."""
    images, places = shown[0].clone(), shown[1] - 1.0
    other = np.random.default_rng(3).integers((0, 0), (COLUMNS - 1, ROWS - 1), (EPISODES, 2))
    for image, (column, row) in zip(images, other, strict=True):
        image[:, row + 1 : row + 6, column + 1 : column + 6] = 1.0
    at = np.where(np.arange(EPISODES)[:, None] % 2, other, places)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        learnt = learn_candidates(
            branch(), [images, images], found(at[:, None], 0.0), 1.0, generator
        )
    assert learnt is None


def test_fewer_filters_than_points_are_not_taken(
    shown: tuple[Tensor, NDArray[np.int64]],
) -> None:
    """One thing gives nine, with two gains each."""
    images, places = shown
    torch.manual_seed(0)
    one: VisionBranch = SARNN(8, 19, 2, im_size=(HEIGHT, WIDTH)).branches[0]
    thing, generator = found(places[:, None] - 1.0, 0.7), torch.Generator().manual_seed(0)
    with torch.no_grad():
        assert learn_candidates(one, [images, images], thing, 1.0, generator) is None


def test_values_of_another_range_are_learnt_alike(
    shown: tuple[Tensor, NDArray[np.int64]],
) -> None:
    images, places = shown
    at = torch.from_numpy(places[:, None] - 1.0).float()
    learnt = []
    for span in (1.0, 256.0):  # a power of two is exact
        trunk = branch().pos_encoder[:4]
        with torch.no_grad():
            trunk[0].weight /= span
        generator = torch.Generator().manual_seed(0)
        weight, _ = learn_filters(trunk, span * images[None], at, span, generator)
        learnt.append([weight, span * trunk[0].weight, trunk[2].weight])
    for one, other in zip(*learnt, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_filters_answer_one_at_their_places_and_nothing_on_average(
    shown: tuple[Tensor, NDArray[np.int64]],
) -> None:
    images, places = shown
    one, generator = branch(), torch.Generator().manual_seed(0)
    at = torch.from_numpy(places[:, None] - 1.0).float()
    trunk = one.pos_encoder[:4]
    weight, bias = learn_filters(trunk, images[None], at, 1.0, generator)
    with torch.no_grad():
        answers = torch.nn.functional.conv2d(trunk(images), weight.reshape(1, -1, 3, 3), bias)
    inside = (at[:, 0] >= 0).all(1) & (at[:, 0] <= torch.tensor([COLUMNS - 1, ROWS - 1])).all(1)
    column, row = at[inside, 0].long().unbind(1)
    assert answers[inside, 0, row, column].mean().item() == pytest.approx(1.0, abs=1e-3)
    assert answers.mean().item() == pytest.approx(0.0, abs=1e-3)


def test_the_sure_ones_tell_where_a_thing_is_in_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    motions = torch.randn(45, 4, generator=generator)
    true = 30 + 8 * motions.reshape(45, 2, 2)
    sure = torch.rand(45, 2, generator=generator) < 0.45
    wrong = sure & (torch.rand(45, 2, generator=generator) < 0.1)
    seen = torch.where((sure & ~wrong).unsqueeze(2), true, torch.full_like(true, 45.0))
    places = places_of_things(seen, sure, Told(motions, torch.zeros(45, 0), torch.zeros(1, 1, 1)))
    assert as_expected(places, true).double().mean() > 0.95


@pytest.mark.parametrize(("reach", "things"), [(1.2, 0), (2.9, 1), (8.0, 1)])
def test_what_hardly_moves_is_no_thing_that_motions_follow(reach: float, things: int) -> None:
    """A place that varies by two cells is as expected in most episodes, whatever is expected. What
    moves along a line is a thing, if it goes ten cells far.

    :param reach: deviation of the place, on a line, cells.
    """
    generator = torch.Generator().manual_seed(0)
    motions = torch.randn(45, 4, generator=generator).clamp(-1.7, 1.7)
    told = Told(motions, torch.zeros(45, 0), torch.zeros(1, 1, 1))
    places = 15 + 0.5 * torch.randn(45, 20, 2, generator=generator)
    places[..., 0] += reach * motions[:, 2:3]
    lost = torch.rand(45, 20, 1, generator=generator) < 0.3
    anywhere = 60 * torch.rand(45, 20, 2, generator=generator)
    found, _ = find_things(torch.where(lost, anywhere, places), told)
    assert found.shape[1] == things
    for thing in found.unbind(1):
        off = thing - torch.stack([15 + reach * motions[:, 2], torch.full((45,), 15.0)], 1)
        assert off.norm(dim=1).median() < MAX_MISS


def cluttered_reach() -> Dataset:
    """Squares of any colour lie about, nowhere on the red one."""
    dataset, rng = reach(30, sizes=((40, 32),)), np.random.default_rng(0)
    for episode in dataset.episodes:
        (images,) = episode.images.values()
        red = (images == (230, 30, 30)).all(-1)
        for left, top in rng.integers((0, 0), (35, 27), (3, 2)):
            images[:, top : top + 5, left : left + 5] = rng.integers(0, 255, 3)
        images[red] = (230, 30, 30)
    return dataset


def test_first_images_are_judged_by_filters_that_have_not_learnt_from_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also after an interruption, and in a training that goes on from the policy."""
    told = attention_search._told

    def told_with_doubt(*given: Any) -> Any:
        filters, things, shares = told(*given)
        assert 0.9 < shares.max() <= 1
        return filters, things, shares / 2  # discriminants, too, find a red square

    monkeypatch.setattr(attention_search, "_told", told_with_doubt)
    # One of the two points is said to follow what comes late.
    late = Late((1,), 0.3, 0.6), 0.3, 0.1
    monkeypatch.setattr(trainer, "search_late", lambda *given: late)
    monkeypatch.setattr(attention_search, "EXEMPLARS", 32)
    quick_export.install(monkeypatch)
    dataset, said, policy = cluttered_reach(), list[str](), tmp_path / "policy"
    settings = config(epochs=2)
    plan = decide(dataset, settings)
    train(plan, policy, warn=said.append)
    assert any("these explain" in one for one in said), said

    resumed = make_trainer(plan)
    checkpoint = load_checkpoint(checkpoint_path(policy), settings, dataset)
    resumed.load_state_dict(checkpoint["trainer"])
    kept = [resumed.held_out[resumed._identities[name]] for name in resumed.training.names]
    assert len(kept) == len(resumed.held_out) == 24
    judged = np.array(kept, np.float32)
    assert np.isfinite(judged[:, :2]).all()
    assert np.isnan(judged[:, 2:]).all()
    first = torch.nonzero(resumed.training.demonstrations)
    at = torch.cat([first, torch.zeros_like(first)], 1)
    learnt = resumed.encode(resumed.training, at, resumed.model).detach().numpy()
    assert np.abs(learnt - judged)[:, :2].max() > 0.01
    judged[:, 2:] = learnt[:, 2:]
    np.testing.assert_array_equal(resumed._first_points(resumed.training, resumed.model), judged)
    assert resumed.expected_places() == load_config(policy).places

    def load(recordings: Any, spec: Any, **_: Any) -> Dataset:
        return dataset

    before = load_before(policy)
    gone_on = make_trainer(
        prepare([], dataset.spec, settings, crop=False, load=load, before=before, validation=0.2)
    )
    assert not gone_on.go_on(before)
    found = gone_on._first_points(gone_on.training, gone_on.model)
    np.testing.assert_allclose(found, judged, atol=1e-4)
    assert gone_on.held_out == resumed.held_out


class Enough(Exception):
    """All is known that a test asks for."""


def test_where_nothing_has_voted_a_discriminant_is_judged_by_what_the_motions_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = attention_search._told

    def find_in_some(places: Tensor, about: Told) -> tuple[Tensor, Tensor]:
        things, sure = find_things(places, about)
        things[::4], sure[::4] = 0.0, False
        return things, sure

    def judged(*given: Any) -> Any:
        shares = told(*given)[2]
        assert shares.max() > 0.8  # the votes are right in 0.75
        raise Enough

    monkeypatch.setattr(attention_search, "find_things", find_in_some)
    monkeypatch.setattr(attention_search, "_told", judged)
    with pytest.raises(Enough):
        make_trainer(decide(cluttered_reach(), config(epochs=2))).search_attention()


@pytest.mark.parametrize("moves", [False, True])
def test_a_camera_on_the_hand_does_not_tell_whether_other_things_lie_about(
    moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluttered = list[bool]()

    def looked(*given: Any) -> Any:
        cluttered.append(given[5])
        raise Enough

    monkeypatch.setattr(attention_search, "make_candidates", looked)
    dataset = cluttered_reach()
    (camera,) = dataset.spec.cameras
    moving = camera.model_copy(update={"moves": moves})
    spec = dataset.spec.model_copy(update={"cameras": (moving,)})
    made = make_trainer(decide(replace(dataset, spec=spec), config(epochs=2)))
    with pytest.raises(Enough):
        made.search_attention()
    assert cluttered == [not moves]
    assert made._things_lie_about() is not moves


def test_too_few_episodes_in_memory_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_search, "most_episodes", lambda *given: 18)
    monkeypatch.setattr(attention_search, "learn_candidates", None)
    said = list[str]()
    make_trainer(decide(cluttered_reach(), config(epochs=2))).search_attention(said.append)
    for text in (
        "of images of 40x32 pixels memory holds 18 episodes, and they need 20",
        "episodes: images of this size leave no memory for more: ask for smaller ones in the spec",
    ):
        assert any(text in one for one in said), said
