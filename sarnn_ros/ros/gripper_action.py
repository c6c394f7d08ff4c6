# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A two-valued gripper that is commanded by an action. Whether it is to be open or closed is
decided in `control`; here that becomes one goal at a time.

Some servers let a new goal replace the one in progress, others carry out both at once. So a goal
that is no longer wanted is cancelled, and the next one is sent when it has ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from action_msgs.msg import GoalStatus
from action_msgs.srv import CancelGoal
from rclpy.action import ActionClient
from rclpy.node import Node

from sarnn_ros.control.outlet import steady_ns
from sarnn_ros.ros.messages import message_class

#: So long a server may take to answer a goal, or to end one that is cancelled, s.
ANSWER_SECONDS = 3.0
#: A goal that has not ended for so long is told: a controller that was switched off takes goals,
#: and never ends them, s.
LONG_SECONDS = 10.0


@dataclass(frozen=True)
class Ends:
    """What a goal is made of.

    :param joint: of the gripper; it alone is commanded.
    :param opened, closed: rad or m.
    :param effort, velocity: at most, N or Nm and rad/s or m/s; 0: not said.
    """

    joint: str
    opened: float
    closed: float
    effort: float
    velocity: float

    def is_closed(self, position: float) -> bool:
        return abs(position - self.closed) < abs(position - self.opened)


@dataclass(frozen=True)
class Result:
    """What all types of action say in the end.

    :param where: for a person, what the server measured.
    """

    reached: bool
    stalled: bool
    where: str


@dataclass(frozen=True)
class Kind:
    """How a type of action says it.

    :param name: of the type.
    :param suffix: of the action's name.
    :param fill: writes a position into a goal.
    :param read: its result.
    """

    name: str
    suffix: str
    fill: Callable[[Any, float, Ends], None]
    read: Callable[[Any], Result]


def _gripper_command(goal: Any, position: float, ends: Ends) -> None:
    goal.command.position, goal.command.max_effort = position, ends.effort


def _parallel_command(goal: Any, position: float, ends: Ends) -> None:
    goal.command.name, goal.command.position = [ends.joint], [position]
    goal.command.velocity = [ends.velocity] if ends.velocity else []
    goal.command.effort = [ends.effort] if ends.effort else []


def _franka_move(goal: Any, position: float, ends: Ends) -> None:
    # Both fingers move: their distance and its speed are twice those of the joint.
    goal.width, goal.speed = 2.0 * position, 2.0 * ends.velocity


def _franka_grasp(goal: Any, position: float, ends: Ends) -> None:
    _franka_move(goal, position, ends)
    goal.force = ends.effort
    # Whatever is between the fingers: with less it lets go of what is wider than expected.
    goal.epsilon.inner = goal.epsilon.outer = 2.0 * abs(ends.opened - ends.closed)


def _read_flags(result: Any) -> Result:
    where = f"at {result.position:.4g}"
    return Result(result.reached_goal, result.stalled, where)


def _read_state(result: Any) -> Result:
    where = "".join(f"at {position:.4g}" for position in result.state.position[:1])
    return Result(result.reached_goal, result.stalled, where)


def _read_success(result: Any) -> Result:
    return Result(result.success, False, result.error)


_GRIPPER = Kind("control_msgs/action/GripperCommand", "", _gripper_command, _read_flags)
_PARALLEL = Kind("control_msgs/action/ParallelGripperCommand", "", _parallel_command, _read_state)
#: By `gripper.interface`: how it is opened, and how it is closed.
KINDS: dict[str, tuple[Kind, Kind]] = {
    "gripper_command": (_GRIPPER, _GRIPPER),
    "parallel_gripper_command": (_PARALLEL, _PARALLEL),
    "franka_grasp": (
        Kind("franka_msgs/action/Move", "/move", _franka_move, _read_success),
        Kind("franka_msgs/action/Grasp", "/grasp", _franka_grasp, _read_success),
    ),
}


def _now() -> float:
    return steady_ns() * 1e-9


@dataclass
class _Goal:
    """One that was sent and has not ended.

    :param deadline: of the answer that is waited for, by `_now`.
    :param awaited: answers that have not come yet, by what takes them.
    :param overdue: it was told that it takes long.
    """

    position: float
    kind: Kind
    deadline: float
    handle: Any = None
    cancelled: bool = False
    overdue: bool = False
    since: float = field(default_factory=_now)
    awaited: dict[_Take, Any] = field(default_factory=dict)


