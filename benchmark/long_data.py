# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Whether time stays in proportion and memory bounded when recordings get long, or many.

`python benchmark/long_data.py [--minutes 10 30 60] [--episodes 100 1000] [--size 640 480]
[--folder DIR]` makes bags of JPEG images at 30 Hz and joints at 90 Hz: one bag of so many minutes,
or so many of one second. Each is converted to a LeRobotDataset, looked at by `sarnn inspect`, the
second time from the cache, by `sarnn train --dry-run`, likewise the second time from the cache,
converted to EIPL's layout, and then the data set is looked at, by the commands that a user types,
each in a process of its own. The dry run is of episodes of a minute, which the spec's `times` cut.
An hour of VGA takes 16 GB of disk, which is freed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bags import SECOND, SIZE, START, make_bag, spec
from common import arguments, finish, machine
from rosbags.rosbag2 import StoragePlugin

from sarnn_ros.spec import EpisodeSplit, Spec, dump_spec

#: Of each of many episodes, and of those that a long bag is cut into, s.
SHORT, MINUTE = 1, 60


def run(*command: str | Path, cache: Path) -> dict[str, float]:
    """Seconds by the clock and of CPU, and the largest resident memory of one command."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "sarnn_ros.cli.main", *map(str, command)],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}")
    return {
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_megabytes": round(used.ru_maxrss / 1024),
    }


def measure(
    folder: Path, bags: int, seconds: float, image_size: tuple[int, int]
) -> dict[str, Any]:
    """Of so many bags of so many seconds each."""
    size = 0
    for number in range(bags):
        size += make_bag(
            folder / "bags" / f"take{number:04d}", float("inf"), True, StoragePlugin.MCAP,
            START + round(number * (seconds + 60) * SECOND), images=round(30 * seconds),
            image_size=image_size,
        )  # fmt: skip
    file, cut = folder / "spec.yaml", folder / "cut.yaml"
    cache, out = folder / "cache", folder / "lerobot"
    file.write_text(dump_spec(spec(True)), encoding="utf-8")
    cut.write_text(dump_spec(_in_minutes(spec(True), seconds)), encoding="utf-8")
    what = (folder / "bags", "--spec", file)
    training = (folder / "bags", "--spec", cut, "--out", folder / "policy", "--dry-run")
    return {
        "gigabytes": round(size / 1e9, 2),
        "convert": run("convert", *what, "--to", "lerobot", "--out", out, cache=cache),
        "inspect": run("inspect", *what, cache=cache),
        "inspect_again": run("inspect", *what, cache=cache),
        "dry_run": run("train", *training, cache=cache),
        "dry_run_again": run("train", *training, cache=cache),
        "convert_eipl": run(
            "convert", *what, "--to", "eipl", "--out", folder / "eipl", cache=cache
        ),
        "inspect_lerobot": run("inspect", out, cache=cache),
        "lerobot_gigabytes": round(sum(_sizes(out)) / 1e9, 2),
    }


def _in_minutes(whole: Spec, seconds: float) -> Spec:
    if seconds <= MINUTE:
        return whole
    times = tuple((at, min(at + MINUTE, seconds) - 0.1) for at in range(0, int(seconds), MINUTE))
    return whole.model_copy(update={"episodes": EpisodeSplit(times=times)})


def _sizes(folder: Path) -> Iterator[int]:
    return (file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, nargs="*", default=[10, 30, 60])
    parser.add_argument("--episodes", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--size", type=int, nargs=2, default=SIZE, help="of the images")
    parser.add_argument("--folder", type=Path, help="where the bags are made, and deleted")
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine()}
    cases = {f"{minutes:g} min": (1, 60 * minutes) for minutes in options.minutes}
    cases |= {f"{count} episodes": (count, SHORT) for count in options.episodes}
    for title, (bags, seconds) in cases.items():
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            result[title] = measure(folder, bags, seconds, tuple(options.size))
        finally:
            shutil.rmtree(folder)
        print(title, result[title], file=sys.stderr, flush=True)
    finish(result, options.json)


if __name__ == "__main__":
    main()
