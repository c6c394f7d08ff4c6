# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `sarnn`: wires topics, services and transitions to the control loop.

Its threads, for these reasons:

* the *executor* (single-threaded) takes messages, services and transitions. Nothing in it waits
  for the network, so sensors and services never do. One thread is enough: its callbacks take
  microseconds, and a multi-threaded rclpy executor costs more than it gives.
* the *control* thread (`ticker`) wakes at each tick, predicts, and publishes the command. Where
  images are ticks, the executor wakes it in the image's callback.
  ONNX Runtime and OpenCV release the interpreter's lock while they compute.
* the *command* thread (`streamer`), with `command_rate` only, sends the set-points between two
  commands. They are due while the control thread waits for the network, so it has its own.
* the *viewer* thread draws and publishes what people look at, from the newest tick only: a slow
  picture, or a slow subscriber to one, delays no command.

What is decided, and by which rule, is not here: see `control` and docs/explanation/safety.md.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.clock import Clock as RclClock
from rclpy.clock import ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from std_srvs.srv import Trigger

from sarnn_ros.control import description
from sarnn_ros.control.controller import Controller, Tick
from sarnn_ros.control.description import DescriptionWatch
from sarnn_ros.control.fault_log import FaultLog
from sarnn_ros.control.gripper import two_valued_gripper, with_gripper
from sarnn_ros.control.interpolator import Streamer
from sarnn_ros.control.limits import CommandGuard, GuardLimits
from sarnn_ros.control.reminder import Reminder
from sarnn_ros.control.resolve import (
    check_topics,
    command_interval_ns,
    command_topics,
    guard_limits,
    load_policy,
    start_box,
)
from sarnn_ros.control.scene_watch import SceneWatch
from sarnn_ros.control.scheduling import schedule_this_thread
from sarnn_ros.control.settings import NodeParameters
from sarnn_ros.control.start import start_sequence
from sarnn_ros.control.summary import summarise
from sarnn_ros.control.ticker import GridTicker, ImageTicker, Ticker
from sarnn_ros.control.watchdogs import Findings, FormatWatch, ObservationWatch
from sarnn_ros.errors import DecodeError, SarnnError
from sarnn_ros.policy.directory import PolicyConfig
from sarnn_ros.ros import graph_watch
from sarnn_ros.ros.diagnostics import Diagnostics
from sarnn_ros.ros.graph_watch import GraphWatch
from sarnn_ros.ros.parameters import ParameterServer
from sarnn_ros.ros.sender import CommandSender
from sarnn_ros.ros.sensors import Sensors
from sarnn_ros.ros.spinning import initialise, spin
from sarnn_ros.ros.viewer import Viewer
from sarnn_ros.signals import stop_on_signals
from sarnn_ros.streams.observe import ObservationBuffer

RCLError = rclpy_implementation.RCLError

#: The same message is not logged again within this time.
LOG_INTERVAL_S = 5.0
#: What a callback under way gets to finish when the process is to end, s.
CALLBACK_SECONDS = 1.5


