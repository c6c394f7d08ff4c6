# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From camera to command over DDS: a camera process, the node, and a controller process.

Latency is the time from the stamp of the image that a command came from to the command's arrival
in the controller's process. Our node tells of the image by `~/attention_points`, whose header is
the image's and which it publishes after the command: `image_of_each` has the rule. The baseline
(`eager_node.py`) stamps its command with it. The camera runs at 30 Hz by its own clock, a little
off, as cameras do, so that its phase to the policy's ticks drifts.

Ticks due are counted from the measurement's begin to its end, for our node and the baseline alike:
one that stops misses all that follow. The holds that our node sends when a tick has no command
repeat the last command and do not count.

Where the time goes is what the node says of its stages in /diagnostics, medians since its start:
`arrival` is DDS and the executor's wake-up, `wake` the hand-over to the control thread, `observe`
decoding and resizing. What is left of image -> command is the way of the command.
"""

from __future__ import annotations

import argparse
import array
import bisect
import contextlib
import json
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import (
    BUSY,
    CORES,
    arguments,
    beside,
    finish,
    machine,
    make_spec,
    percentiles,
    write_policy,
)
from numpy.typing import ArrayLike, NDArray

from sarnn_ros.control.statistics import from_text
from sarnn_ros.share import ros_environment
from sarnn_ros.streams.align import ImageTicks

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 640, 480
CAMERA_HZ = 29.9
DOMAIN = "79"
KINDS = ("raw", "bgr8", "jpeg")
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
            encoding = "bgr8" if kind == "bgr8" else "rgb8"
            message = Image(height=HEIGHT, width=WIDTH, step=3 * WIDTH, encoding=encoding)
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
    """Publish joint states at 100 Hz; note when commands arrive, and when attention points were
    published: by the time of their arrival they may look like the next tick's.

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
    points: list[tuple[int, int]] = []
    position: list[float] = []
    timings: list[tuple[int, dict[str, str]]] = []

    def nanoseconds(stamp: Any) -> int:
        return stamp.sec * 10**9 + stamp.nanosec

    def on_command(message: JointState) -> None:
        nonlocal position
        last, position = position, list(message.position)
        if position == last:  # a hold
            return
        if not commands:
            print("first", flush=True)
        commands.append((time.time_ns(), nanoseconds(message.header.stamp)))

    def on_points(message: ImageMarker, info: dict[str, int]) -> None:
        points.append((info["source_timestamp"], nanoseconds(message.header.stamp)))

    def on_diagnostics(message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(": timing"):
                values = {pair.key: pair.value for pair in status.values}
                timings.append((nanoseconds(message.header.stamp), values))

    node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 10)
    # Queues that none is lost from when this process has to wait for a core.
    node.create_subscription(JointState, "joint_command", on_command, 100)
    node.create_subscription(ImageMarker, "/sarnn/attention_points", on_points, 100)
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
    print(json.dumps({"commands": commands, "points": points, "timings": timings}))


def until(end: float, about: str) -> None:
    """Wait, and say every minute how much longer."""
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(60.0, left))
        if left > 60:
            print(f"{about}: {left - 60:.0f} s to go", file=sys.stderr, flush=True)


