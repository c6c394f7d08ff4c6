# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From camera to command over DDS: a camera process, the node, and a controller process.

Latency is the time from the stamp of the image that a command came from to the command's arrival
in the controller's process. Our node is told of the image by `~/attention_points`, whose header is
the image's; the baseline (`eager_node.py`) stamps its command with it. The camera runs at 30 Hz by
its own clock, a little off, as cameras do, so that its phase to the policy's ticks drifts.
"""

from __future__ import annotations

import array
import json
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import CORES, arguments, burning, finish, machine, make_spec, percentiles, write_policy

from sarnn_ros.share import ros_environment

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 640, 480
CAMERA_HZ = 29.9
DOMAIN = "79"
JOINTS = [f"joint{index + 1}" for index in range(6)]


def camera(kind: str) -> None:
    """Publish VGA images until interrupted; the count goes to standard output."""
    import cv2
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CompressedImage, Image

    rclpy.init()
    node = rclpy.create_node("camera")
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    messages = []
    for index in range(16):
        wave = (np.sin(x / 40 + index / 3) + np.cos(y / 30 - index / 5)) * 60 + 127
        pixels = np.stack([wave, wave[::-1], wave[:, ::-1]], -1).clip(0, 255).astype(np.uint8)
        if kind == "jpeg":
            message: Any = CompressedImage(format="jpeg")
            data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        else:
            message = Image(height=HEIGHT, width=WIDTH, step=3 * WIDTH, encoding="rgb8")
            data = pixels.tobytes()
        message.data = array.array("B", data)
        messages.append(message)
    topic = "image_raw/compressed" if kind == "jpeg" else "image_raw"
    publisher = node.create_publisher(type(messages[0]), topic, qos_profile_sensor_data)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    due, count = time.monotonic(), 0
    while not stop.is_set():
        due += 1.0 / CAMERA_HZ
        if (wait := due - time.monotonic()) > 0:
            time.sleep(wait)
        message = messages[count % len(messages)]
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
        count += 1
    print(json.dumps({"images": count}))


def controller() -> None:
    """Publish joint states at 100 Hz; note when commands and attention points arrive.

    Says `first` with the first command. Ends with SIGTERM; the record goes to standard output.
    """
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import JointState
    from visualization_msgs.msg import ImageMarker

    rclpy.init()
    node = rclpy.create_node("controller")
    commands: list[tuple[int, int]] = []
    images: list[int] = []

    def nanoseconds(stamp: Any) -> int:
        return stamp.sec * 10**9 + stamp.nanosec

    def on_command(message: JointState) -> None:
        if not commands:
            print("first", flush=True)
        commands.append((time.time_ns(), nanoseconds(message.header.stamp)))

    def on_points(message: ImageMarker) -> None:
        images.append(nanoseconds(message.header.stamp))

    node.create_subscription(JointState, "joint_command", on_command, 10)
    node.create_subscription(ImageMarker, "/sarnn/attention_points", on_points, 10)
    publisher = node.create_publisher(JointState, "joint_states", qos_profile_sensor_data)
    message = JointState(name=JOINTS)

    def publish() -> None:
        message.header.stamp = node.get_clock().now().to_msg()
        message.position = [0.1 * np.sin(time.time() + index) for index in range(len(JOINTS))]
        publisher.publish(message)

    node.create_timer(0.01, publish)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    while not stop.is_set():
        rclpy.spin_once(node, timeout_sec=0.1)
    print(json.dumps({"commands": commands, "images": images}))


def run(
    node: list[str], kind: str, rate: float, seconds: float, *, ours: bool, burn: int = 0
) -> dict[str, Any]:
    """One measurement, in processes of its own."""
    script = [sys.executable, str(HERE / "end_to_end.py")]
    processes: list[subprocess.Popen[str]] = []

    def start(command: list[str]) -> subprocess.Popen[str]:
        # Never a domain that a real robot may listen on.
        environment = ros_environment() | {
            "ROS_DOMAIN_ID": DOMAIN,
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        }
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    try:
        camera_process, controller_process = (
            start([*script, "camera", kind]),
            start([*script, "controller"]),
        )
        time.sleep(3.0)  # the sensors of a robot are there before the node
        began = time.monotonic()
        process = start(node)
        assert controller_process.stdout is not None
        ready, _, _ = select.select([controller_process.stdout], [], [], 60.0)
        if not ready:
            raise SystemExit("no command within a minute: nothing to measure")
        controller_process.stdout.readline()
        to_first_command = time.monotonic() - began
        time.sleep(2.0)
        with burning(burn):
            usage = psutil.Process(process.pid)
            before, begin_ns = usage.cpu_times(), time.time_ns()
            time.sleep(seconds)
            end_ns, after, rss = time.time_ns(), usage.cpu_times(), usage.memory_info().rss
        camera_process.terminate()
        controller_process.terminate()
        sent = json.loads(camera_process.communicate(timeout=20)[0])
        record = json.loads(controller_process.communicate(timeout=20)[0])
    finally:
        for each in processes:
            each.terminate()
        for each in processes:
            try:
                each.wait(10)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()

    arrivals, stamps = np.array(
        [row for row in record["commands"] if begin_ns <= row[0] < end_ns], dtype=np.int64
    ).T
    duration = (end_ns - begin_ns) * 1e-9
    result: dict[str, Any] = {}
    if ours:
        # Stamped when sent: its tick is the one before, its image the newest reported by then.
        period = round(1e9 / rate)
        ticks = stamps // period * period
        result["tick_to_command_ms"] = percentiles((arrivals - ticks) * 1e-9)
        images = np.sort(np.array(record["images"], dtype=np.int64))
        stamps = images[np.searchsorted(images, ticks, side="right") - 1]
    cpu = after.user + after.system - before.user - before.system
    return {
        "image_to_command_ms": percentiles((arrivals - stamps) * 1e-9),
        **result,
        "commands": len(arrivals),
        "ticks_missed": max(0, int(duration * rate) - len(arrivals)),
        "cpu_percent": round(100 * cpu / duration, 1),
        "rss_mb": round(rss / 2**20),
        "start_to_first_command_s": round(to_first_command, 2),
        "images_published": sent["images"],
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="per measurement")
    parser.add_argument("--kinds", nargs="+", default=["raw", "jpeg"])
    parser.add_argument("--rates", type=float, nargs="+", default=[10.0, 30.0])
    parser.add_argument("--only", choices=["sarnn_ros", "baseline"])
    parser.add_argument("--no-load", action="store_true", help="idle only")
    options = parser.parse_args()

    import torch

    from sarnn_ros.model.sarnn import SARNN

    result: dict[str, Any] = {"machine": machine(), "seconds": options.seconds}
    with tempfile.TemporaryDirectory() as scratch:
        for kind in options.kinds:
            for rate in options.rates:
                torch.manual_seed(0)
                camera_spec = (
                    {"type": "sensor_msgs/msg/CompressedImage", "topic": "image_raw/compressed"}
                    if kind == "jpeg"
                    else {}
                )
                spec = make_spec(64, rate=rate, **camera_spec)
                directory = write_policy(
                    Path(scratch) / f"{kind}{rate}", spec, SARNN(50, 5, 6, im_size=(64, 64)),
                    source=(WIDTH, HEIGHT),
                )  # fmt: skip
                inference = [sys.executable, "-m", "sarnn_ros.nodes.inference_node", "--ros-args"]
                for name, value in {"policy": directory, "autostart": "true"}.items():
                    inference += ["-p", f"{name}:={value}"]
                eager = [sys.executable, str(HERE / "eager_node.py"), str(rate), kind]
                for name, node in (("sarnn_ros", inference), ("baseline", eager)):
                    if options.only not in (None, name):
                        continue
                    for load, burn in (("idle", 0), ("loaded", CORES)):
                        if burn and options.no_load:
                            continue
                        key = f"{name}, {kind}, {rate:g} Hz, {load}"
                        result[key] = run(
                            node, kind, rate, options.seconds, ours=name == "sarnn_ros", burn=burn
                        )
                        print(key, result[key], file=sys.stderr, flush=True)
    finish(result, options.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["camera"]:
        camera(sys.argv[2])
    elif sys.argv[1:2] == ["controller"]:
        controller()
    else:
        main()
