# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Points that are remembered: where each filter answered most strongly since the episode began."""

from __future__ import annotations

import pytest
import torch

from sarnn_ros.model import ANYWHERE, UNSEEN_STRENGTH
from sarnn_ros.model.sarnn import SARNN, through


def network(cameras: int = 1) -> SARNN:
    torch.manual_seed(0)
    sizes = [(14, 18)] * cameras
    return SARNN(
        rec_dim=12,
        k_dim=3,
        joint_dim=2,
        im_size=sizes[0] if cameras == 1 else sizes,
        temperature=0.02,
        point_memory=True,
    ).eval()


@torch.no_grad()
def test_it_is_the_spatial_softmax_over_all_images_so_far() -> None:
    model, film = network(), torch.rand(7, 3, 14, 18)
    softmax = model.pos_encoder[-1]
    logits = model.pos_encoder[:-1](film).flatten(2) / softmax.temperature  # (T, K, cells)
    grid = torch.stack([softmax.pos_x, softmax.pos_y], -1)
    points, strength = model.look(film)
    found = model.with_remembered(points[None], strength[None])[0, :, 6:]
    for tick in range(7):
        until = logits[: tick + 1].transpose(0, 1).flatten(1)  # (K, T * cells)
        expected = until.softmax(-1) @ grid.repeat(tick + 1, 1)
        torch.testing.assert_close(found[tick], expected.flatten(), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("cameras", [1, 2])
def test_tick_by_tick_is_the_same_as_whole_sequences(cameras: int) -> None:
    model, joints = network(cameras), torch.rand(1, 9, 2)
    films = [torch.rand(9, 3, 14, 18) for _ in range(cameras)]
    images = films[0] if cameras == 1 else films
    points, strength = model.look(images)
    assert torch.equal(points, model.encode(images))
    seen = model.with_remembered(points[None], strength[None])
    hidden, _ = model.recur(seen, joints)
    state = None
    for tick in range(9):
        now = [film[tick : tick + 1] for film in films]
        result = model.act(now[0] if cameras == 1 else now, joints[:, tick], state)
        action, _, _, state = result
        torch.testing.assert_close(action, model.decoder_joint(hidden[:, tick]))
    assert [tuple(part.shape) for part in state] == [(1, 12), (1, 12), (1, 3 * cameras),
                                                     (1, 6 * cameras)]  # fmt: skip


def test_a_hidden_thing_stays_where_it_was_and_what_is_uncovered_is_found() -> None:
    model = network()
    strong, weak = torch.full((1, 3), 40.0), torch.full((1, 3), 5.0)
    here, elsewhere, there = (torch.full((1, 6), place) for place in (0.2, 0.9, 0.4))
    memory = (torch.full((1, 3), UNSEEN_STRENGTH), torch.zeros(1, 6))
    memory = model.remember(elsewhere, weak, memory)
    torch.testing.assert_close(memory[1], elsewhere)  # nothing better has been seen
    memory = model.remember(here, strong, memory)
    torch.testing.assert_close(memory[1], here)
    for _ in range(500):
        memory = model.remember(elsewhere, weak, memory)
    torch.testing.assert_close(memory[1], here)
    memory = model.remember(there, strong, memory)  # seen twice as well: in between
    torch.testing.assert_close(memory[1], torch.full((1, 6), 0.3))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e6])
def test_strengths_of_any_size_stay_finite(scale: float) -> None:
    model = network()
    torch.manual_seed(0)
    points, strength = torch.rand(1, 50, 6), scale * torch.randn(1, 50, 3)
    found = model.with_remembered(points, strength)[..., 6:]
    assert bool(torch.isfinite(found).all())
    assert float(found.min()) >= -1e-5
    assert float(found.max()) <= 1 + 1e-5


def test_without_it_the_network_is_eipls() -> None:
    plain = SARNN(rec_dim=12, k_dim=3, joint_dim=2, im_size=(14, 18))
    assert plain.rec.weight_ih.shape == (48, 8)
    assert plain.state_dict().keys() == network().state_dict().keys()
    _, _, _, state = plain.act(torch.rand(1, 3, 14, 18), torch.rand(1, 2))
    assert len(state) == 2


def test_what_is_not_where_it_is_expected_is_replaced_and_not_remembered() -> None:
    points = torch.tensor([[0.1, 0.1, 0.5, 0.5, 0.9, 0.9, 0.3, 0.3]])
    expected = torch.tensor([[0.1, 0.1, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3]])
    places = torch.tensor([[0.1, 0.1, 0.2, 0.5, 0.9, 0.9, 0.3, 0.3]])
    strength = torch.arange(4.0)[None]
    reach = torch.full((1, 4), 0.1)
    found, strengths = through((expected, reach, places, reach), points, strength)
    assert torch.equal(found, expected), "the third"
    assert (strengths[0] == UNSEEN_STRENGTH).tolist() == [False, True, True, False]
    assert strengths[0, [0, 3]].tolist() == [0.0, 3.0]
    anywhere = torch.full((1, 4), ANYWHERE)
    found, strengths = through((expected, anywhere, places, anywhere), points, strength)
    assert torch.equal(found, points) and torch.equal(strengths, strength)


@pytest.mark.parametrize(("away", "replaced"), [(0, 0), (1, 1), (2, 2), (3, 0), (4, 0)])
def test_if_most_points_are_elsewhere_what_is_seen_counts(away: int, replaced: int) -> None:
    points, expected = torch.full((1, 8), 0.5), torch.full((1, 8), 0.5)
    points[:, : 2 * away] = 0.8
    open_ = torch.full((1, 4), ANYWHERE)
    gate = expected, torch.full((1, 4), 0.1), expected, open_
    found, strengths = through(gate, points, torch.zeros(1, 4))
    assert int((found != points).sum()) == 2 * replaced
    assert int((strengths == UNSEEN_STRENGTH).sum()) == replaced


@torch.no_grad()
def test_the_recurrent_part_gets_what_goes_through_the_gate() -> None:
    model, image, joints = network(), torch.rand(1, 3, 14, 18), torch.rand(1, 2)
    points, strength = model.look(image)
    expected = points.clone()
    expected[:, :2] += 0.3
    open_ = torch.full((1, 3), ANYWHERE)
    reach = torch.tensor([[0.1, ANYWHERE, ANYWHERE]])
    gate = expected, reach, points, open_
    action, seen, _, state = model.act(image, joints, None, gate)
    assert torch.equal(seen, points), "what is seen is told as it is"
    kept = strength.clone()
    kept[0, 0] = UNSEEN_STRENGTH
    memory = model.with_remembered(expected[None], kept[None])
    hidden, _ = model.recur(memory, joints[None])
    torch.testing.assert_close(action, model.decoder_joint(hidden[:, 0]))
    torch.testing.assert_close(state[3], memory[0, :, 6:])


def test_what_fades_goes_to_where_its_thing_is_seen_as_well_later() -> None:
    """And stays while it is hidden. Of a camera that moves nothing stays."""
    model = network()
    model.fading.copy_(torch.tensor([0.0, 1.0, 1e6]))
    strength = torch.tensor([5.0] * 5 + [5.0] * 5 + [-40.0] * 5)
    place = torch.tensor([0.2] * 5 + [0.8] * 5 + [0.5] * 5)
    points = place[None, :, None].expand(1, 15, 6)
    found = model.with_remembered(points, strength[None, :, None].expand(1, 15, 3))[0, :, 6::2]
    assert found[9].tolist() == pytest.approx([0.5, 0.8, 0.8], abs=0.01)
    assert found[14].tolist() == pytest.approx([0.5, 0.8, 0.5], abs=0.01)
