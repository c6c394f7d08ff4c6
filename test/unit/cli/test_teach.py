# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What `sarnn teach` does where the node does not answer. A whole session is in test/system."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sarnn_ros.cli.teach import Teaching
from sarnn_ros.data.teaching import Lesson
from sarnn_ros.data.trials import NotDone


class Silent:
    """A node that answers nothing."""

    def stop(self) -> None:
        raise NotDone("no answer")

    end_dry = stop


@pytest.fixture
def session(tmp_path: Path) -> Teaching:
    recorder: Any = SimpleNamespace(
        session=SimpleNamespace(recording=True, stop=lambda: "kept episode_000")
    )
    robot: Any = Silent()
    return Teaching(Lesson(tmp_path), recorder, robot, [], Console(), threading.Event())


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_run_that_was_not_stopped_goes_on_for_the_keys(session: Teaching, dry_run: bool) -> None:
    process: Any = SimpleNamespace(code=None)
    session._inference, session._run = process, ("policy_1", dry_run)
    with pytest.raises(NotDone, match="no answer"):
        session.end_run("the operator ended it")
    assert session._run == ("policy_1", dry_run), "space stops it once more"
    process.code = 1  # it is gone, and the robot holds
    assert "ended" in session.end_run("its node is gone") and session._run is None


def test_what_a_run_was_is_asked_when_it_has_ended(session: Teaching) -> None:
    session._run = ("policy_1", False)
    session._led = True
    session._inference = SimpleNamespace(code=1)  # type: ignore[assignment]
    said = session.end_run("the operator ended it")
    assert "it is a correction; kept episode_000; has it done the task?" in said
