# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Faults in what the node is told: what is published instead of sound messages, and what it leads
to. `FAULTS` is the catalogue."""

from __future__ import annotations

import array
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ros_testing import SECOND


def stamped(message: Any, offset_s: float) -> Any:
    """A copy with its stamp moved; to zero for minus infinity."""
    changed = copy.copy(message)
    changed.header = copy.deepcopy(message.header)
    if offset_s == -np.inf:
        changed.header.stamp.sec = changed.header.stamp.nanosec = 0
        return changed
    now = message.header.stamp.sec * SECOND + message.header.stamp.nanosec
    moved = now + round(offset_s * SECOND)
    changed.header.stamp.sec, changed.header.stamp.nanosec = divmod(moved, SECOND)
    return changed


def with_positions(change: Callable[[np.ndarray], Any]) -> Callable[[Any], Sequence[Any]]:
    def mutate(message: Any) -> Sequence[Any]:
        message.position = array.array("d", change(np.array(message.position)))
        return (message,)

    return mutate


def with_fields(**fields: Any) -> Callable[[Any], Sequence[Any]]:
    def mutate(message: Any) -> Sequence[Any]:
        for name, value in fields.items():
            setattr(message, name, value(message) if callable(value) else value)
        return (message,)

    return mutate


def set_one(value: float) -> Callable[[Any], Sequence[Any]]:
    def change(position: np.ndarray) -> np.ndarray:
        position[1] = value
        return position

    return with_positions(change)


class Frozen:
    """The first joint positions for ever, with new stamps, and not where they are told to go."""

    def __init__(self) -> None:
        self._position: Any = None

    def __call__(self, message: Any) -> Sequence[Any]:
        if self._position is None:
            self._position = np.array(message.position) + [0.25, 0.0, 0.0]
        message.position = array.array("d", self._position)
        return (message,)


def tremble(message: Any) -> Sequence[Any]:
    """As an encoder's last bit does."""
    position = np.array(message.position)
    position[0] += 1e-5 * np.random.default_rng().standard_normal()
    message.position = array.array("d", position)
    return (message,)


def stand_elsewhere(robot: Any) -> None:
    """Within a step, and stuck there."""
    with robot.record:
        robot.moving = False
        robot.position[0] += 0.25


def moved(offset_s: float) -> Callable[[Any], Sequence[Any]]:
    return lambda message: (stamped(message, offset_s),)


class Delay:
    """Publishes each message so many seconds late, and never earlier: not by counting messages,
    as this robot sends many at once when the machine has kept it from sending."""

    def __init__(self, seconds: float) -> None:
        self._delay_ns = round(seconds * SECOND)
        self._held: list[Any] = []

    def __call__(self, message: Any) -> Sequence[Any]:
        self._held.append(message)
        due = _stamp_ns(message) - self._delay_ns
        ready = [held for held in self._held if _stamp_ns(held) <= due]
        self._held = self._held[len(ready) :]
        return ready


def _stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec * SECOND + message.header.stamp.nanosec)


class Standing:
    """The first stamp for ever: the first message is sound."""

    def __init__(self) -> None:
        self._stamp: Any = None

    def __call__(self, message: Any) -> Sequence[Any]:
        self._stamp = self._stamp or copy.deepcopy(message.header.stamp)
        message.header.stamp = self._stamp
        return (message,)


class Sometimes:
    """One message in so many, changed; the others are not sent."""

    def __init__(self, count: int, change: Callable[[Any], Sequence[Any]]) -> None:
        self._count, self._seen = count, 0
        self._change = change

    def __call__(self, message: Any) -> Sequence[Any]:
        self._seen += 1
        return () if self._seen % self._count else self._change(message)


