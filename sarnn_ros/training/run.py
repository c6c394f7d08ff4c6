# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One training from dataset to policy directory: everything around the loop of `trainer.py`.

Beside the policy directory `out` stands `out.run/` with what is only of use while training: the
checkpoint and TensorBoard's files.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.errors import ConfigError, TrainingError, join_problems
from sarnn_ros.files import name_aside
from sarnn_ros.geometry import feature_size
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy.envelope import envelope_from_dataset
from sarnn_ros.policy.export import export_policy
from sarnn_ros.policy.health import reference as health_reference
from sarnn_ros.policy.reference import references_from_dataset
from sarnn_ros.streams.preprocess import MIN_RANGE
from sarnn_ros.training.checkpoint import describe_data, is_of, load_checkpoint, save_checkpoint
from sarnn_ros.training.config import TrainConfig
from sarnn_ros.training.evaluate import per_joint, rms
from sarnn_ros.training.explained import stretched
from sarnn_ros.training.hold_units import FORGET_BIAS
from sarnn_ros.training.machine import set_up
from sarnn_ros.training.recipe import RECIPE, Plan
from sarnn_ros.training.renormalise import without_motion
from sarnn_ros.training.sequences import Sequences, make_sequences
from sarnn_ros.training.trainer import Diverged, Epoch, Trainer
from sarnn_ros.training.warping import at_best_pace
from sarnn_ros.viz.curves import plot_curves

__all__ = ["Result", "train"]

#: Wall time between checkpoints, s; an epoch is never cut. Where none could be written, a training
#: that was asked to stop goes on, and tries again so often: all would be lost.
CHECKPOINT_SECONDS, RETRY_SECONDS = 10.0, 2.0

Watcher = Callable[[Trainer, Epoch], None]
Warn = Callable[[str], None]


@dataclass
class Progress:
    """What is kept from epoch to epoch besides the trainer's own state.

    :param before: the policy that was gone on from, see `rounds.Before.about`; None: none was.
    :param best_loss: the least validation loss, of `best_epoch`.
    :param best_weights: of that epoch, with `keep: best` only.
    """

    before: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    best_loss: float | None = None
    best_epoch: int | None = None
    best_weights: dict[str, torch.Tensor] | None = None

    def add(self, trainer: Trainer, epoch: Epoch) -> None:
        """Enter an epoch."""
        self.history.append(asdict(epoch))
        if epoch.validation is None:
            return
        if self.best_loss is None or epoch.validation.total < self.best_loss:
            self.best_loss, self.best_epoch = epoch.validation.total, epoch.number
            if trainer.config.keep == "best":
                weights = trainer.final_model().state_dict()
                self.best_weights = {name: value.clone() for name, value in weights.items()}

    def out_of_patience(self, config: TrainConfig, epoch: int) -> bool:
        """Whether to stop early after this epoch. Only a validation can tell."""
        if config.patience is None or self.best_epoch is None:
            return False
        if self.history[-1]["validation"] is None:
            return False
        return epoch - self.best_epoch >= config.patience


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


def make_run_directory(out: Path) -> None:
    """Make it, and check that a policy can be written to `out` before hours are spent on training.

    :raises TrainingError: nothing can be written there.
    """
    beside = run_directory(out)
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


