# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn inspect`: what is in bags, what is wrong with it, and a spec to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sarnn_ros.cli.options import Bgr, Failures, Fps, NoCache, Recordings, writing


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
        typer.Option(
            "--page", "--html", help="Write one HTML page: what cameras and network see, plots."
        ),
    ] = None,
    write_spec: Annotated[
        Path | None, typer.Option(help="Write the proposed spec to this file.")
    ] = None,
    fps: Fps = None,
    bgr: Bgr = False,
    failures: Failures = False,
    no_cache: NoCache = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for warnings as well.")
    ] = False,
) -> None:
    """Report on recordings: streams, joints, cameras, episodes, each problem with its remedy.

    Exit code 1 if a bag cannot be used (with --strict: if there is any warning).
    """
    import json

    from rich.console import Console
    from rich.status import Status

    from sarnn_ros.data.cache import default_cache
    from sarnn_ros.data.report import examine
    from sarnn_ros.data.report_view import print_report, write_page
    from sarnn_ros.errors import ConfigError
    from sarnn_ros.files import write_text
    from sarnn_ros.interop.loading import Arrays, load_dataset, propose
    from sarnn_ros.spec import dump_spec, load_spec

    # JSON on the terminal must stay alone on stdout.
    to_stdout = json_file is not None and str(json_file) == "-"
    console = Console(stderr=to_stdout)
    arrays = Arrays(fps, bgr)
    if spec is not None:
        if write_spec is not None:
            raise ConfigError(
                "both --spec and --write-spec are given",
                remedy="a spec is only proposed where none is given: drop one of them",
            )
        chosen = load_spec(spec)
    else:
        chosen = propose(bags, arrays)
        text = dump_spec(chosen)
        console.print("proposed spec (correct it, then pass it with --spec):", style="bold")
        console.print(text, markup=False, highlight=False)
        if write_spec is not None:
            if write_spec.exists():
                raise ConfigError("exists already", where=write_spec, remedy="give another path")
            with writing(write_spec):
                write_text(write_spec, text)
    with Status("reading bags", console=console) as status:
        dataset = load_dataset(
            bags, chosen, arrays=arrays, failures=failures,
            cache=None if no_cache else default_cache(),
            progress=lambda done, total, name: status.update(f"{done + 1}/{total} {name}"),
        )  # fmt: skip
    report = examine(dataset)
    print_report(report, console)
    if page is not None:
        with writing(page):
            write_page(report, dataset, page)
        console.print(f"page: {page}", markup=False)
    if json_file is not None:
        text = json.dumps(report.as_dict(), indent=1)
        if to_stdout:
            typer.echo(text)
        else:
            with writing(json_file):
                write_text(json_file, text)
    if report.worst == "error" or (strict and report.worst == "warning"):
        raise typer.Exit(1)
