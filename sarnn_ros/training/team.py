# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one policy, started by torchrun. Wraps torch.distributed; no loss.

Every process draws the same random numbers for the whole batch and computes every n-th episode of
it. DistributedDataParallel sums the gradients; so all have the same weights at all times.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sarnn_ros.errors import TrainingError

#: A process that has not been heard of for so long is given up; the others then end, too.
TIMEOUT = timedelta(minutes=5)


def started_by_torchrun() -> bool:
    """Whether this is one of several processes, or the only one that torchrun has started."""
    return dist.is_available() and dist.is_torchelastic_launched()


def leads() -> bool:
    """Whether it is this process that writes files and talks; known before `team` is entered."""
    return int(os.environ.get("RANK", "0")) == 0


def local_rank() -> int:
    """Which of this machine's processes this is: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_size() -> int:
    """How many processes share this machine's cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def team(device: torch.device) -> Iterator[Team]:
    """The processes of this training: those of torchrun, else this one alone.

    :raises TrainingError: another process was lost.
    """
    if not started_by_torchrun():
        yield Team()
        return
    if device.type == "cuda":  # nccl gathers objects over the current one
        torch.cuda.set_device(device)
    if not dist.is_initialized():  # one training after another in the same processes: join once
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
        atexit.register(dist.destroy_process_group)
    try:
        yield Team(dist.get_rank(), dist.get_world_size(), device)
    except (dist.DistError, RuntimeError) as error:
        # gloo says "Connection closed by peer" in a plain RuntimeError.
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise TrainingError(
            f"another process of this training was lost ({str(error).splitlines()[0]})",
            where=f"process {dist.get_rank()} of {dist.get_world_size()}",
            remedy="see torchrun's output for the first one that failed; go on with --resume",
        ) from error


class Team:
    """This process's place among `size` ones."""

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank = rank
        self.size = size
        self.device = device

    @property
    def leads(self) -> bool:
        """Whether it is this process that writes files and talks."""
        return self.rank == 0

    def own(self, rows: Tensor) -> Tensor:
        """Which of a batch's rows (N,), given by the number of their episode in it, are ours."""
        return torch.nonzero(rows % self.size == self.rank)[:, 0]

    def wrap(self, objective: nn.Module, partly_used: bool) -> nn.Module:
        """The module with gradients averaged over the processes in its backward pass."""
        if self.size == 1:
            return objective
        return DistributedDataParallel(objective, find_unused_parameters=partly_used)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, in each of them."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process. For what all must do at the same epoch."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor([float(flag)], device=self.device)).item())

    def check_equal(self, value: str, what: str) -> None:
        """:raises TrainingError: the processes differ in `value`."""
        if self.size == 1:
            return
        values = [""] * self.size
        dist.all_gather_object(values, value)
        if len(set(values)) > 1:
            raise TrainingError(
                f"the processes differ in their {what}: {', '.join(values)}",
                where="torchrun",
                remedy="give every process the same bags, spec and settings",
            )
