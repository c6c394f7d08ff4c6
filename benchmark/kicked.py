# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What it costs that the camera was moved between two sessions of demonstrations.

python -m benchmark.kicked [--work FOLDER] [--trials 20]

Our own arm's lift (`benchmark.tasks.lift`), 30 demonstrations. In the last ten the camera stands
6 cm aside, which is 5 % of the width in the middle of its image; what is nearer shifts more. One
policy is trained with `align_cameras=true` and one without, seed 0. Both are tried with the
camera in the first place and, registered as at the robot, in the second one. Stop it whenever you
like: the same command goes on from there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import yaml

from benchmark.robustness import NONE, Disturbance, judge
from benchmark.tasks.jobs import say
from benchmark.tasks.lift import Lift
from benchmark.tasks.record import FIRST_DEMONSTRATION, record
from benchmark.tasks.run import WORK, Settings, make_spec, train
from sarnn_ros.policy.runtime import Policy

DEMONSTRATIONS, DISPLACED = 30, 10
ASIDE = Disturbance("camera moved", "6 cm", view=(0.0, 0.0, 0.06))
SETTINGS = ("align_cameras=true", "align_cameras=false")


def demonstrate(task: Lift, folder: Path) -> None:
    for number in range(DEMONSTRATIONS):
        bag = folder / f"demonstration_{number:03d}"
        displaced = number >= DEMONSTRATIONS - DISPLACED
        task.move_cameras(*(ASIDE.view if displaced and ASIDE.view else (0.0, 0.0, 0.0)))
        if not bag.is_dir():
            record(task, FIRST_DEMONSTRATION + number, bag)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=20, help="per cell")
    parser.add_argument("--work", type=Path, default=WORK / "kicked")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    task = Lift()
    folder = asked.work / task.name
    demonstrate(task, folder / "bags")
    (folder / "spec.yaml").write_text(yaml.safe_dump(make_spec(task).model_dump(mode="json")))
    for setting in SETTINGS:
        settings = Settings(work=asked.work, training=(setting,))
        train(task.name, 0, settings)
        out = settings.folder(task.name, 0)
        policy = Policy.load(out / "policy")
        for where in (NONE, ASIDE):
            path = out / f"{where.axis.replace(' ', '_')}.json"
            outcomes = judge(task, policy, where, where is not NONE, asked.trials, path)
            count = sum(one.startswith("succeeded") for one in outcomes)
            say(f"{setting}, {where.name}")(f"{count} of {len(outcomes)} succeeded")


if __name__ == "__main__":
    main()
