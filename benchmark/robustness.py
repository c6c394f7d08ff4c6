# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a policy still succeeds when the camera was moved, or the light or the scene is another.

python -m benchmark.robustness [--tasks lift …] [--seeds 1] [--trials 50] [--only camera …]
    [--no-as-is]

Tries the policies that `benchmark.tasks` has trained below --work; same scenes in every cell. Each
cell is tried as the node does it (`benchmark.tasks.robot`), with cameras registered at the first
image, and without (`registration.max_displacement: 0`). What is in the scene, and moves of the
camera itself, are rendered by the simulator where it can, all else is painted into the images. It
also counts in which trials the node warned, and in which it ended the run. Stop it whenever you
like: the same command goes on from there. `benchmark/results/robustness.json` has a record per
cell; `robustness.md` beside it is the table; below --work is a picture of every cell.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmark.tasks.__main__ import keep
from benchmark.tasks.clutter import People, room_of
from benchmark.tasks.jobs import make_task, say
from benchmark.tasks.record import FIRST_TRIAL
from benchmark.tasks.robot import Robot
from benchmark.tasks.rollout import Episode
from benchmark.tasks.run import WORK, Settings, commit
from benchmark.tasks.surfaces import FLAT, FULL, Surfaces, any_of, chequered, plain
from benchmark.tasks.task import Array, Image, Task
from benchmark.tasks.things import BALL, Thing
from sarnn_ros.data.scores import wilson
from sarnn_ros.files import atomic_file
from sarnn_ros.interop import gym
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.streams.registration import undo

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmark" / "results" / "robustness.json"
#: Of a record: one with the same takes the place of an earlier one.
SAME = ("task", "seed", "axis", "level", "registered")
Paint = Callable[[Image, int, np.random.Generator], Image]
Random = np.random.Generator
#: How far an object is moved, m.
MOVED_BY = 0.05
#: Half of an object, about; how large a ball is that hides it, and how far before it; m.
HALF, BALL_SIZE, BEFORE = 0.025, 0.04, 0.06


@dataclass(frozen=True)
class Disturbance:
    """One cell of the table.

    :param paint: changes an image; gets the tick, and random numbers that begin anew with it, the
        same in all ticks of a trial.
    :param view: degrees round and up, and m aside, of `Task.move_cameras`.
    :param hides: the share of the object that a ball before it hides from each camera.
    :param people: walk by behind the table.
    :param surfaces: what table and wall show instead, for the whole trial.
    :param moves: the tick at which the object is moved by 5 cm, wherever to.
    :param late: ticks by which commands come late. :param lost: share of images that are lost.
    :param trembling: noise of the state, as a share of each joint's trained range.
    :param hidden: nothing that matters is drawn: then no trial should succeed.
    """

    axis: str
    level: str
    paint: Paint | None = None
    view: tuple[float, float, float] | None = None
    hides: float = 0.0
    people: bool = False
    surfaces: Callable[[Random], Surfaces] = lambda random: Surfaces()
    moves: int | None = None
    late: int = 0
    lost: float = 0.0
    trembling: float = 0.0
    hidden: bool = False

    @property
    def name(self) -> str:
        return f"{self.axis}, {self.level}" if self.level else self.axis


def moved(right: float = 0, down: float = 0, degrees: float = 0, zoom: float = 1) -> Paint:
    """Shares of the width; what is beyond the image repeats its border."""

    def paint(image: Image, tick: int, random: Random) -> Image:
        height, width = image.shape[:2]
        turn, middle = np.deg2rad(degrees), np.array([(width - 1) / 2, (height - 1) / 2])
        linear = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        shift = middle - linear @ middle + np.array([right, down]) * width
        return undo(image, np.vstack([np.column_stack([linear, shift]), [0.0, 0.0, 1.0]]))

    return paint


def bright(factor: tuple[float, float, float], gamma: float = 1.0) -> Paint:
    def paint(image: Image, tick: int, random: Random) -> Image:
        lit = 255 * (image / 255.0) ** gamma * np.array(factor)
        return lit.clip(0, 255).astype(np.uint8)

    return paint


def noisy(deviation: float) -> Paint:
    def paint(image: Image, tick: int, random: Random) -> Image:
        off = np.random.default_rng((tick, int(random.integers(1 << 30)))).normal
        return (image + off(0, deviation, image.shape)).clip(0, 255).astype(np.uint8)

    return paint


