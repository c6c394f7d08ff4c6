# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers that tell the motion: what the recurrent part learns from, and gets at the robot."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quick_export
import quick_search
import torch

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.errors import ConfigError, PolicyError
from sarnn_ros.interop.eipl_checkpoint import export_eipl
from sarnn_ros.model import ANYWHERE
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy.backends import BACKENDS, load_model, make_backend
from sarnn_ros.policy.directory import ANYWHERE_DEVIATION, load_config
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.streams.observe import Observation
from sarnn_ros.training import trainer as trainer_module
from sarnn_ros.training.checkpoint import describe_data, differences
from sarnn_ros.training.config import TrainConfig, make_config
from sarnn_ros.training.expected_places import (
    FOLDS,
    MIN_TOLD,
    NEAR_IN_CLUTTER,
    Told,
    expected_places,
    fit_places,
    tell,
    usual_gain,
)
from sarnn_ros.training.points import SHARE_BESIDE_MOTION, PointScale
from sarnn_ros.training.recipe import decide, prepare
from sarnn_ros.training.renormalise import retell, without_motion
from sarnn_ros.training.rounds import load_before
from sarnn_ros.training.run import make_trainer, train
from sarnn_ros.training.tensorboard import draw_predictions
from sarnn_ros.training.trainer import free_run

pytestmark = pytest.mark.usefixtures("quick_search")

MakeTask = Callable[..., Dataset]
Trained = Callable[..., Path]
TWO = ((16, 14), (12, 18))
ENOUGH = [9, 7, 9, 8, 9, 9, 6, 9]
FEW = [*ENOUGH, 8, 7, 9, 9]
#: `MIN_TOLD` by whether the motion is told then.
LIMITS = {True: -np.inf, False: 1.1}


