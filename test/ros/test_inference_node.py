# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The real inference node, as a process, over real DDS, against a robot that records: what it
publishes, its services and parameters, its guard, and what it says to bad input."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_testing import in_background, small_spec

from sarnn_ros.control.tick import Tick

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_by_one")]

START = (0.3, 0.3, 0.3)
JOINTS = ("joint1", "joint2", "gripper")
INTERFACES = ("joint_state", "joint_trajectory", "forward_position")


def control_status(messages, node="/sarnn"):
    """The newest status `control` of the node, as message and values."""
    for message in reversed(messages):
        for status in message.status:
            if status.name == f"{node}: control":
                return status.message, {item.key: item.value for item in status.values}
    return "", {}


@pytest.fixture
def diagnostics(graph):
    from diagnostic_msgs.msg import DiagnosticArray

    return graph.collect(DiagnosticArray, "/diagnostics", 50)


@pytest.mark.parametrize(
    ("interface", "number"), [*zip(INTERFACES, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))]
)
def test_it_commands_until_it_is_stopped(interface, number, policy, start_node, make_robot, wait):
    namespace = f"/{interface}_{number.name}/"
    robot = make_robot(JOINTS, START, interface=interface, namespace=namespace)
    node = start_node(
        "-r",
        f"__ns:={namespace[:-1]}",
        policy=policy,
        autostart=True,
        command_interface=interface,
        command_joints=["gripper", "joint1", "joint2"],
    )
    robot.command_names = ("gripper", "joint1", "joint2")
    wait(lambda: len(robot.commands) >= 15, lambda: f"15 commands\n{node.output}")
    assert node.stop(number) == 0, node.output
    assert "Traceback" not in node.output

    *commands, hold = robot.commands
    for command in robot.commands:
        assert command.names == ("gripper", "joint1", "joint2")
        assert np.abs(command.position - command.present).max() < 0.45
    gaps = np.diff([command.at_ns for command in commands]) * 1e-9
    assert np.median(gaps) == pytest.approx(0.1, abs=0.02)
    # The hold comes last: the last command once more, at rest.
    assert hold.holds(commands[-1])
    if interface == "joint_trajectory":
        assert all(command.duration_ns == 100_000_000 for command in commands)
        assert any(command.velocity.any() for command in commands[1:])
        assert not hold.velocity.any()


def test_the_control_thread_has_the_core_and_the_priority_it_asks_for(
    policy, start_node, make_robot, wait
):
    core = max(os.sched_getaffinity(0))
    robot = make_robot(JOINTS, START, namespace="/core/")
    node = start_node(
        "-r", "__ns:=/core", policy=policy, autostart=True,
        cpu_affinity=[core], realtime_priority=1,
    )  # fmt: skip
    wait(lambda: robot.commands, lambda: node.output)

    threads = [int(path.name) for path in Path(f"/proc/{node.pid}/task").iterdir()]
    # Whether this machine grants the priority or not: the node commands.
    urgent = [one for one in threads if os.sched_getscheduler(one) == os.SCHED_FIFO]
    assert len(urgent) == 1 or "rtprio" in node.output
    if len(os.sched_getaffinity(0)) > 1:
        bound = [one for one in threads if os.sched_getaffinity(one) == {core}]
        assert len(bound) == 1 and urgent in ([], bound)
    assert node.stop() == 0, node.output


#: The node, and what its process holds when it has run.
SHOW_PROCESS = """
import sys, cv2
from sarnn_ros.ros.inference_node import main
main()
heavy = ("torch", "onnxscript", "safetensors", "mujoco", "matplotlib", "sarnn_ros.training")
print("imported:", [name for name in heavy if name in sys.modules])
print("OpenCV's threads:", cv2.getNumThreads())
"""


def test_its_process_runs_a_policy_without_torch_and_with_one_opencv_thread(
    policy, launch, make_robot, wait
):
    robot = make_robot(JOINTS, START, namespace="/process/")
    parameters = ["-p", f"policy:={policy}", "-p", "start_on_activate:=true"]
    node = launch(
        sys.executable, "-c", SHOW_PROCESS, "--ros-args", *parameters, "-r", "__ns:=/process"
    )
    wait(lambda: robot.commands, lambda: node.output)
    assert node.stop() == 0, node.output
    assert "imported: []" in node.output
    assert "OpenCV's threads: 1\n" in node.output


