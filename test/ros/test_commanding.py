# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How the real node commands over real DDS: set-points between ticks, the gripper, the start, what
a hold is, and what may be wrong around it without a command being late or unsound."""

from __future__ import annotations

import signal
import sys

import numpy as np
import pytest
from in_time import NotInTime, assert_in_time
from ros_testing import JOINTS, small_spec
from signalling import stop_while_it_waits

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_by_one")]

START = (0.3, 0.3, 0.3)
MAX_STEP = 0.45
INTERFACES = ("joint_state", "joint_trajectory", "forward_position")
#: What a node says that has not sent a hold, or has nothing to hold.
NO_HOLD = ("no hold was sent", "no set-points to the last command")


@pytest.fixture
def status(graph):
    """The newest `control` of a node's diagnostics, by its namespace: (message, values)."""
    from diagnostic_msgs.msg import DiagnosticArray

    newest = {}

    def hear(message):
        for one in message.status:
            if one.name.endswith("/sarnn: control"):
                values = {item.key: item.value for item in one.values}
                newest[one.name.removesuffix("/sarnn: control")] = (one.message, values)

    subscription = graph.node.create_subscription(DiagnosticArray, "/diagnostics", hear, 50)
    yield lambda namespace: newest.get(namespace, ("", {}))
    graph.node.destroy_subscription(subscription)


@pytest.mark.parametrize(
    ("interface", "kind"), [("forward_position", "linear"), ("joint_state", "cubic")]
)
def test_set_points_at_a_rate_of_their_own(
    interface, kind, policy, start_node, make_robot, graph, wait
):
    namespace = f"/streams_{kind}"
    robot = make_robot(JOINTS, START, interface=interface, namespace=f"{namespace}/")
    node = start_node(
        "-r",
        f"__ns:={namespace}",
        policy=policy,
        autostart=True,
        command_interface=interface,
        command_rate=50,
        interpolation=kind,
    )
    wait(lambda: len(robot.commands) >= 100, lambda: node.output)
    # On a busy machine a joint state may be too old for a hold. The log says so, and then it is
    # tried again.
    for _ in range(5):
        said = len(node.output)
        assert graph.trigger(f"{namespace}/sarnn/stop").success
        count, published = len(robot.commands), robot.published
        wait(lambda until=published + 40: robot.published > until, "four ticks")
        assert len(robot.commands) <= count + 2, "at most the hold and one that was on its way"
        is_held = "a hold was sent" in node.output[said:]
        if is_held:
            break
        assert_in_time(graph.trigger(f"{namespace}/sarnn/start").success, node.output)
        wait(lambda until=count + 20: len(robot.commands) > until, lambda: node.output)
    assert_in_time(is_held, node.output)

    gaps = np.diff([command.at_ns for command in robot.commands[:100]]) * 1e-9
    # A busy machine delays some, by which others come sooner: most are as they should be.
    assert np.mean(gaps) > 0.015 and np.percentile(gaps, 25) < 0.03
    path = np.array([command.position for command in robot.commands])
    # The last ones are one set-point and its hold: nothing jumps to the end of the segment.
    np.testing.assert_array_equal(path[-1], path[-2], node.output)
    for command in robot.commands:
        assert (np.abs(command.position - command.present) < MAX_STEP).all()
    # Five set-points a tick make the steps small; one a tick would be a step as large as five.
    steps = np.abs(np.diff(path, axis=0)).max(axis=1)
    whole = np.abs(path[5:] - path[:-5]).max(axis=1)
    assert np.percentile(steps, 90) < 0.5 * np.percentile(whole, 90)
    assert "Traceback" not in node.output


