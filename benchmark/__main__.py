# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`make benchmark`: run the speed benchmarks one after the other, and rewrite
benchmark/results/README.md.

The figures are kept as JSON files in benchmark/results/, or `--keep DIR`, and the page is made of
those that are there: `--only` replaces one section. `--from DIR` only rewrites the page. `--long`
adds ten minutes each of camera to command, forty in all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE / "results" / "README.md"
RESULTS = HERE / "results"
#: Section of the page: its script and what it is told.
RUNS = {
    "policy_step": ["policy_step.py"],
    "end_to_end": ["end_to_end.py"],
    "ten_minutes": [
        "end_to_end.py", "--seconds", "600", "--no-load",
        "--triggers", "image", "--only", "sarnn_ros",
    ],
    "scaling": ["scaling.py"],
    "training": ["training.py", "epoch"],
}  # fmt: skip
LONG = "ten_minutes"
#: Of all cores: a desktop's background is less, and the kernel's part of our own traffic, too.
QUIET_PERCENT = 10.0

HEAD = """\
# Benchmarks

Written by `make benchmark` (`benchmark/`); do not edit. Times are wall time in ms. Compare within
a table, not between machines: every table holds its baseline, measured in the same run.
"""


def table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def cells(values: dict[str, float]) -> list[Any]:
    return [f"{values[name]:.3g}" for name in ("p50", "p95", "p99", "max")]


def about(result: dict[str, Any]) -> str:
    machine = result["machine"]
    text = (
        f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}, onnxruntime "
        f"{machine['onnxruntime']}."
    )
    others = machine["others_cpu_percent"]
    text += f" Other work took {others:g} % of all cores meanwhile"
    if others <= QUIET_PERCENT:
        return f"{text}."
    return f"{text}: **the machine was not quiet**, and *idle* only means that we added no load."


def policy_step(result: dict[str, Any]) -> Iterator[str]:
    yield "## Policy step"
    yield (
        "`benchmark/policy_step.py`. The baseline is EIPL's network in plain eager PyTorch, "
        "with its steps around it. *Command*: attention points and joints, what the node runs "
        "while nobody looks at the predicted image; *full*: with that image. Idle: one core, "
        "turns taken with the baseline: *in a loop*, and at *a robot's pace*, 33 ms of sleep "
        "before each step. Loaded: 30 Hz, as many busy processes as cores. *Of it on a core*: "
        "without the waits for one. "
        "*Scale and transpose* is part of every step, *crop and resize* comes before it."
    )
    yield about(result)
    for size, figures in result.items():
        if size == "machine":
            continue
        rows = []
        for label, key, faster in (
            ("in a loop", "idle_ms", figures["times_faster_than_baseline"]),
            ("robot's pace", "at_pace_ms", figures["times_faster_than_baseline_at_pace"]),
            ("loaded", "loaded_ms", {}),
            ("in a loop", "preprocessing_ms", {}),
        ):
            rows += [
                [f"{label}: {name}", *cells(values), faster.get(name, "")]
                for name, values in figures[key].items()
            ]
        yield f"### {size} pixels"
        yield table(["", "p50", "p95", "p99", "max", "times faster"], rows)


def end_to_end(result: dict[str, Any]) -> Iterator[str]:
    yield "## Camera to command"
    yield (
        f"`benchmark/end_to_end.py`, {result['seconds']:g} s each: 640×480 at 29.9 Hz, three "
        "processes over DDS. *Image → command* is from the stamp of the image that a command came "
        "from to the command's arrival at the controller. On the *grid* it holds the wait for the "
        "tick, which varies over a camera period as the camera's clock drifts against the "
        "policy's; *tick → command* is what the node can help there. With *image* the image is "
        "the tick (`tick: image`). The baseline is `benchmark/eager_node.py`; *faster* is by its "
        "image → command over ours. Ticks missed are of those due, from begin to end."
    )
    yield about(result)
    rows = []
    for name, figures in result.items():
        if name in ("machine", "seconds"):
            continue
        tick = figures.get("tick_to_command_ms")
        faster = figures.get("times_faster_than_baseline", {})
        rows.append(
            [
                name,
                *cells(figures["image_to_command_ms"]),
                *(faster.get(quantile, "") for quantile in ("p50", "p99")),
                *([f"{tick['p50']:.3g}", f"{tick['p99']:.3g}"] if tick else ["", ""]),
                f"{figures['ticks_missed']} of {figures['ticks_due']}",
                f"{figures['frames_lost']} of {figures['frames']}" if "frames" in figures else "",
                figures["cpu_percent"],
                figures["rss_mb"],
            ]
        )
    head = ["", "image → command p50", "p95", "p99", "max", "times faster p50", "p99"]
    head += ["tick → command p50", "p99"]
    yield table([*head, "ticks missed", "frames lost", "CPU %", "RSS MB"], rows)
    ours = {
        name: figures
        for name, figures in result.items()
        if isinstance(figures, dict) and "stages_p50_ms" in figures
    }
    if not ours:
        return
    yield (
        "Where that time goes: medians of the node's own stages. *Arrival*: from the image's "
        "stamp to the node's callback (the camera's serialising, DDS, the executor); *wake*: the "
        "hand-over to the control thread, on the grid counted from the tick; *observe*: decode, "
        "crop, resize. *Start*: from the process's start until the node is active, s."
    )
    names = ("arrival", "wake", "observe", "policy", "guard", "publish")
    rows = [
        [
            name,
            *(figures["stages_p50_ms"].get(stage, "") for stage in names),
            figures["start_to_active_s"],
        ]
        for name, figures in ours.items()
    ]
    yield table(["", *names, "start"], rows)


