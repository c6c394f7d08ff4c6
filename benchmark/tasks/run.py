# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One task from demonstrations to success rates, in steps that can be interrupted and go on.

Everything of a task is below one folder: `bags/`, `spec.yaml`, `positions.npz` (what no policy is
told), and per seed the policy, the commit of the code that trained it, its training log and the
outcome of each trial.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmark.tasks.controls import LinearPlan, Replay, same_length
from benchmark.tasks.record import FIRST_DEMONSTRATION, FIRST_TRIAL, demonstrate
from benchmark.tasks.robot import Robot
from benchmark.tasks.rollout import rollout
from benchmark.tasks.task import Array, Image, Task
from sarnn_ros.data.cache import default_cache
from sarnn_ros.data.dataset import Dataset
from sarnn_ros.data.proposal import model_size
from sarnn_ros.errors import TrainingError
from sarnn_ros.files import atomic_file, write_text
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.policy.directory import load_config
from sarnn_ros.policy.runtime import Policy, Prediction
from sarnn_ros.sim.rollout import Driver
from sarnn_ros.sim.task import Vision
from sarnn_ros.spec import Spec, load_spec, parse_spec
from sarnn_ros.streams.observe import Observation

#: Where everything is kept but the results, unless asked for elsewhere.
WORK = Path(__file__).resolve().parents[2] / "benchmark_tasks_output"
#: What `sarnn train` says, beside the policy.
LOG = "train.log"
#: Of each task, unless asked for others.
DEMONSTRATIONS = 50
#: The policy behind the limits and watchdogs of the node.
AT_THE_ROBOT = "as the node runs it"
#: Controls that need a policy, and what its camera shows; None is the policy itself.
VISIONS: dict[str | None, Vision] = {
    None: "live",
    AT_THE_ROBOT: "live",
    "objects hidden": "hidden",
    "image frozen": "frozen",
    "plan from first points": "live",
}
#: Controls that need none.
BLIND = ("mean replay", "plan from true positions")


@dataclass(frozen=True)
class Settings:
    """How much is done, and where it is kept.

    :param training: settings for `sarnn train`, each `KEY=VALUE`.
    """

    work: Path
    demonstrations: int = DEMONSTRATIONS
    trials: int = 50
    training: tuple[str, ...] = ()

    def folder(self, task: str, seed: int | None = None) -> Path:
        few = self.demonstrations != DEMONSTRATIONS
        folder = self.work / (f"{task}_{self.demonstrations}" if few else task)
        if seed is None:
            return folder
        return folder / "_".join([f"seed_{seed}", *self.training]).replace("/", "-")


def make_spec(task: Task) -> Spec:
    """What `sarnn inspect` proposes of the task's bags, but for the task's own rate, its names of
    cameras, and ages, which bags without gaps do not need: the whole images, which training crops
    by itself; state and command by name."""
    cameras = []
    for name, size in task.cameras.items():
        width, height = model_size(*size)
        cameras.append({"name": name, "topic": f"/{name}", "width": width, "height": height})
    return parse_spec(
        {
            "rate": task.rate,
            "cameras": cameras,
            "joints": {"topic": "/joint_states", "names": list(task.joints)},
            "target": "command",
            "command": {"topic": "/joint_command"},
        }
    )


def prepare(task: Task, settings: Settings, say: Callable[[str], None]) -> None:
    """Bags of successful demonstrations, the spec, and the true positions in each bag."""
    folder = settings.folder(task.name)
    for done in demonstrate(task, settings.demonstrations, folder / "bags"):
        say(f"{done} of {settings.demonstrations} demonstrations")
    spec = make_spec(task)
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec.model_dump(mode="json")))
    positions = {}
    for bag in sorted((folder / "bags").iterdir()):
        task.reset(FIRST_DEMONSTRATION + int(bag.name.rpartition("_")[2]))
        positions[bag.name] = task.positions()
    np.savez(folder / "positions.npz", **positions)


def train_command(bags: Sequence[Path], spec: Path, out: Path, seed: int) -> list[str]:
    """`sarnn train` on one core, of this environment."""
    command = [sys.executable, "-m", "sarnn_ros.cli.main", "train", *map(str, bags)]
    command += ["--spec", str(spec), "--out", str(out), "--seed", str(seed)]
    return [*command, "--set", "threads=1"]


def train(task: str, seed: int, settings: Settings) -> None:
    """`sarnn train` on the task's bags; goes on where it was interrupted, and does nothing if
    there is a policy."""
    folder, out = settings.folder(task), settings.folder(task, seed)
    policy = out / "policy"
    if (policy / "config.json").is_file():
        return
    out.mkdir(parents=True, exist_ok=True)
    command = train_command([folder / "bags"], folder / "spec.yaml", policy, seed)
    for setting in settings.training:
        command += ["--set", setting]
    if (out / "policy.run" / "checkpoint.pt").is_file():
        command += ["--resume"]
    else:
        write_text(out / "commit", commit())
    with (out / LOG).open("a") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise TrainingError(
            f"'sarnn train' ended with {done.returncode}",
            where=out / LOG,
            remedy="its log says why",
        )


