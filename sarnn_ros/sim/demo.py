# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo: demonstrate, train, let the node drive the arm, report. What `make demo` runs.

It only orchestrates: training is the public `sarnn train`, arm and policy are the processes that
`sarnn run` starts, and trials go over DDS in real time. Each stage leaves a key of all it depends
on, so that a finished stage is reused and a changed one is not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sarnn_ros.errors import ConfigError, EnvironmentProblem
from sarnn_ros.files import atomic_file, write_text
from sarnn_ros.share import ros_environment, share_directory
from sarnn_ros.sim import demonstrations
from sarnn_ros.sim.processes import Child, children, free_domain, signals_interrupt
from sarnn_ros.sim.scene import JOINT_NAMES
from sarnn_ros.sim.task import DEMONSTRATION_TICKS, KINDS, TRIAL_TICKS, TrialPlan, plan_trials

if TYPE_CHECKING:
    from sarnn_ros.sim.referee import Recording, Trial
    from sarnn_ros.viz.video import Clip

#: What the demo promises: least success rate, and longest training, s.
GATE = {"taught": 0.95, "untaught": 0.90}
GATE_TRAINING = 180.0

#: Rooms of the package whose code decides what a stage makes.
CODE = {
    "demonstrate": ("sim",),
    "train": ("streams", "data", "model", "training", "policy", "geometry.py", "spec.py"),
    "evaluate": ("sim", "streams", "policy", "control", "ros"),
}
#: Exit code of a program that was interrupted, and says so.
INTERRUPTED = 130


@dataclass(frozen=True)
class Settings:
    """What can be chosen. Everything else follows."""

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
    """The same loop in miniature: it proves that the parts work together, not that it learns."""
    return Settings(
        out=settings.out,
        seed=settings.seed,
        episodes=5,
        demonstration_ticks=40,
        repeats=1,
        others=1,
        trial_ticks=20,
        training=_QUICK_TRAINING,
        domain_id=settings.domain_id,
    )


#: Just enough that the guard lets most commands through. One thread, for tests run beside it.
_QUICK_TRAINING = (
    *("--validation", "0"),
    *("--set", "epochs=20", "--set", "encoder_frames=20", "--set", "image_frames=2"),
    *("--set", "inner_steps=60", "--set", "threads=1"),
)


