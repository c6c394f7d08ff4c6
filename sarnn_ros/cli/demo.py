# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn demo`: the whole loop on the simulated arm, from demonstrations to a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path(
        "demo_output"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of demonstrations and training.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small run: do the parts work together?")
    ] = False,
    domain_id: Annotated[
        int | None, typer.Option(min=0, max=101, help="ROS domain; by default a free one.")
    ] = None,
) -> None:
    """Demonstrate, record, train and grasp, in simulation, over ROS 2. About ten minutes.

    It can be stopped at any time, and goes on when it is run again. Exit code 1 if the policy
    does not reach the success rates it should, unless it was --quick.
    """
    from sarnn_ros.sim import demo as orchestrator

    settings = orchestrator.Settings(out=out, seed=seed, domain_id=domain_id)
    report = orchestrator.Demo(orchestrator.quick(settings) if quick else settings).run()
    if not quick and not all(report["gate"].values()):
        missed = ", ".join(name for name, reached in report["gate"].items() if not reached)
        typer.echo(f"the policy does not reach what it should: {missed}", err=True)
        raise typer.Exit(1)
