# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A square somewhere decides what the arm does: the points must find it, and only if it does."""

from __future__ import annotations

import dataclasses
import itertools
import re
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from reaching import SIZES, config, reach
from safetensors.torch import load_file
from torch import nn

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy.directory import load_config
from sarnn_ros.spec import CameraSpec
from sarnn_ros.training import attention_search, batches
from sarnn_ros.training.attention_search import (
    EXEMPLARS,
    MISTAKEN_WEIGHT,
    _discriminants,
    _discriminants_against,
    _patches,
    _typical,
    _unlike,
    choose,
    episode_bytes,
    make_candidates,
    most_episodes,
)
from sarnn_ros.training.estimate import search
from sarnn_ros.training.expected_places import (
    MIN_PLACE_DEVIATION,
    MIN_SHARE,
    Told,
    as_expected,
    expected_places,
    find_things,
    tell,
)
from sarnn_ros.training.explained import (
    CHOICE_RIDGE,
    Regressions,
    Starts,
    explained_share,
    explained_variance,
    ridge_predictions,
    trajectories,
    unseen_demonstrations,
    warped_squares,
)
from sarnn_ros.training.recipe import RECIPE, decide
from sarnn_ros.training.run import make_trainer, train
from sarnn_ros.training.trainer import Trainer
from sarnn_ros.training.warping import MAX_WARP_SPEED


def searched(dataset: Dataset) -> Trainer:
    trainer = make_trainer(decide(dataset, config()))
    trainer.search_attention()
    return trainer


def alike(count: int) -> NDArray[np.float64]:
    """What first states tell, (E, 0), where all episodes start alike."""
    return np.zeros((count, 0))


@pytest.fixture
def few_exemplars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for a square and a hand, in a third of the time."""
    monkeypatch.setattr(attention_search, "EXEMPLARS", 32)


#: Of motions that are only regressed on.
WAYS = torch.zeros(1, 1, 1)


def no_motions(count: int) -> Told:
    """Of episodes whose trajectories tell nothing."""
    return Told(torch.zeros(count, 1), torch.zeros(count, 0), WAYS)


def test_of_many_episodes_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those with their own trajectories: else nothing would be explained."""
    some = dataclasses.replace(RECIPE, max_episodes_for_search=16)
    monkeypatch.setattr(attention_search, "RECIPE", some)
    seen: list[int] = []
    make = attention_search.make_candidates

    def counting(branch: Any, sets: Sequence[torch.Tensor], *others: Any) -> Any:
        seen.extend(len(images) for images in sets)
        return make(branch, sets, *others)

    monkeypatch.setattr(attention_search, "make_candidates", counting)
    trainer = make_trainer(decide(reach(40), config()))
    said: list[str] = []
    trainer.search_attention(said.append)
    assert set(seen) == {16}
    used = len(trainer.training)
    assert f"attention is searched for in 16 of {used} episodes: that is enough" in said
    explains, permuted = trainer.points_explain(trainer.model) or (0, 1)
    assert explains > 0.6
    assert permuted < 0.3


def test_the_search_stays_within_its_memory() -> None:
    """Of images as they are usual it looks at 64 episodes and more, of large ones at enough."""
    one, eipl, large, several = (
        SARNN(8, 2, 2, im_size=size)
        for size in ((64, 64), (128, 128), (480, 640), [(128, 128), (96, 96), (128, 128)])
    )
    assert most_episodes(one, EXEMPLARS) == RECIPE.max_episodes_for_search
    assert most_episodes(large, EXEMPLARS) == RECIPE.min_episodes_for_search
    for model in (eipl, several):
        assert 64 <= most_episodes(model, EXEMPLARS) < RECIPE.max_episodes_for_search
        needed = most_episodes(model, EXEMPLARS) * episode_bytes(model, EXEMPLARS)
        assert needed <= attention_search.MAX_SEARCH_BYTES