class InferenceNode(LifecycleNode):
    """See the module.

    :param on_tick: sees every `Tick`, on the control thread, after its command was sent. For
        tests (what exactly did the policy see?) and for those who embed the node.
    """

    def __init__(
        self,
        node_name: str = "sarnn",
        *,
        on_tick: Callable[[Tick], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(node_name, **options)
        self._survive_invalid_transitions()
        self._parameter_server = ParameterServer(self, self._parameters_change)
        self._observer = on_tick
        self._logged: dict[str, float] = {}
        self._fault_log = FaultLog(self._log_once)
        self.controller: Controller | None = None
        self.buffer: ObservationBuffer | None = None
        self._ticker: Ticker | None = None
        self._streamer: Streamer | None = None
        self._viewer: Viewer | None = None
        self._diagnostics = Diagnostics(self)
        self._reminder = Reminder(self.get_logger().info)
        self._sensors: Sensors | None = None
        self._sender: CommandSender | None = None
        self._graph_timer: Any = None
        self._handles: list[Any] = []  # others that cleanup destroys
        for name, serve in (("start", self._start), ("stop", self._stop), ("reset", self._reset)):
            self.create_service(Trigger, f"~/{name}", serve)
        # What must go on when the ROS clock has stopped, above all to say so.
        self._steady = RclClock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=self._steady)
        self._news = self.create_guard_condition(self._publish_diagnostics)

    @property
    def parameters(self) -> NodeParameters:
        """The parameters as of configure, with later changes of the live ones."""
        return self._parameter_server.current

    @property
    def autostart(self) -> bool:
        """Whether to configure and activate at start-up. Also with a value that is no bool:
        configure then says so, where an idle process would say nothing."""
        wrong = self._parameter_server.is_wrong("autostart")
        return wrong or bool(self.get_parameter("autostart").value)

    @property
    def state(self) -> str:
        """Lifecycle state: unconfigured, inactive, active or finalized."""
        return str(self._state_machine.current_state[1])

    def now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _simulated(self) -> bool:
        return bool(self.get_clock().ros_time_is_active)

    # -- lifecycle ------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("configure", partial(self._configure, state))

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("activate", partial(self._activate, state))

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("deactivate", partial(self._deactivate, state))

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("cleanup", partial(self._cleanup, state))

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transition("shutdown", partial(self._cleanup, state))

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a failed transition the node is unconfigured, whatever was half done."""
        return self._transition("error", partial(self._cleanup, state))

    def _transition(self, name: str, work: Callable[[], None]) -> TransitionCallbackReturn:
        # rclpy swallows exceptions of these callbacks without a word.
        try:
            work()
        except SarnnError as error:
            self.get_logger().error(f"{name} failed: {error}")
            self._release()
            self._diagnostics.problem = error.problem
            # FAILURE, unlike ERROR, leads back to where a configure came from.
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f"{name} failed:\n{traceback.format_exc()}")
            self._diagnostics.problem = f"{name} failed with an unexpected error: see the log"
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _configure(self, state: LifecycleState) -> None:
        """Load, check and warm up; connect the sensors. Slow on purpose, so that activate is not.

        :raises SarnnError: for parameters or a policy that will not do; nothing is left behind.
        """
        started = time.monotonic()
        parameters = self._parameter_server.read()
        policy = load_policy(parameters)
        spec, envelope = policy.spec, policy.config.envelope
        interval_ns = command_interval_ns(parameters, spec)
        topics = command_topics(parameters, spec)
        check_topics(spec, topics, self.resolve_topic_name, self.get_namespace())
        self._unlimited = ""
        limits = guard_limits(parameters, spec, envelope, warn=self._warn_unlimited)
        gripper = two_valued_gripper(parameters, spec, limits)
        guard = CommandGuard(with_gripper(limits, gripper), spec.command_names)
        at_once = () if gripper is None else gripper.indices
        health_image = parameters.health.image and policy.config.health is not None
        sizes = {name: (c.width, c.height) for name, c in envelope.cameras.items()}
        self.buffer = buffer = ObservationBuffer(spec, self.resolve_topic_name, sizes)
        self._sender = sender = CommandSender(
            self,
            topics,
            spec.command_names,
            gripper,
            period_ns=spec.period_ns,
            now_ns=self.now_ns,
        )
        self._graph = GraphWatch(self, spec, lambda: self.parameters, sender.publishers)
        self._scene = SceneWatch(
            policy.config, lambda: self.parameters, partial(self._log_once, "warning")
        )
        self._viewer = viewer = Viewer(self, policy.config)
        self._streamer = streamer = Streamer(
            spec.period_ns,
            interval_ns,
            parameters.interpolation,
            guard,
            now_ns=self.now_ns,
            present=partial(_commanded, buffer),
            send=sender.send,
            on_error=self._tick_failed,
            simulated=self._simulated,
            at_once=at_once,
        )
        self.controller = Controller(
            policy,
            buffer,
            guard,
            lambda: self.parameters,
            now_ns=self.now_ns,
            streamer=streamer,
            sequence=start_sequence(
                parameters.start,
                *start_box(spec, envelope),
                guard.limits,
                spec.period_ns * 1e-9,
                at_once,
            ),
            want_image=lambda: health_image or viewer.wants_image(),
            watch=ObservationWatch(
                parameters.watch,
                spec.period_ns,
                sizes,
                list(spec.command_indices),
                spec.command_names,
                guard.limits.max_step,
            ),
            elsewhere=self._findings,
            on_tick=self._after_tick,
        )
        kind: Callable[..., Ticker] = GridTicker
        if spec.trigger is not None:
            kind = partial(ImageTicker, max_age_ns=spec.trigger.max_age_ns)
        self._ticker = ticker = kind(
            spec.period_ns,
            self.now_ns,
            self.controller.tick,
            self._tick_failed,
            simulated=self._simulated,
            on_start=self._schedule_control,
        )

        def clock_moved(_: Any) -> None:
            ticker.clock_moved()
            streamer.clock_moved()

        self._handles.append(
            self.get_clock().create_jump_callback(
                JumpThreshold(
                    min_forward=Duration(nanoseconds=1),
                    min_backward=Duration(nanoseconds=-1),
                    on_clock_change=True,
                ),
                post_callback=clock_moved,
            )
        )
        self._formats = FormatWatch(lambda: buffer.images_since_ns)
        self._sensors = Sensors(
            self,
            buffer,
            self._formats,
            parameters.reliability,
            now_ns=self.now_ns,
            arrived=self._graph.arrived,
            image_tick=ticker.image,
            void=self._message_void,
        )
        self._await_description(policy.config, guard)
        self._graph_timer = self.create_timer(
            graph_watch.PERIOD, self._graph.look, clock=self._steady
        )
        super().on_configure(state)
        self._parameter_server.lock(True)
        self._diagnostics.configured(policy.config, self.controller, self._graph, self._scene)
        # A full collection looks at all that was imported, 10 to 20 ms long, and may come in the
        # middle of a tick. What is here now stays: the collector need not look at it again.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self.get_logger().info(
            f"configured in {time.monotonic() - started:.1f} s: policy '{parameters.policy}', "
            f"{spec.rate:g} Hz, joints {', '.join(spec.command_names)}"
        )

    def _activate(self, state: LifecycleState) -> None:
        assert self.controller is not None and self._ticker is not None
        assert self._viewer is not None and self._streamer is not None
        assert self._sender is not None
        super().on_activate(state)
        self._forget()
        self._sender.reset()
        self._graph.look()
        start = self.parameters.start_on_activate
        latched = self.controller.activate(start=start)
        self._viewer.start()
        self._streamer.start()
        self._ticker.start()
        waiting = "" if start else ", waiting for ~/start"
        if latched:
            waiting = f", and still faulted: {latched[0].text}; call ~/reset, then ~/start"
        self.get_logger().info(f"active{', dry run' * self.parameters.dry_run}{waiting}")

    def _forget(self) -> None:
        """What was seen before, and what is still on its way: it may be what latched, and nothing
        begins from it."""
        assert self.buffer is not None
        self.buffer.clear(self.now_ns())
        self._formats.reset()
        self._scene.reset()

    def _schedule_control(self) -> None:
        parameters = self.parameters
        for text in schedule_this_thread(parameters.cpu_affinity, parameters.realtime_priority):
            self.get_logger().warning(text)

    def _deactivate(self, state: LifecycleState) -> None:
        self.halt()
        super().on_deactivate(state)

    def halt(self) -> None:
        """Stop commanding, the hold sent; then end the threads."""
        if self.controller is not None:
            self.controller.stop()
        for part in (self._ticker, self._streamer):
            if part is not None:
                part.stop()
        if self._viewer is not None:
            self._viewer.stop()

    def _cleanup(self, state: LifecycleState) -> None:
        self._release()

    def _release(self) -> None:
        """Give back whatever configure made, all of it or part."""
        self.halt()
        self._parameter_server.lock(False)
        self._diagnostics.cleaned_up()
        if self._graph_timer is not None:
            self.destroy_timer(self._graph_timer)
            self._graph_timer = None
        for handle in self._handles:
            if hasattr(handle, "unregister"):
                handle.unregister()
            else:
                self.destroy_subscription(handle)
        self._handles.clear()
        for part in (self._sensors, self._viewer, self._sender):
            if part is not None:
                part.destroy()
        self._sensors = self._sender = None
        self.controller = self.buffer = self._ticker = self._viewer = None
        self._streamer = None

    def close(self) -> None:
        """Stop in order, whatever the state: for signals. Never raises."""
        with contextlib.suppress(Exception):
            if self.state == "active":
                self.trigger_deactivate()
        with contextlib.suppress(Exception):
            self._release()

    def _survive_invalid_transitions(self) -> None:
        # In Jazzy a request that the state does not allow raises through the executor: the node
        # would die, and the caller would wait for ever.
        service = self._service_change_state
        answer = service.callback

        def change_state(request: Any, response: Any) -> Any:
            try:
                return answer(request, response)
            except RCLError as error:
                self.get_logger().warning(
                    f"transition {request.transition.id} refused while {self.state}: {error}"
                )
                response.success = False
                return response

        service.callback = change_state

    def _await_description(self, config: PolicyConfig, guard: CommandGuard) -> None:
        parameters, spec = self.parameters, config.spec
        topic = parameters.robot_description_topic
        self._description: DescriptionWatch | None = None
        if not topic:
            return

        def resolve(text: str) -> GuardLimits:
            limits = guard_limits(
                parameters, spec, config.envelope, text, warn=self._warn_unlimited
            )
            return with_gripper(limits, two_valued_gripper(parameters, spec, limits))

        self._description = watch = DescriptionWatch(
            self.resolve_topic_name(topic), resolve, guard
        )
        qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._handles.append(
            self.create_subscription(String, topic, lambda text: watch.take(text.data), qos)
        )

    def _warn_unlimited(self, text: str) -> None:
        # Once: a description may be published again and again.
        if text != self._unlimited:
            self.get_logger().warning(text)
        self._unlimited = text

    def _findings(self) -> Findings:
        findings = Findings(soft=dict(self._graph.faults), hard=self._formats.changed)
        findings.update(self._scene.findings())
        if self._description is not None:
            findings.update(self._description.findings())
        return findings

    def _message_void(self, topic: str, error: DecodeError) -> None:
        self._log_once("warning", f"void:{topic}", f"a message on '{topic}' is void: {error}")

    # -- the control thread's calls -------------------------------------------------------------

    def _after_tick(self, tick: Tick) -> None:
        assert self.controller is not None
        self._fault_log.see(tick.changes, self.controller.faults.active)
        if tick.ramp_aborted:
            self._log_once(
                "error", "ramp", "the ramp to the start pose was interrupted; call ~/start"
            )
        if tick.changes.appeared or tick.changes.recovered:
            self._news.trigger()
        self._scene.see(tick)
        if self._viewer is not None:
            parameters = self.parameters
            summary = summarise(self.controller, dry_run=parameters.dry_run)
            self._viewer.show(tick, self._scene.health, summary, parameters.health.warn_above)
        if self._observer is not None:
            self._observer(tick)

    def _tick_failed(self, error: Exception) -> None:
        assert self.controller is not None
        text = f"a tick failed: {error}"
        self.controller.faults.update(self.now_ns(), None, {"internal": text})
        self._news.trigger()
        trace = "".join(traceback.format_exception(error))
        self._log_once("error", "internal", f"{text}; nothing is commanded until ~/reset\n{trace}")

    def _log_once(self, level: str, code: str, text: str) -> bool:
        """Unless something of that code was logged just now. Returns whether it is logged."""
        now = time.monotonic()
        if now - self._logged.get(code, -LOG_INTERVAL_S) < LOG_INTERVAL_S:
            return False
        self._logged[code] = now
        # One line each: rclpy refuses two severities from the same line of code.
        if level == "error":
            self.get_logger().error(text)
        elif level == "warning":
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)
        return True

    # -- services, parameters, diagnostics ------------------------------------------------------

    def _start(self, _: Any, response: Any) -> Any:
        def work() -> str:
            assert self.controller is not None
            self._graph.look()
            self.controller.start()
            return "started"

        return self._serve(work, response)

    def _stop(self, _: Any, response: Any) -> Any:
        def work() -> str:
            assert self.controller is not None
            self.controller.stop()
            return "stopped"

        return self._serve(work, response)

    def _reset(self, _: Any, response: Any) -> Any:
        def work() -> str:
            assert self.controller is not None
            # Before the reset: a tick between would latch again what it still finds.
            self._forget()
            latched = self.controller.faults.latched
            if self._description and any(fault.code == description.CODE for fault in latched):
                self._description.accept()
            latched = self.controller.reset()
            if not latched:
                return "reset"
            return f"reset, cleared: {', '.join(fault.code for fault in latched)}; call ~/start"

        return self._serve(work, response)

    def _serve(self, work: Callable[[], str], response: Any) -> Any:
        if self.state != "active":
            response.success, response.message = False, f"the node is {self.state}, not active"
            return response
        try:
            response.success, response.message = True, work()
        except RuntimeError as error:
            response.success, response.message = False, str(error)
        self.get_logger().info(response.message)
        self._news.trigger()
        return response

    def _parameters_change(self, after: NodeParameters) -> None:
        """From a dry run the robot must not begin to move by itself, half-way into the motion; and
        what goes into one must not leave it on its way to somewhere."""
        if after.dry_run == self.parameters.dry_run:
            return
        assert self.controller is not None
        if self.controller.running:
            self.controller.stop()
            self.get_logger().info(f"stopped: dry_run is {str(after.dry_run).lower()} now")
            self._news.trigger()

    def _publish_diagnostics(self) -> None:
        self._diagnostics.publish(self.state, self.parameters)
        self._reminder.see(*self._waits_for())

    def _waits_for(self) -> tuple[str, str]:
        """The state, and what it waits for; nothing while it commands."""
        controller = self.controller
        if self.state == "active" and controller is not None:
            summary = summarise(controller, dry_run=self.parameters.dry_run)
            if summary.level == "fine" and controller.running:
                return "commanding", ""
            return summary.level, f"{summary.text}: nothing is commanded"
        step = {
            "unconfigured": "configure it, then activate it (ros2 lifecycle set), or start the "
            "node with autostart:=true",
            "inactive": "activate it (ros2 lifecycle set)",
        }.get(self.state, "")
        return self.state, f"{self.state}, nothing is commanded: {step}" if step else ""


def _commanded(buffer: ObservationBuffer, time_ns: int) -> NDArray[np.float64] | None:
    """The commanded joints as measured last, (n,); None if that is not fresh."""
    joints = buffer.joints_at(time_ns)
    return None if joints is None else joints[list(buffer.spec.command_indices)]


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
        node.close()
        node.destroy_node()
        rclpy.try_shutdown()
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
