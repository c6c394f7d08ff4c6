# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a training will take, before it starts: sizes, memory, and the time of one trial epoch."""

from __future__ import annotations

import time

from sarnn_ros.data.episodes import Dataset
from sarnn_ros.training.config import TrainConfig
from sarnn_ros.training.run import make_trainer
from sarnn_ros.training.trainer import MEMORY_BYTES, Trainer, bytes_per_frame


def describe(dataset: Dataset, config: TrainConfig) -> str:
    """Run one epoch without saving anything, and say what was found."""
    trainer = make_trainer(dataset, config)
    next(trainer.run(time.monotonic))  # warms up allocator and caches
    seconds = next(trainer.run(time.monotonic)).seconds if config.epochs > 1 else 0.0
    return "\n".join(_lines(dataset, trainer, seconds))


def _lines(dataset: Dataset, trainer: Trainer, seconds: float) -> list[str]:
    config, data = trainer.config, trainer.training
    frames = int(data.steps().sum())
    batches = -(-len(data) // config.batch_size)
    update = min(config.encoder_frames or config.batch_size * (data.ticks - 1), frames)
    activations = min(update * bytes_per_frame(trainer.model), MEMORY_BYTES)
    held = sum(images.nbytes for images in data.images)
    images = f"{held >> 20} MiB of images" if held else "images read as needed"
    validation = 0 if trainer.validation is None else len(trainer.validation)
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    sizes = ", ".join(f"{c.name} {c.width}x{c.height}" for c in dataset.spec.cameras)
    total = seconds * config.epochs
    return [
        f"episodes     {len(data)} for training, {validation} for validation",
        f"ticks        {frames} with a next one, at {dataset.spec.rate:g} Hz",
        f"cameras      {sizes}",
        f"joints       {', '.join(dataset.spec.joint_labels)}",
        f"network      {parameters} parameters, recipe {config.recipe}, device {trainer.device}",
        f"memory       {images}, up to {activations >> 20} MiB of activations",
        f"an update    {update} frames encoded, {config.inner_steps} recurrent steps",
        f"an epoch     {batches} updates, {seconds:.2f} s",
        f"in all       {config.epochs} epochs, about {total / 60:.1f} min",
    ]
