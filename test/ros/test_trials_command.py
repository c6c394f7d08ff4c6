# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn trials` on a terminal, with the real node and a robot: two policies, and a kill."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from ros_testing import JOINTS, TIMEOUT, Graph, Process
from terminal import Terminal

from sarnn_ros.data.trials import PARAMETERS
from sarnn_ros.policy.directory import digest, load_config
from sarnn_ros.ros.trial_robot import FINDING_SECONDS, TrialRobot

pytestmark = pytest.mark.usefixtures("one_by_one")

START = (0.3, 0.3, 0.3)


class Cell:
    """The node, its robot, and an operator at the terminal of `sarnn trials`."""

    def __init__(
        self, wait: Any, node: Process, robot: Any, folder: Path, environment: dict[str, str]
    ) -> None:
        self.wait, self.node, self.robot, self.folder = wait, node, robot, folder
        self._environment = {**environment, "TERM": "xterm", "COLUMNS": "200"}
        self.said = ""

    def sit_down(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "sarnn_ros.cli.main", "trials", str(self.folder)]
        self.terminal = Terminal([*command, *arguments], self._environment)

    def sit_beside(self) -> None:
        """Somebody gives the same command in another terminal."""
        command = [sys.executable, "-m", "sarnn_ros.cli.main", "trials", str(self.folder)]
        other = Terminal(command, self._environment)
        self.wait(lambda: other.says("another session"), lambda: other.output)
        assert other.end() == 1

    def hear(self, text: str) -> None:
        self.wait(
            lambda: self.terminal.says(text),
            lambda: f"{text!r} in\n{self.terminal.output}\nand\n{self.node.output}",
            timeout=FINDING_SECONDS + TIMEOUT,
        )
        heard, found, rest = self.terminal.output.partition(text)
        self.said += heard + found
        self.terminal.output = rest

    def begin(self, number: int, count: int) -> None:
        """Start a trial, and wait until the robot is commanded."""
        self.hear(f"trial {number} of {count}: put the object at '")
        self.hear("Enter: start")
        self.robot.reset()
        self.terminal.type("\n")
        self.wait(
            lambda: self.terminal.says("not started") or self.robot.commands,
            lambda: f"a command;\n{self.terminal.output}\nand\n{self.node.output}",
        )
        assert self.robot.commands, self.terminal.output

    def lines(self) -> list[dict[str, Any]]:
        file = self.folder / "trials.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def make_cell(
    policy: Path, start_node: Any, make_robot: Any, wait: Any, tmp_path: Path,
    environment: dict[str, str], request: pytest.FixtureRequest,
) -> Iterator[Callable[[], Cell]]:  # fmt: skip
    cells: list[Cell] = []

    def make() -> Cell:
        space = f"/{request.node.name.partition('[')[0]}/"
        robot = make_robot(JOINTS, START, namespace=space)
        node = start_node(
            "-r", f"__ns:={space.rstrip('/')}", policy=policy, start_on_activate=False
        )
        node.wait_for("active: stopped")
        cells.append(Cell(wait, node, robot, tmp_path / "trials", environment))
        return cells[-1]

    yield make
    for cell in cells:
        cell.terminal.kill()


def test_two_policies_killed_and_taken_up_again(
    make_cell: Any, make_policy: Any, policy: Path, graph: Graph
) -> None:
    paths = [str(policy), str(make_policy(seed=1))]
    cell = make_cell()
    node = f"{cell.robot.namespace}sarnn"
    arguments = ["--node", node]
    cell.sit_down(
        *arguments, "--policies", ",".join(paths), "--places", "left,right", "--repeats", "1",
        "--hidden", "0", "--seconds", "30",
    )  # fmt: skip
    cell.begin(1, 4)
    cell.terminal.type("s")
    cell.hear("success, after")
    cell.begin(2, 4)
    cell.terminal.type("f")
    cell.hear("failure, after")
    cell.begin(3, 4)
    kept = json.loads((cell.folder / PARAMETERS).read_text())["before"]
    assert kept["policy"] == str(policy) and kept["run_timeout"] == 0.0
    cell.terminal.kill()  # while the arm moves
    assert [line["label"] for line in cell.lines()] == ["success", "failure"]
    assert graph.trigger(f"{node}/stop").success

    cell.sit_down(*arguments)
    for number, key in ((3, "s"), (4, "s")):
        cell.begin(number, 4)
        assert not any(path in cell.said for path in paths)
        cell.terminal.type(key)
        cell.hear("success, after")
    cell.hear("Enter: the report   c: correct the last label")
    cell.terminal.type("c")
    cell.hear("the trial before is a failure now")
    cell.terminal.type("c")
    cell.hear("the trial before is a success now")
    cell.sit_beside()
    cell.terminal.type("\n")
    # Of four trials there is little to say; the names come now.
    cell.hear("does not say that one is better")
    cell.hear(f"page: {cell.folder / 'report.html'}")
    assert cell.terminal.end() == 0
    assert not (cell.folder / PARAMETERS).exists()
    request = GetParameters.Request(names=list(kept))
    values = graph.call(GetParameters, f"{node}/get_parameters", request).values
    assert dict(zip(kept, map(parameter_value_to_python, values))) == kept, "set back"
    *lines, shown = cell.lines()
    assert shown == {"names_shown_after": 4}
    assert [line["label"] for line in lines[4:]] == ["failure", "success"], "corrections"
    assert len(lines) == 6 and {line["policy"] for line in lines} == set(paths)
    assert {(line["place"], line["policy"]) for line in lines} == {
        (place, path) for place in ("left", "right") for path in paths
    }
    plan = yaml.safe_load((cell.folder / "trials.yaml").read_text())
    assert [one["path"] for one in plan["policies"]] == paths
    page = (cell.folder / "report.html").read_text()
    assert all(path in page for path in paths)
    # Where an operator might look, the node names the link only, until it is set back.
    loaded = [line for line in cell.node.output.splitlines() if "loaded: policy" in line]
    assert len(loaded) == 5 and all("under_trial'" in line for line in loaded)


def test_a_dry_run_that_an_operator_sets_meanwhile_stays(
    policy: Path, start_node: Any, make_robot: Any, graph: Graph, tmp_path: Path
) -> None:
    make_robot(JOINTS, START)
    node = start_node(policy=policy, start_on_activate=False)
    node.wait_for("active: ")
    robot = TrialRobot(graph.node, "/sarnn", threading.Event())

    def is_dry() -> bool:
        return bool(robot._parameters("dry_run")["dry_run"])

    robot.open(tmp_path / "before.json")
    robot.start_dry()
    assert is_dry()
    robot.end_dry()
    assert not is_dry()
    robot.load(policy, digest(load_config(policy)), 60.0)
    graph.set_parameter("/sarnn", "dry_run", True)
    robot.start_dry()
    robot.end_dry()
    assert is_dry()
    robot.close()
    assert is_dry()
