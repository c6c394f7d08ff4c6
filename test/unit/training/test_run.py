# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""No work is lost: checkpoints, resuming bit by bit, kill -9, a full disk, Ctrl-C."""

from __future__ import annotations

import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from sarnn_ros.data.dataset import Dataset, make_dataset
from sarnn_ros.errors import ConfigError, SarnnError, TrainingError
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy.directory import load_config
from sarnn_ros.training import run as run_module
from sarnn_ros.training import tensorboard
from sarnn_ros.training.checkpoint import load_checkpoint
from sarnn_ros.training.config import TrainConfig, make_config
from sarnn_ros.training.recipe import decide
from sarnn_ros.training.run import (
    Progress,
    Result,
    checkpoint_path,
    run_directory,
    train,
)
from sarnn_ros.training.tensorboard import TensorBoardLogger
from sarnn_ros.training.trainer import Diverged, Epoch, Trainer

MakeTask = Callable[..., Dataset]

SMALL: dict[str, Any] = {
    "k_dim": 2, "rec_dim": 8, "epochs": 6, "threads": 1, "device": "cpu", "decay_end": 2,
    "validate_every": 2,
}  # fmt: skip
FAST = {**SMALL, "attention": "train", "inner_steps": 2, "encoder_frames": 12, "image_frames": 5}
EIPL = {**SMALL, "recipe": "eipl", "batch_size": 2}


def stop_after(epochs: int) -> Callable[[], bool]:
    calls = iter(range(10**6))
    return lambda: next(calls) + 1 >= epochs


def assert_same_policy(first: Path, second: Path) -> None:
    left, right = (load_file(path / "model.safetensors") for path in (first, second))
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert value.equal(right[name]), name


@pytest.fixture(autouse=True)
def _checkpoint_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "CHECKPOINT_SECONDS", 0.0)


