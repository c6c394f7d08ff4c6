# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The HTTP side of the page: Starlette's routes behind the rules of `access`, run by uvicorn.

Every request is answered at once. What has to wait for the robot's side is begun, and its outcome
is in a later `/state`; pictures are fetched one by one. A browser keeps six connections to a
server at most, over all its tabs: were they taken by streams, or by calls that hang, a stop would
wait in the browser. What others may take of the server is bounded in `connections`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import threading
from collections import deque
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sarnn_ros.ros.throttle import ThrottledLog
from sarnn_ros.ros.web.access import Access, Refusal
from sarnn_ros.ros.web.connections import ACCEPTED_AT_ONCE, Connections
from sarnn_ros.ros.web.view import DRY_RUN, TRIGGERS, Busy, View

#: The page loads nothing from elsewhere, is shown in no frame, and is not cached.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
MEDIA_TYPES = {"page.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
#: A file in this format begins with it.
PNG = b"\x89PNG"
#: Connections that may wait to be accepted.
ACCEPT_QUEUE = 1024
#: From an error of accepting to the next attempt, s.
RETRY_SECONDS = 0.1
#: Of a request that is searched for the token, bytes; headers of a browser are shorter.
PEEKED_BYTES = 4096
#: Of the number of a picture.
MAX_NUMBER_DIGITS = 18
#: An action but stop that comes so long after it was asked for is not done, s; the page waits for
#: its answer for as long.
LATE_SECONDS = 2.0
#: Answers that are under way at the end may take so long, s.
ENDING_SECONDS = 1


def make_app(
    view: View, access: Access, call: Callable[[str], int], connections: Connections
) -> ASGIApp:
    """The application.

    :param call: begins one of the actions, and returns its number. Raises Busy.
    """
    turn = asyncio.Lock()
    here = files("sarnn_ros.ros.web")
    texts = {name: (here / name).read_bytes() for name in MEDIA_TYPES}

    async def page(request: Request) -> Response:
        name = request.url.path.strip("/") or "page.html"
        response = Response(texts[name], media_type=MEDIA_TYPES[name])
        if name == "page.html" and access.token is not None:
            response.set_cookie(access.cookie, access.token, httponly=True, samesite="strict")
        return response

    async def state(request: Request) -> Response:
        try:
            since = float(request.query_params.get("since", "0"))
        except ValueError:
            since = math.nan
        if not math.isfinite(since):
            return PlainTextResponse("since: not a number of seconds", 400)
        async with turn:  # whatever is asked for, a stop waits for one of these at most
            answer = JSONResponse(view.state(since))
            await asyncio.sleep(0)
        return answer

    async def picture(request: Request) -> Response:
        after = request.query_params.get("after") or "-1"
        if after != "-1" and not (after.isdecimal() and len(after) <= MAX_NUMBER_DIGITS):
            return PlainTextResponse("after: not the number of a picture", 400)
        newest = view.picture(request.query_params.get("camera", ""), int(after))
        if newest is None:
            return Response(status_code=204)
        number, image = newest
        kind = "png" if image.startswith(PNG) else "jpeg"
        return Response(image, media_type=f"image/{kind}", headers={"X-Number": str(number)})

    async def do(request: Request) -> Response:
        action = request.path_params["action"]
        if action not in TRIGGERS and action not in DRY_RUN:
            return PlainTextResponse("unknown", 404)
        # What waited in a network, or for this process, is not done when nobody expects it any
        # more; a stop always is.
        asked = request.query_params.get("at")
        if asked is not None and action != "stop":
            age = view.age(asked)
            if not abs(age) <= LATE_SECONDS:  # also NaN
                text = f"not done: it came {age:.1f} s after it was asked for; ask again"
                return PlainTextResponse(text, 409)
        try:
            return JSONResponse({"number": call(action)}, 202)
        except Busy as error:
            return PlainTextResponse(str(error), 409)

    app = Starlette(
        routes=[
            *(Route(path, page) for path in ("/", "/page.js", "/page.css")),
            Route("/state", state),
            Route("/overlay", picture),
            Route("/do/{action}", do, methods=["POST"]),
        ]
    )

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope)
        refusal = access.refusal(
            request.method,
            request.url.path,
            request.headers,
            request.query_params.get("token", ""),
        )
        if refusal is None and has_body(request):
            refusal = Refusal(413, "no request here has a body")
        if refusal is not None:
            headers = HEADERS | {"Connection": "close"}
            await PlainTextResponse(refusal.text, refusal.status, headers)(scope, receive, send)
            return
        connections.admitted(scope["client"])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await app(scope, receive, send_with_headers)
        connections.answered(scope["client"])

    return guarded


