# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The methods that are compared: how each is trained for so much CPU time, and what is then tried.

A new one is a class with `train` and `drive` as in `Method`, and its line in `METHODS`, or given
as `--methods module:NAME`. What it does not share an environment with runs in a process of its own
(`lerobot_process.py`).
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmark.tasks.task import Array
from sarnn_ros.data.cache import default_cache
from sarnn_ros.errors import ConfigError
from sarnn_ros.interop.lerobot_writer import export_lerobot
from sarnn_ros.interop.loading import find_recordings
from sarnn_ros.policy.directory import load_config as load_policy_config
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.sim.rollout import Driver
from sarnn_ros.spec import Spec, load_spec
from sarnn_ros.streams.observe import Observation

ROOT = Path(__file__).resolve().parents[2]
#: Python of an environment with LeRobot, as `make test-lerobot` makes it.
PYTHON = os.environ.get("SARNN_LEROBOT_PYTHON", str(ROOT / ".venv-lerobot" / "bin" / "python"))
LOG = "train.log"


@dataclass(frozen=True)
class Budget:
    """What a training may use, and where it is kept.

    :param cpu_seconds: in all, reading the demonstrations not counted.
    :param out: folder of this training. It may hold a part of it, or a copy of a shorter one.
    """

    seed: int
    cpu_seconds: float
    out: Path


class Method(Protocol):
    """What is compared.

    :ivar about: what it is, for the table.
    :ivar trained_as: the method whose trainings are its own, too.
    """

    @property
    def about(self) -> str: ...

    @property
    def trained_as(self) -> str | None: ...

    def train(self, folder: Path, budget: Budget) -> dict[str, Any]:
        """Learn from `folder/bags` by `folder/spec.yaml`, with one thread, or go on with it.

        :returns: `cpu_seconds`, `updates` and `parameters` for the record, and whatever else.
        """

    def drive(self, folder: Path, budget: Budget) -> Any:
        """A context with what is tried, `reset()` and `step(observation)`, and its spec."""


