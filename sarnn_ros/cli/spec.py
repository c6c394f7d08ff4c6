# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn spec`: a spec to begin with, from recordings or from what is published now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarnn_ros.cli.options import Bgr, Fps, listening_node

if TYPE_CHECKING:
    from rich.console import Console

    from sarnn_ros.data.proposal import Proposal
    from sarnn_ros.ros.listening import Heard


def spec(
    bags: Annotated[
        list[Path] | None, typer.Argument(help="Bags or data sets; the first one is looked at.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Propose from what is published now.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the proposed spec to this file.")] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="--live: listen so long after camera and joints came.")
    ] = 8.0,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="--live: give up when they have not come, s.")
    ] = 20.0,
    fps: Fps = None,
    bgr: Bgr = False,
) -> None:
    """Propose a spec: cameras, joints, commands, rate. Correct it before recording or training.

    With --live, move the arm meanwhile as you will demonstrate: its joints and their commands show
    by that. Nothing is published or commanded. With bags, `sarnn inspect` says what is in them as
    well.
    """
    from rich.console import Console

    from sarnn_ros.cli.proposing import refuse_existing, show_proposal
    from sarnn_ros.errors import ConfigError
    from sarnn_ros.interop.loading import Arrays, propose

    if live == bool(bags):
        raise ConfigError(
            "both bags and --live are given" if live else "there is nothing to propose from",
            remedy="give bags, or --live while the drivers of camera and arm run",
        )
    refuse_existing(out)
    console = Console()
    proposed = (
        _propose_live(seconds, timeout, console) if live else propose(bags or (), Arrays(fps, bgr))
    )
    show_proposal(proposed.spec, console, out, notes=proposed.notes)


def _propose_live(seconds: float, timeout: float, console: Console) -> Proposal:
    """:raises SarnnError: no camera or no joints were heard."""
    from sarnn_ros.data.proposal import propose
    from sarnn_ros.signals import stop_on_signals

    with stop_on_signals() as stop, console.status("listening: move the arm meanwhile"):
        with listening_node("sarnn_spec") as node:
            from sarnn_ros.ros.listening import listen

            heard = listen(node, seconds, timeout, stop)
        if stop.is_set():
            raise KeyboardInterrupt
    if heard.topics:
        _print_topics(heard, console)
    present = [f"{topic} ({kind})" for topic, kind in sorted(heard.topics.items())]
    remedy = (
        "start the drivers of camera and arm, and look at 'ros2 topic list -t'; is it the same "
        f"ROS_DOMAIN_ID (here {os.environ.get('ROS_DOMAIN_ID', '0')}), network and RMW?"
    )
    return propose(
        heard.samples.values(), present, "what is published now", remedy, heard.description
    )


def _print_topics(heard: Heard, console: Console) -> None:
    from rich.table import Table

    table = Table(title="published now", title_justify="left")
    for head in ("topic", "type", "Hz", "what it holds"):
        table.add_column(head, overflow="fold", min_width=4)
    for topic, kind in sorted(heard.topics.items()):
        sample = heard.samples.get(topic)
        groups = sample.groups() if sample else []
        rate = f"{sum(one.rate for one in groups):.1f}" if groups else ""
        lost = sample.lost / (sample.lost + sample.count) if sample and sample.lost else 0.0
        what = "not for a spec" if sample is None else ""
        if sample is not None and sample.camera and groups:
            what = "{} x {}".format(*sample.size) + (f", {lost:.0%} lost" if lost else "")
        elif groups:
            what = ", ".join(name for one in groups for name in one.names)
        elif sample is not None and sample.error is not None:
            what = sample.error.problem
        table.add_row(topic, kind, rate, what)
    console.print(table, markup=False)
    if heard.simulated:
        console.print("/clock is published: rates are by its time")