def has_body(request: Request) -> bool:
    """Of one that has, uvicorn would read on after the answer, without end."""
    length = request.headers.get("content-length", "0")
    return length != "0" or "transfer-encoding" in request.headers


class _Protocol(H11Protocol):
    """Says which connections are open."""

    places: Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._peer = peer and peer[:2]
        if peer:
            self.places.opened(self._peer, transport)
        else:  # gone already
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.places.closed(self._peer, self.transport)
        super().connection_lost(exc)


class PageServer(uvicorn.Server):
    """Serves the application in a thread of its own, until `stop`. It accepts by itself: asyncio
    takes whoever has waited longest, and in a flood that is long.

    :param token: that a request shows; None: nothing.
    :param ended: called when the thread ends, for whatever reason.
    """

    def __init__(
        self,
        app: ASGIApp,
        connections: Connections,
        token: str | None,
        listening: socket.socket,
        ended: Callable[[], object],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=type("Protocol", (_Protocol,), {"places": connections}),
                ws="none",
                lifespan="off",
                log_level="error",  # a warning for each bad request would fill the disk
                access_log=False,  # it would hold tokens
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=ENDING_SECONDS,
            )
        )
        self._connections = connections
        self._token = None if token is None else token.encode()
        self._listening = listening
        self._ended = ended
        self._log = ThrottledLog(logging.getLogger(__name__))
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.run(sockets=[self._listening])
        finally:
            self._ended()

    def stop(self) -> None:
        """Ends the thread, within `ENDING_SECONDS` and a little."""
        self.should_exit = True
        self._thread.join(ENDING_SECONDS + 1.0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening.listen(ACCEPT_QUEUE)
        self._listen()

    def _listen(self) -> None:
        if not self.should_exit:  # in place of asyncio's reader
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        """Take all that wait, and keep the newest: of those who ask for a stop and show the token,
        of those who show it, and of the others."""
        stops: deque[socket.socket] = deque()
        with_token: deque[socket.socket] = deque()
        others: deque[socket.socket] = deque()
        loop = asyncio.get_running_loop()
        for _ in range(ACCEPT_QUEUE):
            try:
                one, _ = self._listening.accept()
                one.setblocking(False)
                begun = self._begun(one)
            except (BlockingIOError, ConnectionAbortedError):
                break
            except OSError as error:
                self._connections.drop_waiting()
                text = f"no connection can be accepted: {error.strerror}; see ulimit -n"
                self._log("error", "accept", text)
                loop.remove_reader(self._listening)
                loop.call_later(RETRY_SECONDS, self._listen)
                break
            shown = self._token is not None and self._token in begun
            kept = others if not shown else stops if b"do/stop " in begun else with_token
            kept.append(one)
            if len(kept) > ACCEPTED_AT_ONCE:
                kept.popleft().close()
        for one in (*others, *with_token, *stops):
            task = loop.create_task(loop.connect_accepted_socket(self._protocol, one))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @staticmethod
    def _begun(one: socket.socket) -> bytes:
        """What has come of a request, left unread: `access` looks closer."""
        try:
            return one.recv(PEEKED_BYTES, socket.MSG_PEEK)
        except OSError:  # nothing yet
            return b""

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )  # type: ignore[call-arg]
        return made
