# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Several seeds: which is chosen, what a failed one does, and what an interruption costs."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from sarnn_ros.cli.main import app
from sarnn_ros.data.dataset import Dataset
from sarnn_ros.errors import TrainingError
from sarnn_ros.interop import loading
from sarnn_ros.policy.directory import load_config
from sarnn_ros.spec import dump_spec
from sarnn_ros.training.config import make_config
from sarnn_ros.training.progress import seeds_table
from sarnn_ros.training.run import Watcher, train
from sarnn_ros.training.seeds import Comparison, SeedResult, choose, seeds_directory, train_seeds
from sarnn_ros.training.tensorboard import TensorBoardLogger
from sarnn_ros.training.trainer import Epoch, Trainer

MakeTask = Callable[..., Dataset]

SMALL: dict[str, Any] = {
    "k_dim": 2, "rec_dim": 8, "epochs": 4, "threads": 1, "device": "cpu", "inner_steps": 1,
    "encoder_frames": 12, "image_frames": 5, "learning_rate": 0.01,
}  # fmt: skip


class Seeds:
    """`train_seeds` from seed 3 on, with the epochs that were trained and what may go wrong."""

    def __init__(self, dataset: Dataset, out: Path) -> None:
        self.dataset = dataset
        self.out = out
        self.trained: list[tuple[int, int]] = []
        self.told: list[str] = []
        self.poisoned: set[int] = set()
        self.stop_at: tuple[int, int] | None = None

    def run(self, count: int = 3, settings: Mapping[str, Any] | None = None, **options: Any):
        self.trained = []
        config = make_config({**SMALL, "seed": 3, **(settings or {})})
        return train_seeds(
            self.dataset,
            config,
            self.out,
            count,
            watch=self.watch,
            should_stop=lambda: self.trained[-1] == self.stop_at,
            warn=self.told.append,
            **options,
        )

    @contextmanager
    def watch(self, seed: int, run: Path) -> Iterator[tuple[Watcher, ...]]:
        def see(trainer: Trainer, epoch: Epoch) -> None:
            self.trained.append((seed, epoch.number))
            if seed in self.poisoned:
                trainer.training.joints[0, 0] = float("nan")

        yield (see,)

    def policy(self, seed: int) -> Path:
        return seeds_directory(self.out) / f"seed_{seed}"

    @property
    def table(self) -> dict[str, Any]:
        return json.loads((seeds_directory(self.out) / "seeds.json").read_text())


@pytest.fixture
def seeds(make_task: MakeTask, tmp_path: Path) -> Seeds:
    return Seeds(make_task(), tmp_path / "policy")


def weights(policy: Path) -> bytes:
    return (policy / "model.safetensors").read_bytes()


def row(seed: int, **values: Any) -> SeedResult:
    return SeedResult(seed, **{"error": 0.1, "explained": 0.5, **values})


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([row(0, error=0.2), row(1, error=0.1), row(2, error=0.3)], 1),
        ([row(0, error=0.2), row(1, explained=-0.3), row(2, error=0.3)], 0),
        ([row(0, error=0.2, explained=None), row(1, explained=None)], 1),
        ([row(0, explained=0.6, error=0.9), row(1), row(2, explained=None)], 0),
        ([row(0, success={"a": 0.5, "b": 0.1}), row(1, error=0.5, success={"a": 0.4, "b": 0.3})],
         1),
        # Success is what the other figures are signs of.
        ([row(0, success={"a": 0.5}), row(1, explained=0.1, success={"a": 0.6})], 1),
        ([row(0, error=0.2, success={"a": 1}), row(1, success={"a": 1})], 1),
        # Not all were tried: nothing is known of the others.
        ([row(0, error=0.2, success={"a": 1}), row(1)], 1),
        ([SeedResult(0, failure="no"), row(1, explained=-2.0)], 1),
    ],
)  # fmt: skip
def test_the_choice(rows: list[SeedResult], best: int) -> None:
    assert choose(rows).seed == best


def test_each_seed_is_the_single_training_and_the_best_is_put_out(
    seeds: Seeds, tmp_path: Path
) -> None:
    comparison = seeds.run()
    rows = {row.seed: row for row in comparison.rows}
    assert list(rows) == [3, 4, 5]
    assert comparison.held_out
    assert comparison.chosen == max(rows, key=lambda seed: rows[seed].explained)
    train(seeds.dataset, make_config({**SMALL, "seed": 4}), tmp_path / "alone")
    assert weights(seeds.policy(4)) == weights(tmp_path / "alone")
    assert load_config(seeds.out) == load_config(seeds.policy(comparison.chosen))
    assert len({weights(seeds.policy(seed)) for seed in rows}) == 3
    assert seeds.table["chosen"] == comparison.chosen
    assert [SeedResult(**values) for values in seeds.table["seeds"]] == comparison.rows
    for found in comparison.rows:
        assert found.epochs == 4
        assert found.restarts == 0
        assert 0 < found.error < 2
        assert found.explained < 1


