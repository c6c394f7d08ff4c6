# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What a controller is made of (`Parts`), and what it needs from outside (`Ports`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sarnn_ros.control.camera_watch import CameraWatch
from sarnn_ros.control.description import DescriptionWatch
from sarnn_ros.control.faults import Faults
from sarnn_ros.control.following import FollowingWatch
from sarnn_ros.control.gripper import TwoValuedGripper
from sarnn_ros.control.interpolator import SetpointInterpolator
from sarnn_ros.control.limits import JointLimiter, JointLimits
from sarnn_ros.control.log import Log
from sarnn_ros.control.outlet import Clocks, Command, CommandOutlet
from sarnn_ros.control.outside import OutsideWatch
from sarnn_ros.control.scene_watch import SceneWatch
from sarnn_ros.control.settings import Settings
from sarnn_ros.control.start import StartPoses, StartSequence
from sarnn_ros.control.tick import Tick
from sarnn_ros.control.watchdogs import EffortWatch, FormatWatch, ObservationWatch
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.streams.observe import ObservationBuffer

#: The limits by the settings and a robot description's text (None: there is none).
LimitsBy = Callable[[Settings, str | None], JointLimits]


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Ports:
    """What the robot's side needs from outside.

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


@dataclass
class Parts:
    """What `build_controller` makes and a controller is made of."""

    policy: Policy
    buffer: ObservationBuffer
    limiter: JointLimiter
    gripper: TwoValuedGripper
    sequence: StartSequence
    start_poses: StartPoses
    outlet: CommandOutlet
    interpolator: SetpointInterpolator
    watch: ObservationWatch
    following: FollowingWatch
    effort: EffortWatch
    formats: FormatWatch
    outside: OutsideWatch
    scene: SceneWatch
    cameras: CameraWatch
    description: DescriptionWatch | None
    limits_by: LimitsBy