def test_features_of_one_set_of_images_are_kept_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those of the clean one: of eight they were most of the memory."""
    kept: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def keep(module: nn.Module, images: Any, features: torch.Tensor) -> None:
        kept.append(weakref.ref(features))
        alive.append(sum(one() is not None for one in kept))

    trainer = make_trainer(decide(reach(8, sizes=SIZES[1:]), config()))
    branch = trainer.model.branches[0]
    branch.pos_encoder[3].register_forward_hook(keep)
    images = [torch.rand(8, 3, 20, 20) for _ in range(8)]
    with torch.no_grad():
        make_candidates(branch, images, no_motions(8), 1.0, EXEMPLARS, False, trainer.generator)
    assert len(alive) > 8
    assert max(alive) <= 3  # one is made while the one before is still there


def test_a_typical_patch_is_what_the_images_share_and_not_one_of_them() -> None:
    rng = torch.Generator().manual_seed(0)
    thing = 3 * torch.randn(4, 3, 3, generator=rng)
    images = 0.1 * torch.randn(40, 4, 12, 12, generator=rng)
    places = torch.randint(0, 10, (40, 2), generator=rng).tolist()
    shown = [thing + torch.randn(4, 3, 3, generator=rng) for _ in places]
    for image, (row, column), one in zip(images[:-1], places, shown, strict=False):
        image[:, row : row + 3, column : column + 3] = one  # the last image is without it
    mean = torch.zeros(36)
    offsets = torch.stack([one.flatten() for one in shown[:3]])
    weight, bias = _discriminants(offsets, mean, torch.eye(36))
    typical = _typical([images], weight, bias, offsets, mean)
    from_thing = (typical - thing.flatten()).norm(dim=1)
    assert float((from_thing / (offsets - thing.flatten()).norm(dim=1)).max()) < 0.35


def test_a_small_object_gets_exemplars_beside_a_large_one() -> None:
    """Ten of 3000 patches are of it. Drawn as they come, 8 exemplars would hardly have one."""
    rng = torch.Generator().manual_seed(0)
    patches = torch.randn(3000, 4, generator=rng)
    small = torch.randperm(3000, generator=rng)[:10]
    patches[small] += 20
    for seed in range(20):
        chosen = _unlike(patches, 8, torch.Generator().manual_seed(seed))
        assert len(set(chosen.tolist())) == 8
        assert torch.isin(chosen, small).any()
    alike = _unlike(torch.zeros(5, 4), 3, rng)  # images that are all black
    assert alike.shape == (3,)


def test_where_other_things_lie_about_filters_are_of_what_the_motions_follow() -> None:
    """A pale square decides, and there are bright ones of other colours elsewhere in each image.
    A bar that never moves is of its colour."""
    rng = np.random.default_rng(0)
    images = np.full((40, 32, 40, 3), 120.0)
    places = rng.integers((0, 0), (36, 22), (40, 2))
    for image, (x, y) in zip(images, places, strict=True):
        for _ in range(4):
            left, top = rng.integers((0, 0), (35, 26))
            image[top : top + 6, left : left + 6] = rng.uniform(0, 255, 3)
        image[28:] = (150, 90, 90)
        image[y : y + 4, x : x + 4] = (150, 90, 90)
    images += rng.normal(0, 2, images.shape)
    sets = [torch.from_numpy(images / 255).float().permute(0, 3, 1, 2)]
    told = tell(places[:, None] / 40.0, alike(40), torch.device("cpu"))
    for seed in range(2):
        best = []
        for motions in (told, no_motions(40)):
            model, generator = (
                SARNN(8, 2, 2, im_size=(32, 40)),
                torch.Generator().manual_seed(seed),
            )
            with torch.no_grad():
                found = make_candidates(model.branches[0], sets, motions, 1.0, 32, True, generator)
            middles = torch.from_numpy(places[:, None] + 1.5)
            off = found.points[0] * torch.tensor([33, 25]) + 3 - middles
            best.append(float((off.abs().amax(2) < 3).double().mean(0).sort().values[-4]))
        assert best[0] > 0.65
        assert best[1] < 0.5


def test_discriminants_are_right_with_several_threads() -> None:
    """Of several large matrices at once `torch.linalg.solve` is not."""
    random = torch.Generator().manual_seed(0)
    count, size = 40, 32 * 9
    features = torch.randn(6, 32, 10, 12, generator=random)
    offsets, mean = torch.randn(count, size, generator=random), torch.zeros(size)
    spread = torch.randn(2 * size, size, generator=random)
    covariance = spread.T @ spread / len(spread)
    numbers = torch.randint(6 * 8 * 10, (6, count), generator=random)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found, _ = _discriminants_against(
            offsets, mean, covariance, features, numbers, torch.ones_like(numbers)
        )
    finally:
        torch.set_num_threads(threads)
    for row, weight in enumerate(found.double()):
        patches = _patches(features, numbers[:, row]).double()
        both = (1 - MISTAKEN_WEIGHT) * covariance.double()
        both += MISTAKEN_WEIGHT * patches.T @ patches / len(patches)
        wanted = torch.linalg.solve(both, offsets[row].double())
        wanted /= wanted @ offsets[row].double()
        torch.testing.assert_close(weight, wanted, rtol=1e-3, atol=1e-6)


WHOLE = {"x": 0, "y": 0, "width": 64, "height": 64}


@pytest.mark.parametrize(
    ("side", "crop", "cluttered"),
    [(8, None, False), (24, None, True), (24, WHOLE, False)],
)
def test_things_lie_about_where_much_differs_in_a_whole_image(
    side: int, crop: Any, cluttered: bool
) -> None:
    """A square that is elsewhere in each of eight images, 64 pixels wide."""
    images = torch.zeros(8, 3, 64, 64)
    for number, image in enumerate(images):
        row, column = divmod(number, 3)
        image[:, 20 * row : 20 * row + side, 20 * column : 20 * column + side] = 1.0
    camera = CameraSpec(name="front", topic="/image", width=64, height=64, crop=crop)
    assert attention_search.is_cluttered(images, camera, 1.0) == cluttered


def test_places_that_the_motions_tell_but_for_some_are_expected() -> None:
    generator = torch.Generator().manual_seed(0)
    motions = torch.randn(45, 3, generator=generator)
    starts = torch.randn(45, 2, generator=generator)
    anywhere = 60 * torch.rand(45, 50, 2, generator=generator)
    follows = 30 + 8 * motions[:, None, :2] + torch.randn(45, 1, 2, generator=generator)
    mistaken = follows.clone()
    mistaken[::3] = anywhere[::3, :1]
    robot = 30 + 8 * starts[:, None]  # which the state tells, too
    places = torch.cat([follows, mistaken, robot, anywhere], 1)
    expected, deviation = expected_places(places, Told(motions, starts, WAYS))
    found = as_expected(places, expected)
    share = found.double().mean(0)
    assert share[0] > 0.9
    assert 0.55 < share[1] < 0.8
    assert found[1::3, 1].double().mean() > 0.85
    assert share[3:].median() < MIN_SHARE
    assert deviation[0] > 8
    assert deviation[1] > 8
    assert deviation[2] < MIN_PLACE_DEVIATION


def test_filters_that_see_a_thing_in_some_episodes_tell_where_it_is_in_nearly_all() -> None:
    """Two things; of the second one each filter is on another part, and one episode hides it."""
    generator = torch.Generator().manual_seed(0)
    motions = torch.randn(45, 4, generator=generator)
    true = 30 + 8 * motions.reshape(45, 2, 2)
    seen = torch.rand(45, 20, generator=generator) < 0.6
    seen[0, 10:] = False
    parts = torch.cat([torch.zeros(10, 2), 3 * torch.randn(10, 2, generator=generator)])
    places = true.repeat_interleave(10, 1) + parts + torch.randn(45, 20, 2, generator=generator)
    anywhere = 60 * torch.rand(45, 200, 2, generator=generator)
    places = torch.where(seen.unsqueeze(2), places, anywhere[:, :20])
    told = Told(motions, torch.zeros(45, 0), WAYS)
    where, sure = find_things(torch.cat([places, anywhere], 1), told)
    assert where.shape == (45, 2, 2)
    for thing in range(2):
        off = where[:, None, thing] - true  # on a part of it, the same in all episodes
        off = (off - off.median(0).values).norm(dim=2)
        (mine,) = torch.nonzero(off.median(0).values < 2)[:, 0].tolist()
        assert (off[:, mine] < 3)[sure[:, thing]].double().mean() > 0.95
        assert sure[:, thing].double().mean() > 0.9
        assert mine == 0 or not sure[0, thing]
    where, sure = find_things(anywhere, told)
    assert where.shape == (45, 0, 2) and sure.shape == (45, 0)


@pytest.mark.usefixtures("few_exemplars")
@pytest.mark.parametrize(("episodes", "few"), [(8, False), (12, True), (28, False)])
def test_of_few_episodes_points_are_chosen_by_how_exactly_they_tell_the_motion(
    monkeypatch: pytest.MonkeyPatch, episodes: int, few: bool
) -> None:
    """Those that stay, and those of which figures are told."""
    chosen = []

    def choosing(points: torch.Tensor, told: Told, count: int) -> list[int]:
        assert points.shape[1] == len(told.motions)
        chosen.append(len(told.motions))
        return list(range(count))

    monkeypatch.setattr(attention_search, "choose_few", choosing)
    trainer = make_trainer(decide(reach(episodes), config()))
    count = int(trainer.training.demonstrations.sum())
    assert trainer.training.few is few
    trainer.search_attention()
    if few:
        assert set(chosen) == {count, *(count - len(range(fold, count, 5)) for fold in range(5))}
    else:
        assert not chosen


def test_the_points_find_what_decides() -> None:
    trainer = make_trainer(decide(reach(), config()))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    said: list[str] = []
    trainer.search_attention(said.append)
    explains, permuted = trainer.points_explain(trainer.model) or (0, 1)
    assert explains > 0.8
    assert permuted < 0.3
    # That was cross-validation; episodes that the search has not seen say the same.
    trainer.searched = None
    held_out, permuted = trainer.points_explain(trainer.model) or (0, 1)
    assert held_out == pytest.approx(explains, abs=0.15)
    assert permuted < 0.3
    assert "search 2/2: the points explain 0." in said[1]
    # The attention of both cameras is changed, some LSTM units hold, and nothing else.
    changed = {name for name, value in trainer.model.state_dict().items()
               if not torch.equal(value, before[name])}  # fmt: skip
    assert all("pos_encoder" in name or name.startswith("rec.") for name in changed)
    assert trainer.scale is not None and trainer.scale.telling == 2
    assert {"pos_encoder.4.weight", "other_cameras.0.pos_encoder.4.weight"} <= changed


@pytest.mark.usefixtures("few_exemplars")
@pytest.mark.parametrize("permuted", [False, True])
def test_what_the_first_state_tells_is_not_what_the_points_explain(permuted: bool) -> None:
    """The hand starts elsewhere in each episode, and its points explain where it goes at first;
    but that the measured state tells. If the square decides nothing, it must not look as if."""
    trainer = searched(reach(50, permuted=permuted, starts=0.8))
    assert Starts(trainer.training.first_states()).count == 2
    assert trainer.scale is not None
    # Both cameras show the hand, one of them the square: its place has two directions.
    assert permuted or trainer.scale.telling == 2
    found = [trainer.points_explain(trainer.model) or (0.5, 0)]
    trainer.searched = None
    found.append(trainer.points_explain(trainer.model) or (0.5, 0))
    for explains, _ in found:
        assert explains < 0.3 if permuted else explains > 0.7, found


def test_of_the_first_states_the_directions_count_that_really_deviate() -> None:
    rng = np.random.default_rng(0)
    noise = 0.005 * rng.normal(size=(45, 7))
    assert Starts(noise).count == 0
    once = rng.normal(size=(45, 1)) @ [[0.1, -0.2, 0, 0, 0, 0.1, 0]]
    starts = Starts(once + noise)
    assert starts.count == 1
    assert starts(once + noise).std() == pytest.approx(1)
    assert abs(np.corrcoef(starts(once)[:, 0], once[:, 1])[0, 1]) > 0.99
    everywhere = rng.uniform(size=(45, 14))
    assert Starts(everywhere).count == 7  # one of six episodes
    assert Starts(everywhere[:5]).count == Starts(everywhere[:1]).count == 0


def test_what_is_expected_of_an_episode_follows_from_its_first_state() -> None:
    """A policy that goes on from where it started explains nothing beyond."""
    rng = np.random.default_rng(0)
    states, goals = rng.uniform(size=(2, 40, 1))
    share = np.linspace(0, 1, 20)[:, None]
    ways = [(1 - share) * start + share * goal for start, goal in zip(states, goals)]
    base = unseen_demonstrations(ways, states, states)
    blind = [(1 - share) * start + share * goals.mean() for start in states]
    assert abs(explained_variance(blind, ways, base) or 1) < 0.1
    assert (explained_variance(ways, ways, base) or 0) == 1


@pytest.mark.parametrize(
    ("episodes", "permuted", "severity", "says"),
    [
        (25, False, "note", r"the points that a search finds explain (0\.[89]|1\.0)"),
        (50, True, "warning", r"explain -?0\.[012]"),
        (4, False, "warning", "demonstrations are too few to search for attention"),
    ],
    ids=["sees", "decides nothing", "few"],
)
def test_before_training_it_is_said_what_a_search_finds(
    episodes: int, permuted: bool, severity: str, says: str
) -> None:
    """It decides nothing if the arm goes where the square lay in another episode: then the points
    must explain nothing, with as many candidates as usual."""
    problem = search(decide(reach(episodes, permuted=permuted), config()))
    assert problem.severity == severity
    assert re.search(says, problem.found)
    assert problem.where == "attention (camera0 whole, camera1 whole)"


def test_a_second_object_is_chosen_however_many_candidates_are_on_the_first() -> None:
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(30, 4, generator=generator)  # of two objects
    wanted = (places * torch.tensor([2.0, 2.0, 1.0, 1.0])).double().numpy()
    noise = 0.03 * torch.randn(30, 200, 2, generator=generator)
    first = places[:, None, :2] + noise
    points = torch.cat([first, places[:, None, 2:]], 1)[None]
    chosen = choose(points, wanted, alike(30), 2)
    assert 200 in chosen
    copies = torch.cat([points] * 2, 2)
    assert choose(copies, wanted, alike(30), 2) == chosen  # and no copy of it beside it


def test_beside_a_few_points_those_are_chosen_that_follow_the_same() -> None:
    """Not those that explain what is left of few episodes by chance: they explain nothing of
    others."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return 0.01 * torch.randn(shape, generator=generator)

    places = torch.rand(20, 4, generator=generator)  # of two objects
    wanted = (places + 20 * noise(20, 4)).double().numpy()  # much of it no image tells
    first, second = places[:, None, :2], places[:, None, 2:]
    follow = torch.cat([first + noise(20, 6, 2), second + noise(20, 6, 2)], 1)
    points = torch.cat([follow, torch.rand(20, 300, 2, generator=generator)], 1)[None]
    chosen = choose(points, wanted, alike(20), 12)
    assert len(set(chosen)) == 12
    assert sum(one < 12 for one in chosen) >= 6


