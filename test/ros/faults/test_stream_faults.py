# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Faults in what the node is told: each injected over real DDS into four real node processes, one
per command interface and one with set-points between the ticks and a gripper of its own, with a
robot each that records every command.

What must hold for every command ever sent is in `promises`. What the fault leads to is entered in
docs/reference/faults.md, which the last test compares.
"""

from __future__ import annotations

import array
import copy
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from outcomes import Outcomes
from promises import Promises

JOINTS = ("joint1", "joint2", "gripper")
START = (0.3, 0.3, 0.3)
INTERFACES = ("joint_state", "joint_trajectory", "forward_position", "interpolated")
RATE = 50
#: The interface `interpolated`: set-points at 50 Hz, and a gripper that opens and closes.
INTERPOLATED = {
    "command_interface": "joint_state",
    "command_rate": RATE,
    "interpolation": "cubic",
    "gripper__joints": ["gripper"],
    "gripper__interface": "float64",
    "gripper__open": [-0.5],
    "gripper__closed": [0.9],
}
SECOND = 1_000_000_000


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


def resized(message: Any) -> Sequence[Any]:
    message.width, message.height, message.step = 32, 32, 96
    message.data = array.array("B", bytes(32 * 96))
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


def second_joints(robot: Any) -> None:
    from sensor_msgs.msg import JointState

    robot.intruders.append(
        robot.graph.node.create_publisher(JointState, f"{robot.namespace}joint_states", 1)
    )


def second_camera(robot: Any) -> None:
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    robot.intruders.append(
        robot.graph.node.create_publisher(
            Image, f"{robot.namespace}image_raw", qos_profile_sensor_data
        )
    )


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
    """

    name: str
    effect: str
    code: str = ""
    joints: Callable[[], Callable[[Any], Sequence[Any]]] | None = None
    image: Callable[[], Callable[[Any], Sequence[Any]]] | None = None
    inject: Callable[[Any], None] | None = None
    lies: bool = False  # the reported position is not the robot's
    #: What it is called where the last message before was too old to compare with.
    otherwise: str = "-"

    @property
    def believable(self) -> bool:
        """Whether the node must take the messages for sound."""
        return self.lies or self.effect in ("goes on", "holds at times")

    def is_seen(self, codes: Iterable[str]) -> bool:
        return any(code.startswith((self.code, self.otherwise)) for code in codes)

    def begin(self, robot: Any) -> int:
        """Inject it. Returns how many commands had come before."""
        with robot.record:
            before = len(robot.commands)
            if self.joints:
                robot.mutate_joints = self.joints()
            if self.image:
                robot.mutate_image = self.image()
            robot.harmless = self.believable
        if self.inject:
            self.inject(robot)
        return before


def on_joints(name: str, effect: str, mutate: Any) -> Fault:
    return Fault(name, effect, "no_observation:joint_states", lambda: mutate)


def on_image(name: str, effect: str, mutate: Any, code: str = "") -> Fault:
    return Fault(name, effect, code or "no_observation:front", image=lambda: mutate)


