# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Start the inference node, and RViz if wanted.

A launch file of your own may include this one once per arm, each in a GroupAction with its own
`namespace` (docs/how-to/two_arms.md). Later sources win: the node's defaults, SetParameter of a
file that includes this one, `params_file`, and those of the arguments below that are given.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import yaml
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import Parameter, ParameterValue
from launch_ros.substitutions import FindPackagePrefix, FindPackageShare
from rclpy.validate_namespace import validate_namespace

SHARE = FindPackageShare("sarnn_ros")

#: Launch argument = node parameter (of `start`: START_PARAMETER), with its type.
PARAMETERS = {
    "policy": (str, "policy directory, as written by 'sarnn train'"),
    "command_interface": (str, "joint_state, joint_trajectory or forward_position"),
    "autostart": (bool, "configure and activate at start-up"),
    "start": (bool, "move the arm as soon as the node is active, without ~/start"),
    "dry_run": (bool, "do everything except sending the command"),
    "use_sim_time": (bool, "take the time from /clock"),
}
#: Not `start`: parameters `start.…` exist.
START_PARAMETER = "start_on_activate"
#: Launch argument -> where in the policy's spec the topic is that it replaces.
OBSERVED = {
    "image_topic": ("cameras", "the (first) camera"),
    "joint_topic": ("joints", "the (first) measured joints"),
}
#: Where a launch keeps the absolute topics that its nodes command.
COMMANDED = "sarnn_ros_commanded_topics"
#: Before the node's command. A SIGTERM ends `ros2 launch` without its nodes (ros2/launch#666), and
#: so does a SIGKILL: the kernel then sends the node SIGTERM, at which it holds and ends.
END_WITH_LAUNCH = "setpriv --pdeathsig TERM"
# Fast DDS 2 (Humble, Jazzy) reads the first, Fast DDS 3 (Kilted and later) the second.
FASTDDS_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def _environment():
    """Fast DDS loses camera images with its defaults; a profile of the user's own stays."""
    if any(variable in os.environ for variable in FASTDDS_VARIABLES):
        return {}
    profile = PathJoinSubstitution([SHARE, "config", "fastdds_large_images.xml"])
    return dict.fromkeys(FASTDDS_VARIABLES, profile)


def _value(context, name):
    return LaunchConfiguration(name).perform(context)


def _wants_rviz(context):
    return IfCondition(LaunchConfiguration("rviz")).evaluate(context)


def _prefix(context):
    """None where the user gives `launch-prefix`: a prefix from here would be taken instead."""
    given = LaunchConfiguration("launch-prefix", default="").perform(context)
    return None if given or not shutil.which("setpriv") else END_WITH_LAUNCH


