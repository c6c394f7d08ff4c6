# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a process does for one task, method, time and seed, in steps that can be interrupted."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

from benchmark.peers.methods import Budget, find_method
from benchmark.tasks import run
from benchmark.tasks.jobs import make_task, say
from benchmark.tasks.record import FIRST_TRIAL
from benchmark.tasks.rollout import rollout
from sarnn_ros.files import write_text

#: Seconds of one thread in a minute of two cores.
CPU_SECONDS = 2 * 60


def measure(
    name: str, method_name: str, minutes: float, seed: int, settings: run.Settings
) -> dict[str, Any]:
    """Demonstrate, train and try, as far as it was not done before."""
    task, method = make_task(name), find_method(method_name)
    tell = say(f"{task.name}, {method_name}, {minutes:g} minutes, seed {seed}")
    folder = settings.folder(task.name)
    if not (folder / "positions.npz").is_file():
        run.prepare(task, settings, tell)
    network = (method.trained_as or method_name).replace(":", "-")
    trainings = folder / "peers" / f"{network}_seed_{seed}"
    out = trainings / f"{minutes:g}"
    done = {float(path.parent.name) for path in trainings.glob("*/about.json")}
    shorter = max((one for one in done if one < minutes), default=None)
    budget = Budget(seed, minutes * CPU_SECONDS, out)
    if minutes not in done:
        tell("training")
        if shorter is not None and not out.is_dir():
            leave = shutil.ignore_patterns("policy", "trials*", "about.json")
            shutil.copytree(trainings / f"{shorter:g}", out, ignore=leave)
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "commit", run.commit())
        write_text(out / "about.json", json.dumps(method.train(folder, budget)))
    about = json.loads((out / "about.json").read_text())
    kept = out / f"trials_{method_name}.json".replace(":", "-")
    outcomes: list[bool] = json.loads(kept.read_text()) if kept.is_file() else []
    if len(outcomes) < settings.trials:
        with method.drive(folder, budget) as (driver, spec):
            while len(outcomes) < settings.trials:
                outcomes.append(rollout(task, driver, spec, FIRST_TRIAL + len(outcomes)))
                write_text(kept, json.dumps(outcomes))
                tell(f"{sum(outcomes)} of {len(outcomes)} trials succeeded")
    return {
        "task": task.name,
        "method": method_name,
        "minutes": minutes,
        "seed": seed,
        "successes": sum(outcomes[: settings.trials]),
        "trials": settings.trials,
        "training": about,
        "demonstrations": settings.demonstrations,
        "commit": (out / "commit").read_text(),
        "command": f"python -m benchmark.peers --methods {method_name} --tasks {name} "
        f"--minutes {minutes:g}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