@pytest.mark.parametrize("settings", [FAST, EIPL], ids=["fast", "eipl"])
def test_resume_continues_bit_by_bit(
    make_task: MakeTask, tmp_path: Path, settings: dict[str, Any]
) -> None:
    dataset, config = make_task(), make_config(settings)
    whole = train(decide(dataset, config), tmp_path / "whole")
    for epochs in (1, 2):
        part = train(
            decide(dataset, config),
            tmp_path / "parts",
            resume=epochs > 1,
            should_stop=stop_after(epochs),
        )
        assert not part.finished
        assert not (tmp_path / "parts").exists()
    rest = train(decide(dataset, config), tmp_path / "parts", resume=True)
    assert rest.finished
    assert_same_policy(tmp_path / "whole", tmp_path / "parts")
    losses = [[row["training"] for row in result.history] for result in (whole, rest)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6
    assert rest.seconds > 0


#: Imports torch once; each training is a fork of it.
SERVER = """
import os, pickle, sys
from pathlib import Path
from sarnn_ros.training import run
from sarnn_ros.training.recipe import decide
run.CHECKPOINT_SECONDS = 0.0
dataset, config = pickle.loads(Path(sys.argv[1]).read_bytes())
def tell(trainer, epoch):
    print(epoch.number, flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        print(os.getpid(), flush=True)
        plan, resume = decide(dataset, config), line == "resume\\n"
        run.train(plan, Path(sys.argv[2]), resume=resume, watchers=(tell,))
        break
    _, status = os.waitpid(child, 0)
    print("ended", status, flush=True)
"""


@pytest.mark.slow
def test_kill_at_any_moment_loses_nothing_but_the_epoch(
    make_task: MakeTask, tmp_path: Path
) -> None:
    """Kill the training again and again at arbitrary moments, and resume until it is done."""
    dataset, config = make_task(), make_config({**FAST, "epochs": 12})
    data, out = tmp_path / "data.pickle", tmp_path / "policy"
    data.write_bytes(pickle.dumps((dataset, config)))
    epochs = []
    command = [sys.executable, "-c", SERVER, str(data), str(out)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for begin, delay in (("anew", 0.0), ("resume", 0.013), ("resume", 0.07)):
            print(begin, file=server.stdin, flush=True)
            child = int(server.stdout.readline())
            server.stdout.readline()
            epochs.append(int(server.stdout.readline()))  # so the epoch before it is saved
            time.sleep(delay)  # an arbitrary moment, not synchronisation
            os.kill(child, signal.SIGKILL)
            while not (ended := server.stdout.readline()).startswith("ended"):
                assert ended, "the training has failed"
            assert ended.split()[1] == str(int(signal.SIGKILL))
            state = load_checkpoint(run_directory(out) / "checkpoint.pt", config, dataset)
            assert state["trainer"]["epoch"] >= epochs[-1]
        server.stdin.close()
    assert epochs == sorted(epochs)
    train(decide(dataset, config), out, resume=True)
    train(decide(dataset, config), tmp_path / "whole")
    assert_same_policy(out, tmp_path / "whole")


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file may grow beyond `free` bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("free", [0, 4096, 20_000])
def test_full_disk_keeps_the_last_checkpoint(
    make_task: MakeTask, tmp_path: Path, free: int
) -> None:
    dataset, config, out = make_task(), make_config(FAST), tmp_path / "policy"
    train(decide(dataset, config), out, should_stop=stop_after(2))
    files = [path.name for path in run_directory(out).iterdir()]
    warnings: list[str] = []
    with full_disk(free):
        part = train(
            decide(dataset, config),
            out,
            resume=True,
            warn=warnings.append,
            should_stop=stop_after(2),
        )
    assert part.epochs == 4
    assert all("previous checkpoint is kept" in text for text in warnings)
    assert len(warnings) == 2
    # What is left is whole, and goes on to the same end.
    assert [path.name for path in run_directory(out).iterdir()] == files
    assert train(decide(dataset, config), out, resume=True).finished
    train(decide(dataset, config), tmp_path / "whole")
    assert_same_policy(out, tmp_path / "whole")


def test_a_training_that_cannot_be_saved_is_not_left_and_says_what_is_kept(
    make_task: MakeTask, tmp_path: Path
) -> None:
    plan, out = decide(make_task(), make_config(FAST)), tmp_path / "policy"
    said: list[str] = []
    with full_disk(0), pytest.raises(SarnnError, match="are in no checkpoint"):
        train(plan, out, should_stop=lambda: True, warn=said.append)
    assert all("there is none: make room" in one for one in said if "not saved" in one)
    assert not checkpoint_path(out).exists()
    said.clear()
    assert not train(plan, out, should_stop=lambda: True, warn=said.append).finished
    assert checkpoint_path(out).exists() and not said


def test_what_can_only_fail_at_the_end_is_refused_before(
    make_task: MakeTask, tmp_path: Path
) -> None:
    dataset = make_task()
    counts = [
        replace(one, joints=one.joints * 1e5, targets=one.targets * 1e5)
        for one in dataset.episodes
    ]
    encoder = make_dataset(dataset.spec, counts)
    with pytest.raises(TrainingError, match="no positions in rad or m"):
        train(decide(encoder, make_config(FAST)), tmp_path / "policy")
    small = [camera.model_copy(update={"width": 12}) for camera in dataset.spec.cameras]
    spec = dataset.spec.model_copy(update={"cameras": tuple(small)})
    with pytest.raises(ConfigError, match="leave no map of features with a stride of 2"):
        train(
            decide(replace(dataset, spec=spec), make_config({**FAST, "stride": 2})),
            tmp_path / "policy",
        )


def test_a_joint_that_moves_only_in_what_is_held_out_is_told_and_harms_no_figure(
    make_task: MakeTask, tmp_path: Path
) -> None:
    dataset = make_task([9] * 5)
    held = dataset.episodes[-1].name
    episodes = []
    for one in dataset.episodes:
        joints, targets = one.joints.copy(), one.targets.copy()
        for array in (joints, targets):
            array[:, 0] = np.linspace(0.0, 0.2, len(array)) if one.name == held else 0.0
        episodes.append(replace(one, joints=joints, targets=targets))
    data = make_dataset(dataset.spec, episodes, held_out={held})
    assert data.normaliser.maximum[0] == pytest.approx(0.2)
    said: list[str] = []
    result = train(decide(data, make_config(FAST)), tmp_path / "policy", warn=said.append)
    assert any(f"{data.spec.joint_labels[0]}: moves in no episode" in one for one in said)
    losses = [row["validation"]["joint"] for row in result.history if row["validation"]]
    assert losses and max(losses) < 10


def test_full_disk_at_the_end_needs_no_second_training(
    make_task: MakeTask, tmp_path: Path
) -> None:
    """The policy does not fit: what was trained is in the checkpoint, and --resume exports it."""
    dataset, config, out = make_task(), make_config(FAST), tmp_path / "policy"
    train(decide(dataset, config), out, should_stop=stop_after(5))
    with full_disk(30_000), pytest.raises(SarnnError, match=r"written(.|\n)*free some space"):
        train(decide(dataset, config), out, resume=True)
    assert train(decide(dataset, config), out, resume=True).finished
    train(decide(dataset, config), tmp_path / "whole")
    assert_same_policy(out, tmp_path / "whole")


# Its own thread is the first to find that the disk is full.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("free", [0, 4096])
def test_a_full_disk_ends_tensorboard_and_not_the_training(
    make_task: MakeTask, tmp_path: Path, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "PICTURE_EPOCHS", 1)
    told: list[str] = []
    plan, out = decide(make_task(), make_config(FAST)), tmp_path / "policy"
    train(plan, out, should_stop=stop_after(2))
    with full_disk(free), TensorBoardLogger(tmp_path / "board", told.append) as board:
        part = train(plan, out, resume=True, watchers=(board,), should_stop=stop_after(2))
    assert part.epochs == 4
    assert len(told) == 1
    assert str(tmp_path / "board") in told[0]


def test_started_anew_it_keeps_the_checkpoint_that_was_there(
    make_task: MakeTask, tmp_path: Path
) -> None:
    dataset, config, out = make_task(), make_config(FAST), tmp_path / "policy"
    told: list[str] = []
    train(decide(dataset, config), out, should_stop=stop_after(3), warn=told.append)
    assert told == []
    train(decide(dataset, config), out, should_stop=stop_after(1), warn=told.append)
    kept = checkpoint_path(out).with_name("checkpoint.pt.before")
    assert str(kept) in told[0]
    kept.replace(checkpoint_path(out))
    assert train(decide(dataset, config), out, resume=True).finished
    train(decide(dataset, config), tmp_path / "whole")
    assert_same_policy(out, tmp_path / "whole")


def test_started_anew_by_mistake_it_says_how_to_go_on(make_task: MakeTask, tmp_path: Path) -> None:
    """And ended before it has saved anything: the latest checkpoint is the one put aside."""
    dataset, config, out = make_task(), make_config(FAST), tmp_path / "policy"

    def interrupt(trainer: Trainer, epoch: Epoch) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        train(decide(dataset, config), out, should_stop=stop_after(3))
    os.utime(checkpoint_path(out).with_name("checkpoint.pt.before"), (0, 0))
    with pytest.raises(KeyboardInterrupt):
        train(decide(dataset, config), out, watchers=(interrupt,))
    with pytest.raises(TrainingError, match="no checkpoint") as error:
        train(decide(dataset, config), out, resume=True)
    old, new = re.search(r"rename (\S+), .* to (\S+) first", error.value.remedy or "").groups()
    assert old == "checkpoint.pt.before.2"
    (run_directory(out) / old).rename(run_directory(out) / new)
    assert train(decide(dataset, config), out, resume=True).finished


def test_started_anew_again_and_again_it_loses_none(make_task: MakeTask, tmp_path: Path) -> None:
    dataset, config, out = make_task(), make_config(FAST), tmp_path / "policy"
    made = []
    for epochs in (4, 3, 2, 1):
        train(decide(dataset, config), out, should_stop=stop_after(epochs))
        made.append(checkpoint_path(out).read_bytes())
    names = ["checkpoint.pt.before", "checkpoint.pt.before.2", "checkpoint.pt.before.3"]
    kept = [checkpoint_path(out).with_name(name).read_bytes() for name in names]
    assert [*kept, checkpoint_path(out).read_bytes()] == made


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_epoch(
    make_task: MakeTask, tmp_path: Path, number: signal.Signals
) -> None:
    from sarnn_ros.training.interrupt import stop_requests

    said: list[str] = []
    before = signal.getsignal(number)

    def interrupt(trainer: Trainer, epoch: Epoch) -> None:
        if epoch.number == 2:
            os.kill(os.getpid(), number)

    with stop_requests(said.append) as stop:
        result = train(
            decide(make_task(), make_config(FAST)),
            tmp_path / "policy",
            watchers=(interrupt,),
            should_stop=stop,
        )
        # Asked once; now the signal means what it always does.
        assert signal.getsignal(number) == before
    assert (result.finished, result.epochs) == (False, 3)
    assert "once more" in said[0]
    assert (
        train(decide(make_task(), make_config(FAST)), tmp_path / "policy", resume=True).epochs == 6
    )


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"learning_rate": 5e-4}, r"learning_rate: 0\.004 then, 0\.0005 now"),
        ({"seed": 3}, "seed: 0 then, 3 now"),
        ({"epochs": 7}, "epochs: 6 then, 7 now"),
    ],
)
def test_resume_with_other_settings_is_refused(
    make_task: MakeTask, tmp_path: Path, change: dict[str, Any], shown: str
) -> None:
    train(decide(make_task(), make_config(FAST)), tmp_path / "policy", should_stop=stop_after(1))
    with pytest.raises(TrainingError, match=shown):
        train(
            decide(make_task(), make_config({**FAST, **change})), tmp_path / "policy", resume=True
        )