def test_what_it_shows(make_policy, start_node, make_robot, graph, wait):
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CompressedImage, Image
    from visualization_msgs.msg import ImageMarker

    robot = make_robot(JOINTS, START, namespace="/shows/", image_size=(128, 96))
    markers = graph.collect(ImageMarker, "/shows/sarnn/attention_points")
    # Reliable, as RViz's displays ask for; the others as rqt_image_view does.
    overlays = graph.collect(Image, "/shows/sarnn/attention_overlay", 5)
    images = graph.collect(Image, "/shows/sarnn/predicted_image", qos_profile_sensor_data)
    besides = graph.collect(Image, "/shows/sarnn/predicted_beside", qos_profile_sensor_data)
    jpegs = graph.collect(
        CompressedImage, "/shows/sarnn/attention_overlay/compressed", qos_profile_sensor_data
    )
    parameters = {"autostart": True, "dry_run": True, "watch__image_size": False}
    policy = make_policy()
    node = start_node("-r", "__ns:=/shows", policy=policy, **parameters)
    wait(
        lambda: len(markers) > 6 and overlays and images and besides and jpegs,
        lambda: node.output,
    )

    assert {marker.ns for marker in markers} == {"encoder", "decoder"}
    for marker in markers:
        assert marker.type == ImageMarker.POINTS and len(marker.points) == 4
        assert marker.header.frame_id == "camera" and marker.header.stamp.sec > 0
        if marker.ns != "decoder":
            assert all(0 <= p.x < 128 and 0 <= p.y < 96 for p in marker.points)
    overlay = overlays[-1]
    assert overlay.encoding == "bgr8" and overlay.width * 3 == overlay.step
    stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in markers]
    assert (overlay.header.stamp.sec, overlay.header.stamp.nanosec) in stamps
    assert (images[-1].width, images[-1].height, images[-1].encoding) == (32, 24, "rgb8")
    # 128 x 96 enlarged by 3, and the state below it.
    assert overlay.width == 384 and overlay.height > 288
    assert "jpeg" in jpegs[-1].format and jpegs[-1].header.frame_id == "camera"
    picture = np.frombuffer(overlay.data, np.uint8).reshape(overlay.height, -1, 3)
    # The very picture, its colours in the right order.
    (found,) = wait(
        lambda: [found for found in jpegs if found.header.stamp == overlay.header.stamp],
        lambda: node.output,
    )
    decoded = cv2.imdecode(np.frombuffer(found.data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded[288:].astype(int) - picture[288:]).mean() < 8
    # The model's 32 x 24 image twice, enlarged by 11, a gap between.
    assert besides[-1].width == 2 * 352 + 4 and besides[-1].height > 264
    assert not robot.commands, "a dry run commands nothing"

    assert graph.set_parameter("/shows/sarnn", "dry_run", False)[0]
    node.wait_for("stopped: dry_run is set to false")
    published = robot.published
    wait(lambda: robot.published > published + 40, "four ticks")
    assert not robot.commands, "no parameter sets a robot in motion"
    assert graph.trigger("/shows/sarnn/start").success
    wait(lambda: robot.commands, lambda: node.output)
    refused, reason = graph.set_parameter("/shows/sarnn", "command_interface", "joint_state")
    assert not refused and "configure" in reason
    refused, reason = graph.set_parameter("/shows/sarnn", "input_param_joints", 2.0)
    assert not refused and "input_param_joints out of range" in reason and "1.0" in reason
    assert graph.set_parameter("/shows/sarnn", "input_param_joints", 0.5)[0]
    assert graph.set_parameter("/shows/sarnn", "input_param_image", 0.5)[0]
    seen = len(robot.commands)
    wait(lambda: len(robot.commands) > seen + 3, lambda: node.output)

    assert graph.set_parameter("/shows/sarnn", "dry_run", True)[0]
    published = robot.published
    wait(lambda: robot.published > published + 40, "four ticks")
    *_, last, hold = robot.commands
    assert hold.holds(last)
    count, published = len(robot.commands), robot.published
    assert graph.trigger("/shows/sarnn/start").success
    wait(lambda: robot.published > published + 40, "four ticks")
    assert len(robot.commands) == count

    # A clock that nobody publishes holds the robot; who turns it off again starts nothing.
    assert graph.set_parameter("/shows/sarnn", "use_sim_time", True)[0]
    node.wait_for("stopped: use_sim_time has changed")
    assert graph.set_parameter("/shows/sarnn", "dry_run", False)[0]
    assert graph.trigger("/shows/sarnn/start").success
    assert graph.set_parameter("/shows/sarnn", "use_sim_time", False)[0]
    published = robot.published
    wait(lambda: robot.published > published + 40, "four ticks")
    assert len(robot.commands) == count
    assert graph.trigger("/shows/sarnn/start").success
    wait(lambda: len(robot.commands) > count, lambda: node.output)


def test_start_stop_and_reset(policy, start_node, make_robot, graph, wait, diagnostics):
    robot = make_robot(JOINTS, START, namespace="/services/")
    node = start_node(
        "-r", "__ns:=/services", policy=policy, autostart=True, start_on_activate=False
    )
    name = "/services/sarnn"
    wait(lambda: control_status(diagnostics, name)[0].startswith("stopped"), lambda: node.output)
    assert not robot.commands, "nothing moves before ~/start"
    assert graph.trigger(f"{name}/start").success
    wait(lambda: len(robot.commands) >= 5, lambda: node.output)
    assert graph.trigger(f"{name}/stop").success
    count, published = len(robot.commands), robot.published
    wait(lambda: robot.published > published + 40, "four ticks")
    assert len(robot.commands) <= count + 1, "at most a message that was on its way"
    resets = int(control_status(diagnostics, name)[1]["resets"])
    assert graph.trigger(f"{name}/start").success
    wait(lambda: len(robot.commands) > count + 5, lambda: node.output)
    assert graph.trigger(f"{name}/reset").success
    # ~/start and ~/reset both forget the recurrent state; without a fault the motion goes on.
    wait(
        lambda: int(control_status(diagnostics, name)[1]["resets"]) >= resets + 2,
        lambda: str(control_status(diagnostics, name)),
    )
    count = len(robot.commands)
    wait(lambda: len(robot.commands) > count + 5, lambda: node.output)


def test_after_a_reset_nothing_comes_from_an_image_of_before(
    make_policy, start_node, make_robot, graph, wait, diagnostics
):
    # Old enough to tell, and yet fresh: the image that latched would still serve a tick.
    camera = {"name": "front", "width": 32, "height": 24, "max_age": 60.0}
    robot = make_robot(JOINTS, START, namespace="/forgets/")
    node = start_node(
        "-r",
        "__ns:=/forgets",
        policy=make_policy(spec=small_spec(cameras=[camera])),
        autostart=True,
    )
    name = "/forgets/sarnn"
    wait(lambda: len(robot.commands) >= 5, lambda: node.output)

    def as_bgr(message):
        message.encoding = "bgr8"
        return (message,)

    with robot.record:
        robot.mutate_image = as_bgr
    wait(lambda: "image_changed" in str(control_status(diagnostics, name)), lambda: node.output)
    with robot.record:
        robot.mutate_image = lambda message: ()
    published = robot.published
    wait(lambda: robot.published > published + 20, "what was on its way has arrived")
    assert graph.trigger(f"{name}/reset").success
    seen, said = len(robot.commands), len(node.output)
    assert graph.trigger(f"{name}/start").success
    node.wait_for("no message has arrived on '/forgets/image_raw'", after=said)
    assert len(robot.commands) == seen
    robot.mend()
    wait(lambda: len(robot.commands) > seen + 3, lambda: node.output)


LIMITS = {
    "position": {"guard__position_max": [0.2]},
    "step": {"guard__max_step": [0.0001]},
    "velocity": {"guard__max_velocity": [0.0001]},
    "acceleration": {"guard__max_acceleration": [0.0001]},
}


@pytest.mark.parametrize("check", LIMITS)
def test_the_guard_refuses_then_latches(check, policy, start_node, make_robot, wait, diagnostics):
    namespace = f"/refuses_{check}"
    robot = make_robot(JOINTS, START, namespace=f"{namespace}/")
    node = start_node("-r", f"__ns:={namespace}", policy=policy, autostart=True, **LIMITS[check])

    def latched():
        message, values = control_status(diagnostics, f"{namespace}/sarnn")
        return message.startswith("faulted") and int(values.get(f"limit violations {check}", 0))

    wait(latched, lambda: node.output)
    # Diagnostics may come just before the log.
    node.wait_for("call ~/reset, then ~/start: refused 5 times in 5 ticks, the last: command ref")
    said = r"joint[12]: the (commanded position|step|commanded velocity|commanded accel)"
    wait(lambda: re.search(said, node.output), lambda: node.output)
    assert len(robot.commands) <= 1, "the first acceleration is from rest"


@pytest.mark.parametrize("check", ["position", "step"])
def test_the_guard_clamps_where_told_to(check, policy, start_node, make_robot, wait):
    namespace = f"/clamps_{check}"
    robot = make_robot(JOINTS, START, namespace=f"{namespace}/")
    limit = {"position": {"guard__position_max": [0.32]}, "step": {"guard__max_step": [0.01]}}
    parameters = {**limit[check], f"guard__on_{check}": "clamp"}
    node = start_node("-r", f"__ns:={namespace}", policy=policy, autostart=True, **parameters)
    wait(lambda: len(robot.commands) >= 10, lambda: node.output)
    for command in robot.commands:
        if check == "position":
            assert (command.position <= 0.32 + 1e-9).all()
        else:  # the arm may move on until the command arrives
            assert (np.abs(command.position - command.present) <= 0.02).all()


def damage(policy, tmp_path, kind):
    """A policy directory with something wrong, and words of the error about it."""
    folder = tmp_path / "policy"
    if kind == "missing":
        return folder, ["does not exist", "sarnn train"]
    shutil.copytree(policy, folder)
    if kind == "no config":
        (folder / "config.json").unlink()
        return folder, ["holds no policy"]
    if kind == "tampered":
        config = json.loads((folder / "config.json").read_text())
        config["envelope"]["max_step"][0] = 100.0
        (folder / "config.json").write_text(json.dumps(config))
        return folder, ["config.json"]
    graph_file = folder / "policy_command.onnx"
    graph_file.write_bytes(graph_file.read_bytes()[:-100])
    return folder, ["policy_command.onnx", "damaged"]


@pytest.mark.parametrize("kind", ["missing", "no config", "tampered", "damaged"])
def test_a_policy_that_cannot_be_used_ends_an_autostart(kind, policy, tmp_path, start_node, wait):
    folder, words = damage(policy, tmp_path, kind)
    node = start_node(policy=folder, autostart=True)
    wait(lambda: node.returncode is not None, lambda: node.output)
    assert node.returncode == 1
    assert str(folder) in node.output and "Traceback" not in node.output
    for word in words:
        assert word in node.output


def test_all_wrong_parameters_are_listed_at_once(policy, start_node, wait):
    node = start_node(
        policy=policy,
        autostart=True,
        polcy="x",
        guard__latch_after=0,
        guard__step_margin="wide",
        command_interface="zeros",
        robot_description_topic="'robot description'",
        takeover__command_topic="leader//command",
    )
    wait(lambda: node.returncode is not None, lambda: node.output)
    assert node.returncode == 1
    for words in (
        "did you mean 'policy'",
        "guard.latch_after: must be at least 1",
        "'wide'",
        "'zeros'",
        "robot_description_topic: not a topic's name",
        "takeover.command_topic: not a topic's name",
    ):
        assert words in node.output


def test_a_running_node_describes_its_parameters_and_keeps_to_it(start_node, graph):
    """As `ros2 param describe` asks. What is wrong at the start waits for configure to list it."""
    from rcl_interfaces.srv import DescribeParameters

    wrong = {"realtime_priority": 100, "guard__step_margin": 11.0}
    node = start_node("-r", "__ns:=/told", autostart=False, **wrong)
    names = ["guard.step_margin", "realtime_priority", "autostart", "health.warn_above"]
    margin, priority, autostart, live = graph.call(
        DescribeParameters,
        "/told/sarnn/describe_parameters",
        DescribeParameters.Request(names=names),
    ).descriptors
    (ends,) = margin.floating_point_range
    assert (ends.from_value, ends.to_value) == (0.0, 10.0)
    (ends,) = priority.integer_range
    assert (ends.from_value, ends.to_value) == (0, 99)
    assert priority.additional_constraints == "0 to 99; takes effect at configure"
    assert live.additional_constraints == "0 to 100"
    assert [one.read_only for one in (margin, priority, autostart, live)] == [0, 0, 1, 0]

    for name, value, allowed in [
        ("guard.step_margin", 11.0, False),
        ("guard.step_margin", 10.000001, False),  # rclpy alone would take it for the end
        ("guard.step_margin", float("nan"), False),
        ("guard.step_margin", 2, True),  # an integer for a double
        ("realtime_priority", -1, False),
        ("realtime_priority", 2, True),  # not live, but the node is unconfigured
        ("autostart", True, False),
    ]:
        successful, reason = graph.set_parameter("/told/sarnn", name, value)
        assert successful == allowed and (successful or name in reason), (name, value, reason)
    assert node.stop() == 0


@pytest.mark.parametrize("value", ["1", "yes please", "[true]"])
def test_an_autostart_that_is_no_bool_does_not_idle(value, policy, start_node, wait):
    node = start_node(policy=policy, autostart=value, guard__latch_after=0)
    wait(lambda: node.returncode is not None, lambda: node.output)
    assert node.returncode == 1
    for words in (
        "[ERROR]",
        "autostart: ",
        "must be true or false",
        "guard.latch_after: ",
        "remedy",
    ):
        assert words in node.output
    assert "Traceback" not in node.output


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"command_joints": ["joint1", "elbow", "gripper"]}, ["elbow", "command_joints"]),
        ({"guard__max_step": [0.1, 0.2]}, ["max_step", "2 values", "3 joints"]),
        ({"guard__position_min": [5.0]}, ["joint1", "no position is left"]),
    ],
)
def test_parameters_that_contradict_the_policy(parameters, words, policy, start_node, wait):
    node = start_node(policy=policy, autostart=True, **parameters)
    wait(lambda: node.returncode is not None, lambda: node.output)
    assert node.returncode == 1
    for word in words:
        assert word in node.output


