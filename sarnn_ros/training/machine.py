# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of this process: device, threads, memory allocator."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from sarnn_ros.model.device import find_device
from sarnn_ros.training.config import TrainConfig

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def set_up(config: TrainConfig) -> torch.device:
    """Set threads and allocator of this process, and choose the device.

    :raises ConfigError: the device does not exist here.
    """
    keep_memory()
    cores = len(os.sched_getaffinity(0))
    # More threads than cores wait for each other, spinning.
    torch.set_num_threads(min(config.threads or cores, cores))
    return find_device(config.device)


def stand_back() -> None:
    """Leave the cores to every other process that wants them, such as a robot's node.

    On Linux niceness alone counts among the processes of one terminal only, where the kernel
    groups them by that (`sched_autogroup_enabled`).
    """
    os.nice(19)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")


def keep_memory() -> None:
    """Let glibc keep freed memory instead of giving it back.

    The buffers of convolutions are so large that glibc maps and unmaps them each time; the page
    faults then cost up to as much as the arithmetic. Without glibc, nothing is done.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):
        return


@contextlib.contextmanager
def flush_subnormals() -> Iterator[None]:
    """This thread computes with 0 instead of subnormal floats, for which a CPU takes many times as
    long. At the temperature of the spatial softmax the shares of some percent of the pixels are
    subnormal (measured: a search for attention took 29 % longer without this). Of six small
    trainings five gave the same weights to the bit, and one others in the last bits.
    """
    before = sys.float_info.min / 2 == 0  # there is no function that tells
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def begin_chunk_thread() -> None:
    """Settings of a thread that computes chunks (`training.chunks`) beside others."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
