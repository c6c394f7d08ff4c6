# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a training will take, before it starts: sizes, memory, and the time of one trial epoch."""

from __future__ import annotations

import time

import torch

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.training.chunks import CPU_CHUNK
from sarnn_ros.training.config import TrainConfig
from sarnn_ros.training.memory import image_bytes, point_bytes
from sarnn_ros.training.run import make_trainer
from sarnn_ros.training.trainer import Trainer

#: Of a camera's frames, while they are distorted. Measured: 7.3 with erasing and hue, 4.3 without.
COPIES = 8


def describe(dataset: Dataset, config: TrainConfig) -> str:
    """Run a few epochs without saving anything, and say what was found."""
    trainer = make_trainer(dataset, config)
    epochs = trainer.run(time.monotonic)
    first = next(epochs)  # warms up allocator and caches
    seconds = fixed_seconds = next(epochs, first).seconds
    if (until := config.attend_until) is not None and trainer.epoch < until < config.epochs:
        trainer.epoch = until
        fixed_seconds = next(epochs).seconds
    return "\n".join(_lines(dataset, trainer, seconds, fixed_seconds))


def update_bytes(trainer: Trainer, encoded: int, pictured: int) -> int:
    """Of an update, from above: the float32 frames that it takes, copies while they are distorted,
    which the process keeps (`machine.keep_memory`), and what the gradient needs.

    :param encoded: frames that train the attention. :param pictured: whose next is predicted.
    """
    model, fits = trainer.model, trainer.fits
    sizes = [3 * 4 * height * width for height, width in (b.im_size for b in model.branches)]
    frames = max(encoded, pictured)
    at_once = min(pictured, fits.images)
    if trainer.device.type == "cpu":
        at_once = min(at_once, CPU_CHUNK * torch.get_num_threads())
    gradient = min(encoded, fits.points) * point_bytes(model) + at_once * image_bytes(model)
    return (frames + pictured) * sum(sizes) + COPIES * frames * max(sizes) + gradient


def _lines(dataset: Dataset, trainer: Trainer, seconds: float, fixed_seconds: float) -> list[str]:
    """:param seconds: of an epoch. :param fixed_seconds: of one whose attention is fixed."""
    config, data = trainer.config, trainer.training
    frames = int(data.steps().sum())
    batches = -(-len(data) // config.batch_size)
    update = min(config.batch_size * (data.ticks - 1), frames)
    encoded = min(config.encoder_frames or update, update)
    pictured = min(config.image_frames or update, update) if config.image_loss else 0
    needed = update_bytes(trainer, encoded, pictured)
    held = sum(
        images.nbytes for part in (data, trainer.validation) if part for images in part.images
    )
    images = f"{held >> 20} MiB of images" if held else "images read as needed"
    validation = 0 if trainer.validation is None else len(trainer.validation)
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    sizes = ", ".join(f"{c.name} {c.width}x{c.height}" for c in dataset.spec.cameras)
    inner = f"{config.inner_steps} recurrent steps"
    fixed = max(0, config.epochs - (config.attend_until or config.epochs))
    total = seconds * (config.epochs - fixed) + fixed_seconds * fixed
    later = f", {fixed_seconds:.2f} s from epoch {config.attend_until} on" if fixed else ""
    return [
        f"episodes     {len(data)} for training, {validation} for validation",
        f"ticks        {frames} with a next one, at {dataset.spec.rate:g} Hz",
        f"cameras      {sizes}",
        f"joints       {', '.join(dataset.spec.joint_labels)}",
        f"network      {parameters} parameters, recipe {config.recipe}, device {trainer.device}",
        f"memory       {images}, up to {needed >> 20} MiB for an update",
        f"an update    {encoded} frames encoded, {pictured} predicted, then {inner}",
        f"an epoch     {batches} updates, {seconds:.2f} s{later}",
        f"in all       {config.epochs} epochs, about {total / 60:.1f} min",
    ]