def test_a_camera_of_another_size_is_named_and_holds(policy, start_node, make_robot, wait):
    robot = make_robot(JOINTS, START, namespace="/size/", image_size=(80, 60))
    node = start_node("-r", "__ns:=/size", policy=policy, autostart=True)
    node.wait_for("front: the image has 80 x 60 pixels, in training it had 64 x 64")
    published = robot.published
    wait(lambda: robot.published > published + 50, "five ticks")
    assert not robot.commands


def test_sensors_that_are_not_compatible_are_named(policy, start_node, make_robot):
    make_robot(JOINTS, START, namespace="/qos/")
    # The camera is best effort, as cameras are.
    node = start_node("-r", "__ns:=/qos", policy=policy, autostart=True, reliability="reliable")
    node.wait_for("holding: front: no message has arrived on '/qos/image_raw'")
    node.wait_for("RELIABILITY")


def test_forces_are_felt_and_not_commanded(make_policy, start_node, make_robot, graph, wait):
    """Efforts of 80 N m on the joints' own topic, a wrench on another: the guard's limits, trained
    on [-1, 1] rad, do not see them; without the wrench nothing is commanded."""
    from array import array

    from geometry_msgs.msg import WrenchStamped

    wrench = "geometry_msgs/msg/WrenchStamped"
    sources = [
        {"names": ["gripper", "joint1"], "field": "effort", "command": False},
        {"topic": "wrench", "type": wrench, "names": ["force.z"], "command": False},
        {"names": list(JOINTS)},
    ]
    policy = make_policy(spec=small_spec(joints=sources))
    robot = make_robot(JOINTS, START, namespace="/felt/")
    publisher = graph.node.create_publisher(WrenchStamped, "/felt/wrench", 10)
    silent = threading.Event()

    def feel(message):
        force = WrenchStamped(header=message.header)
        force.wrench.force.z = -80.0
        if not silent.is_set():
            publisher.publish(force)
        message.effort = array("d", [80.0, -80.0, 80.0 * (robot.published % 2)])
        return [message]

    robot.mutate_joints, robot.harmless = feel, True
    node = start_node("-r", "__ns:=/felt", policy=policy, autostart=True)
    wait(lambda: len(robot.commands) >= 10, lambda: node.output)
    assert all(command.names == JOINTS for command in robot.commands)
    assert all(np.abs(command.position).max() < 1.5 for command in robot.commands)
    silent.set()
    node.wait_for("holding: wrench: ")
    graph.node.destroy_publisher(publisher)


