# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the ROS tests. What they are made of has a name of its own, `ros_testing`, since
every folder's conftest is called `conftest` and only one of them can be imported by that name."""

from arms import make_arms  # noqa: F401
from gripper_client import connect  # noqa: F401
from ros_testing import (  # noqa: F401
    domain,
    environment,
    graph,
    launch,
    make_policy,
    make_robot,
    one_by_one,
    policy,
    start_node,
    wait,
)
