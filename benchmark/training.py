# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Training speed against EIPL's plain step loop, on the same data.

`epoch` (minutes): one full-BPTT update of T=120, B=5, 64x64; ours must give the same losses. The
ratio is taken turn by turn; its quartiles are printed.
`success` (long; needs the simulator): wall time and closed-loop success of a recipe over seeds,
    python benchmark/training.py success BAGS --seeds 0 1 2 3 4 --set recipe=fast
and what an epoch of that step loop takes on these bags. Its `epochs_in_ten_times` are those
that fit into ten times the median wall time; our trainer computes the same losses sooner:
    python benchmark/training.py success BAGS --set recipe=eipl --set epochs=60 --at 36 48
`resume` (a minute): what an interruption costs, against an epoch,
    python benchmark/training.py resume BAGS --json result.json
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import arguments, finish, machine
from reference_sarnn import ReferenceSARNN, step_loop_losses

from sarnn_ros.model.sarnn import SARNN
from sarnn_ros.training.batches import Batch
from sarnn_ros.training.config import load_config, make_config, parse_settings
from sarnn_ros.training.footprint import Fits
from sarnn_ros.training.machine import keep_memory
from sarnn_ros.training.recipe import Plan
from sarnn_ros.training.trainer import batch_losses

BATCH, SIZE, JOINTS = 5, 64, 6


def make_update(name: str, ticks: int) -> Callable[[], list[float]]:
    """One update of one side on the same weights and data, which returns its losses."""
    if name != "step_loop":
        keep_memory()
    torch.manual_seed(0)
    ours = SARNN(50, 5, JOINTS, im_size=(SIZE, SIZE))
    reference = ReferenceSARNN(50, 5, JOINTS, im_size=(SIZE, SIZE))
    weights = ours.state_dict()
    reference.load_state_dict({name: weights[name].clone() for name in reference.state_dict()})
    ours = ours.to(memory_format=torch.channels_last)
    images = torch.rand(BATCH, ticks, 3, SIZE, SIZE)
    joints = torch.rand(BATCH, ticks, JOINTS)
    frames = images.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (BATCH, -1))
    learnt = torch.ones(BATCH, ticks - 1, dtype=torch.bool)

    def plain() -> tuple[torch.Tensor, ...]:
        return step_loop_losses(reference, images, joints, images, joints.roll(-1, 1))

    def parallel() -> tuple[torch.Tensor, ...]:
        now, following = frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1)
        row, tick = torch.ones(BATCH, ticks - 1).nonzero().T
        batch = Batch(
            frames=[now],
            row=row,
            tick=tick,
            encoded=len(now),
            following=[following],
            points=torch.zeros(BATCH, ticks - 1, 2 * ours.k_dim),
            joints=joints[:, :-1],
            targets=joints.roll(-1, 1)[:, :-1],
            learnt=learnt,
            frozen=False,
        )
        found, _ = batch_losses(ours, batch, Fits.of(ours))
        return tuple(found)

    losses, net = (parallel, ours) if name == "ours" else (plain, reference)
    optimizer = torch.optim.Adam(net.parameters(), eps=1e-7)

    def update() -> list[float]:
        image, joint, point = losses()
        optimizer.zero_grad(set_to_none=True)
        (0.1 * image + joint + 0.1 * point).backward()
        optimizer.step()
        return [float(loss) for loss in (image, joint, point)]

    return update


def work(pipe: Connection, name: str, ticks: int) -> None:
    """Seconds and losses of an update, whenever asked for one."""
    update = make_update(name, ticks)
    while pipe.recv():
        start = time.perf_counter()
        losses = update()
        pipe.send((time.perf_counter() - start, losses))


def epoch(repeats: int, ticks: int) -> dict[str, Any]:
    """Seconds of an update, taking turns; and how far the losses are apart.

    Each side has its own process: how memory is kept, which `sarnn train` sets and that loop
    does not, holds for a whole one. The loop is measured with it as well.
    """
    context = multiprocessing.get_context("spawn")
    sides = {}
    for name in ("step_loop", "step_loop, memory kept", "ours"):
        pipe, theirs = context.Pipe()
        context.Process(target=work, args=(theirs, name, ticks), daemon=True).start()
        sides[name] = pipe
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    first = {}
    for _ in range(repeats + 1):
        for name, pipe in sides.items():
            pipe.send(True)
            taken, losses = pipe.recv()
            seconds[name].append(taken)
            first.setdefault(name, np.array(losses))
    for pipe in sides.values():
        pipe.send(False)
    median = {name: round(float(np.median(taken[1:])), 3) for name, taken in seconds.items()}
    ours = np.array(seconds.pop("ours")[1:])
    return {
        "seconds_per_update": median,
        "times_faster": {
            "ours": {
                loop: np.quantile(np.array(taken[1:]) / ours, [0.25, 0.5, 0.75]).round(2).tolist()
                for loop, taken in seconds.items()
            }
        },
        "difference_of_the_first_losses": {
            "ours": np.abs(first["step_loop"] - first["ours"]).tolist()
        },
    }


