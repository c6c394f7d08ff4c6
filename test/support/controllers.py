# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for two controllers of ros2_control, and an arm behind them. No ROS here.

Of ros2_controllers 4.42 (Jazzy): which messages the controllers refuse, when they give a
trajectory up, and what they command in each cycle. They were compared with the real ones cycle by
cycle (docs/reference/quality.md): equal but for rounding, except for a command of another size
(`ForwardController`), and a partial goal before the first cycle, which the real one fills with
what is in memory. Not modelled: actions, accelerations and efforts in messages, tolerances of
velocity, speed scaling, wrapping joints, deceleration on cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
SECOND = 1_000_000_000
#: Of float32: the largest velocity that counts as rest.
EPSILON = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Parameters:
    """Of joint_trajectory_controller, with its defaults. Tolerances are rad or m by joint; 0 or
    none: not checked.

    :param trajectory: `constraints.<joint>.trajectory`; :param goal: `constraints.<joint>.goal`.
    :param command_interface: what the hardware takes.
    :param velocity_state: whether the hardware reports velocities.
    :param p, ff_velocity_scale: `gains.<joint>.…`, of a velocity interface.
    """

    joints: Sequence[str]
    allow_partial_joints_goal: bool = False
    allow_nonzero_velocity_at_trajectory_end: bool = False
    interpolate_from_desired_state: bool = False
    set_last_command_interface_value_as_state_on_activation: bool = True
    interpolation_method: Literal["splines", "none"] = "splines"
    cmd_timeout: float = 0.0
    goal_time: float = 0.0
    trajectory: Mapping[str, float] = field(default_factory=dict)
    goal: Mapping[str, float] = field(default_factory=dict)
    command_interface: Literal["position", "velocity"] = "position"
    velocity_state: bool = False
    p: float = 0.0
    ff_velocity_scale: float = 0.0


@dataclass(frozen=True)
class Point:
    """:param at_ns: a time, or in a trajectory that was not sampled yet, from its start.
    :param velocity: None where neither message nor hardware tells it.
    """

    at_ns: int
    position: Vector
    velocity: Vector | None


def nanoseconds(time: Any) -> int:
    """Of a Time or a Duration."""
    return int(time.sec) * SECOND + int(time.nanosec)


