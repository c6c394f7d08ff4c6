# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn web` over HTTP, with the real node, the real recorder and a robot."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hostile_clients import hostile_clients
from in_time import assert_in_time
from page_client import Page
from ros_testing import JOINTS, start_recorder
from signalling import state, stop_while_it_waits

from sarnn_ros.data.bags import label_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_by_one")]

START = (0.3, 0.3, 0.3)


@pytest.fixture
def robot(make_robot):
    return make_robot(JOINTS, START)


def ready(page, wait, doing="stopped"):
    wait(lambda: page.doing == doing, lambda: f"{doing}; {page.state()}")


def test_it_starts_and_stops_the_robot_and_says_why_it_holds(
    robot, launch, start_node, policy, wait
):
    node = start_node(policy=policy, start_on_activate=False)
    page = Page(launch)
    ready(page, wait)
    wait(lambda: page.do("start")["ok"], lambda: node.output)
    wait(lambda: len(robot.commands) >= 5, lambda: node.output)
    ready(page, wait, "commanding")
    found = page.state()
    assert found["scores"] and found["latencies"] and found["parts"]["timing"]["text"]
    assert [row for row in found["scores"] if row[0] > found["now"]] == []
    stopped = page.do("stop")
    assert stopped["ok"] and "stopped" in stopped["text"]
    ready(page, wait)
    # A camera that falls silent: why it holds, in the node's words.
    robot.mutate_image = lambda message: []
    assert page.do("start")["ok"]
    ready(page, wait, "holding")
    wait(
        lambda: "s old, at most" in page.state()["parts"]["control"]["text"],
        lambda: str(page.state()),
    )
    robot.catch_up()
    sent = len(robot.commands)
    assert page.do("reset")["ok"]
    ready(page, wait, "holding")
    robot.catch_up()
    assert_in_time(len(robot.commands) == sent, robot.commands[sent - 1 :])
    # The mode is changed by the parameter, and the node stops.
    assert page.do("dry_run_on")["ok"]
    ready(page, wait)
    assert page.state()["parts"]["control"]["values"]["dry_run"] == "True"
    robot.mend()
    sent = len(robot.commands)
    assert page.do("start")["ok"]
    ready(page, wait, "commanding")
    robot.catch_up()
    assert len(robot.commands) == sent
    assert page.do("dry_run_off")["ok"]
    ready(page, wait)


