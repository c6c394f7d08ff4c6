# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, how they write what the user asked for, and ROS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sarnn_ros.errors import ConfigError

Recordings = Annotated[list[Path], typer.Argument(help="Bags or data sets, or folders of them.")]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Decode the bags again, and keep nothing of it.")
]
Failures = Annotated[
    bool, typer.Option("--failures", help="Use bags that were labelled a failure, too.")
]
Fps = Annotated[
    float | None,
    typer.Option(min=0.1, help="Rows per second of HDF5, npz and EIPL. Default: the spec's rate."),
]
Bgr = Annotated[bool, typer.Option("--bgr", help="Images of HDF5, npz and EIPL are BGR.")]


def prepare_ros() -> None:
    """To be called before rclpy is imported: it reads some of the environment only then."""
    from sarnn_ros.share import ros_environment

    os.environ.update(ros_environment())


def full_name(node: str, option: str = "--node") -> str:
    """The full name of a node that a user gave, as `sarnn` or `/arm/sarnn`.

    :raises ConfigError: no node can have it.
    """
    from sarnn_ros.spec import topic_name

    name = f"/{node.strip('/')}"
    try:
        return topic_name(name)
    except ValueError:
        raise ConfigError(
            f"'{node}' is no node's name",
            where=option,
            remedy="as 'ros2 node list' shows it: /sarnn",
        ) from None


@contextmanager
def listening_node(name: str) -> Iterator[Any]:
    """A node without parameters, for a command that handles signals itself."""
    prepare_ros()
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        yield rclpy.create_node(name, start_parameter_services=False)
    finally:
        rclpy.try_shutdown()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """:raises ConfigError: the file cannot be written there."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            remedy="give a path in a folder that exists, where you may write",
        ) from error
