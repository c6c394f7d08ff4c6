# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How many demonstrations it takes if somebody says where the objects should lie in the next one.

    python -m benchmark.next_place lift
    .venv-tasks/bin/python -m benchmark.next_place transfer pick_and_place push metaworld_push
    python -m benchmark.next_place --table

No network is trained: what is demonstrated becomes a linear plan (`tasks/controls.py`) of the
places, which are known but for `--noise`, as attention points know them. It is tried in the
simulator at places of the task's own draw. Strategies:

- random: as the task draws.
- grid: for N demonstrations a grid of N cells or a few more, the object in the middle of each; of
  two objects, each goes through its grid in an order of its own.
- next: the first four with each object in a corner, then where `data/places.py` says.

A person hits no exact place, and some places are not allowed: so that of a strategy becomes the
nearest of 300 that the task drew. A demonstration whose script fails is left out.

It writes down each outcome at once, and goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmark.tasks.controls import Ridge, same_length
from benchmark.tasks.record import FIRST_DEMONSTRATION, FIRST_TRIAL
from benchmark.tasks.task import Array, Task
from sarnn_ros.data.places import CORNERS, Coverage
from sarnn_ros.files import atomic_file

WORK = Path(__file__).resolve().parents[1] / "benchmark_tasks_output" / "next_place"
#: Class, and trials at each number of demonstrations and seed.
TASKS = {
    "lift": ("benchmark.tasks.lift:Lift", 40),
    "transfer": ("benchmark.tasks.aloha:Transfer", 10),
    "pick_and_place": ("benchmark.tasks.fetch:PickAndPlace", 10),
    "push": ("benchmark.tasks.fetch:Push", 10),
    "metaworld_push": ("benchmark.tasks.metaworld:Push", 10),
    "metaworld_pick_place": ("benchmark.tasks.metaworld:PickPlace", 10),
}
STRATEGIES = ("random", "grid", "next")
COUNTS = (4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40)
#: Demonstrations of the plan whose success is to be reached, and the share of it.
ALL, SHARE = 50, 0.9
#: Places that the task draws; each seed chooses among a half of them.
POOL = 600
#: Coordinates that deviate less are the same in all episodes, m.
MIN_DEVIATION = 0.005
#: More demonstrations are not tried where so many times the share was reached twice.
ENOUGH = 1.03
SEEDS = 5


class Bench:
    """A task, its pool of places, and what was demonstrated and tried so far.

    :param noise: standard deviation of what is known of a place, m.
    """

    def __init__(self, name: str, noise: float, work: Path) -> None:
        where, self.trials = TASKS[name]
        module, kind = where.split(":")
        self.task: Task = getattr(import_module(module), kind)()
        self.noise, self._folder = noise, work / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._results = self._folder / f"outcomes_{noise:g}.json"
        self.outcomes: dict[str, int] = (
            json.loads(self._results.read_text()) if self._results.is_file() else {}
        )
        self.pool = self._kept("pool", self._draw)
        self._varies = self.pool.std(0) > MIN_DEVIATION
        self.places = self.pool[:, self._varies]
        #: Of each column of `places`, which object it is of.
        self.objects = np.repeat(np.arange(self.pool.shape[1]), 1)[self._varies]
        self.objects = self.objects // (3 if self.pool.shape[1] % 3 == 0 else 2)
        self._shown: dict[int, Array] = {}

    def _kept(self, name: str, make: Callable[[], Array]) -> Array:
        path = self._folder / f"{name}.npy"
        if not path.is_file():
            with atomic_file(path) as partial, partial.open("wb") as stream:
                np.save(stream, make())
        return np.asarray(np.load(path), np.float64)

    def _draw(self) -> Array:
        places = []
        for one in range(POOL):
            self.task.reset(FIRST_DEMONSTRATION + one)
            places.append(self.task.positions())
        return np.array(places)

    def _seen(self, seed: int, positions: Array) -> Array:
        """What is known of an episode's place."""
        rng = np.random.default_rng([seed, 1])
        known: Array = positions[self._varies] + rng.normal(0, self.noise, self._varies.sum())
        return known

    def seen(self, one: int) -> Array:
        return self._seen(FIRST_DEMONSTRATION + one, self.pool[one])

    def shown(self, one: int) -> Array:
        """Commands (T, D) of the demonstration there; empty if it fails."""
        if one not in self._shown:
            self._shown[one] = self._kept(f"demonstration_{one}", lambda: self._demonstrate(one))
        return self._shown[one]

    def _demonstrate(self, one: int) -> Array:
        self.task.reset(FIRST_DEMONSTRATION + one)
        commands = []
        for command in self.task.script():
            commands.append(np.array(command))
            self.task.step(commands[-1])
        return np.array(commands) if self.task.success() else np.zeros((0, 1))

    def successes(self, strategy: str, seed: int, chosen: Sequence[int]) -> int:
        """Of the plan from these demonstrations."""
        key = f"{strategy} {seed} {len(chosen)}"
        if key not in self.outcomes:
            plans = same_length([self.shown(one) for one in chosen])
            seen = np.stack([self.seen(one) for one in chosen])
            plan = Ridge(seen, plans.reshape(len(plans), -1))
            trials = range(FIRST_TRIAL, FIRST_TRIAL + self.trials)
            self.outcomes[key] = sum(self._try(plan, one, plans.shape[1:]) for one in trials)
            with atomic_file(self._results) as partial:
                partial.write_text(json.dumps(self.outcomes))
        return self.outcomes[key]

    def _try(self, plan: Ridge, seed: int, shape: tuple[int, ...]) -> bool:
        task = self.task
        task.reset(seed)
        commands = plan(self._seen(seed, task.positions())).reshape(shape)
        for tick in range(task.ticks):
            task.step(commands[min(tick, len(commands) - 1)])
            if task.ends_at_success and task.success():
                return True
        return task.success()


