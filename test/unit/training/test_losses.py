# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Parallel in time or tick by tick: the same loss and the same gradient."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor

from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.training.trainer import encode, image_loss, masked_mse, recurrent_losses

WEIGHTS = (0.1, 1.0, 0.3)


SIZE = (13, 16)


def make_pair(seed: ModuleType) -> tuple[SARNN, torch.nn.Module]:
    """Our network and EIPL's with the same weights, in double precision."""
    torch.manual_seed(1)
    ours = SARNN(6, 2, 3, temperature=1e-2, im_size=SIZE).double()
    theirs = seed.ReferenceSARNN(6, 2, 3, temperature=1e-2, im_size=SIZE).double()
    theirs.load_state_dict({n: v for n, v in ours.state_dict().items() if "pos_" not in n[-8:]})
    return ours, theirs


def episodes(count: int, ticks: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs, joints, clean images, targets: unrelated noise, so that no mix-up goes unseen."""
    torch.manual_seed(2)
    images, clean = torch.rand(2, count, ticks, 3, *SIZE).double()
    joints, targets = torch.rand(2, count, ticks, 3).double()
    return images, joints, clean, targets


def parallel_losses(
    model: SARNN,
    data: tuple[Tensor, Tensor, Tensor, Tensor],
    lengths: Tensor,
    fits: int = 10**6,
) -> tuple[Tensor, Tensor, Tensor]:
    images, joints, clean, targets = data
    count, ticks = joints.shape[:2]
    valid = torch.arange(ticks - 1) < (lengths - 1).unsqueeze(1)
    row, tick = torch.nonzero(valid).T
    fresh = encode(model, [images[row, tick]], fits)
    points = torch.zeros(count, ticks - 1, fresh.shape[1]).double().index_put((row, tick), fresh)
    joint, point, decoded = recurrent_losses(model, points, joints[:, :-1], targets[:, :-1], valid)
    image = image_loss(
        model,
        [images[row, tick]],
        decoded[row, tick],
        [clean[row, tick + 1]],
        valid[row, tick],
        fits,
    )
    return image, joint, point


def total(losses: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return sum(w * loss for w, loss in zip(WEIGHTS, losses, strict=True))  # type: ignore[return-value]


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("ticks", [2, 3, 7])
@pytest.mark.parametrize("fits", [10**6, 4])
@pytest.mark.parametrize("threads", [1, 2])
def test_equal_to_the_step_loop_in_loss_and_gradient(
    reference_sarnn: ModuleType, ticks: int, fits: int, threads: int
) -> None:
    torch.set_num_threads(threads)
    ours, theirs = make_pair(reference_sarnn)
    data = episodes(3, ticks)
    losses = parallel_losses(ours, data, torch.full((3,), ticks), fits)
    expected = reference_sarnn.step_loop_losses(theirs, *data)
    torch.testing.assert_close(losses, expected, atol=1e-10, rtol=1e-8)
    total(losses).backward()
    total(expected).backward()
    reference = gradients(theirs)
    assert reference.keys() == gradients(ours).keys()
    for name, gradient in gradients(ours).items():
        torch.testing.assert_close(gradient, reference[name], atol=1e-10, rtol=1e-6, msg=name)


def test_padding_changes_nothing(reference_sarnn: ModuleType) -> None:
    """Episodes of 2, 5 and 8 ticks: the mean over all their ticks, padded with garbage or not."""
    ours, theirs = make_pair(reference_sarnn)
    lengths = torch.tensor([2, 5, 8])
    data = episodes(3, 8)
    losses = parallel_losses(ours, data, lengths)
    sums = torch.zeros(3).double()
    for episode, length in enumerate(lengths.tolist()):
        one = tuple(part[episode : episode + 1, :length] for part in data)
        image, joint, point = reference_sarnn.step_loop_losses(theirs, *one)
        pairs = max(length - 2, 0)
        sums += torch.stack([image * (length - 1), joint * (length - 1), point * pairs])
    steps = int((lengths - 1).sum())
    pairs = int((lengths - 2).sum())
    expected = sums / torch.tensor([steps, steps, pairs])
    torch.testing.assert_close(torch.stack(losses), expected, atol=1e-10, rtol=1e-8)
    for episode, length in enumerate(lengths.tolist()):
        for part in data:
            part[episode, length:] = float("nan")
    # Joints and targets of padding are zeros in a dataset; NaN would pass through 0 * NaN.
    data = (data[0], data[1].nan_to_num(7.0), data[2], data[3].nan_to_num(7.0))
    torch.testing.assert_close(parallel_losses(ours, data, lengths), losses)


def test_frames_that_do_not_count_have_no_image_loss(reference_sarnn: ModuleType) -> None:
    ours, _ = make_pair(reference_sarnn)
    images, _, clean, _ = episodes(1, 6)
    points, counts = (
        torch.rand(6, ours.point_dim).double(),
        torch.tensor([1, 0, 1, 1, 0, 0]).bool(),
    )
    some = image_loss(ours, [images[0]], points, [clean[0]], counts, 10**6)
    alone = image_loss(
        ours, [images[0, counts]], points[counts], [clean[0, counts]], counts[counts], 10**6
    )
    torch.testing.assert_close(some, alone)
    assert image_loss(ours, [images[0]], points, [clean[0]], counts & ~counts, 10**6) == 0


def test_point_loss_pulls_both_ways(reference_sarnn: ModuleType) -> None:
    """The encoder learns from the prediction as well as the prediction from the encoder."""
    model, _ = make_pair(reference_sarnn)
    images, joints, _, targets = episodes(2, 5)
    points = model.encode(images[:, :-1].flatten(0, 1)).unflatten(0, (2, 4))
    _, point, _ = recurrent_losses(
        model, points, joints[:, :-1], targets[:, :-1], torch.ones(2, 4).bool()
    )
    point.backward()
    assert model.pos_encoder[0].weight.grad.abs().sum() > 0
    assert model.decoder_point[0].weight.grad.abs().sum() > 0


def test_several_cameras_average_their_image_losses() -> None:
    torch.manual_seed(0)
    model = SARNN(6, 2, 3, im_size=(SIZE, (12, 12)))
    frames = [torch.rand(5, 3, *SIZE), torch.rand(5, 3, 12, 12)]
    clean = [torch.rand_like(camera) for camera in frames]
    decoded = torch.rand(5, 8)
    predicted = model.predict_image(frames, decoded)
    errors = [((p - c) ** 2).mean() for p, c in zip(predicted, clean, strict=True)]
    for fits in (100, 2):
        loss = image_loss(model, frames, decoded, clean, torch.ones(5).bool(), fits)
        torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_mean_over_nothing_is_zero() -> None:
    empty = torch.zeros(2, 0, 3)
    assert masked_mse(empty, empty, torch.zeros(2, 0, dtype=torch.bool)) == 0
