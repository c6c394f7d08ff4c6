# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A person teaches an arm with `sarnn teach`, from an empty folder: by keys on a terminal, and one
run from the page.

The trainings are tokens: that rounds make a policy better is shown elsewhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from cell import ARM, CAMERAS, COMMANDS, SPACE, Cell
from page_client import Page
from ros_testing import Graph, Launcher, wait_until
from terminal import Terminal

from sarnn_ros.data.teaching import Lesson
from sarnn_ros.policy.directory import load_config
from sarnn_ros.spec import dump_spec, parse_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

LEADER = f"{SPACE}/leader"
DEMONSTRATIONS = 8
SETTINGS = ("epochs=2", "inner_steps=2", "batch_size=8", "threads=1", "k_dim=3")
NODE = (
    "-r", f"joint_command:={COMMANDS}", "-p", "command_interface:=joint_trajectory",
    "-p", "watch.max_gap:=10.0", "-p", f"takeover.command_topic:={LEADER}",
    "-p", "takeover.max_age:=1.0", "-p", "start.margin:=1.0",
    "-p", "start_on_activate:=true",  # which counts for nothing in a lesson
    # What a token policy predicts may lie beyond what was shown.
    *(w for check in ("position", "step", "velocity", "acceleration")
      for w in ("-p", f"guard.on_{check}:=clamp")),
)  # fmt: skip


@pytest.fixture
def cell(graph: Graph) -> Iterator[Cell]:
    made = Cell(graph)
    yield made
    made.close()


class Person:
    """At the keys of `sarnn teach`."""

    def __init__(self, folder: Path, spec: Path, environment: dict[str, str]) -> None:
        words = ["teach", str(folder), "--spec", str(spec), "--no-background"]
        for setting in SETTINGS:
            words += ["--set", setting]
        self.terminal = Terminal(
            [sys.executable, "-m", "sarnn_ros.cli.main", *words, "--", *NODE],
            {**environment, "TERM": "dumb", "COLUMNS": "300", "OMP_NUM_THREADS": "1"},
        )

    @property
    def said(self) -> str:
        """Since the last key; a terminal breaks lines anywhere."""
        self.terminal.says("")
        return " ".join(self.terminal.output.split())

    def reads(self, text: str, seconds: float = 60.0) -> str:
        wait_until(lambda: text in self.said, lambda: f"'{text}' of {self.said}", seconds)
        return self.said

    def types(self, key: str, answer: str, seconds: float = 60.0) -> str:
        self.terminal.output = ""
        self.terminal.type(key)
        return self.reads(answer, seconds)


@pytest.fixture
def begin(environment: dict[str, str]) -> Iterator[Callable[[Path, Path], Person]]:
    """A session, which ends with the test in any case: its nodes would disturb other tests."""
    people: list[Person] = []

    def start(lesson: Path, spec: Path) -> Person:
        people.append(Person(lesson, spec, environment))
        return people[-1]

    yield start
    for person in people:
        person.terminal.kill()


def test_a_robot_is_taught(
    cell: Cell,
    graph: Graph,
    begin: Callable[[Path, Path], Person],
    launch: Launcher,
    tmp_path: Path,
) -> None:
    lesson, spec = tmp_path / "lesson", tmp_path / "spec.yaml"
    # On a busy machine the robot's messages have gaps, which are not what this is about.
    cameras = [
        {"name": f"camera{row}", "topic": topic, "width": 64, "height": 48, "max_age": 2.0}
        for row, topic in enumerate(CAMERAS)
    ]
    observed = {
        "rate": 10.0, "clock": "receive", "cameras": cameras,
        "joints": [{"topic": f"{SPACE}/joint_states", "names": list(ARM), "max_age": 2.0}],
        "command": {"topic": COMMANDS, "type": "trajectory_msgs/msg/JointTrajectory"},
    }  # fmt: skip
    spec.write_text(dump_spec(parse_spec(observed)))

    person = begin(lesson, spec)
    assert "record 10 more demonstrations" in person.reads("next: ")
    person.types("g", "there is no policy yet")
    person.types("n", "there is no recording to train on")

    def check_topics() -> None:
        """As often as it takes, at the pace of a person."""
        wait_until(ready, lambda: f"{person.said}; {cell.describe()}")

    def ready() -> bool:
        person.terminal.output = ""
        person.terminal.type("p")
        wait_until(lambda: "error" in person.said or "alive" in person.said, lambda: person.said)
        is_ready = "every topic is alive" in person.said
        if not is_ready:
            time.sleep(0.2)
        return is_ready

    check_topics()
    for _ in range(DEMONSTRATIONS):
        person.types(" ", "recording episode_")
        cell.demonstrate()
        person.types("s", "is a success")
    person.types("n", "has begun")
    person.types("n", "a training is under way")
    person.reads("policy_1 is trained", 240.0)

    # Cut off in the middle of an episode.
    person.types(" ", "recording episode_")
    cell.demonstrate()
    person.terminal.kill()
    person = begin(lesson, spec)
    person.reads("next: see what policy_1 would do")

    cell.leave(LEADER)
    person.types("y", "policy_1 says what it would do", 90.0)
    count = len(cell.commands)  # the leader's last one may have come late
    person.types(" ", "the dry run has ended")
    assert len(cell.commands) == count

    def runs() -> None:
        check_topics()
        person.types("g", "policy_1 runs")
        wait_until(lambda: len(cell.commands) > 5, lambda: person.said)

    runs()
    wait_until(lambda: taken_over(person), lambda: person.said)
    cell.demonstrate()
    person.types("t", "the policy leads")
    assert "you took over: it is a correction" in person.types(" ", "has it done the task?")
    person.types("s", "is a success")
    cell.bring_home()  # since the hand-back the policy went wherever it liked
    cell.commands.clear()
    # The next one from the page; the terminal says the same.
    person.terminal.output = ""
    page = Page(launch)
    wait_until(lambda: "lesson_run" in page.state()["possible"], lambda: str(page.state()))
    page.order("lesson_run")
    person.reads("policy_1 runs")
    wait_until(lambda: len(cell.commands) > 5, lambda: person.said)
    page.order("stop")
    assert "correction" not in person.reads("has it done the task?")
    page.order("episode_failure")
    person.reads("0 of 2")
    assert page.process.stop() == 0

    person.types("n", "has begun")
    assert "policy_2" in person.reads("is trained", 240.0)
    family = psutil.Process(person.terminal.pid).children(recursive=True)
    assert family, "the inference node"
    person.terminal.type("q")
    assert person.terminal.end() == 0
    assert not psutil.wait_procs(family, 20)[1]

    kept = Lesson(lesson)
    assert kept.score("policy_1").trials == 2 and not kept.score("policy_1").successes
    names = {name.partition("/")[0] for name in trained_on(kept)}
    assert "episode_009" in names, "the correction"
    assert load_config(lesson / "policy_1").training["searched"]


def taken_over(person: Person) -> bool:
    """By the key, as often as it takes: the leader must be near the arm, and be heard."""
    person.terminal.output = ""
    person.terminal.type("t")
    answers = ("a person leads from", "error", "not taken over")
    wait_until(lambda: any(map(person.terminal.says, answers)), lambda: person.said)
    return person.terminal.says("a person leads from")


def trained_on(lesson: Lesson) -> set[str]:
    told = load_config(lesson.policy(2)).training["names"]
    return {*told["training"], *told["validation"]}
