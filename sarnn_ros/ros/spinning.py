# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What every node's process does: start rclpy, and run callbacks in a thread."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import rclpy
from rclpy.executors import (
    Executor,
    ExternalShutdownException,
    ShutdownException,
    SingleThreadedExecutor,
)
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from sarnn_ros.errors import ConfigError, SarnnError, shorten
from sarnn_ros.yaml_file import read_yaml

#: Of a file of parameters, which may hold a robot description, bytes.
MAX_FILE_BYTES = 1 << 22

RCLError = rclpy_implementation.RCLError
RCLInvalidROSArgsError = rclpy_implementation.RCLInvalidROSArgsError
UnknownROSArgsError = rclpy_implementation.UnknownROSArgsError


def initialise(args: Sequence[str] | None) -> bool:
    """Start rclpy. Arguments that it would ignore or refuse are printed as an error instead.

    :param args: the program's name and its arguments; None: those of this process.
    :returns: whether it has started.
    """
    given = list(sys.argv if args is None else args)
    try:
        if unknown := list(_outside_ros_args(given[1:])):
            raise _unknown(" ".join(unknown))
        for name, path in pairwise(given):
            if name == "--params-file":  # rcl's parser has no bounds
                read_yaml(Path(path), ConfigError, "see config/inference.yaml", MAX_FILE_BYTES)
        # rclpy's own handlers end the context at once, and with it the chance to send a hold.
        rclpy.init(args=given, signal_handler_options=SignalHandlerOptions.NO)
    except UnknownROSArgsError as error:
        print(f"error: {_unknown(shorten(str(error)))}", file=sys.stderr)
        return False
    except (SarnnError, RCLError, RCLInvalidROSArgsError) as error:
        print(f"error: {shorten(str(error))}", file=sys.stderr)
        return False
    return True


def _unknown(words: str) -> ConfigError:
    return ConfigError(
        f"unknown arguments: {words}",
        remedy="parameters follow --ros-args, each after its -p: --ros-args -p policy:=/path",
    )


def _outside_ros_args(words: Sequence[str]) -> Iterator[str]:
    # rclpy's remove_ros_args would let pass `policy:=/path`, a remapping in the style of ROS 1.
    inside = False
    for word in words:
        if word == "--ros-args":
            inside = True
        elif word == "--":
            inside = False
        elif not inside:
            yield word


def spin(executor: Executor, node: Node, stop: threading.Event) -> None:
    """Run callbacks until `stop` and `end_spinning`; when it returns `stop` is set.

    A callback that fails is logged, and the next ones still run: without this thread the process
    would stay up and answer nobody.
    """
    while not stop.is_set() and executor.context.ok():
        try:
            executor.spin_once()
        except (ExternalShutdownException, ShutdownException):
            break
        except Exception:
            node.get_logger().error(f"goes on after:\n{traceback.format_exc()}")
    stop.set()


def end_spinning(
    executor: Executor, spinner: threading.Thread, timeout_s: float | None = None
) -> bool:
    """End the thread of `spin`, whose `stop` has been set, and shut the executor down.

    In this order: what a shutdown destroys, a callback under way may still use.

    :param timeout_s: a callback may never return, s; None: wait for ever.
    :returns: whether the thread has ended.
    """
    executor.create_task(lambda: None)  # it may be waiting
    spinner.join(timeout_s)
    executor.shutdown(0.0)
    return not spinner.is_alive()


@contextmanager
def spinning(node: Node, stop: threading.Event | None = None) -> Iterator[None]:
    """Run the node's callbacks in a thread; afterwards destroy the node, and end its context.

    :param stop: ends the thread as well, and is set by its end.
    """
    stop = stop or threading.Event()
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    thread = threading.Thread(
        target=spin, args=(executor, node, stop), name="executor", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        end_spinning(executor, thread)
        node.destroy_node()
        rclpy.try_shutdown(context=node.context)
