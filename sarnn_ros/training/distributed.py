# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one policy, started by torchrun. Wraps torch.distributed; no loss.

Every process draws the same random numbers for the whole batch and computes every n-th episode of
it. DistributedDataParallel sums the gradients, so all processes have the same weights to rounding;
`broadcast` makes them equal. Where rounding could change a decision, the main process decides.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sarnn_ros.errors import TrainingError

#: Without a sign of life for so long, a process counts as lost, and the others end.
TIMEOUT = timedelta(minutes=5)


def is_main_process() -> bool:
    """Whether this process writes files and talks; known before `process_group` is entered."""
    return int(os.environ.get("RANK", "0")) == 0


def local_rank() -> int:
    """Which of this machine's processes this is: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """How many processes share this machine's cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """The processes of this training: those of torchrun, else this one alone.

    :raises TrainingError: another process was lost.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        yield ProcessGroup()
        return
    joined = _join(device)
    try:
        yield joined
    except (dist.DistError, RuntimeError) as error:
        # gloo says "Connection closed by peer" in a plain RuntimeError.
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise TrainingError(
            f"another process of this training was lost ({str(error).splitlines()[0]})",
            where=f"process {joined.rank} of {joined.world_size}",
            remedy="see torchrun's output for the first one that failed; go on with --resume",
        ) from error


@cache
def _join(device: torch.device) -> ProcessGroup:
    """Connect to the other processes; once, for one training after another."""
    # DDP imports this module. If a process group exists by then, default arguments of functions
    # hold it for good: gloo's threads would outlive `_leave` and may abort Python at its end.
    import torch.distributed.nn.functional

    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    atexit.register(_leave)
    return ProcessGroup(dist.get_rank(), dist.get_world_size(), device)


def _leave() -> None:
    _join.cache_clear()
    gc.collect()  # whatever still refers to a training
    dist.destroy_process_group()


class ProcessGroup:
    """This process's place among `world_size` ones."""

    def __init__(
        self, rank: int = 0, world_size: int = 1, device: torch.device | None = None
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self.device = device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def shard(self, rows: Tensor) -> Tensor:
        """Which of a batch's rows (N,), given by the number of their episode in it, are ours."""
        return torch.nonzero(rows % self.world_size == self.rank)[:, 0]

    def wrap(self, objective: nn.Module, partly_used: bool) -> nn.Module:
        """The module with gradients averaged over the processes in its backward pass."""
        if self.world_size == 1:
            return objective
        return DistributedDataParallel(objective, find_unused_parameters=partly_used)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, in each of them."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process. For what all must do at the same epoch."""
        if self.world_size == 1:
            return flag
        return bool(self.sum(torch.tensor([float(flag)], device=self.device)).item())

    def decide(self, flag: bool) -> bool:
        """The main process's flag, in all of them."""
        return self.any(self.is_main and flag)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the main process's values, of weights for example. Adam's moments
        follow by themselves."""
        for tensor in tensors if self.world_size > 1 else ():
            dist.broadcast(tensor.detach(), src=0)

    def check_equal(self, value: str, what: str) -> None:
        """:raises TrainingError: the processes differ in `value`."""
        if self.world_size == 1:
            return
        values = [""] * self.world_size
        dist.all_gather_object(values, value)
        if len(set(values)) > 1:
            raise TrainingError(
                f"the processes differ in their {what}: {', '.join(values)}",
                where="torchrun",
                remedy="give every process the same bags, spec and settings",
            )