def test_of_many_episodes_as_many_things_are_chosen_as_they_tell_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(45, 7, 2, generator=generator)
    others = places[:, :1] + 0.1 * torch.randn(45, 50, 2, generator=generator)
    points = torch.cat([places, others], 1)[None]
    chosen = choose(points, places.flatten(1).double().numpy(), alike(45), 12)
    assert set(range(7)) <= set(chosen)


@pytest.mark.parametrize("seed", [0, 1])
def test_what_follows_an_object_goes_all_the_way(seed: int) -> None:
    """A filter that is too soft for its image has its point between the object and the middle."""
    trainer = make_trainer(decide(reach(sizes=[(64, 48)]), config(seed=seed)))
    data = trainer.training
    frames = data.frames(torch.arange(len(data)), torch.zeros(len(data), dtype=torch.long))
    with torch.no_grad():
        images = [data.scale(one) for one in frames]
        found = make_candidates(
            trainer.model.branches[0],
            images,
            no_motions(len(data)),
            1.0,
            EXEMPLARS,
            False,
            trainer.generator,
        )
    columns = found.points[0, :, :, 0].numpy()
    square = data.targets[:, 10, 0].numpy()
    square, columns = square - square.mean(), columns - columns.mean(0)
    along = square @ columns / (square @ square)
    follows = square @ columns > 0.97 * np.linalg.norm(square) * np.linalg.norm(columns, axis=0)
    assert follows.sum() > 20
    # Five seeds gave 0.94 to 0.99.
    assert np.quantile(along[follows], 0.05) > 0.85 * along[follows].max()


