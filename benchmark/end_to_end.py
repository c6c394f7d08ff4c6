# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From camera to command over DDS: a camera process, the node, and a controller process.

Latency is the time from the stamp of the image that a command came from to the command's arrival
in the controller's process. Our node is told of the image by `~/attention_points`, whose header is
the image's; the baseline (`eager_node.py`) stamps its command with it. The camera runs at 30 Hz by
its own clock, a little off, as cameras do, so that its phase to the policy's ticks drifts.

Where the time goes is what the node says of its stages in /diagnostics, medians since its start:
`arrival` is DDS and the executor's wake-up, `wake` the hand-over to the control thread, `observe`
decoding and resizing. What is left of image -> command is the way of the command.
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

from sarnn_ros.data.align import ImageTicks
from sarnn_ros.share import ros_environment

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 640, 480
CAMERA_HZ = 29.9
DOMAIN = "79"
JOINTS = [f"joint{index + 1}" for index in range(6)]


def camera(kind: str) -> None:
    """Publish VGA images until interrupted; their stamps go to standard output."""
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
    due, stamps = time.monotonic(), []
    while not stop.is_set():
        due += 1.0 / CAMERA_HZ
        if (wait := due - time.monotonic()) > 0:
            time.sleep(wait)
        message = messages[len(stamps) % len(messages)]
        now = node.get_clock().now()
        message.header.stamp = now.to_msg()
        publisher.publish(message)
        stamps.append(now.nanoseconds)
    print(json.dumps(stamps))


def controller() -> None:
    """Publish joint states at 100 Hz; note when commands and attention points arrive.

    Says `first` with the first command. Ends with SIGTERM; the record goes to standard output.
    """
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import JointState
    from visualization_msgs.msg import ImageMarker

    rclpy.init()
    node = rclpy.create_node("controller")
    commands: list[tuple[int, int]] = []
    images: list[int] = []
    timings: list[tuple[int, dict[str, str]]] = []

    def nanoseconds(stamp: Any) -> int:
        return stamp.sec * 10**9 + stamp.nanosec

    def on_command(message: JointState) -> None:
        if not commands:
            print("first", flush=True)
        commands.append((time.time_ns(), nanoseconds(message.header.stamp)))

    def on_points(message: ImageMarker) -> None:
        images.append(nanoseconds(message.header.stamp))

    def on_diagnostics(message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(": timing"):
                values = {pair.key: pair.value for pair in status.values}
                timings.append((nanoseconds(message.header.stamp), values))

    node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 10)
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
    print(json.dumps({"commands": commands, "images": images, "timings": timings}))


def until(end: float, about: str) -> None:
    """Wait, and say every minute how much longer."""
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(60.0, left))
        if left > 60:
            print(f"{about}: {left - 60:.0f} s to go", file=sys.stderr, flush=True)


#: Our node with another executor. EventsExecutor cannot run it: it knows no guard conditions.
OTHER_EXECUTOR = """
import rclpy.executors
from sarnn_ros.nodes import inference_node
inference_node.SingleThreadedExecutor = rclpy.executors.MultiThreadedExecutor
inference_node.main()
"""


def activation(process: subprocess.Popen[str]) -> threading.Event:
    """Set when the node says that it is active. Its other messages go on to standard error."""
    active = threading.Event()

    def read() -> None:
        for line in process.stderr or ():
            if "]: active" in line:
                active.set()
            elif "[INFO]" not in line:
                print(line, end="", file=sys.stderr)

    threading.Thread(target=read, daemon=True).start()
    return active


def run(
    node: list[str],
    kind: str,
    rate: float,
    seconds: float,
    *,
    trigger: str | None,
    burn: int = 0,
    about: str = "",
) -> dict[str, Any]:
    """One measurement, in processes of its own.

    :param trigger: what our node's ticks are, grid or image; None for the baseline.
    """
    ours = trigger is not None
    script = [sys.executable, str(HERE / "end_to_end.py")]
    processes: list[subprocess.Popen[str]] = []

    def start(command: list[str]) -> subprocess.Popen[str]:
        # Never a domain that a real robot may listen on.
        environment = ros_environment() | {
            "ROS_DOMAIN_ID": DOMAIN,
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        }
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if ours and command is node else None,
            text=True,
        )
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
        to_active = None
        if ours and activation(process).wait(60.0):
            to_active = round(time.monotonic() - began, 2)
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
            until(time.monotonic() + seconds, about)
            end_ns, after, rss = time.time_ns(), usage.cpu_times(), usage.memory_info().rss
        camera_process.terminate()
        controller_process.terminate()
        published = json.loads(camera_process.communicate(timeout=20)[0])
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
    result: dict[str, Any] = {"ticks_missed": max(0, int(duration * rate) - len(arrivals))}
    if ours:
        # Stamped when sent: its tick is the one before, its image the newest reported by then.
        ticks = stamps
        if trigger == "grid":
            period = round(1e9 / rate)
            ticks = stamps // period * period
            result["tick_to_command_ms"] = percentiles((arrivals - ticks) * 1e-9)
        images = np.sort(np.array(record["images"], dtype=np.int64))
        stamps = images[np.searchsorted(images, ticks, side="right") - 1]
        if trigger == "image":
            ticks = stamps
        result["ticks_missed"] = missed(ticks, trigger, rate, published)
        result |= reported(record["timings"], published, begin_ns, end_ns)
        result["start_to_active_s"] = to_active
    cpu = after.user + after.system - before.user - before.system
    return {
        "image_to_command_ms": percentiles((arrivals - stamps) * 1e-9),
        **result,
        "commands": len(arrivals),
        "cpu_percent": round(100 * cpu / duration, 1),
        "rss_mb": round(rss / 2**20),
        "start_to_first_command_s": round(to_first_command, 2),
    }


