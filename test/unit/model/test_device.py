# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which device a training takes."""

from __future__ import annotations

import pytest
import torch

from sarnn_ros.errors import ConfigError
from sarnn_ros.model.device import find_device


@pytest.mark.parametrize(
    ("name", "gpu", "device"),
    [
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cuda", True, "cuda"),
        ("cuda:0", True, "cuda:0"),
        ("cpu", True, "cpu"),
    ],
)
def test_a_gpu_is_taken_where_there_is_one(
    name: str, gpu: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch, "empty", lambda size, device: None)
    assert find_device(name) == torch.device(device)


@pytest.mark.parametrize("name", ["cuda:99", "no such"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' cannot be used"):
        find_device(name)
