# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The network that is exported computes what the trained one does."""

from __future__ import annotations

import pytest
import torch

from sarnn_ros.model.deploy import deploy
from sarnn_ros.model.sarnn import SARNN


@pytest.mark.parametrize("k_dim", [2, 5, 6, 16])
@pytest.mark.parametrize("stride", [1, 2])
def test_deployed_outputs_are_equal(k_dim: int, stride: int) -> None:
    torch.manual_seed(0)
    sizes = ((25, 34), (20, 21))
    model = SARNN(20, k_dim, 3, temperature=0.1, im_size=sizes, stride=stride).double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = [torch.rand(2, 3, *size).double() for size in sizes]
    state = torch.rand(2, 3).double()
    with torch.no_grad():
        one, other = model(images, state), deploy(model)(images, state)
    for left, right in zip((*one[0], *one[1:4], *one[4]), (*other[0], *other[1:4], *other[4])):
        torch.testing.assert_close(right, left, rtol=0, atol=1e-12)
        assert float(left.std()) > 1e-3
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