def observed(policy):
    """What a policy observes, in the order of its spec: {"cameras": [(topic, message type), …],
    "joints": likewise, "names": those of the cameras}. playback.launch.py asks, too.

    :raises RuntimeError: there is no policy that could be read.
    """
    file = Path(policy).expanduser() / "config.json"
    try:
        if file.exists() and not file.is_file():  # a FIFO would wait for ever
            raise OSError("not a file")
        spec = json.loads(file.read_text(encoding="utf-8"))["spec"]
        return {
            kind: [(source["topic"], source["type"]) for source in spec[kind]]
            for kind in ("cameras", "joints")
        } | {"names": [camera["name"] for camera in spec["cameras"]]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RuntimeError(f"policy: no topics in '{file}': {error!r}") from error


def replacements(context):
    """Those of the policy's topics for which an argument names another, {topic: other}.

    :raises RuntimeError: the policy is not known.
    """
    given = [name for name in OBSERVED if _value(context, name)]
    if not given:
        return {}
    policy = _value(context, "policy")
    if not policy:
        raise RuntimeError(f"{given[0]} needs policy:= as well: it replaces the policy's topic")
    sources = observed(policy)
    return {sources[OBSERVED[name][0]][0][0]: _value(context, name) for name in given}


def _refuse_unknown_arguments(context):
    """`dryrun:=true` would command: launch accepts any name. A file that includes this one has
    arguments of its own, so they are checked only if this file was given to `ros2 launch`.

    :raises RuntimeError: an argument that is not declared here.
    """
    here = Path(__file__).resolve()
    by_name = {"sarnn_ros", here.name} <= set(sys.argv)
    if by_name or here in [Path(word).resolve() for word in sys.argv]:
        known = {argument.name for argument in _arguments()}
        known |= {"launch-prefix", "launch-prefix-filter"}  # options of `ros2 launch`
        unknown = {text.partition(":=")[0] for text in context.argv} - known
        if unknown:
            raise RuntimeError(f"no such argument: {', '.join(sorted(unknown))}; see --show-args")


def _refuse_a_second_commander(context):
    """An argument that is not given has the value of an earlier include, unless each include is in
    a group: the second arm's commands would go to the first arm. A relative topic is in its
    namespace.

    :raises RuntimeError: an absolute `command_topic` that an earlier include has, too.
    """
    topic = _value(context, "command_topic")
    taken = context.get_locals_as_dict().get(COMMANDED, ())
    if topic in taken:
        raise RuntimeError(
            f"inference.launch.py is included twice with command_topic '{topic}': put each "
            "include into a GroupAction of its own, or its arguments reach the next one"
        )
    if topic.startswith("/"):
        context.extend_globals({COMMANDED: (*taken, topic)})


def _refuse_mistakes(context):
    """:raises Exception: what launch ignores, or notices only after nodes have been started."""
    _refuse_unknown_arguments(context)
    _refuse_a_second_commander(context)
    file = _value(context, "params_file")
    if file and not Path(file).is_file():
        raise RuntimeError(f"params_file: '{file}' is not a file")
    validate_namespace(f"/{_value(context, 'namespace').strip('/')}")
    for name, (kind, _) in PARAMETERS.items():
        value = _value(context, name)
        if kind is bool and value.lower() not in ("", "true", "false"):
            raise RuntimeError(f"{name}: '{value}' is neither true nor false")
    if _wants_rviz(context):
        FindPackagePrefix("rviz2").perform(context)


def _start(context):
    """The nodes. An exception would end `ros2 launch`, but not the nodes that it is starting (a
    first arm's, the simulator): they would go on without it. A shutdown ends them as well.
    """
    try:
        _refuse_mistakes(context)
        return _nodes(context)
    except Exception as error:
        return [LogInfo(msg=f"error: {error}"), Shutdown(reason=str(error))]


def _nodes(context):
    given = [
        (START_PARAMETER if name == "start" else name, LaunchConfiguration(name), kind)
        for name, (kind, _) in PARAMETERS.items()
        if _value(context, name)
    ]
    inference = LifecycleNode(
        package="sarnn_ros",
        executable="inference_node",
        exec_name="inference_node",  # in launch's log; else that of the prefix
        name="sarnn",
        namespace=LaunchConfiguration("namespace"),
        prefix=_prefix(context),
        output="screen",
        emulate_tty=True,
        additional_env=_environment(),
        # Given ones twice, for the node by its name and for all nodes ('-p'): of a file's sections
        # '/sarnn' and '/**' the later one wins, and over whatever is added to the other.
        parameters=[
            # No file of ours by default: it would count more than SetParameter does.
            *([LaunchConfiguration("params_file")] if _value(context, "params_file") else []),
            {name: ParameterValue(value, value_type=kind) for name, value, kind in given},
            *(Parameter(name, value, value_type=kind) for name, value, kind in given),
        ],
        remappings=[
            ("joint_command", LaunchConfiguration("command_topic")),
            *replacements(context).items(),
        ],
    )
    shown, pictures = _pictures(context)
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", shown],
        condition=IfCondition(LaunchConfiguration("rviz")),
        additional_env=_environment(),
        # The topics in the configuration are absolute; these follow RViz's namespace.
        remappings=[(f"/{topic}", topic) for topic in pictures],
    )
    return [inference, rviz]


def _pictures(context):
    """A configuration of RViz, and the topics of pictures in it. With several cameras each has
    displays of its own, made from those of the file that is installed.
    """
    file = Path(PathJoinSubstitution([SHARE, "config", "sarnn.rviz"]).perform(context))
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    displays = config["Visualization Manager"]["Displays"]
    images = [one for one in displays if one["Class"] == "rviz_default_plugins/Image"]
    try:
        cameras = observed(_value(context, "policy"))["names"] if _wants_rviz(context) else []
    except RuntimeError:  # no policy yet: the node says so
        cameras = []
    if len(cameras) > 1:
        others = [one for one in displays if one not in images]
        images = [_of_camera(one, camera) for camera in cameras for one in images]
        config["Visualization Manager"]["Displays"] = images + others
        config["Window Geometry"] |= {one["Name"]: {"collapsed": False} for one in images}
        with tempfile.NamedTemporaryFile("w", suffix=".rviz", delete=False) as made:
            yaml.safe_dump(config, made, sort_keys=False)
        file = Path(made.name)
    return str(file), [one["Topic"]["Value"].lstrip("/") for one in images]


def _of_camera(display, camera):
    topic = display["Topic"]
    value = topic["Value"].replace("/sarnn/", f"/sarnn/{camera}/")
    return {**display, "Name": f"{display['Name']}: {camera}", "Topic": {**topic, "Value": value}}


def _arguments():
    described = {
        name: f"{text} (default: params_file's, or the node's)"
        for name, (_, text) in PARAMETERS.items()
    }
    described |= {name: f"{text} (default: the policy's)" for name, (_, text) in OBSERVED.items()}
    described |= {
        "command_topic": "where the commands go",
        "params_file": "parameters of the node, YAML, as config/inference.yaml",
        "namespace": "of the node, its topics and RViz",
        "rviz": "start RViz as well",
    }
    defaults = {"command_topic": "joint_command", "rviz": "false"}
    return [
        DeclareLaunchArgument(name, default_value=defaults.get(name, ""), description=text)
        for name, text in described.items()
    ]


def generate_launch_description():
    """What `ros2 launch` calls."""
    return LaunchDescription([*_arguments(), OpaqueFunction(function=_start)])