def success(
    bags: list[Path], seeds: list[int], settings: list[str], spec: Path, at: list[int]
) -> dict[str, Any]:
    """Train once per seed on the bags, and try each policy in simulated time, 54 trials."""
    from sarnn_ros.spec import load_spec
    from sarnn_ros.training.recipe import prepare

    rows = []
    for seed in seeds:
        config = load_config(None, {**parse_settings(settings), "seed": seed})
        plan = prepare(bags, load_spec(spec), config, validation=0)
        rows.append(train_and_try(plan, at))
        print(rows[-1], flush=True)
    dataset = plan.dataset
    ticks = max(len(episode.joints) for episode in dataset.episodes)
    loop_seconds = loop_epoch(len(dataset.training), ticks)
    median = float(np.median([row["seconds"] for row in rows]))
    return {
        "settings": make_config(parse_settings(settings)).model_dump(),
        "runs": rows,
        "step_loop_epoch_seconds": round(loop_seconds, 2),
        "epochs_in_ten_times": round(10 * median / loop_seconds, 1),
    }


def train_and_try(plan: Plan, at: list[int]) -> dict[str, Any]:
    """Wall and CPU time of one training, and success after it.

    :param at: epochs after which to try the policy already; that time is not counted.
    """
    import tempfile
    from functools import partial

    from sarnn_ros.policy.envelope import envelope_from_dataset
    from sarnn_ros.policy.export import export_policy
    from sarnn_ros.policy.runtime import Policy
    from sarnn_ros.sim.trials import closed_loop
    from sarnn_ros.training.run import train
    from sarnn_ros.training.trainer import Epoch, Trainer

    dataset, config = plan.dataset, plan.config
    tried: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "policy"
        spent = np.zeros(2)

        def look(trainer: Trainer, _: Epoch) -> None:
            if trainer.epoch not in at:
                return
            before = np.array([time.perf_counter(), time.process_time()])
            early = Path(folder) / f"epoch_{trainer.epoch}"
            export_policy(
                early,
                trainer.final_model(),
                spec=dataset.spec,
                normaliser=dataset.normaliser,
                envelope=envelope_from_dataset(dataset),
                training={},
                health=lambda made: None,
            )
            rates = closed_loop(partial(Policy.load, early))
            tried[trainer.epoch] = rates
            print({"seed": config.seed, "epoch": trainer.epoch, **rates}, flush=True)
            spent[:] += np.array([time.perf_counter(), time.process_time()]) - before

        start = np.array([time.perf_counter(), time.process_time()])
        train(plan, out, watchers=(look,))
        taken = np.array([time.perf_counter(), time.process_time()]) - start - spent
        return {
            "seed": config.seed,
            "seconds": round(float(taken[0]), 1),
            "cpu_seconds": round(float(taken[1]), 1),
            **closed_loop(partial(Policy.load, out)),
            "at": tried,
        }


def loop_epoch(episodes: int, ticks: int) -> float:
    """Seconds of an epoch of the plain step loop, without reading or distorting any image."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    context.Process(target=work, args=(theirs, "step_loop", ticks), daemon=True).start()
    seconds = []
    for _ in range(6):
        pipe.send(True)
        seconds.append(pipe.recv()[0])
    pipe.send(False)
    return float(np.median(seconds[1:])) * episodes / BATCH


def resume(bags: list[Path], repeats: int, settings: list[str], spec: Path) -> dict[str, Any]:
    """Seconds from `train` to the start of its first epoch, with --resume and without, and of a
    later epoch; and of reading the bags from the cache, which both do before."""
    import tempfile

    from sarnn_ros.data.cache import default_cache
    from sarnn_ros.spec import load_spec
    from sarnn_ros.training.recipe import prepare
    from sarnn_ros.training.run import train
    from sarnn_ros.training.trainer import Epoch, Trainer

    config = load_config(None, parse_settings(settings))

    def begin(out: Path, resumed: bool) -> list[float]:
        """Until the first epoch; and the last of six, after which it stops."""
        ready: list[float] = []
        epochs: list[float] = []

        def see(trainer: Trainer, epoch: Epoch) -> None:
            ready.append(time.perf_counter() - start - epoch.seconds)
            epochs.append(epoch.seconds)

        start = time.perf_counter()
        train(
            plan,
            out,
            resume=resumed,
            watchers=(see,),
            should_stop=lambda: len(epochs) == 6,
        )
        return [ready[0], epochs[-1]]

    rows = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        plan = prepare(bags, load_spec(spec), config, cache=default_cache())
        read = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "policy"
            rows.append([read, *begin(out, False), *begin(out, True)])
    # The first row is of filling the caches.
    read, fresh, _, resumed, epoch_seconds = np.median(rows[1:], axis=0).tolist()
    return {
        "settings": config.model_dump(mode="json"),
        "read_seconds": round(read, 4),
        "ready_seconds": {"fresh": round(fresh, 4), "resumed": round(resumed, 4)},
        "epoch_seconds": round(epoch_seconds, 4),
        "resumed_in_epochs": round(resumed / epoch_seconds, 2),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("what", nargs="?", choices=("epoch", "success", "resume"), default="epoch")
    parser.add_argument("bags", nargs="*", type=Path)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--ticks", type=int, default=120, help="of an episode")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--at", type=int, nargs="+", default=[], metavar="EPOCH", help="try the policy then, too"
    )
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--spec", type=Path, default=Path("config/demo_spec.yaml"))
    options = parser.parse_args()
    if options.what == "epoch":
        result = epoch(options.repeats, options.ticks)
    elif options.what == "resume":
        result = resume(options.bags, options.repeats, options.settings, options.spec)
    else:
        result = success(options.bags, options.seeds, options.settings, options.spec, options.at)
    finish({"machine": machine(), options.what: result}, options.json)


if __name__ == "__main__":
    main()
