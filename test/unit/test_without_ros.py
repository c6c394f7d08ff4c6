# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The unit tests cannot import ROS, nor can their child processes (see conftest.py)."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

MODULES = (
    "rclpy",
    "rclpy.node",
    "sensor_msgs.msg",
    "std_srvs.srv",
    "rcl_interfaces.msg",
    "launch",
)


@pytest.mark.parametrize("module", MODULES)
def test_ros_cannot_be_imported_here(module: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="without ROS"):
        importlib.import_module(module)


@pytest.mark.parametrize("module", MODULES)
def test_nor_in_a_child_process(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "without ROS" in done.stderr
