# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A lesson that is led from the page: `sarnn teach` without a terminal, and the buttons over HTTP.
The policy is there already; a session with trainings is in test/system."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from led_lesson import Led
from ros_testing import JOINTS

from sarnn_ros.data.bags import Bag, label_of
from sarnn_ros.data.places import PICTURE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_by_one")]

START = (0.3, 0.3, 0.3)


@pytest.fixture
def led(launch: Any, tmp_path: Path, policy: Path) -> Led:
    return Led(launch, tmp_path, policy)


def test_a_lesson_is_led_from_the_page(led: Led, make_robot: Any, wait: Any) -> None:
    robot = make_robot(JOINTS, START)
    assert any("next: see what policy_1 would do" in line for line in led.lines)
    led.presses("lesson_train", "error: there is no recording to train on")
    led.hears_the_robot()
    led.presses("episode_start", "recording episode_000")
    time.sleep(1.5)  # of a demonstration
    led.presses("episode_success", "episode_000 is a success")
    assert label_of(led.lesson.bags / "episode_000") == "success"

    led.presses("lesson_run", "policy_1 runs")
    wait(lambda: len(robot.commands) >= 5, lambda: str(led.lines))
    # Lines are told at once, what it does is looked at now and then.
    now = ["episode_takeover", "lesson_end_run", "lesson_advice"]
    wait(lambda: led.possible == now, lambda: str(led.possible))
    wait(lambda: "policy_1 runs" in led.text, lambda: led.text)
    refused = led.page.do("episode_stop")
    assert not refused["ok"] and "first end the run of policy_1" in refused["text"]
    assert led.page.do("stop")["ok"]
    led.reads("policy_1 has ended")
    robot.catch_up()
    sent = len(robot.commands)
    led.presses("episode_failure", "episode_001 is a failure")
    assert led.lesson.score("policy_1").trials == 1
    led.presses("lesson_run", "policy_1 runs")
    wait(lambda: len(robot.commands) > sent + 5, lambda: str(led.lines))
    led.presses("lesson_end_run", "the operator ended it; kept episode_002")
    # The same text at the terminal.
    assert all(line in led.process.output for line in led.lines)
    assert led.process.stop() == 0, led.process.output
    assert "Traceback" not in led.process.output


def test_nobody_leads_before_the_run_says_so(led: Led, make_robot: Any, wait: Any) -> None:
    """Who takes over too early is told, and the bag does not say that a person led."""
    robot = make_robot(JOINTS, START)
    led.hears_the_robot()
    led.page.order("lesson_run")

    def begun() -> bool:
        led.page.order("episode_takeover")
        return len(robot.commands) >= 5 or any("asked '" in line for line in led.lines)

    wait(begun, lambda: str(led.lines))
    led.presses("lesson_end_run", "the operator ended it; kept episode_000")
    with Bag(led.lesson.bags / "episode_000") as bag:
        assert bag.topics["/recorder/takeover"].count == 0


def test_a_stop_on_the_page_prevents_a_start_that_comes_later(
    led: Led, make_robot: Any, wait: Any
) -> None:
    robot = make_robot(JOINTS, START)
    led.hears_the_robot()  # or recording is refused before the stop is noticed
    led.presses("lesson_run", "the inference node is started")
    led.page.begin("stop")
    led.reads("was ended before it had started")
    wait(lambda: "lesson_run" in led.possible, lambda: str(led.lines))
    robot.catch_up()
    assert not robot.commands


def test_the_map_of_places_is_on_the_page_while_somebody_looks(led: Led, wait: Any) -> None:
    picture = np.full((8, 8, 3), 200, np.uint8)
    cv2.imwrite(str(led.lesson.bags / PICTURE), picture)

    def seen() -> bool:
        status, body = led.page.ask("/overlay?camera=map%20of%20places")
        if status != 200:
            return False
        shown = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        return bool((shown == picture).all())

    wait(seen, lambda: str(led.page.state()["cameras"]))