def test_a_picture_is_drawn_only_while_somebody_looks(
    robot, launch, start_node, policy, wait, graph
):
    topic = "/sarnn/attention_overlay/compressed"
    node = start_node(policy=policy, dry_run=True)
    page = Page(launch)
    wait(lambda: page.state()["cameras"] == [""], lambda: str(page.state()))
    assert graph.node.count_subscribers(topic) == 0
    pictures = set()

    def seen():
        status, body = page.ask("/overlay?camera=")
        if status == 200:
            pictures.add(body)
        return len(pictures) >= 3 and graph.node.count_subscribers(topic) == 1

    wait(seen, "three different pictures, and this process knows of who looks")
    decoded = cv2.imdecode(np.frombuffer(pictures.pop(), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None and decoded.shape[0] >= 64
    assert page.ask("/overlay?camera=none")[0] == 204
    wait(lambda: graph.node.count_subscribers(topic) == 0, "nobody looks any more")
    # The last one, which is old by now, is not shown as a new one.
    assert page.ask("/overlay?camera=")[0] == 204

    # One that goes while it is looked at leaves the page.
    def look():
        page.ask("/overlay?camera=")
        return True

    wait(lambda: look() and graph.node.count_subscribers(topic) == 1, "it looks")
    node.send(signal.SIGINT)
    wait(lambda: look() and page.state()["cameras"] == [], lambda: str(page.state()))


def test_it_records_and_labels(robot, launch, wait, tmp_path):
    _, out = start_recorder(launch, tmp_path)
    page = Page(launch)
    wait(lambda: "nobody" not in page.do("episode_stop")["text"], lambda: str(page.state()))
    wait(lambda: page.do("episode_start")["ok"], lambda: str(page.state()))  # sensors are heard
    wait(
        lambda: (
            page.state()["parts"].get("recorder", {}).get("values", {}).get("recording") == "True"
        ),
        lambda: str(page.state()),
    )
    assert "recording episode_000" in page.state()["parts"]["recorder"]["text"]
    labelled = page.do("episode_success")
    assert labelled["ok"], labelled
    assert label_of(out / "episode_000") == "success"
    assert not page.do("episode_stop")["ok"], "nothing runs"
    assert page.do("episode_failure")["ok"]
    assert label_of(out / "episode_000") == "failure"
    assert page.do("episode_discard")["ok"] and not (out / "episode_000").exists()


def test_a_stop_passes_while_everything_else_hangs(
    robot, launch, start_node, policy, wait, tmp_path
):
    node = start_node(policy=policy)
    recorder, _ = start_recorder(launch, tmp_path)
    page = Page(launch)
    actions = [f"episode_{one}" for one in ("stop", "success", "failure", "discard")]
    for action in actions:  # nothing runs, and it says so
        wait(lambda action=action: "nobody" not in page.do(action)["text"], str)
    ready(page, wait, "commanding")
    stop_while_it_waits(recorder.pid)
    hanging = [page.begin(action) for action in actions]
    assert page.ask("/do/episode_stop", "POST")[0] == 409, "it has no answer yet"
    began = time.monotonic()
    assert page.do("stop")["ok"], node.output
    assert time.monotonic() - began < 2.0
    robot.catch_up()
    sent = len(robot.commands)
    assert all(page.call(number)["ok"] is None for number in hanging)
    # The node itself hangs: said, a second stop is taken, and with the node gone, said at once.

    def commands_again() -> bool:
        """A start may be refused, or end by `start.wait`, where images come late."""
        if page.doing == "stopped":
            page.do("start")
        return len(robot.commands) > sent

    wait(commands_again, lambda: node.output)
    stop_while_it_waits(node.pid)
    first, second = page.begin("stop"), page.begin("stop")
    wait(lambda: page.call(first)["ok"] is not None, lambda: str(page.state()))
    assert not page.call(first)["ok"] and "emergency stop" in page.call(first)["text"]
    os.kill(node.pid, signal.SIGCONT)
    wait(lambda: page.doing in ("stopped", "faulted"), lambda: str(page.state()))
    assert second in {one["number"] for one in page.state()["calls"]}
    os.kill(recorder.pid, signal.SIGCONT)
    node.stop()
    wait(lambda: "nobody offers /sarnn/stop" in page.do("stop")["text"], "it says so")


def test_a_stop_passes_more_connections_than_the_process_may_open(
    robot, launch, start_node, policy, wait
):
    """How long a stop takes among 1000 of them: benchmark/stop_latency.py."""
    token = "0123456789abcdef"
    node = start_node(policy=policy, start_on_activate=False)
    page = Page(launch, "--token", token)
    page.headers["Authorization"] = f"Bearer {token}"
    ready(page, wait)
    resource.prlimit(page.process.pid, resource.RLIMIT_NOFILE, (128, 128))
    with hostile_clients(page.port, token, 140) as opened:
        for _ in range(10):
            stopped = page.do("stop")
            assert stopped["ok"], (stopped, node.output)
        status, body = page.ask("/state")
    assert status == 200 and json.loads(body)["parts"]["control"]["values"]["doing"] == "stopped"
    assert sum(opened.values()) >= 140
    assert len(page.process.output) < 10_000, page.process.output


def test_accept_errors_do_not_fill_the_log(launch, wait):
    token = "0123456789abcdef"
    page = Page(launch, "--token", token)
    page.headers["Authorization"] = f"Bearer {token}"
    assert page.state()
    # None is left for a connection: as if ROS had taken them all.
    used = len(list(Path(f"/proc/{page.process.pid}/fd").iterdir()))
    resource.prlimit(page.process.pid, resource.RLIMIT_NOFILE, (used - 5, 256))
    with hostile_clients(page.port, token, 30):
        wait(lambda: "ulimit -n" in page.process.output, lambda: page.process.output)
        resource.prlimit(page.process.pid, resource.RLIMIT_NOFILE, (256, 256))
        wait(lambda: page.ask("/state")[0] == 200, lambda: page.process.output)
    assert len(page.process.output) < 10_000, page.process.output


def test_a_stop_waits_for_a_node_that_is_just_found(launch, start_node, policy, wait):
    page = Page(launch)
    start_node(policy=policy, start_on_activate=False)

    waited = set()

    def answered():
        page.begin("stop")
        time.sleep(0.3)  # each waits for three seconds: some wait when the node is found
        calls = page.state()["calls"]
        waited.update(one["number"] for one in calls if one["text"].startswith("not sent yet"))
        ended = [one for one in calls if one["ok"] is not None and one["number"] in waited]
        return any("nobody offers" not in one["text"] for one in ended)

    wait(answered, lambda: str(page.state()))


def test_a_stop_drops_what_waits_for_a_node_to_be_found(launch):
    page = Page(launch)
    start, *stops = (page.begin(action) for action in ("start", "stop", "stop"))
    said = "not sent: a stop came after it"
    assert (page.call(start)["ok"], page.call(start)["text"]) == (False, said)
    assert all(page.call(stop)["text"] != said for stop in stops)


def test_beyond_this_machine_a_token_is_needed(robot, launch, start_node, policy, wait):
    start_node(policy=policy, start_on_activate=False)
    page = Page(launch, "--host", "0.0.0.0")
    token = page.url.partition("?token=")[2]
    assert len(token) >= 32
    for path in ("/", "/state", "/page.js", "/overlay?camera=", f"/state?token={token}"):
        assert page.ask(path)[0] == 401, path
    assert page.ask("/do/start", "POST")[0] == 401
    right = {"Authorization": f"Bearer {token}"}
    wait(
        lambda: b'"doing":"stopped"' in page.ask("/state", **right)[1],
        lambda: page.ask("/state", **right)[1].decode(),
    )
    for headers in (
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        assert page.ask("/do/start", "POST", **right, **headers)[0] == 403, headers
    another = "y" if token.endswith("x") else "x"
    assert page.ask(f"/?token={token[:-1]}{another}")[0] == 401
    status, body = page.ask(f"/?token={token}")
    assert status == 200 and b"Stop" in body
    robot.catch_up()
    assert not robot.commands

    def started():
        assert page.ask("/do/start", "POST", **right)[0] in (202, 409)
        return robot.commands

    wait(started, lambda: page.ask("/state", **right)[1].decode())
    assert token not in page.process.output.replace(page.url, ""), "nowhere else"


def test_what_it_cannot_do_is_said(launch, wait):
    page = Page(launch)
    assert page.ask("/do/fly", "POST")[0] == 404
    assert page.ask("/do/start")[0] == 405
    assert page.ask("/state?since=x")[0] == 400
    assert "nobody offers /sarnn/start" in page.do("start")["text"]
    for arguments, said in (
        (("--port", str(page.port)), "free --port"),
        (("--host", "192.0.2.1"), "an address of this machine"),
        (("--token", "short"), "16 or more"),
        (("--node", ""), "'' is no node's name"),
        (("--recorder", "my recorder"), "--recorder: 'my recorder' is no node's name"),
    ):
        process = launch(sys.executable, "-m", "sarnn_ros.cli.main", "web", *arguments)
        assert process.ended() == 1
        assert said in process.output and "Traceback" not in process.output


def test_it_ends_in_time_with_a_call_under_way(launch, wait, tmp_path):
    recorder, _ = start_recorder(launch, tmp_path)
    page = Page(launch)
    wait(lambda: "nobody" not in page.do("episode_stop")["text"], lambda: str(page.state()))
    stop_while_it_waits(recorder.pid)
    assert page.call(page.begin("episode_stop"))["ok"] is None
    began = time.monotonic()
    assert page.process.stop() == 0, page.process.output
    assert time.monotonic() - began < 5.0 and "Traceback" not in page.process.output
    assert state(recorder.pid) == "T"
    os.kill(recorder.pid, signal.SIGCONT)
