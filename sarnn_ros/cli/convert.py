# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn convert`: recordings to the data sets that other programs read."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from sarnn_ros.cli.options import Bgr, Failures, Fps, NoCache, Recordings


class Format(str, Enum):
    """What can be written."""

    lerobot = "lerobot"
    eipl = "eipl"


def convert(
    bags: Recordings,
    spec: Annotated[Path, typer.Option(help="What is observed and commanded (YAML).")],
    to: Annotated[Format, typer.Option(help="LeRobotDataset v3, or EIPL's folders.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    task: Annotated[
        str | None,
        typer.Option(
            help="What is shown, in words (LeRobot). Default: what the data say, or OUT's name."
        ),
    ] = None,
    fps: Fps = None,
    bgr: Bgr = False,
    failures: Failures = False,
    no_cache: NoCache = False,
) -> None:
    """Write recordings as a data set for LeRobot or EIPL, tick by tick as training sees them.

    Exit code 1 if something had to be left out. One that was labelled a failure is left out, with
    exit code 0, unless --failures is given.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    from sarnn_ros.data.cache import default_cache
    from sarnn_ros.data.problems import gathered
    from sarnn_ros.errors import ConfigError
    from sarnn_ros.interop.eipl_dataset import export_eipl
    from sarnn_ros.interop.lerobot_writer import export_lerobot
    from sarnn_ros.interop.loading import Arrays, find_recordings, load_dataset
    from sarnn_ros.spec import load_spec

    if task is not None and to is not Format.lerobot:
        raise ConfigError("--task is of LeRobot's format", remedy="leave it out")
    console = Console()
    chosen, arrays = load_spec(spec), Arrays(fps, bgr)
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console) as bar:
        job = bar.add_task("converting", total=None)

        def show(done: int, total: int, name: str) -> None:
            bar.update(job, completed=done, total=total, description=name or "done")

        if to is Format.lerobot:
            reports = export_lerobot(
                find_recordings(bags, arrays, failures=failures), chosen, out,
                task=task, arrays=arrays, progress=show,
            )  # fmt: skip
        else:
            dataset = load_dataset(
                bags, chosen, arrays=arrays, failures=failures, progress=show,
                cache=None if no_cache else default_cache(),
            )  # fmt: skip
            export_eipl(out, dataset)
            reports = list(dataset.bags)
    problems = [problem for report in reports for problem in report.problems]
    for problem in gathered(problems):
        console.print(str(problem), markup=False, highlight=False)
    episodes = sum(len(report.episodes) for report in reports)
    console.print(f"{out}: {episodes} episodes of {len(reports)} recordings", markup=False)
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(1)
