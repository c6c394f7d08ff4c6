# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One policy's controller, and the publishers, subscriptions and timers that connect it to ROS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rclpy.clock import Clock as RclClock
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Bool

from sarnn_ros.control.assembly import build_controller
from sarnn_ros.control.outlet import Clocks
from sarnn_ros.control.parts import Ports
from sarnn_ros.control.resolve import CommandTopic, check_topics, command_topics
from sarnn_ros.control.scheduling import schedule_this_thread
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.state import MAY_COMMAND, STARTED
from sarnn_ros.control.tick import Tick
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.ros import graph_watch
from sarnn_ros.ros.graph_watch import GraphWatch
from sarnn_ros.ros.gripper_action import Ends, GripperAction
from sarnn_ros.ros.sender import CommandSender
from sarnn_ros.ros.sensors import connect_inputs
from sarnn_ros.ros.throttle import ThrottledLog
from sarnn_ros.ros.viewer import Viewer


class RobotSide:
    """See the module. Made at configure and by `~/load`, inactive; released at cleanup.

    :param name: of the policy, for the overlay.
    :param settings: the current ones.
    :param steady: a clock that goes on when the ROS clock has stopped.
    :param changed: called when the state or a fault has changed.
    :param on_tick: sees every tick, on the control thread.
    :raises ConfigError: settings that contradict the policy. What was made by then is released.
    """

    def __init__(
        self,
        node: LifecycleNode,
        policy: Policy,
        name: str,
        settings: Callable[[], Settings],
        *,
        log: ThrottledLog,
        steady: RclClock,
        changed: Callable[[], None],
        on_tick: Callable[[Tick], None],
    ) -> None:
        self._node = node
        self._settings = settings
        self._show_tick = on_tick
        now, spec, clock = settings(), policy.spec, node.get_clock()
        self.config = policy.config

        def now_ns() -> int:
            return int(clock.now().nanoseconds)

        with ExitStack() as undo:
            topics = command_topics(now, spec)
            check_topics(
                spec,
                topics,
                node.resolve_topic_name,
                node.get_namespace(),
                now.takeover.command_topic,
            )
            self.sender = sender = CommandSender(
                node, topics, spec.command_names, spec.period_ns, now_ns, self._make_gripper
            )
            undo.callback(sender.destroy)
            self.graph = GraphWatch(node, spec, settings, sender.publishers)
            self.viewer = viewer = Viewer(
                node,
                policy.config,
                name,
                lambda: self.controller.status(),
                lambda camera: self.controller.parts.cameras.ghost(camera),
                lambda: self.controller.parts.buffer,
            )
            undo.callback(viewer.destroy)
            self._leads = node.create_lifecycle_publisher(Bool, "~/takeover", 1)
            undo.callback(node.destroy_lifecycle_publisher, self._leads)
            judges_images = now.health.image and policy.config.health is not None
            ports = Ports(
                Clocks(now_ns, simulated=lambda: bool(clock.ros_time_is_active)),
                prepare=sender.prepare,
                faults=self.graph.faults,
                wants_image=lambda: judges_images or viewer.wants_image(),
                log=log,
                changed=changed,
                on_tick=self._after_tick,
                on_start=self._schedule_control,
                topic_name=node.resolve_topic_name,
            )
            self.controller = build_controller(policy, settings, ports)
            for disconnect in connect_inputs(node, self.controller, now, self.graph, log):
                undo.callback(disconnect)
            timer = node.create_timer(graph_watch.PERIOD_SECONDS, self._look, clock=steady)
            undo.callback(node.destroy_timer, timer)
            self._undo = undo.pop_all()

    @property
    def grippers(self) -> list[GripperAction]:
        """Those that are commanded by an action."""
        return list(self.sender.grippers.values())

    def adopt_grippers(self, before: RobotSide) -> None:
        """Goals of grippers that are still in progress, of the policy before."""
        others = {gripper.topic_name: gripper for gripper in before.grippers}
        for gripper in self.grippers:
            if gripper.topic_name in others:
                gripper.adopt(others[gripper.topic_name])

    def activate(self, *, start: bool) -> None:
        """Begin to tick.

        :param start: command at once, unless a fault is latched.
        """
        self.graph.look()
        for gripper in self.grippers:
            gripper.forget()
        self.controller.activate(start=start)
        self.viewer.start()
        self.controller.run()

    def halt(self) -> bool:
        """Stop commanding, the hold sent; then end the threads. Returns whether they have ended: a
        policy may never return."""
        ended = self.controller.halt()
        if not ended:
            self._node.get_logger().error("the policy does not return: restart the node")
        self.viewer.stop()
        return ended

    def release(self) -> None:
        """Halt, and give back everything."""
        self.halt()
        self.controller.close()
        self._undo.close()

    def _make_gripper(self, topic: CommandTopic) -> GripperAction:
        grip, spec = self._settings().gripper, self.config.spec
        joint = spec.command_names[topic.indices[0]]
        row = grip.joints.index(joint)
        # One value may stand for all; another count is refused when the controller is made.
        opened, closed = (values[row % len(values)] for values in (grip.open, grip.closed))
        ends = Ends(joint, opened, closed, grip.max_effort, grip.max_velocity)
        return GripperAction(
            self._node,
            topic.name,
            topic.interface,
            ends,
            spec.period_ns * 1e-9,
            self._permission,
            lambda code, text: self.controller.latch(code, text),
        )

    @contextmanager
    def _permission(self) -> Iterator[bool]:
        """Whether a command may leave, for as long as it is entered."""
        with self.controller.lock:
            yield self.controller.state in MAY_COMMAND

    def _look(self) -> None:
        self.graph.look()
        for gripper in self.grippers:
            gripper.look()

    def _schedule_control(self) -> None:
        settings = self._settings()
        for text in schedule_this_thread(settings.cpu_affinity, settings.realtime_priority):
            self._node.get_logger().warning(text)

    def _after_tick(self, tick: Tick) -> None:
        # Who leads the arm: a bag that has it says what a person did. Nobody, in a dry run.
        if tick.state in STARTED and not self._settings().dry_run:
            self._leads.publish(Bool(data=self.controller.led))
        health = self.controller.parts.scene.health
        self.viewer.show(tick, health, self.controller.status(), self._settings())
        self._show_tick(tick)
