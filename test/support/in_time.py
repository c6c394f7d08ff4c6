# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a machine without a free core can do to a test: something does not come in time. An own
type of failure, since `reruns` excuses it beside a gap, and no other one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest


class NotInTime(AssertionError):
    """Something that should come did not. Never: something came that must not."""


def assert_in_time(came: Any, what: Any) -> None:
    """For what a node that got no core rightly leaves out, as a command or a trial's end.

    :raises NotInTime: naming `what`, if it did not come.
    """
    if not came:
        raise NotInTime(f"not in time: {what}")


def is_not_in_time(error: BaseException) -> bool:
    """Whether nothing else went wrong: in no part of a group, and in nothing that failed before,
    and during whose handling this was raised."""
    if parts := _parts(error):
        mild = all(map(is_not_in_time, parts))
    else:
        mild = isinstance(error, (NotInTime, subprocess.TimeoutExpired))
    return mild and not any(map(_is_a_failure, _before(error)))


def _is_a_failure(error: BaseException) -> bool:
    if _parts(error):
        return not is_not_in_time(error)
    failures = (AssertionError, pytest.fail.Exception)
    return isinstance(error, failures) and not isinstance(error, NotInTime)


def _parts(error: BaseException) -> tuple[BaseException, ...]:
    """Of a BaseExceptionGroup, which Python 3.10 does not know."""
    return getattr(error, "exceptions", ())


def _before(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    before = error.__context__
    while before is not None and id(before) not in seen:
        seen.add(id(before))
        yield before
        before = before.__context__
