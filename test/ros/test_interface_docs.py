# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The topics and services of the real node are those that the documentation and the SROS2 policy
name."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: What every rclpy node has; the policy file lists them, the documentation need not.
OF_EVERY_NODE = {
    *("/rosout", "/parameter_events", "/clock", "/sarnn/transition_event"),
    "/sarnn/get_type_description",
}


def full(name: str) -> str:
    """`~/start` -> `/sarnn/start`, `image_raw` -> `/image_raw`."""
    return name.replace("~/", "/sarnn/") if name.startswith("~/") else "/" + name.lstrip("/")


@pytest.fixture(scope="module")
def found(policy, start_node, graph, wait):
    """Topics and services of an active node: {kind: names}."""
    from rclpy.node import NodeNameNonExistentError

    def seen():
        probe = graph.node
        try:
            return {
                # Those of an action are there where its type is installed.
                kind: {name for name, _ in ask("sarnn", "/") if "/_action/" not in name}
                for kind, ask in (
                    ("publish", probe.get_publisher_names_and_types_by_node),
                    ("subscribe", probe.get_subscriber_names_and_types_by_node),
                    ("reply", probe.get_service_names_and_types_by_node),
                )
            }
        except NodeNameNonExistentError:
            return {}

    # With simulated time, as it then listens to /clock as well.
    node = start_node(policy=policy, autostart=True, use_sim_time=True)
    wait(lambda: graph.state("/sarnn") == "active", lambda: f"an active node\n{node.output}")
    last = [("publish", "/sarnn/health"), ("subscribe", "/clock"), ("reply", "/sarnn/reset")]
    wait(
        lambda: all(name in seen().get(kind, ()) for kind, name in last),
        lambda: f"its topics; there are {seen()}",
    )
    return seen()


@pytest.mark.parametrize("kind", ["publish", "subscribe", "reply"])
def test_the_sros2_policy_allows_what_the_node_does_and_no_more(kind, found):
    tree = ElementTree.parse(ROOT / "config" / "sros2_policy.xml")
    allowed = {
        full(str(item.text))
        for group in tree.iter()
        if group.get(kind) == "ALLOW"
        for item in group
    }
    # Only Jazzy and later describe types.
    optional = {"/sarnn/get_type_description"}
    assert allowed - optional == found[kind] - optional


def test_the_documentation_names_every_topic_and_service(found):
    text = (ROOT / "docs" / "reference" / "node.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    tables = [part for part in sections if part.startswith(("Topics", "Services"))]
    rows = re.findall(r"^\| (?:(?:in|out) \| )?`([~/\w]+)`", "\n".join(tables), flags=re.MULTILINE)
    named = {full(name) for name in rows}
    offered = {
        name
        for names in found.values()
        for name in names - OF_EVERY_NODE
        if not re.search(r"/(get|set|list|describe|change)_\w+$", name)
    }
    assert offered <= named
    # The others are there if a parameter asks for them.
    assert named - offered == {"/robot_description_topic", "/gripper_command"}
