# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Play a bag to the inference node and see what it would do: nothing is commanded."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("sarnn_ros")


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
                    "dry_run": "true",
                    "use_sim_time": "true",
                }.items(),
            ),
            # The bag's own commands stay out of the way of the node's.
            ExecuteProcess(
                cmd=[
                    *("ros2", "bag", "play", LaunchConfiguration("bag"), "--clock", "100"),
                    *("--remap", "/joint_command:=/recorded_command"),
                ],
                output="screen",
            ),
        ]
    )
