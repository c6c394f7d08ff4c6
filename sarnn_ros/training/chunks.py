# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Functions of many frames, computed in chunks that the CPU's threads share. No model, no loss.

Threads that share one convolution wait for each other at its end, about twenty times per update,
and buffers of hundreds of frames fit into no cache. So each thread takes chunks of its own. The
result does not depend on which thread took which.

`map_chunks` keeps what the backward pass needs. `sum_chunks` computes the gradient of each chunk
at once, while it is in the cache: the loss can only scale its sum.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from sarnn_ros.training.machine import begin_chunk_thread

#: Frames of a chunk on the CPU, at most. With images of 64x64, 8 took 7 % less time than 20.
CPU_CHUNK = 8

Rows = Callable[..., Tensor]
Made = TypeVar("Made")


def map_chunks(
    function: Rows, parameters: Sequence[Tensor], inputs: Sequence[Tensor], fits: int
) -> Tensor:
    """`function(*inputs)`, with gradients, in chunks.

    :param function: N rows each in, N rows out, each from its own rows alone.
    :param parameters: also get gradients.
    :param fits: rows whose activations fit into memory. With more rows, activations are not kept
        but computed again for the gradient.
    """
    size = _chunk_size(len(inputs[0]), fits, inputs[0].device)
    if not torch.is_grad_enabled():
        parts = _parts(inputs, size)
        return torch.cat(_each(lambda part: function(*part), parts, inputs[0].device))
    keep = len(inputs[0]) <= fits
    result: Tensor = _MapChunks.apply(  # type: ignore[no-untyped-call]
        function, size, keep, len(inputs), *inputs, *parameters
    )
    return result


def sum_chunks(
    function: Rows,
    parameters: Sequence[Tensor],
    inputs: Sequence[Tensor],
    fits: int,
    cpu_chunk: int = CPU_CHUNK,
) -> Tensor:
    """The sum of all that `function(*inputs)` gives, with gradients, in chunks.

    Arguments as for `map_chunks`; here no chunk's activations outlive it.

    :param cpu_chunk: rows of a chunk on the CPU, at most.
    """
    size = _chunk_size(len(inputs[0]), fits, inputs[0].device, cpu_chunk)
    result: Tensor = _SumChunks.apply(  # type: ignore[no-untyped-call]
        function, size, torch.is_grad_enabled(), len(inputs), *inputs, *parameters
    )
    return result


class _SumChunks(torch.autograd.Function):
    """Value and gradient in one go."""

    @staticmethod
    def forward(
        ctx: Any, function: Rows, size: int, differentiate: bool, count: int, *tensors: Tensor
    ) -> Tensor:
        inputs, parameters = tensors[:count], tensors[count:]
        wanted = ctx.needs_input_grad[4 : 4 + count]

        def compute(part: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor | None]]:
            with torch.set_grad_enabled(differentiate):
                total = function(*part).sum()
            if not differentiate:
                return total, []
            leaves = [tensor for tensor in part if tensor.requires_grad]
            found = torch.autograd.grad(total, [*leaves, *parameters], allow_unused=True)
            return total.detach(), found

        totals, gradients = zip(
            *_each(compute, _leaves(inputs, size, wanted), inputs[0].device), strict=True
        )
        ctx.gradients = _gather(gradients, wanted) if differentiate else ()
        return torch.stack(totals).sum()

    @staticmethod
    def backward(ctx: Any, *scales: Tensor) -> tuple[Any, ...]:
        (scale,) = scales
        scaled = (None if gradient is None else scale * gradient for gradient in ctx.gradients)
        return (None, None, None, None, *scaled)


