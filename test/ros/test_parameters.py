# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The settings as ROS parameters: descriptors, and changes while the node runs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from sarnn_ros.control.settings import DECLARATIONS
from sarnn_ros.processes import parameters_file
from sarnn_ros.ros.parameters import ParameterServer, descriptor


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
    server.current = server.read()
    assert node.set("dry_run", False) and not told
    server.locked = True
    assert node.set("dry_run", True) and told == [(False, True)] and server.current.dry_run
    assert not node.set("realtime_priority", 2) and not node.set("dry_run", 3) and len(told) == 1


@pytest.mark.parametrize("name", ["dry_run", "policy", "guard.position_min", "command_joints"])
@pytest.mark.parametrize("locked", [False, True])
def test_none_can_be_deleted(name, locked):
    node = FakeNode()
    server = ParameterServer(node, lambda after: None)
    server.locked = locked
    answer = node.check([Parameter(name)])
    assert not answer.successful and f"{name}: it cannot be deleted" in answer.reason
    assert node.check([Parameter("use_sim_time")]).successful, "it is none of ours"


def test_a_policy_that_is_named_is_in_force_only_when_it_is_loaded():
    node = FakeNode()
    server = ParameterServer(node, lambda after: None)
    server.current = server.read()
    server.locked = True
    for name, value in (("policy", "/other"), ("run_timeout", 5.0)):
        assert node.set(name, value)
        node.values[name] = value
    assert (server.current.policy, server.current.run_timeout) == ("", 5.0)
    wanted = server.read()
    assert wanted.policy == "/other" and server.current.policy == ""
    server.loaded(wanted)
    assert server.current.policy == "/other"


@pytest.mark.parametrize("section", ["/**", "{}", "/{}", "/**/sarnn"])
@pytest.mark.parametrize("node", ["/sarnn", "/left/sarnn"])
def test_the_last_file_wins_over_a_labs_section_for_the_node(
    section: str, node: str, tmp_path: Path, domain: int
) -> None:
    lab, ours, text = tmp_path / "lab.yaml", tmp_path / "ours #2.yaml", "é [😀] #1"
    theirs = {"ros__parameters": {"a": True, "b": "", "c": 1}}
    lab.write_text(json.dumps({"/**": theirs, section.format(node[1:]): theirs}))
    ours.write_text(parameters_file(node, {"a": False, "b": text}), encoding="utf-8")
    files = [word for path in (lab, ours) for word in ("--params-file", str(path))]
    context = Context()
    rclpy.init(args=["--ros-args", *files], context=context, domain_id=domain)
    try:
        made = Node("sarnn", namespace=node.rpartition("/")[0], context=context)
        given = {name: item.value for name, item in made._parameter_overrides.items()}
        made.destroy_node()
    finally:
        context.shutdown()
    assert given == {"a": False, "b": text, "c": 1}
