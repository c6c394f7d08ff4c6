# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""On a Python's path, this makes everything that ROS installs impossible to import there.

test/unit/conftest.py puts it on PYTHONPATH, so that the unit tests and the processes they start
run as on a machine without ROS.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

ROS_MODULE = re.compile(
    r"(rclpy|rpyutils|launch|launch_\w+|std_srvs|\w+_msgs|\w+_interfaces|rcl_\w+|rmw_\w+|rosidl_\w+"
    r"|rosbag2_\w+|ros2\w+|tf2_\w+|message_filters|diagnostic_updater|ament_index_python)$"
)


class Refusal(MetaPathFinder):
    """Answers as if no module of ROS were installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        top = fullname.split(".")[0]
        if ROS_MODULE.match(top):
            raise ModuleNotFoundError(
                f"No module named {top!r} (unit tests run without ROS)", name=top
            )


if not any(type(finder).__name__ == "Refusal" for finder in sys.meta_path):
    sys.meta_path.insert(0, Refusal())