@pytest.mark.parametrize("rate", [0, 50])
def test_a_gripper_on_a_topic_of_its_own(rate, policy, start_node, make_robot, graph, wait):
    from std_msgs.msg import Float64

    namespace = f"/grips_{rate}"
    # The finger stands where it counts as open, as one does that holds something large.
    start = (0.3, 0.3, -0.3)
    robot = make_robot(JOINTS, start, interface="forward_position", namespace=f"{namespace}/")
    robot.command_names = ("joint2", "joint1")
    node = start_node(
        "-r",
        f"__ns:={namespace}",
        policy=policy,
        autostart=True,
        command_interface="forward_position",
        command_joints=["joint2", "joint1"],
        command_rate=rate,
        gripper__joints=["gripper"],
        gripper__interface="float64",
        gripper__open=[-0.8],
        gripper__closed=[0.7],
        start__blend_time=0.5,
    )
    node.wait_for("nobody listens to")
    node.wait_for(f"'{namespace}/gripper_command': is the controller loaded")
    assert not robot.commands, "an arm without its gripper is not commanded either"
    grips = graph.collect(Float64, f"{namespace}/gripper_command")
    wait(lambda: len(grips) >= 10 and len(robot.commands) >= 10, lambda: node.output)
    assert graph.trigger(f"{namespace}/sarnn/stop").success
    count, published = len(robot.commands), robot.published
    wait(lambda: robot.published > published + 40, "four ticks")
    # The prediction is near 0.3, nearer to closed: it closes at once, without a blend or a segment
    # from where the finger is, and stays closed in the hold.
    assert {message.data for message in grips} == {0.7}
    assert all(command.position.shape == (2,) for command in robot.commands)
    assert len(robot.commands) <= count + 2


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"command_rate": 5}, "less than the policy's 10 Hz"),
        (
            {"command_rate": 100, "command_interface": "joint_trajectory"},
            "a trajectory is interpolated by its controller",
        ),
    ],
)
def test_command_rates_that_make_no_sense(parameters, words, policy, start_node, wait):
    node = start_node(policy=policy, autostart=True, **parameters)
    wait(lambda: node.returncode is not None, lambda: node.output)
    assert node.returncode == 1 and words in node.output


def test_ramp_interruption_ramp_again_warm_up_and_blend(
    policy, start_node, make_robot, graph, wait
):
    from diagnostic_msgs.msg import DiagnosticArray

    said = []  # what diagnostics called the state, in order

    def hear(message):
        for status in message.status:
            if status.name == "/begins/sarnn: control" and status.message not in said[-1:]:
                said.append(status.message)

    graph.node.create_subscription(DiagnosticArray, "/diagnostics", hear, 50)
    # The demonstrations began between 0.2 and 0.4.
    robot = make_robot(JOINTS, (0.7, 0.3, -0.1), namespace="/begins/")
    node = start_node(
        "-r",
        "__ns:=/begins",
        policy=policy,
        autostart=True,
        start__ramp_speed=0.15,
        start__warm_up_ticks=15,
        start__blend_time=0.5,
    )

    def interrupted():
        return bool(said) and said[-1].startswith("stopped: the ramp")

    def begun_again():
        """On a busy machine a joint state or an image may be too old, which interrupts a ramp."""
        if interrupted():
            node.wait_for(" s old, at most")  # nothing else may
            assert graph.trigger("/begins/sarnn/start").success
        return interrupted()

    def ramping():
        return not begun_again() and len(robot.commands) >= 10 and said[-1:] == ["ramping"]

    wait(ramping, lambda: node.output)
    with robot.record:
        robot.mutate_joints = lambda message: ()
    wait(interrupted, lambda: node.output)
    node.wait_for("stopped: the ramp to the start pose was interrupted; call ~/start")
    robot.mend()
    robot.catch_up()
    half_way = robot.position[0]
    assert 0.41 < half_way < 0.68
    count, published = len(robot.commands), robot.published
    wait(lambda: robot.published > published + 50, "five ticks")
    assert len(robot.commands) == count, "it does not go on by itself"

    assert graph.trigger("/begins/sarnn/start").success
    wait(lambda: not begun_again() and "commanding" in said, lambda: f"{said}\n{node.output}")
    path = np.array([command.position for command in robot.commands])
    ramp = path[: np.flatnonzero(path[:, 0] == 0.4)[0] + 1]
    steps = np.abs(np.diff(ramp, axis=0))
    # Once it goes back: the second ramp begins where the arm is, not where the first was to lead.
    assert np.percentile(steps, 90) <= 0.0151 and steps.max() < 0.1
    np.testing.assert_allclose(ramp[-1, 2], 0.2, atol=0.05)
    gaps = np.diff([command.at_ns for command in robot.commands[count:]]) * 1e-9
    assert gaps.max() > 1.4, "15 ticks without a command, after the hold"
    assert said.index("ramping") < said.index("commanding")
    for command in robot.commands:
        assert (np.abs(command.position - command.present) < MAX_STEP).all()


