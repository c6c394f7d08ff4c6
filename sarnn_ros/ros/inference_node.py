# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `sarnn`: wires topics, services and transitions to the robot's side.

What is decided, and by which rule, is not here: see `control`. Its threads are in
docs/explanation/architecture.md. The executor is single-threaded: its callbacks take microseconds,
and a multi-threaded rclpy executor costs more than it gives.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from sarnn_ros.control.controller import Controller
from sarnn_ros.control.reminder import Reminder
from sarnn_ros.control.resolve import load_policy
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.state import MOVING, Refused, State, Status
from sarnn_ros.control.tick import Tick
from sarnn_ros.errors import PolicyError, SarnnError
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.ros.diagnostics import Diagnostics
from sarnn_ros.ros.lifecycle import SafeLifecycleNode
from sarnn_ros.ros.loading import PolicyLoader
from sarnn_ros.ros.parameters import ParameterServer
from sarnn_ros.ros.robot_side import RobotSide
from sarnn_ros.ros.run_action import RunServer
from sarnn_ros.ros.spinning import end_spinning, initialise, spin
from sarnn_ros.ros.throttle import ThrottledLog
from sarnn_ros.signals import stop_on_signals

#: How long a running callback may take to finish when the process is to end, s.
CALLBACK_SECONDS = 1.5
#: How long its node may take to be destroyed, s: a second on a busy machine.
DESTROYING_SECONDS = 10.0
#: How long DDS may take to deliver the last answer, s.
DELIVERY_SECONDS = 0.1


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
        self._side: RobotSide | None = None  # from configure to cleanup
        self._sides = 0  # so many there have been
        self._beside = 0  # the number of the one that a policy is being loaded beside
        self._hung = False  # a policy of before does not return
        self._diagnostics = Diagnostics(self)
        self._reminder = Reminder(self.get_logger().info)
        # When the ROS clock has stopped, diagnostics go on, and say so.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=self._steady)
        self._news = self.create_guard_condition(self._publish_diagnostics)
        for name, work in (("start", self._start), ("stop", self._stop), ("reset", self._reset)):
            self.create_service(Trigger, f"~/{name}", partial(self._serve, work))
        self.create_service(
            SetBool,
            "~/takeover",
            lambda asked, answer: self._serve(partial(self._take_over, asked.data), asked, answer),
        )
        self._loader = PolicyLoader(self, self._may_load, self._replace, self._news.trigger)
        self._runs = RunServer(
            self,
            self._steady,
            self._prepare_run,
            self._start_run,
            lambda: self.controller,
            self.status,
        )

    @property
    def controller(self) -> Controller | None:
        """That of the policy in force, from configure to cleanup."""
        return None if self._side is None else self._side.controller

    @property
    def hung(self) -> bool:
        """Whether the thread of a policy, in force or of before, does not end."""
        return self._hung or (self.controller is not None and self.controller.hung)

    @property
    def loading(self) -> bool:
        """Whether a `~/load` is going on."""
        return self._loader.loading is not None

    @property
    def settings(self) -> Settings:
        """The parameters as of configure, with later changes of the live ones."""
        return self._parameter_server.current

    @property
    def autostart(self) -> bool:
        """Whether to configure and activate at start-up. Also with a value that is no bool:
        configure then says so, where an idle process would say nothing."""
        wrong = "autostart" in self._parameter_server.wrong
        return wrong or bool(self.get_parameter("autostart").value)

    def status(self) -> Status:
        """What it is doing, and why."""
        if self.controller is not None:
            return self.controller.status()
        return Status(State.FINALIZED if self.state == "finalized" else State.UNCONFIGURED)

    # -- lifecycle ------------------------------------------------------------------------------

    def configure(self) -> None:
        """Load, check and warm up; connect the sensors. Slow on purpose, so that activate is not.

        :raises SarnnError: wrong parameters, an unusable policy, or one of before that hangs;
            everything made so far is released.
        """
        if self.hung:
            raise PolicyError(
                "the policy of before has not returned, and is still running",
                remedy="end this process and start it again",
            )
        started = time.monotonic()
        settings = self._parameter_server.current = self._parameter_server.read()
        self._use(self._connect(load_policy(settings), settings))
        self._parameter_server.locked = True
        self.get_logger().info(
            f"configured in {time.monotonic() - started:.1f} s: {self._in_force()}"
        )

    def _connect(self, policy: Policy, settings: Settings) -> RobotSide:
        return RobotSide(
            self,
            policy,
            Path(settings.policy).name,
            lambda: self.settings,
            log=self._log,
            steady=self._steady,
            changed=self._news.trigger,
            on_tick=self._on_tick,
        )

    def _use(self, side: RobotSide) -> None:
        self._side = side
        self._sides += 1
        self._diagnostics.configured(side.config, side.controller, side.graph, side.grippers)
        # A full collection looks at all that was imported, 10 to 20 ms long, and may come in the
        # middle of a tick. What is here now stays: the collector need not look at it again.
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def _in_force(self) -> str:
        assert self._side is not None
        spec = self._side.config.spec
        joints = ", ".join(spec.command_names)
        return f"policy '{self.settings.policy}', {spec.rate:g} Hz, joints {joints}"

    def activate(self) -> None:
        self._activate(start=self.settings.start_on_activate and not self.loading)

    def _activate(self, *, start: bool) -> None:
        assert self._side is not None
        self._side.activate(start=start)
        status = self.status()
        how = f"ros2 service call {self.get_fully_qualified_name()}/start std_srvs/srv/Trigger"
        how = f" (to move the arm: {how})" if status.state is State.STOPPED else ""
        self.get_logger().info(f"active: {status.text}{how}")

    def halt(self) -> None:
        """Stop commanding, the hold sent; then end the threads."""
        self._runs.stop()
        if self._side is not None:
            self._side.halt()
        # The goal has ended, also if the node is activated before it is looked at again.
        self._runs.look()

    def await_result(self, timeout_s: float) -> None:
        """After `halt`, while callbacks run in another thread: until the caller of `~/run` has its
        result."""
        if not self._runs.ever_taken:
            return
        end = time.monotonic() + timeout_s
        while self._runs.has_begun and time.monotonic() < end:
            self._news.trigger()
            time.sleep(0.01)
        # It leaves in one of the executor's next two passes, and is lost if its writer goes before
        # DDS has delivered it.
        for _ in range(2):
            passed = threading.Event()
            self.executor.create_task(passed.set)
            passed.wait(max(end - time.monotonic(), 0.0))
        time.sleep(DELIVERY_SECONDS)

    def release(self) -> None:
        """Give back whatever configure made."""
        self._parameter_server.locked = False
        self._diagnostics.cleaned_up()
        if self._side is not None:
            self._side.release()
            self._hung |= self._side.controller.hung
        self._side = None

    def failed(self, problem: str) -> None:
        self._diagnostics.problem = problem

    def close(self) -> None:
        """Stop in order, whatever the state: for signals. Never raises."""
        with suppress(Exception):
            if self.state == "active":
                self.trigger_deactivate()
        with suppress(Exception):
            self.release()

    # -- services -------------------------------------------------------------------------------

    def _serve(self, work: Callable[[Controller], str], _: Any, response: Any) -> Any:
        if self.controller is None or self.state != "active":
            response.success, response.message = False, self.status().text
            return response
        try:
            response.success, response.message = True, work(self.controller)
        except RuntimeError as error:
            response.success, response.message = False, str(error)
        self.get_logger().info(response.message)
        self._news.trigger()
        return response

    def _start(self, controller: Controller) -> str:
        if self._runs.in_progress:
            raise Refused("a goal of ~/run is in progress: cancel it, or call ~/stop, first")
        return self._begin_run(0.0)

    def _refuse_while_loading(self) -> None:
        if self.loading:
            raise Refused("a policy is being loaded: wait for the answer of ~/load")

    def _begin_run(self, limit_s: float) -> str:
        self._refuse_while_loading()
        assert self._side is not None
        self._side.graph.look()
        self._side.controller.start(limit_s)
        for gripper in self._side.grippers:
            gripper.forget()
        return f"started: {self.status().text}"

    def _stop(self, controller: Controller) -> str:
        self._runs.stop()
        controller.stop()
        return controller.status().text

    def _reset(self, controller: Controller) -> str:
        cleared = ", ".join(fault.code for fault in controller.reset())
        return f"reset{cleared and f', cleared: {cleared}'}: {controller.status().text}"

    def _take_over(self, led: bool, controller: Controller) -> str:
        controller.take_over(led)
        return f"{'a person' if led else 'the policy'} leads from the next tick on"

    # -- the action ~/run -----------------------------------------------------------------------

    async def _prepare_run(self, policy: str, wanted: Callable[[], bool]) -> None:
        """Put the policy of a goal in force.

        :raises SarnnError, Refused: it cannot be, or is no longer wanted; the one in force stays.
        """
        self._refuse_while_loading()
        before = self.settings.policy
        if policy in ("", before):
            return
        self._name_policy(policy)
        try:
            await self._loader.load(wanted)
        except (SarnnError, Refused):
            if self.get_parameter("policy").value == policy:
                self._name_policy(before)
            raise

    def _name_policy(self, policy: str) -> None:
        (result,) = self.set_parameters([Parameter("policy", value=policy)])
        if not result.successful:
            raise Refused(result.reason)

    def _start_run(self, limit_s: float) -> None:
        if self.state != "active":
            raise Refused(self.status().text)
        self.get_logger().info(f"~/run: {self._begin_run(limit_s)}")

    # -- another policy -------------------------------------------------------------------------

    def _may_load(self) -> Settings:
        """What `~/load` is to load.

        :raises Refused: nothing is configured, or the robot is started.
        """
        if self.controller is None:
            raise Refused(self.status().text)
        self.controller.may_load()
        self._beside = self._sides
        return self._parameter_server.read()

    def _replace(self, policy: Policy, settings: Settings) -> str:
        """Let the policy take the place of the one in force. Nothing moves before `~/start`, and a
        latched fault stays latched.

        :raises ConfigError: settings that contradict it; the one in force stays.
        :raises Refused: likewise, for what happened since `_may_load`.
        """
        old = self._side
        if old is None:
            raise Refused(f"the node was cleaned up meanwhile; {self.status().text}")
        if self._sides != self._beside:
            raise Refused("the node was cleaned up and configured anew meanwhile")
        old.controller.may_load()
        new = self._connect(policy, settings)
        if not old.halt():
            new.release()
            raise Refused("the policy in force does not return: restart the node")
        for fault in old.controller.faults.latched:
            new.controller.latch(fault.code, fault.text)
        new.adopt_grippers(old)
        old.release()
        del old  # or `_use` would keep it from being collected
        self._parameter_server.loaded(settings)
        self._use(new)
        if self.state == "active":
            self.enable_publishers()
            self._activate(start=False)
        return f"loaded: {self._in_force()}; {self.status().text}"

    # -- parameters and diagnostics -------------------------------------------------------------

    def _settings_change(self, after: Settings) -> None:
        """Stop when `dry_run` changes: at the end of a dry run the robot must not begin to move in
        the middle of a motion, and at its beginning it must not keep moving to its last command.
        """
        if self.controller is None:
            return
        now = self.settings
        if (after.policy, after.policy_sha256) != (now.policy, now.policy_sha256):
            self.controller.may_load()
        limits = after.guard != now.guard
        if limits:  # what is refused must not have stopped the run
            self.controller.check_limits(after)
        if after.dry_run != now.dry_run:
            self._runs.stop()
            if self.controller.started:
                self.controller.stop()
                self.get_logger().info(f"stopped: dry_run is set to {str(after.dry_run).lower()}")
        if limits:
            self.controller.change_limits(after)
        self._news.trigger()

    def _publish_diagnostics(self) -> None:
        self._runs.look()
        status = self.status()
        self._diagnostics.publish(status, self.state, self.settings, self._loader.loading)
        waits = status.state not in MOVING or status.level == "faulted"
        self._reminder.see(status.name, f"{status.text}; nothing is commanded" if waits else "")


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT, SIGQUIT, SIGTERM or SIGHUP.

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
        failed = threading.Event()
        if node.autostart:
            # In the executor: a policy that never finishes its warm-up must not keep us here.
            executor.create_task(_autostart, node, stop, failed)
        ended = threading.Event()

        def work() -> None:
            spin(executor, node, ended)
            stop.set()

        spinner = threading.Thread(target=work, name="executor", daemon=True)
        spinner.start()
        stop.wait()
        node.halt()
        node.await_result(CALLBACK_SECONDS)
        ended.set()
        if not end_spinning(executor, spinner, CALLBACK_SECONDS):
            # Most likely it loads a policy; whatever it is, the robot holds and nothing is lost.
            node.get_logger().warning("ended in the middle of a callback")
            os._exit(1)
        hung = node.hung
        # Fast DDS 2.14 can wait for ever for a node that goes while it discovers others, and holds
        # Python's lock meanwhile. This ends the process without that lock.
        faulthandler.dump_traceback_later(DESTROYING_SECONDS, exit=True)
        node.close()
        node.destroy_node()
        rclpy.try_shutdown()
        faulthandler.cancel_dump_traceback_later()
        # The interpreter would abort on a thread that is still in the network.
        if hung or node.loading:
            os._exit(1)
    return int(failed.is_set())


def _autostart(node: InferenceNode, stop: threading.Event, failed: threading.Event) -> None:
    for trigger in (node.trigger_configure, node.trigger_activate):
        if not stop.is_set() and trigger() != TransitionCallbackReturn.SUCCESS:
            failed.set()
            stop.set()


if __name__ == "__main__":
    sys.exit(main())