def test_the_layers_below_are_not_linear_on_the_images() -> None:
    """Each unit's response has both signs, whatever the image's brightness; with biases of 0 many
    of the first layer have one only. Of 0 to 10 per seed none was left."""
    dataset = reach()
    frames = [np.asarray(episode.images["camera1"][0]) for episode in dataset.episodes]
    images = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2) / 255

    def one_signed(branch: Any) -> int:
        """Units of both layers whose responses are positive, or negative, in 99 %."""
        found = [branch.pos_encoder[:depth](images) > 0 for depth in (1, 3)]
        shares = torch.cat([one.float().mean((0, 2, 3)) for one in found])
        return int(((shares < 0.01) | (shares > 0.99)).sum())

    untouched = drawn = 0
    for seed in range(3):
        trainer = make_trainer(decide(dataset, config(seed=seed)))
        branch = trainer.model.branches[-1]
        with torch.no_grad():
            untouched += one_signed(branch)
            make_candidates(branch, [images], no_motions(25), 1.0, 32, False, trainer.generator)
            drawn += one_signed(branch)
    assert untouched >= 8
    assert drawn == 0


@pytest.mark.usefixtures("few_exemplars")
def test_it_follows_from_the_seed() -> None:
    weights = [searched(reach(12)).model.state_dict() for _ in range(2)]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def unexplained(points: np.ndarray, wanted: np.ndarray) -> float:
    """By fitting as often as there are episodes."""
    count, width = points.shape
    inputs = np.c_[(points - points.mean(0)) / points.std(0), np.ones(count)]
    penalty = np.diag([CHOICE_RIDGE * count] * width + [0.0])
    total = 0.0
    for left in range(count):
        x, y = np.delete(inputs, left, 0), np.delete(wanted, left, 0)
        slope = np.linalg.solve(x.T @ x + penalty, x.T @ y)
        total += ((wanted[left] - inputs[left] @ slope) ** 2).sum()
    return total / ((wanted - wanted.mean(0)) ** 2).sum()


