# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The `sarnn` command: its list of subcommands, and what the user sees when one fails.

Each subcommand is a function in the module of its name; those modules import nothing but typer
until they run, so that `sarnn --help` is instant and works without torch or ROS.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from sarnn_ros import __version__
from sarnn_ros.errors import INTERRUPTED, EnvironmentProblem, SarnnError

#: In the order of the help; `import_eipl` is typed `import-eipl`.
COMMANDS = (
    "demo",
    "spec",
    "inspect",
    "record",
    "convert",
    "train",
    "evaluate",
    "run",
    "teach",
    "trials",
    "latency",
    "web",
    "foxglove",
    "dds_profile",
    "demonstrate",
    "import_eipl",
    "export_eipl",
)

#: Which extra of setup.py brings an optional module.
EXTRAS = {
    "train": ("torch", "onnx", "onnxscript", "safetensors", "tensorboard", "matplotlib"),
    "sim": ("mujoco",),
    "lerobot": ("pyarrow", "av"),
    "hdf5": ("h5py",),
    "web": ("starlette", "uvicorn"),
    "ros": ("rclpy", "cv_bridge"),
}


def _fail(error: SarnnError) -> NoReturn:
    from rich.console import Console
    from rich.text import Text

    text = Text("error: ", style="bold red")
    text.append(str(error), style="not bold default")
    Console(stderr=True, soft_wrap=True).print(text)
    raise typer.Exit(1) from error


def missing_module(name: str) -> EnvironmentProblem | None:
    """How to get the optional module `name`, or None when it is not one that we know."""
    top = name.partition(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if top in modules), None)
    if extra == "ros" or top.endswith("_msgs") or top == "std_srvs":
        remedy = (
            "source your ROS 2 installation ('source /opt/ros/jazzy/setup.bash'), or, on Linux "
            "x86_64 with Python 3.11 to 3.13, install it from wheels: pip install 'sarnn_ros[ros]'"
        )
    elif extra is not None:
        remedy = f"pip install 'sarnn_ros[{extra}]'"
    else:
        return None
    return EnvironmentProblem(f"the module '{top}' is not there", remedy=remedy)


class _Group(TyperGroup):
    """Errors that a user can fix are shown without a traceback, all others with one."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SarnnError as error:
            _fail(error)
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except ModuleNotFoundError as error:
            problem = missing_module(error.name or "")
            if problem is None:
                raise
            _fail(problem)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sarnn_ros {__version__}")
        raise typer.Exit


@app.callback()
def sarnn(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """SARNN for ROS 2: learn a robot skill from rosbags and run it as a node."""


for name in COMMANDS:
    module = import_module(f"sarnn_ros.cli.{name}")
    settings = getattr(module, "CONTEXT_SETTINGS", None)
    app.command(name=name.replace("_", "-"), context_settings=settings)(getattr(module, name))


def main() -> None:
    """The entry point."""
    app()


if __name__ == "__main__":
    main()
