# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn spec --live`: a spec from what real publishers send."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ros_testing import JOINTS, Graph

from sarnn_ros.spec import load_spec

START = (0.1, 0.2, 0.3)
COMMAND = (sys.executable, "-m", "sarnn_ros.cli.main", "spec", "--live")


def test_what_is_published_becomes_a_spec(
    launch: Callable[..., Any], graph: Graph, make_robot: Any, tmp_path: Path
) -> None:
    out = tmp_path / "spec.yaml"
    nothing = launch(*COMMAND, "--out", str(out), "--timeout", "0.5")
    assert nothing.ended() == 1
    assert "ROS_DOMAIN_ID" in nothing.output and not out.exists()

    make_robot(JOINTS, START, namespace="/live/", image_size=(64, 48))
    process = launch(
        *COMMAND, "--out", str(out), "--seconds", "0.5", "--timeout", "60",
        COLUMNS="160",
    )  # fmt: skip
    assert process.ended() == 0, process.output
    spec = load_spec(out)
    assert (spec.cameras[0].topic, spec.joints[0].topic) == ("live/image_raw", "live/joint_states")
    assert (spec.cameras[0].width, spec.cameras[0].height) == (96, 72)
    assert spec.joints[0].names == tuple(JOINTS) and spec.clock == "header"
    assert "64 x 48" in process.output and "sensor_msgs/msg/JointState" in process.output
