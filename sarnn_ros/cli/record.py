# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn record`: demonstrations to bags, by keyboard or by the recorder's services."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sarnn_ros.cli.keys import Keys, show_answer
from sarnn_ros.cli.options import full_name, prepare_ros

_HELP = """\
space: start or stop an episode    s: success    f: failure    d: discard
t: a person takes over, or hands back    p: check again    q: quit"""
#: What each key does, by the recorder's service; the space bar begins or ends an episode.
RECORDING_KEYS = {
    "s": "label_success",
    "f": "label_failure",
    "d": "discard_episode",
    "t": "takeover",
    "p": "preflight",
}


def record(
    spec: Annotated[Path, typer.Option(help="What is observed (YAML): its topics are recorded.")],
    out: Annotated[Path, typer.Option(help="Folder for the bags, one per episode.")],
    topics: Annotated[
        list[str] | None,
        typer.Option("--topics", metavar="TOPIC:TYPE", help="Record this topic as well."),
    ] = None,
    node: Annotated[
        str | None,
        typer.Option(
            help="Full name of the inference node whose runs are recorded, if several may run."
        ),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(min=1, help="End when so many episodes are kept that training can use."),
    ] = None,
) -> None:
    """Record demonstrations. Nothing starts before every topic is alive at its rate.

    What happens is logged in OUT/recorder.log. Discarded episodes are in OUT/.trash.
    """
    prepare_ros()
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from rich.console import Console
    from rich.text import Text

    from sarnn_ros.data.session import CHECK_SECONDS
    from sarnn_ros.errors import SarnnError, outcome
    from sarnn_ros.ros.recorder_node import CLOSING_SECONDS, RecorderNode
    from sarnn_ros.ros.spinning import spinning
    from sarnn_ros.signals import stop_on_signals

    console = Console()
    with stop_on_signals(CLOSING_SECONDS) as stop:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        try:
            recorder = RecorderNode(spec, out, topics or (), full_name(node) if node else "")
        except SarnnError:
            rclpy.try_shutdown()
            raise
        with spinning(recorder), Keys() as keys, console.status("") as status:
            without = "no terminal: use the services ~/start_episode and ~/stop_episode"
            console.print(_HELP if keys.usable else without)
            wanted = episodes or 1 << 30
            session, advice, told = recorder.session, "", False
            while not stop.is_set():
                enough = session.kept >= wanted and not (session.recording or session.checking)
                # The last one may be labelled, too, by who has keys.
                awaited = enough and keys.usable and session.unlabelled
                if enough and not awaited:
                    break
                if awaited and not told:
                    text = f"{wanted} are kept, the last without a label: s, f or d; q: quit"
                    show_answer(console, text)
                told = awaited
                status.update(Text(recorder.status()))
                if session.advice != advice:
                    advice = session.advice
                    if advice:
                        show_answer(console, advice)
                key = keys.read(0.1)
                if key == "q":
                    break
                space = "stop_episode" if session.recording else "start_episode"
                action = space if key == " " else RECORDING_KEYS.get(key)
                if action is not None:
                    done, text = outcome(recorder.actions(CHECK_SECONDS)[action])
                    show_answer(console, text if done else f"error: {text}")
