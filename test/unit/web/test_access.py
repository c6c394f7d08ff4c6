# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Which requests of a browser the page serves."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import parse_qs, urlsplit

import pytest

from sarnn_ros.errors import ConfigError
from sarnn_ros.ros.web.access import Access, listen

TOKEN = "0123456789abcdef-right"
OPEN = Access(frozenset({"localhost"}))
LOCKED = Access(frozenset({"localhost", "robot"}), TOKEN)
HOST = {"host": "127.0.0.1:8080"}
SAME = {"origin": "http://127.0.0.1:8080"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", HOST, None),
        ("GET", "/", {"host": "localhost:9999"}, None),
        ("GET", "/", {"host": "LOCALHOST"}, None),
        ("GET", "/", {"host": "[::1]:8080"}, None),
        ("GET", "/", {"host": "192.168.1.7:8080"}, None),  # no name: it cannot be re-bound
        ("GET", "/", {"host": "evil.example:8080"}, 403),
        ("GET", "/", {"host": "127.0.0.1.evil.example"}, 403),
        ("GET", "/", {"host": "localhost.evil.example"}, 403),
        ("GET", "/", {"host": ""}, 403),
        ("GET", "/", {}, 403),
        ("GET", "/", {"host": "[::1"}, 403),
        ("GET", "/", {"host": "evil.example@127.0.0.1"}, None),  # of such a host only the address
        ("GET", "/", {"host": "127.0.0.1@evil.example"}, 403),
        ("POST", "/do/start", HOST | SAME, None),
        ("POST", "/do/start", {"host": "tunnel:80", **SAME}, 403),
        ("POST", "/do/start", HOST, 403),
        ("POST", "/do/start", HOST | {"origin": "null"}, 403),
        ("GET", "/state", HOST | {"origin": "http://["}, 403),
        ("POST", "/do/start", HOST | {"origin": "http://127.0.0.1:9090"}, 403),
        ("POST", "/do/start", HOST | {"origin": "http://evil.example"}, 403),
        ("POST", "/do/start", HOST | {"origin": "https://127.0.0.1:8080"}, None),  # a TLS proxy
        ("POST", "/do/start", HOST | SAME | {"sec-fetch-site": "same-origin"}, None),
        ("POST", "/do/start", HOST | SAME | {"sec-fetch-site": "cross-site"}, 403),
        ("POST", "/", HOST | SAME | {"sec-fetch-site": "cross-site"}, 403),
        ("GET", "/overlay", HOST | {"sec-fetch-site": "same-site"}, 403),
        ("GET", "/state", HOST | {"sec-fetch-site": "cross-site"}, 403),
        ("GET", "/", HOST | {"sec-fetch-site": "cross-site"}, None),  # somebody followed a link
    ],
)
def test_without_a_token(method, path, headers, status) -> None:
    refusal = OPEN.refusal(method, path, headers)
    assert (refusal and refusal.status) == status


@pytest.mark.parametrize(
    ("headers", "query", "path", "served"),
    [
        ({}, "", "/", False),
        ({}, TOKEN, "/", True),
        ({}, TOKEN[:-1], "/", False),
        ({}, TOKEN + "x", "/", False),
        ({}, TOKEN, "/state", False),  # in no address that is asked for often
        ({"authorization": f"Bearer {TOKEN}"}, "", "/state", True),
        ({"authorization": "Bearer wrong"}, "", "/state", False),
        ({"authorization": "Bearer "}, "", "/state", False),
        ({"cookie": f"other=1; {LOCKED.cookie}={TOKEN}"}, "", "/state", True),
        ({"cookie": f'p={{"a":"b"}}; {LOCKED.cookie}={TOKEN}'}, "", "/state", True),
        ({"cookie": f"{LOCKED.cookie}=wrong"}, "", "/state", False),
        ({"cookie": f"{LOCKED.cookie}=\xff\u0100"}, "", "/state", False),
        ({"cookie": f"sarnn_web={TOKEN}"}, "", "/state", False),
        ({"cookie": "\x00;=;;[]"}, "", "/state", False),
    ],
)
def test_with_a_token(headers, query, path, served) -> None:
    refusal = LOCKED.refusal("GET", path, {"host": "robot:8080"} | headers, query)
    assert (refusal is None) == served
    assert served or (refusal.status == 401 and TOKEN not in refusal.text)


def test_a_token_does_not_open_the_door_to_other_sites() -> None:
    shown = {"authorization": f"Bearer {TOKEN}"}
    assert LOCKED.refusal("GET", "/state", {"host": "evil.example"} | shown).status == 403
    assert LOCKED.refusal("POST", "/do/stop", {"host": "robot"} | shown).status == 403


def test_two_robots_do_not_share_a_cookie() -> None:
    assert LOCKED.cookie != Access(frozenset(), TOKEN + "x").cookie
    assert TOKEN not in LOCKED.cookie


@pytest.mark.parametrize(
    ("host", "needs"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)]
)
def test_only_this_machine_needs_no_token(host: str, needs: bool) -> None:
    listening, access, url = listen(host, 0, None)
    with listening:
        bound, port = listening.getsockname()[:2]
        assert ipaddress.ip_address(bound).is_loopback != needs
        assert urlsplit(url).port == port
        assert (access.token is not None) == needs
        assert url.endswith(f"?token={access.token}" if needs else "/")
        assert (socket.gethostname().lower() in access.names) == needs
        for wrong in (host, "robot..local"):
            with pytest.raises(ConfigError, match="free --port"):
                listen(wrong, port, None)


def test_a_token_of_the_users_own_counts_everywhere() -> None:
    listening, access, url = listen("127.0.0.1", 0, TOKEN)
    listening.close()
    assert access.token == TOKEN and url.endswith(TOKEN)
    for poor in ("", "short", "ä" * 20):
        with pytest.raises(ConfigError, match="16 or more"):
            listen("127.0.0.1", 0, poor)


@pytest.mark.parametrize("token", ["ab+/cdefghijklmnop==", "a&b#c%d e?f=g;h123456"])
def test_the_address_that_is_told_opens_the_page(token: str) -> None:
    listening, _, url = listen("127.0.0.1", 0, token)
    listening.close()
    assert parse_qs(urlsplit(url).query) == {"token": [token]}


def test_a_name_of_this_machine_alone_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Debian has it: /etc/hosts says that its own name is 127.0.1.1."""
    found = socket.getaddrinfo("127.0.0.1", 0, type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    listening, access, url = listen("Robot", 0, None)
    listening.close()
    assert access.token is None and "robot" in access.names
    assert urlsplit(url).hostname == "robot"


def test_all_addresses_are_listened_on() -> None:
    try:
        listening, _, _ = listen("::", 0, None)
    except ConfigError:
        pytest.skip("there is no IPv6 here")
    with listening, socket.create_connection(("127.0.0.1", listening.getsockname()[1])):
        pass


def test_each_token_is_another_one() -> None:
    tokens = set()
    for _ in range(3):
        listening, access, _ = listen("0.0.0.0", 0, None)
        listening.close()
        tokens.add(access.token)
    assert len(tokens) == 3 and all(len(token) >= 32 for token in tokens)
