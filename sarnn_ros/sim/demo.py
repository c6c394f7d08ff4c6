# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo: demonstrate, train, let the node drive the arm, report. What `make demo` runs.

Training is the public `sarnn train`, arm and policy are the processes that `sarnn run` starts, and
the trials go over DDS in real time. A finished stage is used again while the package's code and
the stage's settings are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sarnn_ros.errors import INTERRUPTED, ConfigError, EnvironmentProblem
from sarnn_ros.files import append_json, atomic_file, claimed, read_json_lines, write_text
from sarnn_ros.processes import (
    Child,
    children,
    free_domain,
    path_parameter,
    signals_interrupt,
)
from sarnn_ros.share import ros_environment, share_directory
from sarnn_ros.sim import demonstrations
from sarnn_ros.sim.judging import Trial, TrialTrace
from sarnn_ros.sim.report import describe, make_report, table, verdict
from sarnn_ros.sim.scene import JOINT_NAMES
from sarnn_ros.sim.task import DEMONSTRATION_TICKS, KINDS, TRIAL_TICKS, TrialPlan, plan_trials

if TYPE_CHECKING:
    from sarnn_ros.viz.video import Clip


@dataclass(frozen=True)
class Settings:
    """What can be chosen of a demo."""

    out: Path
    seed: int = 0
    episodes: int = 25
    demonstration_ticks: int = DEMONSTRATION_TICKS
    repeats: int = 2
    others: int = 6
    trial_ticks: int = TRIAL_TICKS
    training: tuple[str, ...] = ()  # options for `sarnn train`
    domain_id: int | None = None


def quick(settings: Settings) -> Settings:
    """A small run: it shows that the parts work together, not that the policy learns."""
    return replace(
        settings,
        episodes=5,
        demonstration_ticks=40,
        repeats=1,
        others=1,
        trial_ticks=20,
        training=_QUICK_TRAINING,
    )


#: Enough that most commands are within the limits. One thread: tests run beside it.
_QUICK_TRAINING = (
    *("--validation", "0"),
    *("--set", "epochs=20", "--set", "encoder_frames=20", "--set", "image_frames=2"),
    *("--set", "inner_steps=60", "--set", "threads=1"),
)


#: What the last stage writes.
REPORT = "report.json", "learning_curves.png", "contact_sheet.png", "demo.mp4"


