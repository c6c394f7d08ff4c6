# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How far a policy is off on demonstrations that nobody trained with.

python -m benchmark.tasks.new_demonstrations TASK [--seed 0] [--new 30] [--set KEY=VALUE …]

The free run on them (`sarnn_ros.training.trainer`) tells where closed-loop trials go wrong, in
seconds instead of minutes. With --set, the recurrent part alone is trained anew, with these
settings, on the attention of the policy: so a recurrent part can be developed. The policy is one
of `python -m benchmark.tasks`, with the same --work.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.tasks import run
from benchmark.tasks.jobs import TASKS, make_task, say
from benchmark.tasks.record import FIRST_NEW, demonstrate
from sarnn_ros.data.cache import default_cache
from sarnn_ros.data.dataset import Dataset
from sarnn_ros.interop.loading import load_dataset
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy.backends import load_model
from sarnn_ros.policy.directory import load_config
from sarnn_ros.training.config import make_config, parse_settings
from sarnn_ros.training.recipe import decide
from sarnn_ros.training.run import make_trainer
from sarnn_ros.training.sequences import make_sequences
from sarnn_ros.training.trainer import Trainer, free_run

#: Shares of an episode that errors are told at.
MOMENTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


def train_recurrent(trainer: Trainer) -> SARNN:
    """The recurrent part of the trainer's recipe, on its attention."""
    trainer.freeze_attention()
    for epoch in trainer.run(time.monotonic):
        if (epoch.number + 1) % 50 == 0:
            print(f"epoch {epoch.number + 1}: joint loss {epoch.training.joint:.2g}", flush=True)
    return trainer.final_model()


@torch.no_grad()
def errors(trainer: Trainer, model: SARNN, new: Dataset) -> list[NDArray[np.float64]]:
    """Per episode (T - 1, D): what the free run's commands are off by, rad or m."""
    model.eval()
    data = make_sequences(new, range(len(new.episodes)), trainer.device)
    points = trainer.encode_all(data, model)
    runs = data.unpad(free_run(model, points, data.joints, data.targets))
    shown = [episode.targets[:-1] for episode in new.episodes if len(episode.joints) > 1]
    back = new.normaliser.denormalise
    return [back(one.astype(np.float64)) - two for one, two in zip(runs, shown, strict=True)]


def table(found: list[NDArray[np.float64]], joints: tuple[str, ...]) -> str:
    """Median, and root mean square, of the size of the error, per moment and joint."""
    width = max(16, *(len(name) + 2 for name in joints))
    lines = ["of the episode".ljust(16) + "".join(name.rjust(width) for name in joints)]
    for moment in MOMENTS:
        row = np.array([one[int(moment * len(one))] for one in found])
        sizes, roots = np.median(np.abs(row), axis=0), np.sqrt((row**2).mean(0))
        cells = [f"{size:.4f} {root:.4f}" for size, root in zip(sizes, roots, strict=True)]
        lines.append(f"{moment:.0%}".ljust(16) + "".join(cell.rjust(width) for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", help=f"of {', '.join(TASKS)}, or MODULE:CLASS")
    parser.add_argument("--seed", type=int, default=0, help="of the policy")
    parser.add_argument("--policy", type=Path, help="the policy, if trained with other settings")
    parser.add_argument("--new", type=int, default=30, help="new demonstrations")
    parser.add_argument("--demonstrations", type=int, default=run.DEMONSTRATIONS)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--work", type=Path, default=run.WORK)
    options = parser.parse_args()
    settings = run.Settings(options.work.resolve(), options.demonstrations)
    os.environ.setdefault("MUJOCO_GL", "egl")
    task = make_task(options.task)
    folder = settings.folder(task.name)
    policy = options.policy or settings.folder(task.name, options.seed) / "policy"
    model = load_model(policy, load_config(policy))
    dataset = run.read_dataset(task.name, options.seed, settings, policy)
    tell = say(task.name)
    for done in demonstrate(task, options.new, folder / "new", FIRST_NEW):
        tell(f"{done} of {options.new} new demonstrations")
    new = load_dataset([folder / "new"], dataset.spec, cache=default_cache())
    new = dataclasses.replace(new, normaliser=dataset.normaliser)
    given = {"image_loss": 0.0, "threads": 1, "seed": options.seed, **parse_settings(options.set)}
    if not options.set:
        given["motion"] = model.motion_dim > 0
    trainer = make_trainer(decide(dataset, make_config(given)))
    known = {name: value for name, value in model.state_dict().items() if "pos_encoder" in name}
    trainer.model.load_state_dict({**trainer.model.state_dict(), **known})
    if options.set:
        model = train_recurrent(trainer)
    print(f"{len(new.episodes)} new episodes: median and root mean square, rad or m")
    print(table(errors(trainer, model, new), dataset.spec.joint_labels))


if __name__ == "__main__":
    main()
