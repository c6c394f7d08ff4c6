# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Half an hour of random faults at 30 Hz (`make soak`): nothing leaks, no command is unsafe.

SOAK_MINUTES in the environment makes it shorter.
"""

from __future__ import annotations

import array
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import small_spec

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
RATE = 30.0
START = (0.3, 0.3, 0.3)
#: rad: the policy's taught range with the guard's default margin.
LIMIT = 1.2


def nothing(message: Any) -> Sequence[Any]:
    return ()


def not_a_number(message: Any) -> Sequence[Any]:
    message.position = array.array("d", [float("nan")] * len(message.position))
    return (message,)


def renamed(message: Any) -> Sequence[Any]:
    message.name = [f"other_{name}" for name in message.name]
    return (message,)


def teleporting(message: Any) -> Sequence[Any]:
    message.position = array.array("d", np.random.default_rng().uniform(-1, 1, 3))
    return (message,)


def truncated(message: Any) -> Sequence[Any]:
    message.data = message.data[: len(message.data) // 2]
    return (message,)


def ancient(message: Any) -> Sequence[Any]:
    message.header.stamp.sec -= 60
    return (message,)


def faults(robot: Any, graph: Any, node: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each fault is what starts it; `mend` and SIGCONT end it."""
    for change in (nothing, not_a_number, renamed, teleporting, ancient):
        yield change.__name__, lambda change=change: setattr(robot, "mutate_joints", change)
    for change in (nothing, truncated, ancient):
        yield change.__name__, lambda change=change: setattr(robot, "mutate_image", change)
    yield "no controller", robot.disconnect
    yield "stopped process", lambda: node.send(signal.SIGSTOP)
    yield "stop and start", lambda: (graph.trigger("/sarnn/stop"), graph.trigger("/sarnn/start"))
    yield "deactivate", lambda: graph.change_state("/sarnn", 4) and graph.change_state("/sarnn", 3)


def resources(process: psutil.Process) -> tuple[float, int, int]:
    """Memory in MB, threads, file descriptors."""
    return process.memory_info().rss / 1e6, process.num_threads(), process.num_fds()


@pytest.mark.soak
def test_half_an_hour_of_faults(
    make_policy: Callable[..., Path],
    start_node: Callable[..., Any],
    make_robot: Callable[..., Any],
    graph: Any,
    wait: Callable[..., Any],
) -> None:
    robot = make_robot(("joint1", "joint2", "gripper"), START)
    policy = make_policy(spec=small_spec(rate=RATE))
    node = start_node(policy=policy, autostart=True)
    wait(lambda: len(robot.commands) > 10, "the first commands")
    process = psutil.Process(node.pid)
    chance, pause = random.Random(0), threading.Event()
    choices = list(faults(robot, graph, node))
    end = time.monotonic() + 60 * MINUTES
    warm, total, count = None, 0, 0
    while time.monotonic() < end:
        name, start = chance.choice(choices)
        start()
        pause.wait(chance.uniform(0.1, 2.0))
        node.send(signal.SIGCONT)
        robot.mend()
        assert node.returncode is None, f"died of '{name}':\n{node.output}"
        robot.position[:] = robot.goal[:] = START
        assert graph.trigger("/sarnn/reset").success
        graph.trigger("/sarnn/start")
        seen = len(robot.commands)
        wait(lambda seen=seen: len(robot.commands) > seen + 10, f"commands after '{name}'")
        commands, robot.commands = robot.commands, []
        for command in commands:
            assert np.isfinite(command.position).all(), name
            assert (np.abs(command.position) <= LIMIT).all(), name
        total, count = total + len(commands), count + 1
        if warm is None and time.monotonic() > end - 54 * MINUTES:  # after a tenth
            warm = resources(process)
    memory, threads, descriptors = resources(process)
    assert warm is not None
    print(f"{count} faults, {total} commands; {warm} became {(memory, threads, descriptors)}")
    assert memory < warm[0] + 10
    assert threads <= warm[1] + 1
    assert descriptors <= warm[2] + 2
    assert node.stop() == 0
