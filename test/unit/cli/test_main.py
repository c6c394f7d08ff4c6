# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The `sarnn` command as its user meets it: as a process."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sarnn_ros
from sarnn_ros.cli.main import COMMANDS, missing_module

# Adds one command to the real application, which does what the test needs.
PROBE = """
import sys, time
from sarnn_ros.cli.main import app, main
from sarnn_ros.errors import BagError

@app.command()
def probe() -> None:
    {body}

main()
"""


def sarnn(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sarnn_ros.cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
    )


def probe(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROBE.format(body=body), "probe"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_every_command() -> None:
    done = sarnn("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"\b{name.replace('_', '-')}\b", done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(name: str) -> None:
    done = sarnn(name.replace("_", "-"), "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_help_is_instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """In processor time, and the best of three, as the machine may be busy."""
    for variable in [name for name in os.environ if name.startswith("COVERAGE_")]:
        monkeypatch.delenv(variable)  # counting lines in the process takes longer than the help

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        sarnn("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


def test_version() -> None:
    assert sarnn("--version").stdout == f"sarnn_ros {sarnn_ros.__version__}\n"


def test_the_dds_profile_is_where_it_says() -> None:
    """Alone on stdout, as the documentation has `export …=$(sarnn dds-profile)`."""
    (line,) = sarnn("dds-profile").stdout.splitlines()
    assert "<segment_size>" in Path(line).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["--no-such-option"],
        [],
        # Not one of the inference node's, which it would be behind a --.
        ["teach", "lesson", "--spec", "spec.yaml", "--no-backgroud"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = sarnn(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_users_fault_is_told_without_a_traceback() -> None:
    done = probe("raise BagError('no [messages] at all', where='/a/bag', remedy='record one')")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: /a/bag: no [messages] at all\n  remedy: record one\n"


def test_our_own_fault_is_told_with_one() -> None:
    done = probe("1 / 0")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    ("module", "remedy"),
    [
        ("torch.nn", "pip install 'sarnn_ros[train]'"),
        ("mujoco", "pip install 'sarnn_ros[sim]'"),
        ("starlette.routing", "pip install 'sarnn_ros[web]'"),
        ("rclpy", "source your ROS 2 installation"),
        ("sensor_msgs", "source your ROS 2 installation"),
    ],
)
def test_a_missing_library_is_told_with_how_to_get_it(module: str, remedy: str) -> None:
    done = probe(f"raise ModuleNotFoundError('No module named', name='{module}')")
    assert done.returncode == 1
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_we_do_not_know_is_a_fault_of_ours() -> None:
    assert missing_module("no_such_module") is None


def test_ctrl_c_ends_quietly_with_130(tmp_path: Path) -> None:
    body = "print('started', flush=True); time.sleep(60)"
    child = subprocess.Popen(
        [sys.executable, "-c", PROBE.format(body=body), "probe"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "started\n"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=10)
    assert child.returncode == 130
    assert errors == "interrupted\n"


def test_without_a_spec_training_says_where_to_get_one() -> None:
    done = sarnn("train", "bags", "--out", "policy")
    assert done.returncode == 1
    assert "--spec is missing" in done.stderr and "--write-spec spec.yaml" in done.stderr
