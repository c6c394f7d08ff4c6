# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The launch files, run with stand-ins for launch; what they ask for is then really started."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from launch_stand_ins import (
    MODULES,
    Process,
    ShutDown,
    load,
    load_module,
    parameters_of,
    real_signature,
)
from launch_stand_ins import launch as stand_in_launch
from lifecycle_msgs.msg import Transition
from rcl_interfaces.srv import GetParameters
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from ros_testing import JOINTS, small_spec

from sarnn_ros.control.settings import DECLARATIONS, TYPE_NAMES, build_settings
from sarnn_ros.share import FASTDDS_VARIABLES
from sarnn_ros.spec import parse_spec
from sarnn_ros.viz import foxglove

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"


@pytest.fixture(autouse=True)
def _no_profile_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in FASTDDS_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def rviz2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """RViz counts as installed."""
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "rviz2").touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))


def write_policy(folder: Path, *joints: dict[str, Any]) -> str:
    """As much of a policy directory as the launch files read."""
    cameras = [{"name": "front", "topic": "/camera/image_raw"}, {"name": "wrist", "topic": "hand"}]
    spec = parse_spec({"cameras": cameras, "joints": list(joints)})
    (folder / "config.json").write_text(json.dumps({"spec": spec.model_dump(mode="json")}))
    return str(folder)


@pytest.fixture
def policy(tmp_path: Path) -> str:
    return write_policy(
        tmp_path,
        {"topic": "measured", "names": ["a", "b"]},
        {"topic": "measured", "names": ["a"], "field": "effort", "command": False},
    )


def run(name: str, **arguments: str) -> list[Process]:
    return stand_in_launch(LAUNCH / name, ROOT, **arguments)


@pytest.mark.parametrize("file", sorted(LAUNCH.glob("*.py")), ids=lambda file: file.name)
def test_what_the_files_call_takes_these_arguments(file: Path) -> None:
    """The stand-ins take whatever they were written for; this asks the real launch."""
    origins = {member.__name__: name for name, members in MODULES.items() for member in members}
    called = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name in origins:
                positional, keywords = real_signature(origins[name], name)
                assert len(node.args) <= positional, f"{name}, line {node.lineno}"
                given = {keyword.arg for keyword in node.keywords}
                assert given <= keywords, f"{name}, line {node.lineno}"
                called.append(name)
    assert len(called) > 5


def test_the_arguments_are_those_in_the_readme() -> None:
    description = load(LAUNCH / "inference.launch.py")
    names = {item.name for item in description.entities if hasattr(item, "default_value")}
    assert names == {
        *("policy", "params_file", "namespace", "command_interface", "use_sim_time", "autostart"),
        "start",
        *("dry_run", "rviz", "image_topic", "joint_topic", "command_topic"),
    }


def test_the_arguments_are_settings_of_the_same_type() -> None:
    """The launch file cannot read them: `ros2 launch` runs in a Python without pydantic 2."""
    types = {"bool": bool, "string": str}
    arguments = load_module(LAUNCH / "inference.launch.py").PARAMETERS
    for argument, (kind, _) in arguments.items():
        name = "start_on_activate" if argument == "start" else argument
        declared = "bool" if name == "use_sim_time" else TYPE_NAMES[DECLARATIONS[name].kind]
        assert types[declared] is kind
    for choice in DECLARATIONS["command_interface"].choices:
        assert choice in arguments["command_interface"][1]


def test_inference_alone() -> None:
    (node,) = run("inference.launch.py", policy="/somewhere")
    assert (node.package, node.executable, node.name) == ("sarnn_ros", "inference_node", "sarnn")
    assert node.parameters["policy"] == "/somewhere"
    # Nothing else, not even defaults: they would count more than SetParameter of an outer file,
    # whose `start_on_activate: False` would be lost.
    assert node.parameter_rules == [{"policy": "/somewhere"}, ("policy", "/somewhere")]
    assert node.remappings == {"joint_command": "joint_command"}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("autostart", "false", False),
        ("dry_run", "true", True),
        ("use_sim_time", "true", True),
        ("command_interface", "joint_trajectory", "joint_trajectory"),
        ("policy", "123", "123"),  # a folder may be called so, and stays a string
    ],
)
def test_a_given_argument_is_a_parameter_of_its_type(name: str, text: str, value: Any) -> None:
    (node,) = run("inference.launch.py", **{name: text})
    assert node.parameters[name] == value
    assert type(node.parameters[name]) is type(value)


