# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn web` as a process, and a user of it over plain HTTP."""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from ros_testing import TIMEOUT, Process, wait_until

from sarnn_ros.ros.web.node import EPISODE_SECONDS


class Page:
    """The page that a `sarnn web` process serves.

    :param arguments: of the command; a free port is chosen.
    """

    def __init__(self, launch: Callable[..., Process], *arguments: str) -> None:
        self.process = launch(
            sys.executable, "-m", "sarnn_ros.cli.main", "web", "--port", "0", *arguments
        )
        self.process.wait_for("open http://")
        line = re.compile(r"open (http://\S+)\n")  # perhaps not yet to its end
        found = wait_until(lambda: line.search(self.process.output), "the address")
        self.url = found[1]
        self.port = urlsplit(self.url).port
        self.base = f"http://127.0.0.1:{self.port}"
        #: Sent with every request.
        self.headers: dict[str, str] = {}

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        """Status and body; `Sec_Fetch_Site` is the header Sec-Fetch-Site."""
        named = {name.replace("_", "-"): text for name, text in (self.headers | headers).items()}
        if method == "POST":
            named = {"Origin": self.base} | named
        request = urllib.request.Request(self.base + path, method=method, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=5.0) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def state(self) -> Any:
        status, body = self.ask("/state")
        assert status == 200, body
        return json.loads(body)

    @property
    def doing(self) -> str:
        """What the node does, as the page has heard."""
        control = self.state()["parts"].get("control")
        return control["values"]["doing"] if control and control["age"] < 3.0 else ""

    def begin(self, action: str) -> int:
        """Ask for an action; its number."""
        status, body = self.ask(f"/do/{action}", "POST")
        assert status == 202, body
        return json.loads(body)["number"]

    def call(self, number: int) -> Any:
        return next(one for one in self.state()["calls"] if one["number"] == number)

    def do(self, action: str) -> Any:
        """Ask for an action, and wait for what becomes of it."""
        number = self.begin(action)
        wait_until(
            lambda: self.call(number)["ok"] is not None,
            f"an answer to {action}",
            EPISODE_SECONDS + TIMEOUT,  # DDS may drop the answer, and then the page waits so long
        )
        return self.call(number)

    def order(self, action: str) -> None:
        """Ask for an action, which nobody refuses. DDS may drop the answer of a node that has not
        yet discovered the page: what comes of it is to be looked for elsewhere."""
        answer = self.do(action)
        assert answer["ok"] or answer["text"].startswith("no answer of"), answer
