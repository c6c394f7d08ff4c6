# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""TensorBoard: losses of every epoch, and now and then what the network sees and predicts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from sarnn_ros.geometry import points_to_model_pixels
from sarnn_ros.training.trainer import Epoch, Trainer

#: Epochs between pictures.
PICTURE_EVERY = 25
#: Ticks of the first episode that are drawn.
TICKS = 6
SEEN, EXPECTED = (0, 0, 255), (255, 0, 0)


class Board:
    """A watcher for `run.train`; writes TensorBoard's files into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def __call__(self, trainer: Trainer, epoch: Epoch) -> None:
        if self._writer is None:  # now `train` has made sure that the folder can be written
            self._writer = SummaryWriter(str(self._folder))
        add = self._writer.add_scalar
        for name, losses in (("training", epoch.training), ("validation", epoch.validation)):
            for part, value in asdict(losses).items() if losses is not None else ():
                add(f"loss/{part}/{name}", value, epoch.number)
        add("learning_rate", epoch.learning_rate, epoch.number)
        if epoch.number % PICTURE_EVERY == 0:
            for index, picture in enumerate(draw_predictions(trainer)):
                self._writer.add_image(
                    f"camera {index}: seen, expected next",
                    picture,
                    epoch.number,
                    dataformats="HWC",
                )


@torch.no_grad()
def draw_predictions(trainer: Trainer) -> list[NDArray[np.uint8]]:
    """Per camera, ticks of an episode side by side: input with points above, prediction below.

    Blue is what is attended to at the tick, red where attention is expected at the next one.
    """
    data = trainer.validation or trainer.training
    model = trainer.model
    length = int(data.lengths[0])
    episode = torch.zeros(length, dtype=torch.int64, device=data.lengths.device)
    frames = trainer.scaled(data.frames(episode, torch.arange(length, device=episode.device)))
    points = model.encode(frames)
    hidden, _ = model.recur(points[None], data.joints[:1, :length])
    decoded = model.decoder_point(hidden)[0]
    shown = torch.linspace(0, length - 1, min(TICKS, length)).long()
    images = model.predict_image([camera[shown] for camera in frames], decoded[shown])
    pictures = []
    for index, (camera, predicted) in enumerate(zip(frames, images, strict=True)):
        place = slice(2 * model.k_dim * index, 2 * model.k_dim * (index + 1))
        columns = []
        for row, tick in enumerate(shown.tolist()):
            seen, expected = trainer.to_uint8(camera[tick]), trainer.to_uint8(predicted[row])
            for where, color in ((points, SEEN), (decoded, EXPECTED)):
                _mark(seen, where[tick, place], color, model.stride)
            columns.append(np.concatenate([seen, expected]))
        pictures.append(np.concatenate(columns, axis=1))
    return pictures


def _mark(
    image: NDArray[np.uint8], points: Tensor, color: tuple[int, int, int], stride: int
) -> None:
    height, width = image.shape[:2]
    pixels = points_to_model_pixels(points.reshape(-1, 2).cpu().numpy(), width, height, stride)
    columns, rows = np.rint(pixels).astype(np.int64).T
    image[rows.clip(0, height - 1), columns.clip(0, width - 1)] = color