def jump(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    mutate = with_positions(change)
    return Fault(name, "latches", "jump", lambda: mutate, lies=True, otherwise="guard")


FAULTS = (
    on_joints("joint states stop", "holds", nothing),
    on_joints("a joint is missing", "holds", without_joint2),
    on_joints("a joint is renamed", "holds", renamed),
    on_joints("a joint is named twice", "holds", duplicated_joint),
    on_joints("joints in another order", "goes on", reordered),
    on_joints("further joints", "goes on", extra_joint),
    on_joints("a position is NaN", "holds", set_one(float("nan"))),
    on_joints("a position is infinite", "holds", set_one(float("inf"))),
    on_joints("fewer positions than names", "holds", with_positions(lambda p: p[:2])),
    on_joints("no positions", "holds", with_positions(lambda p: p[:0])),
    on_joints("no names", "holds", with_fields(name=lambda m: [])),
    jump("degrees instead of radians", np.rad2deg),
    jump("a joint teleports", lambda p: p + [0, 1.4, 0]),
    Fault(
        "a joint creeps out of its range", "latches", "guard", lambda: Drift(0.02), lies=True
    ),
    on_joints("joint stamps of zero", "holds", moved(-np.inf)),
    on_joints("joint stamps from the past", "holds", moved(-2.0)),
    on_joints("joint stamps from the future", "holds", moved(5.0)),
    Fault("joint states late by 0.2 s", "holds", "no_observation:joint_states",
          lambda: Delay(0.2)),
    Fault("joint states in bursts of 0.3 s", "holds at times", "", lambda: Burst(30)),
    on_joints("every joint state twice", "goes on", lambda message: (message, message)),
    Fault("joint states out of order", "goes on", "", Swap),
    Fault("two publishers of joint states", "holds", "publishers:joint_states",
          inject=second_joints),
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
    on_image("another encoding", "latches", with_fields(encoding="bgr8"), "image_changed:front"),
    on_image("an unknown encoding", "latches", with_fields(encoding="nv99"),
             "image_changed:front"),
    on_image("an image without pixels", "latches", with_fields(width=0, height=0, step=0),
             "image_changed:front"),
    on_image("the image is truncated", "holds",
             with_fields(data=lambda m: m.data[: len(m.data) // 2])),
    on_image("no image data", "holds", with_fields(data=array.array("B"))),
    on_image("rows shorter than the image", "holds", with_fields(step=7)),
    on_image("image stamps of zero", "holds", moved(-np.inf)),
    on_image("image stamps from the past", "holds", moved(-2.0)),
    on_image("image stamps from the future", "holds", moved(5.0)),
    Fault("images late by 0.4 s", "holds", "no_observation:front", image=lambda: Delay(0.4)),
    Fault("images in bursts of 0.5 s", "holds at times", "", image=lambda: Burst(15)),
    Fault("images out of order", "goes on", image=Swap),
    Fault("two publishers of images", "holds", "publishers:image_raw", inject=second_camera),
    Fault("all sensors stop at once", "holds", "no_observation:front",
          lambda: nothing, lambda: nothing),
    Fault("the controller goes away", "holds", "no_controller",
          inject=lambda robot: robot.disconnect()),
    Fault("another node commands, too", "holds", "commanders:joint_command",
          inject=second_commander),
)  # fmt: skip


class Arm:
    """One interface: its node process, its robot, and what diagnostics say of it."""

    def __init__(
        self,
        interface: str,
        policy: Any,
        start_node: Any,
        make_robot: Any,
        start: tuple[float, ...] = START,
        **options: Any,
    ) -> None:
        self.interface = interface
        parameters: dict[str, Any] = {"command_interface": interface}
        self.promises = Promises.of(policy)
        gripper = ""
        if interface == "interpolated":
            parameters, gripper = INTERPOLATED, "gripper"
            grips = frozenset({*INTERPOLATED["gripper__open"], *INTERPOLATED["gripper__closed"]})
            self.promises = Promises.of(policy, interval_ns=SECOND // RATE, grips=grips)
        self.robot = make_robot(
            JOINTS,
            start,
            interface=parameters["command_interface"],
            namespace=f"/{interface}/",
            gripper=gripper,
        )
        self.process = start_node(
            "-r",
            f"__ns:=/{interface}",
            policy=policy,
            autostart=True,
            **parameters,
            **options,
        )
        self.values: dict[str, int] = {}  # what diagnostics count
        self.heard = 0  # diagnostics
        self.message = ""
        self.active_faults: set[str] = set()
        self.faulted = False

    def hear(self, message: Any) -> None:
        for status in message.status:
            if status.name == f"/{self.interface}/sarnn: control":
                # First, since it is looked at after the others have been waited for.
                self.values = {
                    item.key: int(item.value) for item in status.values if item.value.isdecimal()
                }
                self.heard += 1
                self.message = status.message
                self.faulted = status.level == status.ERROR
                self.active_faults = {
                    value.key.removeprefix("fault ")
                    for value in status.values
                    if value.key.startswith("fault ")
                }

    def call(self, service: str) -> Any:
        return self.robot.graph.trigger(f"/{self.interface}/sarnn/{service}")


@pytest.fixture(scope="module")
def arms(policy, start_node, make_robot, graph, wait):
    from diagnostic_msgs.msg import DiagnosticArray

    arms = [Arm(interface, policy, start_node, make_robot) for interface in INTERFACES]
    for arm in arms:
        graph.node.create_subscription(DiagnosticArray, "/diagnostics", arm.hear, 50)
    for arm in arms:
        wait(lambda arm=arm: arm.robot.commands, lambda arm=arm: arm.process.output)
    return arms


@pytest.fixture(scope="module")
def outcomes():
    return Outcomes("streams", INTERFACES)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "_"))
def test_fault(fault, arms, outcomes, wait):
    for arm in arms:
        arm.robot.reset()
        assert arm.call("reset").success
        assert arm.call("start").success, arm.process.output
    for arm in arms:
        # In full swing: five commands in a row.
        wait(
            lambda arm=arm: len(arm.robot.commands) >= 5 and not arm.active_faults,
            lambda arm=arm: arm.process.output,
        )

    for arm in arms:
        arm.before = fault.begin(arm.robot)

    def follow(arm: Arm) -> None:
        EFFECTS[fault.effect](arm, fault, wait)
        outcomes.enter(fault.name, arm.interface, fault.effect, fault.code)
        assert_joints(arm)
        arm.promises.check(arm.robot)

    with ThreadPoolExecutor(len(arms)) as pool:
        list(pool.map(follow, arms))


def sees_and_holds(arm: Arm, fault: Fault, wait: Any) -> None:
    """The fault is named, no command comes, and all goes on by itself when it is over."""
    wait(
        lambda: fault.is_seen(arm.active_faults),
        lambda: f"{fault.code}, has {arm.active_faults}\n{arm.process.output}",
    )
    assert_silent(arm, wait)
    arm.robot.mend()
    seen = len(arm.robot.commands)
    wait(lambda: len(arm.robot.commands) > seen + 2, lambda: f"goes on\n{arm.process.output}")


def latches(arm: Arm, fault: Fault, wait: Any) -> None:
    """The fault stays after its cause, ~/start does not help, and ~/reset moves nothing."""
    wait(
        lambda: arm.faulted and fault.is_seen(arm.active_faults),
        lambda: f"{fault.code}, has {arm.active_faults}\n{arm.process.output}",
    )
    assert not arm.call("start").success
    arm.robot.mend()
    assert_silent(arm, wait)
    answer = arm.call("reset")
    assert answer.success and "~/start" in answer.message
    assert_silent(arm, wait)


def goes_on(arm: Arm, fault: Fault, wait: Any) -> None:
    """Eight ticks in a row are commanded while it lasts.

    Not the first eight: on a busy machine this robot's own messages may come too late, and then
    the node holds, as it should. What harms does so again within any eight ticks.
    """
    wait(
        lambda: unbroken_ns(arm) >= 7 * arm.promises.period_ns and not arm.active_faults,
        lambda: f"{arm.active_faults}, {unbroken_ns(arm) / SECOND:.2f} s\n{arm.process.output}",
    )


def unbroken_ns(arm: Arm) -> int:
    """For how long commands have come without a gap, since the fault began."""
    times = [command.at_ns for command in list(arm.robot.commands)[arm.before :]]
    first = len(times) - 1
    while first > 0 and times[first] - times[first - 1] <= 1.5 * arm.promises.period_ns:
        first -= 1
    return times[-1] - times[first] if times else 0


def rests(arm: Arm, fault: Fault, wait: Any) -> None:
    seen = arm.robot.published
    wait(lambda: arm.robot.published > seen + 100, "a second of bursts")


EFFECTS = {
    "holds": sees_and_holds,
    "latches": latches,
    "goes on": goes_on,
    "holds at times": rests,
}


def assert_joints(arm: Arm) -> None:
    wanted = {name for name in JOINTS if name != arm.robot.gripper}
    for command in arm.robot.commands:
        assert set(command.names) == wanted
    assert bool(arm.robot.grips) == bool(arm.robot.gripper)


def assert_silent(arm: Arm, wait: Any) -> None:
    """To be called when the fault was reported: no command comes later than a period from now, and
    the time that one may take to here, for three ticks more."""
    robot, promises, begin = arm.robot, arm.promises, arm.robot.now_ns
    if not robot.connected:
        assert_counts_none(arm, wait)
        return

    def allowed() -> int:
        return begin + promises.period_ns + promises.slack_ns(robot)

    wait(lambda: robot.now_ns > allowed() + 3 * promises.period_ns, "three ticks")
    now = robot.now_ns
    wait(lambda: robot.echoed_ns >= now, "what was sent to this process has come")
    late = (robot.last_ns - allowed()) / SECOND
    assert late <= 0.0, f"a command {late:.3f} s later than allowed\n{arm.process.output}"


def assert_counts_none(arm: Arm, wait: Any) -> None:
    """As `assert_silent`, where nobody listens, by what the node itself counts."""
    commands, heard = arm.values["commands"], arm.heard
    wait(lambda: arm.heard >= heard + 2, "two more diagnostics, which come once a second")
    assert arm.values["commands"] == commands, arm.process.output


def test_the_catalogue_in_the_documentation_is_what_happened(outcomes):
    outcomes.compare(len(FAULTS))