def make_model(plan: Plan, motion_dim: int = 0) -> SARNN:
    """A new network for the cameras and joints of the dataset.

    :param motion_dim: numbers that tell the motion, see `Sequences.told`.
    """
    config, spec = plan.config, plan.dataset.spec
    for camera in spec.cameras:
        if min(feature_size(side, config.stride) for side in (camera.width, camera.height)) < 2:
            raise ConfigError(
                f"{camera.width} x {camera.height} pixels of camera '{camera.name}' leave no map "
                f"of features with a stride of {config.stride}",
                where="spec",
                remedy="give it 16 x 16 pixels at least, or set stride=1",
            )
    sizes = [(camera.height, camera.width) for camera in spec.cameras]
    model = SARNN(
        config.rec_dim,
        config.k_dim,
        spec.joint_dim,
        config.temperature,
        config.heatmap_size,
        im_size=sizes[0] if len(sizes) == 1 else sizes,
        stride=config.stride,
        motion_dim=motion_dim,
    )
    if config.recipe != "eipl":
        with torch.no_grad():  # gates are in the order input, forget, cell, output
            model.rec.bias_ih[config.rec_dim : 2 * config.rec_dim] = FORGET_BIAS
    # CPU convolutions are faster on channels-last memory, a GPU's are not slower.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def make_trainer(plan: Plan) -> Trainer:
    """Everything seeded and on its device, ready to run.

    :raises TrainingError: no training episode has two ticks.
    """
    dataset, config = plan.dataset, plan.config
    device = set_up(config)

    def sequences(indices: tuple[int, ...]) -> Sequences | None:
        episodes = [dataset.episodes[index] for index in indices]
        usable = any(one.led is None and len(one.joints) > 1 for one in episodes)
        return make_sequences(dataset, indices, device) if usable else None

    training = sequences(dataset.training)
    if training is None:
        raise TrainingError(
            f"none of {len(dataset.training)} training episodes is a demonstration of two ticks",
            where="dataset",
            remedy="give the demonstrations as well as the corrections; if they are there, give "
            "longer ones, or check the spec's rate and the bags' report",
        )
    if problems := envelope_from_dataset(dataset).problems(dataset.spec):
        raise TrainingError(
            f"nothing that a robot could be sent can be learnt:{join_problems(problems)}",
            where="dataset",
            remedy="positions are in rad or m; 'sarnn inspect' shows them joint by joint",
        )
    torch.manual_seed(config.seed)
    told = training.told.motions.shape[1] if plan.motion else 0
    model = make_model(plan, told).to(device)
    return Trainer(plan, model, training, sequences(dataset.validation))


def start(plan: Plan, warn: Warn) -> Trainer:
    """`make_trainer`, with the attention that it begins with: that of the policy to go on from, or
    one that is searched for."""
    if plan.before is not None:
        trainer = make_trainer(plan)
        why = trainer.go_on(plan.before)
        if not why:
            warn(f"goes on from {plan.before.directory}: the attention stays")
            if left := len(plan.before.missing(plan.dataset)):
                warn(
                    f"{left} of the {len(plan.before.known)} recordings that it learnt from are "
                    "not given: what only these showed may be forgotten"
                )
            return trainer
        # Not on the crops and the split of the policy, which would be worse than without it.
        plan = plan.anew() if plan.anew is not None else plan
        plan = replace(plan, before=None, why_anew=why)
    if plan.why_anew:
        warn(f"all is trained anew: {plan.why_anew}")
    trainer = make_trainer(plan)
    if plan.config.attention == "search":
        trainer.search_attention(warn)
        if trainer.left > RECIPE.min_left_for_late_points and plan.uncropped is not None:
            warn("something comes late, maybe outside of the crops: whole images are searched")
            whole = make_trainer(plan.uncropped())
            whole.search_attention(warn)
            # Whole images tell less of what is seen at first: late points may only make up for it.
            # They stay crops, too, where memory holds too few whole images to tell (nan).
            after, cropped_after = whole.left - whole.gained, trainer.left - trainer.gained
            return whole if after < cropped_after - RECIPE.min_gain_of_whole else trainer
    return trainer


