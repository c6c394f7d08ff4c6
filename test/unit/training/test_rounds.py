# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A training that goes on from a policy with more demonstrations."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quick_export
import quick_search
import torch
from training_fixtures import MakeDataset as MakeTask

from sarnn_ros.data.dataset import Dataset, make_dataset
from sarnn_ros.data.report import DatasetReport
from sarnn_ros.errors import ConfigError
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy.backends import load_model
from sarnn_ros.policy.directory import load_config
from sarnn_ros.spec import Crop, Spec
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.training import rounds
from sarnn_ros.training import trainer as trainer_module
from sarnn_ros.training.config import TrainConfig, make_config
from sarnn_ros.training.explained import new_explained
from sarnn_ros.training.recipe import RECIPE, Plan, prepare
from sarnn_ros.training.renormalise import renormalise
from sarnn_ros.training.run import make_trainer, train

pytestmark = pytest.mark.usefixtures("quick_search")

FIRST, ALL = [9] * 12, [9] * 15


def settings(**more: Any) -> TrainConfig:
    small = {"rec_dim": 6, "k_dim": 2, "epochs": 10, "batch_size": 8, "inner_steps": 2}
    return make_config({"device": "cpu", "threads": 1, "motion": False, **small, **more})


def plan_of(dataset: Dataset, config: TrainConfig, policy: Path | None = None) -> Plan:
    """As `sarnn train` makes it of bags that hold this data."""

    def load(recordings: Any, spec: Any, **_: Any) -> Dataset:
        return replace(dataset, spec=spec)

    before = None if policy is None else rounds.load_before(policy)
    spec = dataset.spec
    return prepare([], spec, config, crop=False, load=load, before=before, validation=0.2)


