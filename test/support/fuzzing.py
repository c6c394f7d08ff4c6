# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Damaged bytes, and bounds on time and memory, for the tests that read them."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np

LIMIT_SECONDS = 10
#: More than the interpreter and its libraries have mapped already.
MEMORY = 3 << 30


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, overwrite, cut, insert, repeat or zero some bytes."""
    array = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if not array:
            break
        place = int(rng.integers(len(array)))
        kind = int(rng.integers(7))
        if kind == 0:
            array[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            extreme = [0, 1, 0x7F, 0x80, 0xFF]
            array[place : place + 4] = bytes([extreme[int(rng.integers(5))]] * 4)
        elif kind == 2:
            del array[place:]
        elif kind == 3:
            array[place:place] = rng.integers(0, 256, int(rng.integers(1, 9)), np.uint8).tobytes()
        elif kind == 4:
            length = int(rng.integers(1, 64))
            array[place : place + length] = bytes(length)
        elif kind == 5:
            array[place:place] = array[place : place + int(rng.integers(1, 64))]
        else:
            value = int(rng.choice([2**31 - 1, 2**32 - 1, 2**16, 1000]))
            array[place : place + 4] = value.to_bytes(4, "little")
    return bytes(array)


@contextlib.contextmanager
def limits(memory: int = MEMORY) -> Iterator[None]:
    """Too slow or too much memory is an error of this test, with the input named."""

    def too_slow(*_: object) -> None:
        raise AssertionError(f"not done within {LIMIT_SECONDS} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, before[1]))
    previous = signal.signal(signal.SIGALRM, too_slow)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, before)
