# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn trials`: how often a policy succeeds on the user's own robot, and how sure that is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sarnn_ros.cli.keys import Keys
from sarnn_ros.cli.options import full_name, listening_node, writing

if TYPE_CHECKING:
    import threading

    from rich.console import Console

    from sarnn_ros.data.trials import Record

#: A stop, and what is set back after it, may each wait for an answer, s.
ENDING_SECONDS = 25.0


def trials(
    folder: Annotated[Path, typer.Argument(help="Holds the plan, the trials and the report.")],
    places: Annotated[
        str | None,
        typer.Option(help="Where the object lies: 9 for nine marks on the table, or names: a,b."),
    ] = None,
    policies: Annotated[
        str | None,
        typer.Option(help="One, or two to compare: A,B. Default: the one that the node runs."),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=1, help="Trials at each place by each policy. Default: 20 of each policy in all."
        ),
    ] = None,
    hidden: Annotated[
        float | None,
        typer.Option(
            min=0, max=0.5, help="Share of controls: the object is hidden. Default: 0.2."
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="A trial ends after so long, s. Default: 60.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of the order of the trials. Default: another each time."),
    ] = None,
    node: Annotated[str, typer.Option(help="The inference node's full name.")] = "/sarnn",
    report: Annotated[
        bool, typer.Option("--report", help="Show what the trials so far say, and end.")
    ] = False,
) -> None:
    """Try a policy on the robot, and say how often it succeeds and how sure that is.

    The inference node runs already, on this computer. Before each trial you are told where to put
    the object; Enter starts the robot, and a key says what became of it. Places come in random
    order; in some trials the object is hidden, as a control. Of two policies you do not learn
    which one runs: do not look into FOLDER, nor at --report, until all is done.

    Each trial is on disk at once. Stop whenever you like: the same command goes on. At the end,
    FOLDER/report.html has intervals, a map of the places, and every run.
    """
    from rich.console import Console

    from sarnn_ros.data.trials import Record, name_places
    from sarnn_ros.data.trials_view import PAGE, print_report, write_page
    from sarnn_ros.errors import ConfigError
    from sarnn_ros.files import claimed
    from sarnn_ros.signals import stop_on_signals

    console = Console()
    if report:
        record = Record(folder)
    else:
        wanted = {
            "places": None if places is None else name_places(places),
            "policies": policies
            and tuple(str(Path(one).resolve()) for one in policies.split(",")),
            "repeats": repeats,
            "hidden": hidden,
            "seconds": seconds,
            "seed": seed,
        }
        with stop_on_signals(ENDING_SECONDS) as stop, Keys() as keys:
            if not keys.usable:
                raise ConfigError("keys are read from a terminal, and this is none")
            is_new = not folder.exists()
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            try:
                with claimed(folder):
                    record = _session(folder, wanted, full_name(node), keys, console, stop)
            finally:
                with suppress(OSError):
                    if is_new:
                        folder.rmdir()  # if nothing came of it
        if left := len(record.todo):
            count = len(record.trials)
            console.print(f"{count - left} of {count} trials are done; the same command goes on")
            return
    with writing(record.folder):
        record.show_names()
    print_report(record, console)
    with writing(record.folder / PAGE):
        write_page(record)
    console.print(f"page: {record.folder / PAGE}", markup=False, highlight=False)


def _session(
    folder: Path,
    wanted: dict[str, Any],
    name: str,
    keys: Keys,
    console: Console,
    stop: threading.Event,
) -> Record:
    """Trials until all are done, or the operator quits."""
    with listening_node("sarnn_trials") as node, console.status("looking for the node") as status:
        from rich.text import Text

        from sarnn_ros.data.trials import (
            PARAMETERS,
            NotDone,
            PolicyOnTrial,
            Session,
            open_record,
        )
        from sarnn_ros.policy.directory import digest, load_config
        from sarnn_ros.ros.spinning import spinning
        from sarnn_ros.ros.trial_robot import TrialRobot

        robot = TrialRobot(node, name, stop)
        with spinning(node):
            in_force = robot.open(folder / PARAMETERS)

            def on_trial() -> list[PolicyOnTrial]:
                paths = wanted["policies"] or (str(Path(in_force).resolve()),)
                return [
                    PolicyOnTrial(path=path, sha256=digest(load_config(path))) for path in paths
                ]

            record = open_record(folder, wanted, on_trial)
            session = Session(
                record, robot, keys, stop=stop,
                say=lambda text: console.print(text, markup=False, highlight=False),
                show=lambda text: status.update(Text(text)),
            )  # fmt: skip
            try:
                session.run()
            finally:
                try:
                    robot.close()
                except NotDone as problem:
                    console.print(f"the node's parameters stay as they are: {problem}")
    return record
