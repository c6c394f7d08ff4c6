# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""docs/images/web.png: the page of `sarnn web` in Chromium, while a policy of the demo runs the
simulated arm and an episode is being recorded. Needs what `make test-web` installs.

python docs/figures/web.py POLICY
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from sarnn_ros.processes import Child, children, free_domain
from sarnn_ros.share import ros_environment, share_directory

IMAGE = Path(__file__).parents[1] / "images" / "web.png"
SARNN = [sys.executable, "-m", "sarnn_ros.cli.main"]
PORT = 18080
WAIT_MS = 60_000
#: What the plots show of before the start; and after it, while the demonstrations take 8 s.
BEFORE_MS, MOTION_MS, RECORDING_MS = 40_000, 3_000, 2_500


def main(policy: Path) -> None:
    """Start everything, do what a person would, and take the picture."""
    environment = ros_environment() | {"ROS_DOMAIN_ID": str(free_domain(range(30, 50)))}
    spec = share_directory() / "config" / "demo_spec.yaml"
    with tempfile.TemporaryDirectory() as folder, children() as running, sync_playwright() as run:
        for name, arguments in (
            ("sim", ["run", "sim"]),
            (
                "inference",
                [
                    *("run", "inference", "--ros-args", "-p", f"policy:={policy.resolve()}"),
                    *("-p", "watch.frozen_ticks:=0"),
                ],
            ),
            (
                "recorder",
                [
                    *("run", "recorder", "--ros-args"),
                    *("-p", f"spec:={spec}", "-p", f"out:={folder}/bags"),
                ],
            ),
            ("web", ["web", "--port", str(PORT)]),
        ):
            log = Path(folder) / f"{name}.log"
            running.append(Child(name, [*SARNN, *arguments], env=environment, log=log))
        browser = run.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox"],
            env={k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"},
        )
        tab = browser.new_page(viewport={"width": 1280, "height": 590})
        while "open http" not in (Path(folder) / "web.log").read_text():
            running[-1].check()
            tab.wait_for_timeout(200)
        tab.goto(f"http://127.0.0.1:{PORT}/")
        expect(tab.locator("#doing")).to_have_text("stopped", timeout=WAIT_MS)
        tab.locator("#pictures canvas:not(.old)").wait_for(timeout=WAIT_MS)
        tab.wait_for_timeout(BEFORE_MS)
        tab.click("[data-do=start]")
        tab.click("#yes")
        expect(tab.locator("#doing")).to_have_text("commanding", timeout=WAIT_MS)
        tab.wait_for_timeout(MOTION_MS)
        tab.click("[data-do=episode_start]")
        tab.wait_for_timeout(RECORDING_MS)
        tab.screenshot(path=IMAGE)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
