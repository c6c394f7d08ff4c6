# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated arm, the inference node and RViz: `make demo`'s policy, to look at.

The arm waits for `ros2 service call /sarnn/start std_srvs/srv/Trigger`, unless `start:=true`.
Another trial: `/sarnn/stop`, `/sim/reset` and `/sarnn/start`, each in the same way.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("sarnn_ros")


def generate_launch_description():
    """What `ros2 launch` calls."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("policy", description="policy directory of the demo"),
            DeclareLaunchArgument("rviz", default_value="true", description="start RViz as well"),
            DeclareLaunchArgument(
                "command_interface",
                default_value="joint_state",
                choices=["joint_state", "joint_trajectory"],
                description="of the simulator and the node",
            ),
            DeclareLaunchArgument(
                "start", default_value="false", description="move the arm as soon as it is active"
            ),
            Node(
                package="sarnn_ros",
                executable="sim_node",
                name="sim",
                output="screen",
                parameters=[{"command_interface": LaunchConfiguration("command_interface")}],
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([SHARE, "launch", "inference.launch.py"])
                ),
                launch_arguments={
                    "policy": LaunchConfiguration("policy"),
                    "rviz": LaunchConfiguration("rviz"),
                    "command_interface": LaunchConfiguration("command_interface"),
                    "autostart": "true",
                    "start": LaunchConfiguration("start"),
                }.items(),
            ),
        ]
    )
