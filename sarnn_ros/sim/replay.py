# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The control without a policy: the mean demonstration, published as `joint_command`.

The node `replay` has the inference node's services, so that the referee treats both alike. If
one trajectory lifted the cube everywhere, success would prove nothing.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from sarnn_ros.errors import BagError
from sarnn_ros.sim.scene import JOINT_NAMES
from sarnn_ros.sim.task import RATE


def mean_commands(bags: list[Path]) -> NDArray[np.float64]:
    """The commands of the demonstrations, averaged tick by tick, (ticks, 6).

    :raises BagError: no bag, or one without commands.
    """
    if not bags:
        raise BagError("no bags to replay", remedy="run 'sarnn demonstrate' first")
    episodes = []
    for bag in bags:
        with AnyReader([bag]) as reader:
            wanted = [item for item in reader.connections if item.topic == "/joint_command"]
            commands = [
                cast(Any, reader.deserialize(raw, connection.msgtype)).position
                for connection, _, raw in reader.messages(wanted)
            ]
        if not commands:
            raise BagError("no message on /joint_command", where=bag)
        episodes.append(np.array(commands))
    ticks = min(len(commands) for commands in episodes)
    return np.mean([commands[:ticks] for commands in episodes], axis=0)


class ReplayNode(Node):
    """Repeats the trajectory from its beginning at `~/start`, then holds its end.

    It has a publisher only from `~/start` to `~/stop`: the inference node sends nothing while
    another node could command the arm.
    """

    def __init__(self, commands: NDArray[np.float64]) -> None:
        super().__init__("replay")
        self._commands = commands
        self._tick = 0
        self._publisher: Publisher | None = None
        self._timer = self.create_timer(1.0 / RATE, self._publish)
        self._timer.cancel()
        for name, act in (("start", self._start), ("stop", self._stop), ("reset", self._rewind)):
            self.create_service(Trigger, f"~/{name}", partial(_answer, act))

    def _start(self) -> None:
        if self._publisher is None:
            self._publisher = self.create_publisher(JointState, "joint_command", 10)
        self._timer.reset()

    def _stop(self) -> None:
        self._timer.cancel()
        if self._publisher is not None:
            self.destroy_publisher(self._publisher)
            self._publisher = None

    def _rewind(self) -> None:
        self._tick = 0

    def _publish(self) -> None:
        assert self._publisher is not None
        known = self._publisher.get_subscription_count()
        if not known or known < self.count_subscribers("joint_command"):
            return  # not everybody is connected yet: the arm would miss the beginning
        command = self._commands[min(self._tick, len(self._commands) - 1)]
        self._tick += 1
        header = Header(stamp=self.get_clock().now().to_msg())
        message = JointState(header=header, name=list(JOINT_NAMES))
        message.position = array.array("d", command)
        self._publisher.publish(message)


def _answer(
    act: Callable[[], None], _: Trigger.Request, response: Trigger.Response
) -> Trigger.Response:
    act()
    response.success = True
    return response


def main() -> int:
    """`python -m sarnn_ros.sim.replay BAGS_FOLDER`, until Ctrl-C or SIGTERM."""
    commands = mean_commands(sorted(Path(sys.argv[1]).glob("episode_*")))
    rclpy.init()
    node = ReplayNode(commands)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
