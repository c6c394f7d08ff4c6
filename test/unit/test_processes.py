# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Child processes always end, whatever happens to them and to us."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sarnn_ros import processes
from sarnn_ros.errors import EnvironmentProblem
from sarnn_ros.processes import Child, children, free_domain, signals_interrupt

#: A child with a child of its own, which tells both pids, then behaves as told.
FAMILY = """
import os, signal, subprocess, sys, time
{handling}
child = subprocess.Popen([sys.executable, "-c", "{inner}import time; time.sleep(300)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(300)
"""
POLITE = FAMILY.format(handling="", inner="")
DEAF_LINES = (
    "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)"
)
DEAF = FAMILY.format(handling=DEAF_LINES, inner=f"import signal; {DEAF_LINES}; ")


def _pids(log: Path) -> list[int]:
    end = time.monotonic() + 20
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < end, "the family did not start"
        time.sleep(0.02)
    return [int(word) for word in log.read_text().split()[:2]]


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _wait_for_end(pids: list[int]) -> None:
    end = time.monotonic() + 20
    while any(map(_lives, pids)):
        assert time.monotonic() < end, f"{pids} still live"
        time.sleep(0.02)


@pytest.mark.parametrize("script", [POLITE, DEAF], ids=["polite", "deaf"])
def test_the_whole_family_ends_on_leaving(tmp_path, monkeypatch, script):
    monkeypatch.setattr(
        processes, "ENDINGS", ((signal.SIGINT, 1.0), (signal.SIGTERM, 0.5), (signal.SIGKILL, 5.0))
    )
    log = tmp_path / "log"

    def work() -> None:
        with children() as running:
            running.append(Child("family", [sys.executable, "-c", script], log=log))
            assert all(map(_lives, _pids(log)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    pids = _pids(log)
    assert not any(map(_lives, pids))


def test_it_ends_when_we_are_killed(tmp_path):
    code = f"""
import sys, time; from pathlib import Path
from sarnn_ros.processes import Child
Child("family", [sys.executable, "-c", {POLITE!r}], log=Path({str(tmp_path / "log")!r}))
time.sleep(300)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    first, second = _pids(tmp_path / "log")
    parent.kill()
    parent.wait()
    _wait_for_end([first])
    os.kill(second, signal.SIGKILL)  # nobody else ends a child's child


def test_a_dead_child_is_reported_with_its_log(tmp_path):
    log = tmp_path / "logs.txt"
    with children() as running:
        child = Child("arm", [sys.executable, "-c", "raise SystemExit('no policy here')"], log=log)
        running.append(child)
        assert child.wait() == 1
        with pytest.raises(EnvironmentProblem, match="no policy here") as caught:
            child.check()
    assert "'arm' ended with code 1" in str(caught.value)
    assert str(log) in str(caught.value)


def test_a_running_child_is_no_failure(tmp_path):
    with children() as running:
        child = Child("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"])
        running.append(child)
        child.check()
        assert child.code is None
    assert child.code is not None


@pytest.fixture
def handled_by():
    """Set what becomes of a signal; the tests themselves may run under nohup."""
    before = {}

    def handle(number, handler):
        before.setdefault(number, signal.getsignal(number))
        signal.signal(number, handler)

    yield handle
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_interrupt_too(number, handled_by):
    handled_by(number, signal.SIG_DFL)

    def work() -> None:
        with signals_interrupt():
            os.kill(os.getpid(), number)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert signal.getsignal(number) is signal.SIG_DFL


def test_nohup_stays_nohup(handled_by):
    handled_by(signal.SIGHUP, signal.SIG_IGN)
    with signals_interrupt():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_the_environment_of_a_child_is_the_one_given(tmp_path):
    log = tmp_path / "log"
    script = "import os; print(os.environ['SARNN_TEST'])"
    with children() as running:
        env = {**os.environ, "SARNN_TEST": "seen"}
        running.append(Child("env", [sys.executable, "-c", script], env=env, log=log))
        assert running[0].wait() == 0
    assert log.read_text() == "seen\n"


def test_a_domain_in_use_is_not_chosen():
    def taken_by(one: socket.socket, domain: int) -> bool:
        with contextlib.suppress(OSError):
            one.bind(("", 7410 + 250 * domain))
            return True
        return False

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        # Ports that Linux does not hand out by itself, of domains that no other test uses.
        domain = next(number for number in range(50, 80) if taken_by(one, number))
        with pytest.raises(EnvironmentProblem, match="--domain-id"):
            free_domain([domain])
    assert free_domain([domain]) == domain
