# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn evaluate`: a policy on recorded episodes, and in the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sarnn_ros.cli.options import Bgr, Failures, Fps, NoCache, writing

if TYPE_CHECKING:
    from sarnn_ros.data.dataset import Dataset
    from sarnn_ros.data.problems import Problem


def evaluate(
    policy: Annotated[Path, typer.Argument(help="Policy directory.")],
    bags: Annotated[
        list[Path] | None, typer.Argument(help="Bags or data sets to predict.")
    ] = None,
    fps: Fps = None,
    bgr: Bgr = False,
    failures: Failures = False,
    no_cache: NoCache = False,
    sim: Annotated[bool, typer.Option("--sim", help="Also try the lift task, 54 trials.")] = False,
    json: Annotated[
        Path | None, typer.Option(help="Write the figures here, too; - does not.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--html", help="Write one page: attention, joints, LSTM state, losses."),
    ] = None,
) -> None:
    """Measure how well a policy predicts, where it looks, and how often it succeeds.

    Exit code 1 if a recording cannot be used or is damaged: the figures are of what is sound.
    One that was labelled a failure is left out, with exit code 0, unless --failures is given.
    """
    import json as encoder
    from functools import partial

    from rich.console import Console

    from sarnn_ros.cli.reading import read_recordings
    from sarnn_ros.data.problems import gathered
    from sarnn_ros.errors import ConfigError
    from sarnn_ros.files import write_text
    from sarnn_ros.interop.loading import Arrays
    from sarnn_ros.policy.runtime import Policy
    from sarnn_ros.training.evaluate import (
        free_running,
        judge_cameras,
        open_loop,
        summary,
    )
    from sarnn_ros.training.evaluation_page import write_page

    if not bags and not sim:
        raise ConfigError("there is nothing to evaluate on", remedy="give bags, or --sim")
    if page is not None and not bags:
        raise ConfigError("--html shows recorded episodes", remedy="give bags")
    loaded = Policy.load(policy)
    result: dict[str, Any] = {}
    problems: list[Problem] = []
    if bags:
        load = partial(
            read_recordings, bags, loaded.spec, Console(stderr=True), no_cache=no_cache,
            arrays=Arrays(fps, bgr), validation=0, failures=failures,
        )  # fmt: skip
        dataset = load()
        moved, said = judge_cameras(loaded, dataset.episodes)
        if any(one.undone for one in moved):
            dataset = load(displacements=moved)
        if said:
            result["cameras"] = list(said)
        episodes = dataset.training
        result["recordings"], problems = _used(dataset)
        result["open_loop"] = open_loop(loaded, dataset, episodes)
        result["free_running"] = free_running(loaded, dataset, episodes, episodes)
    if sim:
        from sarnn_ros.sim.trials import closed_loop

        result["closed_loop"] = closed_loop(partial(Policy.load, policy))
    text = encoder.dumps(result, indent=2)
    typer.echo(text)
    if json is not None and str(json) != "-":  # they are on the terminal
        with writing(json):
            write_text(json, text + "\n")
    if page is not None:
        with writing(page):
            write_page(loaded, dataset, result, page)
    # Not on stdout, which is JSON.
    if bags:
        typer.echo("\n".join(said), err=True, nl=bool(said))
        typer.echo(summary(result, loaded.spec), err=True)
    if problems:
        typer.echo("\n".join(map(str, gathered(problems))), err=True)
        used, given = result["recordings"]["used"], result["recordings"]["given"]
        typer.echo(f"evaluated on {used} of {given} recordings", err=True)
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(1)


def _used(dataset: Dataset) -> tuple[dict[str, Any], list[Problem]]:
    """Which recordings the figures are of, and why not of the others."""
    left_out = [report for report in dataset.bags if not report.episodes]
    about = {
        "given": len(dataset.bags),
        "used": len(dataset.bags) - len(left_out),
        "left_out": [
            {"path": report.path, "why": "; ".join(one.found for one in report.problems)}
            for report in left_out
        ],
    }
    problems = [problem for report in left_out for problem in report.problems]
    problems += [
        problem
        for report in dataset.bags
        for problem in report.problems
        if report.episodes and problem.severity == "error"
    ]
    return about, problems
