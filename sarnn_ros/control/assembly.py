# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The whole robot's side of a policy, put together. No ROS: a clock, and a callable that sends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.control.controller import Controller
from sarnn_ros.control.description import DescriptionWatch
from sarnn_ros.control.following import FollowingWatch
from sarnn_ros.control.gripper import two_valued_gripper
from sarnn_ros.control.interpolator import SetpointInterpolator
from sarnn_ros.control.limits import JointLimiter, JointLimits
from sarnn_ros.control.outlet import CommandOutlet
from sarnn_ros.control.parts import Parts, Ports
from sarnn_ros.control.resolve import command_interval_ns, guard_limits, held_indices, start_box
from sarnn_ros.control.scene_watch import SceneWatch
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.start import start_sequence
from sarnn_ros.control.ticker import GridTicker, ImageTicker, Repeat, Ticker
from sarnn_ros.control.watchdogs import FormatWatch, ObservationWatch
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.streams.observe import ObservationBuffer

#: Between two looks whether the control thread still ticks, s.
STALL_LOOK_S = 0.1


def build_controller(policy: Policy, settings: Callable[[], Settings], ports: Ports) -> Controller:
    """The robot's side, inactive: `activate` and `run` it. Without `run` no thread is started, and
    `tick` may be called by hand.

    Messages go in by `parts.buffer` and `parts.formats`; images that are ticks by `image_tick`.

    :param settings: the current ones; only the live ones may change later.
    :raises ConfigError: settings that contradict the policy.
    """
    now, spec, envelope = settings(), policy.spec, policy.config.envelope
    clocks, period_ns = ports.clocks, spec.period_ns
    warn = _Once(partial(ports.log, "warning", "limits"))
    limits = guard_limits(now, spec, envelope, warn=warn)
    gripper = two_valued_gripper(now, spec, limits)
    limiter = JointLimiter(gripper.widen(limits), spec.command_names)
    sizes = {name: (camera.width, camera.height) for name, camera in envelope.cameras.items()}
    buffer = ObservationBuffer(spec, ports.topic_name, sizes)
    age_ns = max(source.max_age_ns for source in spec.joints)
    outlet = CommandOutlet(
        lambda command: ports.prepare(gripper.apply(command)),
        limiter,
        clocks,
        partial(_commanded_joints, buffer),
        fresh_ns=max(period_ns, round(now.watch.max_latency * 1e9)) + age_ns,
    )
    interpolator = SetpointInterpolator(
        period_ns,
        command_interval_ns(now, spec),
        now.interpolation,
        outlet,
        gripper.indices,
    )
    rows, names = list(spec.command_indices), spec.command_names

    def limits_by(settings: Settings, text: str | None) -> JointLimits:
        found = guard_limits(settings, spec, envelope, text, warn=warn)
        return two_valued_gripper(settings, spec, found).widen(found)

    topic = now.robot_description_topic
    controller = Controller(
        Parts(
            policy=policy,
            buffer=buffer,
            limiter=limiter,
            gripper=gripper,
            sequence=start_sequence(
                now.start,
                *start_box(spec, envelope),
                limiter.limits,
                period_ns * 1e-9,
                gripper.indices,
                held_indices(now, spec),
            ),
            outlet=outlet,
            interpolator=interpolator,
            watch=ObservationWatch(
                now.watch, period_ns, sizes, rows, names, limiter.limits.max_step
            ),
            following=FollowingWatch(
                now.watch.still_ticks,
                names,
                limiter.limits.max_step,
                [names.index(name) for name in now.gripper.joints],
            ),
            formats=FormatWatch(lambda: buffer.images_since_ns),
            scene=SceneWatch(policy.config, settings, partial(ports.log, "warning")),
            description=DescriptionWatch(
                ports.topic_name(topic), lambda text: limits_by(settings(), text), limiter
            )
            if topic
            else None,
            limits_by=limits_by,
        ),
        settings,
        ports,
    )
    kind: Callable[..., Ticker] = GridTicker
    if spec.trigger is not None:
        kind = partial(ImageTicker, max_age_ns=spec.trigger.max_age_ns)
    ticker = kind(
        period_ns,
        clocks.now_ns,
        controller.tick,
        controller.failed,
        simulated=clocks.simulated,
        on_start=ports.on_start,
    )
    stalls = Repeat(STALL_LOOK_S, controller.look_for_stall, "stalls")
    interpolator.on_error = controller.failed
    controller.connect(ticker, stalls)
    return controller


class _Once:
    """Tells what it has not just told: a description may be published again and again."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._told = ""

    def __call__(self, text: str) -> None:
        if text != self._told:
            self._tell(text)
        self._told = text


def _commanded_joints(buffer: ObservationBuffer, time_ns: int) -> NDArray[np.float64] | None:
    """The commanded joints as measured last, (n,); None if that is not fresh."""
    joints = buffer.joints_at(time_ns)
    return None if joints is None else joints[list(buffer.spec.command_indices)]
