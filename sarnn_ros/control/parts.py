# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a controller is made of (`Parts`), and what it needs from outside (`Ports`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.camera_watch import CameraWatch
from sarnn_ros.control.description import DescriptionWatch
from sarnn_ros.control.faults import Faults
from sarnn_ros.control.following import FollowingWatch
from sarnn_ros.control.gripper import two_valued_gripper
from sarnn_ros.control.interpolator import SetpointInterpolator
from sarnn_ros.control.lag import LagWatch
from sarnn_ros.control.limits import JointLimiter, JointLimits
from sarnn_ros.control.log import Log
from sarnn_ros.control.outlet import Clocks, Command, CommandOutlet
from sarnn_ros.control.outside import OutsideWatch
from sarnn_ros.control.resolve import (
    command_interval_ns,
    command_topics,
    guard_limits,
    held_indices,
    start_poses,
)
from sarnn_ros.control.scene_watch import SceneWatch
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.start import StartSequence, check_ramp
from sarnn_ros.control.takeover import Teleoperator
from sarnn_ros.control.tick import Tick
from sarnn_ros.control.urdf import joint_limits
from sarnn_ros.control.watchdogs import EffortWatch, FormatWatch, ObservationWatch
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.streams.observe import ObservationBuffer


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Ports:
    """What the robot's side needs from outside.

    :param clocks: of the node.
    :param prepare: makes the messages of a command; what it returns publishes them.
    :param faults: what is wrong outside at this moment: on the ROS graph. Asked at every tick,
        again before its command leaves, and before every set-point: it must be quick.
    :param wants_image: whether somebody looks at the predicted image.
    :param changed: called when the state or a fault has changed.
    :param on_tick: called with each finished tick; on the control thread.
    :param on_start: called first in the control thread.
    :param topic_name: the full name of a topic of the spec, for messages.
    """

    clocks: Clocks
    prepare: Callable[[Command], Callable[[], None]]
    faults: Callable[[], Faults] = Faults
    wants_image: Callable[[], bool] = bool
    log: Log = lambda level, key, text: True
    changed: Callable[[], None] = _nothing
    on_tick: Callable[[Tick], None] = _nothing
    on_start: Callable[[], None] = _nothing
    topic_name: Callable[[str], str] = str