def test_resume_on_other_data_is_refused_and_says_what_differs(
    make_task: MakeTask, tmp_path: Path
) -> None:
    task = make_task()
    spec, episodes = task.spec, list(task.episodes)
    train(decide(task, make_config(FAST)), tmp_path / "policy", should_stop=stop_after(1))
    other_spec = spec.model_copy(update={"rate": 20.0, "joint_range": (0.1, 0.9)})
    two = [replace(episodes[0], name="x"), *episodes[2:]]
    many = [*episodes, *make_task([9] * 7, seed=2).episodes]
    many[5:] = [replace(one, name=f"n{number}") for number, one in enumerate(many[5:])]
    whole = [r"held out for validation: e2 then, none now"]
    for other, shown in (
        (make_task(seed=1), ["episodes changed: e0, e1, e2, e3, e4$"]),
        (make_task([9, 9, 8, 9, 9]), ["episodes changed: e2$"]),
        (make_task(validation=0.4), ["held out for validation: e2 then, e2, e4 now"]),
        (make_dataset(spec, two, validation=0),
         ["5 episodes then, 4 now", "episodes new: x$", "episodes missing: e0, e1$", *whole]),
        (make_dataset(spec, many, validation=0),
         ["5 episodes then, 12 now", "episodes new: n0, n1, n2, n3, n4 and 2 more", *whole]),
        (make_dataset(spec, [*episodes[:3], *episodes[:2:-1]]), ["the order of the episodes"]),
        (make_dataset(other_spec, episodes),
         [r"spec, joint_range\.0: 0\.0 then, 0\.1 now", "spec, joint_range.1: ", "spec, rate: "]),
    ):  # fmt: skip
        with pytest.raises(TrainingError) as error:
            train(decide(other, make_config(FAST)), tmp_path / "policy", resume=True)
        problems = error.value.problem.splitlines()[1:]
        assert len(problems) == len(shown), problems
        for problem, pattern in zip(problems, shown, strict=True):
            assert re.search(pattern, problem), problem


