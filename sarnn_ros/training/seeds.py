# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Several trainings that differ in their seed, and the choice between them. No terminal.

Beside the policy directory `out` stands `out.seeds/` with a policy and its run per seed, and
`seeds.json` with what is known of each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.errors import PolicyError, TrainingError, join_problems
from sarnn_ros.files import write_text
from sarnn_ros.policy.directory import copy, load_config
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.training.checkpoint import differences, load_checkpoint
from sarnn_ros.training.config import TrainConfig
from sarnn_ros.training.distributed import is_main_process
from sarnn_ros.training.evaluate import free_running, open_loop
from sarnn_ros.training.run import Watcher, checkpoint_path, make_beside, run_directory, train
from sarnn_ros.training.trainer import Diverged

#: Success rates in [0, 1] by kind of trial, of the policy in a directory.
Trials = Callable[[Path], Mapping[str, float]]
#: Given a seed and its run directory, the watchers of its training.
Watch = Callable[[int, Path], AbstractContextManager[tuple[Watcher, ...]]]


@dataclass(frozen=True)
class SeedResult:
    """What is known of one seed's policy; only `failure` if its training failed.

    :param explained: of how the episodes differ, the share that the policy explains when it runs
        on its own predictions, at most 1; see `explained.py`. None if they do not differ.
    :param error: root mean square of the actions predicted from recorded states, as a share of
        the joints' trained ranges.
    :param success: rates by kind of trial, if there were trials.
    """

    seed: int
    failure: str | None = None
    epochs: int | None = None
    restarts: int | None = None
    explained: float | None = None
    error: float | None = None
    success: dict[str, float] | None = None

    @property
    def success_rate(self) -> float | None:
        """Mean over the kinds of trial."""
        return None if self.success is None else sum(self.success.values()) / len(self.success)


@dataclass
class Comparison:
    """The seeds so far.

    :param held_out: whether the figures are of validation episodes, not of training ones.
    :param stopped: the seed in which the training was asked to stop.
    :param chosen: the seed whose policy is in `out`.
    """

    held_out: bool
    rows: list[SeedResult] = field(default_factory=list)
    stopped: int | None = None
    chosen: int | None = None


def seeds_directory(out: Path) -> Path:
    """Where the policies are from which one is chosen for `out`."""
    out = out.resolve()
    return out.parent / f"{out.name}.seeds"


def make_seeds_directory(out: Path, resume: bool) -> Path:
    """`seeds_directory`, made; see `make_beside`.

    :raises TrainingError: nothing can be written there; or it holds seeds, whichever, and is not
        to be resumed.
    """
    folder = make_beside(out, seeds_directory(out))
    trained = {path.name for path in folder.glob("seed_*") if path.suffix != ".run"}
    trained |= {path.parent.stem for path in folder.glob("seed_*.run/checkpoint.pt")}
    if trained and not resume:
        raise TrainingError(
            f"holds seeds that were trained before: {', '.join(sorted(trained))}",
            where=folder,
            remedy="go on with --resume, or give another --out, or delete that folder",
        )
    return folder


