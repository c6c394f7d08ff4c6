# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Making good use of the machine: device, threads, memory allocator."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from sarnn_ros.model.device import find_device
from sarnn_ros.training.config import TrainConfig
from sarnn_ros.training.team import local_rank, local_size

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def prepare(config: TrainConfig) -> torch.device:
    """Set threads and allocator of this process, and choose the device.

    :raises ConfigError: the device does not exist here.
    """
    keep_memory()
    cores = len(os.sched_getaffinity(0))
    # More threads than cores wait for each other, spinning.
    torch.set_num_threads(max(1, min(config.threads or cores, cores // local_size())))
    return choose_device(config.device)


def choose_device(name: str) -> torch.device:
    """`auto` is `cuda` where there is a GPU, else the CPU; `cuda` is a GPU of its own for each of
    torchrun's processes.

    :raises ConfigError: no such device.
    """
    return find_device(name, f"cuda:{local_rank()}")


def image_budget(config: TrainConfig, device: torch.device) -> int:
    """Bytes that images may take on the device: half of what is free. torchrun's processes on this
    machine share the CPU's."""
    if config.image_memory is not None:
        return round(config.image_memory * 2**30)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = min(psutil.virtual_memory().available, cgroup_free()) // local_size()
    return free // 2


def cgroup_free(
    mounts: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """Bytes until this process's control group (a container, a service) is at its limit, which
    psutil does not know of; `sys.maxsize` without one. Cached files do not count: they give way.
    """
    free = sys.maxsize
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                mount, limit, used = mounts, "memory.max", "anon"
            elif "memory" in controllers.split(","):
                mount, limit, used = mounts / "memory", "memory.limit_in_bytes", "total_rss"
            else:
                continue
            group = mount / path.lstrip("/")
            # In a container, the path may be the host's, of which only the mount itself is seen.
            for folder in {group, *group.parents, mount}:
                if folder.is_relative_to(mount):
                    with contextlib.suppress(OSError, ValueError):  # "max" is no number
                        allowed = int((folder / limit).read_text())
                        counts = dict(map(str.split, (folder / "memory.stat").open()))
                        free = min(free, max(0, allowed - int(counts.get(used, 0))))
    return free


def keep_memory() -> None:
    """Let glibc keep freed memory instead of giving it back.

    The buffers of convolutions are large enough for glibc to map and unmap them each time, and the
    page faults then cost up to as much as the arithmetic. Elsewhere than on glibc, do nothing.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):
        return


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """For steps too small to share. A second thread gains nothing here, and when another process
    has its core, every operation waits for it (measured: three times slower)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
