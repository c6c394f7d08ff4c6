# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page of `sarnn web` in a real browser, headless, with the real node, recorder and a robot.

Needs Chromium and playwright (make test-web).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

try:
    from playwright.sync_api import expect, sync_playwright
except ModuleNotFoundError:
    sync_playwright = None
from led_lesson import Led
from page_client import Page
from ros_testing import JOINTS, start_recorder, unchanged, wait_until
from signalling import stop_while_it_waits

from sarnn_ros.data.bags import label_of

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_by_one"),
    pytest.mark.skipif(
        CHROMIUM is None or sync_playwright is None,
        reason="needs Chromium (apt-get install chromium) and playwright (make test-web)",
    ),
]

START = (0.3, 0.3, 0.3)
TIMEOUT_MS = 30_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox"],  # root in a container has none
            env={k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"},
        )
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """A page of a fresh profile; an error in its script fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    tab = context.new_page()
    tab.set_default_timeout(TIMEOUT_MS)
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    yield tab
    context.close()
    assert errors == []


def until(tab: Any, selector: str, pattern: str) -> None:
    """Until the element says so. Through playwright, whose events come only while it waits."""
    expect(tab.locator(selector)).to_have_text(re.compile(pattern), timeout=TIMEOUT_MS)


def colored(tab: Any, canvas: str) -> int:
    """Pixels that are drawn on."""
    code = """id => {
        const canvas = document.getElementById(id), draw = canvas.getContext("2d");
        const { data } = draw.getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((value, index) => index % 4 === 3 && value).length;
    }"""
    return int(tab.evaluate(code, canvas))


def test_a_person_runs_the_robot_with_it(
    tab, launch, start_node, make_robot, make_policy, wait, graph
):
    robot = make_robot(JOINTS, START)
    node = start_node(policy=make_policy(p99=2.0), start_on_activate=False)
    page = Page(launch)
    topic = "/sarnn/attention_overlay/compressed"
    tab.goto(page.url)
    until(tab, "#doing", "^stopped$")
    until(tab, "#why", "call ~/start")
    picture = tab.locator("#pictures canvas:not(.old)")
    picture.wait_for()
    assert picture.evaluate("canvas => canvas.width") >= 64
    first = picture.get_attribute("data-number")
    expect(picture).not_to_have_attribute("data-number", first, timeout=TIMEOUT_MS)
    # Nothing moves before the question is answered with yes.
    tab.click("[data-do=start]")
    tab.click("#no")
    robot.catch_up()
    assert not robot.commands and not page.state()["calls"]
    tab.click("[data-do=start]")
    tab.click("#yes")
    until(tab, "#doing", "^commanding$")
    until(tab, "#calls li >> nth=0", "start: started")
    wait_until(lambda: len(robot.commands) >= 20, lambda: node.output)
    until(tab, "#timing", "of 10 Hz")
    until(tab, "#health", r"\d\.\d\d .*points:front")
    assert colored(tab, "scores") > 500 and colored(tab, "latencies") > 500
    # Stop asks nothing, and needs no answer to another question; a key is enough.
    tab.click("[data-do=start]")
    tab.locator("#yes").wait_for()
    tab.click("#stop")
    until(tab, "#doing", "^stopped$")
    expect(tab.locator("#yes")).to_be_hidden()
    tab.click("[data-do=start]")
    tab.click("#yes")
    until(tab, "#doing", "^commanding$")
    tab.click("[data-do=start]")
    tab.keyboard.press("Escape")
    until(tab, "#doing", "^stopped$")
    expect(tab.locator("#yes")).to_be_hidden()
    robot.catch_up()
    sent = len(robot.commands)
    # Why it holds.
    tab.click("#dry")
    until(tab, "#doing", r"^stopped \(dry run\)$")
    assert tab.is_checked("#dry")
    robot.mutate_image = lambda message: []
    tab.click("[data-do=start]")
    tab.click("#yes")
    until(tab, "#doing", r"^holding \(dry run\)$")
    until(tab, "#why", "s old, at most")
    tab.click("#stop")
    until(tab, "#doing", r"^stopped \(dry run\)$")
    robot.catch_up()
    assert len(robot.commands) == sent
    # Once nobody looks, nothing is drawn; and once nobody answers, the page says so.
    wait_until(lambda: graph.node.count_subscribers(topic) == 1, "it looks")
    stop_while_it_waits(node.pid)
    until(tab, "#doing", "nothing heard from /sarnn for")
    until(tab, "#timing", "^$")  # nothing that is old is shown as if it were not
    os.kill(node.pid, signal.SIGCONT)
    until(tab, "#doing", r"^stopped \(dry run\)$")
    tab.click("#dry")
    tab.click("#yes")
    until(tab, "#doing", "^stopped$")
    # What a server that hung did not take in time does not move the robot later.
    robot.mutate_image = unchanged
    robot.catch_up()
    sent = len(robot.commands)
    stop_while_it_waits(page.process.pid)
    tab.click("[data-do=start]")
    tab.click("#yes")
    until(tab, "#calls li >> nth=0", "start: no answer of the web server")
    tab.locator("#lost").wait_for()
    os.kill(page.process.pid, signal.SIGCONT)
    tab.locator("#lost").wait_for(state="hidden")
    tab.wait_for_timeout(1000)
    until(tab, "#doing", "^stopped$")
    robot.catch_up()
    assert len(robot.commands) == sent
    assert page.process.stop() == 0
    tab.locator("#lost").wait_for()
    wait_until(lambda: graph.node.count_subscribers(topic) == 0, "it is gone")


def test_a_person_records_with_it_and_stops_whatever_hangs(
    tab, launch, start_node, policy, make_robot, tmp_path
):
    robot = make_robot(JOINTS, START)
    start_node(policy=policy)
    recorder, out = start_recorder(launch, tmp_path)
    page = Page(launch, "--token", "0123456789abcdef")
    assert tab.goto(page.base).status == 401
    tab.goto(page.url)
    until(tab, "#recorder", "^not recording .*image_raw (2[5-9]|3)")
    assert "token" not in tab.url
    tab.click("[data-do=episode_start]")
    until(tab, "#recorder", "^recording episode_000")
    tab.click("[data-do=episode_success]")
    until(tab, "#calls li >> nth=0", "episode_000 is a success")
    assert label_of(out / "episode_000") == "success"
    until(tab, "#doing", "^commanding$")
    stop_while_it_waits(recorder.pid)
    try:
        for action in ("start", "stop", "success", "failure"):
            tab.click(f"[data-do=episode_{action}]")
        until(tab, "#calls", "no answer yet")
        tab.click("#stop")
        until(tab, "#doing", "^stopped$")
        robot.catch_up()
        sent = len(robot.commands)
        until(tab, "#calls li >> nth=0", "stop: stopped")
        robot.catch_up()
        assert len(robot.commands) == sent
    finally:
        os.kill(recorder.pid, signal.SIGCONT)


def test_a_person_teaches_with_it(tab, launch, policy, make_robot, tmp_path):
    robot = make_robot(JOINTS, START)
    led = Led(launch, tmp_path, policy)
    tab.goto(led.page.url)
    until(tab, "#lines li >> nth=0", "next: see what policy_1 would do")
    assert not tab.is_visible("[data-do=start]"), "the lesson starts the robot"
    assert not tab.is_enabled("[data-do=lesson_end_run]")
    tab.click("[data-do=lesson_train]")
    until(tab, "#lines li.no >> nth=0", "there is no recording to train on")
    tab.click("[data-do=lesson_run]")
    tab.click("#yes")
    until(tab, "#lesson", "^policy_1 runs")
    until(tab, "#lines li >> nth=0", "space ends it, t takes over")
    wait_until(lambda: len(robot.commands) >= 5, lambda: led.process.output)
    assert not tab.is_enabled("[data-do=lesson_train]")
    assert tab.is_enabled("[data-do=lesson_end_run]") and tab.is_enabled("#stop")
    tab.keyboard.press("Escape")
    until(tab, "#lines", "has it done the task")
    robot.catch_up()
    sent = len(robot.commands)
    tab.click("[data-do=episode_failure]")
    until(tab, "#lines li >> nth=0", "0 of 1")
    robot.catch_up()
    assert len(robot.commands) == sent
    # The lesson has ended: the page is as before.
    assert led.process.stop() == 0
    tab.locator("[data-do=start]").wait_for()
    assert not tab.is_visible("#lines") and tab.is_enabled("[data-do=episode_stop]")
