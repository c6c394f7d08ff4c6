# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn teach`: record, train, try and correct, in rounds, at the robot."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sarnn_ros.cli.keys import Keys
from sarnn_ros.cli.options import prepare_ros
from sarnn_ros.cli.record import recording_keys
from sarnn_ros.errors import INTERRUPTED

if TYPE_CHECKING:
    import threading

    from rich.console import Console

    from sarnn_ros.data.teaching import Lesson
    from sarnn_ros.policy.directory import PolicyConfig
    from sarnn_ros.ros.recorder_node import RecorderNode
    from sarnn_ros.ros.trial_robot import TrialRobot
    from sarnn_ros.sim.processes import Child

#: Whatever follows `--` goes to the inference node as it is.
CONTEXT_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
_HELP = """\
space: start or stop an episode, or end a run    s: success    f: failure    d: discard
n: train the next policy    y: dry run    g: let the newest policy run
t: take over, or hand back    p: check the topics    ?: what comes next    q: quit"""
#: A stop of the robot, the end of a bag and a checkpoint may take so long, s.
ENDING_SECONDS = 40.0
#: A run ends by itself after so long, s.
RUN_SECONDS = 120.0


def teach(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Holds recordings, policies and runs.")],
    spec: Annotated[Path, typer.Option(help="What is observed and commanded (YAML).")],
    node: Annotated[str, typer.Option(help="The inference node's full name.")] = "/sarnn",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of every training."),
    ] = None,
    background: Annotated[
        bool,
        typer.Option(
            "--background/--no-background",
            help="Trainings leave the cores to all other processes, or not: where those want them "
            "all, a training in the background hardly goes on.",
        ),
    ] = True,
) -> None:
    """Teach a robot in rounds: demonstrate, train, let it run, correct, train again.

    At each moment one line says what comes next, and by which key. A policy is trained in the
    background, and the next one goes on from it. The inference node is started by this command;
    what follows -- goes to it: sarnn teach lesson --spec spec.yaml -- --params-file my.yaml

    Leave whenever you like: the same command goes on. FOLDER/bags/recorder.log has what happened.
    """
    prepare_ros()
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from rich.console import Console

    from sarnn_ros.data.teaching import Lesson
    from sarnn_ros.errors import ConfigError, SarnnError
    from sarnn_ros.ros.recorder_node import RecorderNode
    from sarnn_ros.ros.spinning import spinning
    from sarnn_ros.ros.trial_robot import TrialRobot
    from sarnn_ros.signals import stop_on_signals
    from sarnn_ros.sim.processes import children

    console, lesson = Console(), Lesson(folder)
    with stop_on_signals(ENDING_SECONDS) as stop, children() as running, Keys() as keys:
        if not keys.usable:
            raise ConfigError("keys are read from a terminal, and this is none")
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        try:
            recorder = RecorderNode(spec, lesson.bags)
        except SarnnError:
            rclpy.try_shutdown()
            raise
        with spinning(recorder), console.status("") as status:
            robot = TrialRobot(recorder, f"/{node.strip('/')}", stop)
            session = Teaching(lesson, recorder, robot, running, console, stop)
            session.spec, session.settings, session.arguments = spec, settings or [], context.args
            session.background = background
            try:
                session.run(keys, status)
            finally:
                session.end_run("the session ended")