def test_the_hold_of_each_interface(policy, start_node, make_robot, wait, status):
    held = []  # beside each other, since each waits most of the time
    for interface, rate in (*((one, 0) for one in INTERFACES), ("joint_state", 50)):
        namespace = f"/holds_{interface}_{rate}"
        robot = make_robot(JOINTS, START, interface=interface, namespace=f"{namespace}/")
        node = start_node(
            *("-r", f"__ns:={namespace}"), policy=policy, command_interface=interface,
            command_rate=rate,
        )  # fmt: skip
        held.append((interface, namespace, robot, node))
    # On a busy machine a joint state may be too old for a hold, or a segment is interrupted and
    # there is nothing to hold. The log says so, and then it is tried again.
    for _ in range(5):
        begun = [(len(robot.commands), len(node.output)) for _, _, robot, node in held]
        for (_, _, robot, node), (count, _) in zip(held, begun, strict=True):
            wait(lambda r=robot, c=count: len(r.commands) >= c + 10, lambda node=node: node.output)
        for _, namespace, robot, node in held:
            wait(
                lambda namespace=namespace: (
                    "fault no_observation:front" not in status(namespace)[1]
                ),
                lambda node=node: node.output,
            )
            with robot.record:
                robot.mutate_image = lambda message: ()
        again = []
        for one, (_, said) in zip(held, begun, strict=True):
            interface, namespace, robot, node = one
            wait(
                lambda namespace=namespace: "fault no_observation:front" in status(namespace)[1],
                lambda node=node: node.output,
            )
            published = robot.published  # what was on its way arrives meanwhile
            wait(lambda robot=robot, p=published: robot.published > p + 20, "two ticks")
            robot.catch_up()
            count, published = len(robot.commands), robot.published
            wait(lambda robot=robot, p=published: robot.published > p + 40, "four ticks")
            assert len(robot.commands) == count, "nothing comes after the hold"
            *_, before, last, hold = robot.commands
            if any(text in node.output[said:] for text in NO_HOLD):
                again.append(one)
                continue
            # The robot is where it was told to be, nearly: the hold is what it was told once more.
            # Without a free core there may be none, or one before: the arm stands all the same.
            # A trajectory is held where it comes to rest.
            assert_in_time(
                hold.holds(last) and not np.array_equal(before.position, hold.position),
                f"{one[:2]} {node.output[said:]}",
            )
            assert hold.names == last.names
            if interface == "joint_trajectory":
                assert last.velocity.any() and not hold.velocity.any()
                assert hold.duration_ns == 100_000_000
        if not again:
            return
        held = again
        for _, _, robot, _ in held:
            robot.mend()
    raise NotInTime(f"no hold in five times: {[one[:2] for one in held]}")


STOPPED_LISTENER = """
import rclpy, sys
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, JointState
rclpy.init()
node = rclpy.create_node("listener", namespace=sys.argv[1])
for kind, topic in ((JointState, "joint_command"), (Image, "sarnn/attention_overlay")):
    qos = QoSProfile(depth=1000)  # reliable
    node.create_subscription(kind, topic, lambda message: print("heard", flush=True), qos)
print("listens", flush=True)
rclpy.spin(node)
"""