def read_dataset(task: str, seed: int, settings: Settings, policy: Path | None = None) -> Dataset:
    """As `sarnn train` read it: the same split, and, for a policy, its cameras' crops."""
    folder = settings.folder(task)
    spec = load_spec(folder / "spec.yaml") if policy is None else load_config(policy).spec
    return load_dataset([folder / "bags"], spec, seed=seed, cache=default_cache())


def make_driver(
    task: Task, seed: int | None, control: str | None, settings: Settings
) -> tuple[Driver | Robot, Spec]:
    """What is to be tried, and what it observes."""
    path = None if seed is None else settings.folder(task.name, seed) / "policy"
    if path is not None and control != "plan from first points":
        policy = Policy.load(path)
        return Robot(policy) if control == AT_THE_ROBOT else policy, policy.spec
    dataset = read_dataset(task.name, seed or 0, settings, path)
    shown = [dataset.episodes[index] for index in dataset.training]
    plans = same_length([episode.targets for episode in shown])
    if control == "mean replay":
        return Replay(plans.mean(0)), dataset.spec
    if control == "plan from true positions":
        true = np.load(settings.folder(task.name) / "positions.npz")
        known = np.stack([true[_bag(episode.name)] for episode in shown])
        return LinearPlan(lambda observation: task.positions(), known, plans), dataset.spec
    assert path is not None
    policy = Policy.load(path)
    seen = np.stack([first_points(policy, dataset, index) for index in dataset.training])
    return LinearPlan(lambda observation: _points(policy, observation), seen, plans), dataset.spec


def first_points(policy: Policy, dataset: Dataset, index: int) -> Array:
    """Attention points at the first tick of an episode, all cameras, flat."""
    episode = dataset.episodes[index]
    images = {name: np.asarray(frames[0]) for name, frames in episode.images.items()}
    return _points(policy, Observation(0, images, episode.joints[0], {}, images))


def _points(policy: Policy, observation: Observation) -> Array:
    policy.reset()
    points = policy.step(observation).encoder_points
    return np.concatenate([points[name].ravel() for name in points])


def _bag(episode: str) -> str:
    """An episode is called after its bag, perhaps with a number behind a slash."""
    return episode.partition("/")[0].partition("#")[0]


def _trials(task: str, seed: int | None, control: str | None, settings: Settings) -> Path:
    name = (control or "policy").replace(" ", "_")
    return settings.folder(task, seed) / f"trials_{name}.json"


def judge(
    task: Task,
    seed: int | None,
    control: str | None,
    settings: Settings,
    say: Callable[[str], None],
) -> tuple[int, int]:
    """Successes and trials. Each outcome is written down at once, and not tried again."""
    folder = settings.folder(task.name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = _trials(task.name, seed, control, settings)
    outcomes: list[bool] = json.loads(path.read_text()) if path.is_file() else []
    if seed is None and not outcomes:  # a policy has that of its training
        write_text(path.with_suffix(".commit"), commit())
    if len(outcomes) < settings.trials:
        driver, spec = make_driver(task, seed, control, settings)
    while len(outcomes) < settings.trials:
        film: list[tuple[dict[str, Image], Prediction]] = []
        trial = FIRST_TRIAL + len(outcomes)
        outcomes.append(rollout(task, driver, spec, trial, VISIONS.get(control, "live"), film))
        with atomic_file(path) as partial:
            partial.write_text(json.dumps(outcomes))
        if isinstance(driver, Policy) and control is None and len(outcomes) == 1:
            from benchmark.tasks.film import write_film

            write_film(film, spec, task.rate, driver.config.model.stride, folder / "trial")
        say(f"{sum(outcomes)} of {len(outcomes)} trials succeeded")
    used = outcomes[: settings.trials]
    return sum(used), len(used)


def result(
    task: str, seed: int | None, control: str | None, counted: Sequence[int], settings: Settings
) -> dict[str, Any]:
    """One record of `benchmark/results/tasks.json`."""
    training: dict[str, Any] = {}
    kept = _trials(task, seed, control, settings).with_suffix(".commit")
    if seed is not None:
        folder = settings.folder(task, seed)
        training = load_config(folder / "policy").training
        kept = folder / "commit"  # of the policy, not of the code that tries it
    explained = training.get("explained", {})
    return {
        "task": task,
        "seed": seed,
        "control": control,
        "successes": counted[0],
        "trials": counted[1],
        "train_seconds": training.get("seconds"),
        "train_cpu_seconds": training.get("cpu_seconds"),
        "explained_held_out": explained.get("points"),
        "explained_permuted": explained.get("permuted"),
        "explained_free_running": explained.get("free_run"),
        "commit": kept.read_text(),
        "settings": list(settings.training),
        "demonstrations": settings.demonstrations,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def commit() -> str:
    """Of this code; with a + if files were changed since."""
    found = subprocess.run(
        ["git", "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or os.environ.get("GIT_COMMIT", "unknown")
