# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn train`: bags to a policy directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarnn_ros.cli.options import Bgr, Fps, Recordings

if TYPE_CHECKING:
    from rich.console import Console

    from sarnn_ros.data.dataset import Dataset
    from sarnn_ros.spec import Spec
    from sarnn_ros.training.config import TrainConfig
    from sarnn_ros.training.run import Watcher
    from sarnn_ros.training.seeds import Trials

#: A shell's exit status for a program stopped by Ctrl-C.
EXIT_INTERRUPTED = 130


def train(
    bags: Recordings,
    spec: Annotated[Path, typer.Option(help="What is observed and commanded (YAML).")],
    out: Annotated[Path, typer.Option(help="Policy directory to write.")],
    config: Annotated[Path | None, typer.Option(help="Training settings (YAML).")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one setting.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed, another policy.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Train so many seeds and choose between them.")
    ] = None,
    trials: Annotated[
        bool, typer.Option("--trials", help="Choose by the lift task, 54 trials per seed.")
    ] = False,
    validation: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of the episodes kept for validation.")
    ] = 0.2,
    fps: Fps = None,
    bgr: Bgr = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Decode the bags again, and keep nothing of it.")
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

    from sarnn_ros.data.cache import default_cache
    from sarnn_ros.data.report import examine
    from sarnn_ros.data.report_view import print_report
    from sarnn_ros.errors import ConfigError
    from sarnn_ros.interop.loading import Arrays, load_dataset
    from sarnn_ros.spec import load_spec
    from sarnn_ros.training.config import load_config, parse_settings
    from sarnn_ros.training.distributed import is_main_process
    from sarnn_ros.training.estimate import describe
    from sarnn_ros.training.run import make_beside, run_directory
    from sarnn_ros.training.seeds import make_seeds_directory

    if trials and seeds is None:
        raise ConfigError(
            "--trials chooses between seeds, and there is one",
            remedy="add --seeds N, or try the policy with 'sarnn evaluate --sim'",
        )
    console = Console(quiet=not is_main_process())
    overrides = parse_settings(settings or [])
    if seed is not None:
        overrides["seed"] = seed
    training = load_config(config, overrides)
    observed = load_spec(spec)
    if not dry_run:
        # Before minutes of reading and hours of training.
        if seeds is None:
            make_beside(out, run_directory(out))
        else:
            make_seeds_directory(out, resume)
        trial = _make_trials(observed) if trials else None
    with console.status("reading bags") as status:
        dataset = load_dataset(
            bags,
            observed,
            arrays=Arrays(fps, bgr),
            validation=validation,
            seed=training.seed,
            cache=None if no_cache else default_cache(),
            progress=lambda done, total, name: status.update(f"reading bag {done}/{total} {name}"),
        )
    print_report(examine(dataset), console)
    if dry_run:
        console.print(describe(dataset, training))
        if seeds is not None:
            console.print(f"the time is of one seed; {seeds} are trained one after the other")
        return
    if seeds is None:
        _train_one(dataset, training, out, resume, console)
    else:
        _train_seeds(dataset, training, out, seeds, resume, trial, console)


def _train_one(
    dataset: Dataset, config: TrainConfig, out: Path, resume: bool, console: Console
) -> None:
    from sarnn_ros.training.interrupt import StopRequest
    from sarnn_ros.training.run import run_directory
    from sarnn_ros.training.run import train as run_training

    with StopRequest(console.print) as stop, _watch(config, run_directory(out), console) as watch:
        result = run_training(
            dataset,
            config,
            out,
            resume=resume,
            watchers=watch,
            should_stop=stop,
            warn=console.print,
        )
    if not result.finished:
        console.print(f"stopped after epoch {result.epochs}; go on with --resume")
        raise typer.Exit(EXIT_INTERRUPTED)
    console.print(f"{result.out}: trained {result.epochs} epochs in {result.seconds:.0f} s")


def _train_seeds(
    dataset: Dataset,
    config: TrainConfig,
    out: Path,
    count: int,
    resume: bool,
    trials: Trials | None,
    console: Console,
) -> None:
    from sarnn_ros.training.interrupt import StopRequest
    from sarnn_ros.training.progress import seeds_table
    from sarnn_ros.training.seeds import seeds_directory, train_seeds

    def label(seed: int) -> str:
        return f"seed {seed} ({seed - config.seed + 1} of {count})"

    with StopRequest(console.print) as stop:
        comparison = train_seeds(
            dataset,
            config,
            out,
            count,
            resume=resume,
            trials=trials,
            watch=lambda seed, run: _watch(config, run, console, label(seed)),
            should_stop=stop,
            warn=console.print,
        )
    if comparison.stopped is not None:
        console.print(
            f"stopped in {label(comparison.stopped)}; go on with --resume, which keeps the seeds "
            "that are finished"
        )
        raise typer.Exit(EXIT_INTERRUPTED)
    console.print(seeds_table(comparison))
    console.print(f"{out}: seed {comparison.chosen}; all are in {seeds_directory(out)}")


@contextmanager
def _watch(
    config: TrainConfig, run: Path, console: Console, label: str = ""
) -> Iterator[tuple[Watcher, ...]]:
    """What is shown of a training, here and in TensorBoard."""
    from sarnn_ros.training.progress import ProgressBar
    from sarnn_ros.training.tensorboard import TensorBoardLogger

    with (
        ProgressBar(config.epochs, console, label) as bar,
        TensorBoardLogger(run / "tensorboard", console.print) as board,
    ):
        yield bar, board


def _make_trials(spec: Spec) -> Trials:
    """The lift task, for policies of this spec.

    :raises SpecError: the simulator has not what it observes.
    """
    from functools import partial

    from sarnn_ros.policy.runtime import Policy
    from sarnn_ros.sim.trials import check_spec, closed_loop

    check_spec(spec)
    return lambda policy: closed_loop(partial(Policy.load, policy))
