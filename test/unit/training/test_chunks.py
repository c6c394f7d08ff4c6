# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Chunks: the same result and gradient as in one piece, whoever computes them."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sarnn_ros.training.chunks import CPU_CHUNK, made_ahead, map_chunks, sum_chunks


def problem() -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor, Tensor, Tensor]:
    """A function of 50 rows, a parameter of it and one that it does not use, and its inputs."""
    weight = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    unused = torch.randn(2, requires_grad=True)
    rows = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    fixed = torch.randn(50, 2, dtype=torch.float64)

    def function(rows: Tensor, fixed: Tensor) -> Tensor:
        return torch.tanh(rows @ weight) * fixed

    return function, weight, unused, rows, fixed


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("fits", [1000, 7])
def test_gradients_of_inputs_and_parameters(threads: int, fits: int) -> None:
    torch.set_num_threads(threads)
    function, weight, unused, rows, fixed = problem()
    scale = torch.randn(50, 2, dtype=torch.float64)
    leaves = [rows, weight]
    expected = torch.autograd.grad((function(rows, fixed) * scale).sum(), leaves)
    result = map_chunks(function, [weight, unused], [rows, fixed], fits)
    torch.testing.assert_close(result, function(rows, fixed))
    found = torch.autograd.grad((result * scale).sum(), [*leaves, unused], allow_unused=True)
    torch.testing.assert_close(found[:2], expected)
    assert found[2] is None


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("fits", [1000, 7])
def test_a_sum_and_its_gradients(threads: int, fits: int) -> None:
    torch.set_num_threads(threads)
    function, weight, unused, rows, fixed = problem()
    whole = function(rows, fixed).sum()
    expected = torch.autograd.grad(3 * whole, [rows, weight])
    with torch.no_grad():
        without = sum_chunks(function, [weight, unused], [rows, fixed], fits)
    torch.testing.assert_close(without, whole.detach())
    total = sum_chunks(function, [weight, unused], [rows, fixed], fits)
    torch.testing.assert_close(total, whole)
    found = torch.autograd.grad(3 * total, [rows, weight, unused], allow_unused=True)
    torch.testing.assert_close(found[:2], expected)
    assert found[2] is None


class Saved:
    """A tensor that a graph keeps for its gradient."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def test_a_sum_keeps_no_chunk() -> None:
    """When a chunk begins, the graph of the one before is gone."""
    saved: list[weakref.ref[Saved]] = []

    def save(tensor: Tensor) -> Saved:
        saved.append(weakref.ref(one := Saved(tensor)))
        return one

    def function(rows: Tensor) -> Tensor:
        assert not any(reference() is not None for reference in saved)
        return rows.exp()

    torch.set_num_threads(1)
    rows = torch.ones(3 * CPU_CHUNK, 1, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(save, lambda one: one.tensor):
        sum_chunks(function, [], [rows], 10**6).backward()
    assert len(saved) >= 3


def test_two_threads_compute_at_the_same_time_and_each_alone() -> None:
    """Each waits inside for the other: one after the other would never get through."""
    torch.set_num_threads(2)
    meeting = threading.Barrier(2, timeout=20)
    inside = set()

    def function(rows: Tensor) -> Tensor:
        meeting.wait()
        inside.add(torch.get_num_threads())
        return rows * 2

    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            rows = torch.ones(8, 1, requires_grad=True)
            map_chunks(function, [], [rows], 1000)
    assert inside == {1}
    assert torch.get_num_threads() == 2


def test_what_does_not_fit_is_computed_again_in_pieces_that_do() -> None:
    sizes = []

    def function(rows: Tensor) -> Tensor:
        sizes.append((len(rows), torch.is_grad_enabled()))
        return rows * 2

    torch.set_num_threads(1)
    rows = torch.ones(5, 1, requires_grad=True)
    map_chunks(function, [], [rows], 2).sum().backward()
    assert sizes == [(2, False), (2, False), (1, False), (2, True), (2, True), (1, True)]
    sizes.clear()
    map_chunks(function, [], [rows], 5).sum().backward()
    assert sizes == [(5, True)]


def test_chunks_are_even() -> None:
    """A thread with one chunk more than the other would be waited for."""
    sizes = []

    def function(rows: Tensor) -> Tensor:
        sizes.append(len(rows))
        return rows * 2

    torch.set_num_threads(2)
    for count in (16, 2 * CPU_CHUNK + 2, 6 * CPU_CHUNK):
        sizes.clear()
        map_chunks(function, [], [torch.ones(count, 1)], 10**6)
        assert len(sizes) % 2 == 0
        assert max(sizes) <= CPU_CHUNK


def test_an_error_in_a_thread_is_raised() -> None:
    torch.set_num_threads(2)
    with pytest.raises(RuntimeError):
        map_chunks(lambda rows: rows @ torch.ones(5, 5), [], [torch.ones(8, 1)], 100)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_what_is_made_ahead_comes_in_order(threads: int, count: int) -> None:
    torch.set_num_threads(threads)
    numbers = itertools.count()
    made = made_ahead(lambda: next(numbers), count, torch.device("cpu"))
    assert list(made) == list(range(count))
    assert next(numbers) == count  # no more is made than is wanted


def test_the_next_is_made_while_one_is_used() -> None:
    """By a thread that computes alone."""
    torch.set_num_threads(2)
    meeting = threading.Barrier(2, timeout=20)
    first = threading.Event()
    inside = set()

    def make() -> None:
        inside.add((threading.current_thread().name, torch.get_num_threads()))
        if first.is_set():
            meeting.wait()
        first.set()

    for index, _ in enumerate(made_ahead(make, 4, torch.device("cpu"))):
        if index < 3:
            meeting.wait()
    assert inside == {("sarnn-ahead_0", 1)}
    assert torch.get_num_threads() == 2


def test_an_error_in_making_is_raised_where_it_is_wanted() -> None:
    torch.set_num_threads(2)
    numbers = itertools.count()

    def make() -> int:
        if (number := next(numbers)) == 2:
            raise ValueError("no more")
        return number

    made = made_ahead(make, 5, torch.device("cpu"))
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(ValueError, match="no more"):
        next(made)
    made = made_ahead(make, 5, torch.device("cpu"))
    assert next(made) == 3
    made.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("sarnn-ahead")]