class Burst:
    """Holds messages back and publishes them all at once."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._held: list[Any] = []

    def __call__(self, message: Any) -> Sequence[Any]:
        self._held.append(message)
        if len(self._held) < self._count:
            return ()
        held, self._held = self._held, []
        return held


class Swap:
    """Every other message comes before the one that was stamped earlier."""

    def __init__(self) -> None:
        self._held: Any = None

    def __call__(self, message: Any) -> Sequence[Any]:
        if self._held is None:
            self._held = message
            return ()
        held, self._held = self._held, None
        return (message, held)


class Spike:
    """One message in so many has a joint 1.5 rad elsewhere. Most are seen by no tick."""

    def __init__(self, count: int) -> None:
        self._count, self._seen = count, 0

    def __call__(self, message: Any) -> Sequence[Any]:
        self._seen += 1
        if self._seen % self._count == 0:
            message.position[1] += 1.5
        return (message,)


class Drift:
    """The reported position creeps away, slowly enough for no step to show it."""

    def __init__(self, step: float) -> None:
        self._step = step
        self._offset = 0.0

    def __call__(self, message: Any) -> Sequence[Any]:
        self._offset += self._step
        position = np.array(message.position)
        position[0] += self._offset
        message.position = array.array("d", position)
        return (message,)


class Repeat:
    """The first image for ever, with new stamps."""

    def __init__(self) -> None:
        self._data: Any = None

    def __call__(self, message: Any) -> Sequence[Any]:
        self._data = self._data or message.data
        message.data = self._data
        return (message,)


def wobble(message: Any) -> Sequence[Any]:
    """The arm swings by itself, 0.15 rad every 2 s."""
    stamp = message.header.stamp
    phase = np.pi * (stamp.sec % 2 + stamp.nanosec / SECOND)
    message.position = array.array("d", np.array(message.position) + 0.15 * np.sin(phase))
    return (message,)


def turned(message: Any) -> Sequence[Any]:
    """Twice as high, half as wide."""
    message.width, message.height, message.step = 32, 128, 96
    return (message,)


def resized(message: Any) -> Sequence[Any]:
    message.width, message.height, message.step = 32, 32, 96
    message.data = array.array("B", bytes(32 * 96))
    return (message,)


def jittered(message: Any) -> Sequence[Any]:
    """Stamps that are up to 20 ms early."""
    return (stamped(message, -0.02 * np.random.default_rng().random()),)


def padded(message: Any) -> Sequence[Any]:
    """Rows of 200 bytes, 192 of them pixels."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, -1)
    message.step = 200
    message.data = array.array("B", np.pad(rows, ((0, 0), (0, 8))).tobytes())
    return (message,)


def nothing(message: Any) -> Sequence[Any]:
    return ()


def duplicated_joint(message: Any) -> Sequence[Any]:
    message.name = [*message.name, "joint2"]
    message.position = array.array("d", [*message.position, 0.5])
    return (message,)


def extra_joint(message: Any) -> Sequence[Any]:
    message.name = ["finger", *message.name]
    message.position = array.array("d", [7.0, *message.position])
    return (message,)


def extra_nan(message: Any) -> Sequence[Any]:
    message.name = ["finger", *message.name]
    message.position = array.array("d", [np.nan, *message.position])
    return (message,)


def crowd(message: Any) -> Sequence[Any]:
    message.name = [f"joint_{row}" for row in range(10_000)]
    message.position = array.array("d", bytes(80_000))
    return (message,)


def negative(message: Any) -> Sequence[Any]:
    message.header.stamp.sec *= -1
    return (message,)


def too_many_nanoseconds(message: Any) -> Sequence[Any]:
    """rclpy refuses to set it; what comes over the wire may be anything."""
    message.header.stamp._nanosec = 2_000_000_000
    return (message,)


def reordered(message: Any) -> Sequence[Any]:
    message.name = list(reversed(message.name))
    message.position = array.array("d", reversed(message.position))
    return (message,)


def renamed(message: Any) -> Sequence[Any]:
    return with_fields(name=["joint1", "joint_2", "gripper"])(message)


