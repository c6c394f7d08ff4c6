# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What begins anew, and what does not: a pytest of its own with the plugin of the DDS tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from in_time import NotInTime, assert_in_time, is_not_in_time
from reruns import MOST_RERUNS, brief
from witness import MAX_WAIT_S, Witness

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup  # which pytest brings

pytest_plugins = ["pytester"]

CONFTEST = """
import os, time
from pathlib import Path
from reruns import Reruns
from witness import Gap

class Faked(Reruns):
    def _gaps(self, since):
        now, gap = time.monotonic(), os.environ["GAP"]
        super()._gaps(since)  # which may take its time
        if gap == "test":
            return [Gap(since, now, 0.5)]
        moments = [float(path.read_text()) for path in Path(__file__).parent.glob(f"ros/*.{gap}")]
        return [Gap(moment, moment + 1e-6, 0.5) for moment in moments]

def pytest_configure(config):
    config.pluginmanager.register(Faked(Path(__file__).parent / "ros"))
"""

FILES = ("ros/test_one.py", "ros/test_two.py", "unit/test_three.py")

#: Each of them. A test fails in its first attempts, as many as FAILURES says, where WHERE says so,
#: with the ERROR of that place, or as if something were not in time.
TESTS = """
import os, sys, time
from pathlib import Path
import pytest
from in_time import NotInTime

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

FILE = Path(__file__)
THERE, _, ERROR = os.environ["ERROR"].partition("=")

def check(attempt, where):
    if attempt < int(os.environ["FAILURES"]) and where in os.environ["WHERE"].split():
        raise eval(ERROR if where == THERE else "NotInTime()")

def count(name):
    path = FILE.with_suffix(f".{name}")
    before = int(path.read_text()) if path.exists() else 0
    path.write_text(str(before + 1))
    return before

@pytest.fixture(scope="session")
def once():
    return count("once")

def note(name):
    FILE.with_suffix(f".{name}").write_text(str(time.monotonic()))

@pytest.fixture(scope="module")
def rig(once):
    assert once == 0
    note("rig")
    made = count("rigs")
    yield made
    check(made, "rig-end")

@pytest.fixture(scope="module")
def broken_rig():
    check(count("broken"), "setup")

@pytest.fixture
def cleaned():
    yield
    check(count("cleaned"), "end")

def test_before(rig):
    assert rig == 0
    note("before")

def test_it(rig, broken_rig, cleaned):
    attempt = count("calls")
    check(attempt, "call")
    if os.environ["GAP"] == "test" and os.environ["WHERE"] == "call":
        assert rig == attempt, "the rig is another one in every attempt"

def test_after(rig):
    check(rig, "after")
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Runs it in processes of its own."""
    support = str(Path(__file__).parents[1] / "support")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others take a second to import
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([support, os.environ.get("PYTHONPATH", "")]))
    pytester.makeconftest(CONFTEST)

    def run(
        failures: int, *arguments: str, gap: str, where: str = "call", error: str = ""
    ) -> pytest.RunResult:
        paths = [pytester.path / name for name in FILES]
        for path in paths:
            shutil.rmtree(path.parent, ignore_errors=True)  # what was counted before
        for path in paths:
            path.parent.mkdir(exist_ok=True)
            path.write_text(TESTS)
        monkeypatch.setenv("FAILURES", str(failures))
        monkeypatch.setenv("WHERE", where)
        monkeypatch.setenv("GAP", gap)
        monkeypatch.setenv("ERROR", error)
        plugins = ("-p", "no:cacheprovider", "-p", "xdist.plugin", "-p", "pytest_timeout")
        return pytester.runpytest_subprocess(*plugins, "-ra", *arguments, "ros")

    return run


TWO = ["-n", "2", "--dist", "loadfile"]


@pytest.mark.parametrize(
    ("workers", "where"), [([], "setup"), ([], "call"), ([], "end"), (TWO, "call")]
)
def test_what_was_not_in_time_begins_anew(run, workers: list[str], where: str) -> None:
    result = run(1, *workers, gap="test", where=where)
    assert result.ret == 0
    assert result.parseoutcomes() == {"passed": 6, "rerun": 2}
    kind = {"setup": "setup", "call": "call", "end": "teardown"}[where]
    for name in ("one", "two"):
        result.stdout.fnmatch_lines(
            [f"ros/test_{name}.py::test_it ({kind}): a gap of 0.50 s, 0.0 s after its begin; No*"]
        )


@pytest.mark.parametrize("error", ["AssertionError('a command')", "ValueError()"])
def test_any_other_failure_is_one_beside_a_gap_too(run, error: str) -> None:
    result = run(1, gap="test", error=f"call={error}")
    assert result.parseoutcomes() == {"passed": 4, "failed": 2}


def test_an_error_of_a_fixture_is_excused(run) -> None:
    result = run(1, gap="test", where="setup", error="setup=ValueError('no node')")
    assert result.parseoutcomes() == {"passed": 6, "rerun": 2}
    result.stdout.fnmatch_lines(["*test_it (setup): *; ValueError: no node"])


def test_each_failure_of_a_test_is_kept(run) -> None:
    assert run(1, gap="test", where="call end").parseoutcomes() == {"passed": 6, "rerun": 4}
    result = run(1, gap="test", where="call end", error="end=AssertionError('a command')")
    assert result.ret == 1
    assert result.parseoutcomes() == {"passed": 4, "failed": 2, "errors": 2}


