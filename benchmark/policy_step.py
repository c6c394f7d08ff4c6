# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One tick of the policy against EIPL's network run plainly, on one core: idle and loaded.
Loaded means that other processes burn every core.

Idle is measured twice: in a loop, and at a robot's pace, where each step finds the caches cold and
the core asleep. A ratio from the loop alone would promise a robot what it does not get.

The baseline does what EIPL's online script does at a tick: scale the image, forward the whole
network in eager PyTorch, take the joints back to radians. Both see the same inputs and have the
same weights, and must agree.
"""

from __future__ import annotations

import math
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import CORES, arguments, burning, finish, machine, make_spec, percentiles, write_policy
from numpy.typing import NDArray
from reference_sarnn import ReferenceSARNN

from sarnn_ros.control.scheduling import schedule_this_thread
from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.spec import Spec
from sarnn_ros.streams.observe import Observation
from sarnn_ros.streams.preprocess import crop_resize, scale_images

JOINTS = 6
#: Between two steps at a robot's pace, s.
PAUSE = 0.033
#: What is measured at that pace.
AT_PACE = ("baseline", "onnxruntime, command", "onnxruntime, full")


class Baseline:
    """The reference network and EIPL's online loop around it, with no thought given to speed."""

    def __init__(self, model: ReferenceSARNN) -> None:
        self.model = model.eval()
        self.state: Any = None

    def step(self, observation: Observation) -> np.ndarray:
        image = observation.images["camera0"].transpose(2, 0, 1) / 255.0
        joints = (observation.state + 1.0) / 2.0 * 0.8 + 0.1
        with torch.no_grad():
            x_img = torch.tensor(image, dtype=torch.float32).unsqueeze(0)
            x_joint = torch.tensor(joints, dtype=torch.float32).unsqueeze(0)
            _y_image, y_joint, _enc, _dec, self.state = self.model(x_img, x_joint, self.state)
        return (y_joint[0].numpy() - 0.1) / 0.8 * 2.0 - 1.0


def idle(
    contenders: dict[str, Callable[[], Any]], rounds: int, *, steps: int = 20, pause: float = 0.0
) -> dict[str, list[float]]:
    """Seconds per step, the contenders taking turns so that all see the same machine.

    :param steps: of a turn; :param pause: before each, s.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, step in contenders.items():
            for _ in range(steps):
                time.sleep(pause)
                start = time.perf_counter()
                step()
                if number:  # the first round warms up
                    times[name].append(time.perf_counter() - start)
    return times


def paced(step: Callable[[], Any], rate: float, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds per step at a robot's pace, from when it should begin to its end; and of these the
    seconds on a core. Ticks that a step was too slow for are left out, as a robot would have to.
    """
    times, busy = [], []
    begin = time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < seconds:
        due = begin + math.ceil(elapsed * rate) / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        before = time.thread_time()
        step()
        busy.append(time.thread_time() - before)
        times.append(time.perf_counter() - due)
    return times, busy


def urgent(step: Callable[[], Any], rate: float, seconds: float) -> list[float] | None:
    """As `paced`, with the node's `realtime_priority`; None without the privilege."""
    found: list[list[float]] = []

    def run() -> None:
        if not schedule_this_thread([], 1):
            found.append(paced(step, rate, seconds)[0])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0] if found else None


def preprocessing(policy: Policy, pixels: NDArray[np.uint8]) -> dict[str, Callable[[], Any]]:
    """What comes before the network: on a VGA image, and on the model's, `pixels`."""
    camera = policy.spec.cameras[0]
    source = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    return {
        "crop and resize of 640×480": lambda: crop_resize(source, camera),
        "scale and transpose": lambda: scale_images(pixels, policy.spec.image_range),
    }