@dataclass(frozen=True)
class Sarnn:
    """Ours. It may end before the time."""

    about: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    trained_as: str | None = None

    def train(self, folder: Path, budget: Budget) -> dict[str, Any]:
        from sarnn_ros.training.config import make_config
        from sarnn_ros.training.recipe import prepare
        from sarnn_ros.training.run import checkpoint_path, train

        policy, spent = budget.out / "policy", 0.0
        begun = checkpoint_path(policy)
        resume = begun.is_file()
        if resume:
            import torch

            spent = torch.load(begun, weights_only=True)["progress"]["cpu_seconds"]
        config = make_config({"seed": budget.seed, "threads": 1, **self.settings})
        plan = prepare(
            [folder / "bags"], load_spec(folder / "spec.yaml"), config, cache=default_cache()
        )
        until = time.process_time() - spent + budget.cpu_seconds
        with (budget.out / LOG).open("a") as log:
            result = train(
                plan, policy, resume=resume, write_stopped=True,
                should_stop=lambda: time.process_time() > until,
                watchers=(lambda _, epoch: print(epoch, file=log, flush=True),),
                warn=lambda text: print(text, file=log, flush=True),
            )  # fmt: skip
        told = load_policy_config(policy).training
        batches = -(-len(plan.dataset.training) // config.batch_size)
        return {
            "cpu_seconds": told["cpu_seconds"],
            "updates": result.epochs * batches * (1 + config.inner_steps),
            "parameters": _parameters(policy),
            "epochs": result.epochs,
            "explained": told["explained"],
        }

    @contextmanager
    def drive(self, folder: Path, budget: Budget) -> Iterator[tuple[Driver, Spec]]:
        policy = Policy.load(budget.out / "policy")
        yield policy, policy.spec


def _parameters(policy: Path) -> int:
    from safetensors import safe_open

    with safe_open(policy / "model.safetensors", "numpy") as kept:
        return sum(one.size for one in map(kept.get_tensor, kept.keys()))


@dataclass(frozen=True)
class LeRobot:
    """A policy of LeRobot, in its own environment, from the data set that `sarnn convert` writes.

    :param settings: of LeRobot's config of the policy; what is not given is its default.
    :param size: height and width that images get first; None: as the camera gives them.
    :param chunk: names of settings in seconds of the task, which become ticks of its rate.
    :param trying: settings of the trials alone.
    """

    about: str
    policy: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    chunk: Mapping[str, float] = field(default_factory=dict)
    trying: Mapping[str, Any] = field(default_factory=dict)
    trained_as: str | None = None

    def ask(self, do: str, folder: Path, budget: Budget) -> list[str]:
        """The command of `lerobot_process.py`."""
        rate = load_spec(folder / "spec.yaml").rate
        settings = {**self.settings, **{k: round(s * rate) for k, s in self.chunk.items()}}
        if do == "serve":
            settings |= self.trying
        asked = {
            "do": do, "data": str(folder / "lerobot"), "out": str(budget.out),
            "policy": self.policy, "settings": settings, "size": self.size,
            "seed": budget.seed, "cpu_seconds": budget.cpu_seconds,
        }  # fmt: skip
        script = Path(__file__).with_name("lerobot_process.py")
        return [PYTHON, str(script), json.dumps(asked)]

    def train(self, folder: Path, budget: Budget) -> dict[str, Any]:
        if not (folder / "lerobot").is_dir():
            spec = load_spec(folder / "spec.yaml")
            found = find_recordings([folder / "bags"])
            export_lerobot(found, spec, folder / "lerobot", task=folder.name)
        with (budget.out / LOG).open("a") as log:
            done = subprocess.run(
                self.ask("train", folder, budget), stdout=log, stderr=log, env=_environment()
            )
        if done.returncode:
            raise ConfigError(
                f"LeRobot's process ended with {done.returncode}",
                where=budget.out / LOG,
                remedy=f"its log says why; LeRobot is asked for in {PYTHON}",
            )
        about: dict[str, Any] = json.loads((budget.out / "trained.json").read_text())
        return about

    @contextmanager
    def drive(self, folder: Path, budget: Budget) -> Iterator[tuple[Driver, Spec]]:
        with (budget.out / "trials.log").open("a") as log:
            process = subprocess.Popen(
                self.ask("serve", folder, budget), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, env=_environment(),
            )  # fmt: skip
            try:
                yield Asked(process), load_spec(folder / "spec.yaml")
            finally:
                process.communicate()  # the end of its questions is its end


def _environment() -> dict[str, str]:
    """Of another environment's Python: without our packages and the ROS wheels' libraries.
    Nothing is fetched at run time."""
    drop = ("PYTHONPATH", "LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
    kept = {key: value for key, value in os.environ.items() if key not in drop}
    return kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@dataclass
class Action:
    action: Array


class Asked:
    """A driver in another process, which gets whole images and the state, pickled."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def reset(self) -> None:
        self._ask(None)

    def step(self, observation: Observation) -> Action:
        images = {name: np.ascontiguousarray(one) for name, one in observation.sources.items()}
        return Action(np.asarray(self._ask((images, observation.state)), np.float64))

    def _ask(self, what: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        pickle.dump(what, self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)


_SCRATCH = {"pretrained_backbone_weights": None}
_SMALL_ACT = {
    **_SCRATCH, "dim_model": 256, "dim_feedforward": 1024,
    "optimizer_lr": 1e-4, "optimizer_lr_backbone": 1e-4,
}  # fmt: skip
#: Pixels of our own network's images, height and width.
_SMALL = (72, 96)
_TWO_SECONDS = {"chunk_size": 2.0, "n_action_steps": 2.0}

METHODS: dict[str, Method] = {
    "sarnn": Sarnn("ours, the default recipe, which ends by itself"),
    "sarnn_eipl": Sarnn(
        "ours, `recipe: eipl`: the reference implementation's, stopped long before the end of its "
        "10 000 epochs", {"recipe": "eipl"},
    ),
    "act_small": LeRobot(
        "LeRobot's ACT, half as wide, images of 96 x 72, learning rate 1e-4, chunks of 2 s that "
        "are done to their end: in Fetch the whole episode",
        "act", _SMALL_ACT, _SMALL, _TWO_SECONDS,
    ),
    "act_small_ensemble": LeRobot(
        "the same network, asked at every tick, with temporal ensembling (0.01)",
        "act", _SMALL_ACT, _SMALL, _TWO_SECONDS,
        {"temporal_ensemble_coeff": 0.01, "n_action_steps": 1}, "act_small",
    ),
    "diffusion_small": LeRobot(
        "LeRobot's Diffusion Policy, an eighth as wide, images of 96 x 72, group norm, horizon 16 "
        "of which 8 are done, 10 steps of DDIM",
        "diffusion",
        {**_SCRATCH, "use_group_norm": True, "down_dims": [64, 128, 256], "horizon": 16,
         "n_action_steps": 8, "noise_scheduler_type": "DDIM", "num_inference_steps": 10},
        _SMALL,
    ),
    "act": LeRobot("LeRobot's ACT as it comes, but for the pre-trained weights", "act", _SCRATCH),
    "diffusion": LeRobot(
        "LeRobot's Diffusion Policy as it comes, but for the pre-trained weights",
        "diffusion", _SCRATCH,
    ),
}  # fmt: skip


def find_method(name: str) -> Method:
    """One of `METHODS`, or MODULE:NAME, one of somebody's own."""
    module, colon, inside = name.partition(":")
    found: Method = getattr(import_module(module), inside) if colon else METHODS[name]
    return found