@pytest.mark.parametrize("directions", [0, 2])
def test_what_one_more_point_explains_is_as_if_fitted_anew(directions: int) -> None:
    """All candidates at once, in closed form, and only changes from choice to choice; beside what
    first states tell, which deviate in so many directions."""
    rng = np.random.default_rng(0)
    points, wanted = rng.normal(size=(3, 20, 24, 2)), rng.normal(size=(24, 40))
    points[:, 4] += 0.2 * wanted[:, :2]
    states = rng.normal(size=(24, 2))
    starts = Starts(states)(states)[:, :directions]
    regressions, chosen = Regressions(points, wanted, starts), []
    for choice in (4, 11, 0, 7):
        others = [one for one in range(20) if one not in chosen]
        tried = [[points[:, one] for one in (*chosen, other)] for other in others]
        known = np.repeat(starts[None], 3, 0)
        joined = [np.concatenate([known, *one], -1) for one in tried]
        anew = [[unexplained(at, wanted) for at in one] for one in joined]
        np.testing.assert_allclose(regressions.unexplained()[:, others].T, anew, rtol=1e-9)
        regressions.add(choice)
        chosen.append(choice)


def test_a_warped_error_is_that_of_the_best_of_all_warps() -> None:
    """Against trying every way in which a prediction may be run through."""
    rng = np.random.default_rng(0)
    predicted, truth = rng.normal(size=(2, 3, 6, 2))
    steps = [
        one for one in itertools.product(range(MAX_WARP_SPEED + 1), repeat=5) if sum(one) == 5
    ]
    ways = np.cumsum([(0, *one) for one in steps], 1)
    least = [((one[ways] - true) ** 2).sum((1, 2)).min() for one, true in zip(predicted, truth)]
    assert warped_squares(predicted, truth) == pytest.approx(sum(least))


