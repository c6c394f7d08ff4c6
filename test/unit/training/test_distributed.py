# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Two processes under torchrun: the losses and weights of one, files from one, an end in time."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.training.checkpoint import load_checkpoint
from sarnn_ros.training.config import make_config
from sarnn_ros.training.distributed import ProcessGroup
from sarnn_ros.training.recipe import decide
from sarnn_ros.training.run import run_directory, train

MakeTask = Callable[..., Dataset]

SMALL: dict[str, Any] = {
    "k_dim": 2, "rec_dim": 8, "epochs": 4, "threads": 1, "device": "cpu", "decay_end": 2,
    "batch_size": 3, "validate_every": 2, "temperature": 0.1,
}  # fmt: skip
# At temperature 1e-4 a rounding moves a point from one peak to another, and no two ways to sum
# give the same training.
RECIPES = {
    "fast": {
        **SMALL,
        "inner_steps": 2,
        "encoder_frames": 12,
        "image_frames": 5,
        "attention": "train",
    },
    "search": {**SMALL, "inner_steps": 1, "encoder_frames": 12, "image_frames": 5},
    "eipl": {**SMALL, "recipe": "eipl"},
    "no image": {**SMALL, "image_loss": 0.0},
}
#: Of different lengths, one without a step; the last batch of three has one episode only.
LENGTHS = (9, 2, 12, 5, 1, 7, 9)

#: Threads are told as the very last, by each process: those that are left then may abort it.
#: Each line is one write: torchrun's processes do not buffer, and share a pipe, so that a print of
#: several words could be cut in two by another process.
THREADS = """
import atexit, pathlib, sys
def tell(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
@atexit.register
def tell_threads():
    names = [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
    tell("left", *names)
"""

CHILD = """
import os, pickle, sys
from pathlib import Path
from sarnn_ros.training import run
from sarnn_ros.training.recipe import decide
run.CHECKPOINT_SECONDS = 0.0
jobs = pickle.loads(Path(sys.argv[1]).read_bytes())
for dataset, config, out, resume in jobs:
    def watch(trainer, epoch):
        tell("epoch", epoch.number)
    tell("pid", os.environ["RANK"], os.getpid())
    result = run.train(decide(dataset, config), out, resume=resume, watchers=(watch,))
    Path(f"{out}.{os.environ['RANK']}.history").write_bytes(pickle.dumps(result.history))
"""


def start(folder: Path, jobs: list[tuple[Any, ...]], code: str = CHILD) -> subprocess.Popen[str]:
    (folder / "jobs").write_bytes(pickle.dumps(jobs))
    (folder / "child.py").write_text(THREADS + code)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [sys.executable, *command, str(folder / "child.py"), str(folder / "jobs")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def assert_close(one: Path, two: Path) -> None:
    left, right = (load_file(path / "model.safetensors") for path in (one, two))
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], atol=2e-4, rtol=1e-3, msg=name)


def assert_quiet_end(said: str) -> None:
    left = [line for line in said.splitlines() if line.startswith("left")]
    assert len(left) == 2
    assert "gloo" not in " ".join(left)


@pytest.mark.slow
def test_two_processes_do_what_one_does_from_the_start_and_resumed(
    make_task: MakeTask, tmp_path: Path
) -> None:
    dataset = make_task(LENGTHS, validation=0)
    jobs = [
        (dataset, make_config(settings), tmp_path / f"two {name}", False)
        for name, settings in RECIPES.items()
    ]
    resumed = (dataset, make_config(RECIPES["fast"]), tmp_path / "resumed", True)
    calls = iter(range(100))
    train(decide(*resumed[:2]), resumed[2], should_stop=lambda: next(calls) == 1)
    with start(tmp_path, [*jobs, resumed]) as child:
        said = child.communicate(timeout=200)[0]
    assert child.returncode == 0, said
    epochs = [line for line in said.splitlines() if line.startswith("epoch")]  # told by one
    assert epochs == [f"epoch {n}" for n in (*(*range(4),) * len(RECIPES), 2, 3)]
    assert_quiet_end(said)
    for (_, config, out, _), name in zip(jobs, RECIPES, strict=True):
        alone = train(decide(dataset, config), tmp_path / f"one {name}")
        for rank in (0, 1):
            history = pickle.loads(Path(f"{out}.{rank}.history").read_bytes())
            theirs = [list(row["training"].values()) for row in history]
            ours = [list(row["training"].values()) for row in alone.history]
            np.testing.assert_allclose(theirs, ours, rtol=1e-5, err_msg=name)
        assert_close(tmp_path / f"one {name}", out)
    assert_close(tmp_path / "one fast", tmp_path / "resumed")


def test_a_killed_process_ends_the_training_which_then_goes_on(
    make_task: MakeTask, tmp_path: Path
) -> None:
    dataset, out = make_task(LENGTHS, validation=0), tmp_path / "policy"
    config = make_config({**RECIPES["fast"], "epochs": 10_000})
    with start(tmp_path, [(dataset, config, out, False)]) as child:
        assert child.stdout is not None
        pids = {}
        for line in child.stdout:
            words = line.split()
            if words[:1] == ["pid"]:
                pids[words[1]] = int(words[2])
            if words[:2] == ["epoch", "3"]:
                break
        os.kill(pids["1"], signal.SIGKILL)
        killed = time.monotonic()
        child.communicate(timeout=100)
    assert child.returncode != 0
    assert time.monotonic() - killed < 60
    with pytest.raises(ProcessLookupError):
        os.kill(pids["0"], 0)
    assert not out.exists()
    state = load_checkpoint(run_directory(out) / "checkpoint.pt", config, dataset)
    assert state["trainer"]["epoch"] >= 3