def train(
    plan: Plan,
    out: Path,
    *,
    resume: bool = False,
    watchers: tuple[Watcher, ...] = (),
    should_stop: Callable[[], bool] = lambda: False,
    write_stopped: bool = False,
    warn: Warn = lambda text: None,
) -> Result:
    """Train and write the policy directory `out`.

    :param plan: of `recipe.prepare`, which reads recordings, or `recipe.decide`.
    :param resume: go on from the checkpoint in `out.run/`.
    :param watchers: called after every epoch.
    :param should_stop: asked after every epoch; True saves a checkpoint and leaves.
    :param write_stopped: write `out` even so, of the epochs that there were.
    :param warn: told what does not stop the training but should be known.
    :raises TrainingError: nothing to train on, a loss that diverges, a checkpoint that does
        not belong to this training, or `out` that cannot be written.
    """
    config, checkpoint = plan.config, checkpoint_path(out)
    saved = started = time.monotonic()
    cpu_started = time.process_time()
    if resume:
        plan = _begun(plan, checkpoint)
    trainer = make_trainer(plan) if resume else start(plan, warn)
    if resume:
        progress = _resume(trainer, checkpoint, warn)
    else:
        gone_on = trainer.plan.before
        progress = Progress(before=None if gone_on is None else gone_on.about)
    make_run_directory(out)
    if not resume and checkpoint.exists():
        aside = checkpoint.replace(name_aside(checkpoint))
        warn(f"started anew, without --resume; the earlier checkpoint is {aside}")
    if unseen := _still_in_training(trainer.plan.dataset):
        warn(
            f"{', '.join(unseen)}: moves in no episode that is trained on, only in those held "
            "out, so the policy does not learn to move it; give another --seed, or --validation 0"
        )
    why = "" if trainer.validation is not None else "no validation episodes"
    validated = config.epochs // config.validate_every > trainer.epoch // config.validate_every
    if not validated and progress.best_epoch is None:
        of = f"{config.epochs - trainer.epoch} epochs"
        why = why or f"none of {of} is validated ({config.validate_every=})"
    if why and (config.keep == "best" or config.patience is not None):
        warn(
            f"{why}: the last weights are kept, and training stops after epoch "
            f"{config.epochs} (keep: {config.keep}, patience: {config.patience})"
        )

    before, cpu_before = progress.seconds, progress.cpu_seconds
    stopped, pause = False, 0.0
    ended = progress.out_of_patience(config, trainer.epoch - 1)
    for epoch in () if ended else _epochs(trainer, checkpoint):
        now = time.monotonic()
        progress.add(trainer, epoch)
        progress.seconds = before + now - started
        progress.cpu_seconds = cpu_before + time.process_time() - cpu_started
        for watcher in watchers:
            watcher(trainer, epoch)
        stopped, since = should_stop(), now - saved
        if since >= CHECKPOINT_SECONDS or (stopped and since >= pause):
            written = _save(trainer, progress, checkpoint, warn)
            saved, pause = now, 0.0 if written else RETRY_SECONDS
        stopped &= write_stopped or checkpoint.exists()
        ended = progress.out_of_patience(config, epoch.number)
        if stopped or ended:
            break
    finished = ended or not stopped or trainer.epoch >= config.epochs
    kept = finished and _save(trainer, progress, checkpoint, warn)
    if finished or write_stopped:
        _export(trainer, progress, out, warn, kept=kept)
    return Result(out, finished, trainer.epoch, progress.seconds, progress.history)


def _still_in_training(dataset: Dataset) -> list[str]:
    """Joints that move, but not in the episodes for training."""
    spans = [
        np.ptp(np.concatenate([dataset.episodes[row].joints for row in rows]), axis=0)
        for rows in (dataset.training, range(len(dataset.episodes)))
    ]
    only_there = (spans[0] < MIN_RANGE) & (spans[1] >= MIN_RANGE)
    return [dataset.spec.joint_labels[row] for row in np.flatnonzero(only_there)]


def _begun(plan: Plan, checkpoint: Path) -> Plan:
    """The plan of the checkpoint: this one, or one that `start` took instead."""
    if not is_of(checkpoint, plan.dataset):
        for other in (plan.anew, plan.uncropped):
            if other is not None:
                found = _begun(other(), checkpoint)
                if is_of(checkpoint, found.dataset):
                    return found
    return plan


