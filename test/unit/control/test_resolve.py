# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What reaches the policy of the node's parameters."""

from __future__ import annotations

import pytest

from sarnn_ros.control.resolve import check_topics, command_topics, held_indices, load_policy
from sarnn_ros.control.settings import build_settings
from sarnn_ros.errors import ConfigError
from sarnn_ros.policy.runtime import Policy
from sarnn_ros.spec import parse_spec


def test_the_policy_is_loaded_as_the_parameters_say(monkeypatch, tmp_path):
    monkeypatch.setattr(Policy, "load", lambda path, **options: (path, options))
    settings = build_settings({"policy": str(tmp_path), "backend": "torch"})
    options = {"backend": "torch", "device": "auto", "sha256": None}
    assert load_policy(settings) == (tmp_path, options)


def topics(
    joints: str, namespace: str = "/", remap: dict[str, str] | None = None, leader: str = ""
) -> None:
    """Check the topics of a node, with ROS 2's rules for names."""

    def full(topic: str) -> str:
        return topic if topic.startswith("/") else f"{namespace.rstrip('/')}/{topic}"

    remapped = {full(before): full(after) for before, after in (remap or {}).items()}
    spec = parse_spec(
        {"rate": 10, "cameras": [{"name": "front"}], "joints": {"names": ["a"], "topic": joints}}
    )
    commands = command_topics(build_settings({}), spec)
    check_topics(
        spec, commands, lambda topic: remapped.get(full(topic), full(topic)), namespace, leader
    )


def test_a_person_does_not_command_where_the_node_does():
    topics("joint_states", leader="/leader/joint_command")
    with pytest.raises(ConfigError, match=r"takeover\.command_topic"):
        topics("joint_states", leader="/leader", remap={"joint_command": "/leader"})


@pytest.mark.parametrize(
    ("joints", "namespace", "remap"),
    [
        ("joint_states", "/", {}),
        ("/arm1/joint_states", "/", {}),  # one arm, and everything remapped by hand
        ("joint_states", "/arm2", {}),
        ("/arm2/joint_states", "/arm2", {}),
        ("/arm1/joint_states", "/arm2", {"/arm1/joint_states": "joint_states"}),
        ("/joint_states", "/left", {"joint_command": "/left_controller/commands"}),
    ],
)
def test_topics_of_one_arm(joints, namespace, remap):
    topics(joints, namespace, remap)


@pytest.mark.parametrize(
    ("joints", "namespace", "remap", "words"),
    [
        ("/arm1/joint_states", "/arm2", {},
         ["'/arm1/joint_states'", "'/arm2/joint_command'", "-r /arm1/joint_states:=joint_states"]),
        ("/arm20/joint_states", "/arm2", {}, ["may watch one arm and move another"]),
        ("/joint_states", "/arm2", {}, ["-r /joint_states:=joint_states"]),
        ("joint_states", "/arm2", {"joint_states": "/arm1/joint_states"}, ["another"]),
        ("joint_command", "/", {}, ["'/joint_command'", "publishes its commands"]),
        ("joint_states", "/", {"joint_command": "/joint_states"}, ["publishes its commands"]),
    ],
)  # fmt: skip
def test_topics_that_may_be_of_two_arms(joints, namespace, remap, words):
    with pytest.raises(ConfigError) as caught:
        topics(joints, namespace, remap)
    for word in words:
        assert word in str(caught.value)


ARM = {"cameras": [{"name": "front"}], "joints": {"names": ["torso", "a", "b"]}}


def test_joints_that_are_held():
    spec = parse_spec(ARM)
    assert held_indices(build_settings({}), spec) == ()
    assert held_indices(build_settings({"hold_joints": ["b", "torso"]}), spec) == (2, 0)


@pytest.mark.parametrize(
    "given",
    [
        {"hold_joints": ["waist"]},
        {"hold_joints": ["a", "a"]},
        {"hold_joints": ["torso", "a", "b"]},
        {"hold_joints": ["b"], "gripper.joints": ["b"]},
    ],
)
def test_joints_that_cannot_be_held(given):
    with pytest.raises(ConfigError, match=r"hold_joints.*torso, a, b"):
        held_indices(build_settings(given), parse_spec(ARM))