def train_seeds(
    dataset: Dataset,
    config: TrainConfig,
    out: Path,
    count: int,
    *,
    resume: bool = False,
    trials: Trials | None = None,
    watch: Watch,
    should_stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Train `count` seeds from `config.seed` on, one after the other; the best becomes `out`.

    A seed whose training fails is reported, and the others go on. Of the processes that torchrun
    starts, the main one evaluates and chooses.

    :param resume: keep the seeds that are finished and go on with the one that is not. Without it,
        an `out.seeds` that holds any is refused.
    :param trials: tries a policy where it can be tried.
    :param should_stop, warn: as of `train`.
    :raises TrainingError: as `train`, except for a training that diverges; every seed failed; what
        is to be resumed is of another training, or missing. `out` is as it was.
    """
    folder = make_seeds_directory(out, resume)
    configs = {
        _policy(folder, seed): config.model_copy(update={"seed": seed})
        for seed in range(config.seed, config.seed + count)
    }
    # Before any training, since under torchrun all processes must find the same.
    begun = _begun(configs, dataset, folder) if resume else set()
    finished = {
        path for path, its in configs.items() if resume and _is_finished(path, its, dataset)
    }
    if resume and not begun | finished:
        raise TrainingError(
            "there is no seed to resume", where=folder, remedy="start without --resume"
        )
    known = _read(folder)
    comparison = Comparison(held_out=bool(_held_out(dataset)))
    for path, its in configs.items():
        failure = None
        if path not in finished:
            try:
                with watch(its.seed, run_directory(path)) as watchers:
                    result = train(
                        dataset,
                        its,
                        path,
                        resume=path in begun,
                        watchers=watchers,
                        should_stop=should_stop,
                        warn=warn,
                    )
            except (Diverged, PolicyError) as error:
                failure = str(error)
                warn(f"seed {its.seed} failed: {failure}")
            else:
                if not result.finished:
                    comparison.stopped = its.seed
                    return comparison
        if is_main_process():
            row = known.get(its.seed) if path in finished else None
            comparison.rows.append(
                SeedResult(its.seed, failure)
                if failure
                else _result(its.seed, path, dataset, trials, row)
            )
            _write(folder, comparison)
    if is_main_process():
        comparison.chosen = choose(comparison.rows).seed
        copy(_policy(folder, comparison.chosen), out)
        _write(folder, comparison)
    return comparison


def choose(rows: Iterable[SeedResult]) -> SeedResult:
    """The best: by success where all were tried, then by explained variance, then by error.

    :raises TrainingError: there is no policy to choose.
    """
    rows = list(rows)
    candidates = [row for row in rows if row.failure is None]
    if not candidates:
        raise TrainingError(
            "no seed produced a policy:"
            + join_problems(f"seed {row.seed}: {row.failure}" for row in rows),
            remedy="see the first of them",
        )
    tried = all(row.success is not None for row in candidates)

    def rank(row: SeedResult) -> tuple[float, float, float]:
        success = row.success_rate if tried else None
        explained = -math.inf if row.explained is None else row.explained
        return success or 0.0, explained, -math.inf if row.error is None else -row.error

    return max(candidates, key=rank)


def _policy(folder: Path, seed: int) -> Path:
    return folder / f"seed_{seed}"


def _held_out(dataset: Dataset) -> list[int]:
    """Validation episodes of which anything can be predicted."""
    return [index for index in dataset.validation if len(dataset.episodes[index].ticks) > 1]


def _begun(configs: Mapping[Path, TrainConfig], dataset: Dataset, folder: Path) -> set[Path]:
    """:raises TrainingError: a checkpoint was made with other settings or data."""
    begun = {path for path in configs if checkpoint_path(path).exists()}
    for path in begun:
        load_checkpoint(checkpoint_path(path), configs[path], dataset)
    return begun


def _is_finished(path: Path, config: TrainConfig, dataset: Dataset) -> bool:
    try:
        made = load_config(path).training
    except PolicyError:  # missing or incomplete: its checkpoint writes it again
        return False
    return not differences(made["config"], {"fingerprint": made["data"]}, config, dataset)


def _result(
    seed: int, path: Path, dataset: Dataset, trials: Trials | None, known: SeedResult | None
) -> SeedResult:
    """:param known: what was found out before an interruption."""
    if known is not None and (known.success is not None or trials is None):
        return known
    made = load_config(path).training
    policy, indices = Policy.load(path), _held_out(dataset) or dataset.training
    normalisation = policy.config.normalisation
    span = np.subtract(normalisation.maximum, normalisation.minimum)
    relative = np.array(list(open_loop(policy, dataset, indices)["rmse"].values())) / span
    free = free_running(policy, dataset, indices, dataset.training)
    return SeedResult(
        seed,
        epochs=made["epochs"],
        restarts=made["restarts"],
        explained=free["explained_variance"],
        error=float(np.sqrt(np.mean(relative**2))),
        success=None if trials is None else dict(trials(path)),
    )


def _read(folder: Path) -> dict[int, SeedResult]:
    """What was found out before an interruption; what cannot be read is found out again."""
    try:
        values: Any = json.loads((folder / "seeds.json").read_text(encoding="utf-8"))
        rows = [SeedResult(**row) for row in values["seeds"]]
        return {row.seed: row for row in rows if row.failure is None}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _write(folder: Path, comparison: Comparison) -> None:
    values = {
        "chosen": comparison.chosen,
        "episodes": "validation" if comparison.held_out else "training",
        "seeds": [asdict(row) for row in comparison.rows],
    }
    try:
        write_text(folder / "seeds.json", json.dumps(values, indent=2) + "\n")
    except OSError as error:
        raise TrainingError(
            f"cannot be written ({error})",
            where=folder / "seeds.json",
            remedy="free some space; with --resume no finished seed is trained again",
        ) from error
