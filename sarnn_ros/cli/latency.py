# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn latency`: the latency of a running node, live, from its /diagnostics."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sarnn_ros.cli.options import full_name, listening_node

if TYPE_CHECKING:
    from rich.table import Table

#: Figures of a stage, ms.
_COLUMNS = ("p50", "p95", "p99", "max")


def timing_table(name: str, message: str, values: Mapping[str, str]) -> Table:
    """One row per stage, one per source's age. Percentiles are of the newest ticks, the maximum of
    all since the start.

    :param values: key and value of the status `<node>: timing`.
    """
    from rich.table import Table
    from rich.text import Text

    from sarnn_ros.control.statistics import from_text

    # Anybody may publish a status; [brackets] would be rich's markup.
    table = Table(title=Text(f"{name}: {message}"), title_justify="left")
    table.add_column("stage")
    for column in _COLUMNS:
        table.add_column(f"{column}, ms", justify="right")
    for stage, figures in from_text(values).items():
        cells = [f"{figures[key]:.3g}" if key in figures else "" for key in _COLUMNS]
        table.add_row(Text(stage), *cells, end_section=stage == "total")
    for key, value in values.items():
        if key.startswith("age "):
            with suppress(ValueError):
                table.add_row(Text(key.removesuffix(" (ms)")), f"{float(value):.2f}")
    return table


def latency(
    node: Annotated[
        str, typer.Option(help="The node's full name; the first one heard if left out.")
    ] = "",
    once: Annotated[bool, typer.Option(help="Print one table and end.")] = False,
    timeout: Annotated[
        float, typer.Option(help="Give up when no timing was heard for so long, s.")
    ] = 15.0,
) -> None:
    """Show a running node's latency by stage: live, until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    from sarnn_ros.errors import ConfigError
    from sarnn_ros.signals import stop_on_signals

    heard: list[Table] = []
    wanted = f"{full_name(node)}: timing" if node else ""

    def take(message: Any) -> None:
        nonlocal wanted
        for status in message.status:
            if status.name == wanted or (not wanted and status.name.endswith(": timing")):
                wanted = status.name
                values = {pair.key: pair.value for pair in status.values}
                name = status.name.removesuffix(": timing")
                heard[:] = [timing_table(name, status.message, values)]

    with stop_on_signals() as stop, listening_node("sarnn_latency") as listener:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray

        listener.create_subscription(DiagnosticArray, "/diagnostics", take, 10)
        console = Console()
        with Live(console=console, auto_refresh=False, transient=once) as live:
            heard_at = time.monotonic()
            while not (once and heard) and not stop.is_set():
                rclpy.spin_once(listener, timeout_sec=0.2)
                if heard and not once:
                    live.update(heard.pop(), refresh=True)
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > timeout:
                    raise ConfigError(
                        f"no timing of {node or 'any node'} heard for {timeout:g} s",
                        where="/diagnostics",
                        remedy="configure and activate the node; check ROS_DOMAIN_ID, --node",
                    )
        if once and heard:
            console.print(heard[0])
