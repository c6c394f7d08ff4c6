# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: what was not in time while the machine had no core for anybody begins again,
and is told.

A node that gets no core for longer than joint states may be old holds, or latches a fault, as it
must; the test that waits for its commands then fails without a fault of anybody. `witness.py` sees
such gaps. Without one, a failure is a failure. And so it is beside a gap, unless something that
was waited for did not come (`in_time.py`), or the test's fixtures could not be made: that a node
does what it must not is never excused.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from in_time import is_not_in_time
from witness import Gap, Witness

#: A test begins anew so many times.
MOST_RERUNS = 2


class Reruns:
    """For the tests in these folders. One witness per process that runs tests."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._witness: Witness | None = None
        self._timeout: Any = None
        #: By file, when its fixtures were made that all its tests share.
        self._rigs: dict[str, list[tuple[float, float]]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Any:
        if not any(item.path.is_relative_to(folder) for folder in self._folders):
            return None
        if self._witness is None:
            self._witness = Witness()
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._run(item, nextitem):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[Any]:
        """The last attempt's reports, and before them those of each one that is excused."""
        before: list[Any] = []
        for left in range(MOST_RERUNS, -1, -1):
            start = time.monotonic()
            # What the session shares is needed again if the last test begins anew.
            following: Any = nextitem or item.session
            reports: list[Any] = runtestprotocol(item, log=False, nextitem=following)
            failed = [report for report in reports if report.failed]
            excused = failed and all(report.excusable for report in failed)
            gaps = self._gaps_that_concern(item, start) if excused else []
            if not gaps:
                break
            told = describe(gaps, start)
            if left == 0:
                failed[0].sections.append(("witness", f"{told}, and it began anew before"))
                break
            spoilt = self._prepare(item)
            if spoilt is not None:
                told += f"; what was there did not end well: {brief(spoilt)}"
                if not is_not_in_time(spoilt):
                    failed[0].sections.append(("witness", told))
                    break
            for report in failed:
                report.outcome, report.witness = "rerun", f"{told}; {report.failure}"
            before += failed
        return [*before, *reports]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Any:
        report = yield
        report.excusable, report.failure = False, ""
        if call.excinfo is not None:
            error = call.excinfo.value
            report.failure = brief(error)
            report.excusable = call.when == "setup" or is_not_in_time(error)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, request: Any) -> Any:
        start = time.monotonic()
        try:
            return (yield)
        finally:
            if request.scope == "module":
                self._rigs.setdefault(request.node.nodeid, []).append((start, time.monotonic()))

    def _gaps_that_concern(self, item: pytest.Item, start: float) -> list[Gap]:
        """Those during the test, or when what it shares with its file was made."""
        spans = [*self._rigs.get(_file(item), []), (start, time.monotonic())]
        return [
            gap
            for gap in self._gaps(min(begin for begin, _ in spans))
            if any(gap.start < end and begin < gap.end for begin, end in spans)
        ]

    def _gaps(self, since: float) -> list[Gap]:
        assert self._witness is not None
        return self._witness.gaps(since)

    def _prepare(self, item: pytest.Item) -> BaseException | None:
        """For a new attempt: a new rig, and a new time limit. What went wrong, if any."""
        spoilt: BaseException | None = None
        self._rigs.pop(_file(item), None)
        try:
            # All but the session: what the file's tests share may be what the gap has spoilt.
            item.session._setupstate.teardown_exact(item.session)  # type: ignore[arg-type]
        except (KeyboardInterrupt, SystemExit, pytest.exit.Exception):
            raise
        except BaseException as error:  # also a group of what pytest.fail raises
            spoilt = error
        if self._timeout is not None:
            hook = item.config.hook
            hook.pytest_timeout_cancel_timer(item=item)
            hook.pytest_timeout_set_timer(item=item, settings=self._timeout)
        return spoilt

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_set_timer(self, settings: Any) -> None:
        self._timeout = settings

    def pytest_sessionfinish(self) -> None:
        if self._witness is not None:
            self._witness.close()

    def pytest_report_teststatus(self, report: Any) -> Any:
        if report.outcome == "rerun":
            return "rerun", "R", ("RERUN", {"yellow": True})
        return None

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        reports = terminalreporter.stats.get("rerun", [])
        if reports:
            terminalreporter.section("began anew: the machine had no core for anybody")
        for report in reports:
            terminalreporter.line(f"{report.nodeid} ({report.when}): {report.witness}")


def _file(item: pytest.Item) -> str:
    module = item.getparent(pytest.Module)
    assert module is not None
    return module.nodeid


def brief(error: BaseException) -> str:
    """Its type, and its first line if it has one."""
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first[:200]}"


def describe(gaps: list[Gap], start: float) -> str:
    """In a line: how many, and the longest one."""
    longest = max(gaps, key=lambda gap: gap.waited)
    more = f", the longest of {len(gaps)}" if len(gaps) > 1 else ""
    if longest.end <= start:
        return f"a gap of {longest.waited:.2f} s{more} when its fixtures were made"
    after = max(0.0, longest.start - start)
    return f"a gap of {longest.waited:.2f} s{more}, {after:.1f} s after its begin"