@dataclass
class Demo:
    """The stages. `run` runs them all, in order."""

    settings: Settings
    console: Console = field(default_factory=Console)

    def __post_init__(self) -> None:
        out = self.settings.out
        self.bags = out / "bags"
        self.policy = out / "policy"
        self.training = out / "policy.run"
        self.trials = out / "trials.jsonl"
        self.recordings = out / "recordings"
        self.logs = out / "logs"
        self.spec = share_directory() / "config" / "demo_spec.yaml"
        self._made_with = _package_digest(self.spec)

    def run(self) -> dict[str, Any]:
        """All stages; the report.

        :raises SarnnError: with the log of the process that failed.
        """
        started = time.monotonic()
        self._refuse_what_is_not_ours()
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            with claimed(self.settings.out), signals_interrupt():
                self.demonstrate()
                self.train()
                self.evaluate()
                return self.report(time.monotonic() - started)
        except OSError as error:
            raise ConfigError(
                f"cannot be written ({error})",
                where=self.settings.out,
                remedy="make room, and run the same command again; or give another --out",
            ) from error

    # -- stages -----------------------------------------------------------------------------------

    def demonstrate(self) -> None:
        """Bags of the scripted expert."""
        episodes = self.settings.episodes
        chosen = {"seed": self.settings.seed, "ticks": self.settings.demonstration_ticks}
        self._heading(1, "demonstrate", f"a scripted expert lifts the cube {episodes} times")
        self._begin("demonstrate", (self.bags,), episodes, chosen)
        with self._progress("recording bags") as bar:
            task = bar.add_task("", total=episodes)

            def show(done: int, _: int) -> None:
                bar.update(task, completed=done)

            demonstrations.demonstrate(self.bags, episodes=episodes, **chosen, progress=show)
        self._tell(f"{episodes} rosbag2 files (mcap) in {self.bags}")

    def train(self) -> None:
        """The policy directory, by `sarnn train`."""
        self._heading(2, "train", "the bags become a policy, on this machine's CPU")
        options = ["--seed", str(self.settings.seed), *self.settings.training]
        self._begin("train", (self.policy, self.training), *options)
        if (self.policy / "config.json").is_file():
            self._tell(f"the policy in {self.policy} is used again")
            return
        if (self.training / "checkpoint.pt").is_file():
            self.console.print("  an interrupted training goes on")
            options.append("--resume")
        command = [*_SARNN, "train", str(self.bags), "--spec", str(self.spec)]
        with children() as running:
            running.append(Child("sarnn train", [*command, "--out", str(self.policy), *options]))
            code = running[0].wait()
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code != 0 or not (self.policy / "config.json").is_file():
            raise EnvironmentProblem(
                f"'sarnn train' ended with code {code}",
                where=self.policy,
                remedy="see its message above; 'sarnn demo' goes on where it stopped",
            )

    def evaluate(self) -> None:
        """Trials over DDS, appended to `trials.jsonl` one by one as they end."""
        settings = self.settings
        plans = plan_trials(settings.repeats, settings.others, settings.seed)
        what = f"{len(plans)} trials in real time: simulator and inference node over DDS"
        self._heading(3, "evaluate", what)
        self._begin("evaluate", (self.trials, self.recordings), *plans, settings.trial_ticks)
        done = {trial["index"] for trial in read_json_lines(self.trials)}
        if done:
            self.console.print(f"  {len(done)} trials are there already")
        todo = [(index, plan) for index, plan in enumerate(plans) if index not in done]
        if todo:
            self._run_trials(todo, filmed=_filmed(plans))

    def _run_trials(self, todo: list[tuple[int, TrialPlan]], filmed: set[int]) -> None:
        chosen = self.settings.domain_id
        domain = free_domain() if chosen is None else chosen
        # A domain of our own, on this machine only: a real arm may be listening to the user's.
        environment = ros_environment() | {
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": str((self.logs / "ros").resolve()),
        }
        os.environ.update(environment)  # before rclpy is imported here

        from sarnn_ros.sim.referee import open_referee

        commands = {
            "sim": [*_SARNN, "run", "sim"],
            "inference": [
                *(*_SARNN, "run", "inference", "--ros-args"),
                *path_parameter("policy", self.policy),
                # Rendered images have no noise: they may be alike although the arm has moved.
                *("-p", "watch.frozen_ticks:=0"),
                # A laptop that simulates as well may keep the node waiting; this arm hurts nobody.
                *("-p", "watch.max_gap:=2.0"),
            ],
        }
        self.console.print(
            f"  to watch: ROS_DOMAIN_ID={domain} ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST rviz2"
        )
        self.recordings.mkdir(exist_ok=True)
        with children() as running:
            for name, command in commands.items():
                log = self.logs / f"{name}.log"
                log.unlink(missing_ok=True)
                running.append(Child(name, command, env=environment, log=log))

            def check() -> None:
                for child in running:
                    child.check()

            mean = demonstrations.mean_commands(sorted(self.bags.glob("episode_*")))
            with open_referee(domain, mean, check) as referee, self._progress("trials") as bar:
                referee.wait_until_ready()
                task = bar.add_task("", total=len(todo))
                for index, plan in todo:
                    trial, recording = referee.run(plan, self.settings.trial_ticks)
                    if index in filmed:
                        save_clip(self.recordings / f"{index:03d}.npz", plan, trial, recording)
                    append_json(self.trials, {"index": index, **asdict(plan), **asdict(trial)})
                    bar.console.print(f"  {describe(plan)}: {verdict(trial)}", highlight=False)
                    bar.advance(task)
                diagnostics = json.dumps(referee.diagnostics, indent=2)
                write_text(self.settings.out / "diagnostics.json", diagnostics)

    def report(self, seconds: float) -> dict[str, Any]:
        """`report.json`, the table, the pictures and the film.

        :param seconds: that this run took.
        """
        out = self.settings.out
        self._heading(4, "report", "table, learning curves and film")
        config = json.loads((self.policy / "config.json").read_text(encoding="utf-8"))
        report = make_report(read_json_lines(self.trials), config["training"], seconds)
        write_text(out / "report.json", json.dumps(report, indent=2) + "\n")
        self.console.print(table(report))

        curves = self.policy / "curves.png"
        if curves.is_file():
            shutil.copyfile(curves, out / "learning_curves.png")
        recordings = sorted(self.recordings.glob("*.npz"))
        film = out / "demo.mp4"
        made_ns = film.stat().st_mtime_ns if film.is_file() else 0
        if recordings and recordings[-1].stat().st_mtime_ns >= made_ns:
            from sarnn_ros.viz.video import contact_sheet, write_video

            with self.console.status("drawing the film"):
                clips = [load_clip(path) for path in recordings]
                contact_sheet(clips, out / "contact_sheet.png")
                write_video(clips, film)
        for name in REPORT:
            if (out / name).is_file():
                self._tell(str(out / name))
        return report

    # -- helpers ----------------------------------------------------------------------------------

    def _refuse_what_is_not_ours(self) -> None:
        """:raises ConfigError: a file in the folder would be deleted or replaced that no demo has
        made: it begins with its first mark."""
        out = self.settings.out
        paths = [self.bags, self.policy, self.training, self.trials, self.recordings]
        paths += [out / name for name in REPORT]
        found = [path.name for path in paths if path.exists()]
        if self._mark("demonstrate").is_file():
            found = [f"bags/{name}" for name in demonstrations.others(self.bags)]
        if found:
            raise ConfigError(
                f"holds {', '.join(found)}, which no demo has made",
                where=out,
                remedy="give another folder as --out: the demo would delete them",
            )

    def _mark(self, stage: str) -> Path:
        return self.settings.out / f".{stage}"

    def _begin(self, stage: str, outputs: Sequence[Path], *settings: object) -> None:
        """Delete the stage's outputs, unless this code made them with these settings.

        A stage depends on all stages before it, so their settings count, too.
        """
        made_with = hashlib.sha256(repr((self._made_with, stage, settings)).encode()).hexdigest()
        self._made_with = made_with
        mark = self._mark(stage)
        if mark.is_file() and mark.read_text(encoding="utf-8") == made_with:
            return
        for path in outputs:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        write_text(mark, made_with)

    def _heading(self, number: int, name: str, what: str) -> None:
        self.console.print(f"[bold]{number}/4 {name}[/bold]: {what}", highlight=False)

    def _tell(self, text: str) -> None:
        # No markup: a folder's name may have brackets.
        self.console.print(f"  {text}", markup=False, highlight=False)

    def _progress(self, what: str) -> Progress:
        text, count, left = TextColumn(f"  {what}"), MofNCompleteColumn(), TimeRemainingColumn()
        return Progress(text, BarColumn(), count, left, console=self.console)


