# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One training from dataset to policy directory: checkpoints, early stopping, export.

Beside the policy directory `out` stands `out.run/` with what is only of use while training: the
checkpoint and TensorBoard's files.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
import yaml

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.errors import TrainingError
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy.envelope import envelope_from_dataset
from sarnn_ros.policy.export import export_policy
from sarnn_ros.policy.health import reference as health_reference
from sarnn_ros.training.checkpoint import describe_data, load_checkpoint, save_checkpoint
from sarnn_ros.training.config import TrainConfig
from sarnn_ros.training.machine import choose_device, image_budget, prepare
from sarnn_ros.training.sequences import Sequences, make_sequences
from sarnn_ros.training.team import Team
from sarnn_ros.training.team import team as join_team
from sarnn_ros.training.trainer import Diverged, Epoch, Trainer, make_model
from sarnn_ros.viz.curves import plot_curves

#: Wall time between checkpoints, s. An epoch may be shorter; it is never cut.
CHECKPOINT_SECONDS = 10.0

Watcher = Callable[[Trainer, Epoch], None]


@dataclass
class Progress:
    """What is remembered from epoch to epoch besides the trainer's own state.

    :param best_loss: of validation, at `best_epoch`; `best_weights` only with `keep: best`.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    best_loss: float | None = None
    best_epoch: int | None = None
    best_weights: dict[str, torch.Tensor] | None = None


@dataclass(frozen=True)
class Result:
    """How a training ended. `finished` is False if it was asked to stop before its end."""

    out: Path
    finished: bool
    epochs: int
    seconds: float
    history: list[dict[str, Any]]


def run_directory(out: Path) -> Path:
    """Where the checkpoint of the training for the policy `out` lies."""
    out = out.resolve()  # "." has no name
    return out.parent / f"{out.name}.run"


def checkpoint_path(out: Path) -> Path:
    """The checkpoint of the training for the policy `out`."""
    return run_directory(out) / "checkpoint.pt"


def make_run_directory(out: Path) -> Path:
    """`run_directory`, made; see `make_beside`."""
    return make_beside(out, run_directory(out))


def make_beside(out: Path, beside: Path) -> Path:
    """Make the folder `beside` the policy `out`. What can be known before training of whether they
    can be written is found out here.

    :raises TrainingError: nothing can be written there.
    """
    try:
        beside.mkdir(parents=True, exist_ok=True)
        if out.exists() and not out.is_dir():
            raise NotADirectoryError("there is a file of that name")
        for directory in (beside, out):
            if directory.exists() and not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError(f"no permission to write into {directory}")
    except OSError as error:
        raise TrainingError(
            f"cannot be written ({error})", where=out, remedy="give another --out"
        ) from error
    return beside


def make_trainer(dataset: Dataset, config: TrainConfig, team: Team | None = None) -> Trainer:
    """Everything seeded and on its device, ready to run.

    :raises TrainingError: no training episode has two ticks.
    """
    device = prepare(config)
    training = _sequences(dataset, dataset.training, config, device)
    if training is None or not bool(training.steps().any()):
        raise TrainingError(
            f"no training episode has two ticks ({len(dataset.training)} episodes)",
            where="dataset",
            remedy="give longer episodes, or check the spec's rate and the bags' report",
        )
    validation = _sequences(dataset, dataset.validation, config, device)
    if validation is not None and not bool(validation.steps().any()):
        validation = None
    torch.manual_seed(config.seed)
    model = make_model(config, dataset.spec).to(device)
    return Trainer(model, training, validation, config, dataset.spec, team)


def train(
    dataset: Dataset,
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    watchers: tuple[Watcher, ...] = (),
    should_stop: Callable[[], bool] = lambda: False,
    warn: Callable[[str], None] = lambda text: None,
) -> Result:
    """Train and write the policy directory `out`.

    Of the processes that torchrun starts, each does its part; the first one writes files and calls
    the watchers.

    :param resume: go on from the checkpoint in `out.run/`.
    :param watchers: called after every epoch.
    :param should_stop: asked after every epoch; True saves a checkpoint and leaves.
    :param warn: told what does not stop the training but should be known.
    :raises TrainingError: nothing to train on, a loss that explodes, a checkpoint that does
        not belong to this training, or `out` that cannot be written.
    """
    with join_team(choose_device(config.device)) as team:
        team.check_equal(f"{dataset.fingerprint} {config.model_dump_json()}", "data and settings")
        return _train(dataset, config, out, team, resume, watchers, should_stop, warn)


def _train(
    dataset: Dataset,
    config: TrainConfig,
    out: Path,
    team: Team,
    resume: bool,
    watchers: tuple[Watcher, ...],
    should_stop: Callable[[], bool],
    warn: Callable[[str], None],
) -> Result:
    checkpoint = checkpoint_path(out)
    trainer = make_trainer(dataset, config, team)
    progress = Progress()
    if resume:
        state = load_checkpoint(checkpoint, config, dataset)
        same_numbers = trainer.load_state_dict(state["trainer"])
        progress = Progress(**state["progress"])
        if team.leads and not same_numbers:
            warn(
                f"{checkpoint} was made on another kind of device than {trainer.device}: this "
                "training goes on, but with other random numbers than there, not as if it had "
                "never been interrupted"
            )
        # How frames are split between threads decides how sums of them are rounded.
        threads, then = torch.get_num_threads(), state.get("threads")  # older ones do not say
        if team.leads and trainer.device.type == "cpu" and then not in (None, threads):
            warn(
                f"{checkpoint} was made with {then} CPU threads, and now there are {threads}: "
                "this training goes on, but rounds otherwise than if it had never been "
                f"interrupted; for the same to the bit, give it {then} cores and threads={then}"
            )
    make_run_directory(out)
    if not resume and team.leads and checkpoint.exists():
        kept = _put_aside(checkpoint)
        warn(f"begun anew, without --resume; what was trained before is kept as {kept}")
    if trainer.validation is None and (config.keep == "best" or config.patience is not None):
        warn(
            "no validation episodes: the last weights are kept, and training stops after all "
            f"{config.epochs} epochs (keep: {config.keep}, patience: {config.patience})"
        )

    def save() -> None:
        if not team.leads:
            return
        state = {
            "config": config.model_dump(mode="json"),
            "data": describe_data(dataset),
            "threads": torch.get_num_threads(),
            "trainer": trainer.state_dict(),
            "progress": vars(progress),
        }
        try:
            save_checkpoint(checkpoint, state)
        except (OSError, RuntimeError) as error:  # torch.save turns some OSErrors into these
            warn(f"{checkpoint}: not saved ({error}); the previous checkpoint is kept")

    saved = started = time.monotonic()
    before = progress.seconds
    stopped = False
    ended = _out_of_patience(progress, config, trainer.epoch - 1)
    for epoch in () if ended else _epochs(trainer, checkpoint):
        now = time.monotonic()
        progress.seconds = before + now - started
        progress.history.append(asdict(epoch))
        if trainer.epoch == 0:  # started afresh: what was remembered is of other weights
            progress = Progress(seconds=progress.seconds)
            warn(
                f"no attention point has found what differs between the episodes by epoch "
                f"{config.attend_by}: starting afresh ({trainer.restarts}/{config.restarts})"
            )
        else:
            _remember_best(progress, trainer, epoch)
        for watcher in watchers if team.leads else ():
            watcher(trainer, epoch)
        stopped = team.any(should_stop())
        if stopped or now - saved >= CHECKPOINT_SECONDS:
            save()
            saved = now
        ended = team.decide(_out_of_patience(progress, config, epoch.number))
        if stopped or ended:
            break
    finished = ended or not stopped or trainer.epoch >= config.epochs
    if finished and team.leads:
        save()
        model = trainer.finish(progress.best_weights)
        if trainer.is_blind():
            warn(
                "no attention point differs between the starts of the episodes: if what the robot "
                "handles lies differently in each, the policy does not see it; train with another "
                "--seed (docs/explanation/training.md)"
            )
        try:
            with tempfile.TemporaryDirectory(prefix="sarnn_train_") as scratch:
                _export(dataset, config, out, Path(scratch), trainer, model, progress)
        except OSError as error:
            raise TrainingError(
                f"the policy cannot be written ({error})",
                where=out,
                remedy="free some space; with --resume only the writing is done again",
            ) from error
    return Result(out, finished, trainer.epoch, progress.seconds, progress.history)


def _put_aside(checkpoint: Path) -> Path:
    """Rename it to the first name that is free, so that none put aside before is lost."""
    names = (f"{checkpoint.name}.before{f'.{n}' if n > 1 else ''}" for n in count(1))
    kept = next(path for path in map(checkpoint.with_name, names) if not path.exists())
    checkpoint.replace(kept)
    return kept


def _epochs(trainer: Trainer, checkpoint: Path) -> Iterator[Epoch]:
    """`Trainer.run`; if it diverges, the error says what is left."""
    try:
        yield from trainer.run(time.monotonic)
    except Diverged as error:
        left = (
            f"{checkpoint} is kept, of an epoch before; to go on from it comes to the same"
            if checkpoint.exists()
            else "no checkpoint had been saved"
        )
        raise Diverged(
            error.problem, where=error.where, remedy=f"{error.remedy} ({left})"
        ) from error


def _sequences(
    dataset: Dataset, indices: tuple[int, ...], config: TrainConfig, device: torch.device
) -> Sequences | None:
    if not indices:
        return None
    episodes = [dataset.episodes[index] for index in indices]
    cameras = [camera.name for camera in dataset.spec.cameras]
    budget = image_budget(config, device)
    return make_sequences(episodes, cameras, dataset.normaliser, device, budget)


def _remember_best(progress: Progress, trainer: Trainer, epoch: Epoch) -> None:
    if epoch.validation is None:
        return
    if progress.best_loss is None or epoch.validation.total < progress.best_loss:
        progress.best_loss = epoch.validation.total
        progress.best_epoch = epoch.number
        if trainer.config.keep == "best":
            weights = trainer.final_model().state_dict()
            progress.best_weights = {name: value.clone() for name, value in weights.items()}


def _out_of_patience(progress: Progress, config: TrainConfig, number: int) -> bool:
    if config.patience is None or progress.best_epoch is None:
        return False
    return number - progress.best_epoch >= config.patience


def _export(
    dataset: Dataset,
    config: TrainConfig,
    out: Path,
    scratch: Path,
    trainer: Trainer,
    model: SARNN,
    progress: Progress,
) -> None:
    extras = {name: scratch / name for name in ("curves.png", "train.yaml")}
    plot_curves(progress.history, extras["curves.png"])
    extras["train.yaml"].write_text(yaml.safe_dump(config.model_dump(), sort_keys=False))
    last = progress.history[-1]
    export_policy(
        out,
        model,
        spec=dataset.spec,
        normaliser=dataset.normaliser,
        envelope=envelope_from_dataset(dataset),
        training={
            "config": config.model_dump(mode="json"),
            "data": dataset.fingerprint,
            "episodes": {"training": len(dataset.training), "validation": len(dataset.validation)},
            "epochs": trainer.epoch,
            "best_epoch": progress.best_epoch if config.keep == "best" else None,
            "restarts": trainer.restarts,
            "attention_spread": trainer.attention_spread(),
            "blind": trainer.is_blind(),
            "seconds": round(progress.seconds, 1),
            "loss": last["training"],
            "torch": torch.__version__,
        },
        health=partial(health_reference, dataset=dataset),
        extra_files=extras,
    )