def test_a_reliable_subscriber_that_has_stopped_reading_delays_no_command(
    policy, start_node, launch, make_robot, wait
):
    """Its process is stopped: it takes nothing, acknowledges nothing, and is still there. What
    happens where it is stopped with a lock of Fast DDS: docs/explanation/safety.md."""
    robot = make_robot(JOINTS, START, namespace="/deaf/")
    node = start_node("-r", "__ns:=/deaf", policy=policy, autostart=True)
    listener = launch(sys.executable, "-c", STOPPED_LISTENER, "/deaf")
    listener.wait_for("heard")
    for _ in range(4):
        before, said = len(robot.commands), len(node.output)
        wait(lambda before=before: len(robot.commands) > before, lambda: node.output)
        stop_while_it_waits(listener.pid)
        before, published = len(robot.commands), robot.published
        wait(lambda until=published: robot.published > until + 500, "five seconds")
        stalled = "in the middle of a motion", "no tick for"  # by the length of the wait
        if not any(text in node.output[said:] for text in stalled):
            break
        # It woke between the look and the signal, and was stopped with such a lock.
        listener.send(signal.SIGCONT)
        for service in ("reset", "start"):
            assert robot.graph.trigger(f"/deaf/sarnn/{service}").success
    # Fifty ticks; a blocked writer would have sent none.
    assert_in_time(len(robot.commands) - before >= 40, node.output)
    gaps = np.diff([command.at_ns for command in robot.commands[before:]]) * 1e-9
    assert np.median(gaps) == pytest.approx(0.1, abs=0.02)
    assert node.stop() == 0, "nor does it keep the node from ending"
    listener.send(signal.SIGCONT)


def test_a_network_that_overflows_latches(
    make_policy, start_node, make_robot, wait, status, monkeypatch
):
    # Training refuses to write such a policy; a damaged memory asks nobody.
    monkeypatch.setattr("sarnn_ros.policy.export.check_backend", lambda *_: None)
    policy = make_policy(change=lambda model: model.pos_encoder[0].weight.mul_(1e38))
    robot = make_robot(JOINTS, START, namespace="/overflows/")
    node = start_node("-r", "__ns:=/overflows", policy=policy, autostart=True)
    node.wait_for("the prediction is not finite")
    wait(lambda: status("/overflows")[0].startswith("faulted"), lambda: node.output)
    assert "fault non_finite" in status("/overflows")[1]
    published = robot.published
    wait(lambda: robot.published > published + 50, "five ticks")
    assert not robot.commands
    assert node.returncode is None and "Traceback" not in node.output


def test_a_sensor_slower_than_min_rate_holds(policy, start_node, make_robot, wait, status):
    robot = make_robot(JOINTS, START, namespace="/slow/")
    node = start_node("-r", "__ns:=/slow", policy=policy, autostart=True, watch__min_rate=20)
    wait(lambda: len(robot.commands) >= 25, lambda: node.output)
    count = 0

    def every_third(message):  # 10 Hz: fresh enough for each tick
        nonlocal count
        count += 1
        return (message,) if count % 3 == 0 else ()

    with robot.record:
        robot.mutate_image = every_third
    node.wait_for("'/slow/image_raw' comes at 1")
    node.wait_for("at least 20 Hz are wanted (watch.min_rate)")
    wait(lambda: "fault rate:image_raw" in status("/slow")[1], lambda: node.output)
    seen, published = len(robot.commands), robot.published
    wait(lambda: robot.published > published + 40, "four ticks")
    assert len(robot.commands) <= seen + 1
    robot.mend()
    seen = len(robot.commands)
    wait(lambda: len(robot.commands) > seen + 3, lambda: node.output)


@pytest.mark.parametrize("topic", ["joint_command", "gripper_command"])
def test_a_second_commander_holds_the_robot(
    topic, policy, start_node, make_robot, graph, wait, status
):
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64

    kind = {"joint_command": JointState, "gripper_command": Float64}[topic]
    robot = make_robot(JOINTS, START, namespace="/rivals/", gripper="gripper")

    def intrude():
        robot.intruders.append(graph.node.create_publisher(kind, f"/rivals/{topic}", 1))

    def fault():
        return status("/rivals")[1].get(f"fault commanders:{topic}", "")

    def received():
        return len(robot.commands) + len(robot.grips)

    intrude()
    node = start_node(
        *("-r", "__ns:=/rivals"), policy=policy, autostart=True, gripper__joints=["gripper"],
        gripper__interface="float64",
    )  # fmt: skip
    both = f"2 publishers on '/rivals/{topic}': /probe, /rivals/sarnn: the robot would follow"
    wait(lambda: both in fault(), lambda: node.output)
    node.wait_for(f"holding: 2 publishers on '/rivals/{topic}'")
    # Discovery takes its time, and commands may be sent before the other is known; none after.
    seen, published = received(), robot.published
    wait(lambda: robot.published > published + 50, "five ticks")
    assert received() <= seen + 2, "at most a hold that was on its way"

    robot.mend()
    wait(lambda: len(robot.commands) >= 5 and not fault(), lambda: node.output)
    intrude()
    wait(lambda: both in fault(), lambda: node.output)
    seen, published = received(), robot.published
    wait(lambda: robot.published > published + 50, "five ticks")
    assert received() <= seen + 2, "at most a hold that was on its way"

    # In a dry run what others command is their own affair.
    assert graph.set_parameter("/rivals/sarnn", "dry_run", True)[0]
    assert graph.trigger("/rivals/sarnn/start").success
    wait(
        lambda: status("/rivals")[0].startswith("commanding (dry run)") and not fault(),
        lambda: node.output,
    )