def choose(bench: Bench, strategy: str, seed: int, count: int) -> list[int]:
    """Which places of the pool are demonstrated, in their order."""
    rng = np.random.default_rng(seed)
    order = [int(one) for one in rng.permutation(len(bench.pool))]
    if strategy == "random":
        wanted: Iterator[Sequence[int]] = ([one] for one in order)
        return _first(bench, wanted, count)
    among = order[: len(order) // 2]
    if strategy == "grid":
        ranked = (_nearest(bench, among, one) for one in _grid(bench, count, rng))
        return _first(bench, ranked, count)
    chosen = _first(bench, (_nearest(bench, among, one) for one in _corners(bench, rng)), CORNERS)
    while len(chosen) < count:
        shown = np.stack([bench.seen(one) for one in chosen])
        places = bench.places[among]
        inside = ((places >= shown.min(0)) & (places <= shown.max(0))).all(1)
        region = places[inside] if inside.sum() > len(chosen) + 5 else places
        gains = Coverage(shown, region).gains(region)
        numbers = np.array(among)[inside if len(region) < len(places) else slice(None)]
        ranks = [int(one) for one in numbers[np.argsort(-gains)] if one not in chosen]
        chosen += _first(bench, iter([ranks]), 1)
    return chosen[:count]


def _first(bench: Bench, ranked: Iterator[Sequence[int]], count: int) -> list[int]:
    """Of each ranking the first place that is not taken and whose demonstration succeeds."""
    chosen: list[int] = []
    for ranks in ranked:
        if len(chosen) == count:
            break
        for one in ranks:
            if one not in chosen and len(bench.shown(one)):
                chosen.append(one)
                break
    return chosen


def _nearest(bench: Bench, among: Sequence[int], share: Array) -> list[int]:
    """:param share: wanted place, each coordinate from 0 to 1 of its range."""
    low, high = bench.places.min(0), bench.places.max(0)
    apart = (((bench.places[among] - low) / (high - low) - share) ** 2).sum(1)
    return [among[one] for one in np.argsort(apart)]


def _grid(bench: Bench, count: int, rng: np.random.Generator) -> Iterator[Array]:
    wanted = np.zeros((count, len(bench.objects)))
    for one in np.unique(bench.objects):
        columns = np.flatnonzero(bench.objects == one)
        side = int(np.ceil(count ** (1 / len(columns)) - 1e-9))
        axes = np.meshgrid(*[(np.arange(side) + 0.5) / side] * len(columns))
        cells = np.stack(axes, -1).reshape(-1, len(columns))
        wanted[:, columns] = cells[rng.permutation(len(cells))[:count]]
    yield from wanted


def _corners(bench: Bench, rng: np.random.Generator) -> Iterator[Array]:
    """Each object in each corner of the table once; a height is low, then high."""
    corners = np.array([(0, 0), (0, 1), (1, 1), (1, 0)], np.float64)
    wanted = np.zeros((CORNERS, len(bench.objects)))
    for one in np.unique(bench.objects):
        columns = np.flatnonzero(bench.objects == one)
        wanted[:, columns[:2]] = corners[rng.permutation(CORNERS)]
        wanted[:, columns[2:]] = (rng.permutation(CORNERS) % 2)[:, None]
    yield from wanted


def run(bench: Bench, say: Callable[[str], None]) -> None:
    """All strategies, until each has reached the share, or all numbers are tried."""
    finals = [
        bench.successes("random", seed, choose(bench, "random", seed, ALL))
        for seed in range(SEEDS)
    ]
    wanted = SHARE * sum(finals)
    say(f"{bench.task.name}: with {ALL}, {finals} of {bench.trials}")
    for strategy in STRATEGIES:
        reached = 0
        for count in COUNTS:
            found = [
                bench.successes(strategy, seed, choose(bench, strategy, seed, count))
                for seed in range(SEEDS)
            ]
            say(f"{bench.task.name}: {strategy} {count}: {found}")
            reached = reached + 1 if sum(found) >= ENOUGH * wanted else 0
            if reached == 2:
                break


def needed(outcomes: dict[str, int], strategy: str, seeds: Sequence[int]) -> float:
    """Demonstrations until `SHARE` of the plan's success, summed over seeds: where the best
    rising curve through the successes gets there, between numbers linearly; inf if never."""
    wanted = SHARE * sum(outcomes[f"random {seed} {ALL}"] for seed in seeds)
    counts = [n for n in COUNTS if all(f"{strategy} {seed} {n}" in outcomes for seed in seeds)]
    curve = [float(sum(outcomes[f"{strategy} {s} {n}"] for s in seeds)) for n in counts]
    rising = [  # isotonic regression: the largest of the smallest means
        max(
            min(float(np.mean(curve[a : b + 1])) for b in range(i, len(curve)))
            for a in range(i + 1)
        )
        for i in range(len(curve))
    ]
    if not rising or rising[-1] < wanted:
        return float("inf")
    return float(np.interp(wanted, *_strict(rising, counts)))


def _strict(values: Sequence[float], counts: Sequence[int]) -> tuple[list[float], list[float]]:
    """The first number at which each value is reached."""
    first: dict[float, float] = {}
    for value, count in zip(values, counts):
        first.setdefault(value, float(count))
    return list(first), list(first.values())


def table(work: Path, noise: float) -> Iterator[str]:
    """Markdown. Intervals: 95 %, of 1000 draws of the seeds with replacement."""
    yield f"| task | plan with {ALL} | random | grid | next | fewer than random |"
    yield "|---|---|---|---|---|---|"
    for name, (_, trials) in TASKS.items():
        rng = np.random.default_rng(0)
        path = work / name / f"outcomes_{noise:g}.json"
        outcomes = json.loads(path.read_text()) if path.is_file() else {}
        if f"random {SEEDS - 1} {ALL}" not in outcomes:
            continue
        final = sum(outcomes[f"random {seed} {ALL}"] for seed in range(SEEDS))
        draws = rng.integers(SEEDS, size=(1000, SEEDS)).tolist()
        cells, found = [], {}
        for strategy in STRATEGIES:
            found[strategy] = np.array([needed(outcomes, strategy, one) for one in draws])
            low, high = np.quantile(found[strategy], [0.025, 0.975], method="nearest")
            middle = needed(outcomes, strategy, range(SEEDS))
            cells.append(f"{middle:.1f} ({low:.1f} to {high:.1f})")
        with np.errstate(invalid="ignore"):
            fewer = 1 - found["next"] / found["random"]
        low, high = np.nanquantile(fewer, [0.025, 0.975], method="nearest")
        all_seeds = [needed(outcomes, one, range(SEEDS)) for one in ("next", "random")]
        share = 1 - all_seeds[0] / all_seeds[1]
        yield (
            f"| {name} | {final} of {SEEDS * trials} | {' | '.join(cells)} | "
            f"{share:.0%} ({low:.0%} to {high:.0%}) |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("tasks", nargs="*", choices=[[], *TASKS])
    parser.add_argument("--noise", type=float, default=0.004, help="of what is known, m")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--table", action="store_true", help="print what was found so far")
    options = parser.parse_args()
    for name in options.tasks:
        run(Bench(name, options.noise, options.work), lambda text: print(text, flush=True))
    if options.table or not options.tasks:
        print("\n".join(table(options.work, options.noise)))


if __name__ == "__main__":
    main()