@pytest.fixture(scope="module")
def trained(make_task: MakeTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the first episodes."""
    out = tmp_path_factory.mktemp("trained") / "first"
    with pytest.MonkeyPatch.context() as patch:
        quick_export.install(patch)
        quick_search.install(patch)
        train(plan_of(make_task(FIRST), settings()), out)
    return out


@pytest.fixture
def policy(trained: Path, tmp_path: Path) -> Path:
    """For a test to do with as it likes."""
    shutil.copytree(trained, tmp_path / "first")
    return tmp_path / "first"


@pytest.fixture
def explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few demonstrations explain nothing: whatever they do is enough."""
    lenient = replace(RECIPE, min_explained=-np.inf)
    monkeypatch.setattr("sarnn_ros.training.trainer.RECIPE", lenient)


@pytest.mark.usefixtures("explained")
def test_it_begins_as_the_policy_was_and_trains_the_last_epochs(
    policy: Path, make_task: MakeTask, tmp_path: Path
) -> None:
    plan = plan_of(make_task(ALL), settings(), policy)
    assert plan.before is not None and not plan.why_anew
    trainer = make_trainer(plan)
    assert trainer.go_on(plan.before) == ""
    model = load_model(policy, load_config(policy))
    old = {name: weights.clone() for name, weights in model.state_dict().items()}
    renormalise(model, plan.before.normaliser, plan.dataset.normaliser)
    for name, weights in trainer.final_model().state_dict().items():
        assert torch.allclose(weights, model.state_dict()[name], atol=1e-4), name

    said: list[str] = []
    result = train(plan, tmp_path / "second", warn=said.append)
    assert [row["number"] for row in result.history] == [8, 9]
    assert any("goes on from" in one for one in said)
    config = load_config(tmp_path / "second")
    new = load_model(tmp_path / "second", config).state_dict()
    same = {name for name in old if torch.equal(old[name], new[name])}
    assert same == {name for name in old if "pos_encoder" in name or "issm" in name}
    told = config.training["before"]
    assert told["episodes"] == {"training": 10, "validation": 2} and len(told["sha256"]) == 64


@pytest.mark.usefixtures("explained")
def test_what_counts_nothing_is_not_to_be_explained(
    policy: Path, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A force, say: neither of the new demonstrations, nor by points, nor by the free run."""
    plan = plan_of(make_task(ALL), settings(), policy)
    trainer = make_trainer(plan)
    assert plan.before is not None
    for data in (trainer.training, trainer.validation):
        assert data is not None
        data.weights = np.append(0.0, data.weights[1:])
    asked: list[np.ndarray] = []

    def capture(kind: Any, row: int) -> Any:
        def called(*parts: Any, **how: Any) -> Any:
            asked.append(parts[row])
            return kind(*parts, **how)

        return called

    for name, row in {"new_explained": 1, "left_out_explained": 1, "explained_share": 2}.items():
        monkeypatch.setattr(trainer_module, name, capture(getattr(trainer_module, name), row))
    assert trainer.go_on(plan.before) == ""
    model = trainer.final_model()
    trainer.searched = None
    assert trainer.points_explain(model) is not None
    assert len(asked) == 3
    assert not any(wanted[..., 0].any() for wanted in asked)
    assert all(wanted[..., 1:].any() for wanted in asked)
    runs, targets = trainer.free_runs(model)
    noisy = [run + 100.0 * np.eye(run.shape[1])[0] for run in runs]
    assert trainer.explained(noisy, targets) == trainer.explained(runs, targets)


def test_the_attention_must_explain_new_demonstrations_also_if_none_is_old(
    policy: Path, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the recordings that it learnt from, only those that validated it are given."""
    old = set(load_config(policy).training["names"]["training"])
    whole = make_task([9] * 26)
    new = [one for one in whole.episodes if one.name not in old]
    given = make_dataset(whole.spec, new, [], validation=0.2, seed=0)
    plan = plan_of(given, settings(), policy)
    assert plan.before is not None and not plan.why_anew
    for share, why in {0.9: "", 0.1: "the attention explains 0.10 of how the new"}.items():
        monkeypatch.setattr(trainer_module, "left_out_explained", lambda *_, s=share: (s, 0.0))
        said = make_trainer(plan).go_on(plan.before)
        assert said.startswith(why) and bool(said) == bool(why)


@pytest.mark.usefixtures("explained")
@pytest.mark.parametrize(("every", "none"), [(5, False), (9, False), (8, True), (7, True)])
def test_it_says_if_none_of_the_last_epochs_is_validated(
    every: int, none: bool, policy: Path, make_task: MakeTask, tmp_path: Path
) -> None:
    """The last 2 of 10 epochs are trained."""
    said: list[str] = []
    how = settings(keep="best", validate_every=every)
    train(plan_of(make_task(ALL), how, policy), tmp_path / "second", warn=said.append)
    assert none == any("none of 2 epochs is validated" in one for one in said), said


def test_what_validated_the_policy_is_not_trained_on(policy: Path, make_task: MakeTask) -> None:
    held = set(load_config(policy).training["names"]["validation"])
    plan = plan_of(make_task(ALL), settings(), policy)
    dataset = plan.dataset
    now = {dataset.episodes[row].name for row in dataset.validation}
    assert held < now and len(now) == 3, "a fifth of all, the new ones among them"
    assert now - held <= {"e12", "e13", "e14"}


def test_recordings_are_known_by_what_they_hold_and_not_by_their_names(
    policy: Path, make_task: MakeTask
) -> None:
    held = set(load_config(policy).training["names"]["validation"])
    dataset = make_task(ALL)
    renamed = [replace(one, name=f"day1/{one.name}") for one in dataset.episodes]
    whole = make_dataset(dataset.spec, renamed, [], validation=0.2, seed=0)
    plan = plan_of(whole, settings(), policy)
    now = {plan.dataset.episodes[row].name for row in plan.dataset.validation}
    assert {f"day1/{name}" for name in held} < now
    assert plan.before is not None
    known = plan.before.training | plan.before.validation
    assert sum(one.identity in known for one in renamed) == len(FIRST)


@pytest.mark.usefixtures("explained")
def test_recordings_that_are_forgotten_are_told_or_refused(
    policy: Path, make_task: MakeTask, tmp_path: Path
) -> None:
    dataset = make_task(ALL)

    def without(count: int) -> Dataset:
        return make_dataset(dataset.spec, dataset.episodes[count:], [], validation=0.2, seed=0)

    said: list[str] = []
    train(plan_of(without(2), settings(), policy), tmp_path / "second", warn=said.append)
    assert any("2 of the 12 recordings that it learnt from are not given" in one for one in said)
    with pytest.raises(ConfigError, match="none of the recordings that it learnt from is given"):
        plan_of(without(len(FIRST)), settings(), policy)
    one = make_dataset(dataset.spec, dataset.episodes[:1], [])
    assert "too few demonstrations" in plan_of(one, settings(), policy).why_anew


@pytest.mark.usefixtures("explained")
def test_a_joint_that_begins_to_move_is_learnt_anew(
    policy: Path, make_task: MakeTask, tmp_path: Path
) -> None:
    dataset = make_task(ALL)
    new = [replace(one, joints=one.joints * 20, targets=one.targets * 20, digest=f"{row}")
           for row, one in enumerate(dataset.episodes[len(FIRST):])]  # fmt: skip
    wide = make_dataset(
        dataset.spec, [*dataset.episodes[: len(FIRST)], *new], [], validation=0.0, seed=0
    )
    said: list[str] = []
    train(plan_of(wide, settings(), policy), tmp_path / "second", warn=said.append)
    assert any("times as far as it did" in one for one in said), said


def test_what_the_data_says_of_its_split_and_bounds_holds(
    policy: Path, make_task: MakeTask
) -> None:
    dataset = make_task(ALL)
    bounds = JointNormaliser(
        dataset.normaliser.minimum - 1, dataset.normaliser.maximum + 1, dataset.spec.joint_range
    )
    said = make_dataset(
        dataset.spec, dataset.episodes, [], held_out={"e13", "e14"}, normaliser=bounds
    )
    found = plan_of(said, settings(), policy).dataset
    now = {found.episodes[row].name for row in found.validation}
    assert now == {"e13", "e14"} | set(load_config(policy).training["names"]["validation"])
    np.testing.assert_array_equal(found.normaliser.maximum, bounds.maximum)


@pytest.mark.usefixtures("explained")
def test_interrupted_it_is_resumed(policy: Path, make_task: MakeTask, tmp_path: Path) -> None:
    plan = plan_of(make_task(ALL), settings(), policy)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(plan, whole)
    assert not train(plan, parts, should_stop=lambda: True).finished
    # Without --from it is this training all the same.
    assert train(replace(plan, before=None), parts, resume=True).finished
    told = [load_config(out).training["before"] for out in (whole, parts)]
    assert told[0] is not None and told[0] == told[1]
    for name, weights in load_model(whole, load_config(whole)).state_dict().items():
        assert torch.equal(weights, load_model(parts, load_config(parts)).state_dict()[name])


def opposite(dataset: Dataset) -> Dataset:
    """The new ones do the opposite of what the others do where the same is seen."""
    episodes = list(dataset.episodes)
    for row, one in enumerate(episodes[len(FIRST) :], len(FIRST)):
        values = {"joints": 0.7 - one.joints, "targets": 0.7 - one.targets}
        episodes[row] = replace(one, **values, digest=f"opposite{row}")
    return make_dataset(dataset.spec, episodes, [], validation=0.2, seed=0)


def test_attention_that_does_not_explain_the_new_ones_is_searched_anew(
    policy: Path, make_task: MakeTask, tmp_path: Path
) -> None:
    mixed = opposite(make_task(ALL))
    said: list[str] = []
    result = train(plan_of(mixed, settings(), policy), tmp_path / "second", warn=said.append)
    assert len(result.history) == 10
    assert any("trained anew: the attention explains" in x for x in said)
    assert load_config(tmp_path / "second").training["before"] is None


def test_anew_it_is_as_without_the_policy(
    policy: Path, make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy has whole images; so many demonstrations are cropped. It is resumed so, too."""
    dataset = opposite(make_task(ALL))
    told: list[Spec] = []

    def closer(whole: DatasetReport, *_: Any) -> Spec:
        camera = whole.spec.cameras[0]
        crop = Crop(x=0, y=0, width=camera.width, height=camera.height)
        return whole.spec.model_copy(
            update={"cameras": (camera.model_copy(update={"crop": crop}),)}
        )

    def planned(dataset: Dataset, policy: Path | None) -> Plan:
        def load(recordings: Any, spec: Any, **_: Any) -> Dataset:
            return make_dataset(spec, dataset.episodes, [], validation=0.2, seed=0)

        before = None if policy is None else rounds.load_before(policy)
        return prepare([], dataset.spec, settings(), load=load, before=before,
                       before_crop=lambda whole, shown: told.append(shown.spec))  # fmt: skip

    monkeypatch.setattr("sarnn_ros.training.recipe.choose_crop", closer)
    one = make_dataset(dataset.spec, dataset.episodes[:1], [])
    found, without = planned(one, policy), planned(one, None)
    assert "too few" in found.why_anew and found.before is None
    assert found.cropped and found.uncropped is not None
    assert found.dataset.fingerprint == without.dataset.fingerprint

    plan, without = planned(dataset, policy), planned(dataset, None)
    assert plan.before is not None and not plan.cropped
    assert not train(plan, tmp_path / "second", should_stop=lambda: True).finished
    assert train(plan, tmp_path / "second", resume=True).finished
    training = load_config(tmp_path / "second").training
    assert training["data"] == without.dataset.fingerprint and training["before"] is None
    assert told and set(told) == {dataset.spec}, "the whole images are shown before each crop"


def test_joints_that_go_further_change_the_range_and_not_what_is_done() -> None:
    torch.manual_seed(0)
    model = SARNN(6, 2, 3, 1e-4, 0.1, im_size=(14, 16))
    old = JointNormaliser([-1.0, 0.0, 2.0], [1.0, 0.5, 3.0], (0.1, 0.9))
    new = JointNormaliser([-2.0, 0.1, 2.0], [1.5, 0.5, 7.0], (0.1, 0.9))
    with torch.no_grad():
        model.decoder_joint[0].bias.add_(1.0)  # predictions lie in the range, above 0
    image, state, points = torch.rand(1, 3, 14, 16), torch.tensor([0.3, 0.2, 2.5]), []
    for normaliser in (old, new):
        normal = torch.from_numpy(normaliser.normalise(state.double().numpy()[None]))
        with torch.no_grad():
            out, _, _, _ = model.act([image], normal, None)
        points.append(normaliser.denormalise(out.numpy()))
        renormalise(model, old, new)
    assert points[1] == pytest.approx(points[0], abs=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "is_told"),
    [
        (None, None, False),
        (None, (2, 2, 8, 8), False),
        ((2, 2, 8, 8), (3, 2, 7, 8), False),
        ((2, 2, 8, 8), (2, 2, 8, 9), True),
        ((2, 2, 8, 8), (1, 2, 8, 8), True),
        ((2, 2, 8, 8), None, True),
    ],
)
def test_a_crop_must_not_cut_off_where_episodes_differ(
    old: Any, new: Any, is_told: bool, make_task: MakeTask
) -> None:
    spec = make_task().spec

    def cropped(box: tuple[int, int, int, int] | None) -> Any:
        crop = box and Crop(x=box[0], y=box[1], width=box[2], height=box[3])
        camera = spec.cameras[0].model_copy(update={"crop": crop})
        return spec.model_copy(update={"cameras": (camera,)})

    said = rounds.why_other_crop(cropped(old), cropped(new))
    assert bool(said) == is_told and ("'camera0'" in said or not is_told)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"k_dim": 3}, "k_dim: 2 then, 3 now"),
        ({"attention": "train"}, "attention: train searches nothing"),
        ({"rate": 5.0}, "spec, rate: 10.0 then, 5.0 now"),
    ],
)
def test_another_network_or_task_is_refused(
    change: dict[str, Any], says: str, policy: Path, make_task: MakeTask
) -> None:
    dataset = make_task(ALL)
    if "rate" in change:
        dataset = replace(dataset, spec=dataset.spec.model_copy(update=change))
        change = {}
    with pytest.raises(ConfigError, match="cannot go on from this policy") as caught:
        plan_of(dataset, settings(**change), policy)
    assert says in str(caught.value) and str(policy) in str(caught.value)


@pytest.mark.parametrize(("chosen", "refused"), [(True, False), (False, True)])
def test_the_size_of_a_crop_that_training_chose_is_not_the_users(
    chosen: bool, refused: bool, policy: Path, make_task: MakeTask
) -> None:
    """Training crops a camera, and makes its image smaller: the spec of now is the same."""
    spec = make_task(ALL).spec
    before = rounds.load_before(policy)
    crop = Crop(x=2, y=2, width=9, height=8) if chosen else None
    camera = spec.cameras[0].model_copy(update={"crop": crop, "width": 9, "height": 8})
    was = before.config.model_copy(
        update={"spec": before.spec.model_copy(update={"cameras": (camera,)})}
    )
    before = replace(before, config=was)
    if refused:
        with pytest.raises(ConfigError, match="spec, cameras"):
            rounds.check_settings(before, spec, settings())
    else:
        rounds.check_settings(before, spec, settings())


def test_another_tolerance_is_no_other_task(policy: Path, make_task: MakeTask) -> None:
    dataset = make_task(ALL)
    [source] = dataset.spec.joints
    source = source.model_copy(update={"tolerance": {source.names[0]: 0.01}})
    spec = dataset.spec.model_copy(update={"joints": (source,)})
    plan = plan_of(replace(dataset, spec=spec), settings(), policy)
    assert plan.before is not None and not plan.why_anew
    assert plan.dataset.spec.tolerance == {0: 0.01}


def test_a_policy_that_was_not_trained_so_is_refused(
    policy: Path, make_task: MakeTask, tmp_path: Path
) -> None:
    train(plan_of(make_task(FIRST), settings(attention="train")), tmp_path / "unsearched")
    with pytest.raises(ConfigError, match="attention was not searched for"):
        rounds.load_before(tmp_path / "unsearched")
    file = policy / "config.json"
    assert "identities" in json.loads(file.read_text())["training"]


def test_how_much_of_new_ones_is_explained() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(40, 2))
    wanted = np.repeat(points[:, None] @ rng.normal(size=(1, 2, 3)), 32, 1)
    wanted += 0.01 * rng.normal(size=wanted.shape)
    is_new = np.arange(40) >= 35
    starts = np.zeros((40, 0))
    assert new_explained(points, wanted, starts, is_new) > 0.9
    points[is_new] = rng.permutation(points[is_new])
    assert new_explained(points, wanted, starts, is_new) < RECIPE.min_explained