def test_two_cameras(make_policy, start_node, make_robot, graph, wait, status):
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image
    from visualization_msgs.msg import ImageMarker

    spec = small_spec(
        cameras=[
            {"name": "front", "width": 32, "height": 24},
            {"name": "hand", "topic": "hand/image_raw", "width": 24, "height": 24},
        ]
    )
    robot = make_robot(JOINTS, START, namespace="/two/")
    name = "/two/sarnn"
    markers = {
        camera: graph.collect(ImageMarker, f"{name}/{camera}/attention_points")
        for camera in ("front", "hand")
    }
    images = {
        (camera, topic): graph.collect(Image, f"{name}/{camera}/{topic}", qos_profile_sensor_data)
        for camera in ("front", "hand")
        for topic in ("attention_overlay", "predicted_image")
    }
    node = start_node("-r", "__ns:=/two", policy=make_policy(spec=spec), autostart=True)
    node.wait_for("holding: hand: no message has arrived on '/two/hand/image_raw'")
    assert not robot.commands, "one camera of two is none"

    publisher = graph.node.create_publisher(Image, "/two/hand/image_raw", qos_profile_sensor_data)

    def publish():
        message = robot.image_message()
        message.header.frame_id = "hand"
        publisher.publish(message)

    timer = graph.node.create_timer(1 / 30, publish)
    try:
        wait(lambda: len(robot.commands) >= 10, lambda: node.output)
        wait(lambda: all(images.values()) and all(markers.values()), lambda: node.output)
        frames = {"front": "camera", "hand": "hand"}
        for camera, received in markers.items():
            assert {marker.header.frame_id for marker in received} == {frames[camera]}
        assert images["hand", "attention_overlay"][-1].width >= 64
        shapes = {"front": (32, 24), "hand": (24, 24)}
        for camera, shape in shapes.items():
            image = images[camera, "predicted_image"][-1]
            assert (image.width, image.height) == shape
            assert image.header.frame_id == frames[camera]
    finally:
        graph.node.destroy_timer(timer)
        graph.node.destroy_publisher(publisher)
    wait(lambda: "fault no_observation:hand" in status("/two")[1], lambda: node.output)


def test_a_node_that_would_watch_one_arm_and_move_another_is_refused(make_policy, start_node):
    spec = small_spec(joints=[{"names": list(JOINTS), "topic": "/arm1/joint_states"}])
    node = start_node("-r", "__ns:=/arm2", policy=make_policy(spec=spec))
    assert node.ended() == 1
    for words in ("'/arm1/joint_states'", "'/arm2/joint_command'", "may watch one arm", "remedy"):
        assert words in node.output
    assert "Traceback" not in node.output


def test_a_held_joint_is_in_every_trajectory_where_it_was(policy, start_node, make_robot, wait):
    start = (0.3, 0.25, 0.3)
    robot = make_robot(JOINTS, start, interface="joint_trajectory", namespace="/held/")
    node = start_node(
        "-r", "__ns:=/held", policy=policy, command_interface="joint_trajectory",
        hold_joints=["joint2"],
    )  # fmt: skip
    wait(lambda: len(robot.commands) >= 15, lambda: node.output)
    assert node.stop() == 0, node.output
    for command in robot.commands:
        assert command.names == JOINTS
        assert command.position[1] == pytest.approx(0.25, abs=1e-9)
    others = np.array([command.position[[0, 2]] for command in robot.commands])
    assert np.ptp(others, axis=0).max() > 0.0, "the other joints follow the policy"