@dataclass
class Demo:
    """The stages, in order. `run` is the entry."""

    settings: Settings
    console: Console = field(default_factory=Console)

    def __post_init__(self) -> None:
        out = self.settings.out
        self.bags = out / "bags"
        self.policy = out / "policy"
        self.trials = out / "trials.jsonl"
        self.recordings = out / "recordings"
        self.logs = out / "logs"
        self.spec = share_directory() / "config" / "demo_spec.yaml"

    def run(self) -> dict[str, Any]:
        """All stages; the report.

        :raises SarnnError: with the log of the process that failed.
        """
        started = time.monotonic()
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot be written ({error})",
                where=self.settings.out,
                remedy="give another --out",
            ) from error
        with signals_interrupt():
            key = self.demonstrate()
            key = self.train(key)
            self.evaluate(key)
            return self.report(time.monotonic() - started)

    # -- stages -----------------------------------------------------------------------------------

    def demonstrate(self) -> str:
        """Bags of the scripted expert. Returns the key of what they depend on."""
        settings = self.settings
        self._heading(
            1, "demonstrate", f"a scripted expert lifts the cube {settings.episodes} times"
        )
        key = _key(
            "demonstrate",
            seed=settings.seed,
            episodes=settings.episodes,
            ticks=settings.demonstration_ticks,
        )
        if not self._is_current("demonstrate", key):
            shutil.rmtree(self.bags, ignore_errors=True)
            self._begin("demonstrate", key)
        with self._progress("recording bags") as bar:
            task = bar.add_task("", total=settings.episodes)
            demonstrations.demonstrate(
                self.bags,
                episodes=settings.episodes,
                seed=settings.seed,
                ticks=settings.demonstration_ticks,
                progress=lambda done, total: bar.update(task, completed=done),
            )
        self.console.print(f"  {settings.episodes} rosbag2 files (mcap) in {self.bags}")
        return key

    def train(self, bags_key: str) -> str:
        """The policy directory, by `sarnn train`."""
        self._heading(2, "train", "the bags become a policy, on this machine's CPU")
        key = _key(
            "train",
            bags=bags_key,
            seed=self.settings.seed,
            options=self.settings.training,
            spec=self.spec.read_text(encoding="utf-8"),
        )
        run = self.policy.with_name(self.policy.name + ".run")
        options = list(self.settings.training)
        if self._is_current("train", key):
            if (self.policy / "config.json").is_file():
                self.console.print(f"  the policy in {self.policy} is used again")
                return key
            if (run / "checkpoint.pt").is_file():
                self.console.print("  an interrupted training goes on")
                options.append("--resume")
        else:
            for directory in (self.policy, run):
                shutil.rmtree(directory, ignore_errors=True)
            self._begin("train", key)
        command = [*_SARNN, "train", str(self.bags), "--spec", str(self.spec)]
        command += ["--out", str(self.policy), "--seed", str(self.settings.seed), *options]
        with children() as running:
            child = Child("sarnn train", command)
            running.append(child)
            code = child.wait()
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code != 0 or not (self.policy / "config.json").is_file():
            raise EnvironmentProblem(
                f"'sarnn train' ended with code {code}",
                where=self.policy,
                remedy="see its message above; 'sarnn demo' goes on where it stopped",
            )
        return key

    def evaluate(self, policy_key: str) -> None:
        """Trials over DDS, appended to `trials.jsonl` one by one as they are judged."""
        settings = self.settings
        plans = plan_trials(settings.repeats, settings.others, settings.seed)
        self._heading(
            3,
            "evaluate",
            f"{len(plans)} trials in real time: simulator and inference node over DDS",
        )
        key = _key(
            "evaluate",
            policy=policy_key,
            plans=[asdict(plan) for plan in plans],
            ticks=settings.trial_ticks,
        )
        if not self._is_current("evaluate", key):
            self.trials.unlink(missing_ok=True)
            shutil.rmtree(self.recordings, ignore_errors=True)
            self._begin("evaluate", key)
        done = {trial["index"] for trial in self._judged()}
        todo = [(index, plan) for index, plan in enumerate(plans) if index not in done]
        if done:
            self.console.print(f"  {len(done)} trials are there already")
        if todo:
            self._run_trials(todo, filmed=_filmed(plans))

    def _run_trials(self, todo: list[tuple[int, TrialPlan]], filmed: set[int]) -> None:
        settings = self.settings
        domain = free_domain() if settings.domain_id is None else settings.domain_id
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
                *("-p", f"policy:={self.policy.resolve()}"),
                *("-p", "autostart:=true", "-p", "start_on_activate:=false"),
                # One control trial freezes the camera: the policy must fail it, not a watchdog.
                *("-p", "watch.frozen_ticks:=0"),
            ],
            "replay": [sys.executable, "-m", "sarnn_ros.sim.replay", str(self.bags.resolve())],
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

            with open_referee(domain, check) as referee, self._progress("trials") as bar:
                referee.wait_until_ready(("sarnn", "replay"))
                task = bar.add_task("", total=len(todo))
                for index, plan in todo:
                    trial, recording = referee.run(plan, settings.trial_ticks)
                    if index in filmed:
                        _save_recording(
                            self.recordings / f"{index:03d}.npz", plan, trial, recording
                        )
                    with self.trials.open("a", encoding="utf-8") as file:
                        row = {"index": index, **asdict(plan), **asdict(trial)}
                        file.write(json.dumps(row) + "\n")
                    bar.console.print(f"  {_describe(plan)}: {_verdict(trial)}", highlight=False)
                    bar.advance(task)
                (self.settings.out / "diagnostics.json").write_text(
                    json.dumps(referee.diagnostics, indent=2), encoding="utf-8"
                )

    def report(self, seconds: float) -> dict[str, Any]:
        """`report.json`, the table, the pictures and the film."""
        out = self.settings.out
        self._heading(4, "report", "table, learning curves and film")
        trials = self._judged()
        report = make_report(trials, self._training(), seconds)
        write_text(out / "report.json", json.dumps(report, indent=2) + "\n")
        self.console.print(_table(report))

        curves = self.policy / "curves.png"
        if curves.is_file():
            shutil.copyfile(curves, out / "learning_curves.png")
        recordings = sorted(self.recordings.glob("*.npz"))
        film, sheet = out / "demo.mp4", out / "contact_sheet.png"
        if recordings and not (
            film.is_file() and film.stat().st_mtime > recordings[-1].stat().st_mtime
        ):
            from sarnn_ros.viz.video import contact_sheet, write_video

            with self.console.status("drawing the film"):
                clips = [_load_clip(path) for path in recordings]
                contact_sheet(clips, sheet)
                write_video(clips, film)
        for name in ("report.json", "learning_curves.png", "contact_sheet.png", "demo.mp4"):
            if (out / name).is_file():
                self.console.print(f"  {out / name}", highlight=False)
        return report

    # -- small things -----------------------------------------------------------------------------

    def _heading(self, number: int, name: str, what: str) -> None:
        self.console.print(f"[bold]{number}/4 {name}[/bold]: {what}", highlight=False)

    @contextmanager
    def _progress(self, what: str) -> Iterator[Progress]:
        columns = (
            TextColumn(f"  {what}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as bar:
            yield bar

    def _is_current(self, stage: str, key: str) -> bool:
        try:
            return (self.settings.out / f".{stage}").read_text(encoding="utf-8") == key
        except OSError:
            return False

    def _begin(self, stage: str, key: str) -> None:
        """From here on, what lies in the stage's folder belongs to this key."""
        (self.settings.out / f".{stage}").write_text(key, encoding="utf-8")

    def _judged(self) -> list[dict[str, Any]]:
        """Trials so far. A line cut short by a crash is a trial that never was."""
        if not self.trials.is_file():
            return []
        rows = []
        for line in self.trials.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return rows

    def _training(self) -> dict[str, Any]:
        config = json.loads((self.policy / "config.json").read_text(encoding="utf-8"))
        training: dict[str, Any] = config["training"]
        return training


_SARNN = (sys.executable, "-m", "sarnn_ros.cli.main")


def make_report(
    trials: Sequence[dict[str, Any]], training: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """What `report.json` holds.

    :param trials: rows of `trials.jsonl`.
    :param training: the policy's summary of its training.
    :param seconds: wall time of this run, reused stages not counted.
    """
    success = {}
    for kind in KINDS:
        rows = [trial for trial in trials if trial["kind"] == kind]
        success[kind] = {
            "trials": len(rows),
            "successes": sum(trial["success"] for trial in rows),
        }
    driven = [trial for trial in trials if trial["driver"] == "sarnn"]
    train_seconds = float(training["seconds"])
    rates = {kind: _rate(success[kind]) for kind in KINDS}
    gate = {kind: rates[kind] >= least for kind, least in GATE.items()}
    gate["control_no_vision"] = rates["control_no_vision"] < rates["taught"] / 2
    gate["control_replay"] = rates["control_replay"] < rates["taught"] / 2
    gate["train_seconds"] = train_seconds <= GATE_TRAINING
    return {
        "success": success,
        "train_seconds": train_seconds,
        "latency_ms": _percentiles(trial["latencies"] for trial in driven),
        "camera_to_command_ms": _percentiles(trial["camera_latencies"] for trial in driven),
        "ticks": {
            "total": sum(trial["ticks"] for trial in driven if not trial["problem"]),
            "missed": sum(trial["missed"] for trial in driven if not trial["problem"]),
        },
        "gate": gate,
        "run_seconds": seconds,
        "explained": {
            "success": "the cube is 5 cm above the table over the trial's whole last half second",
            "latency_ms": "from the tick to the command's arrival in another process",
            "camera_to_command_ms": "from the image's stamp to the command's arrival there",
            "ticks": "of trials in which the guard let the policy go on to the end; the others "
            "have a problem in the list below",
            "control_no_vision": "camera frozen, or cube invisible: must fail",
            "control_replay": "the mean demonstration, without a policy: must fail; not tried in "
            "the middle, where it leads by symmetry",
        },
        "trials": [
            {
                key: trial[key]
                for key in ("kind", "cube", "vision", "driver", "success", "max_lift", "problem")
            }
            for trial in trials
        ],
    }


def _rate(counts: dict[str, int]) -> float:
    return counts["successes"] / counts["trials"] if counts["trials"] else 0.0


def _percentiles(groups: Iterator[Sequence[float]]) -> dict[str, float | None]:
    values = [value * 1e3 for group in groups for value in group]
    if not values:
        return {"p50": None, "p95": None, "p99": None}
    return {f"p{share}": round(float(np.percentile(values, share)), 3) for share in (50, 95, 99)}


def _table(report: dict[str, Any]) -> Table:
    table = Table(title="Closed loop over ROS 2, in real time")
    for column, side in (
        ("trials", "left"),
        ("lifted", "right"),
        ("", "right"),
        ("wanted", "left"),
    ):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    wanted = {kind: f"≥ {least:.0%}" for kind, least in GATE.items()}
    wanted |= {"control_no_vision": "must fail", "control_replay": "must fail"}
    names = {
        "taught": "taught positions",
        "untaught": "positions never taught",
        "random": "random positions",
        "control_no_vision": "control: blind (camera frozen, cube hidden)",
        "control_replay": "control: replay of the mean demonstration",
    }
    for kind, counts in report["success"].items():
        passed = report["gate"].get(kind, True)
        table.add_row(
            names[kind],
            f"{counts['successes']}/{counts['trials']}",
            f"{_rate(counts):.0%}" if counts["trials"] else "",
            wanted.get(kind, ""),
            style=None if passed else "red",
        )
    latency, ticks = report["latency_ms"], report["ticks"]
    table.caption = f"trained in {report['train_seconds']:.0f} s"
    if latency["p50"] is not None:
        table.caption += (
            f"; tick to command p50 {latency['p50']:.1f}, p99 {latency['p99']:.1f} ms; "
            f"{ticks['missed']} of {ticks['total']} ticks missed"
        )
    return table


def _describe(plan: TrialPlan) -> str:
    how = {"live": "", "frozen": ", camera frozen", "hidden": ", cube hidden"}[plan.vision]
    who = ", mean demonstration" if plan.driver == "replay" else ""
    kind = plan.kind.removesuffix("_no_vision").removesuffix("_replay")
    return f"{kind} y {plan.cube.y * 100:+.1f} cm{how}{who}"


def _verdict(trial: Trial) -> str:
    if trial.problem:
        return f"[red]no[/red], {trial.problem}"
    word = "[green]lifted[/green]" if trial.success else "[red]no[/red]"
    return f"{word}, {max(trial.max_lift, 0.0) * 100:.0f} cm"


def _filmed(plans: Sequence[TrialPlan]) -> set[int]:
    """The first trial of each kind, and the last untaught one: both ends of the table."""
    first = {kind: next(i for i, plan in enumerate(plans) if plan.kind == kind) for kind in KINDS}
    untaught = [index for index, plan in enumerate(plans) if plan.kind == "untaught"]
    return {index for kind, index in first.items() if kind != "control_replay"} | {untaught[-1]}


def _save_recording(path: Path, plan: TrialPlan, trial: Trial, recording: Recording) -> None:
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
            title=_describe(plan),
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


def _load_clip(path: Path) -> Clip:
    from sarnn_ros.viz.video import Clip

    with np.load(path) as arrays:
        values = {name: arrays[name] for name in arrays.files}
    values["title"], values["success"] = str(values["title"]), bool(values["success"])
    return Clip(joint_names=JOINT_NAMES, **values)


def _key(stage: str, **dependencies: Any) -> str:
    """A digest of a stage's code and of everything else it depends on."""
    digest = hashlib.sha256(json.dumps(dependencies, sort_keys=True, default=str).encode())
    package = Path(__file__).resolve().parent.parent
    for name in CODE[stage]:
        room = package / name
        paths = sorted(room.rglob("*")) if room.is_dir() else [room]
        for path in paths:
            # This file only orchestrates: a new sentence here retrains nothing.
            if path.suffix in (".py", ".xml") and path != Path(__file__).resolve():
                digest.update(path.read_bytes())
    return digest.hexdigest()
