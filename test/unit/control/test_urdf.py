# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Limits out of a robot description."""

from __future__ import annotations

import numpy as np
import pytest

from sarnn_ros.control.urdf import joint_limits, missing_limits
from sarnn_ros.errors import ConfigError

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


# What a robot's description has besides: each names joints again, and not with their limits.
OTHER_SECTIONS = """
  <ros2_control name="system" type="system">
    <hardware><plugin>mock_components/GenericSystem</plugin></hardware>
    <joint name="a"><command_interface name="position"/><state_interface name="position"/></joint>
    <joint name="c"><command_interface name="position"><param name="max">9</param>
      </command_interface><limits enable="true"/></joint>
    <joint name="only_here"><limit lower="-1" upper="1" velocity="1" effort="1"/></joint>
  </ros2_control>
  <transmission name="t"><type>transmission_interface/SimpleTransmission</type>
    <joint name="a"><hardwareInterface>hardware_interface/EffortJointInterface</hardwareInterface>
    </joint><actuator name="motor"/></transmission>
  <gazebo reference="a"><joint name="a" type="fixed"/></gazebo>
</robot>"""


@pytest.mark.parametrize("first", [False, True])
def test_only_the_kinematic_joints_have_limits(first):
    names = ("a", "b", "c")
    head, joints = URDF.removesuffix("</robot>").split("\n", 2)[1:]
    other = OTHER_SECTIONS.removesuffix("</robot>")
    text = head + (other + joints if first else joints + other) + "</robot>"
    found, alone = (joint_limits(one, names, where="x") for one in (text, URDF))
    for limit, values in alone.items():
        np.testing.assert_array_equal(found[limit], values)
    with pytest.raises(ConfigError, match="none of the commanded joints only_here"):
        joint_limits(text, ("only_here",), where="x")


def test_a_joint_described_twice_is_ambiguous():
    twice = '<joint name="c" type="prismatic"/></robot>'
    with pytest.raises(ConfigError, match="joint 'c' twice"):
        joint_limits(URDF.replace("</robot>", twice), ("a",), where="x")


def test_joints_without_a_limit_are_told():
    free = '<joint name="d" type="continuous"/><joint name="e" type="revolute"/></robot>'
    names = ("d", "b", "c", "missing", "e")
    limits = joint_limits(URDF.replace("</robot>", free), names, where="x")
    told = missing_limits(limits, names)
    assert told == "no limits for d, missing, e, no velocity limit (0 is none) for c"


def test_a_limit_of_the_velocity_is_not_negative():
    wrong = URDF.replace('velocity="4"', 'velocity="-4"')
    with pytest.raises(ConfigError, match="joint 'b': its velocity limit is -4"):
        joint_limits(wrong, ("a", "b"), where="x")