def missed(ticks: np.ndarray, trigger: str, rate: float, published: list[int]) -> int:
    """Ticks between the first and the last with a command that have none.

    :param ticks: that have one, ns, ascending.
    :param published: the stamps of all images, ns.
    """
    period = round(1e9 / rate)
    if trigger == "grid":
        due = set(range(ticks[0], ticks[-1] + 1, period))
    else:
        rule = ImageTicks(period)
        due = {stamp for stamp in published if ticks[0] <= stamp <= ticks[-1] and rule.take(stamp)}
    return len(due - set(ticks.tolist()))


def reported(
    timings: list[tuple[int, dict[str, str]]], published: list[int], begin_ns: int, end_ns: int
) -> dict[str, Any]:
    """Frames lost and stages, from what the node said while it was measured.

    A frame is lost if the node has not received it; one on its way when the count was made
    is not known to be, so single ones do not count.
    """
    inside = [row for row in timings if begin_ns <= row[0] < end_ns]
    if not inside:
        return {}
    (first_ns, first), (last_ns, last) = inside[0], inside[-1]
    topic = next(key for key in last if key.startswith("received image_raw"))
    received = int(last[topic]) - int(first[topic])
    stamps = np.array(published)
    sent = int(((stamps >= first_ns) & (stamps < last_ns)).sum())
    stages = {
        key.removesuffix(" p50 (ms)"): round(float(value), 2)
        for key, value in last.items()
        if key.endswith(" p50 (ms)")
    }
    return {
        "frames": sent,
        "frames_lost": max(0, sent - received - 1),
        "stages_p50_ms": stages,
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="per measurement")
    parser.add_argument("--kinds", nargs="+", default=["raw", "jpeg"])
    parser.add_argument("--rates", type=float, nargs="+", default=[10.0, 30.0])
    parser.add_argument("--triggers", nargs="+", default=["grid", "image"], help="of our node")
    parser.add_argument("--parameter", nargs="+", default=[], help="of our node, NAME:=VALUE")
    parser.add_argument(
        "--multithreaded", action="store_true", help="our node with rclpy's other executor"
    )
    parser.add_argument("--size", type=int, default=64, help="of the policy's image")
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
                nodes: list[tuple[str, str | None, list[str]]] = []
                for trigger in options.triggers:
                    spec = make_spec(options.size, rate=rate, tick=trigger, **camera_spec)
                    directory = write_policy(
                        Path(scratch) / f"{kind}{rate}{trigger}",
                        spec,
                        SARNN(50, 5, 6, im_size=(options.size, options.size)),
                        source=(WIDTH, HEIGHT),
                    )
                    inference = [sys.executable, "-m", "sarnn_ros.nodes.inference_node"]
                    if options.multithreaded:
                        inference = [sys.executable, "-c", OTHER_EXECUTOR]
                    inference += ["--ros-args", "-p", f"policy:={directory}"]
                    for parameter in ["autostart:=true", *options.parameter]:
                        inference += ["-p", parameter]
                    nodes.append((f"sarnn_ros, {trigger}", trigger, inference))
                eager = [sys.executable, str(HERE / "eager_node.py"), str(rate), kind]
                nodes.append(("baseline", None, eager))
                for name, trigger, node in nodes:
                    if options.only not in (None, name.split(",")[0]):
                        continue
                    for load, burn in (("idle", 0), ("loaded", CORES)):
                        if burn and options.no_load:
                            continue
                        key = f"{name}, {kind}, {rate:g} Hz, {load}"
                        result[key] = run(
                            node, kind, rate, options.seconds,
                            trigger=trigger, burn=burn, about=key,
                        )  # fmt: skip
                        print(key, result[key], file=sys.stderr, flush=True)
    finish(result, options.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["camera"]:
        camera(sys.argv[2])
    elif sys.argv[1:2] == ["controller"]:
        controller()
    else:
        main()
