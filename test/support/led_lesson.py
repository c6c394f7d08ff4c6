# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn teach` without a terminal, with a policy that is there, and a user of its page."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from page_client import Page
from ros_testing import Process, small_spec, wait_until

from sarnn_ros.data.teaching import Lesson
from sarnn_ros.spec import dump_spec


class Led:
    """The lesson, its process and its page.

    :param launch: starts processes.
    :param policy: becomes the lesson's.
    """

    def __init__(self, launch: Callable[..., Process], folder: Path, policy: Path) -> None:
        self.lesson = Lesson(folder / "lesson")
        shutil.copytree(policy, self.lesson.policy(1))
        spec = folder / "spec.yaml"
        spec.write_text(dump_spec(small_spec()))
        self.process = launch(
            sys.executable, "-m", "sarnn_ros.cli.main", "teach", str(self.lesson.folder),
            "--spec", str(spec), "--", "-p", "watch.max_gap:=10.0", COLUMNS="1000",
        )  # fmt: skip
        self.page = Page(launch)
        wait_until(lambda: "episode_start" in self.possible, lambda: self.process.output)

    @property
    def possible(self) -> list[str]:
        return list(self.page.state()["possible"])

    @property
    def text(self) -> str:
        """What the lesson does, as the page shows it."""
        return str(self.page.state()["parts"]["lesson"]["text"])

    @property
    def lines(self) -> list[str]:
        """What the page shows, the newest first."""
        values = self.page.state()["parts"]["lesson"]["values"]
        return [text for key, text in values.items() if key.startswith("line ")]

    def hears_the_robot(self) -> None:
        """Wait until every topic is alive."""

        def alive() -> bool:
            self.page.do("episode_check")
            return any("every topic is alive" in line for line in self.lines)

        wait_until(alive, lambda: str(self.lines))

    def reads(self, text: str) -> None:
        wait_until(
            lambda: any(text in line for line in self.lines), lambda: f"{text}: {self.lines}"
        )

    def presses(self, action: str, text: str) -> None:
        self.page.order(action)
        self.reads(text)
