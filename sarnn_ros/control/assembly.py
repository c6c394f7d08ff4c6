# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The whole robot's side of a policy, put together. No ROS: a clock, and a callable that sends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.camera_watch import LOOK_S, CameraWatch
from sarnn_ros.control.controller import Controller
from sarnn_ros.control.description import DescriptionWatch
from sarnn_ros.control.following import FollowingWatch
from sarnn_ros.control.gripper import TwoValuedGripper, two_valued_gripper
from sarnn_ros.control.interpolator import SetpointInterpolator
from sarnn_ros.control.limits import JointLimiter, JointLimits
from sarnn_ros.control.loop import ControlLoop
from sarnn_ros.control.outlet import Command, CommandOutlet
from sarnn_ros.control.outside import OutsideWatch
from sarnn_ros.control.parts import LimitsBy, Parts, Ports
from sarnn_ros.control.resolve import (
    command_interval_ns,
    guard_limits,
    held_indices,
    start_poses,
)
from sarnn_ros.control.scene_watch import SceneWatch
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.start import StartSequence
from sarnn_ros.control.ticker import GridTicker, ImageTicker, Repeat, Threads, Ticker
from sarnn_ros.control.watchdogs import EffortWatch, FormatWatch, ObservationWatch
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.spec import Spec
from sarnn_ros.streams.observe import ObservationBuffer

#: Between two looks whether the control thread still ticks, s.
STALL_LOOK_S = 0.1


def build_controller(policy: Policy, settings: Callable[[], Settings], ports: Ports) -> Controller:
    """The robot's side, inactive: `activate` and `run` it. Without `run` no thread is started, and
    the loop's `tick` may be called by hand, as `threads.ticker.on_tick`.

    Messages go in by `parts.buffer` and `parts.formats`; images that are ticks by `image_tick`.

    :param settings: the current ones; only the live ones may change later.
    :raises ConfigError: settings that contradict the policy.
    """
    parts = _parts(policy, settings, ports)
    controller = Controller(parts, settings, ports)
    failed, set_points = controller.failed, parts.interpolator.ticker
    loop = ControlLoop(controller, settings, ports)
    parts.interpolator.on_error = failed
    controller.threads = Threads(
        _ticker(policy.spec, loop.tick, failed, ports),
        *([set_points] if set_points else []),
        others=(
            Repeat(STALL_LOOK_S, controller.look_for_stall, "stalls", failed),
            Repeat(LOOK_S, parts.cameras.look, "cameras", failed, waits=False),
        ),
    )
    return controller


def _parts(policy: Policy, settings: Callable[[], Settings], ports: Ports) -> Parts:
    now, spec, envelope = settings(), policy.spec, policy.config.envelope
    names, period_ns = spec.command_names, spec.period_ns
    sizes = {name: (camera.width, camera.height) for name, camera in envelope.cameras.items()}
    limits_by = _limits_by(policy, ports)
    limits = limits_by(now, None)
    limiter = JointLimiter(limits, names)
    gripper = two_valued_gripper(now, spec, limits, envelope.min_dwell)
    buffer = ObservationBuffer(
        spec, ports.topic_name, sizes, max_ahead_ns=round(now.watch.max_ahead * 1e9)
    )
    outlet = _outlet(now, buffer, limiter, gripper, ports)
    poses = start_poses(now, spec, envelope)
    return Parts(
        policy=policy,
        buffer=buffer,
        limiter=limiter,
        gripper=gripper,
        sequence=StartSequence(
            now.start,
            poses.low,
            poses.high,
            limits,
            period_ns * 1e-9,
            gripper.indices,
            held_indices(now, spec),
        ),
        start_poses=poses,
        outlet=outlet,
        interpolator=SetpointInterpolator(
            period_ns,
            command_interval_ns(now, spec),
            now.interpolation,
            outlet,
            gripper.indices,
        ),
        watch=ObservationWatch(
            now.watch, sizes, list(spec.command_indices), names, limits.max_step
        ),
        following=FollowingWatch(
            now.watch.still_ticks,
            names,
            limits.max_step,
            [names.index(name) for name in now.gripper.joints],
        ),
        effort=EffortWatch(
            envelope.effort,
            spec.joint_labels,
            lambda: settings().watch,
            partial(ports.log, "warning", "effort"),
        ),
        formats=FormatWatch(lambda: buffer.images_since_ns),
        outside=OutsideWatch(names),
        scene=SceneWatch(policy.config, settings, ports.log),
        cameras=CameraWatch(policy.config, policy.references, buffer, settings, ports.log),
        description=DescriptionWatch(
            ports.topic_name(now.robot_description_topic),
            lambda text: limits_by(settings(), text),
            limiter,
        )
        if now.robot_description_topic
        else None,
        limits_by=limits_by,
    )


def _limits_by(policy: Policy, ports: Ports) -> LimitsBy:
    """The limits by the settings and a robot description's text, if there is one."""
    spec, envelope = policy.spec, policy.config.envelope
    warn = partial(ports.log, "warning", "limits")

    def limits_by(settings: Settings, description: str | None) -> JointLimits:
        limits = guard_limits(settings, spec, envelope, description, warn=warn)
        # A joint that is held may stand outside of what was trained.
        ends = {"trained_min": limits.position_min, "trained_max": limits.position_max}
        limits = limits.replaced(held_indices(settings, spec), ends)
        return two_valued_gripper(settings, spec, limits, envelope.min_dwell).widen(limits)

    return limits_by


def _outlet(
    settings: Settings,
    buffer: ObservationBuffer,
    limiter: JointLimiter,
    gripper: TwoValuedGripper,
    ports: Ports,
) -> CommandOutlet:
    spec = buffer.spec
    age_ns = max(source.max_age_ns for source in spec.joints)
    late_ns = max(spec.period_ns, round(settings.watch.max_latency * 1e9))

    def present(time_ns: int) -> NDArray[np.float64] | None:
        joints = buffer.joints_at(time_ns)
        return None if joints is None else joints[list(spec.command_indices)]

    def prepare(command: Command) -> tuple[Callable[[], None], Callable[[], None]]:
        command, commit = gripper.prepare(command, ports.clocks.now_ns())
        return ports.prepare(command), commit

    return CommandOutlet(
        prepare,
        limiter,
        ports.clocks,
        present,
        lambda: next(iter(ports.faults().soft.values()), ""),
        fresh_ns=late_ns + age_ns,
    )


def _ticker(
    spec: Spec,
    tick: Callable[[int, int], None],
    failed: Callable[[Exception], None],
    ports: Ports,
) -> Ticker:
    kind: Callable[..., Ticker] = GridTicker
    if spec.trigger is not None:
        kind = partial(ImageTicker, max_age_ns=spec.trigger.max_age_ns)
    return kind(
        spec.period_ns,
        ports.clocks.now_ns,
        tick,
        failed,
        simulated=ports.clocks.simulated,
        on_start=ports.on_start,
    )