def test_start_true_is_the_only_way_to_move_at_once() -> None:
    for arguments, wanted in (({}, None), ({"start": "true"}, True), ({"start": "false"}, False)):
        (node,) = run("inference.launch.py", policy="/p", **arguments)
        assert node.parameters.get("start_on_activate") is wanted


def test_an_argument_that_is_not_given_leaves_the_file_alone(tmp_path: Path) -> None:
    """`dry_run: true` in a lab's file must not be undone by a default of the launch file."""
    file = tmp_path / "own.yaml"
    file.write_text("/**: {ros__parameters: {dry_run: true, autostart: false}}")
    (node,) = run("inference.launch.py", params_file=str(file))
    assert node.parameters == {"dry_run": True, "autostart": False}


def test_a_topic_replaces_the_policys_own(policy: str) -> None:
    (node,) = run(
        "inference.launch.py",
        policy=policy,
        image_topic="/camera/color/image_raw",
        joint_topic="joints",
        command_topic="/arm_controller/joint_trajectory",
    )
    assert node.remappings == {
        "/camera/image_raw": "/camera/color/image_raw",
        "measured": "joints",
        "joint_command": "/arm_controller/joint_trajectory",
    }


@pytest.mark.parametrize("argument", ["params_file", "policy"])
def test_a_fifo_is_refused_unread(argument: str, tmp_path: Path) -> None:
    """Whoever opens one waits until somebody writes."""
    os.mkfifo(tmp_path / "config.json")
    arguments = {
        "params_file": {"params_file": str(tmp_path / "config.json")},
        "policy": {"policy": str(tmp_path), "image_topic": "/camera"},
    }
    with pytest.raises(ShutDown, match="not a file"):
        run("inference.launch.py", **arguments[argument])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dryrun": "true", "polcy": "/p"}, "no such argument: dryrun, polcy"),
        ({"params_file": "/typo.yaml"}, "params_file: '/typo.yaml' is not a file"),
        ({"params_file": "/dev/zero"}, "params_file: '/dev/zero' is not a file"),
        ({"image_topic": "/camera"}, "image_topic needs policy:="),
        ({"image_topic": "/camera", "policy": "/nowhere"}, "'/nowhere/config.json'"),
        ({"autostart": "maybe"}, "autostart: 'maybe' is neither true nor false"),
        ({"start": "yes"}, "start: 'yes' is neither true nor false"),
        ({"namespace": "right-arm"}, "Invalid namespace"),
        ({"rviz": "maybe"}, "'maybe' is no condition"),
        ({"rviz": "true"}, "package 'rviz2' not found"),
    ],
)
def test_a_mistake_ends_the_launch_and_all_that_it_started(
    arguments: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by an exception: that would leave what is being started without a launch."""
    monkeypatch.setattr(sys, "argv", ["ros2", "launch", "sarnn_ros", "inference.launch.py"])
    monkeypatch.setenv("AMENT_PREFIX_PATH", sys.prefix)
    with pytest.raises(ShutDown, match=message):
        run("inference.launch.py", **arguments)


def test_arguments_are_known_to_the_file_that_is_launched(
    monkeypatch: pytest.MonkeyPatch, policy: str, rviz2: None
) -> None:
    monkeypatch.setattr(sys, "argv", ["ros2", "launch", str(LAUNCH / "inference.launch.py")])
    with pytest.raises(ShutDown, match="dryrun"):
        run("inference.launch.py", dryrun="true")
    assert run("inference.launch.py", **{"launch-prefix": "nice", "dry_run": "true"})
    # `bag` is an argument of the file that includes it.
    monkeypatch.setattr(sys, "argv", ["ros2", "launch", "sarnn_ros", "playback.launch.py"])
    assert run("playback.launch.py", policy=policy, bag="/b")


def test_two_arms_in_two_namespaces(rviz2: None) -> None:
    both = [
        process
        for namespace in ("left", "right")
        for process in run("inference.launch.py", namespace=namespace, rviz="true")
    ]
    assert [process.namespace for process in both] == ["left", "left", "right", "right"]


#: Ends without destroying its node: beside nodes that are being discovered Fast DDS 2.14 once did
#: not return from that (`set_listener` waited for a discovery that waited for its lock).
RESOLVE = """
import os, sys, rclpy
rclpy.init(args=sys.argv)
print(rclpy.create_node("rviz").resolve_topic_name("/sarnn/attention_overlay"), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("namespace", ["", "/cell/left"])
def test_rviz_shows_the_node_of_its_namespace(
    namespace: str, rviz2: None, environment: dict[str, str]
) -> None:
    _, rviz = run("inference.launch.py", rviz="true")
    remappings = [f"{source}:={target}" for source, target in rviz.remappings.items()]
    arguments = [word for rule in remappings for word in ("-r", rule)]
    if namespace:  # of PushRosNamespace, say, which only launch_ros knows
        arguments += ["-r", f"__ns:={namespace}"]
    command = [sys.executable, "-c", RESOLVE, "--ros-args", *arguments]
    shown = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=True
    ).stdout.strip()
    assert shown == f"{namespace}/sarnn/attention_overlay"


@pytest.fixture
def two_arms() -> str:
    """The launch file in docs/how-to/two_arms.md."""
    text = (ROOT / "docs" / "how-to" / "two_arms.md").read_text(encoding="utf-8")
    return text.split("```python\n")[1].split("```")[0]


def test_two_arms_in_one_launch_file(two_arms: str, tmp_path: Path) -> None:
    file = tmp_path / "two_arms.launch.py"
    file.write_text(two_arms)
    left, right = stand_in_launch(file, ROOT)
    assert (left.namespace, right.namespace) == ("left", "right")
    assert (left.parameters["policy"], right.parameters["policy"]) == (
        "/left_policy",
        "/right_policy",
    )
    assert left.remappings["joint_command"] == "/left_arm/commands"
    assert right.remappings["joint_command"] == "/right_arm/commands"


RIGHT_TOPIC = ', command_topic="/right_arm/commands"'


def test_what_the_second_arm_leaves_out_is_not_the_first_ones(
    two_arms: str, tmp_path: Path
) -> None:
    file = tmp_path / "two_arms.launch.py"
    assert RIGHT_TOPIC in two_arms
    file.write_text(two_arms.replace(RIGHT_TOPIC, ""))
    _, right = stand_in_launch(file, ROOT)
    assert right.remappings["joint_command"] == "joint_command"
    file.write_text(two_arms.replace(RIGHT_TOPIC, "").replace("GroupAction([include])", "include"))
    with pytest.raises(ShutDown, match=r"'/left_arm/commands'.*GroupAction"):
        stand_in_launch(file, ROOT)


@pytest.mark.parametrize("variable", FASTDDS_VARIABLES)
def test_the_users_dds_profile_stays(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "/my/profile.xml")
    (node,) = run("inference.launch.py")
    assert node.environment == {}


def test_fastdds_of_both_generations_gets_the_profile() -> None:
    (node,) = run("inference.launch.py")
    assert set(node.environment) == set(FASTDDS_VARIABLES)
    assert all(Path(path).is_file() for path in node.environment.values())


#: As launch does it: the node writes to a terminal, of which this process has the other end.
PARENT = """
import pty, subprocess, sys
_, slave = pty.openpty()
subprocess.Popen(sys.argv[1:], stdout=slave, stderr=slave).wait()
"""


@pytest.mark.usefixtures("one_by_one")
def test_the_node_ends_with_a_launch_that_is_killed(
    make_policy: Callable[..., Path],
    launch: Callable[..., Any],
    make_robot: Callable[..., Any],
    wait: Callable[..., Any],
) -> None:
    (node,) = run("inference.launch.py")
    if node.prefix is None:
        pytest.skip("no setpriv: it comes with util-linux")
    robot = make_robot(JOINTS, (0.3, 0.3, 0.3))
    parent = launch(
        *(sys.executable, "-c", PARENT, *node.prefix.split()),
        *(sys.executable, "-m", "sarnn_ros.ros.inference_node", "--ros-args"),
        *("-p", f"policy:={make_policy()}", "-p", "start_on_activate:=true"),
        *("-p", "start.wait:=600.0", "-p", "watch.max_gap:=1.0"),
    )
    wait(lambda: len(robot.commands) >= 5, "commands")
    parent.kill()
    wait(lambda: not parent.group, lambda: f"left: {parent.group}")
    robot.wait_for_hold(lambda: parent.output)


def test_the_users_prefix_goes_before_ours() -> None:
    (node,) = run("inference.launch.py", **{"launch-prefix": "gdb -ex run --args"})
    assert node.prefix is None


def test_demo_is_simulator_node_and_rviz(rviz2: None) -> None:
    sim, inference, rviz = run("demo.launch.py", policy="/p", command_interface="joint_trajectory")
    assert (sim.package, sim.executable, sim.name) == ("sarnn_ros", "sim_node", "sim")
    assert sim.parameters == {"command_interface": "joint_trajectory"}
    assert inference.parameters["command_interface"] == "joint_trajectory"
    assert inference.parameters["autostart"] is True
    assert inference.parameters["start_on_activate"] is False
    _, moving, _ = run("demo.launch.py", policy="/p", start="true")
    assert moving.parameters["start_on_activate"] is True
    assert (rviz.package, rviz.executable) == ("rviz2", "rviz2")
    assert Path(rviz.arguments[-1]).is_file()
    with pytest.raises(AssertionError, match="'forward_position' is none of"):  # not simulated
        run("demo.launch.py", policy="/p", command_interface="forward_position")


@pytest.mark.parametrize("file", ["demo.launch.py", "playback.launch.py"])
def test_a_missing_policy_is_said_before_anything_starts(file: str) -> None:
    with pytest.raises(AssertionError, match="'policy' must be given"):
        run(file)


def test_playback_commands_nothing(
    policy: str, rviz2: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a bag only what the policy observes: its commands would reach a controller that runs."""
    node, _, player = run("playback.launch.py", policy=policy, bag="/b")
    assert node.parameters["dry_run"] is node.parameters["start_on_activate"] is True
    assert node.parameters["use_sim_time"] is True
    assert player.executable == "ros2"
    assert player.arguments == [
        *("bag", "play", "/b", "--clock", "100"),
        *("--topics", "/camera/image_raw", "/hand", "/measured"),
    ]
    assert "warning" not in capsys.readouterr().out


def test_playback_plays_what_the_node_then_listens_to(policy: str, rviz2: None) -> None:
    arguments = {"image_topic": "/other/image_raw", "joint_topic": "joints"}
    node, _, player = run("playback.launch.py", policy=policy, bag="/b", **arguments)
    assert node.remappings["/camera/image_raw"] == "/other/image_raw"
    assert node.remappings["measured"] == "joints"
    assert player.arguments[-3:] == ["/other/image_raw", "/hand", "/joints"]


@pytest.mark.parametrize(
    ("joints", "named"),
    [
        ({"topic": "joint_references", "names": ["grip"]}, "/joint_references,"),
        (
            {
                "topic": "/fingers/commands",
                "type": "std_msgs/msg/Float64MultiArray",
                "names": ["grip"],
                "indices": [0],
                "clock": "receive",
            },
            "/fingers/commands,",
        ),
        (
            {
                "topic": "/fingers/value",
                "type": "std_msgs/msg/Float64",
                "names": ["grip"],
                "clock": "receive",
            },
            "/fingers/value,",
        ),
    ],
)
def test_playback_warns_of_commands_that_the_policy_observes(
    joints: dict[str, Any],
    named: str,
    tmp_path: Path,
    rviz2: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    policy = write_policy(tmp_path, {"topic": "/joint_states", "names": ["a"]}, joints)
    *_, player = run("playback.launch.py", policy=policy, bag="/b")
    assert player.arguments[-2:] == ["/joint_states", named.rstrip(",")]
    assert f"warning: the policy observes {named} so" in capsys.readouterr().out


def test_playback_of_a_policy_that_is_not_there_ends(rviz2: None) -> None:
    with pytest.raises(ShutDown, match=r"no topics in '/p/config\.json'"):
        run("playback.launch.py", policy="/p", bag="/b")


def test_the_parameter_file_to_copy_has_the_defaults() -> None:
    assert build_settings(parameters_of(ROOT / "config" / "inference.yaml")) == build_settings({})


def profile(topic: dict[str, Any]) -> QoSProfile:
    """The QoS that a display of RViz asks for."""

    def policy(kind: Any, key: str) -> Any:
        return kind[topic[f"{key} Policy"].replace(" ", "_").upper()]

    return QoSProfile(
        depth=topic["Depth"],
        history=policy(HistoryPolicy, "History"),
        reliability=policy(ReliabilityPolicy, "Reliability"),
        durability=policy(DurabilityPolicy, "Durability"),
        liveliness=LivelinessPolicy.AUTOMATIC,
    )


def panels_of(node: Any) -> set[str]:
    """In the tree of Foxglove's layout."""
    if isinstance(node, str):
        return {node}
    return panels_of(node["first"]) | panels_of(node["second"])


@pytest.mark.parametrize("cameras", [("front",), ("front", "wrist")])
def test_layouts_show_what_the_node_publishes(
    cameras: tuple[str, ...],
    make_policy: Callable[..., Path],
    start_node: Callable[..., Any],
    graph: Any,
    wait: Callable[..., Any],
    rviz2: None,
    request: pytest.FixtureRequest,
) -> None:
    """Topic, type and QoS of each display of RViz and each panel of Foxglove, and the services."""
    views = [{"name": name, "topic": name, "width": 32, "height": 24} for name in cameras]
    policy = make_policy(spec=small_spec(cameras=views))
    node = start_node(policy=policy, autostart=True, dry_run=True)
    request.addfinalizer(node.stop)  # others have its name
    node.wait_for("holding")
    types = dict(graph.node.get_topic_names_and_types())
    services = dict(graph.node.get_service_names_and_types())

    def known() -> dict[str, list[str]]:
        types.update(graph.node.get_topic_names_and_types())
        return types

    def carries(topic: str, kind: str) -> bool:
        return known().get(topic) == [kind]

    def serves(name: str) -> bool:
        services.update(graph.node.get_service_names_and_types())
        return services.get(name) == ["std_srvs/srv/Trigger"]

    _, rviz = run("inference.launch.py", rviz="true", policy=str(policy))
    config = yaml.safe_load(Path(rviz.arguments[1]).read_text(encoding="utf-8"))
    displays = config["Visualization Manager"]["Displays"]
    images = [item for item in displays if item["Class"] == "rviz_default_plugins/Image"]
    assert len(images) == 2 * len(cameras)
    for item in images:
        topic = item["Topic"]["Value"]
        wait(lambda topic=topic: carries(topic, "sensor_msgs/msg/Image"), lambda: node.output)
        (publisher,) = graph.node.get_publishers_info_by_topic(topic)
        fits, why = qos_check_compatible(publisher.qos_profile, profile(item["Topic"]))
        assert fits == QoSCompatibility.OK, (topic, why)
        # Over a bad link the newest picture counts, not every one.
        assert item["Topic"]["Reliability Policy"] == "Best Effort"
        # Each dock has the name of its display.
        assert item["Name"] in config["Window Geometry"]

    layout = foxglove.layout(
        json.loads((ROOT / "config" / "foxglove_layout.json").read_text(encoding="utf-8")), cameras
    )
    shown = set()
    for name, panel in layout["configById"].items():
        match name.partition("!")[0]:
            case "Image":
                topic = panel["imageMode"]["imageTopic"]
                wait(lambda topic=topic: carries(topic, "sensor_msgs/msg/Image"), topic)
                shown.add(topic)
            case "Plot":
                for path in panel["paths"]:
                    topic, _, field = path["value"].partition(".")
                    if field:  # else a constant
                        wait(lambda topic=topic: topic in known(), topic)
                        (kind,) = types[topic]
                        package, _, message = kind.split("/")
                        found = getattr(import_module(f"{package}.msg"), message)
                        fields = found.get_fields_and_field_types()
                        assert fields[field.partition("[")[0]] == "sequence<double>"
            case "DiagnosticSummary":
                topic, kind = panel["topicToRender"], "diagnostic_msgs/msg/DiagnosticArray"
                wait(lambda topic=topic, kind=kind: carries(topic, kind), topic)
            case "CallService":
                name = panel["serviceName"]
                wait(lambda name=name: serves(name), name)
            case other:
                raise AssertionError(other)
    assert shown == {item["Topic"]["Value"] for item in images}


def test_rviz_has_displays_for_each_camera_of_the_policy(policy: str, rviz2: None) -> None:
    _, rviz = run("inference.launch.py", rviz="true", policy=policy)
    config = yaml.safe_load(Path(rviz.arguments[1]).read_text(encoding="utf-8"))
    displays = config["Visualization Manager"]["Displays"]
    images = [item for item in displays if item["Class"] == "rviz_default_plugins/Image"]
    topics = [item["Topic"]["Value"] for item in images]
    assert topics == [
        f"/sarnn/{camera}/{picture}"
        for camera in ("front", "wrist")
        for picture in ("attention_overlay", "predicted_beside")
    ]
    assert {item["Name"] for item in images} <= set(config["Window Geometry"])
    assert rviz.remappings == {topic: topic[1:] for topic in topics}


@pytest.mark.parametrize("cameras", [(), ("front",), ("front", "wrist", "top")])
def test_foxglove_layout_is_consistent(cameras: tuple[str, ...]) -> None:
    file = ROOT / "config" / "foxglove_layout.json"
    layout = foxglove.layout(json.loads(file.read_text(encoding="utf-8")), cameras)

    assert panels_of(layout["layout"]) == set(layout["configById"])
    shown = [
        panel["imageMode"]
        for name, panel in layout["configById"].items()
        if name.startswith("Image!attention")
    ]
    spaces = [f"{camera}/" for camera in cameras] if len(cameras) > 1 else [""]
    # Of the markers on one topic Foxglove draws the last one alone: the expected points.
    assert shown == [{"imageTopic": f"/sarnn/{space}attention_overlay"} for space in spaces]
    lines = {one["label"]: one["value"] for one in layout["configById"]["Plot!health"]["paths"]}
    names = [f"points: {one}" for one in cameras] if len(cameras) > 1 else ["points"]
    assert [lines[name] for name in names] == [
        f"/sarnn/health.data[{2 + row}]" for row in range(len(names))
    ]


OF_ALL = "/**: {ros__parameters: {command_interface: joint_state, guard.step_margin: 1.25}}"
OF_THE_NODE = "NAME: {ros__parameters: {command_interface: forward_position}}"


@pytest.mark.parametrize(
    ("namespace", "sections"), [("", (OF_ALL, OF_THE_NODE)), ("left", (OF_THE_NODE, OF_ALL))]
)
def test_the_real_node_takes_what_launch_gives_it(
    namespace: str,
    sections: tuple[str, str],
    launch: Callable[..., Any],
    graph: Any,
    wait: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """A given argument goes before the file, in whatever order its sections are."""
    name = f"/{namespace}/sarnn".replace("//", "/")
    file = tmp_path / "own.yaml"
    file.write_text("\n".join(sections).replace("NAME", name))
    (node,) = run(
        "inference.launch.py",
        namespace=namespace,
        params_file=str(file),
        autostart="false",
        policy="/123",
        command_interface="joint_trajectory",
    )
    child = launch(
        *(sys.executable, "-m", "sarnn_ros.ros.inference_node"),
        *node.ros_arguments(tmp_path),
        **node.environment,
    )
    assert graph.state(name) == "unconfigured"
    request = GetParameters.Request(names=["policy", "command_interface", "guard.step_margin"])
    values = graph.call(GetParameters, f"{name}/get_parameters", request).values
    assert [item.string_value for item in values[:2]] == ["/123", "joint_trajectory"]
    assert values[2].double_value == 1.25
    # As `ros2 lifecycle set … shutdown` does it from here; the advice to configure would be wrong.
    assert graph.change_state(name, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert (
        graph.trigger(f"{name}/start").message == "finalized: end the process, and start another"
    )
    assert child.stop() == 0