def compressed(quality: int) -> Paint:
    def paint(image: Image, tick: int, random: Random) -> Image:
        content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)

    return paint


def shaded(darkness: float) -> Paint:
    """The hard edge of a shadow somewhere across the image."""

    def paint(image: Image, tick: int, random: Random) -> Image:
        height, width = image.shape[:2]
        x, slope = random.uniform(0.3, 0.7) * width, random.uniform(-0.5, 0.5)
        y, across = np.mgrid[:height, :width]
        dark = np.where(across > x + slope * y, 1.0 - darkness, 1.0)
        return (image * dark[..., None]).astype(np.uint8)

    return paint


def littered(count: int, photographs: bool = False) -> Paint:
    """Things that were never there, anywhere, for the whole trial: boxes of any colour, or that
    photographs are glued to.
    """

    def paint(image: Image, tick: int, random: Random) -> Image:
        image = image.copy()
        height, width = image.shape[:2]
        for _ in range(count):
            side = random.uniform(0.06, 0.12) * width
            x, y = random.uniform(0, width - side), random.uniform(0, height - side)
            left, top, right, below = np.array([x, y, x + side, y + side]).round().astype(int)
            if photographs:
                size = right - left, below - top
                part = any_of(FLAT + FULL, random)[: 3 * size[1], : 3 * size[0]]
                image[top:below, left:right] = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
            else:
                image[top : below + 1, left : right + 1] = random.uniform(0, 255, 3).round()
        return image

    return paint


