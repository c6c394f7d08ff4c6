# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How long `~/stop` takes to answer while somebody publishes hostile messages, and how long Stop
on the page of `sarnn web` takes among hostile connections.

The node is started as always. This process publishes joint states at 100 Hz and the images of one
kind at 10 Hz; a third process calls `~/stop` and `~/start` in turn, and takes the time from the
request to the answer of every `~/stop`.

    python benchmark/stop_latency.py [--calls 300]

With --page, the page alone: another process keeps hostile connections to it open
(test/support/hostile_clients.py), and this one presses Stop over a new connection each time, and
over one kept as a browser keeps it. Taken is the time from the press to the call of `~/stop` in
this process, where a stand-in of the node offers it.

    python benchmark/stop_latency.py --page [--calls 100] [--connections 1000]
"""

from __future__ import annotations

import array
import http.client
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
from common import CORES, arguments, burning, finish, machine, make_spec, percentiles, write_policy

from sarnn_ros.share import ros_environment

WIDTH, HEIGHT = 640, 480
DOMAIN = "78"
#: A press that takes longer is lost.
PRESS_SECONDS = 10.0
JOINTS = [f"joint{index + 1}" for index in range(6)]


def jpeg(*options: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.blur(pixels, (9, 9)), options)[1])


def progressive() -> bytes:
    """As many scans as the node decodes."""
    whole = jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = whole.rindex(b"\xff\xda")
    extra = 32 - whole.count(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * extra + whole[-2:]


#: What is published as a compressed image.
IMAGES: dict[str, Callable[[], bytes]] = {
    "sound JPEG images": jpeg,
    "6 MB of JPEG fill bytes": lambda: b"\xff\xd8" + b"\xff" * 6_000_000,
    "6 MB of JPEG segments": lambda: b"\xff\xd8" + b"\xff\xe1\x00\x02" * 1_500_000,
    "a small PNG of 8192 x 8192": lambda: bytes(
        cv2.imencode(".png", np.zeros((8192, 8192), np.uint8))[1]
    ),
    "progressive JPEG, 32 scans": progressive,
}
#: Joint states of so many names, twice a second, beside sound images.
CROWD = 300_000


def caller(calls: int) -> None:
    """Print how long each `~/stop` took, s."""
    import rclpy
    from std_srvs.srv import Trigger

    rclpy.init()
    node = rclpy.create_node("caller")
    stop, start = (node.create_client(Trigger, f"/sarnn/{name}") for name in ("stop", "start"))
    took = []
    for client in (stop, start):
        client.wait_for_service()
    for index in range(calls + 10):
        for client in (start, stop):
            began = time.perf_counter()
            future = client.call_async(Trigger.Request())
            rclpy.spin_until_future_complete(node, future)
            if client is stop and index >= 10:  # the first ones connect
                took.append(time.perf_counter() - began)
            time.sleep(0.02)
    print(json.dumps(took))


def publish(image: bytes, crowd: int, stop: threading.Event) -> None:
    """Joint states and images, until `stop`."""
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CompressedImage, JointState

    rclpy.init()
    node = rclpy.create_node("robot")
    images = node.create_publisher(CompressedImage, "image_raw", qos_profile_sensor_data)
    joints = node.create_publisher(JointState, "joint_states", 10)
    picture = CompressedImage(format="jpeg", data=array.array("B", image))
    state = JointState(name=JOINTS, position=[0.0] * len(JOINTS))
    huge = JointState(
        name=[f"joint_{row}" for row in range(crowd)], position=array.array("d", bytes(8 * crowd))
    )
    count, due = 0, time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        due = max(due + 0.01, time.monotonic() - 0.1)
        now = node.get_clock().now().to_msg()
        state.header.stamp = picture.header.stamp = huge.header.stamp = now
        joints.publish(state)
        if count % 10 == 0:
            images.publish(picture)
        if crowd and count % 50 == 0:
            joints.publish(huge)
        count += 1
    rclpy.shutdown()


def measure(policy: Path, image: bytes, calls: int, crowd: int = 0) -> dict[str, float]:
    # Before rclpy is imported. Never a domain that a real robot may listen on.
    os.environ.update(
        ros_environment() | {"ROS_DOMAIN_ID": DOMAIN, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    )
    ending = threading.Event()
    robot = threading.Thread(target=publish, args=(image, crowd, ending))
    node = subprocess.Popen(
        [sys.executable, "-m", "sarnn_ros.ros.inference_node", "--ros-args"]
        + ["-p", f"policy:={policy}", "-p", "watch.require_controller:=false"]
        + ["-p", "start_on_activate:=true"],
        stderr=subprocess.DEVNULL,
    )
    try:
        robot.start()
        script = [sys.executable, __file__, "--caller", "--calls", str(calls)]
        took = json.loads(subprocess.run(script, stdout=subprocess.PIPE, check=True).stdout)
    finally:
        node.terminate()
        node.wait(20)
        ending.set()
        robot.join()
    return percentiles(took)


class Presser:
    """A user of the page, and a stand-in of the node that is to hear of it.

    :param port: of the page on this machine; :param token: that it asks for.
    """

    def __init__(self, port: int, token: str) -> None:
        import rclpy
        from std_srvs.srv import Trigger

        self._address = ("127.0.0.1", port)
        self._headers = {
            "Authorization": f"Bearer {token}", "Origin": f"http://127.0.0.1:{port}",
        }  # fmt: skip
        self._kept = self._connect()
        self._called = threading.Event()
        self._called_s = 0.0
        rclpy.init()
        node = rclpy.create_node("sarnn")
        node.create_service(Trigger, "/sarnn/stop", self._stop)
        threading.Thread(target=rclpy.spin, args=(node,), daemon=True).start()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._address, timeout=PRESS_SECONDS)

    def _stop(self, _: Any, answer: Any) -> Any:
        self._called_s = time.perf_counter()
        self._called.set()
        answer.success = True
        return answer

    def _post(self, page: http.client.HTTPConnection) -> int:
        page.request("POST", "/do/stop", headers=self._headers)
        answer = page.getresponse()
        answer.read()
        return answer.status

    def press(self, kept: bool) -> float:
        """:returns: how long until the call came, s."""
        self._called.clear()
        began = time.perf_counter()
        page = self._kept if kept else self._connect()
        try:
            status = self._post(page)
        except (http.client.RemoteDisconnected, ConnectionError):
            if not kept:
                raise
            status = self._post(page)  # once more on a new connection, as a browser does
        if status != 202 or not self._called.wait(PRESS_SECONDS):
            raise RuntimeError(f"a stop was lost: {status}")
        if not kept:
            page.close()
        return self._called_s - began


def press_among(connections: int, presses: int) -> dict[str, Any]:
    """Figures without hostile connections, and with so many."""
    from hostile_clients import hostile_clients

    os.environ.update(
        ros_environment() | {"ROS_DOMAIN_ID": DOMAIN, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    )
    token = secrets.token_urlsafe(24)
    command = [sys.executable, "-m", "sarnn_ros.cli.main", "web", "--port", "0", "--token", token]
    result: dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as web:
        assert web.stdout is not None
        port = urlsplit(web.stdout.readline().removeprefix("open ").strip()).port
        assert port is not None
        presser = Presser(port, token)

        def press(name: str) -> None:
            for kept, way in ((False, "a new connection"), (True, "a kept connection")):
                took = []
                for _ in range(presses + 5):
                    took.append(presser.press(kept))
                    time.sleep(0.05)
                took = took[5:]  # the first ones find the node
                result[f"{name}, {way}"] = percentiles(took)
                print(f"{name}, {way}: {percentiles(took)}", file=sys.stderr, flush=True)

        try:
            press("alone")
            with hostile_clients(port, token, connections) as opened:
                began = time.monotonic()
                press(f"among {connections}")
                seconds = time.monotonic() - began
            result["opened per s"] = {k: round(n / seconds) for k, n in opened.items()}
            result["load"] = os.getloadavg()[0]
        finally:
            web.terminate()
    return result


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--page", action="store_true", help="Stop on the page of sarnn web")
    parser.add_argument("--connections", type=int, default=1000, help="hostile ones to the page")
    parser.add_argument("--calls", type=int, default=300, help="of ~/stop, per kind and load")
    parser.add_argument("--caller", action="store_true", help="the process that calls")
    given = parser.parse_args()
    if given.caller:
        caller(given.calls)
        return

    if given.page:
        figures = press_among(given.connections, given.calls)
        finish({"machine": machine(), "calls": given.calls, **figures}, given.json)
        return

    from policies import network

    with tempfile.TemporaryDirectory() as folder:
        spec = make_spec(type="sensor_msgs/msg/CompressedImage")
        policy = write_policy(Path(folder) / "policy", spec, network(spec), source=(WIDTH, HEIGHT))
        result: dict[str, Any] = {"machine": machine(), "calls": given.calls}
        for load, burners in (("idle", 0), ("all cores busy", CORES)):
            with burning(burners):
                figures = {
                    name: measure(policy, image(), given.calls) for name, image in IMAGES.items()
                }
                figures[f"joint states of {CROWD} names"] = measure(
                    policy, jpeg(), given.calls, CROWD
                )
            result[load] = figures
            for name, values in figures.items():
                print(f"{load}: {name}: {values}", file=sys.stderr, flush=True)
    finish(result, given.json)


if __name__ == "__main__":
    main()
