# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training with remembered points: when, and that the robot's side sees the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quick_export
import torch

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.errors import ConfigError, PolicyError
from sarnn_ros.interop.eipl_checkpoint import export_eipl
from sarnn_ros.policy.backends import BACKENDS, load_model, make_backend
from sarnn_ros.policy.directory import ANYWHERE_DEVIATION
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.streams.observe import Observation
from sarnn_ros.training.checkpoint import describe_data, differences
from sarnn_ros.training.config import TrainConfig, make_config
from sarnn_ros.training.points import PointScale
from sarnn_ros.training.recipe import decide
from sarnn_ros.training.run import make_model, make_trainer, train
from sarnn_ros.training.tensorboard import draw_predictions
from sarnn_ros.training.trainer import free_run

MakeTask = Callable[..., Dataset]
TWO = ((16, 14), (12, 18))
ENOUGH = [9, 7, 9, 8, 9, 9, 6, 9]


def small(**settings: Any) -> TrainConfig:
    values = {"k_dim": 2, "rec_dim": 8, "epochs": 2, "inner_steps": 3, "encoder_frames": 12,
              "image_frames": 5, "threads": 1, "device": "cpu"}  # fmt: skip
    return make_config({**values, **settings})


@pytest.mark.parametrize(
    ("settings", "cameras", "episodes", "expected"),
    [
        ({}, 1, 99, False),  # the network stays EIPL's
        ({}, 2, 35, True),
        ({}, 2, 34, False),
        ({"point_memory": True}, 1, 6, True),
        ({"point_memory": True}, 2, 5, False),  # too few to search
        ({"point_memory": False}, 2, 99, False),
        ({"attention": "train"}, 2, 99, False),
        ({"recipe": "eipl"}, 2, 99, False),
    ],
)
def test_when_points_are_remembered(
    make_task: MakeTask, settings: dict[str, Any], cameras: int, episodes: int, expected: bool
) -> None:
    dataset = make_task([3] * episodes, validation=0, sizes=TWO[:cameras])
    model = make_model(decide(dataset, make_config(settings)))
    assert model.point_memory is expected


@pytest.mark.parametrize("wanted", [None, True])
def test_of_too_few_episodes_it_is_said_that_nothing_is_remembered(
    make_task: MakeTask, wanted: bool | None
) -> None:
    said: list[str] = []
    few = make_task(ENOUGH[:5], validation=0, sizes=TWO)
    trainer = make_trainer(decide(few, small(point_memory=wanted)))
    trainer.search_attention(said.append)
    assert not trainer.model.point_memory
    assert said[0].endswith("no points are remembered") is bool(wanted)


@pytest.mark.parametrize("recipe", ["fast", "eipl"])
def test_points_that_are_still_trained_cannot_be_remembered(recipe: str) -> None:
    with pytest.raises(
        ConfigError, match=r"(?m)^ *-? ?point_memory: true needs attention: search"
    ):
        make_config({"recipe": recipe, "attention": "train", "point_memory": True})


@pytest.mark.parametrize("cameras", [1, 2])
def test_the_policy_remembers_what_training_did(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cameras: int
) -> None:
    quick_export.install(monkeypatch)
    dataset = make_task(ENOUGH, sizes=TWO[:cameras])
    train(decide(dataset, small(point_memory=True)), tmp_path / "policy")
    policy = Policy.load(tmp_path / "policy")
    assert policy.config.model.point_memory and policy.config.places
    # Without the gate, which training does not know.
    config = policy.config.model_copy(update={"places": None})
    half = policy.config.model.k_dim * 2 * cameras
    policies = [
        Policy(config, make_backend(name, tmp_path / "policy", config, threads=1, device="cpu"))
        for name in BACKENDS
    ]
    trainer = make_trainer(decide(dataset, small(point_memory=True)))
    model = load_model(tmp_path / "policy", policy.config)
    assert trainer.validation is not None
    seen = trainer.encode_all(trainer.validation, model)
    hidden, _ = model.recur(seen, trainer.validation.joints[:, :-1])
    expected = dataset.normaliser.denormalise(model.decoder_joint(hidden)[0].detach().numpy())
    episode = dataset.episodes[dataset.validation[0]]
    for each in policies:
        for _ in range(2):  # the second time after a reset
            each.reset()
            for tick in range(len(episode.joints) - 1):
                images = {name: frames[tick] for name, frames in episode.images.items()}
                found = each.step(Observation(1, images, episode.joints[tick], {}, {}))
                np.testing.assert_allclose(found.action, expected[tick], atol=1e-4)
                kept = np.concatenate([one.ravel() for one in found.remembered_points.values()])
                np.testing.assert_allclose(kept, seen[0, tick, half : 2 * half], atol=1e-3)
    assert torch.equal(seen[:, 0, :half], seen[:, 0, half : 2 * half])
    assert not torch.equal(seen[:, 4, :half], seen[:, 4, half : 2 * half])


