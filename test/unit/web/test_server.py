# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The page's server over real sockets, without ROS."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from sarnn_ros.ros.web import connections
from sarnn_ros.ros.web.access import listen
from sarnn_ros.ros.web.connections import MAX_ADMITTED, MAX_CONNECTIONS, Connections
from sarnn_ros.ros.web.server import PageServer, make_app
from sarnn_ros.ros.web.view import View

TOKEN = "0123456789abcdef"
HEAD = f"Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
STOP = f"POST /do/stop HTTP/1.1\r\n{HEAD}\r\n"
#: Of the tests. A machine that is busy makes them slow, and does not fail them.
PATIENCE_SECONDS = 20.0


@dataclass
class Served:
    port: int
    view: View
    connections: Connections
    calls: list[str] = field(default_factory=list)

    def connect(self, text: str = "") -> socket.socket:
        """A connection that has sent this."""
        made = socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS)
        made.sendall(text.encode())
        return made

    def ask(self, text: str) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Status, body and headers of the answer to a whole request."""
        with self.connect(text) as made:
            answer = http.client.HTTPResponse(made)
            answer.begin()
            return answer.status, answer.read(), answer.headers

    def get(self, path: str) -> tuple[int, bytes]:
        return self.ask(f"GET {path} HTTP/1.1\r\n{HEAD}\r\n")[:2]


@pytest.fixture
def served() -> Iterator[Served]:
    listening, access, _ = listen("127.0.0.1", 0, TOKEN)
    view, places = View("/sarnn", "/recorder"), Connections()
    page = Served(listening.getsockname()[1], view, places)

    def call(action: str) -> int:
        page.calls.append(action)
        return len(page.calls)

    ended = threading.Event()
    server = PageServer(make_app(view, access, call, places), places, TOKEN, listening, ended.set)
    yield page
    server.stop()
    assert ended.is_set()


def closed(one: socket.socket) -> bool:
    """Whether the server ends it, while we wait. What it sent before is passed over."""
    try:
        while one.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def test_a_stop_finds_a_place_among_connections_that_say_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 60.0)  # none is closed for its age
    half = "GET /state HTTP/1.1\r\nX-"
    silent = []
    for count in range(1, MAX_CONNECTIONS + 1):  # one by one: of those that come at once the
        silent.append(served.connect(half))  # newest are kept, and all places need not be taken
        while len(served.connections) < count:
            time.sleep(0.001)
    silent += [served.connect(half) for _ in range(2 * MAX_CONNECTIONS)]
    for count in range(1, 4):
        status, body, _ = served.ask(STOP)
        assert (status, json.loads(body)["number"]) == (202, count)
        assert len(served.connections) <= MAX_CONNECTIONS
    assert closed(silent[0]), "the oldest"
    silent[-1].settimeout(0.2)
    assert not closed(silent[-1]), "the newest"
    for one in silent:
        one.close()


def test_who_has_shown_the_token_keeps_his_place(served: Served) -> None:
    page = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_SECONDS)
    shown = {"Authorization": f"Bearer {TOKEN}", "Origin": f"http://127.0.0.1:{served.port}"}
    page.request("GET", "/state", headers=shown)
    assert page.getresponse().read()
    kept = page.sock
    wrong = [served.connect(STOP.replace(TOKEN, "wrong")) for _ in range(2 * MAX_CONNECTIONS)]
    silent = [served.connect() for _ in range(2 * MAX_CONNECTIONS)]
    page.request("POST", "/do/stop", headers=shown)
    assert page.getresponse().status == 202
    assert page.sock is kept, "the same connection"
    assert served.calls == ["stop"]
    assert all(closed(one) for one in wrong), "refused ones are not kept"
    for one in (page, *silent, *wrong):
        one.close()


def test_a_stop_is_taken_before_newer_requests(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = threading.Event()

    def state(since: float) -> dict[str, object]:
        taking.set()
        time.sleep(0.3)
        return {}

    monkeypatch.setattr(served.view, "state", state)
    others = [served.connect(f"GET /state HTTP/1.1\r\n{HEAD}\r\n")]
    assert taking.wait(PATIENCE_SECONDS)
    # The server is busy: these wait together to be accepted.
    stop = served.connect(STOP)
    others += [served.connect(f"GET /page.css HTTP/1.1\r\n{HEAD}\r\n") for _ in range(100)]
    assert stop.recv(1 << 16).startswith(b"HTTP/1.1 202 ")
    for one in (stop, *others):
        one.close()


def test_too_many_with_the_token_leave_places_for_others(served: Served) -> None:
    unread = [served.connect(f"GET /state HTTP/1.1\r\n{HEAD}\r\n") for _ in range(100)]
    assert served.ask(STOP)[0] == 202
    assert len(served.connections) <= MAX_ADMITTED + 1  # the new one
    for one in unread:
        one.close()


@pytest.mark.parametrize(
    ("action", "late", "done"),
    [
        ("start", 0.1, True), ("start", 2.5, False), ("start", -60.0, False),
        ("start", "soon", False), ("start", "nan", False), ("stop", 30.0, True),
        ("lesson_run", 2.5, False), ("episode_start", None, True),
    ],
)  # fmt: skip
def test_what_comes_late_is_not_done(
    action: str, late: float | str | None, done: bool, served: Served
) -> None:
    """The robot must not begin to move when nobody expects it any more; it must always stop."""
    now = json.loads(served.get("/state")[1])["now"]
    at = "" if late is None else f"?at={late if isinstance(late, str) else now - late}"
    status, body, _ = served.ask(STOP.replace("/do/stop", f"/do/{action}{at}"))
    assert (status, served.calls) == ((202, [action]) if done else (409, []))
    assert done or b"not done: it came" in body


def test_the_address_with_most_connections_makes_room() -> None:
    class Transport:
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    async def fill() -> list[bool]:
        places = Connections()
        people = [(("192.168.1.5", 5000), Transport()), (("192.168.1.6", 5000), Transport())]
        crowd = [(("192.168.1.7", 5000 + port), Transport()) for port in range(200)]
        for client, transport in (*people, *crowd):
            places.opened(client, transport)  # type: ignore[arg-type]
        assert len(places) == MAX_CONNECTIONS
        assert [one.aborted for _, one in people] == [False, False]
        # The newest of the crowd are left.
        return [one.aborted for _, one in crowd]

    kept = MAX_CONNECTIONS - 2
    assert asyncio.run(fill()) == [True] * (200 - kept) + [False] * kept


@pytest.mark.parametrize(
    "begun",
    [
        "",
        "GET /state HTTP/1.1\r\nHost: ",
        f"POST /do/stop HTTP/1.1\r\n{HEAD}Content-Length: 9\r\n",
        200 * f"GET /page.js HTTP/1.1\r\n{HEAD}\r\n",  # answers of 1.6 MB that nobody reads
    ],
)
def test_what_does_not_go_on_is_closed(
    served: Served, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.5)
    with served.connect(begun) as one:
        deadline = threading.Event()
        for _ in range(int(PATIENCE_SECONDS / 0.05)):
            deadline.wait(0.05)
            if not len(served.connections):
                break
            if not begun.endswith("\r\n\r\n"):
                try:
                    one.sendall(b"x")  # a byte now and then does not help
                except OSError:
                    break
    assert not len(served.connections)


def test_a_connection_in_use_is_not_closed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1.0)
    page = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_SECONDS)
    page.connect()
    kept, silent = page.sock, served.connect()
    silent.settimeout(0.1)
    while len(served.connections) < 2:
        pass
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1000.0)  # from the next answer on
    ended = False
    while not ended:
        page.request("GET", "/state", headers={"Authorization": f"Bearer {TOKEN}"})
        assert page.getresponse().read()
        assert page.sock is kept
        ended = closed(silent)
    page.request("GET", "/state", headers={"Authorization": f"Bearer {TOKEN}"})
    assert page.getresponse().read()
    assert page.sock is kept, "the first second is over for both"
    page.close()
    silent.close()


@pytest.mark.parametrize(
    "extra", ["Content-Length: 1000000000\r\n", "Transfer-Encoding: chunked\r\n"]
)
def test_a_request_with_a_body_is_refused(served: Served, extra: str) -> None:
    status, body, headers = served.ask(STOP.replace("\r\n\r\n", f"\r\n{extra}\r\n"))
    assert status == 413 and b"body" in body
    assert headers["Connection"] == "close"
    assert served.calls == []


def test_headers_are_bounded(served: Served) -> None:
    assert served.ask(f"GET /state HTTP/1.1\r\nX: {'x' * 100_000}")[0] == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/overlay?camera=&after=" + 5000 * "9", 400),
        ("/overlay?camera=&after=" + 18 * "9", 204),
        ("/overlay?camera=&after=x", 400),
        ("/overlay?camera=&after=-2", 400),
        ("/overlay?camera=&after=%C2%B2", 400),
        ("/overlay?camera=&after=", 204),
        ("/overlay", 204),
        ("/state?since=nan", 400),
        ("/state?since=" + 5000 * "9", 400),
        ("/state?since=-1e9", 200),
        ("/state?since=", 400),
    ],
)
def test_a_strange_number_gets_a_clear_answer(served: Served, path: str, status: int) -> None:
    found, body = served.get(path)
    assert found == status
    assert found != 400 or b": not " in body


def test_any_diagnostics_can_be_shown(served: Served) -> None:
    for text in ('{"p50": NaN, "p99": 1}', '{"p50": 1}', "text", '{"p50": 1, "p99": 2}'):
        served.view.say("/sarnn: timing", 0, "10 of 10 Hz", {"latency total (ms)": text})
        status, body = served.get("/state")
        assert status == 200
        found: dict[str, Any] = json.loads(body)
        assert found["parts"]["timing"]["values"]["latency total (ms)"] == text
    assert [row[1:] for row in found["latencies"]] == [[1.0, 2.0]]
