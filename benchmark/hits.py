# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How often each attention point of a policy follows each thing, in scenes that nobody has shown.

    .venv-tasks/bin/python -m benchmark.hits --tasks benchmark.tasks.lab:PickAndPlace

It takes the policies that `benchmark.tasks` has trained. No camera needs to be known: the
simulator tells where things truly are, and a pinhole camera's regression on that, in which large
misses hardly count, where each point would be if it followed a thing. It does in a scene if it is
within 4.5 pixels of that, of an image whose longer side is 96; what hardly moves follows nothing.
Where an arm hides a thing no point can. Of a thing that goes far chance is 10 to 25 %. A thing is
three of the task's true positions, in their order, or two if there are not so many.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.tasks import run
from benchmark.tasks.jobs import make_task
from benchmark.tasks.task import Array, Task
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.streams.observe import Observation
from sarnn_ros.streams.preprocess import crop_resize
from sarnn_ros.training.expected_places import MIN_PLACE_DEVIATION, Told, expected_places

#: Scenes that are neither demonstrated nor tried.
FIRST_SCENE = 700_000
#: Pixels of an image with a longer side of `SIDE`.
NEAR, SIDE = 4.5, 96


def look(task: Task, policy: Policy, scenes: int) -> tuple[dict[str, Array], Array]:
    """Of each camera the points in first images, (N, K, 2), shares of the image; and where things
    are, (N, P)."""
    points: dict[str, list[NDArray[np.float32]]] = {one.name: [] for one in policy.spec.cameras}
    places = []
    for number in range(scenes):
        task.reset(FIRST_SCENE + number)
        images = task.images()
        small = {one.name: crop_resize(images[one.name], one) for one in policy.spec.cameras}
        policy.reset()
        seen = policy.step(Observation(1, small, task.state(), {}, {}))
        for name, found in points.items():
            found.append(seen.encoder_points[name])
        places.append(task.positions())
    return {name: np.array(found, float) for name, found in points.items()}, np.array(places)


def hits(points: Array, place: Array, size: tuple[int, int]) -> Array:
    """In which share of N scenes each point (N, K, 2) is on a thing at (N, D), (K,).

    :param size: width and height of the image, pixels.
    """
    away = place - place.mean(0)
    away = away[:, away.std(0) > 1e-6]
    told = torch.from_numpy(away / away.std(0)).float()
    nothing = torch.zeros(len(told), 0), torch.zeros(told.shape[1], 1, 1)
    pixels = torch.from_numpy(points * size).float()
    expected, moved = expected_places(pixels, Told(told, *nothing))
    near = (pixels - expected).norm(dim=2) < NEAR * max(size) / SIDE
    return (near.double().mean(0) * (moved > MIN_PLACE_DEVIATION)).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmark.hits", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--tasks", nargs="+", required=True, help="as of benchmark.tasks")
    parser.add_argument("--seed", type=int, default=0, help="of the policy")
    parser.add_argument("--scenes", type=int, default=100, help="to look at (%(default)s)")
    parser.add_argument("--work", type=Path, default=run.WORK, help="where the policies are")
    options = parser.parse_args()
    for name in options.tasks:
        task = make_task(name)
        folder = run.Settings(options.work).folder(task.name, options.seed)
        policy = Policy.load(folder / "policy")
        seen, places = look(task, policy, options.scenes)
        each = 3 if places.shape[1] % 3 == 0 else 2
        for camera in policy.spec.cameras:
            print(f"{task.name}, camera {camera.name}, {options.scenes} scenes")
            for thing in range(places.shape[1] // each):
                place = places[:, each * thing : each * (thing + 1)]
                found = hits(seen[camera.name], place, (camera.width, camera.height))
                print(
                    f"  positions {each * thing + 1} to {each * (thing + 1)}: "
                    + " ".join(f"{share:4.0%}" for share in found)
                )


if __name__ == "__main__":
    main()
