# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn spec --live`: a spec from what real publishers send. And who loses images says so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lossy_camera
import pytest
from ros_testing import JOINTS, Graph, small_spec

from sarnn_ros.share import FASTDDS_VARIABLES
from sarnn_ros.spec import dump_spec, load_spec

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
    assert (spec.cameras[0].topic, spec.joints[0].topic) == (
        "/live/image_raw",
        "/live/joint_states",
    )
    assert (spec.cameras[0].width, spec.cameras[0].height) == (96, 72)
    assert spec.joints[0].names == tuple(JOINTS) and spec.clock == "header"
    assert "64 x 48" in process.output and "sensor_msgs/msg/JointState" in process.output


@pytest.fixture(scope="module")
def lossy(launch: Callable[..., Any]) -> None:
    launch(sys.executable, lossy_camera.__file__, **dict.fromkeys(FASTDDS_VARIABLES, ""))


@pytest.mark.usefixtures("lossy")
def test_lost_images_are_said_and_do_not_loosen_the_age(
    launch: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "spec.yaml"
    process = launch(
        *COMMAND, "--out", str(out), "--seconds", "4", "--timeout", "60", COLUMNS="160"
    )
    assert process.ended(90.0) == 0, process.output
    (camera,) = [one for one in load_spec(out).cameras if one.topic == "/lossy/image_raw"]
    assert camera.max_age == pytest.approx(3 / lossy_camera.RATE, abs=0.05), process.output
    assert "% lost" in process.output
    text = out.read_text(encoding="utf-8").replace("\n#  ", "")
    assert "of the images were lost" in text and "sarnn dds-profile" in text


@pytest.mark.usefixtures("lossy")
def test_node_and_recorder_name_the_remedy_when_images_are_lost(
    launch: Callable[..., Any], start_node: Callable[..., Any], policy: Path, tmp_path: Path
) -> None:
    node = start_node("-r", "__ns:=/lossy", policy=policy, dry_run=True)
    spec = tmp_path / "spec.yaml"
    spec.write_text(dump_spec(small_spec()))
    recorder = launch(
        sys.executable, "-m", "sarnn_ros.ros.recorder_node", "--ros-args", "-r", "__ns:=/lossy",
        "-p", f"spec:={spec}", "-p", f"out:={tmp_path / 'bags'}",
    )  # fmt: skip
    for process in (node, recorder):
        process.wait_for("images of '")
        process.wait_for("start the camera's driver with the DDS profile")
