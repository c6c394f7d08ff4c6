# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Play a bag to the inference node and see what it would do: nothing is commanded.

Only what the policy observes is played: whatever commands the bag holds would reach a controller
that is running.
"""

import importlib.util
from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("sarnn_ros")

# By its path: launch's Python need not have the package (docs/how-to/install.md).
_SPEC = importlib.util.spec_from_file_location(
    "inference_launch", Path(__file__).with_name("inference.launch.py")
)
inference = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(inference)

#: By its type or its name, a topic that a controller may listen to.
COMMAND_TYPES = ("std_msgs/msg/Float", "trajectory_msgs/msg/JointTrajectory")
COMMAND_WORDS = ("command", "reference", "target", "goal", "setpoint", "set_point")


def _play(context):
    """After the include, which has set all its arguments."""
    try:
        sources = inference.observed(LaunchConfiguration("policy").perform(context))
        replaced = inference.replacements(context)
    except Exception as error:
        return [LogInfo(msg=f"error: {error}"), Shutdown(reason=str(error))]
    # As a bag names them: relative names were recorded in the root namespace.
    found = {
        "/" + replaced.get(topic, topic).lstrip("/"): kind
        for topic, kind in [*sources["cameras"], *sources["joints"]]
    }
    commands = [
        topic
        for topic, kind in found.items()
        if kind.startswith(COMMAND_TYPES) or any(word in topic.lower() for word in COMMAND_WORDS)
    ]
    warning = LogInfo(
        msg=f"warning: the policy observes {', '.join(commands)}, so the bag plays it: a "
        "controller or driver that listens there will obey; end it first, or play elsewhere "
        "(ROS_DOMAIN_ID)"
    )
    player = ExecuteProcess(
        cmd=[
            *("ros2", "bag", "play", LaunchConfiguration("bag"), "--clock", "100"),
            *("--topics", *found),
        ],
        output="screen",
    )
    return [warning, player] if commands else [player]


def generate_launch_description():
    """What `ros2 launch` calls."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("policy", description="policy directory"),
            DeclareLaunchArgument("bag", description="rosbag2 folder"),
            DeclareLaunchArgument("rviz", default_value="true", description="start RViz as well"),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([SHARE, "launch", "inference.launch.py"])
                ),
                launch_arguments={
                    "policy": LaunchConfiguration("policy"),
                    "rviz": LaunchConfiguration("rviz"),
                    "autostart": "true",
                    "start": "true",
                    "dry_run": "true",
                    "use_sim_time": "true",
                }.items(),
            ),
            OpaqueFunction(function=_play),
        ]
    )
