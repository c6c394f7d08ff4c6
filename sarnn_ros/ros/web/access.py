# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Who may use the page: where it listens, the token, and what a browser must not be led to do.

Standard library only. Against whom each rule is: docs/how-to/web.md.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from starlette.requests import cookie_parser

from sarnn_ros.errors import ConfigError

#: Characters of a token that the user gives.
MIN_TOKEN_LENGTH = 16


class Refusal(NamedTuple):
    """The HTTP status, and why."""

    status: int
    text: str


@dataclass(frozen=True)
class Access:
    """The rules.

    :param names: under which the page may be opened, in lower case, besides any IP address.
    :param token: what a browser has to show; None: nothing.
    """

    names: frozenset[str]
    token: str | None = None

    @property
    def cookie(self) -> str:
        """The cookie's name. Another one for each token: cookies do not tell ports apart."""
        return f"sarnn_web_{hashlib.sha256((self.token or '').encode()).hexdigest()[:8]}"

    def refusal(
        self, method: str, path: str, headers: Mapping[str, str], token: str = ""
    ) -> Refusal | None:
        """Why the request is not served, or None.

        :param headers: by lower-case name.
        :param token: of the query, which counts for the page itself only.
        """
        host = headers.get("host", "")
        if not self._ours(host):
            # A foreign name that was made to point here (DNS rebinding) is always a name.
            return Refusal(403, f"not known here as '{host[:80]}': use the machine's IP address")
        origin = headers.get("origin")
        foreign = origin is not None and not _is_of(origin, host)
        linked = method == "GET" and path == "/"
        site = headers.get("sec-fetch-site", "none")
        if foreign or (site not in ("none", "same-origin") and not linked):
            return Refusal(403, "asked for by another site")
        if method == "POST" and origin is None:
            return Refusal(403, "without the header Origin, which every browser sends")
        if self.token is not None and not self._shown(headers, token if path == "/" else ""):
            return Refusal(401, "open the address that 'sarnn web' printed, with its token")
        return None

    def _ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self.names or _is_address(name)

    def _shown(self, headers: Mapping[str, str], token: str) -> bool:
        # As browsers mean them: those of other programs on this host come along, whatever is in
        # them, and the standard library's parser would drop what follows.
        cookie = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        assert self.token is not None
        right = self.token.encode()
        shown = (token, bearer, cookie)
        return any(hmac.compare_digest(one.encode(), right) for one in shown)


def _is_of(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def listen(host: str, port: int, token: str | None) -> tuple[socket.socket, Access, str]:
    """A listening socket, the rules for it, and the address to open.

    Without a token on anything but loopback, one is made.

    :param port: 0: any free one.
    :raises ConfigError: the address cannot be had, or the token is too short.
    """
    if token is not None and (len(token) < MIN_TOKEN_LENGTH or not token.isascii()):
        least = f"{MIN_TOKEN_LENGTH} or more of ASCII"
        raise ConfigError(
            f"{len(token)} characters",
            where="--token",
            remedy=f"give {least}, or none: one is made where it is needed",
        )
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        both = host == "::" and socket.has_dualstack_ipv6()
        listening = socket.create_server(address[:2], family=family, dualstack_ipv6=both)
        # Accepted sockets inherit it. Without, the second answer on a connection comes 40 ms late.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {getattr(error, 'strerror', '') or error}",
            remedy="give an address of this machine as --host, and a free --port",
        ) from error
    names, shown = {"localhost", host.lower()}, host
    bound = ipaddress.ip_address(address[0])
    if not bound.is_loopback:
        token = token or secrets.token_urlsafe(24)
        own = socket.gethostname().lower()
        names |= {own, f"{own}.local", socket.getfqdn().lower()}
        shown = own if bound.is_unspecified else host
    port = listening.getsockname()[1]
    url = f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"
    return (
        listening,
        Access(frozenset(names), token),
        url + (f"?token={quote(token, safe='')}" if token else ""),
    )
