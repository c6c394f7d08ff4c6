# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Limits out of a robot description."""

from __future__ import annotations

import numpy as np
import pytest

from sarnn_ros.errors import ConfigError
from sarnn_ros.policy.urdf import joint_limits

URDF = """<?xml version="1.0"?>
<robot name="arm">
  <joint name="a" type="revolute"><limit lower="-1" upper="2" velocity="3" effort="1"/>
    <safety_controller soft_lower_limit="-0.5" soft_upper_limit="5" k_velocity="1"/></joint>
  <joint name="b" type="continuous"><limit velocity="4" effort="1"/></joint>
  <joint name="c" type="prismatic"><limit upper="0.04" velocity="0" effort="1"/></joint>
</robot>"""


def test_limits_by_name():
    found = joint_limits(URDF, ("c", "a", "b", "missing"), where="x")
    np.testing.assert_array_equal(found["position_min"], [0, -0.5, -np.inf, -np.inf])
    np.testing.assert_array_equal(found["position_max"], [0.04, 2, np.inf, np.inf])
    np.testing.assert_array_equal(found["max_velocity"], [np.inf, 3, 4, np.inf])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/path/robot.urdf", "not a URDF"),
        ("", "not a URDF"),
        ("<sdf/>", "<sdf>"),
        (URDF.replace('"-1"', '"low"'), "joint 'a': lower is 'low'"),
    ],
)
def test_what_is_not_a_description(text, words):
    with pytest.raises(ConfigError, match=words):
        joint_limits(text, ("a",), where="robot_description")