def test_points_of_a_camera_that_moves_are_not_remembered(make_task: MakeTask) -> None:
    """Where one was seen best before says nothing of where its thing is now."""
    dataset = make_task(ENOUGH, sizes=TWO)
    cameras = (dataset.spec.cameras[0], dataset.spec.cameras[1].model_copy(update={"moves": True}))
    moving = replace(dataset, spec=dataset.spec.model_copy(update={"cameras": cameras}))
    for one, forgotten in ((dataset, False), (moving, True)):
        trainer = make_trainer(decide(one, small(point_memory=True)))
        trainer.search_attention()
        model = trainer.final_model()
        points = trainer.encode_all(trainer.training, model)
        seen, remembered, _ = points.tensor_split([8, 16], -1)
        assert torch.allclose(seen[..., 4:], remembered[..., 4:], atol=1e-5) is forgotten
        assert not torch.allclose(seen[..., :4], remembered[..., :4], atol=1e-5)
        places = trainer.expected_places()
        assert places is not None
        assert [one >= ANYWHERE_DEVIATION for one in places.deviation] == [False] * 2 + [
            forgotten
        ] * 2


@torch.no_grad()
def test_what_is_deployed_runs_free_as_in_training(make_task: MakeTask) -> None:
    trainer = make_trainer(decide(make_task(ENOUGH, sizes=TWO), small(point_memory=True)))
    trainer.search_attention()
    with torch.enable_grad():
        for _ in trainer.run(time.monotonic):
            pass
    model, data = trainer.final_model().eval(), trainer.validation
    assert data is not None
    seen = trainer.encode_all(data, model)
    runs = free_run(model, seen, data.joints, data.targets)
    state, own = None, data.joints[:1, 0]
    for tick in range(int(data.lengths[0]) - 1):
        images = data.scaled_frames(torch.tensor([0]), torch.tensor([tick]))
        action, _, _, state = model.act(images, own, state)
        torch.testing.assert_close(action, runs[:1, tick], atol=1e-5, rtol=1e-4)
        own = data.joints[:1, tick + 1] + action - data.targets[:1, tick]
    # The scale of both halves, folded into the weights, is what was trained with.
    scale = trainer.scale
    assert scale is not None
    trained, _ = trainer.model.recur(scale(seen), data.joints[:, :-1])
    folded, _ = model.recur(seen, data.joints[:, :-1])
    torch.testing.assert_close(trained, folded, atol=1e-5, rtol=1e-4)
    pictures, _ = draw_predictions(trainer)
    assert len(pictures) == 2


def test_each_half_has_a_scale_of_its_own() -> None:
    torch.manual_seed(0)
    points = [torch.randn(60, 4), 2 + 3 * torch.randn(60, 4)]
    now, kept = (PointScale.of(one, (one[:30], torch.randn(4, 6))) for one in points)
    both = now.beside(kept)
    torch.testing.assert_close(
        both(torch.cat(points, 1)), torch.cat([now(points[0]), kept(points[1])], 1)
    )
    assert torch.equal(both.deviation, torch.cat([now.deviation, kept.deviation]))
    assert both.telling == now.telling, "hold units keep points of now"


def test_a_checkpoint_of_before_there_was_the_setting_is_refused(make_task: MakeTask) -> None:
    config, dataset = small(), make_task(ENOUGH, sizes=TWO)
    before = config.model_dump(mode="json")
    del before["point_memory"]
    found = differences(before, describe_data(dataset), config, dataset)
    assert found == ["point_memory: 'unknown' then, None now"]


def test_it_goes_on_as_if_uninterrupted(make_task: MakeTask) -> None:
    def weights(stop_after: int | None) -> torch.Tensor:
        config = small(epochs=4, point_memory=True)
        trainer = make_trainer(decide(make_task(ENOUGH, sizes=TWO), config))
        trainer.search_attention()
        for epoch in trainer.run(time.monotonic):
            if epoch.number + 1 == stop_after:
                state = trainer.state_dict()
                trainer = make_trainer(decide(make_task(ENOUGH, sizes=TWO), config))
                trainer.load_state_dict(state)
                for _ in trainer.run(time.monotonic):
                    pass
                break
        return torch.cat([one.detach().flatten() for one in trainer.model.parameters()])

    assert torch.equal(weights(None), weights(2))


def test_eipl_cannot_hold_it(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_export.install(monkeypatch)
    train(decide(make_task(ENOUGH), small(point_memory=True)), tmp_path / "policy")
    with pytest.raises(PolicyError, match="a point memory"):
        export_eipl(tmp_path / "policy", tmp_path / "eipl")
