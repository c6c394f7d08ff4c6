# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the recurrent part gets beside the joints: points through their gate, and the motion."""

from __future__ import annotations

import pytest
import torch

from sarnn_ros.model import ANYWHERE
from sarnn_ros.model.sarnn import SARNN, through


def network(motion_dim: int = 0) -> SARNN:
    torch.manual_seed(0)
    size = (14, 18)
    return SARNN(12, 3, 2, temperature=0.02, im_size=size, motion_dim=motion_dim).eval()


def test_what_is_not_where_it_is_expected_is_replaced() -> None:
    points = torch.tensor([[0.1, 0.1, 0.5, 0.5, 0.9, 0.9, 0.3, 0.3]])
    expected = torch.tensor([[0.1, 0.1, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3]])
    assert torch.equal(through(points, expected, torch.full((1, 4), 0.1)), expected)
    assert torch.equal(through(points, expected, torch.full((1, 4), ANYWHERE)), points)
    reach = torch.tensor([[0.0, 0.0, 0.6, 0.0]])
    assert torch.equal(through(points, expected, reach), points), "each has its own"


@pytest.mark.parametrize(("away", "replaced"), [(0, 0), (1, 1), (2, 2), (3, 0), (4, 0)])
def test_if_most_points_are_elsewhere_what_is_seen_counts(away: int, replaced: int) -> None:
    points, expected = torch.full((1, 8), 0.5), torch.full((1, 8), 0.5)
    points[:, : 2 * away] = 0.8
    found = through(points, expected, torch.full((1, 4), 0.1))
    assert int((found != points).sum()) == 2 * replaced


@torch.no_grad()
@pytest.mark.parametrize("motion_dim", [0, 2])
def test_the_recurrent_part_gets_what_goes_through_the_gate(motion_dim: int) -> None:
    model, image, joints = network(motion_dim), torch.rand(1, 3, 14, 18), torch.rand(1, 2)
    points = model.encode(image)
    expected = points.clone()
    expected[:, :2] += 0.3
    reach = torch.tensor([[0.1, ANYWHERE, ANYWHERE]])
    motion = torch.randn(1, motion_dim)
    gate = (expected, reach, motion) if motion_dim else (expected, reach)
    action, seen, _, _ = model.act(image, joints, None, gate)
    assert torch.equal(seen, points), "what is seen is told as it is"
    hidden, _ = model.recur(torch.cat([expected, motion], 1)[None], joints[None])
    torch.testing.assert_close(action, model.decoder_joint(hidden[:, 0]))


@torch.no_grad()
def test_without_a_gate_it_is_open_and_the_motion_is_the_mean_one() -> None:
    model, image, joints = network(2), torch.rand(1, 3, 14, 18), torch.rand(1, 2)
    open_ = torch.zeros(1, 6), torch.full((1, 3), ANYWHERE), torch.zeros(1, 2)
    for found, wanted in zip(model.act(image, joints), model.act(image, joints, None, open_)):
        torch.testing.assert_close(found, wanted)


def test_another_number_of_inputs_is_no_input() -> None:
    with pytest.raises(AssertionError, match="8 inputs, not 10"):
        network(2).recur(torch.rand(1, 5, 6), torch.rand(1, 5, 2))


def test_the_network_is_eipls_but_for_the_motion() -> None:
    plain = network()
    assert plain.rec.weight_ih.shape == (48, 8)
    assert plain.state_dict().keys() == network(2).state_dict().keys()
