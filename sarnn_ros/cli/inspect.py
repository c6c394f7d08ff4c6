# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn inspect`: what is in bags, what is wrong with it, and a spec to begin with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarnn_ros.cli.options import Bgr, Failures, Fps, NoCache, Recordings, writing

if TYPE_CHECKING:
    from sarnn_ros.data.dataset import Dataset
    from sarnn_ros.data.problems import Problem
    from sarnn_ros.data.report import DatasetReport


def inspect(
    bags: Recordings,
    spec: Annotated[
        Path | None, typer.Option(help="What is observed (YAML). Without it one is proposed.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the report as JSON; - for the terminal.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--html", help="Write one HTML page: what cameras and network see, plots."),
    ] = None,
    write_spec: Annotated[
        Path | None, typer.Option(help="Write the proposed spec to this file.")
    ] = None,
    crop: Annotated[
        bool,
        typer.Option(
            "--crop",
            help="Propose the cameras, of --spec as well, cropped to where the episodes differ; "
            "--html shows it.",
        ),
    ] = False,
    search: Annotated[
        bool,
        typer.Option(
            "--search",
            help="Search for attention as 'sarnn train' does, with its crops (a minute), and say "
            "how much of the differences between episodes its points explain.",
        ),
    ] = False,
    fps: Fps = None,
    bgr: Bgr = False,
    failures: Failures = False,
    no_cache: NoCache = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for warnings as well.")
    ] = False,
) -> None:
    """Report on recordings: streams, joints, cameras and whether they were moved, episodes, each
    problem with its remedy.

    Exit code 1 if a bag cannot be used (with --strict: if there is any warning).
    """
    import json

    from rich.console import Console

    from sarnn_ros.cli.proposing import refuse_existing, show_proposal
    from sarnn_ros.cli.reading import read_recordings
    from sarnn_ros.data.displacements import read_aligned
    from sarnn_ros.data.places import place_map
    from sarnn_ros.data.proposal import Proposal
    from sarnn_ros.data.report import examine
    from sarnn_ros.data.report_view import print_report, write_page
    from sarnn_ros.errors import ConfigError, SarnnError
    from sarnn_ros.files import write_text
    from sarnn_ros.interop.loading import Arrays, propose
    from sarnn_ros.spec import load_spec

    if spec is not None and write_spec is not None and not crop:
        raise ConfigError(
            "both --spec and --write-spec are given",
            remedy="a spec is only proposed where none is given: drop one of them, or add --crop",
        )
    refuse_existing(write_spec)
    # JSON on the terminal must stay alone on stdout.
    console = Console(stderr=str(json_file) == "-")
    arrays = Arrays(fps, bgr)
    proposal = Proposal(load_spec(spec)) if spec is not None else propose(bags, arrays)
    chosen, notes = proposal.spec, proposal.notes
    read = partial(
        read_recordings, bags, console=console, no_cache=no_cache, arrays=arrays, failures=failures
    )
    try:
        dataset = read_aligned(read, chosen, align=False)  # as training does by default
    except SarnnError:
        if spec is None:  # it may need a correction
            show_proposal(chosen, console, write_spec, notes=notes)
        raise
    report = examine(dataset)
    if search:
        found = _search(dataset, report, read)
        report = dataclasses.replace(report, problems=(*report.problems, found))
    if spec is None or crop:
        show_proposal(chosen, console, write_spec, report.differences, crop=crop, notes=notes)
    print_report(report, console)
    if places := place_map(dataset):
        console.print(f"{places.camera}: {places.text}", markup=False, highlight=False)
    if page is not None:
        with writing(page):
            write_page(report, dataset, page)
        console.print(f"page: {page}", markup=False)
    if json_file is not None:
        text = json.dumps(report.as_dict(), indent=1)
        if str(json_file) == "-":
            typer.echo(text)
        else:
            with writing(json_file):
                write_text(json_file, text)
    if report.worst == "error" or (strict and report.worst == "warning"):
        raise typer.Exit(1)


def _search(dataset: Dataset, report: DatasetReport, read: Callable[..., Dataset]) -> Problem:
    from sarnn_ros.training.config import make_config
    from sarnn_ros.training.estimate import search
    from sarnn_ros.training.recipe import choose_crop, decide

    config = make_config({})
    closer = choose_crop(report, config)
    if closer != dataset.spec:
        dataset = read(closer, displacements=dataset.displacements)
    return search(decide(dataset, config))
