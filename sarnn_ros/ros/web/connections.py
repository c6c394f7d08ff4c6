# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How many connections the page keeps, and for how long, so that a stop finds a place.

uvicorn bounds headers and idle connections, but neither requests that never end nor answers that
nobody reads, and its bound on connections turns away whoever comes last: here the oldest goes.
Everything runs in the server's event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

#: Of all clients. A process may open 1024 files by default; ROS takes 40.
MAX_CONNECTIONS = 128
#: Of those that showed what `access` asks for; a browser opens six. The other places are for
#: connections that have not yet said who they are.
MAX_ADMITTED = 32
#: Connections of each kind that are accepted in one turn of the event loop: a stop with the token,
#: another request with it, others. A request is read in the third turn at the latest: nine times
#: as many must fit beside the admitted ones.
ACCEPTED_AT_ONCE = 8
#: Time-out from one answered request to the next, or from the start, s. uvicorn closes idle
#: connections after 5 s; what is open for longer trickles a request, or does not read its answer.
REQUEST_SECONDS = 10.0

#: Address and port of the other side.
Client = tuple[str, int]


@dataclass
class _Connection:
    transport: asyncio.Transport
    timeout: asyncio.TimerHandle
    admitted: bool = False


class Connections:
    """Those that are open, the one that asked or was answered longest ago first."""

    def __init__(self) -> None:
        self._open: dict[Client, _Connection] = {}

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, client: Client, transport: asyncio.Transport) -> None:
        """Closes one that is not admitted if there are too many."""
        if len(self._open) >= MAX_CONNECTIONS:
            self._drop_one([key for key, one in self._open.items() if not one.admitted])
        self._open[client] = _Connection(transport, self._timeout(transport))

    def closed(self, client: Client | None, transport: asyncio.Transport) -> None:
        """It has ended, by itself or because it was dropped."""
        # Its port may be in use again.
        if client in self._open and self._open[client].transport is transport:
            self._open.pop(client).timeout.cancel()

    def admitted(self, client: Client | None) -> None:
        """A request of it is served. Closes another one of these if there are too many."""
        if client not in self._open:
            return  # dropped, or gone
        one = self._open[client] = self._open.pop(client)
        one.admitted = True
        admitted = [key for key, one in self._open.items() if one.admitted and key != client]
        if len(admitted) >= MAX_ADMITTED:
            self._drop_one(admitted)

    def answered(self, client: Client | None) -> None:
        """A request of it is done, but for sending the answer."""
        if client in self._open:
            one = self._open[client] = self._open.pop(client)
            one.timeout.cancel()
            one.timeout = self._timeout(one.transport)

    def drop_waiting(self) -> None:
        """Close all that are not admitted: the process has no file descriptors left."""
        for client in [key for key, one in self._open.items() if not one.admitted]:
            self._drop(client)

    def _timeout(self, transport: asyncio.Transport) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(REQUEST_SECONDS, transport.abort)

    def _drop_one(self, among: list[Client]) -> None:
        """Of the address that has most of them the one that was answered longest ago."""
        crowd = Counter(address for address, _ in among)
        self._drop(max(among, key=lambda client: crowd[client[0]]))

    def _drop(self, client: Client) -> None:
        one = self._open.pop(client)
        one.timeout.cancel()
        one.transport.abort()  # unlike close(), waits for nobody to read
