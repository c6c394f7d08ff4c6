# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one policy, started by torchrun. Wraps torch.distributed; no loss.

Every process draws the same random numbers for the whole batch and computes every n-th episode of
it. DistributedDataParallel sums the gradients; so all have the same weights but for rounding, of
which `align` rids them. What could turn on a rounding is for the first process to decide.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sarnn_ros.errors import TrainingError

#: A process that has not been heard of for so long is given up; the others then end, too.
TIMEOUT = timedelta(minutes=5)
#: The same between two trainings, where the first process tries the policy while the others wait.
#: One that has died is noticed at once all the same: its connections are closed.
PATIENCE = timedelta(days=1)


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
    joined = _join(device)
    try:
        yield joined
    except (dist.DistError, RuntimeError) as error:
        # gloo says "Connection closed by peer" in a plain RuntimeError.
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise TrainingError(
            f"another process of this training was lost ({str(error).splitlines()[0]})",
            where=f"process {joined.rank} of {joined.size}",
            remedy="see torchrun's output for the first one that failed; go on with --resume",
        ) from error


@cache
def _join(device: torch.device) -> Team:
    """Find the other processes; once, for one training after another."""
    # DDP imports this, and if a process group is there by then, it stays for good as the default
    # argument of functions: gloo's threads would outlive `_leave` and may abort Python at its end.
    import torch.distributed.nn.functional

    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    atexit.register(_leave)
    patient = dist.new_group(backend="gloo", timeout=PATIENCE)
    return Team(dist.get_rank(), dist.get_world_size(), device, patient)


def _leave() -> None:
    _join.cache_clear()
    gc.collect()  # whatever still holds on to a training
    dist.destroy_process_group()


class Team:
    """This process's place among `size` ones.

    :param patient: the processes as a group that waits for `PATIENCE`.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        device: torch.device | None = None,
        patient: dist.ProcessGroup | None = None,
    ) -> None:
        self.rank = rank
        self.size = size
        self.device = device
        self.patient = patient

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

    def decide(self, flag: bool) -> bool:
        """What the first process finds. For what all must do and may see otherwise."""
        return self.any(self.leads and flag)

    def align(self, model: nn.Module) -> None:
        """Give all processes the first one's weights. Adam's moments then follow by themselves."""
        for parameter in model.parameters() if self.size > 1 else ():
            dist.broadcast(parameter.detach(), src=0)

    def check_equal(self, value: str, what: str) -> None:
        """The processes meet here, however long one may be in coming.

        :raises TrainingError: they differ in `value`.
        """
        if self.size == 1:
            return
        values = [""] * self.size
        dist.all_gather_object(values, value, group=self.patient)
        if len(set(values)) > 1:
            raise TrainingError(
                f"the processes differ in their {what}: {', '.join(values)}",
                where="torchrun",
                remedy="give every process the same bags, spec and settings",
            )
