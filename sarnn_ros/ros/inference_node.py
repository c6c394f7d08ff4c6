# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `sarnn`: wires topics, services and transitions to the robot's side.

Its threads, for these reasons:

* the *executor* (single-threaded) takes messages, services and transitions. Nothing in it waits
  for the network, so sensors and services never do. One thread is enough: its callbacks take
  microseconds, and a multi-threaded rclpy executor costs more than it gives.
* the *control* thread (`ticker`) wakes at each tick, predicts, and publishes the command. Where
  images are ticks, the executor wakes it in the image's callback.
  ONNX Runtime and OpenCV release the interpreter's lock while they compute.
* the *command* thread (`interpolator`), with `command_rate` only, sends the set-points between two
  commands. They are due while the control thread waits for the network, so it has its own.
* the *stalls* thread looks whether the control thread still ticks, and latches if it does not.
* the *viewer* thread draws and publishes what people look at, from the newest tick only: a slow
  picture, or a slow subscriber to one, delays no command.

What is decided, and by which rule, is not here: see `control`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import rclpy
from rclpy.clock import Clock as RclClock
from rclpy.clock import ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn

from sarnn_ros.control.assembly import build_controller
from sarnn_ros.control.controller import Controller
from sarnn_ros.control.outlet import Clocks
from sarnn_ros.control.parts import Ports
from sarnn_ros.control.reminder import Reminder
from sarnn_ros.control.resolve import check_topics, command_topics, load_policy
from sarnn_ros.control.scheduling import schedule_this_thread
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.state import MOVING, State, Status
from sarnn_ros.control.tick import Tick
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.ros import graph_watch
from sarnn_ros.ros.diagnostics import Diagnostics
from sarnn_ros.ros.graph_watch import GraphWatch
from sarnn_ros.ros.inputs import connect_inputs
from sarnn_ros.ros.lifecycle import SafeLifecycleNode
from sarnn_ros.ros.parameters import ParameterServer
from sarnn_ros.ros.sender import CommandSender
from sarnn_ros.ros.services import ControlServices
from sarnn_ros.ros.spinning import initialise, spin
from sarnn_ros.ros.throttle import ThrottledLog
from sarnn_ros.ros.viewer import Viewer
from sarnn_ros.signals import stop_on_signals

#: How long a running callback may take to finish when the process is to end, s.
CALLBACK_SECONDS = 1.5