#: What takes an answer.
_Take = Callable[["GripperAction", _Goal, Any], None]


class GripperAction:
    """See the module. `want` may be called from any thread, all else in the executor's.

    :param name: of the action, before remapping.
    :param late_s: a goal that is later than this after it was last wanted is not sent, s.
    :param permission: whether the robot may be commanded, for as long as it is entered.
    :param latch: latches a fault, by code and text.
    :raises EnvironmentProblem: the type of the action is not installed.
    :ivar topic_name: the full name of the action.
    :ivar news: whether all is well with it, and what it does or did last.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        interface: str,
        ends: Ends,
        late_s: float,
        permission: Callable[[], AbstractContextManager[bool]],
        latch: Callable[[str, str], None],
    ) -> None:
        self._node, self._log = node, node.get_logger()
        self.ends, self._late_s = ends, late_s
        self._permission, self._latch = permission, latch
        # By the rules for topics: rcl has none for the names of actions.
        self.topic_name = node.resolve_topic_name(name)
        classes = {kind: message_class(kind.name) for kind in KINDS[interface]}
        self._opens, self._closes = KINDS[interface]
        self._goal_types = {kind: one.Goal for kind, one in classes.items()}
        self._clients: Mapping[Kind, ActionClient] = {
            kind: ActionClient(node, one, self.topic_name + kind.suffix)
            for kind, one in classes.items()
        }
        self._wake = node.create_guard_condition(self._work)
        self._wanted = (math.nan, -math.inf)  # position, and when that was said last
        self._told: float | None = None  # by the last goal that counts
        self._goal: _Goal | None = None
        self.news = (True, "not commanded yet")

    def want(self, position: float) -> None:
        """Have the gripper at one of its ends, rad or m."""
        self._wanted = (position, _now())
        if position != self._told:
            self._wake.trigger()

    def forget(self) -> None:
        """Somebody else may have moved it: it is told again."""
        self._told = None

    def get_subscription_count(self) -> int:
        """1 if there is a server, as a publisher of commands would say it."""
        return int(all(client.server_is_ready() for client in self._clients.values()))

    def look(self) -> None:
        """Whether the server still answers; to be called every so often."""
        goal = self._goal
        if goal is None:
            if self._told is not None and not self.get_subscription_count():
                self._told = None
                self._say("warning", "its action server has gone: it is told again")
            return
        if not self._clients[goal.kind].server_is_ready():
            self._goal = self._told = None
            self._say("warning", "its action server has gone: what became of the goal is unknown")
        elif _now() > goal.deadline:
            what = "end the goal that was cancelled" if goal.cancelled else "answer a goal"
            self._give_up(f"did not {what} within {ANSWER_SECONDS:g} s")
        elif not goal.overdue and _now() > goal.since + LONG_SECONDS:
            goal.overdue = True
            self._say(
                "warning",
                f"{self._verb(goal)} to {goal.position:g} for {LONG_SECONDS:g} s already: is its "
                "controller switched off?",
            )

    def adopt(self, before: GripperAction) -> None:
        """A goal of the policy before that is still in progress is this one's from now on, so that
        no second one is sent beside it. To be called before that one is destroyed."""
        goal = before._goal
        kinds = self._opens, self._closes
        if goal is None or self._goal is not None or kinds != (before._opens, before._closes):
            return
        self._goal, before._goal = goal, None
        self._clients, before._clients = before._clients, self._clients
        for take, answer in list(goal.awaited.items()):
            self._await(goal, answer, take)

    def destroy(self) -> None:
        """The goal in progress goes on: what the gripper holds is not dropped."""
        self._goal = None
        self._node.destroy_guard_condition(self._wake)
        for client in self._clients.values():
            client.destroy()

    def _work(self) -> None:
        """Send what is wanted, unless it was told before; or cancel what is wanted no longer."""
        (position, said), goal = self._wanted, self._goal
        if position == self._told or _now() - said > self._late_s:
            return
        if goal is None:
            self._send(position)
        elif goal.position == position and not goal.cancelled:
            self._told = position
        elif goal.handle is not None and not goal.cancelled:
            self._cancel(goal)

    def _send(self, position: float) -> None:
        kind = self._closes if self.ends.is_closed(position) else self._opens
        message = self._goal_types[kind]()
        kind.fill(message, position, self.ends)
        client = self._clients[kind]
        if not client.server_is_ready():
            return  # the graph watch says so, and the next command asks again
        with self._permission() as may:
            if not may:
                return
            future = client.send_goal_async(message)
        self._goal = goal = _Goal(position, kind, _now() + ANSWER_SECONDS)
        self._told = position
        self._await(goal, future, GripperAction._answered)

    def _await(self, goal: _Goal, answer: Any, take: _Take) -> None:
        """Have an answer taken when it comes, if the goal is still in progress then."""
        goal.awaited[take] = answer
        answer.add_done_callback(partial(self._came, goal, take))

    def _came(self, goal: _Goal, take: _Take, answer: Any) -> None:
        if goal is self._goal:
            del goal.awaited[take]
            take(self, goal, answer)

    def _answered(self, goal: _Goal, future: Any) -> None:
        handle = future.result()
        if not handle.accepted:
            self._give_up(f"rejected the goal {goal.position:g}: does its log say why?")
            return
        goal.handle, goal.deadline = handle, math.inf
        self._say("info", f"{self._verb(goal)} to {goal.position:g}")
        self._await(goal, handle.get_result_async(), GripperAction._ended)
        self._work()  # something else may be wanted by now

    def _cancel(self, goal: _Goal) -> None:
        with self._permission() as may:
            if not may:
                return
            future = goal.handle.cancel_goal_async()
        goal.cancelled, goal.deadline = True, _now() + ANSWER_SECONDS
        self._await(goal, future, GripperAction._cancel_answered)

    def _cancel_answered(self, goal: _Goal, future: Any) -> None:
        answer = future.result()
        if answer.goals_canceling:
            return
        ended = (
            CancelGoal.Response.ERROR_UNKNOWN_GOAL_ID,
            CancelGoal.Response.ERROR_GOAL_TERMINATED,
        )
        if answer.return_code in ended:  # and its result is lost or on its way
            self._goal = self._told = None
            self._work()
        else:  # rejected; a server of rclpy calls that no error
            goal.deadline = math.inf
            self._say("warning", f"does not cancel: {self._verb(goal)} on, then the other way")

    def _ended(self, goal: _Goal, future: Any) -> None:
        self._goal = None
        answer = future.result()
        self._say(*self._judge(goal, answer.status, goal.kind.read(answer.result)))
        if goal.cancelled:
            self._told = None
            self._work()

    def _judge(self, goal: _Goal, status: int, result: Result) -> tuple[str, str]:
        """How the log says what became of a goal. What it holds keeps a gripper from closing, and
        its server may call that aborted: no fault."""
        state = "closed" if self.ends.is_closed(goal.position) else "open"
        if goal.cancelled:
            return "info", f"was to be {state}, and the opposite came meanwhile"
        if status == GoalStatus.STATUS_CANCELED:
            return "warning", (
                f"was to be {state}, and somebody else cancelled or replaced the goal: does "
                "another node command it?"
            )
        if result.reached:
            return "info", f"is {state}: {result.where or 'done'}"
        if result.stalled and state == "closed":
            return "info", f"stopped {result.where} on its way to {goal.position:g}: it holds it"
        why = "something blocks it" if result.stalled else "its server gave up"
        return "warning", f"is not {state}, {why}: {result.where or 'no reason was given'}"

    def _verb(self, goal: _Goal) -> str:
        return "closes" if self.ends.is_closed(goal.position) else "opens"

    def _give_up(self, text: str) -> None:
        self._goal = self._told = None
        text = f"the action server '{self.topic_name}' {text}"
        self.news = (False, text)
        self._latch("gripper_action", text)

    def _say(self, level: str, text: str) -> None:
        self.news = (level == "info", text)
        text = f"gripper {self.ends.joint}: {text}"
        # One line each: rclpy refuses two severities from the same line of code.
        if level == "info":
            self._log.info(text)
        else:
            self._log.warning(text)
