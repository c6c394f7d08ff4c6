# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated arm, its demonstrations and the demo that runs the whole loop on it.

On its own: nothing outside this room but the command line imports it. Only `node` and `referee`
import rclpy.
"""