def without_joint2(message: Any) -> Sequence[Any]:
    message.name = ["joint1", "gripper"]
    message.position = array.array("d", [message.position[0], message.position[2]])
    return (message,)


def black(message: Any) -> Sequence[Any]:
    message.data = array.array("B", bytes(len(message.data)))
    return (message,)


def second_joints(robot: Any) -> Any:
    from sensor_msgs.msg import JointState

    robot.intruders.append(
        robot.graph.node.create_publisher(JointState, f"{robot.namespace}joint_states", 1)
    )
    return robot.intruders[-1]


def second_camera(robot: Any) -> Any:
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    robot.intruders.append(
        robot.graph.node.create_publisher(
            Image, f"{robot.namespace}image_raw", qos_profile_sensor_data
        )
    )
    return robot.intruders[-1]


class Rival:
    """A second source, which from its first message on contradicts the first. It begins a period
    after it was connected to the node.

    :param join: makes its publisher; :param change: what it publishes instead of each message.
    """

    def __init__(
        self, join: Callable[[Any], Any], change: Callable[[Any], Sequence[Any]], robot: Any
    ) -> None:
        self._robot, self._change = robot, change
        self._publisher = join(robot)
        self._connected_ns = 0
        robot.conflict_ns = 0

    def __call__(self, message: Any) -> Sequence[Any]:
        now = self._robot.now_ns
        if self._publisher.get_subscription_count() and not self._connected_ns:
            self._connected_ns = now
        if self._connected_ns and now > self._connected_ns + 100_000_000:
            self._robot.conflict_ns = self._robot.conflict_ns or now
            for rival in self._change(copy.deepcopy(message)):
                self._publisher.publish(rival)
        return (message,)


def rival_joints(robot: Any) -> None:
    """0.25 rad away: less than a step."""
    rival = Rival(second_joints, with_positions(lambda p: p + [0.25, 0.0, 0.0]), robot)
    with robot.record:
        robot.mutate_joints = rival


def rival_camera(robot: Any) -> None:
    rival = Rival(second_camera, black, robot)
    with robot.record:
        robot.mutate_image = rival


def second_commander(robot: Any) -> None:
    robot.intruders.append(
        robot.graph.node.create_publisher(robot.kind, f"{robot.namespace}joint_command", 1)
    )


def push(robot: Any) -> None:
    """0.7 rad at once, and held there: more than the guard's step, less than a jump."""
    with robot.record:
        robot.moving = False
        robot.position[0] -= 0.7


@dataclass(frozen=True)
class Fault:
    """One fault.

    :param effect: `holds` while it lasts, `latches` until ~/reset, or `goes on` unharmed; a
        fault that comes and goes only has to be safe: `holds at times`.
    :param code: what diagnostics call it.
    :param lies: what is reported is not the robot's, and the node takes some of it for sound: not
        every message shows it, or a watch needs several ticks to be sure.
    :param otherwise: what it is called where the node had a hiccup, and the message before was too
        old to compare with.
    :param none_from: the moment, ns, from which on not one command may be sent; 0: not yet.
    """

    name: str
    effect: str
    code: str = ""
    joints: Callable[[], Callable[[Any], Sequence[Any]]] | None = None
    image: Callable[[], Callable[[Any], Sequence[Any]]] | None = None
    inject: Callable[[Any], None] | None = None
    lies: bool = False
    otherwise: str = ""
    none_from: Callable[[Any], int] | None = None

    @property
    def believable(self) -> bool:
        """Whether the node must take the messages for sound: so the robot's own, beside others."""
        return (
            self.lies or self.none_from is not None or self.effect in ("goes on", "holds at times")
        )

    def is_seen(self, arm: Any) -> bool:
        """Whether the node names it."""
        names = [self.code]
        if self.otherwise and arm.hiccups > arm.hiccups_before:
            names.append(self.otherwise)
        return any(code.startswith(tuple(names)) for code in arm.active_faults)

    def begin(self, arm: Any) -> None:
        """Inject it."""
        robot = arm.robot
        with robot.record:
            arm.before, arm.hiccups_before = len(robot.commands), arm.hiccups
            if self.joints:
                robot.mutate_joints = self.joints()
            if self.image:
                robot.mutate_image = self.image()
            robot.harmless = self.believable
        if self.inject:
            self.inject(robot)


