# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The thread of a node's executor. What the node does in it is not its business."""

from __future__ import annotations

import threading
import traceback

from rclpy.executors import Executor, ExternalShutdownException, ShutdownException
from rclpy.node import Node


def spin(executor: Executor, node: Node, stop: threading.Event) -> None:
    """Run callbacks until `stop` or the executor's shutdown; then `stop` is set.

    A callback that fails is logged and ends nothing: the process would stay up, deaf.
    """
    while not stop.is_set() and executor.context.ok():
        try:
            executor.spin()
        except (ExternalShutdownException, ShutdownException):
            break
        except Exception:
            node.get_logger().error(f"goes on after:\n{traceback.format_exc()}")
    stop.set()
