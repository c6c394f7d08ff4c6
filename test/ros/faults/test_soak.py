# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`make soak`: half an hour at 30 Hz with random faults: every promise is kept, and nothing leaks.
Not in `make test`.

SARNN_SOAK_MINUTES shortens it.
"""

from __future__ import annotations

import os
import random
import time

import numpy as np
import psutil
import pytest
from ros_testing import small_spec
from stream_faults import FAULTS


@pytest.mark.soak
def test_soak(make_policy, make_arms, wait):
    minutes = float(os.environ.get("SARNN_SOAK_MINUTES", "30"))
    policy = make_policy(spec=small_spec(rate=30.0))
    arm = make_arms(policy, ["joint_trajectory"])["joint_trajectory"]
    process = psutil.Process(arm.process.pid)

    def usage():
        return process.memory_info().rss / 1e6, process.num_threads(), process.num_fds()

    choice = random.Random(0)
    end = time.monotonic() + 60.0 * minutes
    samples = []
    total = 0
    told = time.monotonic()
    while time.monotonic() < end:
        fault = choice.choice(FAULTS)
        fault.begin(arm)
        published = arm.robot.published + choice.randrange(50, 200)
        wait(lambda until=published: arm.robot.published > until, "the fault")
        try:
            arm.promises.check(arm.robot)
        except AssertionError as error:
            error.add_note(f"fault {len(samples)}: {fault}")
            raise
        total += len(arm.robot.commands)
        arm.robot.reset()
        # What was on its way may latch once more.
        wait(lambda: arm.call("reset").success and arm.call("start").success, "it starts again")
        wait(lambda: len(arm.robot.commands) >= 10, lambda: arm.process.output[-3000:])
        samples.append(usage())
        if time.monotonic() - told > 60.0:
            told = time.monotonic()
            left = (end - told) / 60.0
            print(
                f"{len(samples)} faults, {total} commands, {max(left, 0.0):.0f} min left",
                flush=True,
            )
    assert arm.process.returncode is None
    # The first tenth warms up: caches, glibc's arenas, DDS discovery.
    warm = samples[len(samples) // 10 :]
    memory, threads, files = (np.array(column) for column in zip(*warm))
    print(f"{len(samples)} faults, {total} commands, RSS {memory[0]:.0f} to {memory[-1]:.0f} MB")
    third = max(1, len(memory) // 3)
    assert np.median(memory[-third:]) - np.median(memory[:third]) < 15.0, memory.tolist()
    assert threads[-third:].max() <= threads[:third].max()
    assert files[-third:].max() <= files[:third].max() + 1
