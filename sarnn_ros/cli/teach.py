# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn teach`: record, train, try and correct, in rounds, at the robot."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sarnn_ros.cli.keys import Keys, show_answer
from sarnn_ros.cli.options import full_name, prepare_ros, writing
from sarnn_ros.cli.record import RECORDING_KEYS

#: Whatever follows `--` goes to the inference node as it is.
CONTEXT_SETTINGS = {"allow_extra_args": True}
_HELP = """\
space: start or stop an episode, or end a run    s: success    f: failure    d: discard
n: train the next policy    y: dry run    g: let the newest policy run
t: take over, or hand back    p: check the topics    ?: what comes next    q: quit"""
_WITHOUT = "no terminal: use the page (sarnn web), or the services of the recorder"
KEYS = RECORDING_KEYS | {"n": "train", "y": "dry_run", "g": "run", "?": "advice"}
#: A stop of the robot, the end of a bag and a checkpoint may take so long, s.
ENDING_SECONDS = 40.0


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

    At each moment one line says what comes next, and by which key; 'sarnn web' has a button for
    each. A policy is trained in the background, and the next one goes on from it. The inference
    node is started by this command; what follows -- goes to it:
    sarnn teach lesson --spec spec.yaml -- --params-file my.yaml -r joint_command:=/my_arm/command

    Leave whenever you like: the same command goes on. FOLDER/bags/recorder.log has what happened.
    """
    prepare_ros()
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from rich.console import Console
    from rich.text import Text

    from sarnn_ros.data.teaching import Lesson
    from sarnn_ros.errors import SarnnError, outcome
    from sarnn_ros.processes import children
    from sarnn_ros.ros.recorder_node import RecorderNode
    from sarnn_ros.ros.spinning import spinning
    from sarnn_ros.ros.teaching import ACTIONS, Teaching
    from sarnn_ros.ros.trial_robot import TrialRobot
    from sarnn_ros.signals import stop_on_signals

    console = Console()
    with writing(folder):
        lesson = Lesson(folder)
    with stop_on_signals(ENDING_SECONDS) as stop, children() as running, Keys() as keys:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        try:
            recorder = RecorderNode(spec, lesson.bags, inference_node=full_name(node))
        except SarnnError:
            rclpy.try_shutdown()
            raise
        with spinning(recorder), console.status("") as status:
            ending, tell = threading.Event(), partial(show_answer, console)
            robot = TrialRobot(recorder, full_name(node), ending)
            session = Teaching(lesson, recorder, robot, running, ending, tell)
            session.spec, session.settings, session.arguments = spec, settings or [], context.args
            session.background = background
            recorder.follow(session, ACTIONS)
            tell(_HELP if keys.usable else _WITHOUT)
            session.greet()
            try:
                while not stop.is_set():
                    status.update(Text(session.status()))
                    session.look_after()
                    key = keys.read(0.1)
                    if key == "q":
                        break
                    action = session.toggle() if key == " " else KEYS.get(key)
                    if action is not None:
                        is_asked, why = outcome(partial(session.ask, action))
                        if not is_asked:
                            session.say(f"error: {why}")
            finally:
                session.close()