def _resume(trainer: Trainer, checkpoint: Path, warn: Warn) -> Progress:
    state = load_checkpoint(checkpoint, trainer.config, trainer.plan.dataset)
    if not trainer.load_state_dict(state["trainer"]):
        warn(
            f"{checkpoint} was made on another kind of device than {trainer.device}: this "
            "training goes on, but with other random numbers than without the interruption"
        )
    # How frames are split between threads decides how sums of them are rounded.
    threads, then = torch.get_num_threads(), state["threads"]
    if trainer.device.type == "cpu" and then != threads:
        warn(
            f"{checkpoint} was made with {then} CPU threads, and now there are {threads}: this "
            "training goes on, but rounds differently than without the interruption; for equal "
            f"weights, give it {then} cores and threads={then}"
        )
    return Progress(**state["progress"])


def _save(trainer: Trainer, progress: Progress, checkpoint: Path, warn: Warn) -> bool:
    """Whether it is written."""
    state = {
        "config": trainer.config.model_dump(mode="json"),
        "data": describe_data(trainer.plan.dataset),
        "threads": torch.get_num_threads(),
        "trainer": trainer.state_dict(),
        "progress": vars(progress),
    }
    try:
        save_checkpoint(checkpoint, state)
    except (OSError, RuntimeError) as error:  # torch.save turns some OSErrors into these
        kept = (
            "the previous checkpoint is kept"
            if checkpoint.exists()
            else "there is none: make room"
        )
        warn(f"{checkpoint}: not saved ({error}); {kept}")
        return False
    return True


def _epochs(trainer: Trainer, checkpoint: Path) -> Iterator[Epoch]:
    """`Trainer.run`; if it diverges, the error says which checkpoint is left."""
    try:
        yield from trainer.run(time.monotonic)
    except Diverged as error:
        left = (
            f"{checkpoint} of an earlier epoch is kept, but resuming from it diverges again"
            if checkpoint.exists()
            else "no checkpoint had been saved"
        )
        raise Diverged(
            error.problem, where=error.where, remedy=f"{error.remedy} ({left})"
        ) from error


def _export(trainer: Trainer, progress: Progress, out: Path, warn: Warn, *, kept: bool) -> None:
    """:param kept: whether the checkpoint has all that was trained."""
    config, dataset = trainer.config, trainer.plan.dataset
    model = trainer.final_model()
    if progress.best_weights is not None:
        model.load_state_dict(progress.best_weights)
    best = progress.best_epoch if config.keep == "best" else None
    last = progress.history[-1]
    kept_row = next((row for row in progress.history if row["number"] == best), last)
    summary = {
        "config": config.model_dump(mode="json"),
        "data": dataset.fingerprint,
        "episodes": {"training": len(dataset.training), "validation": len(dataset.validation)},
        "names": {
            "training": [dataset.episodes[row].name for row in dataset.training],
            "validation": [dataset.episodes[row].name for row in dataset.validation],
        },
        "identities": {
            "training": [dataset.episodes[row].identity for row in dataset.training],
            "validation": [dataset.episodes[row].identity for row in dataset.validation],
        },
        "searched": trainer.searched is not None,
        "late": list(trainer.late),
        "held_out": trainer.held_out,
        "before": progress.before,
        "aligned": {
            f"{one.camera}: {one.text}": one.found.matrix.tolist()
            for one in dataset.displacements
            if one.undone
        },
        "epochs": trainer.epoch,
        "best_epoch": best,
        "explained": _diagnose(trainer, model, warn),
        "seconds": round(progress.seconds, 1),
        "cpu_seconds": round(progress.cpu_seconds, 1),
        "loss": kept_row["training"],
        "torch": torch.__version__,
    }
    try:
        with tempfile.TemporaryDirectory(prefix="sarnn_train_") as scratch:
            extras = {name: Path(scratch, name) for name in ("curves.png", "train.yaml")}
            plot_curves(progress.history, extras["curves.png"])
            extras["train.yaml"].write_text(yaml.safe_dump(config.model_dump(), sort_keys=False))
            export_policy(
                out,
                model if trainer.gets_motion else without_motion(model),
                spec=dataset.spec,
                normaliser=dataset.normaliser,
                envelope=envelope_from_dataset(dataset),
                references=references_from_dataset(dataset, warn),
                places=trainer.expected_places(),
                training=summary,
                health=partial(health_reference, dataset=dataset),
                extra_files=extras,
            )
    except OSError as error:
        raise TrainingError(
            f"the policy cannot be written ({error})",
            where=out,
            remedy="free some space; "
            + (
                "with --resume only the writing is done again"
                if kept
                else "its last epochs are in no checkpoint, and are trained again with --resume, "
                "or all, where there is none"
            ),
        ) from error