#: Our node with another executor. EventsExecutor cannot run it: it knows no guard conditions.
OTHER_EXECUTOR = """
import rclpy.executors
from sarnn_ros.ros import inference_node
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


@contextlib.contextmanager
def ended() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes, and ends them on leaving."""
    processes: list[subprocess.Popen[str]] = []
    # Never a domain that a real robot may listen on.
    environment = ros_environment() | {
        "ROS_DOMAIN_ID": DOMAIN,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }

    def start(command: list[str], stderr: int | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        processes.append(process)
        return process

    try:
        yield start
    finally:
        for each in processes:
            each.terminate()
        for each in processes:
            try:
                each.wait(10)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()


@dataclass(frozen=True)
class Record:
    """What was seen between two moments, ns.

    :param published: the stamps of all images, ns.
    :param said: what `controller` noted.
    """

    begin_ns: int
    end_ns: int
    published: list[int]
    said: dict[str, Any]
    process: dict[str, Any]


def run(
    node: list[str],
    kind: str,
    rate: float,
    seconds: float,
    *,
    trigger: str | None,
    others: Sequence[list[str]] = (),
    about: str = "",
) -> dict[str, Any]:
    """One measurement, in processes of its own.

    :param trigger: what our node's ticks are, grid or image; None for the baseline.
    """
    return figures(record(node, kind, seconds, trigger, others, about), rate, trigger, about)


def record(
    node: list[str],
    kind: str,
    seconds: float,
    trigger: str | None,
    others: Sequence[list[str]],
    about: str,
) -> Record:
    """Run camera, node and controller; see `run`."""
    script = [sys.executable, str(HERE / "end_to_end.py")]
    with ended() as start:
        camera_process = start([*script, "camera", kind])
        controller_process = start([*script, "controller"])
        time.sleep(3.0)  # the sensors of a robot are there before the node
        began = time.monotonic()
        process = start(node, subprocess.PIPE if trigger is not None else None)
        to_active = None
        if trigger is not None and activation(process).wait(60.0):
            to_active = round(time.monotonic() - began, 2)
        assert controller_process.stdout is not None
        ready, _, _ = select.select([controller_process.stdout], [], [], 60.0)
        if not ready:
            raise SystemExit("no command within a minute: nothing to measure")
        controller_process.stdout.readline()
        to_first_command = time.monotonic() - began
        time.sleep(2.0)
        with beside(others):
            usage = psutil.Process(process.pid)
            before, begin_ns = usage.cpu_times(), time.time_ns()
            until(time.monotonic() + seconds, about)
            end_ns, after, rss = time.time_ns(), usage.cpu_times(), usage.memory_info().rss
        time.sleep(1.0)  # what was due before the end may arrive after it
        camera_process.terminate()
        controller_process.terminate()
        published = json.loads(camera_process.communicate(timeout=20)[0])
        said = json.loads(controller_process.communicate(timeout=20)[0])
    cpu = after.user + after.system - before.user - before.system
    of_process = {
        "cpu_percent": round(100 * cpu / ((end_ns - begin_ns) * 1e-9), 1),
        "rss_mb": round(rss / 2**20),
        "start_to_first_command_s": round(to_first_command, 2),
    }
    if trigger is not None:
        of_process["start_to_active_s"] = to_active
    return Record(begin_ns, end_ns, published, said, of_process)


def figures(seen: Record, rate: float, trigger: str | None, about: str) -> dict[str, Any]:
    """The figures of a record; see `run`."""
    begin_ns, end_ns = seen.begin_ns, seen.end_ns
    commands = np.array(seen.said["commands"], dtype=np.int64)
    if trigger is not None:  # the points may have been discovered after the commands
        commands = commands[commands[:, 1] > min(seen.said["points"])[0]]
    arrivals, stamps = commands.T
    measured = (arrivals >= begin_ns) & (arrivals < end_ns)
    if not measured.any():
        raise SystemExit(f"{about}: no command: nothing to measure")
    result: dict[str, Any] = {}
    ticks = arrivals
    if trigger is not None:
        # Our commands are stamped when sent.
        sent, period = stamps, round(1e9 / rate)
        stamps, late = image_of_each(sent, seen.said["points"], period)
        ticks = stamps
        if trigger == "grid":
            ticks = sent // period * period
            result["tick_to_command_ms"] = percentiles((arrivals - ticks)[measured] * 1e-9)
        result["points_late"] = int(late[measured].sum())
        result |= reported(seen.said["timings"], seen.published, begin_ns, end_ns)
    due = ticks_due(trigger, rate, int(ticks[0]), seen.published, begin_ns, end_ns)
    done = int(((ticks >= begin_ns) & (ticks < end_ns)).sum())
    return {
        "image_to_command_ms": percentiles((arrivals - stamps)[measured] * 1e-9),
        **result,
        "ticks_due": due,
        "ticks_missed": max(0, due - done),
        **seen.process,
    }


def image_of_each(
    sent: ArrayLike, points: ArrayLike, period_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The image that each command came from, by what the node says of it.

    A tick's attention points are published after its command. So what was published before the
    next command, and within a period, is of this tick or an earlier one, and the newest image of
    it is the command's: never one that came after the tick. Where the tick's own points were late
    or lost it is an older image: the latency then comes out too long, not too short.

    :param sent: (N,) when each command was sent, ns, ascending.
    :param points: (M, 2) when points were published, and the stamp of their image, ns.
    :returns: (N,) stamps; and (N,) whether no points were published between this command and the
        next one.
    :raises ValueError: the first command has no points, and there is no earlier image.
    """
    sent = np.asarray(sent, dtype=np.int64)
    points = np.asarray(points, dtype=np.int64).reshape(-1, 2)
    published, images = points[np.argsort(points[:, 0], kind="stable")].T
    ends = sent + period_ns
    ends[:-1] = np.minimum(ends[:-1], sent[1:])
    first, last = np.searchsorted(published, sent), np.searchsorted(published, ends)
    seen: list[int] = []
    stamps, fed = [], 0
    for command, number in zip(sent.tolist(), last.tolist()):
        for image in images[fed:number].tolist():
            bisect.insort(seen, image)
        fed = max(fed, number)
        # Of a tick that commanded nothing there may be points as well, of a later image.
        position = bisect.bisect_right(seen, command)
        if not position:
            raise ValueError("a command before any attention points: its image is not known")
        stamps.append(seen[position - 1])
    return np.array(stamps, dtype=np.int64), first == last


def times_faster(result: dict[str, Any]) -> None:
    """Add to each of our measurements the baseline's latency over its own, where both were made
    with the same kind, rate and load."""
    for key, figures in result.items():
        name, *same = key.split(", ")
        baseline = result.get(", ".join(["baseline", *same[1:]]))
        if name == "sarnn_ros" and baseline is not None:
            figures["times_faster_than_baseline"] = {
                quantile: round(
                    baseline["image_to_command_ms"][quantile]
                    / figures["image_to_command_ms"][quantile],
                    2,
                )
                for quantile in ("p50", "p99")
            }


def ticks_due(
    trigger: str | None, rate: float, first_ns: int, published: list[int], begin: int, end: int
) -> int:
    """How many ticks a node had to command in [begin, end), ns.

    :param trigger: grid, image, or None for a timer of unknown phase.
    :param first_ns: some tick before `begin`: images are counted off from it.
    :param published: the stamps of all images, ns.
    """
    period = round(1e9 / rate)
    if trigger == "grid":
        return (end - 1) // period - (begin - 1) // period
    if trigger is None:
        return (end - begin) // period
    rule = ImageTicks(period)
    ticks = [stamp for stamp in published if stamp >= first_ns and rule.take(stamp)]
    return sum(begin <= tick < end for tick in ticks)


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
    stages = {stage: round(figures["p50"], 2) for stage, figures in from_text(last).items()}
    return {
        "frames": sent,
        "frames_lost": max(0, sent - received - 1),
        "stages_p50_ms": stages,
    }


def contenders(
    options: argparse.Namespace, kind: str, rate: float, scratch: Path
) -> Iterator[tuple[str, str | None, list[str]]]:
    """Name, trigger and command of each node that is measured."""
    import torch

    from sarnn_ros.model.sarnn import SARNN

    torch.manual_seed(0)
    camera_spec = {}
    if kind == "jpeg":
        camera_spec = {
            "type": "sensor_msgs/msg/CompressedImage",
            "topic": "image_raw/compressed",
        }
    for trigger in options.triggers:
        directory = write_policy(
            scratch / f"{kind}{rate}{trigger}",
            make_spec(options.size, rate=rate, tick=trigger, **camera_spec),
            SARNN(50, 5, 6, im_size=(options.size, options.size)),
            source=(WIDTH, HEIGHT),
        )
        inference = [sys.executable, "-m", "sarnn_ros.ros.inference_node"]
        if options.multithreaded:
            inference = [sys.executable, "-c", OTHER_EXECUTOR]
        inference += ["--ros-args", "-p", f"policy:={directory}"]
        for parameter in ["start_on_activate:=true", *options.parameter]:
            inference += ["-p", parameter]
        yield f"sarnn_ros, {trigger}", trigger, inference
    yield "baseline", None, [sys.executable, str(HERE / "eager_node.py"), str(rate), kind]


def loads(options: argparse.Namespace, scratch: Path) -> dict[str, list[list[str]]]:
    """What runs beside what is measured, by name."""
    found: dict[str, list[list[str]]] = {"idle": []}
    if not options.no_load:
        found["loaded"] = [BUSY] * CORES
    if options.training:
        bags, spec = options.training
        train = [sys.executable, "-m", "sarnn_ros.cli.main", "train", bags, "--spec", spec]
        out = ["--out", str(scratch / "trained"), "--force", "--background"]
        found["beside a training"] = [[*train, *out]]
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="per measurement")
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=["raw", "jpeg"],
        help="of image: raw is rgb8, which needs no conversion",
    )  # fmt: skip
    parser.add_argument("--rates", type=float, nargs="+", default=[10.0, 30.0])
    parser.add_argument("--triggers", nargs="+", default=["grid", "image"], help="of our node")
    parser.add_argument("--parameter", nargs="+", default=[], help="of our node, NAME:=VALUE")
    parser.add_argument(
        "--multithreaded", action="store_true", help="our node with rclpy's other executor"
    )
    parser.add_argument("--size", type=int, default=64, help="of the policy's image")
    parser.add_argument("--only", choices=["sarnn_ros", "baseline"])
    parser.add_argument("--no-load", action="store_true", help="not beside busy processes")
    parser.add_argument(
        "--training", nargs=2, metavar=("BAGS", "SPEC"), help="also beside one in the background"
    )
    options = parser.parse_args()

    result: dict[str, Any] = {"machine": machine(), "seconds": options.seconds}
    with tempfile.TemporaryDirectory() as scratch:
        for kind in options.kinds:
            for rate in options.rates:
                for name, trigger, node in contenders(options, kind, rate, Path(scratch)):
                    if options.only not in (None, name.split(",")[0]):
                        continue
                    for load, others in loads(options, Path(scratch)).items():
                        key = f"{name}, {kind}, {rate:g} Hz, {load}"
                        result[key] = run(
                            node, kind, rate, options.seconds,
                            trigger=trigger, others=others, about=key,
                        )  # fmt: skip
                        print(key, result[key], file=sys.stderr, flush=True)
    times_faster(result)
    finish(result, options.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["camera"]:
        camera(sys.argv[2])
    elif sys.argv[1:2] == ["controller"]:
        controller()
    else:
        main()
