# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn run`: a node of this package, for those who have no `ros2 run`."""

from __future__ import annotations

from enum import Enum
from importlib import import_module
from typing import Annotated

import typer

from sarnn_ros.cli.options import prepare_ros

#: Whatever follows the node's name goes to rclpy as it is.
CONTEXT_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}


class NodeName(str, Enum):
    """What can be run."""

    inference = "inference"
    sim = "sim"
    recorder = "recorder"


MODULES = {
    NodeName.inference: "sarnn_ros.ros.inference_node",
    NodeName.sim: "sarnn_ros.sim.node",
    NodeName.recorder: "sarnn_ros.ros.recorder_node",
}


def run(
    context: typer.Context, node: Annotated[NodeName, typer.Argument(help="The node to run.")]
) -> None:
    """Run a node; its ROS arguments follow as they would after `ros2 run sarnn_ros …`.

    For example: sarnn run inference --ros-args -p policy:=/path
    """
    prepare_ros()
    raise typer.Exit(import_module(MODULES[node]).main([node.value, *context.args]))
