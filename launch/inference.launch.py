# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Start the inference node, and RViz if wanted.

All of it is parameters, remappings and two environment variables of ordinary nodes, so a launch
file of your own may do the same directly, or include this one once per arm, each in a GroupAction
with its own `namespace` (docs/node.md has such a file): without the group, `ros2 launch` hands
what was given to the first on to the next. Values are taken from, in rising order: the node's
defaults, `params_file`, and those arguments below that are given.
"""

import os

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("sarnn_ros")

#: Launch argument = node parameter, with its type.
PARAMETERS = {
    "policy": (str, "policy directory, as written by 'sarnn train'"),
    "command_interface": (str, "joint_state, joint_trajectory or forward_position"),
    "autostart": (bool, "configure and activate at once"),
    "dry_run": (bool, "do everything except sending the command"),
    "use_sim_time": (bool, "take the time from /clock"),
}
#: Launch argument -> topic of the node.
TOPICS = {
    "image_topic": ("image_raw", "the camera"),
    "joint_topic": ("joint_states", "the measured joints"),
    "command_topic": ("joint_command", "where the commands go"),
}
#: Where a launch keeps the absolute topics that its nodes command.
COMMANDED = "sarnn_ros_commanded_topics"
# Fast DDS 2 (Humble, Jazzy) reads the first, Fast DDS 3 (Kilted and later) the second.
FASTDDS_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def _environment():
    """Fast DDS loses camera images with its defaults; a profile of the user's own stays."""
    if any(variable in os.environ for variable in FASTDDS_VARIABLES):
        return {}
    profile = PathJoinSubstitution([SHARE, "config", "fastdds_large_images.xml"])
    return dict.fromkeys(FASTDDS_VARIABLES, profile)


def _refuse_a_second_commander(context):
    """An argument that is left out has the value of an include before, unless each is in a group:
    the second arm's commands would go to the first arm. A relative topic is in its namespace.

    :raises RuntimeError: an absolute `command_topic` that an earlier include has, too.
    """
    topic = LaunchConfiguration("command_topic").perform(context)
    taken = context.get_locals_as_dict().get(COMMANDED, ())
    if topic in taken:
        raise RuntimeError(
            f"inference.launch.py is included twice with command_topic '{topic}': put each "
            "include into a GroupAction of its own, or its arguments reach the next one"
        )
    if topic.startswith("/"):
        context.extend_globals({COMMANDED: (*taken, topic)})


def _start(context):
    def given(name):
        return LaunchConfiguration(name).perform(context) != ""

    _refuse_a_second_commander(context)

    inference = LifecycleNode(
        package="sarnn_ros",
        executable="inference_node",
        name="sarnn",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        emulate_tty=True,
        additional_env=_environment(),
        parameters=[
            LaunchConfiguration("params_file"),
            {
                name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                for name, (kind, _) in PARAMETERS.items()
                if given(name)
            },
        ],
        remappings=[(topic, LaunchConfiguration(name)) for name, (topic, _) in TOPICS.items()],
    )
    namespace = LaunchConfiguration("namespace").perform(context).strip("/")
    prefix = f"/{namespace}" if namespace else ""
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", PathJoinSubstitution([SHARE, "config", "sarnn.rviz"])],
        condition=IfCondition(LaunchConfiguration("rviz")),
        additional_env=_environment(),
        # The topics in the configuration are those of a node without a namespace.
        remappings=[
            (f"/sarnn/{topic}", f"{prefix}/sarnn/{topic}")
            for topic in ("attention_overlay", "predicted_beside")
        ],
    )
    return [inference, rviz]


def generate_launch_description():
    """What `ros2 launch` calls."""
    arguments = [
        DeclareLaunchArgument(name, default_value="", description=f"{text} (default: params_file)")
        for name, (_, text) in PARAMETERS.items()
    ]
    arguments += [
        DeclareLaunchArgument(name, default_value=topic, description=text)
        for name, (topic, text) in TOPICS.items()
    ]
    arguments += [
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution([SHARE, "config", "inference.yaml"]),
            description="parameters of the node, YAML",
        ),
        DeclareLaunchArgument("namespace", default_value="", description="of the node"),
        DeclareLaunchArgument("rviz", default_value="false", description="start RViz as well"),
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_start)])