def times_faster(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """The baseline's median over each one's."""
    base = figures["baseline"]["p50"]
    return {name: round(base / values["p50"], 2) for name, values in figures.items()}


@dataclass(frozen=True)
class Contenders:
    """:param steps: by name, what is timed; :param before: what comes before the network."""

    steps: dict[str, Callable[[], Any]]
    before: dict[str, Callable[[], Any]]


def make_contenders(size: int, scratch: Path) -> Contenders:
    """The baseline and our backends, with the same weights, on one observation. They agree."""
    torch.manual_seed(0)
    spec: Spec = make_spec(size, joints=JOINTS)
    seed = ReferenceSARNN(50, 5, JOINTS, im_size=(size, size))
    model = SARNN(50, 5, JOINTS, im_size=(size, size))
    seed.load_state_dict(model.state_dict(), strict=False)
    directory = write_policy(scratch / f"policy{size}", spec, model)
    random = np.random.default_rng(0)
    observation = Observation(
        1,
        {"camera0": random.integers(0, 256, (size, size, 3), dtype=np.uint8)},
        random.uniform(-1, 1, JOINTS),
        {},
        {},
    )
    baseline = Baseline(seed)
    policies = {name: Policy.load(directory, name) for name in ("onnxruntime", "torch")}
    for policy in policies.values():
        for _ in range(3):
            difference = np.abs(policy.step(observation).action - baseline.step(observation)).max()
            assert difference < 1e-3, f"not the same network: {difference}"
        baseline.state = None

    zero = torch.zeros(1, 50)
    x_img, x_joint = torch.rand(1, 3, size, size), torch.rand(1, JOINTS)

    @torch.no_grad()
    def forward() -> None:
        seed(x_img, x_joint, (zero, zero))

    steps: dict[str, Callable[[], Any]] = {
        "baseline": lambda: baseline.step(observation),
        "baseline, forward only": forward,
    }
    for name, policy in policies.items():
        steps[f"{name}, command"] = partial(policy.step, observation)
        steps[f"{name}, full"] = partial(policy.step, observation, want_image=True)
    return Contenders(steps, preprocessing(policies["onnxruntime"], observation.images["camera0"]))


def on_one_core(contenders: Contenders, rounds: int) -> dict[str, Any]:
    """Idle, in a loop and at a robot's pace."""

    def summed(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
        return {name: percentiles(each) for name, each in times.items()}

    torch.set_num_threads(1)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    quiet = summed(idle(contenders.steps, rounds))
    paced_ones = {name: contenders.steps[name] for name in AT_PACE}
    at_pace = summed(idle(paced_ones, 4 * rounds, steps=1, pause=PAUSE))
    shares = summed(idle(contenders.before, rounds))
    os.sched_setaffinity(0, cores)
    return {
        "idle_ms": quiet,
        "times_faster_than_baseline": times_faster(quiet),
        "at_pace_ms": at_pace,
        "times_faster_than_baseline_at_pace": times_faster(at_pace),
        "preprocessing_ms": shares,
    }


def under_load(contenders: Contenders, seconds: float) -> dict[str, dict[str, float]]:
    """While other processes burn every core."""
    loaded = {}
    with burning(CORES):
        for name in ("onnxruntime, command", "onnxruntime, full", "baseline"):
            times, busy = paced(contenders.steps[name], 30.0, seconds)
            loaded[name] = percentiles(times)
            if name == "baseline":
                continue
            loaded[f"{name}, of it on a core"] = percentiles(busy)
            if times := urgent(contenders.steps[name], 30.0, seconds):
                loaded[f"{name}, realtime_priority 1"] = percentiles(times)
        torch.set_num_threads(max(2, CORES))  # what torch does by itself
        loaded["baseline, a thread per core"] = percentiles(
            paced(contenders.steps["baseline"], 30.0, seconds)[0]
        )
        torch.set_num_threads(1)
    return loaded


def measure(size: int, scratch: Path, rounds: int, seconds: float) -> dict[str, Any]:
    contenders = make_contenders(size, scratch)
    return on_one_core(contenders, rounds) | {"loaded_ms": under_load(contenders, seconds)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--rounds", type=int, default=25, help="of 20 steps, per contender")
    parser.add_argument("--seconds", type=float, default=20.0, help="at 30 Hz, under load")
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as scratch:
        for size in options.sizes:
            result[f"{size}x{size}"] = measure(
                size, Path(scratch), options.rounds, options.seconds
            )
    finish(result, options.json)


if __name__ == "__main__":
    main()