@contextlib.contextmanager
def embedded(graph, policy, namespace, **parameters):
    """The node in this process, as the parity test embeds it: the list of its ticks."""
    from rclpy.parameter import Parameter

    from sarnn_ros.ros.inference_node import InferenceNode

    ticks: list[Tick] = []
    parameters = {"policy": str(policy), "start_on_activate": True} | parameters
    node = InferenceNode(
        on_tick=ticks.append,
        context=graph.context,
        namespace=namespace,
        parameter_overrides=[
            Parameter(name.replace("__", "."), value=value) for name, value in parameters.items()
        ],
    )
    try:
        with in_background(node):
            node.trigger_configure()
            node.trigger_activate()
            yield ticks
    finally:
        node.close()
        node.destroy_node()


def test_the_hook_sees_what_the_policy_saw(policy, graph, make_robot, wait):
    robot = make_robot(JOINTS, START, namespace="/hook/")
    with embedded(graph, policy, "/hook") as ticks:
        wait(lambda: [tick for tick in ticks if tick.sent], "a tick that commands")
        tick = next(tick for tick in ticks if tick.sent)
        assert tick.label_ns % 100_000_000 == 0
        assert tick.observation.images["front"].shape == (24, 32, 3)
        np.testing.assert_array_equal(tick.sent.position, tick.prediction.action)
        assert tick.label_ns - tick.observation.stamps["front"] <= 200_000_000
        wait(lambda: robot.commands, "the command")


