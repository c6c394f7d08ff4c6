# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What every process of ours begins with; and the executor's thread outlives a callback that
fails."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from rclpy.executors import ExternalShutdownException

from sarnn_ros.ros.spinning import initialise, spin


def test_it_goes_on_after_any_exception_and_ends_with_the_executor():
    said: list[str] = []
    node = SimpleNamespace(get_logger=lambda: SimpleNamespace(error=said.append))
    endings = iter([FileNotFoundError("no such bag"), ValueError("odd"), None])

    def work() -> None:
        error = next(endings, ExternalShutdownException())
        if error is not None:
            raise error

    stop = threading.Event()
    spin(SimpleNamespace(context=SimpleNamespace(ok=lambda: True), spin=work), node, stop)
    assert stop.is_set() and len(said) == 2
    assert "no such bag" in said[0] and "Traceback" in said[0]


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