@given(
    lengths=st.lists(st.integers(8, 24), min_size=6, max_size=6),
    pauses=st.lists(st.integers(0, 8), min_size=6, max_size=6),
)
def test_a_motion_is_explained_at_any_pace(lengths: list[int], pauses: list[int]) -> None:
    """Two straight parts, each in so many ticks, after each of which the arm waits."""

    def motion(goal: float, lengths: list[int], pauses: list[int]) -> NDArray[np.float64]:
        corners = np.array([[0.0, 0.0], [0.5, 0.1], [0.6, goal]])
        parts = [corners[:1]]
        for start, end, ticks, wait in zip(corners[:-1], corners[1:], lengths, pauses):
            parts.append(start + (end - start) * np.arange(1, ticks + 1)[:, None] / ticks)
            parts.append(np.repeat(end[None], wait, 0))
        return np.concatenate(parts)

    goals = [-0.8, 0.1, 0.9]
    split = [slice(first, first + 2) for first in (0, 2, 4)]
    targets = [motion(g, lengths[s], pauses[s]) for g, s in zip(goals, split)]
    steady = [motion(goal, [16, 16], [0, 0]) for goal in goals]
    mean = unseen_demonstrations(steady, np.zeros((3, 1)), np.zeros((3, 1)))
    assert (explained_variance(steady, targets, mean) or 0) > 0.95
    wrong = [*steady[1:], steady[0]]
    assert (explained_variance(wrong, targets, mean) or 0) < 0


