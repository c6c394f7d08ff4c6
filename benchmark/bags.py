# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How fast bags become a dataset, and how much memory that takes.

`python benchmark/bags.py [--json] [--gigabytes 4.2] [--folder DIR]` makes bags on the spot (VGA
at 30 Hz, joints at 90 Hz, episodes of a minute in one bag), reads each in a process of its own,
and deletes them. Seconds per gigabyte, peak resident memory, and the time of a cache hit.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin

from sarnn_ros.data.write_bag import (
    TYPES,
    Message,
    header,
    image_message,
    joint_state_message,
    write_messages,
)
from sarnn_ros.spec import JOINT_STATE_TYPE, Spec, parse_spec

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
SIZE = (640, 480)
GIGABYTE = 1e9


def spec(compressed: bool) -> Spec:
    kind = "CompressedImage" if compressed else "Image"
    camera = {"topic": "image", "type": f"sensor_msgs/msg/{kind}", "width": 64, "height": 64}
    joints = {"names": [f"joint{number}" for number in range(7)]}
    return parse_spec({"cameras": [camera], "joints": joints})


def make_bag(
    path: Path,
    size: float,
    compressed: bool,
    storage: StoragePlugin,
    start: int = START,
    images: float = np.inf,
    image_size: tuple[int, int] = SIZE,
) -> int:
    """Write about `size` bytes of recording, or so many images if that is less; returns the number
    of bytes on disk."""
    rng = np.random.default_rng(0)
    background = cv2.resize(rng.integers(0, 256, (60, 80, 3), np.uint8), image_size)
    variants = []
    for index in range(30):
        pixels = np.roll(background, index * 9, axis=1)
        noise = rng.integers(0, 8, pixels.shape, np.uint8)
        pixels = cv2.add(pixels, noise)
        variants.append(cv2.imencode(".jpg", pixels)[1].reshape(-1) if compressed else pixels)
    kind = spec(compressed).cameras[0].type
    joints = [f"joint{number}" for number in range(7)]

    def messages() -> Iterator[Message]:
        written, index = 0, 0
        while written < size and index < images:
            image_at = start + index * SECOND // 30
            for offset in (0, 10_000_000, 20_000_000):  # 90 Hz joints
                at = image_at + offset
                values = np.sin(at / SECOND + np.arange(7))
                yield (
                    "/joint_states",
                    JOINT_STATE_TYPE,
                    at,
                    joint_state_message(at, joints, values),
                )
            frame = variants[index % len(variants)]
            if compressed:
                about, form = header(image_at, "camera"), "bgr8; jpeg compressed bgr8"
                image = TYPES.types[kind](about, form, frame)
            else:
                image = image_message(image_at, frame, "bgr8")
            yield "/image", kind, image_at + 30_000_000, image
            written += frame.nbytes + 3 * 8 * len(joints)
            index += 1

    write_messages(path, messages(), storage=storage)
    return sum(file.stat().st_size for file in path.iterdir())


def read(path: Path, compressed: bool) -> dict[str, float]:
    """In this process: seconds and peak memory of `load_dataset`, without a cache."""
    from sarnn_ros.interop.loading import load_dataset

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    started, cpu = time.perf_counter(), time.process_time()
    dataset = load_dataset([path], spec(compressed))
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "ticks": sum(len(episode.ticks) for episode in dataset.episodes),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "imports_megabytes": before / 1e6,
    }


def cache_hit(folder: Path) -> dict[str, float]:
    """100 episodes of 80 ticks: seconds to load them the first and the second time."""
    from sarnn_ros.interop.loading import load_dataset

    for number in range(100):
        start = START + number * 60 * SECOND
        bag = folder / "many" / f"take{number:03d}"
        make_bag(bag, 16e6, True, StoragePlugin.MCAP, start)
    timings = []
    for _ in range(2):
        started = time.perf_counter()
        dataset = load_dataset([folder / "many"], spec(True), cache=folder / "cache")
        timings.append(time.perf_counter() - started)
    return {
        "episodes": len(dataset.episodes),
        "ticks": sum(len(episode.ticks) for episode in dataset.episodes),
        "first_seconds": timings[0],
        "hit_seconds": timings[1],
    }


def in_child(path: Path, compressed: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--read", str(path), *(["--jpeg"] if compressed else [])]
    found: dict[str, float] = json.loads(subprocess.check_output(command))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--gigabytes", type=float, default=4.2, help="size of the largest bag")
    parser.add_argument("--folder", type=Path, help="where the bags are made, and deleted")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--jpeg", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.read, options.jpeg)))
        return
    results: dict[str, dict[str, float]] = {}
    small = min(1.0, options.gigabytes)
    for title, size, compressed, storage in (
        ("raw, mcap, large", options.gigabytes, False, StoragePlugin.MCAP),
        ("raw, mcap", small, False, StoragePlugin.MCAP),
        ("raw, sqlite3", small, False, StoragePlugin.SQLITE3),
        ("jpeg, mcap", small / 2, True, StoragePlugin.MCAP),
    ):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            bag = Path(folder) / "bag"
            size_on_disk = make_bag(bag, size * GIGABYTE, compressed, storage)
            found = in_child(bag, compressed)
        found["gigabytes"] = size_on_disk / GIGABYTE
        found["seconds_per_gigabyte"] = found["seconds"] / found["gigabytes"]
        results[title] = found
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        results["cache"] = cache_hit(Path(folder))
    if options.json:
        print(json.dumps(results, indent=1))
        return
    print(f"{'bag':18} {'GB':>5} {'s/GB':>6} {'CPU s':>6} {'peak MB':>8} {'ticks':>6}")
    for title, one in results.items():
        if "gigabytes" in one:
            print(
                f"{title:18} {one['gigabytes']:5.2f} {one['seconds_per_gigabyte']:6.2f} "
                f"{one['cpu_seconds']:6.1f} {one['peak_megabytes']:8.0f} {one['ticks']:6.0f}"
            )
    cache = results["cache"]
    print(
        f"cache: {cache['episodes']:.0f} episodes, first {cache['first_seconds']:.2f} s, "
        f"hit {cache['hit_seconds']:.3f} s"
    )


if __name__ == "__main__":
    main()