@pytest.mark.parametrize(
    ("error", "excused"),
    [
        ("NotInTime()", True),
        ("BaseExceptionGroup('',[NotInTime(),NotInTime()])", True),
        ("BaseExceptionGroup('',[NotInTime(),pytest.fail.Exception('')])", False),
        ("AssertionError()", False),
    ],
)
def test_what_a_rig_says_when_it_is_ended_is_kept(run, error: str, excused: bool) -> None:
    result = run(1, gap="test", where="call rig-end", error=f"rig-end={error}")
    outcomes = {"passed": 6, "rerun": 2} if excused else {"passed": 4, "failed": 2}
    assert result.parseoutcomes() == outcomes
    name = error.partition("(")[0].removeprefix("Base")
    result.stdout.fnmatch_lines([f"*what was there did not end well: *{name}: *"])


def test_twice_at_most(run) -> None:
    assert MOST_RERUNS == 2
    assert run(2, gap="test").parseoutcomes() == {"passed": 6, "rerun": 4}


def test_what_always_fails_has_failed(run) -> None:
    result = run(9, gap="test")
    assert result.ret == 1
    assert result.parseoutcomes() == {"passed": 4, "failed": 2, "rerun": 4}
    result.stdout.fnmatch_lines(["a gap of 0.50 s*, and it began anew before"])


def test_without_a_gap_a_failure_is_a_failure(run) -> None:
    result = run(1, gap="none")
    assert result.ret == 1
    assert result.parseoutcomes() == {"passed": 4, "failed": 2}
    result.stdout.no_fnmatch_line("*began anew*")


def test_a_gap_counts_that_was_when_its_rig_was_made(run) -> None:
    """And not one between, when another test of the file ran."""
    assert run(1, gap="rig", where="after").parseoutcomes() == {"passed": 6, "rerun": 2}
    assert run(1, gap="before", where="after").parseoutcomes() == {"passed": 4, "failed": 2}


def test_unit_tests_have_no_second_attempt(run, pytester: pytest.Pytester) -> None:
    result = run(1, "unit", gap="test")
    assert result.parseoutcomes() == {"passed": 8, "rerun": 2, "failed": 1}


def test_a_new_attempt_that_hangs_is_ended(run, pytester: pytest.Pytester) -> None:
    """After a failure pytest-timeout watches no more by itself."""
    again = "FILE.with_suffix('.calls').exists()"
    hangs = TESTS.replace("attempt = count", f"time.sleep(60 * {again}); attempt = count")
    (pytester.path / "more").mkdir()
    pytester.makeconftest(CONFTEST.replace('"ros"', '"more"'))
    (pytester.path / "more" / "test_hanging.py").write_text(hangs)
    start = time.monotonic()
    result = run(1, "more", "--timeout=3", "--timeout-method=thread", "-k", "hanging", gap="test")
    assert time.monotonic() - start < 50
    assert result.ret == 1
    assert "Timeout" in result.stdout.str() + result.stderr.str()


def test_what_is_not_in_time() -> None:
    assert is_not_in_time(NotInTime())
    assert is_not_in_time(subprocess.TimeoutExpired("sarnn", 1.0))
    assert not is_not_in_time(AssertionError())
    assert not is_not_in_time(pytest.fail.Exception(""))
    nested = ExceptionGroup("", [NotInTime(), ExceptionGroup("", [NotInTime()])])
    assert is_not_in_time(nested)
    assert not is_not_in_time(ExceptionGroup("", [nested, AssertionError()]))
    assert_in_time(True, "")
    with pytest.raises(NotInTime, match="a hold"):
        assert_in_time(False, "a hold")


@pytest.mark.parametrize("error", [AssertionError(), ExceptionGroup("", [AssertionError()])])
def test_a_failure_is_not_hidden_by_what_was_not_in_time_after_it(error: Exception) -> None:
    def fail() -> None:
        try:
            raise error
        finally:
            raise NotInTime

    with pytest.raises(NotInTime) as raised:
        fail()
    assert not is_not_in_time(raised.value)


def test_an_error_without_a_text_is_named() -> None:
    assert brief(AssertionError()) == "AssertionError: "
    assert brief(ValueError("one\ntwo")) == "ValueError: one"


@pytest.mark.parametrize("core", [0, -1])
def test_the_witness_sees_that_a_core_stood_still(core: int) -> None:
    witness = Witness()
    try:
        witness.gaps(0)  # it has begun
        start = time.monotonic()
        os.kill(witness.pids[core], signal.SIGSTOP)
        os.waitid(os.P_PID, witness.pids[core], os.WSTOPPED)
        stopped = time.monotonic()  # this process, too, may have been without a core
        time.sleep(4 * MAX_WAIT_S)
        to_go_on = time.monotonic()
        os.kill(witness.pids[core], signal.SIGCONT)
        gaps = witness.gaps(start)
        longest = max(gaps, key=lambda gap: gap.waited)
        assert longest.waited > 3 * MAX_WAIT_S
        assert longest.start <= stopped
        assert to_go_on <= longest.end
        assert longest not in witness.gaps(longest.end)
    finally:
        witness.close()
