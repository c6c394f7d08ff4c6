# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What every process of ours begins with; and the executor's thread outlives a callback that
fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from sarnn_ros.ros.spinning import end_spinning, initialise, spin


def test_it_goes_on_after_any_exception():
    said: list[str] = []
    node = SimpleNamespace(get_logger=lambda: SimpleNamespace(error=said.append))
    endings = iter([FileNotFoundError("no such bag"), ValueError("odd"), None])

    def work() -> None:
        error = next(endings, ExternalShutdownException())
        if error is not None:
            raise error

    stop = threading.Event()
    spin(SimpleNamespace(context=SimpleNamespace(ok=lambda: True), spin_once=work), node, stop)
    assert stop.is_set() and len(said) == 2
    assert "no such bag" in said[0] and "Traceback" in said[0]


@pytest.fixture
def node(domain) -> Iterator[Any]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("busy", context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


def test_it_ends_in_the_middle_of_a_callback(node):
    """Which needs the executor until its end."""
    said: list[str] = []
    spied = SimpleNamespace(get_logger=lambda: SimpleNamespace(error=said.append))
    stop, begun = threading.Event(), threading.Event()
    node.create_timer(0.001, lambda: (begun.set(), stop.wait(20.0), time.sleep(0.1)))
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    spinner = threading.Thread(target=spin, args=(executor, spied, stop))
    spinner.start()
    assert begun.wait(20.0)
    stop.set()
    assert end_spinning(executor, spinner, 20.0)
    assert said == []


def test_a_callback_that_never_returns_is_left(node):
    stop, begun, going_on = threading.Event(), threading.Event(), threading.Event()
    node.create_timer(0.001, lambda: (begun.set(), going_on.wait(20.0)))
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    spinner = threading.Thread(target=spin, args=(executor, node, stop))
    spinner.start()
    assert begun.wait(20.0)
    stop.set()
    assert not end_spinning(executor, spinner, 0.1)
    going_on.set()
    spinner.join(20.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/**:\n  ros__parameters:\n    policy: " + "[" * 100_000, "nested more than"),
        ("a: &a [x]\n/**:\n  ros__parameters: {policy: *a}", "the alias *a"),
        ("/**:\n  ros__parameters: {policy: " + "x" * 5_000_000, "more than 4194304 bytes"),
        (None, "No such file"),
    ],
)
def test_a_params_file_that_is_missing_or_a_bomb_is_refused_at_once(text, said, tmp_path, capsys):
    """rcl's own parser takes half a minute for the first."""
    file = tmp_path / "params.yaml"
    if text is not None:
        file.write_text(text)
    assert not initialise(["node", "--ros-args", "--params-file", str(file)])
    error = capsys.readouterr().err
    assert said in error and str(file) in error and len(error) < 500


@pytest.mark.parametrize("argument", ["policy:=" + "[" * 5000, "policy"])
def test_a_parameter_that_rcl_refuses_is_a_short_error(argument, capsys):
    assert not initialise(["node", "--ros-args", "-p", argument])
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "Traceback" not in error and len(error) < 1200
