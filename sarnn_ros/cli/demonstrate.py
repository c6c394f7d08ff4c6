# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn demonstrate`: the scripted expert in the simulator, recorded as rosbag2 files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demonstrate(
    out: Annotated[Path, typer.Option(help="Folder for the bags, one per episode.")],
    episodes: Annotated[int, typer.Option(min=1, max=1000, help="Number of episodes.")] = 25,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the demonstrations.")] = 0,
) -> None:
    """Let the scripted expert lift the cube in the simulator and record it, one bag per episode.

    Existing episodes are kept: an interrupted run goes on where it stopped.
    """
    from rich.progress import MofNCompleteColumn, Progress

    from sarnn_ros.sim.demonstrations import demonstrate as record

    with Progress(*Progress.get_default_columns(), MofNCompleteColumn()) as bar:
        task = bar.add_task("demonstrating", total=episodes)
        bags = record(
            out,
            episodes=episodes,
            seed=seed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(f"{len(bags)} bags in {out}")
