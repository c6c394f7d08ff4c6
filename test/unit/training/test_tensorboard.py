# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What TensorBoard reads back, and where the points are drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.training import tensorboard
from sarnn_ros.training.config import make_config
from sarnn_ros.training.footprint import Fits
from sarnn_ros.training.recipe import decide
from sarnn_ros.training.run import checkpoint_path, make_trainer, train
from sarnn_ros.training.tensorboard import (
    EXPECTED_COLOR,
    SEEN_COLOR,
    TensorBoardLogger,
    draw_predictions,
)

pytestmark = pytest.mark.usefixtures("quick_search")

SMALL = {"k_dim": 2, "rec_dim": 8, "epochs": 3, "inner_steps": 1, "encoder_frames": 9,
         "threads": 1, "validate_every": 2}  # fmt: skip


def test_losses_and_pictures_are_there(
    make_task: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "PICTURE_EPOCHS", 2)
    config = make_config(SMALL)
    with TensorBoardLogger(tmp_path / "events") as logger:
        result = train(decide(make_task(), config), tmp_path / "policy", watchers=(logger,))
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    losses = [event.value for event in events.Scalars("loss/joint/training")]
    np.testing.assert_allclose(losses, [row["training"]["joint"] for row in result.history], 1e-5)
    assert [event.step for event in events.Scalars("loss/total/validation")] == [1]
    [explained] = events.Scalars("explained_variance/validation")
    assert explained.value == pytest.approx(result.history[1]["explained"], rel=1e-5)
    for tag in ("camera0: seen, expected next", "joints: recorded, predicted"):
        assert [event.step for event in events.Images(tag)] == [0, 2]


def test_epochs_that_are_trained_again_are_shown_once(
    make_task: Callable[..., Dataset], tmp_path: Path
) -> None:
    """After kill -9: those after the last checkpoint are in TensorBoard's files already."""
    config = make_config(SMALL)

    def run(should_stop: Callable[[], bool], resume: bool) -> None:
        with TensorBoardLogger(tmp_path / "events") as logger:
            train(
                decide(make_task(), config),
                tmp_path / "policy",
                watchers=(logger,),
                should_stop=should_stop,
                resume=resume,
            )

    def stop() -> bool:
        return True

    run(stop, resume=False)
    checkpoint = checkpoint_path(tmp_path / "policy")
    saved = checkpoint.read_bytes()
    run(stop, resume=True)
    checkpoint.write_bytes(saved)
    run(lambda: False, resume=True)
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/joint/training")] == [0, 1, 2]


def test_pictures_show_input_over_prediction_with_points(
    make_task: Callable[..., Dataset],
) -> None:
    dataset = make_task(sizes=((16, 14), (12, 18)))
    trainer = make_trainer(decide(dataset, make_config(SMALL)))
    pictures, _ = draw_predictions(trainer)
    assert [picture.shape for picture in pictures] == [(2 * 14, 6 * 16, 3), (2 * 18, 6 * 12, 3)]
    episode = dataset.episodes[dataset.validation[0]]
    for picture, images in zip(pictures, episode.images.values(), strict=True):
        height, width = images.shape[1:3]
        seen = picture[:height, :width].reshape(-1, 3)
        marked = np.array([tuple(pixel) in (SEEN_COLOR, EXPECTED_COLOR) for pixel in seen])
        assert 1 <= marked.sum() <= 4
        np.testing.assert_array_equal(seen[~marked], images[0].reshape(-1, 3)[~marked])


def test_joints_are_drawn_as_recorded_and_as_predicted(make_task: Callable[..., Dataset]) -> None:
    """Predicted tick by tick, as the robot would."""
    dataset = make_task()
    trainer = make_trainer(decide(dataset, make_config(SMALL)))
    _, figure = draw_predictions(trainer)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a", "b", "c"]
    data = trainer.validation
    assert data is not None
    state, steps = None, []
    for tick in range(9):
        frame = data.frames(torch.tensor([0]), torch.tensor([tick]))
        with torch.no_grad():
            joints, _, _, state = trainer.model.act(frame, data.joints[:1, tick], state)
        steps.append(joints[0])
    for index, axes in enumerate(figure.axes):
        recorded, predicted = (line.get_ydata() for line in axes.lines)
        np.testing.assert_allclose(recorded, data.targets[0, :, index])
        np.testing.assert_allclose(predicted, torch.stack(steps)[:, index], atol=1e-5)


def test_no_more_frames_are_encoded_at_once_than_fit(
    make_task: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(decide(make_task([30, 30], validation=0.5), make_config(SMALL)))
    trainer.fits = Fits(7, 7)
    sizes: list[int] = []
    whole = SARNN.encode

    def encode(self: SARNN, images: list[torch.Tensor]) -> torch.Tensor:
        sizes.append(len(images[0]))
        return whole(self, images)

    monkeypatch.setattr(SARNN, "encode", encode)
    draw_predictions(trainer)
    assert sum(sizes) == 30
    assert max(sizes) <= 7