_SARNN = (sys.executable, "-m", "sarnn_ros.cli.main")


def _package_digest(*more: Path) -> str:
    """Of all that is in the package, and of further files."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in (*sorted(package.rglob("*.py")), *sorted(package.rglob("*.xml")), *more):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _filmed(plans: Sequence[TrialPlan]) -> set[int]:
    """The first trial of each kind, and the last untaught one: both ends of the table."""
    kinds = [plan.kind for plan in plans]
    last_untaught = max(index for index, kind in enumerate(kinds) if kind == "untaught")
    return {kinds.index(kind) for kind in KINDS if kind != "control_replay"} | {last_untaught}


def save_clip(path: Path, plan: TrialPlan, trial: Trial, recording: TrialTrace) -> None:
    """Write what the film shows of a trial: the arrays of a `Clip`."""

    def column(rows: Sequence[tuple[Any, ...]], index: int, *shape: int) -> Any:
        return np.array([row[index] for row in rows]).reshape(len(rows), *shape)

    joints = len(JOINT_NAMES)
    encoder = [row for row in recording.markers if row[2] == "encoder"]
    decoder = [row for row in recording.markers if row[2] == "decoder"]
    pairs = min(len(encoder), len(decoder))
    points = len(encoder[0][3]) if pairs else 0
    with atomic_file(path) as partial:
        np.savez_compressed(
            partial,
            title=describe(plan),
            success=trial.success,
            image_times=column(recording.images, 1) / 1e9,
            images=column(recording.images, 2, *recording.images[0][2].shape),
            point_times=column(encoder[:pairs], 1) / 1e9,
            encoder=column(encoder[:pairs], 3, points, 2),
            decoder=column(decoder[:pairs], 3, points, 2),
            joint_times=column(recording.joints, 0),
            joints=column(recording.joints, 1, joints),
            command_times=column(recording.commands, 0),
            commands=column(recording.commands, 2, joints),
            lift_times=column(recording.cube, 0),
            lifts=column(recording.cube, 1),
        )


def load_clip(path: Path) -> Clip:
    """What `save_clip` wrote."""
    from sarnn_ros.viz.video import Clip

    with np.load(path) as arrays:
        values = {name: arrays[name] for name in arrays.files}
    values["title"], values["success"] = str(values["title"]), bool(values["success"])
    return Clip(joint_names=JOINT_NAMES, **values)