@pytest.mark.slow
def test_resume_with_two_processes(make_task: MakeTask, tmp_path: Path) -> None:
    dataset, config = make_task(LENGTHS, validation=0), make_config(RECIPES["fast"])
    calls = iter(range(100))
    train(decide(dataset, config), tmp_path / "two", should_stop=lambda: next(calls) == 1)
    with start(tmp_path, [(dataset, config, tmp_path / "two", True)]) as child:
        said = child.communicate(timeout=100)[0]
    assert child.returncode == 0, said
    assert [line for line in said.splitlines() if line.startswith("epoch")] == [
        "epoch 2",
        "epoch 3",
    ]
    train(decide(dataset, config), tmp_path / "one")
    assert_close(tmp_path / "one", tmp_path / "two")


STRAYING = """
import os, pickle, sys
from datetime import timedelta
from pathlib import Path
import torch
from sarnn_ros.training import distributed, run
from sarnn_ros.training.points import PointScale
from sarnn_ros.training.recipe import decide
from sarnn_ros.training.trainer import Trainer
distributed.TIMEOUT = timedelta(seconds=20)
strays = os.environ["RANK"] == "1"
update, make, find_scale = Trainer.update_recurrent, run.make_trainer, Trainer._scale
def drift(self, count):
    loss = update(self, count)
    for parameter in self.model.parameters() if strays else ():
        parameter.data += 1e-3
    return loss
def other(self, points):
    mean, *rest = find_scale(self, points)
    return PointScale(mean + 0.1 * strays, *rest)
def keep(*arguments):
    trainers.append(make(*arguments))
    return trainers[-1]
trainers = []
run.make_trainer = keep
run.Progress.out_of_patience = lambda progress, config, number: strays and number >= 0
Trainer.update_recurrent = drift
Trainer._scale = other
[(dataset, config, out, resume)] = pickle.loads(Path(sys.argv[1]).read_bytes())
result = run.train(decide(dataset, config), out)
assert (result.epochs, len(result.history)) == (4, 4)
scale = dict(zip(("mean", "deviation", "matrix"), trainers[0].objective.scale))
torch.save({**trainers[0].model.state_dict(), **scale}, f"{out}.{os.environ['RANK']}.pt")
"""


def test_a_process_that_strays_is_led_back(make_task: MakeTask, tmp_path: Path) -> None:
    """Its weights drift, it scales the points by others, and would stop at the first epoch."""
    dataset, out = make_task(LENGTHS, validation=0), tmp_path / "policy"
    config = make_config(RECIPES["search"])
    with start(tmp_path, [(dataset, config, out, False)], STRAYING) as child:
        said = child.communicate(timeout=100)[0]
    assert child.returncode == 0, said
    first, second = (torch.load(f"{out}.{rank}.pt") for rank in (0, 1))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


LOST = """
import os, signal, sys
from pathlib import Path
import torch
from sarnn_ros.errors import TrainingError
from sarnn_ros.training import distributed
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, when the first one is killed
try:
    with distributed.process_group(torch.device("cpu")) as us:
        us.check_equal("", "")
        if us.is_main:
            os.kill(os.getpid(), signal.SIGKILL)
        us.check_equal("", "")
except TrainingError as error:
    print(error, flush=True)
"""


def test_a_process_that_died_is_named_as_lost(tmp_path: Path) -> None:
    with start(tmp_path, [], LOST) as child:
        said = child.communicate(timeout=25)[0]
    assert "another process of this training was lost" in said


def test_processes_with_different_data_are_refused(make_task: MakeTask, tmp_path: Path) -> None:
    config = make_config(RECIPES["fast"])
    child = CHILD.replace(
        "result = run", "dataset = dataset[int(os.environ['RANK'])]; result = run"
    )
    datasets = (make_task(LENGTHS), make_task(LENGTHS, seed=1))
    with start(tmp_path, [(datasets, config, tmp_path / "p", False)], child) as process:
        said = process.communicate(timeout=100)[0]
    assert process.returncode != 0
    assert "the processes differ in their data and settings" in said
    assert not (tmp_path / "p.run").exists()


def test_shares_of_a_batch_cover_it() -> None:
    rows = torch.tensor([0, 3, 1, 2, 4, 4, 0])
    own = [ProcessGroup(rank, 3).shard(rows).tolist() for rank in range(3)]
    assert sorted(own[0] + own[1] + own[2]) == list(range(7))
    assert own[1] == [2, 4, 5]


def test_one_process_is_a_group_of_one() -> None:
    group = ProcessGroup()
    group.check_equal("a", "data")
    values = torch.ones(2)
    assert group.sum(values) is values
    assert group.any(True)
    assert not group.any(False)
    assert group.decide(True)
    assert not group.decide(False)