class Parts:
    """What a controller is made of. No ROS: a clock, and a callable that sends.

    :param settings: the current ones; only the live ones may change later.
    :raises ConfigError: settings that contradict the policy.
    """

    def __init__(self, policy: Policy, settings: Callable[[], Settings], ports: Ports) -> None:
        now, spec, envelope = settings(), policy.spec, policy.config.envelope
        names, period_ns = spec.command_names, spec.period_ns
        sizes = {
            name: (camera.width, camera.height)
            for name, camera in envelope.cameras.items()
            if camera.width is not None and camera.height is not None
        }
        self.policy = policy
        self._warn = partial(ports.log, "warning", "limits")
        self.start_poses = poses = start_poses(now, spec, envelope)
        limits = self.limits_by(now, None)
        self.limiter = JointLimiter(limits, names)
        self._tell_own_limits(now, ports.log)
        self.gripper = two_valued_gripper(now, spec, limits, envelope.min_dwell)
        self.buffer = buffer = ObservationBuffer(
            spec, ports.topic_name, sizes, max_ahead_ns=round(now.watch.max_ahead * 1e9)
        )
        # Of controllers that are under way between two commands.
        self.trajectory_rows = [
            row
            for topic in command_topics(now, spec)
            if topic.interface == "joint_trajectory"
            for row in topic.indices
        ]
        self.outlet = self._make_outlet(now.watch.max_latency, ports)
        self.sequence = StartSequence(
            now.start,
            poses.low,
            poses.high,
            lambda: self.limiter.limits,
            period_ns * 1e-9,
            self.gripper.indices,
            held_indices(now, spec),
        )
        self.teleoperator: Teleoperator | None = None
        if topic := now.takeover.command_topic:
            self.teleoperator = Teleoperator(
                ports.topic_name(topic),
                spec.command_source,
                poses.span,
                poses.free,
                now.takeover.max_age,
            )
        interval_ns = command_interval_ns(now, spec)
        self.interpolator = SetpointInterpolator(
            period_ns, interval_ns, now.interpolation, self.outlet, self.gripper.indices
        )
        rows, grips = list(spec.command_indices), map(names.index, now.gripper.joints)

        def max_step() -> NDArray[np.float64]:
            return self.limiter.limits.max_step

        # What an arm cannot do does not depend on how far commands may lead it.
        steps = guard_limits(Settings(), spec, envelope).max_step
        steps[list(self.gripper.indices)] = np.inf
        self.watch = ObservationWatch(
            now.watch, sizes, rows, names, lambda: np.minimum(max_step(), steps)
        )
        self.following = FollowingWatch(now.watch.still_time, names, max_step, list(grips))
        lag = np.array(envelope.lag or (0,) * spec.joint_dim, np.intp)
        self.lag = LagWatch(lag[rows], period_ns)
        self.effort = EffortWatch(
            envelope.effort,
            spec.joint_labels,
            lambda: settings().watch,
            partial(ports.log, "warning", "effort"),
        )
        self.formats = FormatWatch(lambda: buffer.images_since_ns)
        self.outside = OutsideWatch(names)
        self.scene = SceneWatch(policy.config, settings, ports.log)
        self.cameras = CameraWatch(policy.config, policy.references, buffer, settings, ports.log)
        topic = now.robot_description_topic
        self.description = DescriptionWatch(
            topic and ports.topic_name(topic),
            lambda text: self.limits_by(settings(), text),
            partial(joint_limits, names=names, where=f"topic '{topic}'"),
            self.limiter,
        )

    def _tell_own_limits(self, settings: Settings, log: Log) -> None:
        """Which joint has which: the policy's order may not be the operator's."""
        for name, values in settings.guard:
            if isinstance(values, tuple) and len(values) > 1:
                pairs = zip(self.policy.spec.command_names, values)
                told = ", ".join(f"{joint} {value:g}" for joint, value in pairs)
                log("info", f"guard.{name}", f"guard.{name}: {told}")

    def limits_by(self, settings: Settings, description: str | None) -> JointLimits:
        """The limits by the settings and a robot description's text, None if there is none.

        :raises ConfigError: they contradict themselves, or allow no ramp.
        """
        spec, envelope = self.policy.spec, self.policy.config.envelope
        limits = guard_limits(settings, spec, envelope, description, warn=self._warn)
        # A joint that is held may stand outside of what was trained.
        ends = {"trained_min": limits.position_min, "trained_max": limits.position_max}
        limits = limits.replaced(held_indices(settings, spec), ends)
        limits = two_valued_gripper(settings, spec, limits, envelope.min_dwell).widen(limits)
        check_ramp(settings.start, self.start_poses, limits)
        return limits

    def _make_outlet(self, max_latency_s: float, ports: Ports) -> CommandOutlet:
        spec, buffer, gripper = self.policy.spec, self.buffer, self.gripper
        age_ns = max(source.max_age_ns for source in spec.joints)
        late_ns = max(spec.period_ns, round(max_latency_s * 1e9))

        def present(time_ns: int) -> NDArray[np.float64] | None:
            joints = buffer.joints_at(time_ns)
            return None if joints is None else joints[list(spec.command_indices)]

        def prepare(command: Command) -> tuple[Callable[[], None], Callable[[], None]]:
            command, commit = gripper.prepare(command, ports.clocks.now_ns())
            return ports.prepare(command), commit

        return CommandOutlet(
            prepare,
            self.limiter,
            ports.clocks,
            present,
            lambda: next(iter(ports.faults().soft.values()), ""),
            fresh_ns=late_ns + age_ns,
        )