class _MapChunks(torch.autograd.Function):
    """One graph per chunk, outside the main one, so that each thread runs its own backward."""

    @staticmethod
    def forward(
        ctx: Any, function: Rows, size: int, keep: bool, count: int, *tensors: Tensor
    ) -> Tensor:
        inputs, parameters = tensors[:count], tensors[count:]
        wanted = ctx.needs_input_grad[4 : 4 + count]
        parts = _leaves(inputs, size, wanted)

        def compute(part: Sequence[Tensor]) -> Tensor:
            with torch.set_grad_enabled(keep):
                return function(*part)

        outputs = _each(compute, parts, inputs[0].device)
        ctx.function, ctx.parts, ctx.parameters = function, parts, parameters
        ctx.outputs = outputs if keep else None
        ctx.wanted = wanted
        return torch.cat([output.detach() for output in outputs])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (gradient,) = gradients
        parts, parameters, wanted = ctx.parts, ctx.parameters, ctx.wanted
        outputs = ctx.outputs or [None] * len(parts)
        rows = torch.split(gradient, len(parts[0][0]))

        def differentiate(job: tuple[Any, ...]) -> tuple[Tensor | None, ...]:
            part, output, row = job
            if output is None:
                with torch.enable_grad():
                    output = ctx.function(*part)
            leaves = [tensor for tensor in part if tensor.requires_grad]
            return torch.autograd.grad(output, [*leaves, *parameters], row, allow_unused=True)

        jobs = list(zip(parts, outputs, rows, strict=True))
        ctx.outputs = outputs = None
        found = _each(differentiate, jobs, gradient.device)
        return (None, None, None, None, *_gather(found, wanted))


def _gather(
    gradients: Sequence[Sequence[Tensor | None]], wanted: Sequence[bool]
) -> list[Tensor | None]:
    """The gradients of the wanted inputs, then of the parameters, put together from the chunks."""
    by_tensor = list(zip(*gradients, strict=True))
    of_inputs = iter(by_tensor[: sum(wanted)])
    return [
        *(torch.cat(next(of_inputs)) if want else None for want in wanted),
        # All or none: whether a parameter is used does not depend on the chunk.
        *(
            None if chunks[0] is None else functools.reduce(torch.add, chunks)
            for chunks in by_tensor[sum(wanted) :]
        ),
    ]


def _parts(inputs: Sequence[Tensor], size: int) -> list[tuple[Tensor, ...]]:
    return list(zip(*(torch.split(tensor, size) for tensor in inputs), strict=True))


def _leaves(
    inputs: Sequence[Tensor], size: int, wanted: Sequence[bool]
) -> list[tuple[Tensor, ...]]:
    """Chunks that begin a graph of their own."""
    return [
        tuple(
            tensor.detach().requires_grad_(want) for tensor, want in zip(part, wanted, strict=True)
        )
        for part in _parts(inputs, size)
    ]


def made_ahead(
    make: Callable[[], Made], count: int, device: torch.device
) -> Generator[Made, None, None]:
    """What `make()` gives, `count` times; with more than one CPU thread, another one makes the
    next while the last is used. The results are the same: one is made after the other."""
    if count < 2 or device.type != "cpu" or torch.get_num_threads() == 1:
        yield from (make() for _ in range(count))
        return
    with ThreadPoolExecutor(1, "sarnn-ahead", initializer=begin_chunk_thread) as thread:
        coming = thread.submit(make)
        for left in reversed(range(count)):
            made = coming.result()
            if left:
                coming = thread.submit(make)
            yield made


def _chunk_size(count: int, fits: int, device: torch.device, cpu_chunk: int = CPU_CHUNK) -> int:
    if device.type != "cpu":
        return max(1, min(fits, count))
    # Even shares: one chunk more than there are threads would cost a whole turn.
    threads = torch.get_num_threads()
    turns = max(1, -(-count // (threads * cpu_chunk)))
    return max(1, min(fits, -(-count // (threads * turns))))


def _each(function: Callable[[Any], Any], jobs: Sequence[Any], device: torch.device) -> list[Any]:
    threads = min(torch.get_num_threads(), len(jobs))
    if device.type != "cpu" or threads == 1:
        return [function(job) for job in jobs]
    return list(_pool(torch.get_num_threads()).map(function, jobs))


@functools.lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that compute alone: their operations are not shared with others."""
    return ThreadPoolExecutor(threads, "sarnn-chunk", initializer=begin_chunk_thread)
