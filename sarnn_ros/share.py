# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the installed files are, and the environment a ROS process needs. Standard library only.

For whatever starts nodes without `ros2 launch`: `sarnn run`, the demo, the tests. The launch files
do the same with launch's own substitutions.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from sarnn_ros.errors import EnvironmentProblem

#: Jazzy's Fast DDS (2.x) reads the first, Kilted's (3.x) the second.
FASTDDS_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def dds_profile() -> Path:
    """The Fast DDS profile with which large images pass between processes.

    :raises EnvironmentProblem: the package is installed without its files.
    """
    return share_directory() / "config" / "fastdds_large_images.xml"


def share_directory() -> Path:
    """The folder that holds `config/` and `launch/`: of the checkout, or else installed.

    :raises EnvironmentProblem: the package is installed without its files.
    """
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "package.xml").is_file():
        return checkout
    ament = filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
    # From the module upwards: the prefix of colcon's install, of a venv, of pip's --user.
    for prefix in (*map(Path, ament), Path(sys.prefix), *checkout.parents):
        share = prefix / "share" / "sarnn_ros"
        if (share / "package.xml").is_file():
            return share
    raise EnvironmentProblem(
        "the package's own files (share/sarnn_ros) are not installed",
        where=checkout,
        remedy="install it again with pip or colcon; copying the modules alone is not enough",
    )


def ros_environment() -> dict[str, str]:
    """A copy of the environment in which nodes of this Python work, also with large images.

    What the user has set stays, except for what cannot work: the wheels contain no RMW but
    Fast DDS, and end the process at the first import if another one is named.
    """
    environment = dict(os.environ)
    if not any(variable in environment for variable in FASTDDS_VARIABLES):
        environment.update(dict.fromkeys(FASTDDS_VARIABLES, str(dds_profile())))
    if find_spec("ros_wheels_bootstrapper") is not None:
        environment["RMW_IMPLEMENTATION"] = "rmw_fastrtps_cpp"
        prefixes = [sys.prefix, *environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep)]
        environment["AMENT_PREFIX_PATH"] = os.pathsep.join(dict.fromkeys(filter(None, prefixes)))
    return environment