@pytest.fixture(scope="module")
def trained(make_task: MakeTask, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The policy that `small()` trains, to be read only: once per data, and what `is_told`."""
    made: dict[str, Path] = {}

    def make(lengths: list[int], *, is_told: bool = True, sizes: Any = TWO) -> Path:
        key = f"{lengths} {is_told} {sizes}"
        if key not in made:
            made[key] = tmp_path_factory.mktemp("trained") / "policy"
            with pytest.MonkeyPatch.context() as patch:
                quick_export.install(patch)
                quick_search.install(patch)
                patch.setattr(trainer_module, "MIN_TOLD", LIMITS[is_told])
                train(decide(make_task(lengths, sizes=sizes), small()), made[key])
        return made[key]

    return make


def small(**settings: Any) -> TrainConfig:
    values = {"k_dim": 2, "rec_dim": 8, "epochs": 2, "inner_steps": 3, "encoder_frames": 12,
              "image_frames": 5, "threads": 1, "device": "cpu", "motion": True}  # fmt: skip
    return make_config({**values, **settings})


@pytest.mark.parametrize(
    ("settings", "episodes", "expected"),
    [
        ({}, 35, True),
        ({}, 34, False),
        ({}, 21, False),
        ({}, 20, True),
        ({}, 9, True),
        ({}, 8, False),
        ({"motion": True}, 6, True),
        ({"motion": True}, 5, False),  # too few to search
        ({"motion": False}, 99, False),
        ({"attention": "train"}, 99, False),
        ({"recipe": "eipl"}, 99, False),
    ],
)
def test_when_the_recurrent_part_gets_the_motion(
    make_task: MakeTask, settings: dict[str, Any], episodes: int, expected: bool
) -> None:
    dataset = make_task([3] * episodes, validation=0)
    trainer = make_trainer(decide(dataset, make_config({"threads": 1, **settings})))
    assert bool(trainer.model.motion_dim) is expected


@pytest.mark.parametrize("recipe", ["fast", "eipl"])
def test_points_that_are_still_trained_tell_no_motion(recipe: str) -> None:
    with pytest.raises(ConfigError, match=r"(?m)^ *-? ?motion: true needs attention: search"):
        make_config({"recipe": recipe, "attention": "train", "motion": True})


def test_eipl_cannot_hold_it(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"numbers that tell the motion(.|\n)*motion=false"):
        export_eipl(trained(ENOUGH, sizes=TWO[:1]), tmp_path / "eipl")


@pytest.mark.parametrize("sizes", [TWO[:1], TWO])
def test_the_policy_does_what_training_did(
    make_task: MakeTask, trained: Trained, monkeypatch: pytest.MonkeyPatch, sizes: Any
) -> None:
    """Without places: then the gate, which training does not know, is open, and the motion is the
    mean one."""
    monkeypatch.setattr(trainer_module, "MIN_TOLD", -np.inf)
    dataset = make_task(ENOUGH, sizes=sizes)
    trainer = make_trainer(decide(dataset, small()))
    trainer.search_attention()
    directory = trained(ENOUGH, sizes=sizes)
    config = load_config(directory).model_copy(update={"places": None})
    model = load_model(directory, config)
    assert trainer.validation is not None
    seen = trainer.encode_all(trainer.validation, model)
    seen[..., -model.motion_dim :] = 0
    hidden, _ = model.recur(seen, trainer.validation.joints[:, :-1])
    expected = dataset.normaliser.denormalise(model.decoder_joint(hidden)[0].detach().numpy())
    episode = dataset.episodes[dataset.validation[0]]
    for name in BACKENDS:
        made = make_backend(name, directory, config, threads=1, device="cpu")
        policy = Policy(config, made)
        for _ in range(2):  # the second time after a reset
            policy.reset()
            for tick in range(len(episode.joints) - 1):
                images = {name: frames[tick] for name, frames in episode.images.items()}
                found = policy.step(Observation(1, images, episode.joints[tick], {}, {}))
                np.testing.assert_allclose(found.action, expected[tick], atol=1e-4)


@torch.no_grad()
def test_what_is_deployed_is_what_was_trained(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scale of points and motion is folded into the weights; and it runs free alike."""
    monkeypatch.setattr(trainer_module, "MIN_TOLD", -np.inf)
    trainer = make_trainer(decide(make_task(ENOUGH, sizes=TWO), small()))
    trainer.search_attention()
    with torch.enable_grad():
        for _ in trainer.run(time.monotonic):
            pass
    model, data = trainer.final_model().eval(), trainer.validation
    assert data is not None and trainer.scale is not None
    seen = trainer.encode_all(data, model)
    trained, _ = trainer.model.recur(trainer.scale(seen), data.joints[:, :-1])
    folded, _ = model.recur(seen, data.joints[:, :-1])
    torch.testing.assert_close(trained, folded, atol=1e-5, rtol=1e-4)
    runs = free_run(model, seen, data.joints, data.targets)
    state, own = None, data.joints[:1, 0]
    open_ = torch.zeros(1, model.point_dim), torch.full((1, model.point_dim // 2), ANYWHERE)
    for tick in range(int(data.lengths[0]) - 1):
        images = data.scaled_frames(torch.tensor([0]), torch.tensor([tick]))
        gate = (*open_, seen[:1, tick, model.point_dim :])
        action, _, _, state = model.act(images, own, state, gate)
        torch.testing.assert_close(action, runs[:1, tick], atol=1e-5, rtol=1e-4)
        own = data.joints[:1, tick + 1] + action - data.targets[:1, tick]


def test_it_goes_on_as_if_uninterrupted(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "MIN_TOLD", -np.inf)

    def weights(stop_after: int | None) -> torch.Tensor:
        plan = decide(make_task(ENOUGH, sizes=TWO), small(epochs=4))
        trainer = make_trainer(plan)
        trainer.search_attention()
        for epoch in trainer.run(time.monotonic):
            if epoch.number + 1 == stop_after:
                state = trainer.state_dict()
                trainer = make_trainer(plan)
                trainer.load_state_dict(state)
                for _ in trainer.run(time.monotonic):
                    pass
                break
        return torch.cat([one.detach().flatten() for one in trainer.model.parameters()])

    assert torch.equal(weights(None), weights(2))


def test_points_of_a_camera_that_moves_may_be_anywhere(make_task: MakeTask) -> None:
    dataset = make_task(ENOUGH, sizes=TWO)
    cameras = (dataset.spec.cameras[0], dataset.spec.cameras[1].model_copy(update={"moves": True}))
    moving = replace(dataset, spec=dataset.spec.model_copy(update={"cameras": cameras}))
    for one, anywhere in ((dataset, False), (moving, True)):
        trainer = make_trainer(decide(one, small()))
        trainer.search_attention()
        places = trainer.expected_places()
        assert places is not None
        found = [deviation >= ANYWHERE_DEVIATION for deviation in places.deviation[0]]
        assert found == [False, False, anywhere, anywhere]


@pytest.mark.parametrize("validation", [0, 0.2])
def test_pictures_for_tensorboard_are_of_what_the_recurrent_part_gets(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, validation: float
) -> None:
    monkeypatch.setattr(trainer_module, "MIN_TOLD", -np.inf)
    dataset = make_task(ENOUGH, sizes=TWO, validation=validation)
    trainer = make_trainer(decide(dataset, small()))
    trainer.search_attention()
    data = trainer.validation or trainer.training
    pictures, figure = draw_predictions(trainer)
    assert len(pictures) == 2
    length = int(data.lengths[0])
    model = trainer.final_model()
    points = trainer.encode_all(data, model, estimate=True)
    hidden, _ = model.recur(points[:1, : length - 1], data.joints[:1, : length - 1])
    drawn = np.stack([axes.lines[1].get_ydata() for axes in figure.axes], 1)
    wanted = model.decoder_joint(hidden)[0].detach().numpy()
    np.testing.assert_allclose(drawn[:-1], wanted, atol=1e-5)
    runs = data.unpad(free_run(model, points, data.joints, data.targets))
    for one, expected in zip(trainer.free_runs(model)[0], runs, strict=True):
        np.testing.assert_allclose(one, expected, atol=1e-5)


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("lengths", [ENOUGH, FEW])
def test_the_robot_gets_what_training_would_have_given(
    make_task: MakeTask,
    trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    lengths: list[int],
    is_told: bool,
) -> None:
    """Of demonstrations that are trained on it is the truth, of others what points tell."""
    monkeypatch.setattr(trainer_module, "MIN_TOLD", LIMITS[is_told])
    dataset = make_task(lengths, sizes=TWO)
    trainer = make_trainer(decide(dataset, small()))
    assert trainer.training.few == (lengths == FEW)
    trainer.search_attention()
    count = trainer.model.motion_dim
    assert count == trainer.training.told.motions.shape[1] > 0
    learnt = trainer.encode_all(trainer.training)[..., -count:]
    truth = trainer.training.told.motions if is_told else torch.zeros(len(learnt), count)
    assert torch.equal(learnt, truth.unsqueeze(1).expand_as(learnt))
    estimated = trainer.encode_all(trainer.training, estimate=True)[..., -count:]
    assert torch.equal(estimated, learnt) is not is_told
    assert trainer.scale is not None
    assert torch.equal(trainer.scale.matrix[-count:, -count:], torch.eye(count))

    policy = Policy.load(trained(lengths, is_told=is_told))
    assert policy.config.model.motion_dim == (count if is_told else 0), "of what is not told none"
    assert policy.config.places is not None
    assert policy.config.places.other_fits is not (is_told and trainer.training.few)
    assert trainer.validation is not None
    wanted = trainer.encode_all(trainer.validation)[0, 0, -count:]
    assert bool(wanted.any()) is is_told
    gates: list[Any] = []
    run = policy._backend.run

    def keep(images: Any, state: Any, recurrent: Any, gate: Any, *, want_image: bool) -> Any:
        gates.append(gate)
        return run(images, state, recurrent, gate, want_image=want_image)

    monkeypatch.setattr(policy._backend, "run", keep)
    episode = dataset.episodes[dataset.validation[0]]
    images = {name: frames[0] for name, frames in episode.images.items()}
    for _ in range(2):  # it stays
        policy.step(Observation(1, images, episode.joints[0], {}, {}))
        assert len(gates[-1]) == (3 if is_told else 2)
        np.testing.assert_allclose(np.ravel(gates[-1][2:]), wanted[wanted != 0], atol=1e-3)


@pytest.mark.parametrize("lengths", [ENOUGH, FEW])
def test_a_training_that_goes_on_is_told_the_same(
    make_task: MakeTask, trained: Trained, monkeypatch: pytest.MonkeyPatch, lengths: list[int]
) -> None:
    """Though the numbers are others: here they have the other sign."""
    monkeypatch.setattr(trainer_module, "MIN_TOLD", -np.inf)
    plan = decide(make_task(lengths, sizes=TWO), small())
    before = load_before(trained(lengths))
    weights = []
    for sign in (1, -1):
        trainer = make_trainer(plan)
        motions, starts, ways = trainer.training.told
        trainer.training.told = Told(sign * motions, starts, sign * ways)
        assert trainer.go_on(before) == ""
        first = trainer.model.point_dim
        weight = trainer.final_model().rec.weight_ih.detach()
        weights.append(weight[:, first : first + trainer.model.motion_dim])
    assert weights[0].abs().max() > 0.01
    torch.testing.assert_close(weights[1], -weights[0], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("then", [True, False])
def test_a_training_goes_on_only_if_the_motion_is_told_as_it_was(
    make_task: MakeTask, trained: Trained, monkeypatch: pytest.MonkeyPatch, then: bool
) -> None:
    """Weights that rely on the motion are of no use without it, nor those that never got it."""
    monkeypatch.setattr(trainer_module, "MIN_TOLD", LIMITS[then])
    plan = decide(make_task(ENOUGH, sizes=TWO), small())
    directory = trained(ENOUGH, is_told=then)
    before = load_before(directory)
    trainer = make_trainer(plan)
    assert trainer.go_on(before) == ""
    if not then:  # without the motion it does what it did
        model = without_motion(trainer.final_model())
        old = load_model(directory, before.config)
        for found, wanted in zip(model.parameters(), old.parameters(), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)
    monkeypatch.setattr(trainer_module, "MIN_TOLD", LIMITS[not then])
    why = make_trainer(plan).go_on(before)
    assert why.startswith("all points of first images together tell the recurrent part the motion")
    assert why.endswith("too little for it now" if then else "which it did not before")


@pytest.mark.parametrize("motion", [False, None])
def test_a_training_without_the_motion_does_not_go_on_from_a_policy_with_it(
    make_task: MakeTask, trained: Trained, motion: bool | None
) -> None:
    dataset = make_task(ENOUGH)
    before = load_before(trained(ENOUGH, sizes=TWO[:1]))
    plan = prepare(
        [], dataset.spec, small(motion=motion), crop=False, before=before, validation=0.2,
        load=lambda *_, spec=None, **__: dataset,
    )  # fmt: skip
    assert plan.before is None
    assert plan.why_anew == "the policy gets the motion, which this training does not tell it"


def test_a_checkpoint_of_before_there_was_the_setting_is_refused(make_task: MakeTask) -> None:
    config, dataset = small(), make_task(ENOUGH)
    before = config.model_dump(mode="json")
    del before["motion"]
    found = differences(before, describe_data(dataset), config, dataset)
    assert found == ["motion: 'none' then, True now"]


def scenes(count: int) -> tuple[torch.Tensor, Told]:
    """Points of a pinhole camera, cells, two of which miss in a fifth of the episodes."""
    generator = torch.Generator().manual_seed(0)
    motions = torch.randn(count, 3, generator=generator)
    slope = 9 * torch.randn(6, 2, 3, generator=generator)
    depth = 0.1 * torch.randn(6, 3, generator=generator)
    flat = torch.einsum("ec,kdc->ekd", motions, slope)
    points = 45 + flat / (1 + motions @ depth.T).unsqueeze(2)
    points += 0.3 * torch.randn(points.shape, generator=generator)
    points[::5, :2] = 90 * torch.rand(len(points[::5]), 2, 2, generator=generator)
    return points, Told(motions, torch.zeros(count, 0), torch.zeros(3, 1, 1))


#: Cells of an image's width and height.
SIDES = torch.full((1, 2), 90.0)


def test_a_pinhole_camera_is_fitted() -> None:
    points, told = scenes(45)
    off = (points - expected_places(points, told)[0]).norm(dim=2)
    assert off.median() < 0.8  # 2 cells and more by a linear regression
    places = fit_places(points / 90, told, SIDES)
    assert places.told > 0.95
    assert max(places.deviation[0]) < 1.5 / 90


@pytest.mark.parametrize(("sides", "others"), [((60.0, 20.0), 60.0), ((60.0, 60.0), 10.0)])
def test_the_cells_of_each_image_and_side_count(sides: tuple[float, float], others: float) -> None:
    """Of a wide crop less than a cell of noise is no miss; and what missed is one, whatever the
    first camera's size."""
    points, told = scenes(45)
    cells = torch.tensor([sides]).expand(6, 2)
    noise = 0.5 * torch.randn(points.shape, generator=torch.Generator().manual_seed(1))
    places = fit_places(points / 90 + noise / cells, told, cells)
    same = fit_places(points / 90 + noise / cells, told, torch.full((6, 2), others))
    assert places.told > same.told + 0.1
    assert max(places.missed[2:]) < 0.05 < min(places.missed[:2])


def test_training_counts_in_the_cells_of_each_camera(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[torch.Tensor] = []

    def fit(points: Any, told: Any, cells: torch.Tensor, *others: Any) -> Any:
        given.append(cells)
        return fit_places(points, told, cells, *others)

    monkeypatch.setattr(trainer_module, "fit_places", fit)
    trainer = make_trainer(decide(make_task(ENOUGH, sizes=((24, 20), (20, 32))), small()))
    trainer.search_attention()
    count = trainer.model.k_dim
    assert given[0].tolist() == [[17, 13]] * count + [[13, 25]] * count


def test_how_much_is_told_is_judged_by_other_demonstrations() -> None:
    """Points that do not follow the motions fit those of a few episodes, but tell nothing."""
    points, told = scenes(12)
    exchanged = points[torch.arange(len(points)).roll(FOLDS + 1)]
    assert fit_places(points / 90, told, SIDES).told > 0.8
    assert fit_places(exchanged / 90, told, SIDES).told < 0.5


def test_where_things_lie_about_less_exact_numbers_are_enough() -> None:
    points, told = scenes(45)
    points += 4 * torch.randn(points.shape, generator=torch.Generator().manual_seed(1))
    exact = fit_places(points / 90, told, SIDES).told
    rough = fit_places(points / 90, told, SIDES, near=NEAR_IN_CLUTTER).told
    assert exact < MIN_TOLD < rough


def test_what_a_robot_moves_late_is_usual_then() -> None:
    points, told = scenes(45)
    places = fit_places(points / 90, told, SIDES)
    still = np.repeat(points.double().numpy()[:, None] / 90, 40, 1)
    carried = still.copy()
    carried[:, 25:] = np.roll(still, 1, 0)[:, 25:]
    episodes = [one[: 40 - row % 3] for row, one in enumerate(carried)]
    gain = usual_gain(places, episodes, told)
    assert len(gain) == 40
    assert max(gain[:20]) < min(gain[26:])
    assert gain[23] == max(gain[21:26]), "paces differ"


def test_after_its_end_a_demonstration_counts_as_it_ended() -> None:
    points, told = scenes(45)
    places = fit_places(points / 90, told, SIDES)
    carried = np.repeat(points.double().numpy()[:, None] / 90, 40, 1)
    carried[:, 10:] = np.roll(carried, 1, 0)[:, 10:]
    episodes = [one[: 40 if row == 0 else 20] for row, one in enumerate(carried)]
    gain = usual_gain(places, episodes, told)
    assert gain[39] == pytest.approx(gain[18], rel=0.2)


def test_signs_of_the_numbers_do_not_depend_on_the_library() -> None:
    wanted = np.random.default_rng(0).normal(size=(20, 5, 2))
    motions = tell(wanted, np.zeros((20, 0)), torch.device("cpu")).motions
    largest = motions.abs().argmax(0)
    assert (motions[largest, torch.arange(motions.shape[1])] > 0).all()


@pytest.mark.parametrize("now", [2, 4])
def test_a_network_is_told_the_same_by_other_numbers(now: int) -> None:
    """Of more demonstrations the components are others. A few old estimates are wrong."""
    torch.manual_seed(0)
    sizes = ((24, 32), (24, 32))
    model = SARNN(8, 2, 3, im_size=sizes, motion_dim=3)
    new = torch.randn(40, now)
    old = 0.3 + new @ torch.randn(now, 3)
    points, joints = torch.rand(40, 5, 8), torch.rand(40, 5, 3)

    def run(motions: torch.Tensor) -> torch.Tensor:
        told = motions.unsqueeze(1).expand(-1, 5, -1)
        return model.recur(torch.cat([points, told], -1), joints)[0].detach()

    before = run(old)
    estimates = old.double().numpy().copy()
    estimates[::10] += 3
    retell(model, estimates, new)
    assert model.motion_dim == now
    torch.testing.assert_close(run(new), before, atol=0.02, rtol=0)


@pytest.mark.parametrize("told", [True, False])
def test_beside_a_motion_that_is_told_points_are_small(told: bool) -> None:
    torch.manual_seed(0)
    points, motions = torch.randn(60, 4), torch.randn(60, 3)
    scale = PointScale.of(points, (points[:30], torch.randn(4, 6)))
    found = scale.with_motion(3, told)(torch.cat([points, motions], 1))
    share = SHARE_BESIDE_MOTION if told else 1.0
    torch.testing.assert_close(found, torch.cat([share * scale(points), motions], 1))