def test_only_what_is_seen_is_explained() -> None:
    rng = np.random.default_rng(0)
    where = rng.uniform(size=(400, 1))
    ways = [np.linspace(0, place, 10 + index % 9) for index, place in enumerate(where)]
    wanted = trajectories(ways)
    for points, low, high in ((where, 0.99, 1.0), (rng.uniform(size=(400, 1)), -1.0, 0.1)):
        found = ridge_predictions(points[:300], wanted[:300], points[300:], alike(300), alike(100))
        explains, exchanged = explained_share(*found, wanted[300:])
        assert low < explains < high
        assert exchanged < 0.1


def test_a_camera_that_shows_nothing_is_no_error(
    make_task: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Black images, without the noise that would tell them apart."""
    dataset = make_task([9] * 10)
    for episode in dataset.episodes:
        episode.images["camera0"][:] = 0  # type: ignore[index]
    for module in (attention_search, batches):
        monkeypatch.setattr(module, "IMAGE_NOISE", 0.0)
    trainer = make_trainer(decide(dataset, config(epochs=1)))
    trainer.search_attention()
    next(trainer.run(time.monotonic))
    assert all(bool(torch.isfinite(weight).all()) for weight in trainer.model.parameters())
    explains, _ = trainer.points_explain(trainer.model) or (1, 1)
    assert explains < 0.1


@pytest.mark.filterwarnings("error")
def test_where_nothing_differs_nothing_is_explained(make_task: Callable[..., Dataset]) -> None:
    """Every demonstration is the same, and no direction of the points tells them apart."""
    dataset = make_task([9] * 10)
    for episode in dataset.episodes:
        episode.joints[:] = episode.targets[:] = 0.3
    trainer = make_trainer(decide(dataset, config(epochs=1)))
    trainer.search_attention()
    assert trainer.points_explain(trainer.model) == (0, 0)
    trainer.searched = None
    assert trainer.points_explain(trainer.model) == (0, 0)
    assert trainer.scale is not None
    assert trainer.scale.telling == 0


@pytest.mark.usefixtures("few_exemplars")
def test_a_training_keeps_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen, with standardised points; to the bit the same after an interruption."""
    dataset, said = reach(sizes=SIZES[1:]), []
    search, found = Trainer.search_attention, {}

    def searching(trainer: Trainer, tell: Callable[[str], None]) -> None:
        search(trainer, tell)
        found.update({name: one.clone() for name, one in trainer.model.state_dict().items()})

    monkeypatch.setattr(Trainer, "search_attention", searching)
    result = train(decide(dataset, config()), tmp_path / "policy", warn=said.append)
    assert "attention search 1/2" in said[0]
    made = load_config(tmp_path / "policy").training
    explained = made["explained"]
    assert explained["points"] > 0.8 > 0.3 > explained["permuted"], explained
    assert explained["free_run"] > 0.8, explained
    weights = load_file(tmp_path / "policy" / "model.safetensors")
    for name, value in found.items():
        assert ("pos_encoder" not in name) or torch.equal(value, weights[name]), name
    stops = iter([False, True])
    train(decide(dataset, config()), tmp_path / "parts", should_stop=lambda: next(stops))
    rest = train(decide(dataset, config()), tmp_path / "parts", resume=True)
    assert rest.history[-1]["training"] == result.history[-1]["training"]
    parts = load_file(tmp_path / "parts" / "model.safetensors")
    for name, value in weights.items():
        assert torch.equal(value, parts[name]), name


def test_of_too_few_episodes_the_attention_is_trained(make_task: Callable[..., Dataset]) -> None:
    trainer, said = make_trainer(decide(make_task(), config())), []
    before = [weight.clone() for weight in trainer.model.pos_encoder.parameters()]
    trainer.search_attention(said.append)
    assert "4 demonstrations are too few" in said[0]
    next(trainer.run(time.monotonic))
    assert not any(map(torch.equal, before, trainer.model.pos_encoder.parameters()))


def test_many_points_of_few_episodes_do_not_fit_anything() -> None:
    """Exchanged, they are explained by -0.5 to -0.7; with a penalty of 0.01 by -0.8 to -1.6."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        where = rng.uniform(size=(124, 2))
        points = where @ rng.normal(size=(2, 48)) + 0.2 * rng.normal(size=(124, 48))
        goals = where[:, None]  # trajectories of one sample
        found = ridge_predictions(points[:24], goals[:24], points[24:], alike(24), alike(100))
        explains, exchanged = explained_share(*found, goals[24:])
        assert explains > 0.95
        assert exchanged > -0.75
