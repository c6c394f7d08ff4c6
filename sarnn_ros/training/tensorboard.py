# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""TensorBoard: losses of every epoch, and now and then what the network sees and predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from sarnn_ros.geometry import points_to_model_pixels
from sarnn_ros.streams.preprocess import unscale_images
from sarnn_ros.training.trainer import Epoch, Trainer
from sarnn_ros.viz.curves import plot_joints

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Epochs between pictures.
PICTURE_EPOCHS = 25
#: Ticks of the first episode that are drawn.
DRAWN_TICKS = 6
#: RGB of points that are seen, and of those expected at the next tick.
SEEN_COLOR, EXPECTED_COLOR = (0, 0, 255), (255, 0, 0)


class TensorBoardLogger:
    """A watcher for `run.train`; writes TensorBoard's files into `folder`.

    If they cannot be written because the disk is full, it says so once and writes no more.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda text: None) -> None:
        self._folder = folder
        self._warn = warn
        self._writer: SummaryWriter | None = None
        self._failed = False

    def __enter__(self) -> TensorBoardLogger:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._attempt(self._writer.close)

    def __call__(self, trainer: Trainer, epoch: Epoch) -> None:
        if not self._failed:
            self._attempt(lambda: self._write(trainer, epoch))

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            if not self._failed:
                self._warn(f"{self._folder}: not written ({error}); training goes on without it")
            self._failed = True

    def _write(self, trainer: Trainer, epoch: Epoch) -> None:
        if self._writer is None:  # only now, since `train` has checked that it may write here
            # After a crash, epochs since the last checkpoint are trained again: show them once.
            self._writer = SummaryWriter(str(self._folder), purge_step=epoch.number)
        add = self._writer.add_scalar
        for name, losses in (("training", epoch.training), ("validation", epoch.validation)):
            for part, value in asdict(losses).items() if losses is not None else ():
                add(f"loss/{part}/{name}", value, epoch.number)
        if epoch.explained is not None:
            add("explained_variance/validation", epoch.explained, epoch.number)
        add("learning_rate", epoch.learning_rate, epoch.number)
        if epoch.number % PICTURE_EPOCHS == 0 or epoch.number == trainer.config.epochs - 1:
            pictures, joints = draw_predictions(trainer)
            self._writer.add_figure("joints: recorded, predicted", joints, epoch.number)
            for camera, picture in zip(trainer.training.spec.cameras, pictures, strict=True):
                name = f"{camera.name}: seen, expected next"
                self._writer.add_image(name, picture, epoch.number, dataformats="HWC")


@torch.no_grad()
def draw_predictions(trainer: Trainer) -> tuple[list[NDArray[np.uint8]], Figure]:
    """What the network makes of an episode: pictures per camera, and the joints over time.

    A picture has ticks side by side: input with points above, prediction below. Blue is what is
    attended to at the tick, red where attention is expected at the next one.
    """
    data = trainer.validation or trainer.training
    model = trainer.final_model()
    length = int(data.lengths[0])
    ticks = torch.arange(length, device=data.lengths.device)
    episode = torch.zeros_like(ticks)
    points = trainer.encode(data, torch.stack([episode, ticks], 1), model)
    hidden, _ = model.recur(
        trainer.with_motion(data, points[None], estimate=True), data.joints[:1, :length]
    )
    decoded = model.decoder_point(hidden)[0]
    shown = torch.linspace(0, length - 1, min(DRAWN_TICKS, length)).long().to(ticks.device)
    frames = data.scaled_frames(episode[shown], shown)
    images = model.predict_image(frames, decoded[shown])
    pictures = []
    for index, (camera, predicted) in enumerate(zip(frames, images, strict=True)):
        place = slice(2 * model.k_dim * index, 2 * model.k_dim * (index + 1))
        columns = []
        for row, tick in enumerate(shown.tolist()):
            shows, expected = (
                unscale_images(one[row].cpu().numpy(), data.spec.image_range)
                for one in (camera, predicted)
            )
            for drawn, color in ((points, SEEN_COLOR), (decoded, EXPECTED_COLOR)):
                _mark(shows, drawn[tick, place], color, model.stride)
            columns.append(np.concatenate([shows, expected]))
        pictures.append(np.concatenate(columns, axis=1))
    recorded, predicted = data.targets[0, :length], model.decoder_joint(hidden)[0]
    joints = plot_joints(
        {"recorded": recorded.cpu().numpy(), "predicted": predicted.cpu().numpy()},
        data.spec.joint_labels,
        np.arange(length) / data.spec.rate,
        f"{data.names[0]}: joints, normalised",
    )
    return pictures, joints


def _mark(
    image: NDArray[np.uint8], points: Tensor, color: tuple[int, int, int], stride: int
) -> None:
    height, width = image.shape[:2]
    pixels = points_to_model_pixels(points.reshape(-1, 2).cpu().numpy(), width, height, stride)
    columns, rows = np.rint(pixels).astype(np.int64).T
    image[rows.clip(0, height - 1), columns.clip(0, width - 1)] = color
