# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What begins anew, and what does not: a pytest of its own with the plugin of the DDS tests."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from reruns import MOST_RERUNS
from witness import MAX_WAIT_S, Witness

pytest_plugins = ["pytester"]

CONFTEST = """
import os
from pathlib import Path
from reruns import Reruns
from witness import Gap

class Faked(Reruns):
    def _gaps(self, since):
        super()._gaps(since)
        return [Gap(since + 1, since + 1.6, 0.5)] if "GAP" in os.environ else []

def pytest_configure(config):
    config.pluginmanager.register(Faked(Path(__file__).parent / "ros"))
"""

#: Two files. A test fails in its first attempts, as many as FAILURES says. `made` counts the rigs.
TESTS = """
import os
from pathlib import Path
import pytest

FILE = Path(__file__)

def count(name):
    path = FILE.with_suffix(f".{name}")
    before = int(path.read_text()) if path.exists() else 0
    path.write_text(str(before + 1))
    return before

@pytest.fixture(scope="session")
def once():
    return count("once")

@pytest.fixture(scope="module")
def rig(once):
    assert once == 0
    return count("rigs")

@pytest.fixture(scope="module")
def broken_rig():
    assert count("broken") >= int(os.environ["FAILURES"]) or "setup" not in os.environ["WHERE"]

@pytest.fixture
def cleaned():
    yield
    assert count("cleaned") >= int(os.environ["FAILURES"]) or "end" not in os.environ["WHERE"]

def test_before(rig):
    assert rig == 0

def test_it(rig, broken_rig, cleaned):
    attempt = count("calls")
    assert attempt >= int(os.environ["FAILURES"]) or "call" not in os.environ["WHERE"]
    if "GAP" in os.environ and "call" in os.environ["WHERE"]:
        assert rig == attempt, "the rig is another one in every attempt"

def test_after(rig):
    pass
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Runs it in processes of its own."""
    support = str(Path(__file__).parents[1] / "support")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([support, os.environ.get("PYTHONPATH", "")]))
    pytester.makeconftest(CONFTEST)

    def run(failures: int, *arguments: str, gap: bool, where: str = "call") -> pytest.RunResult:
        for folder, name in (("ros", "test_one"), ("ros", "test_two"), ("unit", "test_three")):
            path = pytester.path / folder / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(TESTS)
        monkeypatch.setenv("FAILURES", str(failures))
        monkeypatch.setenv("WHERE", where)
        if gap:
            monkeypatch.setenv("GAP", "1")
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-ra", *arguments, "ros")

    return run


@pytest.mark.parametrize("where", ["setup", "call", "end"])
@pytest.mark.parametrize("workers", [[], ["-n", "2", "--dist", "loadfile"]], ids=["one", "two"])
def test_what_failed_beside_a_gap_begins_anew(run, workers: list[str], where: str) -> None:
    result = run(1, *workers, gap=True, where=where)
    assert result.ret == 0
    assert result.parseoutcomes() == {"passed": 6, "rerun": 2}
    kind = {"setup": "setup", "call": "call", "end": "teardown"}[where]
    for name in ("one", "two"):
        result.stdout.fnmatch_lines(
            [f"ros/test_{name}.py::test_it ({kind}): a gap of 0.50 s, 1.0 s after its begin"]
        )


def test_twice_at_most(run) -> None:
    assert MOST_RERUNS == 2
    assert run(2, gap=True).parseoutcomes() == {"passed": 6, "rerun": 4}


def test_what_always_fails_has_failed(run) -> None:
    result = run(9, gap=True)
    assert result.ret == 1
    assert result.parseoutcomes() == {"passed": 4, "failed": 2, "rerun": 4}
    result.stdout.fnmatch_lines(["a gap of 0.50 s*, and it began anew before"])


def test_without_a_gap_a_failure_is_a_failure(run) -> None:
    result = run(1, gap=False)
    assert result.ret == 1
    assert result.parseoutcomes() == {"passed": 4, "failed": 2}
    result.stdout.no_fnmatch_line("*began anew*")


def test_unit_tests_have_no_second_attempt(run, pytester: pytest.Pytester) -> None:
    result = run(1, "unit", gap=True)
    assert result.parseoutcomes() == {"passed": 8, "rerun": 2, "failed": 1}


def test_a_new_attempt_has_all_its_time(run, pytester: pytest.Pytester) -> None:
    """pytest-timeout would end the whole process."""
    slow = TESTS.replace("attempt = count", "import time; time.sleep(1.2); attempt = count")
    (pytester.path / "ros").mkdir()
    (pytester.path / "ros" / "test_slow.py").write_text(slow)
    result = run(2, "--timeout=3", "--timeout-method=thread", "-k", "slow", gap=True)
    assert result.parseoutcomes() == {"passed": 3, "rerun": 2, "deselected": 6}


def test_the_witness_sees_that_it_had_no_core() -> None:
    witness = Witness()
    try:
        witness.gaps(0)  # it has begun
        start = time.monotonic()
        os.kill(witness.pid, signal.SIGSTOP)
        time.sleep(4 * MAX_WAIT_S)
        os.kill(witness.pid, signal.SIGCONT)
        gaps = witness.gaps(start)
        longest = max(gaps, key=lambda gap: gap.waited)
        assert longest.waited > 3 * MAX_WAIT_S
        assert longest.start < start + MAX_WAIT_S < longest.end
        assert longest not in witness.gaps(longest.end)
    finally:
        witness.close()