class Teaching:
    """What the keys do.

    :param children: processes that end with the session.
    :ivar spec, settings, background: of every training.
    :ivar arguments: what the inference node is started with.
    """

    spec: Path
    settings: Sequence[str] = ()
    background: bool = True
    arguments: Sequence[str] = ()

    def __init__(
        self,
        lesson: Lesson,
        recorder: RecorderNode,
        robot: TrialRobot,
        children: list[Child],
        console: Console,
        stop: threading.Event,
    ) -> None:
        self.lesson, self.recorder, self.robot = lesson, recorder, robot
        self.children, self.console, self.stop = children, console, stop
        self._training: Child | None = None
        self._inference: Child | None = None
        #: Of the run under way: the policy, and whether it is a dry run.
        self._run: tuple[str, bool] | None = None
        self._led = False
        #: Of the run that waits for a label: the policy, whether a person led, why it ended.
        self._ended: tuple[str, bool, str] | None = None

    def run(self, keys: Keys, status: Any) -> None:
        from rich.text import Text

        from sarnn_ros.errors import SarnnError

        self.say(_HELP)
        self.say(self.lesson.advice())
        place = ""
        while not self.stop.is_set():
            status.update(Text("  ".join(filter(None, [self.recorder.status(), *self._doing()]))))
            if self.recorder.session.advice != place:
                place = self.recorder.session.advice
                self.say(place)
            key = keys.read(0.1)
            if key == "q":
                return
            try:
                self._look_after()
                if work := self._keys().get(key):
                    self.say(work())
            except (SarnnError, OSError) as error:
                text = getattr(error, "problem", error)
                self.console.print(f"error: {text}", style="red", markup=False)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)

    def _keys(self) -> dict[str, Callable[[], str]]:
        keys = recording_keys(self.recorder) | {
            "n": self.train,
            "y": partial(self.start, dry_run=True),
            "g": self.start,
            "?": self.lesson.advice,
        }
        if self._run is not None:  # whose recording ends with it
            end = partial(self.end_run, "the operator ended it")
            return {"t": keys["t"], "?": keys["?"], " ": end}
        if self._ended is not None:
            keys["s"] = partial(self.label, True)
            keys["f"] = partial(self.label, False)
        return keys

    def _doing(self) -> list[str]:
        """What else goes on, for the line of status."""
        parts = []
        if self._run is not None:
            parts.append(f"{self._run[0]} {'in a dry run' if self._run[1] else 'runs'}")
        if self._training is not None and self._training.log is not None:
            lines = self._training.log.read_text(errors="replace").splitlines()
            epoch = lines[-1].partition(":")[0] if lines else ""
            parts.append(f"training: {epoch if epoch.startswith('epoch') else 'begins'}")
        return parts

    def _look_after(self) -> None:
        """See whether the training, or a run, has ended."""
        from sarnn_ros.data.trials import NotDone

        if self._training is not None and self._training.code is not None:
            self._training_ended()
        if self._run is None and self.recorder.session.recording:
            self._ended = None  # a label is for what is recorded now
        if self._run is not None:
            self._led |= self.recorder.led
            try:
                why = self.robot.why_ended()
            except NotDone as problem:
                why = str(problem)
            if why:
                self.say(self.end_run(why))

    def _training_ended(self) -> None:
        """:raises EnvironmentProblem: it has failed; with the end of its log."""
        ended, self._training = self._training, None
        assert ended is not None
        self.children.remove(ended)
        if ended.code == INTERRUPTED:
            self.say("the training was interrupted; n goes on with it")
        elif ended.code:
            self.lesson.forget_training()
            ended.check()
        else:
            name = self.lesson.policy(self.lesson.number).name
            self.say(f"{name} is trained ({ended.log}); {self.lesson.advice()}")

    # -- what the keys do -----------------------------------------------------------------------

    def train(self) -> str:
        """:raises ConfigError: a training is under way, or there is nothing to train on."""
        from sarnn_ros.errors import ConfigError
        from sarnn_ros.sim.processes import Child

        if self._training is not None:
            raise ConfigError("a training is under way")
        if not self.lesson.recordings():
            raise ConfigError("there is no recording to train on")
        number = self.lesson.number + 1
        config = self._config()
        searched = config is not None and bool(config.training.get("searched"))
        words = self.lesson.training(
            self.spec, self.settings, background=self.background, goes_on=searched
        )
        log = self.lesson.folder / f"{self.lesson.policy(number).name}.log"
        command = [sys.executable, "-m", "sarnn_ros.cli.main", *words]
        self._training = Child("training", command, log=log)
        self.children.append(self._training)
        how = "goes on" if "--resume" in words else "has begun"
        return f"the training of {self.lesson.policy(number).name} {how}; see {log}"

    def start(self, dry_run: bool = False) -> str:
        """Let the newest policy run, and record it.

        :raises ConfigError: there is none, or a recording is under way.
        :raises NotDone: the node refuses.
        """
        from sarnn_ros.errors import ConfigError
        from sarnn_ros.policy.directory import digest

        config, policy = self._config(), self.lesson.newest
        if policy is None or config is None:
            raise ConfigError("there is no policy yet: train one (n)")
        if self.recorder.session.recording:
            raise ConfigError("an episode is being recorded: end it first (space)")
        self._ended = None
        self._run_node(policy)
        self.robot.load(policy.resolve(), digest(config), RUN_SECONDS)
        if dry_run:
            self.robot.start_dry()
            self._run = policy.name, True
            return f"{policy.name} says what it would do, and nothing moves; space ends it"
        said = self.recorder.start_episode()
        self._led = False
        try:
            self.robot.start()
        except BaseException:  # it may have started, and the answer is lost
            self._stop_robot()
            self.recorder.session.discard()
            raise
        self._run = policy.name, False
        return f"{said}; {policy.name} runs; space ends it, t takes over"

    def _config(self) -> PolicyConfig | None:
        """Of the newest policy; None if there is none, or it is damaged."""
        from sarnn_ros.errors import PolicyError
        from sarnn_ros.policy.directory import load_config

        try:
            return load_config(self.lesson.newest) if self.lesson.newest else None
        except PolicyError:
            return None

    def _run_node(self, policy: Path) -> None:
        """Start the inference node, unless it runs."""
        from sarnn_ros.sim.processes import Child

        if self._inference is not None and self._inference.code is None:
            return
        command = [sys.executable, "-m", "sarnn_ros.cli.main", "run", "inference", "--ros-args"]
        given = [*self.arguments, "-p", f"policy:={policy.resolve()}"]
        log = self.lesson.folder / "inference.log"
        self._inference = Child("inference", [*command, *given], log=log)
        self.children.append(self._inference)
        self.say(f"the inference node is started; see {log}")
        self.robot.open()

    def end_run(self, why: str) -> str:
        """End the run under way, if there is one; what it recorded is kept."""
        if self._run is None:
            return ""
        policy, dry_run = self._run
        if dry_run:
            self._stop_robot(dry_run=True)
            self._run = None
            return f"the dry run has ended: {why}"
        self._stop_robot()
        self._run = None  # not before: the key still stops it if there was no answer
        self._ended = policy, self._led, why
        session = self.recorder.session
        said = [f"{policy} has ended: {why}"]
        said += ["you took over: it is a correction"] * self._led
        said += [session.stop()] * session.recording
        return "; ".join([*said, "has it done the task? s or f"])

    def _stop_robot(self, dry_run: bool = False) -> None:
        """:raises NotDone: the node runs, and does not answer."""
        from sarnn_ros.data.trials import NotDone

        try:
            if dry_run:
                self.robot.end_dry()
            else:
                self.robot.stop()
        except NotDone:
            if self._inference is None or self._inference.code is None:
                raise

    def label(self, is_success: bool) -> str:
        """Of the run that has ended. Of a correction, whether the person has done the task."""
        assert self._ended is not None
        policy, led, why = self._ended
        said = self.recorder.session.label("success" if is_success else "failure")
        self.lesson.add_run(policy, is_success, led, why)
        self._ended = None
        return f"{said}; {self.lesson.advice()}"