def test_resume_on_another_kind_of_device_goes_on_and_says_so(
    make_task: MakeTask, tmp_path: Path
) -> None:
    """A GPU's random state is 16 bytes long, a CPU's 5056. Twice the same all the same."""
    config = make_config(FAST)
    for name in ("one", "two"):
        out, told = tmp_path / name, []
        train(decide(make_task(), config), out, should_stop=stop_after(2))
        state = torch.load(checkpoint_path(out), weights_only=True)
        state["trainer"]["generator"] = torch.zeros(16, dtype=torch.uint8)
        torch.save(state, checkpoint_path(out))
        result = train(decide(make_task(), config), out, resume=True, warn=told.append)
        assert (result.finished, result.epochs) == (True, 6)
        assert "another kind of device than cpu" in told[0]
        assert "other random numbers than without the interruption" in told[0]
    assert_same_policy(tmp_path / "one", tmp_path / "two")


def test_resume_with_another_number_of_threads_says_so(
    make_task: MakeTask, tmp_path: Path
) -> None:
    """Whether by the setting or, with `threads: null`, by the cores that there are."""
    out, told = tmp_path / "policy", []
    train(decide(make_task(), make_config(FAST)), out, should_stop=stop_after(1))
    for threads, warnings in ((1, 0), (64, 1)):
        state = torch.load(checkpoint_path(out), weights_only=True)
        assert state.pop("threads") == 1
        state["threads"] = threads
        torch.save(state, checkpoint_path(out))
        train(
            decide(make_task(), make_config(FAST)),
            out,
            resume=True,
            warn=told.append,
            should_stop=stop_after(1),
        )
        assert len(told) == warnings
    assert "made with 64 CPU threads, and now there are 1:" in told[0]


