# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a training will take, before it starts: sizes, memory, the time of trial epochs, and what
its search for attention finds."""

from __future__ import annotations

import time

from sarnn_ros.data.problems import Problem
from sarnn_ros.training.attention_search import count_exemplars, episode_bytes, most_episodes
from sarnn_ros.training.footprint import update_bytes
from sarnn_ros.training.recipe import RECIPE, Plan
from sarnn_ros.training.run import make_trainer, start


def describe(plan: Plan) -> str:
    """Run a few epochs without saving anything, and say what was found."""
    dataset, config = plan.dataset, plan.config
    started = time.monotonic()
    said: list[str] = []
    trainer = start(plan, said.append)
    search_seconds = time.monotonic() - started
    left = config.epochs - trainer.epoch
    epochs = trainer.run(time.monotonic)
    first = next(epochs)  # warms up allocator and caches
    seconds = next(epochs, first).seconds
    total = search_seconds + seconds * left

    data = trainer.training
    frames = int(data.steps().sum())
    batches = -(-len(data) // config.batch_size)
    update = min(config.batch_size * (data.ticks - 1), frames)
    encoded = min(config.encoder_frames or update, update)
    pictured = min(config.image_frames or update, update) if config.image_loss else 0
    model = trainer.model
    needed = [(update_bytes(model, trainer.fits, trainer.device, encoded, pictured), "an update")]
    if trainer.encoder_frozen:
        exemplars = count_exemplars(data)
        episodes = min(len(data.scenes.episodes), most_episodes(model, exemplars))
        searching = episodes * episode_bytes(model, exemplars)
        needed.append((searching, "the search for attention"))
    memory, what = max(needed)
    validation = 0 if trainer.validation is None else len(trainer.validation)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    lines = {
        "episodes": f"{len(data)} for training, {validation} for validation",
        "ticks": f"{frames} with a next one, at {dataset.spec.rate:g} Hz",
        "cameras": ", ".join(f"{c.name} {c.width}x{c.height}" for c in dataset.spec.cameras),
        "joints": ", ".join(dataset.spec.joint_labels),
        "network": f"{parameters} parameters, recipe {config.recipe}, device {trainer.device}",
        "memory": f"up to {memory >> 20} MiB for {what}, besides images",
        "an update": f"{encoded} frames encoded, {pictured} predicted, then {config.inner_steps} "
        "recurrent steps",
        "an epoch": f"{batches} updates, {seconds:.2f} s",
        "in all": f"{left} epochs, about {total / 60:.1f} min",
    }
    if said:
        lines["attention"] = f"{'; '.join(said)}; {search_seconds:.0f} s"
    return "\n".join(f"{name:<13}{text}" for name, text in lines.items())


def search(plan: Plan) -> Problem:
    """What a training's search for attention finds in the first images: a note, or a warning if
    that is little. Takes a minute, and memory as `describe` tells.

    :raises TrainingError: no training episode has two ticks.
    """
    trainer = make_trainer(plan)
    said: list[str] = []
    trainer.search_attention(said.append)
    cameras = ", ".join(
        f"{one.name} {'whole' if one.crop is None else 'cropped'}"
        for one in plan.dataset.spec.cameras
    )
    where, page = f"attention ({cameras})", "docs/explanation/attention.md"
    if trainer.searched is None:
        return Problem(
            "warning", where, said[-1], "the policy may not see", "record more episodes"
        )
    points, permuted = trainer.searched
    found = (
        f"the points that a search finds explain {points:.2f} of how held-out episodes differ "
        f"({permuted:.2f} with episodes exchanged)"
    )
    if trainer.late.points:
        found += ", and of the rest, what came late is found in later images"
    elif points < RECIPE.min_explained:
        effect = "the policy may not see what it needs, or episodes differ in the way they take"
        remedy = f"let the object be larger in the image, or record more episodes ({page})"
        return Problem("warning", where, found, effect, remedy)
    return Problem("note", where, found, "1 is all of it, 0 nothing", f"none is needed ({page})")
