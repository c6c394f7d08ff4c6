# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the process that trains."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.training import chunks
from sarnn_ros.training.config import make_config
from sarnn_ros.training.machine import flush_subnormals
from sarnn_ros.training.recipe import decide
from sarnn_ros.training.run import make_trainer


def flushes() -> bool:
    return sys.float_info.min / 2 == 0


def test_subnormal_floats_are_flushed_while_it_trains_and_not_afterwards(
    make_task: Callable[..., Dataset],
) -> None:
    """Also between two epochs, where the caller's own code runs."""
    settings = {"k_dim": 2, "rec_dim": 8, "inner_steps": 1, "threads": 1, "device": "cpu"}
    trainer = make_trainer(decide(make_task(), make_config({**settings, "recipe": "eipl"})))
    seen: list[bool] = []
    trainer.model.pos_encoder.register_forward_hook(lambda *_: seen.append(flushes()))
    next(trainer.run(time.monotonic))
    assert seen and all(seen)
    assert not flushes()


def test_what_the_caller_has_set_is_set_again() -> None:
    for before in (True, False):
        torch.set_flush_denormal(before)
        with flush_subnormals():
            assert flushes()
        assert flushes() is before


def test_threads_that_compute_chunks_flush_too() -> None:
    assert chunks._pool(2).submit(flushes).result()
    assert not flushes()


#: Computes for as long as it is asked, on one core, and prints how long it had it.
WORKS = """
import os, sys, time
from sarnn_ros.training.machine import stand_back
os.sched_setaffinity(0, {int(sys.argv[1])})
if sys.argv[2] == "back":
    stand_back()
print("ready", flush=True)
sys.stdin.readline()
before, end = time.process_time(), time.monotonic() + 2.0
while time.monotonic() < end:
    pass
print(time.process_time() - before)
"""


def test_it_leaves_the_core_to_a_process_of_another_terminal() -> None:
    core = str(min(os.sched_getaffinity(0)))
    both = [
        subprocess.Popen(
            [sys.executable, "-c", WORKS, core, which],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )
        for which in ("back", "first")
    ]  # fmt: skip
    for process in both:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    back, first = (float(process.communicate()[0]) for process in both)
    assert back < 0.2 * first