def ten_minutes(result: dict[str, Any]) -> Iterator[str]:
    """`end_to_end` for as long as an arm may work, without a load."""
    _, what, *rest = end_to_end(result)
    yield "## Camera to command, for long"
    yield what.split(":")[0] + " (`python -m benchmark --long`), with *image*, idle."
    yield from rest


def training(result: dict[str, Any]) -> Iterator[str]:
    figures = result["epoch"]
    yield "## Training"
    yield (
        "`benchmark/training.py epoch`: one update of full backpropagation through time, 5 "
        "episodes of 120 ticks, 64×64, against EIPL's plain step loop, taking turns. "
        "*Memory kept*: the loop with our allocator settings. *Apart*: the largest difference of "
        "the first update's three losses."
    )
    yield about(result)
    rows: list[list[Any]] = [
        [name, f"{seconds:.2f}", "", "", ""]
        for name, seconds in figures["seconds_per_update"].items()
        if name not in figures["times_faster"]
    ]
    for name, faster in figures["times_faster"].items():
        ratios = [f"{middle} ({low}–{high})" for low, middle, high in faster.values()]
        apart = max(figures["difference_of_the_first_losses"][name])
        seconds = figures["seconds_per_update"][name]
        rows.append([name, f"{seconds:.2f}", *ratios, f"{apart:.1g}"])
    yield table(["", "s", "times faster (quartiles)", "memory kept", "apart"], rows)


def scaling(result: dict[str, Any]) -> Iterator[str]:
    yield "## Growth"
    yield (
        "`benchmark/scaling.py`: one quantity changed at a time from 64×64 pixels, 5 points, a "
        "state of 50, 1 camera, 6 joints, stride 1. The roofline is a matrix product of "
        f"onnxruntime on one core, {result['peak_gflop_per_s']} GFLOP/s. *Growth* is "
        "from the first row of each quantity."
    )
    yield about(result)
    rows = [
        [name, value, *figures.values()]
        for name, series in result.items()
        if name not in ("machine", "peak_gflop_per_s")
        for value, figures in series.items()
    ]
    head = ["", "value", "command", "full", "MFLOP (command)", "% of roofline"]
    yield table([*head, "growth (command)", "growth (full)"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="source", type=Path, metavar="DIR")
    parser.add_argument("--keep", type=Path, metavar="DIR", default=RESULTS)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=RUNS)
    options = parser.parse_args()
    source = options.source or options.keep
    source.mkdir(parents=True, exist_ok=True)
    for name in options.only if options.source is None else ():
        if name == LONG and not (options.long or options.only is not RUNS):
            continue
        print(f"{name} …", file=sys.stderr, flush=True)
        script, *more = RUNS[name]
        command = [sys.executable, str(HERE / script), *more]
        command += ["--json", str(source / f"{name}.json")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = [name for name in RUNS if (source / f"{name}.json").exists()]
    if missing := [name for name in RUNS if name not in found and name != LONG]:
        # A page of these alone would lose the other sections.
        raise SystemExit(
            f"the figures are in {source}; {PAGE.name} is left as it is: "
            f"no figures there of {', '.join(missing)}"
        )
    parts = [HEAD.rstrip()]
    for name in found:
        parts += globals()[name](json.loads((source / f"{name}.json").read_text()))
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"wrote {PAGE}", file=sys.stderr)


if __name__ == "__main__":
    main()
