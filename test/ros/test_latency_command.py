# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn latency` hears a node, and says so when there is none."""

import subprocess
import sys

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from sarnn_ros.control.statistics import as_text
from sarnn_ros.ros.messages import diagnostic_array, diagnostic_status
from sarnn_ros.share import ros_environment


def command(domain: int, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "sarnn_ros.cli.main", "latency", *arguments],
        env={**ros_environment(), "ROS_DOMAIN_ID": str(domain), "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("node", "heard"), [("", True), ("arm/sarnn", True), ("other", False)])
def test_it_shows_what_the_node_says(domain, wait, node, heard):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    speaker = rclpy.create_node("speaker", context=context)
    publisher = speaker.create_publisher(DiagnosticArray, "/diagnostics", 10)
    values = as_text({"observe": {"p50": 0.41, "p95": 0.9, "p99": 1.25}})
    status = diagnostic_status(
        "/arm/sarnn: timing", DiagnosticStatus.OK, "10 of 10 Hz", "", values
    )
    arguments = ["--node", node] if node else []
    timeout = "30" if heard else "3"
    process = command(domain, "--once", "--timeout", timeout, *arguments)
    try:

        def ended() -> bool:
            publisher.publish(diagnostic_array([status], speaker.get_clock().now().nanoseconds))
            return process.poll() is not None

        wait(ended, "an end of `sarnn latency`", 60.0)
        output, error = process.communicate()
    finally:
        process.kill()
        process.wait()
        speaker.destroy_node()
        rclpy.try_shutdown(context=context)
    assert (process.returncode == 0) == heard, error
    if heard:
        assert "10 of 10 Hz" in output and "0.41" in output and "1.25" in output
    else:
        assert "no timing of other" in error and "Traceback" not in error
