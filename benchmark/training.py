# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training speed against the seed's plain step loop, in the same process on the same data.

`epoch` (a minute): one full-BPTT update of T=120, B=5, 64x64; ours must give the same losses.
`success` (long; needs the simulator): wall time and closed-loop success of a recipe over seeds,
    python benchmark/training.py success BAGS --seeds 0 1 2 3 4 --set recipe=fast
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import arguments, finish, machine
from seed_sarnn import SeedSARNN, step_loop_losses

from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.training.config import load_config, make_config, parse_settings
from sarnn_ros.training.losses import encode, image_loss, recurrent_losses
from sarnn_ros.training.machine import keep_memory
from sarnn_ros.training.trainer import MEMORY_BYTES, bytes_per_frame

TICKS, BATCH, SIZE, JOINTS = 120, 5, 64, 6


def epoch(repeats: int) -> dict[str, Any]:
    """Seconds of an update, alternating between the two; and how far their losses are apart."""
    torch.manual_seed(0)
    ours = SARNN(50, 5, JOINTS, im_size=(SIZE, SIZE))
    seed = SeedSARNN(50, 5, JOINTS, im_size=(SIZE, SIZE))
    seed.load_state_dict({name: ours.state_dict()[name].clone() for name in seed.state_dict()})
    ours = ours.to(memory_format=torch.channels_last)
    images = torch.rand(BATCH, TICKS, 3, SIZE, SIZE)
    joints = torch.rand(BATCH, TICKS, JOINTS)
    frames = images.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (BATCH, -1))
    lengths = torch.full((BATCH,), TICKS)
    fits = MEMORY_BYTES // bytes_per_frame(ours)

    def plain() -> tuple[torch.Tensor, ...]:
        return step_loop_losses(seed, images, joints, images, joints.roll(-1, 1))

    def parallel() -> tuple[torch.Tensor, ...]:
        now, following = frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1)
        points = encode(ours, [now], fits).unflatten(0, (BATCH, -1))
        joint, point, decoded = recurrent_losses(
            ours, points, joints[:, :-1], joints.roll(-1, 1)[:, :-1], lengths
        )
        image = image_loss(ours, [now], decoded.flatten(0, 1), [following], fits)
        return image, joint, point

    sides = {"step_loop": (plain, seed), "ours": (parallel, ours)}
    optimizers = {
        name: torch.optim.Adam(net.parameters(), eps=1e-7) for name, (_, net) in sides.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    first = {}
    for _ in range(repeats + 1):
        for name, (losses, _) in sides.items():
            start = time.perf_counter()
            image, joint, point = losses()
            optimizers[name].zero_grad(set_to_none=True)
            (0.1 * image + joint + 0.1 * point).backward()
            optimizers[name].step()
            seconds[name].append(time.perf_counter() - start)
            first.setdefault(name, torch.stack([image, joint, point]).detach())
    difference = float((first["step_loop"] - first["ours"]).abs().max())
    median = {name: float(np.median(values[1:])) for name, values in seconds.items()}
    return {
        "seconds_per_update": {name: round(value, 3) for name, value in median.items()},
        "ratio": round(median["step_loop"] / median["ours"], 2),
        "difference_of_the_first_losses": difference,
    }


def success(bags: list[Path], seeds: list[int], settings: list[str], spec: Path) -> dict[str, Any]:
    """Train once per seed on the bags, and try each policy in simulated time, 54 trials."""
    import tempfile
    from functools import partial

    from sarnn_ros.data.episodes import load_dataset
    from sarnn_ros.policy.runtime import Policy
    from sarnn_ros.sim.trials import closed_loop
    from sarnn_ros.spec import load_spec
    from sarnn_ros.training.run import train

    dataset = load_dataset(bags, load_spec(spec), validation=0)
    rows = []
    for seed in seeds:
        config = load_config(None, {**parse_settings(settings), "seed": seed})
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "policy"
            start, busy = time.perf_counter(), time.process_time()
            train(dataset, config, out)
            row = {
                "seed": seed,
                "seconds": round(time.perf_counter() - start, 1),
                "cpu_seconds": round(time.process_time() - busy, 1),
                **closed_loop(partial(Policy.load, out)),
            }
        rows.append(row)
        print(row, flush=True)
    return {"settings": make_config(parse_settings(settings)).model_dump(), "runs": rows}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("what", nargs="?", choices=("epoch", "success"), default="epoch")
    parser.add_argument("bags", nargs="*", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--spec", type=Path, default=Path("config/demo_spec.yaml"))
    options = parser.parse_args()
    keep_memory()
    if options.what == "epoch":
        result = epoch(options.repeats)
    else:
        result = success(options.bags, options.seeds, options.settings, options.spec)
    finish({"machine": machine(), options.what: result}, options.json)


if __name__ == "__main__":
    main()