def _worst(trainer: Trainer, squares: NDArray[np.float64]) -> str:
    """Which of three or more demonstrations has at least half of the free run's squared error
    (E,), if one has: the rest may be as good as ever."""
    data = trainer.validation or trainer.training
    names = np.array(data.names)[data.demonstrations.cpu().numpy()]
    share = squares.max() / max(squares.sum(), 1e-12)
    if len(names) < 3 or share < 0.5:
        return ""
    return f"; {share:.0%} of the free run's squared error is in {names[squares.argmax()]}"


def _diagnose(trainer: Trainer, model: SARNN, warn: Warn) -> dict[str, Any]:
    """How much of what differs between episodes the points see and the policy does, and by how
    much it is off (`explained` of the policy directory's config.json); said at the end."""
    points, permuted = trainer.points_explain(model) or (None, None)
    runs, targets = trainer.free_runs(model)
    done = trainer.explained(runs, targets)
    truth = stretched(targets)
    found, base = (at_best_pace(one, truth) for one in (stretched(runs), trainer.unseen))
    held_out = "held-out" if trainer.validation is not None else "training"
    if points is not None:
        warn(
            f"the attention points of the first images explain {points:.2f} of how the held-out "
            f"episodes differ ({permuted:.2f} with episodes exchanged)"
        )
    if done is not None:
        warn(
            f"running on its own predictions, the policy explains {done:.2f} of how the "
            f"{held_out} episodes differ"
        )
    back, spec = trainer.plan.dataset.normaliser.denormalise, trainer.plan.dataset.spec
    allowed = spec.tolerance
    rmse, of_mean = (rms(back(one) - back(truth)) for one in (found, base))
    warn(
        f"root mean square error of its free run on the {held_out} episodes, at the pace that "
        f"fits best, and in brackets of the mean demonstration: {per_joint(spec, rmse, of_mean)}"
        + ("" if allowed else "; compare it with what the task allows ('tolerance' in the spec)")
    )
    over = [
        f"{spec.joint_labels[row]} by {rmse[row]:.2g} (tolerance {most:g})"
        for row, most in allowed.items()
        if rmse[row] > most
    ]
    if over:
        warn(
            f"off by more than the task allows: {', '.join(over)}: it may fail although it sees; "
            "more demonstrations or closer images help (docs/how-to/train.md)"
        )
    first = 1.0 if points is None or trainer.late.points else points
    if min(first, 1.0 if done is None else done) < RECIPE.min_explained:
        squares = (((found - truth) * trainer.training.weights) ** 2).sum((1, 2))
        warn(
            f"less than {RECIPE.min_explained:g}: the policy may not see what it needs "
            f"(docs/explanation/attention.md){_worst(trainer, squares)}"
        )
    return {
        "episodes": "training" if trainer.validation is None else "validation",
        "points": points,
        "permuted": permuted,
        "free_run": done,
        "rmse": dict(zip(spec.joint_labels, rmse, strict=True)),
    }