class InferenceNode(SafeLifecycleNode):
    """See the module.

    :param on_tick: sees every `Tick`, on the control thread, after its command was sent. For
        tests (what exactly did the policy see?) and for those who embed the node.
    """

    def __init__(
        self,
        node_name: str = "sarnn",
        *,
        on_tick: Callable[[Tick], None] = lambda tick: None,
        **options: Any,
    ) -> None:
        super().__init__(node_name, **options)
        self._parameter_server = ParameterServer(self, self._settings_change)
        self._on_tick = on_tick
        self._log = ThrottledLog(self.get_logger())
        self.controller: Controller | None = None
        self._undo: list[Callable[[], object]] = []  # what configure made, last first
        self._diagnostics = Diagnostics(self)
        self._reminder = Reminder(self.get_logger().info)
        # What must go on when the ROS clock has stopped, above all to say so.
        self._steady = RclClock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=self._steady)
        self._news = self.create_guard_condition(self._publish_diagnostics)
        self._control_services = ControlServices(
            self,
            lambda: self.controller if self.state == "active" else None,
            self.status,
            before_start=lambda: self._graph.look(),
            changed=self._news.trigger,
        )

    @property
    def settings(self) -> Settings:
        """The parameters as of configure, with later changes of the live ones."""
        return self._parameter_server.current

    @property
    def autostart(self) -> bool:
        """Whether to configure and activate at start-up. Also with a value that is no bool:
        configure then says so, where an idle process would say nothing."""
        wrong = self._parameter_server.is_wrong("autostart")
        return wrong or bool(self.get_parameter("autostart").value)

    def now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def status(self) -> Status:
        """What it is doing, and why."""
        if self.controller is not None:
            return self.controller.status()
        return Status(State.FINALIZED if self.state == "finalized" else State.UNCONFIGURED)

    # -- lifecycle ------------------------------------------------------------------------------

    def configure(self) -> None:
        """Load, check and warm up; connect the sensors. Slow on purpose, so that activate is not.

        :raises SarnnError: wrong parameters or an unusable policy; everything made so far is
            released.
        """
        started = time.monotonic()
        settings = self._parameter_server.read()
        policy = load_policy(settings)
        self._build(policy, settings)
        self._parameter_server.lock(True)
        # A full collection looks at all that was imported, 10 to 20 ms long, and may come in the
        # middle of a tick. What is here now stays: the collector need not look at it again.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self.get_logger().info(
            f"configured in {time.monotonic() - started:.1f} s: policy '{settings.policy}', "
            f"{policy.spec.rate:g} Hz, joints {', '.join(policy.spec.command_names)}"
        )

    def _build(self, policy: Policy, settings: Settings) -> None:
        """Make the publishers, the controller and its inputs."""
        spec = policy.spec
        topics = command_topics(settings, spec)
        check_topics(spec, topics, self.resolve_topic_name, self.get_namespace())
        sender = CommandSender(self, topics, spec.command_names, spec.period_ns, self.now_ns)
        self._undo.append(sender.destroy)
        self._graph = graph = GraphWatch(self, spec, lambda: self.settings, sender.publishers)
        self._viewer = viewer = Viewer(self, policy.config, self.status)
        self._undo.append(viewer.destroy)
        judges_images = settings.health.image and policy.config.health is not None
        ports = Ports(
            Clocks(self.now_ns, simulated=lambda: bool(self.get_clock().ros_time_is_active)),
            prepare=sender.prepare,
            faults=graph.faults,
            wants_image=lambda: judges_images or viewer.wants_image(),
            log=self._log,
            changed=self._news.trigger,
            on_tick=self._after_tick,
            on_start=self._schedule_control,
            topic_name=self.resolve_topic_name,
        )
        self.controller = build_controller(policy, lambda: self.settings, ports)
        self._undo += connect_inputs(self, self.controller, settings, graph, self._log)
        timer = self.create_timer(graph_watch.PERIOD, graph.look, clock=self._steady)
        self._undo.append(partial(self.destroy_timer, timer))
        self._diagnostics.configured(policy.config, self.controller, graph)

    def activate(self) -> None:
        assert self.controller is not None
        self._graph.look()
        self.controller.activate(start=self.settings.start_on_activate)
        self._viewer.start()
        self.controller.run()
        self.get_logger().info(f"active: {self.controller.status().text}")

    def _schedule_control(self) -> None:
        settings = self.settings
        for text in schedule_this_thread(settings.cpu_affinity, settings.realtime_priority):
            self.get_logger().warning(text)

    def deactivate(self) -> None:
        self.halt()

    def halt(self) -> None:
        """Stop commanding, the hold sent; then end the threads."""
        if self.controller is None:
            return
        if not self.controller.halt():
            self.get_logger().error("the policy does not return: restart the node")
        self._viewer.stop()

    def release(self) -> None:
        """Give back whatever configure made, all of it or part."""
        self.halt()
        self._parameter_server.lock(False)
        self._diagnostics.cleaned_up()
        if self.controller is not None:
            self.controller.close()
        self.controller = None
        while self._undo:
            self._undo.pop()()

    def failed(self, problem: str) -> None:
        self._diagnostics.problem = problem

    def close(self) -> None:
        """Stop in order, whatever the state: for signals. Never raises."""
        with contextlib.suppress(Exception):
            if self.state == "active":
                self.trigger_deactivate()
        with contextlib.suppress(Exception):
            self.release()

    # -- from and to the robot's side -----------------------------------------------------------

    def _after_tick(self, tick: Tick) -> None:
        controller = self.controller
        if controller is not None:
            warn_above = self.settings.health.warn_above
            health = controller.parts.scene.health
            self._viewer.show(tick, health, controller.status(), warn_above)
        self._on_tick(tick)

    def _settings_change(self, after: Settings) -> None:
        """Stop when `dry_run` changes: at the end of a dry run the robot must not begin to move in
        the middle of a motion, and at its beginning it must not keep moving to its last command.
        """
        if self.controller is None:
            return
        if after.guard != self.settings.guard:
            self.controller.change_limits(after)
        if after.dry_run != self.settings.dry_run and self.controller.started:
            self.controller.stop()
            self.get_logger().info(f"stopped: dry_run is {str(after.dry_run).lower()} now")
            self._news.trigger()

    def _publish_diagnostics(self) -> None:
        status = self.status()
        self._diagnostics.publish(status, self.state, self.settings)
        waits = status.state not in MOVING or status.level == "faulted"
        self._reminder.see(status.name, f"{status.text}; nothing is commanded" if waits else "")


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT, SIGTERM or SIGHUP.

    :returns: 0 after a clean stop, 1 if `autostart` failed.
    """
    # OpenCV's threads wait for each other's cores: on a busy machine, converting the colours of a
    # VGA image took 6 ms (p99) on all cores, 0.3 ms on one.
    cv2.setNumThreads(1)
    with stop_on_signals() as stop:
        if not initialise(args):
            return 1
        node = InferenceNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        failed: list[str] = []
        if node.autostart:
            # In the executor: a policy that never finishes its warm-up must not keep us here.
            executor.create_task(_autostart, node, stop, failed)
        spinner = threading.Thread(
            target=spin, args=(executor, node, stop), name="executor", daemon=True
        )
        spinner.start()
        stop.wait()
        node.halt()
        executor.shutdown()
        spinner.join(CALLBACK_SECONDS)
        if spinner.is_alive():
            # Most likely it configures; whatever it is, the robot holds and nothing is lost.
            node.get_logger().warning("ended in the middle of a callback")
            os._exit(1)
        hung = node.controller is not None and node.controller.hung
        node.close()
        node.destroy_node()
        rclpy.try_shutdown()
        if hung:  # the interpreter would abort on a thread that is still in the network
            os._exit(1)
    return 1 if failed else 0


def _autostart(node: InferenceNode, stop: threading.Event, failed: list[str]) -> None:
    for name in ("configure", "activate"):
        if stop.is_set():
            return
        if getattr(node, f"trigger_{name}")() != TransitionCallbackReturn.SUCCESS:
            failed.append(name)
            stop.set()


if __name__ == "__main__":
    sys.exit(main())