def test_resume_on_another_machine_is_allowed(make_task: MakeTask, tmp_path: Path) -> None:
    train(decide(make_task(), make_config(FAST)), tmp_path / "policy", should_stop=stop_after(1))
    elsewhere = make_config({**FAST, "device": "auto"})
    assert elsewhere != make_config(FAST)
    assert train(decide(make_task(), elsewhere), tmp_path / "policy", resume=True).finished


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "garbage", "pickle"])
def test_a_bad_checkpoint_is_a_clear_error(
    make_task: MakeTask, tmp_path: Path, damage: str
) -> None:
    out = tmp_path / "policy"
    train(decide(make_task(), make_config(FAST)), out, should_stop=stop_after(1))
    path = run_directory(out) / "checkpoint.pt"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        # A pickle that would run code: it must not.
        trap = pickle.dumps(Trap(str(tmp_path / "ran")))
        path.write_bytes(
            {"empty": b"", "cut": content[:5000], "garbage": b"x" * 5000, "pickle": trap}[damage]
        )
    with pytest.raises(TrainingError, match=r"checkpoint\.pt(.|\n)*without --resume"):
        train(decide(make_task(), make_config(FAST)), out, resume=True)
    assert not (tmp_path / "ran").exists()


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path(self.path),))


def test_unwritable_output_is_a_clear_error(make_task: MakeTask, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(TrainingError, match="cannot be written"):
        train(decide(make_task(), make_config(FAST)), tmp_path / "file" / "policy")


def test_a_diverged_loss_keeps_the_last_checkpoint(make_task: MakeTask, tmp_path: Path) -> None:
    def poison(trainer: Trainer, epoch: Epoch) -> None:
        if epoch.number == 2:
            trainer.training.joints[0, 0] = float("nan")

    out = tmp_path / "policy"
    with pytest.raises(TrainingError, match="epoch 4"):
        train(decide(make_task(validation=0), make_config(FAST)), out, watchers=(poison,))
    assert train(decide(make_task(validation=0), make_config(FAST)), out, resume=True).epochs == 6


@pytest.mark.parametrize("saved", [False, True])
def test_a_training_that_diverges_says_what_is_left(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    """Its loss is still finite in epoch 3; the checkpoint holds the good weights of before."""
    dataset, config, out = make_task(), make_config(FAST), tmp_path / "policy"
    monkeypatch.setattr(
        Trainer, "_learning_rate", lambda self, epoch: 100.0 if self.epoch == 2 else 1e-3
    )
    if not saved:
        monkeypatch.setattr(run_module, "CHECKPOINT_SECONDS", 1e9)
    with pytest.raises(Diverged, match="the loss has diverged") as error:
        train(decide(dataset, config), out)
    assert "epoch 3" in str(error.value.where)
    assert checkpoint_path(out).exists() == saved
    assert (f"{checkpoint_path(out)} of an earlier epoch" in str(error.value.remedy)) == saved
    assert ("no checkpoint had been saved" in str(error.value.remedy)) == (not saved)
    if saved:
        state = load_checkpoint(checkpoint_path(out), config, dataset)["trainer"]
        assert state["epoch"] == 2
        assert all(float(value.abs().max()) < 10 for value in state["model"].values())


def test_weights_that_diverge_reach_no_checkpoint(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of epoch 3 is that of good weights; its step spoils them."""
    config = make_config({**EIPL, "batch_size": 5})
    dataset, out = make_task(), tmp_path / "policy"
    monkeypatch.setattr(
        Trainer, "_learning_rate", lambda self, epoch: 1e39 if self.epoch == 3 else 1e-3
    )
    with pytest.raises(TrainingError, match="weights are not finite") as error:
        train(decide(dataset, config), out)
    assert "epoch 4" in str(error.value.where)
    state = load_checkpoint(checkpoint_path(out), config, dataset)["trainer"]
    assert state["epoch"] == 3
    assert all(bool(torch.isfinite(value).all()) for value in state["model"].values())


def test_export_leaves_the_trainers_model_on_its_device(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the trainer encodes once more after that, for what is told of the attention."""
    moved: list[nn.Module] = []
    own: list[nn.Module] = []

    def cpu(self: SARNN) -> SARNN:
        moved.append(self)
        return nn.Module.cpu(self)

    monkeypatch.setattr(SARNN, "cpu", cpu)
    config = make_config(EIPL)
    train(
        decide(make_task(), config),
        tmp_path / "policy",
        watchers=(lambda trainer, epoch: own.append(trainer.final_model()),),
    )
    assert moved
    assert all(model is not own[0] for model in moved)


def run_with(make_task: MakeTask, out: Path, **settings: Any) -> Result:
    config: TrainConfig = make_config({**EIPL, "validate_every": 1, **settings})
    return train(decide(make_task(), config), out)


def test_what_stopped_early_is_finished_also_when_interrupted_or_resumed(
    make_task: MakeTask, tmp_path: Path
) -> None:
    settings = {"learning_rate": 0.05, "epochs": 50, "patience": 3, "validate_every": 1}
    config, out = make_config({**EIPL, **settings}), tmp_path / "policy"
    whole = train(decide(make_task(), config), tmp_path / "whole")
    assert whole.epochs < 50
    asked = train(decide(make_task(), config), out, should_stop=stop_after(whole.epochs))
    assert asked.finished
    for _ in range(2):
        again = train(decide(make_task(), config), out, resume=True)
        assert (again.finished, again.epochs) == (True, whole.epochs)
        assert again.history == asked.history
    assert_same_policy(tmp_path / "whole", out)


@pytest.mark.parametrize("settings", [FAST, EIPL], ids=["fast", "eipl"])
def test_the_figures_told_are_those_of_the_kept_weights(
    make_task: MakeTask, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """The weights are spoilt half-way: the best ones are not the last."""

    def spoil(trainer: Trainer, epoch: Epoch) -> None:
        if epoch.number == 2:
            trainer.model.decoder_joint[0].bias.data += 1

    values = {**settings, "keep": "best", "validate_every": 1}
    warnings: list[str] = []
    result = train(
        decide(make_task(), make_config(values)),
        tmp_path / "policy",
        watchers=(spoil,),
        warn=warnings.append,
    )
    told = load_config(tmp_path / "policy").training
    assert told["best_epoch"] < 3
    assert told["loss"] == result.history[told["best_epoch"]]["training"]
    kept = result.history[told["best_epoch"]]["explained"]
    assert told["explained"]["free_run"] == pytest.approx(kept, rel=1e-5)
    # Six epochs teach it nothing, and it says so.
    assert kept < 0.5
    said = "\n".join(warnings)
    assert f"the policy explains {kept:.2f} of how the held-out" in said
    assert "may not see what it needs" in said


def test_without_validation_it_is_said_what_is_not_done(
    make_task: MakeTask, tmp_path: Path
) -> None:
    told: list[str] = []
    result = train(
        decide(make_task(validation=0), make_config({**EIPL, "patience": 1})),
        tmp_path / "policy",
        warn=told.append,
    )
    assert result.epochs == 6
    assert "no validation episodes" in told[0]
    told.clear()
    few = {**EIPL, "keep": "best", "epochs": 2, "validate_every": 3}
    train(decide(make_task(), make_config(few)), tmp_path / "few", warn=told.append)
    assert "none of 2 epochs is validated" in told[0]
    told.clear()
    train(decide(make_task(validation=0), make_config(FAST)), tmp_path / "fast", warn=told.append)
    assert not any("validation" in text for text in told)


def test_early_stopping_keeps_the_best_weights(make_task: MakeTask, tmp_path: Path) -> None:
    """With a huge learning rate the validation loss soon only grows."""
    result = run_with(make_task, tmp_path / "p", learning_rate=0.05, epochs=50, patience=3)
    losses = [row["validation"]["total"] for row in result.history]
    best = losses.index(min(losses))
    assert result.epochs == best + 1 + 3 < 50
    assert load_config(tmp_path / "p").training["best_epoch"] == best
    # Training just that far gives those very weights: the learning rate is constant.
    run_with(
        make_task,
        tmp_path / "short",
        learning_rate=0.05,
        epochs=best + 1,
        patience=None,
        keep="last",
    )
    assert_same_policy(tmp_path / "p", tmp_path / "short")


def test_patience_waits_for_a_validation() -> None:
    progress = Progress(best_loss=1.0, best_epoch=9)
    config = make_config({"patience": 5})
    for epoch in range(10, 20):
        progress.history.append({"number": epoch, "validation": None})
        assert not progress.out_of_patience(config, epoch)
    progress.history[-1]["validation"] = {"total": 2.0}
    assert progress.out_of_patience(config, 19)


def test_patience_ends_a_training_that_keeps_the_last_weights(
    make_task: MakeTask, tmp_path: Path
) -> None:
    """`keep: last` is the fast recipe's. The weights are those of its last epoch."""
    settings = {"learning_rate": 0.05, "epochs": 50, "patience": 3, "validate_every": 1,
                "learning_rate_end": 1.0}  # fmt: skip
    config = make_config({**FAST, **settings})
    assert config.keep == "last"
    result = train(decide(make_task(), config), tmp_path / "p")
    losses = [row["validation"]["total"] for row in result.history]
    assert result.epochs == losses.index(min(losses)) + 1 + 3 < 50
    assert load_config(tmp_path / "p").training["best_epoch"] is None
    state = load_checkpoint(checkpoint_path(tmp_path / "p"), config, make_task())
    kept = load_file(tmp_path / "p" / "model.safetensors")
    for name, value in state["trainer"]["model"].items():
        assert value.equal(kept[name])


def test_policy_directory_says_how_it_was_trained(make_task: MakeTask, tmp_path: Path) -> None:
    result = train(decide(make_task(), make_config(FAST)), tmp_path / "policy")
    config = load_config(tmp_path / "policy")
    assert config.health is not None
    health = config.health
    assert (health.source, health.episodes, health.ticks) == ("validation", 1, 8)
    assert config.training["config"] == make_config(FAST).model_dump(mode="json")
    assert config.training["epochs"] == 6
    assert config.training["data"] == make_task().fingerprint
    assert config.training["loss"] == result.history[-1]["training"]
    assert {"curves.png", "train.yaml"} <= set(config.files)
