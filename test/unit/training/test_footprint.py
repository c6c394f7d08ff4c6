# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What is counted of activations is what torch keeps; and what --dry-run says of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

import pytest
import torch
from torch import Tensor

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.training import attention_search, footprint
from sarnn_ros.training.attention_search import episode_bytes
from sarnn_ros.training.config import make_config
from sarnn_ros.training.estimate import describe
from sarnn_ros.training.footprint import (
    DISTORTION_COPIES,
    Fits,
    image_bytes,
    point_bytes,
    update_bytes,
)
from sarnn_ros.training.recipe import decide

FRAMES = 3


def kept_bytes(model: SARNN, function: Callable[[], object]) -> int:
    """Of all that the gradient needs, parameters apart."""
    tensors = [*model.parameters(), *model.buffers()]
    own = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        function()
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in kept}
    return sum(storage.nbytes() for place, storage in storages.items() if place not in own)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sizes", [[(48, 64)], [(48, 64), (64, 40)]])
def test_counted_is_what_torch_keeps(stride: int, sizes: list[tuple[int, int]]) -> None:
    model = SARNN(8, 5, 3, im_size=sizes, stride=stride).to(memory_format=torch.channels_last)
    frames = [torch.rand(FRAMES, 3, *size) for size in sizes]
    points = torch.rand(FRAMES, 10 * len(sizes), requires_grad=True)

    def predict() -> list[Tensor]:
        images = model.predict_image(frames, points)
        return [((image - frame) ** 2).mean() for image, frame in zip(images, frames, strict=True)]

    assert 1 <= FRAMES * point_bytes(model) / kept_bytes(model, lambda: model.encode(frames)) < 1.2
    assert 1 <= FRAMES * image_bytes(model) / kept_bytes(model, predict) < 1.2


def test_as_many_fit_as_the_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SARNN(50, 5, 6, im_size=(128, 128))
    # An update of EIPL's recipe at its own image size is not computed twice.
    assert Fits.of(model).points > 5 * 119
    monkeypatch.setattr(footprint, "ACTIVATION_BYTES", 10 * image_bytes(model))
    assert Fits.of(model).images == 10
    monkeypatch.setattr(footprint, "ACTIVATION_BYTES", 0)
    assert Fits.of(model) == (1, 1)


def test_dry_run_tells_of_time_and_memory(
    make_task: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One epoch is timed even if there is only one. The clock goes on a second when asked."""
    seconds = count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))
    settings = {"recipe": "eipl", "batch_size": 2, "k_dim": 2, "rec_dim": 8, "threads": 1}
    for epochs in (1, 90):
        dataset, config = make_task(), make_config({**settings, "epochs": epochs})
        text = describe(decide(dataset, config))
        assert "an epoch     2 updates, 1.00 s" in text
        assert f"in all       {epochs} epochs, about {epochs / 60:.1f} min" in text
        assert "16 frames encoded, 16 predicted" in text


@pytest.mark.usefixtures("quick_search")
def test_dry_run_counts_the_search(make_task: Callable[..., Dataset]) -> None:
    """Where there is one, and it takes more than an update."""
    settings = {"encoder_frames": 1, "image_frames": 1, "k_dim": 2, "rec_dim": 8, "threads": 1,
                "inner_steps": 0, "epochs": 1, "device": "cpu"}  # fmt: skip
    dataset = make_task([4] * 32, validation=0, sizes=((32, 32),))
    # Twice as many exemplars as usual: its episodes start differently.
    needed = 32 * episode_bytes(SARNN(8, 2, 3, im_size=(32, 32)), 2 * attention_search.EXEMPLARS)
    text = describe(decide(dataset, make_config(settings)))
    assert f"up to {needed >> 20} MiB for the search for attention, besides images" in text
    for other, lengths in (
        ({"attention": "train"}, [4] * 32),
        ({}, [4] * 5),  # too few to search
        ({"encoder_frames": 70}, [10] * 8),
    ):
        dataset = make_task(lengths, validation=0, sizes=((32, 32),))
        assert "MiB for an update" in describe(decide(dataset, make_config({**settings, **other})))


def test_an_updates_memory() -> None:
    model = SARNN(8, 2, 3, im_size=[(14, 16), (20, 20)])
    cpu = torch.device("cpu")
    pixels = 16 * 14 + 20 * 20
    points, images = point_bytes(model), image_bytes(model)
    # One thread takes 8 predicted frames at a time.
    frames = 70 * 12 * pixels + DISTORTION_COPIES * 40 * 12 * 20 * 20
    assert update_bytes(model, Fits.of(model), cpu, 40, 30) == frames + 40 * points + 8 * images
    # Of more frames than fit nothing is kept but a chunk.
    frames = 1030 * 12 * pixels + DISTORTION_COPIES * 1000 * 12 * 20 * 20
    assert update_bytes(model, Fits(1, 1), cpu, 1000, 30) == frames + points + images
