# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The action `~/run`: a run of a policy as behavior trees and other nodes start skills. Its type
is in the optional package sarnn_ros_msgs. It does what the services do."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.clock import Clock
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future

from sarnn_ros.control.controller import Controller
from sarnn_ros.control.state import LATCHED, STARTED, Refused, State, Status
from sarnn_ros.errors import EnvironmentProblem, SarnnError
from sarnn_ros.ros.messages import message_class

TYPE = "sarnn_ros_msgs/action/RunPolicy"
#: Between two feedbacks, s; an end is told at once, or so long after it.
FEEDBACK_SECONDS = 0.1
#: The run took as long as it was to take.
IN_TIME = ("run_timeout", "time_limit")


class End(NamedTuple):
    """How a run ended: what is called on the goal's handle, why, and after how long, s."""

    how: str
    code: str
    message: str
    elapsed: float = 0.0


class RunServer:
    """Offers `~/run` for as long as the node lives, where its type is installed.

    :param prepare: has a policy put in force, unless it is no longer wanted by then. Raises
        `SarnnError` or `Refused`.
    :param start: begins a run of at most so many seconds, 0: of any length. Raises `Refused`.
    :param controller: that of the policy in force, None: nothing is configured.
    :param status: what the node is doing.
    """

    def __init__(
        self,
        node: LifecycleNode,
        clock: Clock,
        prepare: Callable[[str, Callable[[], bool]], Awaitable[None]],
        start: Callable[[float], None],
        controller: Callable[[], Controller | None],
        status: Callable[[], Status],
    ) -> None:
        self._node, self._prepare, self._start = node, prepare, start
        self._controller, self._status = controller, status
        self._handle: Any = None  # of the goal in progress
        self._taken = self._runs = False  # a goal is accepted; its run is under way
        self._ever_taken = False
        self._stopped = False  # before it was
        self._simulated = False  # the time, when it was accepted
        self._end: Future | None = None
        try:
            self._class = message_class(TYPE)
        except EnvironmentProblem:
            return
        self._server = ActionServer(
            node,
            self._class,
            node.resolve_topic_name("~/run"),
            self._execute,
            goal_callback=self._judge,
            handle_accepted_callback=self._accepted,
            cancel_callback=self._cancel,
        )
        self._timer = node.create_timer(FEEDBACK_SECONDS, self.look, clock=clock)
        self._timer.cancel()

    @property
    def in_progress(self) -> bool:
        """Whether a goal is."""
        return self._taken

    @property
    def has_begun(self) -> bool:
        """Whether the run of a goal has, and it has not ended."""
        return self._runs

    @property
    def ever_taken(self) -> bool:
        """Whether a goal ever was: its result may be on its way after it has ended."""
        return self._ever_taken

    def stop(self) -> None:
        """A goal whose policy is still being loaded never begins."""
        self._stopped = self._taken and not self._runs

    def look(self) -> None:
        """Send feedback, or end the goal if its run has ended. To be called when something has
        changed."""
        if not self._runs or self._end is None or self._end.done():
            return
        controller = self._controller()
        elapsed = 0.0 if controller is None else controller.run_s
        # Before the status: it may end in between, and then the status says how.
        ended = controller is None or controller.state not in STARTED
        status = self._status()
        if controller is None or ended:
            self._end.set_result(_end_of(status, elapsed))
            return
        score = controller.parts.scene.health.score
        self._handle.publish_feedback(
            self._class.Feedback(
                state=status.state.value,
                code=status.code,
                message=status.reason,
                elapsed=elapsed,
                health=math.nan if score is None else score,
            )
        )

    def _judge(self, goal: Any) -> GoalResponse:
        log = self._node.get_logger()
        if self._taken:
            log.warning("~/run: a goal was rejected: another one is in progress, cancel it first")
            return GoalResponse.REJECT
        if not (math.isfinite(goal.time_limit) and goal.time_limit >= 0.0):
            log.warning(f"~/run: a goal was rejected: its time_limit is {goal.time_limit:g} s")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _accepted(self, handle: Any) -> None:
        # Only now: a goal whose answer cannot be sent is never executed.
        self._taken = self._ever_taken = True
        self._stopped = False
        self._simulated = self._node.get_clock().ros_time_is_active
        handle.execute()

    def _cancel(self, handle: Any) -> CancelResponse:
        controller = self._controller()
        if self._runs and controller is not None and controller.started:
            controller.stop()  # at once: the hold is sent before the answer
        return CancelResponse.ACCEPT

    async def _execute(self, handle: Any) -> Any:
        self._handle = handle
        try:
            end = await self._run(handle)
        except (SarnnError, Refused) as error:
            end = End("abort", "refused", str(error))
        finally:
            self._taken = self._runs = False
            self._timer.cancel()
        if handle.is_cancel_requested:
            end = end._replace(how="canceled", code="cancelled")
        self._node.get_logger().info(f"~/run ended, {end.code}: {end.message}")
        getattr(handle, end.how)()
        return self._class.Result(code=end.code, message=end.message, elapsed=end.elapsed)

    async def _run(self, handle: Any) -> End:
        goal = handle.request
        controller = self._controller()
        if controller is None or self._status().state in {State.INACTIVE, *LATCHED}:
            raise Refused(self._status().text)
        if controller.started:
            raise Refused(f"somebody else has started a run: {self._status().text}")
        try:
            await self._prepare(goal.policy, lambda: self._ended_before(handle) is None)
        except Refused:
            if self._ended_before(handle) is None:
                raise
        if end := self._ended_before(handle):
            return end
        self._start(goal.time_limit)
        self._end = Future(executor=self._node.executor)
        self._runs = True
        self._timer.reset()
        return await self._end

    def _ended_before(self, handle: Any) -> End | None:
        """How a goal ended that never began; None: it may begin."""
        if handle.is_cancel_requested:
            return End("canceled", "cancelled", "cancelled before it began")
        if self._stopped:
            why = "~/stop was called, it was deactivated, or dry_run changed, before"
            return End("abort", "stopped", why)
        if self._node.get_clock().ros_time_is_active != self._simulated:
            # Whoever sets it starts no robot.
            return End("abort", "stopped", "use_sim_time has changed before")
        return None


def _end_of(status: Status, elapsed: float) -> End:
    code = status.code
    if status.state is State.STOPPED:
        code = code or "stopped"
        how = "succeed" if code in IN_TIME else "abort"
        return End(how, code, status.reason or "~/stop was called, or dry_run changed", elapsed)
    return End("abort", code or status.state.value, status.text, elapsed)
