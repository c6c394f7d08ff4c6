# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The whole robot's side of a policy, put together: parts, controller, loop and threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sarnn_ros.control.camera_watch import LOOK_S
from sarnn_ros.control.controller import Controller
from sarnn_ros.control.loop import ControlLoop
from sarnn_ros.control.parts import Parts, Ports
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.ticker import GridTicker, ImageTicker, Repeat, Threads, Ticker
from sarnn_ros.policy.runtime import Policy

#: Between two looks whether the control thread still ticks, s.
STALL_LOOK_S = 0.1


def build_controller(policy: Policy, settings: Callable[[], Settings], ports: Ports) -> Controller:
    """The robot's side, inactive: `activate` and `run` it. Without `run` no thread is started, and
    the loop's `tick` may be called by hand, as `threads.ticker.on_tick`.

    Messages go in by `parts.buffer` and `parts.formats`; images that are ticks by
    `threads.ticker.image`.

    :param settings: the current ones; only the live ones may change later.
    :raises ConfigError: settings that contradict the policy.
    """
    parts = Parts(policy, settings, ports)
    controller = Controller(parts, settings, ports)
    failed, set_points = controller.failed, parts.interpolator.ticker
    loop = ControlLoop(controller, settings, ports)
    parts.interpolator.on_error = failed
    kind: Callable[..., Ticker] = GridTicker
    if (trigger := policy.spec.trigger) is not None:
        kind = partial(ImageTicker, max_age_ns=trigger.max_age_ns)
    ticker = kind(
        policy.spec.period_ns,
        ports.clocks.now_ns,
        loop.tick,
        failed,
        simulated=ports.clocks.simulated,
        on_start=ports.on_start,
    )
    controller.threads = Threads(
        ticker,
        *([set_points] if set_points else []),
        others=(
            Repeat(STALL_LOOK_S, controller.look_for_stall, "stalls", failed),
            Repeat(LOOK_S, parts.cameras.look, "cameras", failed, waits=False),
        ),
    )
    return controller