def test_success_decides_over_error(seeds: Seeds) -> None:
    """Whichever seed the trials favour."""
    for best in (3, 4):
        comparison = seeds.run(
            2,
            resume=best == 4,
            trials=lambda path, best=best: {"taught": float(path.name == f"seed_{best}")},
        )
        assert comparison.chosen == best
        assert weights(seeds.out) == weights(seeds.policy(best))
        # Tried again only because what was known is forgotten.
        (seeds_directory(seeds.out) / "seeds.json").unlink()


def test_without_validation_it_is_said(make_task: MakeTask, tmp_path: Path) -> None:
    seeds = Seeds(make_task(validation=0), tmp_path / "policy")
    comparison = seeds.run(2)
    assert not comparison.held_out
    assert seeds.table["episodes"] == "training"


def test_interrupted_it_trains_only_what_is_left(
    seeds: Seeds, make_task: MakeTask, tmp_path: Path
) -> None:
    tried: list[str] = []

    def trials(path: Path) -> dict[str, float]:
        tried.append(path.name)
        return {"taught": 0.5}

    seeds.stop_at = (4, 1)
    stopped = seeds.run(trials=trials)
    assert (stopped.stopped, stopped.chosen) == (4, None)
    assert not seeds.out.exists()
    seeds.stop_at = None
    resumed = seeds.run(trials=trials, resume=True)
    assert seeds.trained == [(4, 2), (4, 3), *((5, number) for number in range(4))]
    assert tried == ["seed_3", "seed_4", "seed_5"]
    whole = Seeds(make_task(), tmp_path / "whole")
    assert whole.run(trials=trials).rows == resumed.rows
    for seed in (3, 4, 5):
        assert weights(seeds.policy(seed)) == weights(whole.policy(seed))
    # Nothing is left to train; trials of finished seeds are kept, and a seed more is one more.
    seeds.run(4, resume=True)
    assert {seed for seed, _ in seeds.trained} == {6}


def test_a_seed_that_stopped_early_is_finished(seeds: Seeds) -> None:
    """Its checkpoint would go on for an epoch more."""
    impatient = {"patience": 1, "validate_every": 1, "epochs": 30, "keep": "best",
                 "learning_rate": 0.05}  # fmt: skip
    rows = seeds.run(2, impatient).rows
    assert all(row.epochs < 30 for row in rows)
    before = [weights(seeds.policy(seed)) for seed in (3, 4)]
    assert seeds.run(2, impatient, resume=True).rows == rows
    assert seeds.trained == []
    assert [weights(seeds.policy(seed)) for seed in (3, 4)] == before


def test_resume_with_other_settings_or_of_nothing_is_refused(seeds: Seeds) -> None:
    with pytest.raises(TrainingError, match="no seed to resume"):
        seeds.run(resume=True)
    seeds.run(2)
    with pytest.raises(TrainingError, match=r"epochs: 4 then, 5 now"):
        seeds.run(2, {"epochs": 5}, resume=True)
    assert seeds.trained == []


