# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which device a training takes, and how much memory."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from sarnn_ros.errors import ConfigError
from sarnn_ros.training import machine
from sarnn_ros.training.config import make_config
from sarnn_ros.training.machine import cgroup_free, choose_device, image_budget


@pytest.mark.parametrize(
    ("name", "gpu", "device"),
    [
        ("auto", False, "cpu"),
        ("auto", True, "cuda:1"),
        ("cuda", True, "cuda:1"),
        ("cuda:0", True, "cuda:0"),
        ("cpu", True, "cpu"),
    ],
)
def test_each_of_torchruns_processes_takes_a_gpu_of_its_own(
    name: str, gpu: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch, "empty", lambda size, device: None)
    assert choose_device(name) == torch.device(device)


@pytest.mark.parametrize("name", ["cuda:99", "no such"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' cannot be used"):
        choose_device(name)


@pytest.mark.parametrize(("free", "limit"), [(800, 10**12), (10**12, 800)])
def test_processes_share_half_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch, free: int, limit: int
) -> None:
    """Of the machine or of the container, whichever is less."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    monkeypatch.setattr(machine, "cgroup_free", lambda: limit)
    cpu = torch.device("cpu")
    assert image_budget(make_config({}), cpu) == 400
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert image_budget(make_config({}), cpu) == 100
    # What a user says is of each process, as on a GPU.
    assert image_budget(make_config({"image_memory": 1}), cpu) == 2**30


V2 = {"limit": "memory.max", "stat": "anon 300\nfile 5000\n"}
V1 = {"limit": "memory.limit_in_bytes", "stat": "cache 5000\nrss 1\ntotal_rss 300\n"}


@pytest.mark.parametrize(
    ("own", "folder", "files", "allowed", "free"),
    [
        ("0::/a/b", "a/b", V2, "1000", 700),
        ("0::/a/b", "a", V2, "1000", 700),  # of a group above
        ("0::/", ".", V2, "1000", 700),
        ("0::/docker/123", ".", V2, "1000", 700),  # the host's path, seen from inside
        ("0::/a", "a", V2, "200", 0),
        ("0::/a", "a", V2, "max", sys.maxsize),
        ("0::/a", "b", V2, "1000", sys.maxsize),
        ("5:cpu:/\n4:hugetlb,memory:/a\n0::/", "memory/a", V1, "1000", 700),
        ("4:cpu:/a", "memory/a", V1, "1000", sys.maxsize),
    ],
)
def test_what_a_control_group_leaves(
    tmp_path: Path, own: str, folder: str, files: dict[str, str], allowed: str, free: int
) -> None:
    group = tmp_path / "mounts" / folder
    group.mkdir(parents=True)
    (group / files["limit"]).write_text(allowed + "\n")
    (group / "memory.stat").write_text(files["stat"])
    (tmp_path / "own").write_text(own + "\n")
    assert cgroup_free(tmp_path / "mounts", tmp_path / "own") == free
    assert cgroup_free(tmp_path / "mounts", tmp_path / "none") == sys.maxsize