def passed_by(begins: int, ticks: int) -> Paint:
    """A hand and forearm reach in from below."""

    def paint(image: Image, tick: int, random: Random) -> Image:
        if not begins <= tick < begins + ticks:
            return image
        image = image.copy()
        height, width = image.shape[:2]
        x, y = (int(random.uniform(0.3, 0.7) * side) for side in (width, height))
        skin = (205, 160, 130)
        cv2.line(image, (x, y), (x + width // 8, 2 * height), skin, width // 8)
        cv2.ellipse(image, (x, y), (width // 7, width // 10), 20, 0, 360, skin, -1)
        return image

    return paint


flat, full = partial(any_of, FLAT), partial(any_of, FULL)


def dressed(
    table: Callable[[Random], Image] | None = None, wall: Callable[[Random], Image] | None = None
) -> Callable[[Random], Surfaces]:
    return lambda random: Surfaces(table and table(random), wall and wall(random))


def hiding(place: Array, share: float, random: Random) -> Callable[[Array], list[Thing]]:
    """A ball before an object, seen from any camera; left or right of its middle.

    :param place: the middle of the object, m. :param share: of it that is hidden.
    """
    edge, side = HALF * (1 - 2 * share), random.choice((-1.0, 1.0))
    colour = random.uniform(0, 1, 3)

    def ball(eye: Array) -> list[Thing]:
        towards = (eye - place) / np.linalg.norm(eye - place)
        upward = np.eye(3)[2 if abs(towards[2]) < 0.99 else 1]
        across = np.cross(upward, towards)
        across /= np.linalg.norm(across)
        there = place + BEFORE * towards + side * (BALL_SIZE + edge) * across
        return [Thing(BALL, there, np.full(3, BALL_SIZE), 0.0, colour)]

    return ball


NONE = Disturbance("nothing", "")
DISTURBANCES = (
    NONE,
    *(
        Disturbance("image shifted", f"{share:.0%} right", moved(right=share))
        for share in (0.02, 0.05, 0.10)
    ),
    *(Disturbance("image shifted", f"{share:.0%} down", moved(down=share)) for share in (0.05,)),
    *(Disturbance("image turned", f"{degrees}°", moved(degrees=degrees)) for degrees in (2, 4, 6)),
    *(
        Disturbance("image zoomed", f"{zoom - 1:+.0%}", moved(zoom=zoom))
        for zoom in (1.03, 1.06, 0.94)
    ),
    Disturbance("image moved", "5 %, 3°, 3 %", moved(0.04, -0.03, 3, 1.03)),
    Disturbance("image moved", "8 %, 6°, 6 %", moved(-0.06, 0.05, -6, 0.94)),
    *(
        Disturbance("camera moved", f"{view[0]:g}° round, {view[1]:g}° up, {view[2] * 100:g} cm",
                    view=view)
        for view in ((2.0, 0.0, 0.0), (4.0, 2.0, 0.02), (6.0, 6.0, 0.04))
    ),
    *(Disturbance("image far off", f"{share:.0%} right", moved(right=share)) for share in (0.3,)),
    Disturbance("light", "half as bright", bright((0.5, 0.5, 0.5))),
    Disturbance("light", "30 % brighter", bright((1.3, 1.3, 1.3))),
    Disturbance("light", "warm", bright((1.1, 1.0, 0.8))),
    Disturbance("light", "gamma 1.5", bright((1.0, 1.0, 1.0), 1.5)),
    *(Disturbance("shadow", f"{share:.0%}", shaded(share)) for share in (0.3, 0.5)),
    *(Disturbance("noise", f"{deviation} of 255", noisy(deviation)) for deviation in (6, 12)),
    *(Disturbance("JPEG", f"quality {quality}", compressed(quality)) for quality in (50, 25)),
    *(Disturbance("things never there", f"{count}", littered(count)) for count in (1, 3, 5)),
    *(Disturbance("photographs lie about", f"{count}", littered(count, photographs=True))
      for count in (1, 3, 5)),
    Disturbance("somebody walks by", "", people=True),
    *(Disturbance("object half hidden", f"{share:.0%}", hides=share)
      for share in (0.25, 0.5, 0.75)),
    Disturbance("another table", "a colour", surfaces=dressed(plain)),
    Disturbance("another table", "squares", surfaces=dressed(chequered)),
    Disturbance("another table", "a photograph", surfaces=dressed(flat)),
    Disturbance("another wall", "a photograph", surfaces=dressed(wall=full)),
    Disturbance("another room", "photographs", surfaces=dressed(flat, full)),
    Disturbance("all hidden", "", hidden=True),
    *(Disturbance("a hand passes", f"{ticks} ticks", passed_by(8, ticks)) for ticks in (5, 10)),
    *(Disturbance("object moved", f"5 cm at tick {tick}", moves=tick) for tick in (3, 8)),
    *(Disturbance("commands late", f"by {ticks} ticks", late=ticks) for ticks in (1, 2, 3)),
    *(Disturbance("images lost", f"{share:.0%}", lost=share) for share in (0.1, 0.3)),
    *(Disturbance("state trembles", f"{share:.1%} of its range", trembling=share)
      for share in (0.002, 0.01)),
)  # fmt: skip


class Disturbed(Task):
    """A task as it is seen and commanded under a disturbance."""

    def __init__(self, task: Task, disturbance: Disturbance, span: Array) -> None:
        self._task, self._by, self._span = task, disturbance, span
        self.name, self.rate, self.ticks, self.joints = (
            task.name, task.rate, task.ticks, task.joints,
        )  # fmt: skip
        self.cameras, self.ends_at_success = task.cameras, task.ends_at_success  # type: ignore[misc]

    def reset(self, seed: int) -> None:
        self._task.move_cameras(*(self._by.view or (0.0, 0.0, 0.0)))
        self._task.reset(seed)
        if self._by.hidden:
            self._task.hide()
        self._seed, self._tick = seed, 0
        random = self._random = np.random.default_rng(seed)
        self._task.beside = self._more(random)
        self._task.other_surfaces = self._by.surfaces(random)
        self._commands: list[Array] = []
        self._seen: dict[str, Image] = {}

    def _more(self, random: Random) -> Callable[[Array], list[Thing]] | None:
        """What is drawn beside the task's scene."""
        if self._by.hides:
            return hiding(self._task.target(), self._by.hides, random)
        if self._by.people:
            people = People(room_of(self._task), random)
            return lambda eye: people.at(self._tick / self.rate)
        return None

    def images(self) -> dict[str, Image]:
        if self._seen and self._random.random() < self._by.lost:
            return self._seen
        self._seen = self._task.images()
        if self._by.paint is not None:
            for number, (name, image) in enumerate(self._seen.items()):
                random = np.random.default_rng((self._seed, number))
                self._seen[name] = self._by.paint(image, self._tick, random)
        return self._seen

    def state(self) -> Array:
        return self._task.state() + self._random.normal(0, self._by.trembling, len(self._span)) * (
            self._span
        )

    def step(self, command: Array) -> None:
        self._commands.append(command)
        self._tick += 1
        if len(self._commands) > self._by.late:
            self._task.step(self._commands[-1 - self._by.late])
        else:
            self._task.step(self._task.state())
        if self._tick == self._by.moves:
            angle = self._random.uniform(0, 2 * np.pi)
            self._task.move_object(*(MOVED_BY * np.array([np.cos(angle), np.sin(angle)])))

    def success(self) -> bool:
        return self._task.success()

    def positions(self) -> Array:
        return self._task.positions()

    def script(self) -> Iterator[Array]:
        return self._task.script()

    def hide(self) -> None:
        self._task.hide()


def try_cell(
    task: Task, policy: Policy, disturbance: Disturbance, registered: bool, trial: int
) -> list[str]:
    """`succeeded`, `failed`, or `refused`; each camera's verdict; `warned`; and `halted`."""
    low, high = policy.config.normalisation.minimum, policy.config.normalisation.maximum
    robot = Robot(policy, {} if registered else {"registration.max_displacement": 0.0})
    disturbed = Disturbed(task, disturbance, np.subtract(high, low))
    outcome = gym.rollout(
        Episode(disturbed), robot, rate=task.rate, seed=FIRST_TRIAL + trial,
        observe=lambda seen: seen,
    )  # fmt: skip
    how = "succeeded" if outcome.success else "failed" if robot.began else "refused"
    verdicts = [one.verdict for one in robot.controller.parts.cameras.placements.values()]
    warned = any(key.startswith(("health", "drift")) for key in robot.said)
    return [how, *verdicts, *["warned"] * warned, *["halted"] * (robot.began and robot.halted)]


def judge(
    task: Task, policy: Policy, disturbance: Disturbance, registered: bool, trials: int, path: Path
) -> list[list[str]]:
    """The outcomes of one cell. Each is written down at once, and not tried again."""
    outcomes: list[list[str]] = json.loads(path.read_text()) if path.is_file() else []
    while len(outcomes) < trials:
        outcomes.append(try_cell(task, policy, disturbance, registered, len(outcomes)))
        with atomic_file(path) as partial:
            partial.write_text(json.dumps(outcomes))
    return outcomes[:trials]


def picture(task: Task, disturbance: Disturbance, path: Path) -> None:
    """What the cameras show at the tick of the demonstrations' middle, side by side."""
    disturbed = Disturbed(task, disturbance, np.zeros(len(task.joints)))
    disturbed.reset(FIRST_TRIAL)
    disturbed._tick = 10
    shown = [cv2.resize(one, (320, 240)) for one in disturbed.images().values()]
    cv2.imwrite(str(path), np.hstack(shown)[..., ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=["lift"], help="names or MODULE:CLASS")
    parser.add_argument("--seeds", type=int, default=1, help="policies per task")
    parser.add_argument("--trials", type=int, default=50, help="per cell")
    parser.add_argument("--only", nargs="+", help="axes that begin so")
    parser.add_argument("--no-as-is", action="store_true", help="leave out those not registered")
    parser.add_argument("--work", type=Path, default=WORK, help="of benchmark.tasks")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    os.environ.setdefault("MUJOCO_GL", "egl")
    cv2.setNumThreads(1)
    settings = Settings(work=asked.work)
    for name in asked.tasks:
        task = make_task(name)
        for seed in range(asked.seeds):
            folder = settings.folder(task.name, seed)
            policy = Policy.load(folder / "policy")
            for one in DISTURBANCES:
                if asked.only and not one.axis.startswith(tuple(asked.only)):
                    continue
                cell = folder / "robustness" / one.name.replace(" ", "_").replace("/", "-")
                cell.mkdir(parents=True, exist_ok=True)
                try:
                    picture(task, one, cell / "picture.png")
                    tried = {
                        registered: judge(
                            task, policy, one, registered, asked.trials,
                            cell / f"{'registered' if registered else 'as_is'}.json",
                        )
                        for registered in ((True,) if asked.no_as_is else (True, False))
                    }  # fmt: skip
                except NotImplementedError as error:
                    say(f"{task.name} seed {seed}, {one.name}")(f"left out: {error}")
                    continue
                for registered, outcomes in tried.items():
                    record = {
                        "task": task.name,
                        "seed": seed,
                        "axis": one.axis,
                        "level": one.level,
                        "registered": registered,
                        "trials": len(outcomes),
                        **{
                            how: sum(how in one for one in outcomes)
                            for how in ("succeeded", "failed", "refused", "corrected", "halted")
                        },
                        "warned": {
                            how: sum(how in one and "warned" in one for one in outcomes)
                            for how in ("succeeded", "failed")
                        },
                        "commit": commit(),
                    }
                    keep(record, asked.results, SAME, page)
                    how = "registered" if registered else "as is"
                    say(f"{task.name} seed {seed}, {one.name}, {how}")(
                        f"{record['succeeded']} of {record['trials']} succeeded, "
                        f"{record['refused']} refused, {record['corrected']} corrected"
                    )


HEAD = """\
# Robustness

Written by `python -m benchmark.robustness`; do not edit. Successes of closed-loop trials that
differ from those of [tasks.md](tasks.md) only as named, with Wilson's 95 % interval, over the same
scenes in every cell. *As is*: `registration.max_displacement: 0`. *Registered*: as the node does
it by default, another light undone as well; in brackets in how many a camera was corrected for.
*Refused*: registered, and the node never moved the arm. *Halted*: likewise, and it ended the run
by itself, by a fault that latches or after it had held for too long. *Warned*: likewise, and it
warned of health or of the light, in so many of the trials that failed, and of those that
succeeded, where it was a false alarm. The policies were trained on the undisturbed task, without a
setting. *Somebody walks by*, *object half hidden*, *camera moved* and *object moved* are rendered
by the simulator, *another table*, *wall* and *room* where it says that these are seen, all else is
painted. Photographs are scikit-image's, another one in each trial. All seeds have the same scenes,
so an interval counts each once.

The whole robot's side is in the loop (`benchmark/tasks/robot.py`): command limits, watchdogs,
start pose, cameras; DDS and set-points between commands are left out. Where it is not known how
often a run was halted (-), the cell is older, and had cameras and warnings alone.

*Commands late*: an arm that lags by more than while demonstrating, as it shows by itself
(`guard.max_lag`); in each trial anew. The policy is told where the arm would be if it lagged as it
did then. Without that, insertion succeeded in 38 and 13 of 50 by one and two ticks.

A commit is that of the code which wrote the record. Where a row has several commits its cells may
be of different policies of the same task: of Fetch and lift, *as is* is of an earlier one.
"""

COUNTS = ("trials", "succeeded", "refused", "corrected")


def page(records: list[dict[str, Any]]) -> str:
    """The table of the records, in Markdown."""
    order = [(one.axis, one.level) for one in DISTURBANCES]
    parts = [HEAD]
    for task in dict.fromkeys(one["task"] for one in records):
        of_task = [one for one in records if one["task"] == task]
        seeds = sorted({one["seed"] for one in of_task})
        commits = ", ".join(sorted({one["commit"] for one in of_task}))
        parts.append(f"## {task}\n\nSeeds {', '.join(map(str, seeds))}; commits {commits}.\n")
        parts.append(
            "| | | as is | registered (corrected) | refused | halted | failed, warned "
            "| succeeded, warned |\n|---|---|---|---|---|---|---|---|"
        )
        for axis, level in order:
            cells, warned, halted = {}, ["", ""], ""
            for registered in (False, True):
                wanted = axis, level, registered
                found = [
                    one
                    for one in of_task
                    if (one["axis"], one["level"], one["registered"]) == wanted
                ]
                if found:
                    sums = {key: sum(one[key] for one in found) for key in COUNTS}
                    cells[registered] = sums | {"seeds": len(found)}
                    if registered:
                        warned = [_warned(found, how) for how in ("failed", "succeeded")]
                        known = all("halted" in one for one in found)
                        halted = f"{sum(one['halted'] for one in found) or ''}" if known else "-"
            if cells:
                as_is, by = _cell(cells.get(False)), _cell(cells.get(True))
                refused = cells.get(True, {}).get("refused", 0)
                shown = axis, level, as_is, by, f"{refused or ''}", halted, *warned
                parts.append(f"| {' | '.join(shown)} |")
        parts.append("")
    return "\n".join(parts)


def _warned(records: list[dict[str, Any]], how: str) -> str:
    """In how many trials that ended so there was a warning; empty: none did, or nobody counted."""
    if not all("warned" in one for one in records):
        return ""
    of = sum(one[how] for one in records)
    return f"{sum(one['warned'][how] for one in records)} of {of}" if of else ""


def _cell(counts: dict[str, int] | None) -> str:
    if counts is None:
        return ""
    # All seeds have the same scenes, each of which counts once.
    seeds = counts["seeds"]
    low, high = wilson(counts["succeeded"] / seeds, counts["trials"] // seeds)
    text = f"{counts['succeeded']} of {counts['trials']} ({low:.0%} to {high:.0%})"
    corrected = counts["corrected"]
    return f"{text} ({corrected})" if corrected else text


if __name__ == "__main__":
    sys.exit(main())
