# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""SARNN for ROS 2: learn a visuomotor skill from rosbags and run it online.

Importing this package imports nothing heavy: neither torch nor rclpy.
"""

__version__ = "0.1.0"
