# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: a policy to measure, percentiles, load, and a word on the machine."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import ArrayLike

from sarnn_ros.spec import Spec, parse_spec

#: What makes the tests' policies makes these.
sys.path.append(str(Path(__file__).resolve().parents[1] / "test" / "support"))

#: Of a CPU's time; the rest it waits. A guest's is in user's.
AT_WORK = ("user", "nice", "system", "irq", "softirq", "steal")
CORES = len(os.sched_getaffinity(0))


def make_spec(
    size: int = 64,
    *,
    joints: int = 6,
    cameras: int = 1,
    rate: float = 10.0,
    tick: str = "grid",
    **camera: Any,
) -> Spec:
    """Square images, joints `joint1` … on `joint_states`, first camera on `image_raw`."""
    return parse_spec(
        {
            "rate": rate,
            "tick": tick,
            "cameras": [
                {
                    "name": f"camera{index}",
                    "topic": "image_raw" if index == 0 else f"image_raw{index}",
                    "width": size,
                    "height": size,
                    **camera,
                }
                for index in range(cameras)
            ],
            "joints": {"names": [f"joint{index + 1}" for index in range(joints)]},
            "joint_range": [0.1, 0.9],
        }
    )


def write_policy(
    out: Path, spec: Spec, model: Any, *, source: tuple[int, int] | None = None
) -> Path:
    """Export a network as a policy whose joints span ±1 rad and whose guard lets all of it pass.

    :param source: (width, height) of the cameras' images; the model's size by default.
    """
    import policies

    width, height = source or (spec.cameras[0].width, spec.cameras[0].height)
    wide = {"position_min": -10.0, "position_max": 10.0, "max_step": 20.0, "start_pose": 0.0}
    limits = policies.envelope(spec, source_size=(width, height), start_pose_spread=10.0, **wide)
    return policies.write_policy(out, spec, model, limits=limits)


def percentiles(seconds: ArrayLike) -> dict[str, float]:
    """p50, p95, p99 and max in ms."""
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99)) * 1e3
    values = {"p50": p50, "p95": p95, "p99": p99, "max": np.max(seconds) * 1e3}
    return {name: round(float(value), 3) for name, value in values.items()}


#: A process that wants a core, all the time.
BUSY = [sys.executable, "-S", "-c", "while True: pass"]


def burning(processes: int) -> contextlib.AbstractContextManager[None]:
    """Other processes that want a core each, all the time."""
    return beside([BUSY] * processes)


@contextlib.contextmanager
def beside(commands: Sequence[list[str]]) -> Iterator[None]:
    """Other processes, which are ended afterwards.

    :raises SystemExit: one had ended before, so it was not there all the time.
    """
    others = [
        subprocess.Popen(one, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for one in commands
    ]
    try:
        yield
        for one in others:
            if one.poll() is not None:
                raise SystemExit(f"{' '.join(map(str, one.args))}: ended with {one.returncode}")
    finally:
        for one in others:
            one.kill()
            one.wait()


def machine() -> dict[str, Any]:
    """Enough to judge the figures by."""
    model = "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    import onnxruntime

    return {
        "cpu": model,
        "cores": CORES,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
    }


def cpu_times() -> tuple[float, float, float]:
    """Seconds since some time ago: by the clock; of all CPUs at work; and of these, at work for
    this process and those that it started, ended ones included."""
    own = 0.0
    for process in (one := psutil.Process(), *one.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            own += sum(process.cpu_times()[:4])  # user, system, and of children waited for
    total = psutil.cpu_times()
    return time.monotonic(), sum(getattr(total, name, 0.0) for name in AT_WORK), own


#: What else the machine did is counted from here to `finish`.
BEGAN = cpu_times()


def others_percent(began: tuple[float, ...], ended: tuple[float, ...]) -> float:
    """Of all CPUs' time between, what others took. Our own load is not in it."""
    elapsed, busy, own = (after - before for before, after in zip(began, ended))
    return round(100 * max(0.0, busy - own) / (elapsed * (psutil.cpu_count() or 1)), 1)


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    return parser


def finish(result: dict[str, Any], target: Path | None) -> None:
    """Add how quiet the machine was; print, and write where asked."""
    result["machine"]["others_cpu_percent"] = others_percent(BEGAN, cpu_times())
    text = json.dumps(result, indent=2)
    print(text)
    if target is not None:
        target.write_text(text + "\n")
