# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The settings: types, ranges, unknown names, and what is said about what is wrong."""

from __future__ import annotations

import array

import pytest

from sarnn_ros.control.settings import (
    DECLARATIONS,
    Settings,
    build_settings,
    flatten,
)
from sarnn_ros.errors import ConfigError


def test_nothing_given_is_the_defaults():
    assert build_settings({}) == Settings()


def test_every_default_is_within_its_own_range():
    defaults = {name: one.default for name, one in DECLARATIONS.items()}
    assert build_settings(defaults) == Settings()
    assert flatten(Settings()) == defaults
    assert all(one.description for one in DECLARATIONS.values())


@pytest.mark.parametrize(
    ("name", "given", "found"),
    [
        ("guard.step_margin", 2, 2.0),  # YAML's `2` is an integer
        ("guard.max_step", array.array("d", [0.1, 0.2]), (0.1, 0.2)),
        ("guard.max_step", [1, 2], (1.0, 2.0)),
        ("cpu_affinity", array.array("q", [1, 3]), (1, 3)),
        ("guard.max_step", None, ()),  # rclpy has no value for `[]`
        ("command_joints", ["a", "b"], ("a", "b")),
        ("dry_run", True, True),
    ],
)
def test_values_as_ros_hands_them_over(name, given, found):
    settings = build_settings({name: given})
    for part in name.split("."):
        settings = getattr(settings, part)
    assert settings == found


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("guard.step_margin", 11.0, "at most 10"),
        ("guard.step_margin", "wide", "a number"),
        ("guard.step_margin", True, "a number"),
        ("guard.step_margin", float("nan"), "must be finite"),
        ("guard.latch_after", 0, "at least 1"),
        ("cpu_affinity", [-1], "at least 0"),
        ("cpu_affinity", [0.5], "a whole number"),
        ("guard.latch_after", 1.0, "a whole number"),
        ("dry_run", 1, "true or false"),
        ("command_interface", "zeros", "joint_trajectory"),
        ("guard.max_step", [0.1, "a"], "a number"),
        ("guard.max_step", [-0.1], "at least 0"),
        ("guard.max_step", 0.1, "must be a list"),
        ("command_joints", [1], "must be text"),
        ("guard.step_margn", 1.0, "did you mean 'guard.step_margin'"),
        ("completely_different", 1.0, "no such parameter"),
    ],
)
def test_what_is_wrong_is_named(name, value, words):
    with pytest.raises(ConfigError) as caught:
        build_settings({name: value})
    assert name in str(caught.value) and words in str(caught.value)


def test_all_problems_come_at_once():
    with pytest.raises(ConfigError) as caught:
        build_settings({"realtime_priority": -1, "dry_run": "yes", "polcy": "/x"})
    for name in ("realtime_priority", "dry_run", "polcy"):
        assert name in str(caught.value)
