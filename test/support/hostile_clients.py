# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Many connections to the page of `sarnn web` that mean no good, from a process of their own.

    python hostile_clients.py PORT TOKEN COUNT [KIND …]

Each connection that the server closes is opened again after `PAUSE_S`. Prints `ready` once every
one has been open, and then, at the end of its input, how many were opened, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice

PAUSE_S = 0.5
TRICKLE_S = 1.0

#: What each kind sends first.
KINDS = {
    "silent": "",
    "half-open": "GET /state HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
    "slow body": (
        "POST /do/episode_stop HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"
        "Authorization: Bearer {token}\r\nContent-Length: 1000000000\r\n\r\n"
    ),
    # A pipeline of which no answer is ever read.
    "unread": 50
    * "GET /state HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n",
    "wrong token": (
        "POST /do/stop HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"
        "Authorization: Bearer wrong\r\n\r\n"
    ),
}


class Swarm:
    """:param kinds: of `KINDS`, in turn."""

    def __init__(self, port: int, token: str, count: int, kinds: list[str]) -> None:
        self._port = port
        self._token = token
        self._kinds = list(islice(cycle(kinds), count))
        self._begun: set[int] = set()
        self.opened: Counter[str] = Counter()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        clients = [
            loop.create_task(self._client(index, kind)) for index, kind in enumerate(self._kinds)
        ]
        await loop.run_in_executor(None, sys.stdin.read)
        for one in clients:
            one.cancel()

    async def _client(self, index: int, kind: str) -> None:
        while True:
            with socket.socket() as connection, contextlib.suppress(OSError):
                connection.setblocking(False)
                await asyncio.get_running_loop().sock_connect(
                    connection, ("127.0.0.1", self._port)
                )
                self.opened[kind] += 1
                if index not in self._begun:
                    self._begun.add(index)
                    if len(self._begun) == len(self._kinds):
                        print("ready", flush=True)
                await self._use(connection, kind)
            await asyncio.sleep(PAUSE_S)

    async def _use(self, connection: socket.socket, kind: str) -> None:
        """Until the server closes it."""
        loop = asyncio.get_running_loop()
        first = KINDS[kind].format(token=self._token).encode()
        await loop.sock_sendall(connection, first)
        if kind in ("silent", "wrong token"):
            while await loop.sock_recv(connection, 1 << 16):
                await loop.sock_sendall(connection, first)
        while True:
            await asyncio.sleep(TRICKLE_S)
            # After a pipeline a whole request, which nobody would time out as a slow one.
            await loop.sock_sendall(connection, first if kind == "unread" else b"x")


@contextlib.contextmanager
def hostile_clients(
    port: int, token: str, count: int, kinds: tuple[str, ...] = tuple(KINDS)
) -> Iterator[Counter[str]]:
    """The process, as long as the context lasts. What it yields holds afterwards how many
    connections of each kind were opened."""
    command = [sys.executable, __file__, str(port), token, str(count), *kinds]
    opened: Counter[str] = Counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            yield opened
            opened.update(json.loads(process.communicate(timeout=20)[0]))
        finally:
            process.kill()


if __name__ == "__main__":
    port, token, count, *kinds = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    swarm = Swarm(int(port), token, int(count), kinds)
    asyncio.run(swarm.run())
    print(json.dumps(swarm.opened))