class TrajectoryController:
    """joint_trajectory_controller, as far as its topic goes.

    :param period_ns: of its updates.
    :ivar rejected: why messages were refused; :ivar given_up: why trajectories were.
    :ivar command: what is on the command interfaces: rad or m, or per s.
    """

    def __init__(self, parameters: Parameters, period_ns: int) -> None:
        self.parameters = parameters
        self.period_ns = period_ns
        self.active = False
        self.rejected: list[str] = []
        self.given_up: list[str] = []
        self.accepted = 0
        self.command = np.full(len(parameters.joints), np.nan)
        self._path, self._goal = (
            np.array([tolerances.get(name, 0.0) or np.inf for name in parameters.joints])
            for tolerances in (parameters.trajectory, parameters.goal)
        )

    def activate(self, position: Vector) -> None:
        """Hold the position, or what another controller commanded before."""
        takes_over = self.parameters.set_last_command_interface_value_as_state_on_activation
        if takes_over and self._positions and np.isfinite(self.command).all():
            position = self.command
        self._last = Point(0, position.copy(), None)
        self._hold(position)
        self._new: Any = None
        self.active = True

    def deactivate(self) -> None:
        """The subscription stays, and the last command on position interfaces."""
        self.active = False
        if not self._positions:
            self.command = np.zeros_like(self.command)

    @property
    def _positions(self) -> bool:
        return self.parameters.command_interface == "position"

    def receive(self, message: Any, now_ns: int) -> None:
        """A JointTrajectory on `~/joint_trajectory`."""
        if reason := self.refusal(message, now_ns):
            self.rejected.append(reason)
        elif self.active:
            self.accepted += 1
            self._new = message

    def refusal(self, message: Any, now_ns: int) -> str:
        """Why it does not take a message; empty if it does."""
        options, names, points = self.parameters, list(message.joint_names), message.points
        if not options.allow_partial_joints_goal and len(names) != len(options.joints):
            return f"{len(names)} joints, not the controller's {len(options.joints)}"
        if not names or not points:
            return "no joint names" if not names else "no points"
        if unknown := set(names) - set(options.joints):
            return f"not joints of the controller: {sorted(unknown)}"
        end = np.asarray(points[-1].velocities, np.float64)
        if not options.allow_nonzero_velocity_at_trajectory_end and (abs(end) > EPSILON).any():
            return f"the last velocity is not zero: {end.tolist()}"
        times = [nanoseconds(point.time_from_start) for point in points]
        stamp_ns = nanoseconds(message.header.stamp)
        if stamp_ns and stamp_ns + times[-1] < now_ns:
            return "it ends in the past"
        if any(later <= earlier for earlier, later in pairwise(times)):
            return f"times that do not increase: {times}"
        for point in points:
            counts = {
                len(point.positions),
                *(len(each) or len(names) for each in (point.velocities, point.accelerations)),
            }
            if counts != {len(names)}:
                return f"not one value for each of {len(names)} joints"
            if len(point.effort):
                return "efforts for a controller without effort interface"
        return ""

    def _hold(self, position: Vector) -> None:
        """A trajectory of one point, for which no tolerance is checked."""
        self._points = [Point(0, position.copy(), None)]
        self._start_ns, self._holding, self._sampled = 0, True, False

    def _take(self, message: Any) -> None:
        """The message becomes the trajectory; it is stamped at its first sample."""
        names = list(message.joint_names)
        self._points = []
        for point in message.points:
            position = self.command.copy() if self._positions else self._measured.copy()
            velocity = np.zeros(len(position)) if len(point.velocities) else None
            for row, name in enumerate(self.parameters.joints):
                if name in names:  # joints that it leaves out stay where they were told to be
                    position[row] = point.positions[names.index(name)]
                    if velocity is not None:
                        velocity[row] = point.velocities[names.index(name)]
            self._points.append(Point(nanoseconds(point.time_from_start), position, velocity))
        self._start_ns = nanoseconds(message.header.stamp)
        self._holding = self._sampled = False

    def update(self, now_ns: int, position: Vector, velocity: Vector) -> None:
        """One cycle: the next values of the command interfaces, by the measured state."""
        if not self.active:
            return
        options = self.parameters
        self._measured = position
        if self._new is not None:
            self._take(self._new)
            self._new = None
        first, self._sampled = not self._sampled, True
        if first:
            if options.interpolate_from_desired_state:
                # The command for the next cycle, but with the time of this one: so it is.
                self._before = replace(self._last, at_ns=self._last.at_ns or now_ns)
            else:
                moving = velocity.copy() if options.velocity_state else None
                self._before = Point(now_ns, position.copy(), moving)
            start_ns = self._start_ns or now_ns
            self._points = [replace(one, at_ns=start_ns + one.at_ns) for one in self._points]
            if self._before.velocity is None and self._points[0].velocity is not None:
                self._before = replace(self._before, velocity=np.zeros_like(position))
        desired, _ = self._sample(now_ns)
        following, before_last = self._sample(now_ns + self.period_ns)
        error = desired.position - position
        past_s = (now_ns - self._points[-1].at_ns) / SECOND
        if not self._holding and (reason := self._outside(error, before_last, first, past_s)):
            self.given_up.append(reason)
            self._hold(position)
            return
        timeout = options.cmd_timeout if options.cmd_timeout > options.goal_time else 0.0
        if not self._holding and not before_last and 0.0 < timeout < past_s:
            self.given_up.append("command timeout")
            self._hold(position)
        if self._positions:
            self.command = following.position
        else:
            self.command = options.ff_velocity_scale * following.velocity + options.p * error
        self._last = Point(now_ns, following.position, following.velocity)

    def _outside(self, error: Vector, before_last: bool, first: bool, past_s: float) -> str:
        """Which tolerance ends the trajectory."""
        if (before_last or first) and (abs(error) > self._path).any():
            return "path tolerance"
        late = not before_last and 0.0 < self.parameters.goal_time < past_s
        return "goal tolerance" if late and (abs(error) > self._goal).any() else ""

    def _sample(self, at_ns: int) -> tuple[Point, bool]:
        """The desired state at a time; whether that is before the last point."""
        jumps = self.parameters.interpolation_method == "none"
        if at_ns < self._points[0].at_ns:
            return self._before if jumps else _between(self._before, self._points[0], at_ns), True
        for one, other in pairwise(self._points):
            if at_ns < other.at_ns:
                return other if jumps else _between(one, other, at_ns), True
        last = self._points[-1]
        velocity = np.zeros_like(last.position) if last.velocity is None else last.velocity
        return Point(at_ns, last.position, velocity), False


