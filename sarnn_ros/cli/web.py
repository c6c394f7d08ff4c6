# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn web`: a page in the browser from which the robot is run."""

from __future__ import annotations

from typing import Annotated

import typer

from sarnn_ros.cli.options import full_name, prepare_ros


def web(
    node: Annotated[str, typer.Option(help="The inference node's full name.")] = "/sarnn",
    recorder: Annotated[str, typer.Option(help="The recorder's full name.")] = "/recorder",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Listen here. Beyond this machine (0.0.0.0), a token is needed.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(
            envvar="SARNN_WEB_TOKEN",
            help="What the browser has to show. Made and printed where it is needed.",
        ),
    ] = None,
) -> None:
    """Serve a page that shows what the node does, and starts and stops it; until Ctrl-C."""
    prepare_ros()
    from sarnn_ros.ros.web.node import serve

    names = full_name(node), full_name(recorder, "--recorder")
    raise typer.Exit(
        serve(
            names[0], names[1], host, port, token or None,
            listens=lambda url: print(f"open {url}", flush=True),
        )
    )  # fmt: skip
