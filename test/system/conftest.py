# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The fixtures are shared with test/ros, so they live in test/support."""

from ros_testing import domain, environment, graph, launch  # noqa: F401