@pytest.mark.parametrize("stop_at", [(3, 0), (4, 1), None])
def test_without_resume_nothing_is_lost(
    seeds: Seeds, stop_at: tuple[int, int] | None, tmp_path: Path
) -> None:
    """Whether a seed is finished or not, and with whatever seeds and settings."""
    seeds.stop_at = stop_at
    seeds.run(2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for settings in ({}, {"epochs": 5}, {"seed": 9}):
        with pytest.raises(TrainingError, match=r"seed_3(.|\n)*--resume"):
            seeds.run(2, settings)
        assert seeds.trained == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_after_nothing_but_failures_it_starts_anew(seeds: Seeds) -> None:
    """There is nothing to resume, either."""
    seeds.poisoned = {3, 4}
    with pytest.raises(TrainingError, match="no seed produced a policy"):
        seeds.run(2)
    seeds.poisoned = set()
    assert seeds.run(2).chosen is not None


def test_a_seed_that_fails_does_not_lose_the_others(seeds: Seeds) -> None:
    seeds.poisoned = {3}
    comparison = seeds.run(2)
    assert "not finite" in comparison.rows[0].failure
    assert any("seed 3 failed" in text for text in seeds.told)
    assert comparison.chosen == 4
    assert weights(seeds.out) == weights(seeds.policy(4))
    seeds.poisoned = set()
    assert [row.failure for row in seeds.run(2, resume=True).rows] == [None, None]


def test_if_all_fail_the_policy_of_before_stays(seeds: Seeds) -> None:
    seeds.run(2)
    before = load_config(seeds.out)
    shutil.rmtree(seeds_directory(seeds.out))
    seeds.poisoned = {3, 4}
    with pytest.raises(TrainingError, match=r"seed 3: (.|\n)*not finite(.|\n)*seed 4: "):
        seeds.run(2)
    assert load_config(seeds.out) == before


class Command:
    """`sarnn train` on the toy data."""

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        self.out = folder / "policy"
        self.spec = folder / "spec.yaml"
        self.spec.write_text(dump_spec(dataset.spec), encoding="utf-8")

    def __call__(self, *options: str) -> Result:
        settings = [one for key, value in SMALL.items() for one in ("--set", f"{key}={value}")]
        return CliRunner().invoke(
            app,
            ["train", "bags", "--spec", str(self.spec), "--out", str(self.out), *settings,
             *options],
            env={"COLUMNS": "160"},
        )  # fmt: skip


@pytest.fixture
def command(make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    dataset = make_task()
    monkeypatch.setattr(loading, "load_dataset", lambda *args, **options: dataset)
    return Command(dataset, tmp_path)


def test_on_the_command_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the second seed, then on to the end."""
    draw = TensorBoardLogger.__call__

    def interrupt(self: TensorBoardLogger, trainer: Trainer, epoch: Epoch) -> None:
        draw(self, trainer, epoch)
        if (trainer.config.seed, epoch.number) == (1, 1):
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(TensorBoardLogger, "__call__", interrupt)
        stopped = command("--seeds", "2")
    assert stopped.exit_code == 130
    assert "stopped in seed 1 (2 of 2); go on with --resume" in stopped.output
    done = command("--seeds", "2", "--resume")
    assert done.exit_code == 0, done.output
    assert "seed 1 (2 of 2): epoch 4/4" in done.output
    assert "seed 0 (1 of 2): epoch" not in done.output
    chosen = json.loads((seeds_directory(command.out) / "seeds.json").read_text())["chosen"]
    marked = [line for line in done.output.splitlines() if "→" in line]
    assert len(marked) == 1
    assert marked[0].split("│")[2].strip() == str(chosen)
    assert "chosen by the explained share alone" in " ".join(done.output.split())
    assert load_config(command.out).training["config"]["seed"] == chosen
    assert (seeds_directory(command.out) / "seed_1.run" / "tensorboard").is_dir()


def test_a_forgotten_resume_is_told_before_the_bags_are_read(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("--seeds", "2").exit_code == 0
    monkeypatch.setattr(loading, "load_dataset", lambda *args, **options: pytest.fail("read"))
    refused = command("--seeds", "2")
    assert refused.exit_code == 1
    assert "go on with --resume" in refused.output


def test_trials_need_seeds_and_a_spec_of_the_simulator(command: Command) -> None:
    assert "add --seeds" in command("--trials").output
    refused = command("--trials", "--seeds", "2")
    assert refused.exit_code == 1
    assert "'image_raw'" in refused.output
    assert not command.out.exists()


@pytest.mark.parametrize("more", [(), ("--seeds", "2")])
def test_a_dry_run_writes_nothing_but_the_cache(
    make_task: MakeTask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
) -> None:
    """Read for real: EIPL's layout, which needs no recorder."""
    episodes_of = make_task(validation=0).episodes
    (tmp_path / "data").mkdir()
    images = np.stack([episode.images["camera0"] for episode in episodes_of])
    joints = np.stack([episode.joints for episode in episodes_of]).astype(np.float32)
    np.save(tmp_path / "data" / "images.npy", images)
    np.save(tmp_path / "data" / "joints.npy", joints)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    spec = make_task().spec.model_copy(update={"target": "next_state"})
    (tmp_path / "spec.yaml").write_text(dump_spec(spec), encoding="utf-8")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    settings = [one for key, value in SMALL.items() for one in ("--set", f"{key}={value}")]
    done = CliRunner().invoke(
        app,
        ["train", str(tmp_path / "data"), "--spec", str(tmp_path / "spec.yaml"), "--out",
         str(tmp_path / "policy"), "--dry-run", *settings, *more],
        env={"COLUMNS": "160"},
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "4 for training, 1 for validation" in done.output
    assert "in all       4 epochs" in done.output
    assert ("2 are trained one after the other" in done.output) == bool(more)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: at for path, at in after.items() if "cache" not in path.parts} == before
    assert not (tmp_path / "policy.run").exists()
    assert not seeds_directory(tmp_path / "policy").exists()


def test_a_table_tells_failures_and_success() -> None:
    values = {"epochs": 4, "restarts": 1}
    rows = [SeedResult(0, "no"), row(1, **values, success={"taught": 0.25})]
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(seeds_table(Comparison(held_out=False, rows=rows, chosen=1)))
    said = " ".join(console.export_text().split())
    assert "failed" in said
    assert "25%" in said
    assert "TRAINING episodes" in said
    assert "alone" not in said
