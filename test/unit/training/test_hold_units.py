# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""LSTM units that remember what the first tick showed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.training.config import make_config
from sarnn_ros.training.hold_units import FORGET_BIAS, make_hold_units
from sarnn_ros.training.recipe import decide
from sarnn_ros.training.run import make_model

MakeTask = Callable[..., Dataset]


@pytest.mark.parametrize("later", ["the same", "something else", "far away"])
def test_hold_units_keep_the_first_tick_whatever_comes_later(later: str) -> None:
    torch.manual_seed(0)
    model = SARNN(rec_dim=12, k_dim=2, joint_dim=3, im_size=(16, 16))
    make_hold_units(model.rec, 4)
    first = 0.3 * torch.randn(64, 1, 4)
    rest = {
        "the same": first.expand(-1, 99, -1),
        "something else": 0.3 * torch.randn(64, 99, 4),
        "far away": 3 * torch.randn(64, 99, 4),
    }[later]
    with torch.no_grad():
        hidden, _ = model.recur(torch.cat([first, rest], 1), torch.rand(64, 100, 3))
    kept = hidden[:, -1, 1:5]
    for number in range(4):  # each unit tells its input, in order, and nothing of the others
        seen = torch.corrcoef(torch.stack([kept[:, number], first[:, 0, number]]))[0, 1]
        assert float(seen) > 0.97
    assert float((hidden[:, -1, 1:5] - hidden[:, 2, 1:5]).abs().max()) < 0.1


def test_the_other_units_stay_as_they_were() -> None:
    model = SARNN(rec_dim=12, k_dim=2, joint_dim=3, im_size=(16, 16))
    before = model.rec.weight_ih.detach().clone().view(4, 12, -1)
    make_hold_units(model.rec, 4)
    after = model.rec.weight_ih.detach().view(4, 12, -1)
    assert torch.equal(after[:, 5:], before[:, 5:])
    assert not torch.equal(after[:, :5], before[:, :5])


@pytest.mark.parametrize(("recipe", "bias"), [("fast", FORGET_BIAS), ("eipl", 0.0)])
def test_forget_gates_start_open_but_for_eipl(
    make_task: MakeTask, recipe: str, bias: float
) -> None:
    model = make_model(decide(make_task(), make_config({"recipe": recipe, "rec_dim": 8})))
    assert model.rec.bias_ih.view(4, 8).tolist() == [[0.0] * 8, [bias] * 8, [0.0] * 8, [0.0] * 8]
