# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What every process of ours begins with; and the executor's thread outlives a callback that
fails."""

from __future__ import annotations

import threading
from types import SimpleNamespace

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


@pytest.mark.parametrize("callback", ["none", "ends", "never returns"])
def test_it_ends_whatever_its_callbacks_do(callback, domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("busy", context=context)
    said: list[str] = []
    spied = SimpleNamespace(get_logger=lambda: SimpleNamespace(error=said.append))
    stop, begun, going_on = threading.Event(), threading.Event(), threading.Event()
    returns = going_on if callback == "never returns" else stop
    if callback == "none":
        begun.set()
    else:
        node.create_timer(0.001, lambda: (begun.set(), returns.wait(20.0)))
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    spinner = threading.Thread(target=spin, args=(executor, spied, stop))
    spinner.start()
    assert begun.wait(20.0)
    stop.set()
    patience = 0.1 if callback == "never returns" else 20.0
    assert end_spinning(executor, spinner, patience) is (callback != "never returns")
    assert said == []
    going_on.set()
    spinner.join(20.0)
    node.destroy_node()
    context.try_shutdown()


@pytest.mark.parametrize("words", [("policy:=/p",), ("--ros-args", "policy:=/p"), ("-x",)])
def test_a_parameter_without_its_flag_is_refused_with_the_remedy(words, capsys):
    assert not initialise(["node", *words])
    error = capsys.readouterr().err
    assert words[-1] in error and "each after its -p" in error


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
