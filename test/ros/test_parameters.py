# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters: types, ranges, unknown names."""

from __future__ import annotations

import array
from types import SimpleNamespace

import pytest
from rclpy.parameter import Parameter

from sarnn_ros.control.settings import (
    DECLARATIONS,
    NodeParameters,
    build_parameters,
)
from sarnn_ros.errors import ConfigError
from sarnn_ros.ros.parameters import ParameterServer, descriptor


def test_nothing_given_is_the_defaults():
    assert build_parameters({}) == NodeParameters()


def test_every_default_is_within_its_own_range():
    for declaration in DECLARATIONS.values():
        assert declaration.convert(declaration.default) == declaration.default
        assert declaration.description


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
    parameters = build_parameters({name: given})
    for part in name.split("."):
        parameters = getattr(parameters, part)
    assert parameters == found


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("guard.step_margin", 11.0, "more than 10"),
        ("guard.step_margin", "wide", "double"),
        ("guard.step_margin", True, "double"),
        ("guard.step_margin", float("nan"), "not finite"),
        ("threads", 0, "less than 1"),
        ("cpu_affinity", [-1], "less than 0"),
        ("cpu_affinity", [0.5], "int"),
        ("threads", 1.0, "int"),
        ("dry_run", 1, "bool"),
        ("command_interface", "zeros", "joint_trajectory"),
        ("guard.max_step", [0.1, "a"], "double"),
        ("guard.max_step", [-0.1], "less than 0"),
        ("guard.max_step", 0.1, "not a list"),
        ("command_joints", [1], "string"),
        ("guard.step_margn", 1.0, "did you mean 'guard.step_margin'"),
        ("completely_different", 1.0, "no such parameter"),
    ],
)
def test_what_is_wrong_is_named(name, value, words):
    with pytest.raises(ConfigError) as caught:
        build_parameters({name: value})
    assert name in str(caught.value) and words in str(caught.value)


def test_all_problems_come_at_once():
    with pytest.raises(ConfigError) as caught:
        build_parameters({"threads": 0, "dry_run": "yes", "polcy": "/x"})
    for name in ("threads", "dry_run", "polcy"):
        assert name in str(caught.value)


def test_descriptors_say_what_is_checked():
    for name, declaration in DECLARATIONS.items():
        found = descriptor(declaration)
        ends = [*found.integer_range, *found.floating_point_range]
        bounded = declaration.kind in (int, float) and declaration.low is not None
        assert [(one.from_value, one.to_value) for one in ends] == (
            [(declaration.low, declaration.high)] if bounded else []
        )
        assert all(one.step == 0 for one in ends)
        assert declaration.constraint in found.additional_constraints
        late = "takes effect at configure" in found.additional_constraints
        assert [declaration.live, found.read_only, late].count(True) == 1, name
    assert [name for name, one in DECLARATIONS.items() if one.read_only] == ["autostart"]


class FakeNode:
    """The part of a node that keeps parameters."""

    def __init__(self) -> None:
        self._parameter_overrides: dict = {}
        self.values: dict = {}

    def declare_parameter(self, name, value, *_, **__) -> None:
        self.values[name] = value

    def get_parameter(self, name):
        return SimpleNamespace(value=self.values[name])

    def add_on_set_parameters_callback(self, check) -> None:
        self.check = check

    def set(self, name, value) -> bool:
        return self.check([Parameter(name, value=value)]).successful


def test_a_change_is_told_before_it_is_true_and_only_while_configured():
    node = FakeNode()
    told: list[tuple[bool, bool]] = []
    server = ParameterServer(
        node, lambda after: told.append((server.current.dry_run, after.dry_run))
    )
    server.read()
    assert node.set("dry_run", False) and not told
    server.lock(True)
    assert node.set("dry_run", True) and told == [(False, True)] and server.current.dry_run
    assert not node.set("threads", 2) and not node.set("dry_run", 3) and len(told) == 1