def test_images_are_predicted_only_while_someone_looks(policy, graph, make_robot, wait):
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    make_robot(JOINTS, START, namespace="/looks/")
    with embedded(graph, policy, "/looks") as ticks:

        def predicted(looking):
            """A tick from now on that commands, with the images or without."""
            seen = len(ticks)
            return wait(
                lambda: any(
                    tick.sent and (tick.prediction.images is not None) == looking
                    for tick in ticks[seen:]
                ),
                f"a command, and images predicted: {looking}",
            )

        predicted(False)
        began = len(ticks)
        assert all(tick.prediction is None or tick.prediction.images is None for tick in ticks)
        for topic in ("predicted_image", "predicted_beside"):
            subscription = graph.node.create_subscription(
                Image, f"/looks/sarnn/{topic}", lambda _: None, qos_profile_sensor_data
            )
            predicted(True)
            graph.node.destroy_subscription(subscription)
            predicted(False)
        assert not any(tick.reset for tick in ticks[began:]), "the state goes on"


@pytest.mark.parametrize("p99", [1.0, None])
def test_health_has_images_predicted_only_with_a_reference_to_compare_with(
    p99, make_policy, graph, make_robot, wait
):
    make_robot(JOINTS, START, namespace="/reference/")
    policy = make_policy(p99=p99)
    with embedded(graph, policy, "/reference", health__image=True) as ticks:
        wait(lambda: sum(tick.sent is not None for tick in ticks) > 3, "commands")
        images = [tick.prediction.images for tick in ticks if tick.prediction]
    assert all((each is not None) == (p99 is not None) for each in images)
