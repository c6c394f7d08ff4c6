# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The HTTP side of the page: Starlette's routes behind the rules of `access`, run by uvicorn.

Every request is answered at once. What has to wait for the robot's side is begun, and its outcome
is in a later `/state`; pictures are fetched one by one. A browser keeps six connections to a
server at most, over all its tabs: were they taken by streams, or by calls that hang, a stop would
wait in the browser.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from importlib.resources import files

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sarnn_ros.ros.web.access import Access
from sarnn_ros.ros.web.view import DRY_RUN, TRIGGERS, Busy, View

#: Nothing from elsewhere, in no frame, of which nothing is kept.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
TYPES = {"page.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
#: Answers that are under way at the end may take so long, s.
ENDING_SECONDS = 1


def make_app(view: View, access: Access, call: Callable[[str], int]) -> ASGIApp:
    """The application.

    :param call: begins one of the actions, and returns its number. Raises Busy.
    """
    here = files("sarnn_ros.ros.web")
    texts = {name: (here / name).read_bytes() for name in TYPES}

    async def page(request: Request) -> Response:
        name = request.url.path.strip("/") or "page.html"
        response = Response(texts[name], media_type=TYPES[name])
        if name == "page.html" and access.token is not None:
            response.set_cookie(access.cookie, access.token, httponly=True, samesite="strict")
        return response

    async def state(request: Request) -> Response:
        try:
            since = float(request.query_params.get("since", "0"))
        except ValueError:
            return PlainTextResponse("since: not a number", 400)
        return JSONResponse(view.state(since))

    async def picture(request: Request) -> Response:
        after = request.query_params.get("after", "")
        newest = view.picture(
            request.query_params.get("camera", ""), int(after) if after.isdecimal() else -1
        )
        if newest is None:
            return Response(status_code=204)
        number, jpeg = newest
        return Response(jpeg, media_type="image/jpeg", headers={"X-Number": str(number)})

    async def do(request: Request) -> Response:
        action = request.path_params["action"]
        if action not in TRIGGERS and action not in DRY_RUN:
            return PlainTextResponse("unknown", 404)
        try:
            return JSONResponse({"number": call(action)}, 202)
        except Busy as error:
            return PlainTextResponse(str(error), 409)

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/page.js", page),
            Route("/page.css", page),
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
        if refusal is not None:
            await PlainTextResponse(refusal.text, refusal.status, HEADERS)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await app(scope, receive, send_with_headers)

    return guarded


class PageServer:
    """Serves the application in a thread of its own, until `stop`.

    :param ended: called when the thread ends, for whatever reason.
    """

    def __init__(
        self, app: ASGIApp, listening: socket.socket, ended: Callable[[], object]
    ) -> None:
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,  # it would hold tokens
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=ENDING_SECONDS,
            )
        )
        self._listening = listening
        self._ended = ended
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listening])
        finally:
            self._ended()

    def stop(self) -> None:
        """Ends the thread, within `ENDING_SECONDS` and a little."""
        self._server.should_exit = True
        self._thread.join(ENDING_SECONDS + 1.0)