def on_joints(name: str, effect: str, mutate: Any) -> Fault:
    return Fault(name, effect, "no_observation:joint_states", lambda: mutate)


def on_image(name: str, effect: str, mutate: Any, code: str = "") -> Fault:
    return Fault(name, effect, code or "no_observation:front", image=lambda: mutate)


def jump(name: str, mutate: Any) -> Fault:
    return Fault(name, "latches", "jump", lambda: mutate, lies=True, otherwise="guard")


def conflict(name: str, code: str, inject: Callable[[Any], None]) -> Fault:
    return Fault(
        name, "holds", code, inject=inject, none_from=lambda robot: int(robot.conflict_ns)
    )


FAULTS = (
    on_joints("joint states stop", "holds", nothing),
    on_joints("a joint is missing", "holds", without_joint2),
    on_joints("a joint is renamed", "holds", renamed),
    on_joints("a joint is named twice", "holds", duplicated_joint),
    on_joints("joints in another order", "goes on", reordered),
    on_joints("further joints", "goes on", extra_joint),
    on_joints("a further joint is NaN", "goes on", extra_nan),
    on_joints("velocities and efforts are NaN", "goes on", with_fields(
        velocity=array.array("d", [np.nan] * 3), effort=array.array("d", [np.nan] * 3))),
    on_joints("efforts of fewer joints", "goes on", with_fields(effort=array.array("d", [99.0]))),
    on_joints("an effort is infinite", "goes on", with_fields(
        effort=array.array("d", [0.0, np.inf, 0.0]))),
    on_joints("an effort is as trained", "goes on", with_fields(
        effort=array.array("d", [0.0, 2.0, 0.0]))),
    Fault("a joint pushes harder than in training", "latches", "effort",
          lambda: with_fields(effort=array.array("d", [0.0, 9.0, 0.0])), lies=True),
    on_joints("a position is NaN", "holds", set_one(float("nan"))),
    on_joints("a position is infinite", "holds", set_one(float("inf"))),
    on_joints("fewer positions than names", "holds", with_positions(lambda p: p[:2])),
    on_joints("no positions", "holds", with_positions(lambda p: p[:0])),
    on_joints("no names", "holds", with_fields(name=lambda m: [])),
    on_joints("empty names", "holds", with_fields(name=lambda m: ["", "", ""])),
    Fault("10000 joints in a message", "holds", "no_observation:joint_states",
          lambda: Sometimes(10, crowd)),
    jump("degrees instead of radians", with_positions(np.rad2deg)),
    jump("a joint teleports", with_positions(lambda p: p + [0, 1.4, 0])),
    jump("a position of 1e308", set_one(1e308)),
    Fault("one joint state in thirteen jumps", "latches", "jump", lambda: Spike(13), lies=True),
    Fault("the sign of a joint is wrong", "latches", "guard",
          lambda: with_positions(lambda p: p * [-1, 1, 1]), lies=True),
    Fault(
        "a joint creeps out of its range", "latches", "guard", lambda: Drift(0.04), lies=True
    ),
    on_joints("joint positions are noisy", "goes on", with_positions(
        lambda p: p + 0.005 * np.random.default_rng().standard_normal(3))),
    on_joints("joint stamps of zero", "holds", moved(-np.inf)),
    on_joints("joint stamps from the past", "holds", moved(-2.0)),
    on_joints("joint stamps from the future", "holds", moved(5.0)),
    on_joints("joint stamps 0.5 s ahead", "holds", moved(0.5)),
    on_joints("negative joint stamps", "holds", negative),
    on_joints("joint stamps of 2e9 nanoseconds", "holds", too_many_nanoseconds),
    Fault("joint stamps stand still", "holds", "no_observation:joint_states", Standing,
          lies=True),
    on_joints("joint stamps jitter", "goes on", jittered),
    Fault("joint states late by 0.2 s", "holds", "no_observation:joint_states",
          lambda: Delay(0.2)),
    Fault("joint states in bursts of 0.3 s", "holds at times", "", lambda: Burst(15)),
    on_joints("every joint state twice", "goes on", lambda message: (message, message)),
    Fault("joint states out of order", "goes on", "", Swap),
    Fault("joint states at 25 Hz", "goes on", "",
          lambda: Sometimes(2, lambda message: (message,))),
    Fault("two publishers of joint states", "holds", "publishers:joint_states",
          inject=second_joints),
    conflict("two publishers of joint states in conflict", "publishers:joint_states",
             rival_joints),
    Fault("the arm is pushed away", "latches", "guard", inject=push),
    Fault("the arm is blocked", "goes on", inject=lambda robot: setattr(robot, "moving", False)),
    Fault("joint states are frozen", "latches", "frozen:joints", Frozen, lies=True),
    Fault("the arm does not follow", "latches", "not_following", lambda: tremble,
          inject=stand_elsewhere, lies=True),
    on_image("images stop", "holds", nothing),
    Fault("the camera is frozen", "holds", "frozen:front", lambda: wobble, Repeat, lies=True),
    Fault("the image is black", "holds", "frozen:front", lambda: wobble, lambda: black,
          lies=True),
    on_image("the image is resized", "latches", resized, "image_changed:front"),
    on_image("the image is turned", "latches", turned, "image_changed:front"),
    on_image("a header of 60000 x 60000 pixels", "latches",
             with_fields(width=60000, height=60000, step=180000), "image_changed:front"),
    on_image("another encoding", "latches", with_fields(encoding="bgr8"), "image_changed:front"),
    on_image("an unknown encoding", "latches", with_fields(encoding="nv99"),
             "image_changed:front"),
    on_image("an encoding of 100 kB", "latches", with_fields(encoding="x" * 100_000),
             "image_changed:front"),
    on_image("an image without pixels", "latches", with_fields(width=0, height=0, step=0),
             "image_changed:front"),
    on_image("rows are padded", "goes on", padded),
    on_image("the image is truncated", "holds",
             with_fields(data=lambda m: m.data[: len(m.data) // 2])),
    on_image("no image data", "holds", with_fields(data=array.array("B"))),
    on_image("bytes after the image", "holds", with_fields(data=lambda m: m.data + m.data[:5])),
    on_image("rows shorter than the image", "holds", with_fields(step=7)),
    on_image("image stamps of zero", "holds", moved(-np.inf)),
    on_image("image stamps from the past", "holds", moved(-2.0)),
    on_image("image stamps from the future", "holds", moved(5.0)),
    on_image("image stamps 0.5 s ahead", "holds", moved(0.5)),
    Fault("image stamps stand still", "holds", "no_observation:front", image=Standing,
          lies=True),
    Fault("images late by 0.4 s", "holds", "no_observation:front", image=lambda: Delay(0.4)),
    Fault("images in bursts of 0.5 s", "holds at times", "", image=lambda: Burst(15)),
    on_image("every image twice", "goes on", lambda message: (message, message)),
    Fault("images out of order", "goes on", image=Swap),
    Fault("two publishers of images", "holds", "publishers:image_raw", inject=second_camera),
    conflict("two cameras in conflict", "publishers:image_raw", rival_camera),
    Fault("all sensors stop at once", "holds", "no_observation:front",
          lambda: nothing, lambda: nothing),
    Fault("the controller goes away", "holds", "no_controller",
          inject=lambda robot: robot.disconnect()),
    Fault("another node commands, too", "holds", "commanders:joint_command",
          inject=second_commander),
)  # fmt: skip