def _between(one: Point, other: Point, at_ns: int) -> Point:
    """A cubic if both have velocities, else a straight line."""
    span = (other.at_ns - one.at_ns) / SECOND
    u = (at_ns - one.at_ns) / (other.at_ns - one.at_ns)
    mean = (other.position - one.position) / span
    if one.velocity is None or other.velocity is None:
        return Point(at_ns, one.position + u * span * mean, mean)
    start, end = one.velocity, other.velocity
    bend, twist = 3.0 * mean - 2.0 * start - end, start + end - 2.0 * mean
    position = one.position + span * u * (start + u * (bend + u * twist))
    return Point(at_ns, position, start + u * (2.0 * bend + 3.0 * u * twist))


class ForwardController:
    """forward_command_controller. It checks no order of joints: it cannot. A command of another
    size is taken like others, makes the update fail, and so controller_manager (Jazzy, Kilted)
    switches it off; an empty one is none.

    :ivar rejected: why messages were not used.
    """

    def __init__(self, joints: Sequence[str]) -> None:
        self.active = False
        self.rejected: list[str] = []
        self.given_up: list[str] = []
        self.accepted = 0
        self.command = np.full(len(joints), np.nan)

    def activate(self, position: Vector) -> None:
        """Nothing is commanded until a message comes."""
        self._new: Vector | None = None
        self.active = True

    def deactivate(self) -> None:
        """The subscription stays, and the last command."""
        self.active = False

    def receive(self, message: Any, now_ns: int) -> None:
        """A Float64MultiArray on `~/commands`."""
        values = np.array(message.data)
        if not np.isfinite(values).all():
            self.rejected.append("not finite")
        elif self.active:
            self.accepted += 1
            self._new = values

    def update(self, now_ns: int, position: Vector, velocity: Vector) -> None:
        if not self.active or self._new is None or not self._new.size:
            return
        if self._new.shape == self.command.shape:
            self.command = self._new
        else:
            count = self.command.size
            self.rejected.append(f"{self._new.size} values for {count} interfaces: switched off")
            self.deactivate()


class SimulatedArm:
    """A critically damped second-order lag per joint, as a position-controlled arm has it; or,
    of velocity commands, a first-order one.

    :param position: at first, rad or m; :param rate: natural frequency, rad/s: it trails a moving
        command by 2 / rate s.
    """

    def __init__(self, position: Vector, rate: float) -> None:
        self.position = np.array(position, np.float64)
        self.velocity = np.zeros_like(self.position)
        self.acceleration = np.zeros_like(self.position)
        self._rate = rate

    def step(self, command: Vector, seconds: float, *, velocities: bool = False) -> None:
        """Under a constant command."""
        if not np.isfinite(command).all():
            return
        if velocities:
            self.acceleration = self._rate * (command - self.velocity)
        else:
            pull = self._rate**2 * (command - self.position)
            self.acceleration = pull - 2.0 * self._rate * self.velocity
        self.velocity = self.velocity + seconds * self.acceleration
        self.position = self.position + seconds * self.velocity

    def follow(self, path: Callable[[float], Vector], times: Sequence[float]) -> Vector:
        """Its positions, (n, joints), when it is commanded a path at `times`, s, 1 ms apart."""
        passed = []
        for time in times:
            self.step(path(time), 1e-3)
            passed.append(self.position)
        return np.array(passed)


def rms(values: Vector) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(np.square(abs(values)))))


def jerk(positions: Vector, spacing: int = 1) -> float:
    """Root mean square of the jerk, rad/s^3 or m/s^3, by differences over 10 ms, so that the
    cycles of a controller do not count.

    :param positions: (n, ...); :param spacing: of them, ms.
    """
    return rms(np.diff(positions[:: 10 // spacing], n=3, axis=0) / 0.01**3)
