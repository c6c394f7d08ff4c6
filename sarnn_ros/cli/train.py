# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn train`: bags to a policy directory."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarnn_ros.cli.options import Bgr, Failures, Fps, NoCache, Recordings, writing
from sarnn_ros.errors import INTERRUPTED, ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from sarnn_ros.data.dataset import Dataset
    from sarnn_ros.data.report import DatasetReport
    from sarnn_ros.spec import Spec
    from sarnn_ros.training.recipe import Plan


def train(
    bags: Recordings,
    out: Annotated[Path, typer.Option(help="Policy directory to write.")],
    spec: Annotated[
        Path | None,
        typer.Option(
            help="What is observed and commanded (YAML); `sarnn inspect --write-spec` proposes it."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Training settings (YAML).")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one setting.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed, another policy.")] = None,
    validation: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of the episodes kept for validation.")
    ] = 0.1,
    crop: Annotated[
        bool | None,
        typer.Option(
            help="Crop each camera without a crop in the spec to where the first images of the "
            "episodes differ, if that is less than half of the image. Default: yes, of ten or "
            "more episodes; not with recipe eipl.",
            show_default=False,
        ),
    ] = None,
    fps: Fps = None,
    bgr: Bgr = False,
    before: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Go on from this policy with more demonstrations or corrections; give all bags. "
            "It takes a quarter of the time; where it cannot do, all is trained anew.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a policy in OUT; it is kept in OUT.before.")
    ] = False,
    failures: Failures = False,
    no_cache: NoCache = False,
    background: Annotated[
        bool,
        typer.Option(
            "--background",
            help="Leave the cores to all other processes, e.g. a robot's node beside it.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Load, print sizes and estimates, and stop.")
    ] = False,
) -> None:
    """Train a policy from rosbags or data sets. Stop with Ctrl-C and go on later with --resume."""
    # Read when torch is first imported: threads that wait for each other free the core soon.
    # Otherwise training takes twice as long beside another busy process.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from rich.console import Console

    from sarnn_ros.cli.reading import read_recordings
    from sarnn_ros.data.report import examine
    from sarnn_ros.data.report_view import print_report, write_differences
    from sarnn_ros.interop.loading import Arrays
    from sarnn_ros.spec import load_spec
    from sarnn_ros.training.claim import claim
    from sarnn_ros.training.config import load_config, parse_settings
    from sarnn_ros.training.estimate import describe
    from sarnn_ros.training.machine import stand_back
    from sarnn_ros.training.recipe import prepare
    from sarnn_ros.training.rounds import load_before
    from sarnn_ros.training.run import run_directory

    if spec is None:
        raise ConfigError(
            "--spec is missing",
            remedy="'sarnn inspect BAGS --crop --write-spec spec.yaml' proposes one: correct it, "
            "then pass it with --spec",
        )
    if background:
        stand_back()
    # A path may look like rich's markup, which would be taken out of it: /data/[lab]/policy.
    console = Console(markup=False, emoji=False)
    overrides = parse_settings(settings or [])
    if seed is not None:
        overrides["seed"] = seed
    training = load_config(config, overrides)
    observed = load_spec(spec)
    policy = None if before is None else load_before(before)
    with ExitStack() as held:
        if not dry_run:
            # Before minutes of reading and hours of training.
            kept = held.enter_context(claim(out, resume=resume, force=force))
            if kept is not None:
                console.print(f"the earlier policy is kept in {kept}")
        page = None if dry_run else run_directory(out) / "crop.html"

        def write_crop(whole: DatasetReport, dataset: Dataset) -> None:
            if page is not None:
                with writing(page):
                    write_differences(whole, dataset, page)

        plan = prepare(
            bags, observed, training, crop=crop, before_crop=write_crop, before=policy,
            load=partial(read_recordings, console=console, no_cache=no_cache),
            arrays=Arrays(fps, bgr), validation=validation, failures=failures,
        )  # fmt: skip
        whole = plan.whole
        assert whole is not None
        print_report(examine(plan.dataset) if plan.cropped else whole, console)
        if crop is not False:  # below the report, where it is read
            _say_crops(whole, plan.dataset.spec, page, console)
        if dry_run:
            console.print(describe(plan))
            return
        _train(plan, out, resume, console)


def _say_crops(whole: DatasetReport, closer: Spec, page: Path | None, console: Console) -> None:
    cameras = zip(whole.spec.cameras, closer.cameras, whole.differences, strict=True)
    for before, after, found in cameras:
        if found is not None and after.crop is not None and after != before:
            where = after.crop
            console.print(
                f"camera '{after.name}' is cropped to where the episodes differ, x {where.x} to "
                f"{where.x + where.width}, y {where.y} to {where.y + where.height} (--no-crop "
                f"keeps the whole image): about {found.cropped_pixels:.0f} pixels of "
                f"{after.width} x {after.height} there instead of {found.pixels:.0f} of "
                f"{before.width} x {before.height}"
            )
        elif found is not None and found.whole and before.crop is None:
            console.print(f"camera '{after.name}' is not cropped: {found.whole}")
    if whole.spec == closer:
        return
    shows = page or "'sarnn inspect BAGS --spec SPEC --html page.html'"
    console.print(f"all places where the object may lie must be in there: {shows} shows it")


def _train(plan: Plan, out: Path, resume: bool, console: Console) -> None:
    from sarnn_ros.training.interrupt import stop_requests
    from sarnn_ros.training.progress import ProgressBar
    from sarnn_ros.training.run import run_directory
    from sarnn_ros.training.run import train as run_training
    from sarnn_ros.training.tensorboard import TensorBoardLogger

    with (
        stop_requests(console.print) as stop,
        ProgressBar(plan.config.epochs, console) as bar,
        TensorBoardLogger(run_directory(out) / "tensorboard", console.print) as board,
    ):
        result = run_training(
            plan, out, resume=resume, watchers=(bar, board), should_stop=stop, warn=console.print
        )
    if not result.finished:
        console.print(f"stopped after epoch {result.epochs}; go on with --resume")
        raise typer.Exit(INTERRUPTED)
    console.print(f"{result.out}: trained {result.epochs} epochs in {result.seconds:.0f} s")
