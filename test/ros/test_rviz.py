# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""RViz shows the layout, where there is one: CI has none. docs/reference/quality.md says when and
with which version this was run.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

PROGRAMS = ("rviz2", "Xvfb", "xdotool")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_by_one"),
    pytest.mark.skipif(
        any(shutil.which(name) is None for name in PROGRAMS),
        reason=f"not all of {', '.join(PROGRAMS)}: RViz comes with a ROS distribution",
    ),
]

LAYOUT = Path(__file__).resolve().parents[2] / "config" / "sarnn.rviz"


def topics_of(display: dict[str, Any]) -> list[dict[str, Any]]:
    return [value for key, value in display.items() if key.endswith("Topic")]


def quality(topic: dict[str, Any]) -> tuple[Any, Any]:
    """The reliability and the durability that a display asks for."""

    def policy(kind: Any, name: str) -> Any:
        return kind[topic[f"{name} Policy"].replace(" ", "_").upper()]

    return policy(ReliabilityPolicy, "Reliability"), policy(DurabilityPolicy, "Durability")


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """Without what depends on the fonts of the machine."""
    displays, *others = config["Panels"]
    window = config["Window Geometry"] | {"QMainWindow State": None}
    return {
        **config,
        "Panels": [displays | {"Tree Height": None}, *others],
        "Window Geometry": window,
    }


@pytest.fixture
def screen(launch: Any, wait: Any) -> Any:
    """The name of a display that nobody sees."""
    server = launch("Xvfb", "-displayfd", "1", "-screen", "0", "1400x900x24", "-nolisten", "tcp")
    yield f":{wait(lambda: server.output.strip(), 'a display')}"
    server.stop()


def test_rviz_knows_every_setting_and_listens_as_it_says(
    screen: str, tmp_path: Path, launch: Any, graph: Any, wait: Any
) -> None:
    """All displays enabled. What RViz saves is what it was given: it drops what it does not know,
    without a word."""
    config = yaml.safe_load(LAYOUT.read_text(encoding="utf-8"))
    displays = config["Visualization Manager"]["Displays"]
    for display in displays:
        display |= {"Enabled": True, "Value": True}
    file = tmp_path / "shown.rviz"
    given = yaml.safe_dump(config)
    file.write_text(given)
    rviz = launch(
        *("rviz2", "-d", file),
        DISPLAY=screen,
        QT_QPA_PLATFORM="xcb",
        XDG_RUNTIME_DIR=str(tmp_path),
    )

    def asked_of(name: str) -> list[tuple[Any, Any]]:
        subscriptions = graph.node.get_subscriptions_info_by_topic(name)
        return [(one.qos_profile.reliability, one.qos_profile.durability) for one in subscriptions]

    # At first it asks with the defaults, and again with each setting that it has read.
    for topic in (topic for display in displays for topic in topics_of(display)):
        wait(
            lambda topic=topic: asked_of(topic["Value"]) == [quality(topic)],
            lambda topic=topic: f"{topic}, not {asked_of(topic['Value'])}:\n{rviz.output}",
            timeout=100.0,
        )

    def press(key: str) -> None:
        search = ("search", "--sync", "--onlyvisible", "--name", file.name)
        subprocess.run(
            ["xdotool", *search, "windowfocus", "--sync", "key", key],
            env={"DISPLAY": screen, "PATH": "/usr/bin:/bin"}, check=True, timeout=60,
        )  # fmt: skip

    press("ctrl+s")
    wait(lambda: file.read_text() != given, lambda: f"it is saved:\n{rviz.output}")
    press("ctrl+q")
    assert rviz.ended() == 0, rviz.output
    assert settings(yaml.safe_load(file.read_text())) == settings(config)
    assert not [line for line in rviz.output.splitlines() if "WARN" in line or "ERROR" in line]
