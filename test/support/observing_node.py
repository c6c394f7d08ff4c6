# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The inference node, started as always, telling what it saw: for test_parity.py.

`python observing_node.py OUT POLICY --ros-args …`: saves for every tick what a backend of the
policy is given to OUT, and says on `acknowledge` what it has received, so that a replay can wait.
If `moved.npz` is beside OUT, its matrices are undone, by camera.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import parity
import rclpy
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from sarnn_ros.control.tick import Tick
from sarnn_ros.policy.directory import load_config
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.ros.inference_node import InferenceNode


class ObservingNode(InferenceNode):
    def __init__(self, out: Path, policy: Path) -> None:
        super().__init__(on_tick=self._save)
        self._out = out
        self._moved = out.with_name("moved.npz")
        self._config = config = load_config(policy)
        self._inputs = parity.BackendInputs(config.spec, config.model.k_dim)
        # Beside the node's own, which is not asked while the robot may not move.
        self._policy = Policy(config, self._inputs)
        self._count = 0
        # Kept for a listener that is discovered late.
        lasting = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._say = self.create_publisher(String, "acknowledge", lasting)
        self._saying = threading.Lock()
        self._jump = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=Duration(nanoseconds=1), min_backward=None),
            post_callback=lambda _: self._acknowledge(
                f"clock {self.get_clock().now().nanoseconds}"
            ),
        )
        self._greeting = self.create_timer(0.02, self._greet, clock=self._steady)

    def _greet(self) -> None:
        # A publisher knows of a subscription before the subscription knows of it; what it sends
        # in between is lost.
        sensors = self._sensor_subscriptions()
        if sensors and all(one.get_publisher_count() for one in sensors):
            self._greeting.cancel()
            self._acknowledge("connected")

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_configure(state)
        if self._moved.exists():
            assert self.controller is not None
            self.controller.parts.buffer.undo(dict(np.load(self._moved)))
        for subscription in self._sensor_subscriptions():
            subscription.callback = partial(self._received, subscription.callback)
        return result

    def _sensor_subscriptions(self) -> list[Any]:
        spec = self._config.spec
        topics = {self.resolve_topic_name(one.topic) for one in (*spec.cameras, *spec.joints)}
        return [one for one in self.subscriptions if one.topic_name in topics]

    def _received(self, take: Callable[[Any], None], message: Any) -> None:
        take(message)
        self._count += 1
        self._acknowledge(f"received {self._count}")

    def _save(self, tick: Tick) -> None:
        if tick.observation is not None:
            self._policy.step(tick.observation)
            np.savez(self._out / f"{tick.label_ns}.npz", **self._inputs.tensors)
        self._acknowledge(f"tick {tick.label_ns}")

    def _acknowledge(self, text: str) -> None:
        with self._saying:
            self._say.publish(String(data=text))


def main() -> None:
    out, policy = map(Path, sys.argv[1:3])
    rclpy.init()
    node = ObservingNode(out, policy)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    assert node.trigger_configure() == node.trigger_activate()
    try:
        executor.spin()
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        pass
    finally:
        node.close()


if __name__ == "__main__":
    main()
