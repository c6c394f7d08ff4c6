# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's report: success rates with their controls, latencies, and whether they suffice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from sarnn_ros.sim.judging import Trial
from sarnn_ros.sim.task import KINDS, TrialPlan

#: What the demo must reach. Its speed is told, and no failure of anybody.
MIN_SUCCESS_RATES = {"taught": 0.95, "untaught": 0.90}


def make_report(
    trials: Sequence[dict[str, Any]], training: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """What `report.json` holds: docs/reference/simulator.md explains it.

    :param trials: rows of `trials.jsonl`.
    :param training: the policy's summary of its training.
    :param seconds: wall time of this run, reused stages not counted.
    """
    success = {}
    for kind in KINDS:
        lifted = [trial["success"] for trial in trials if trial["kind"] == kind]
        success[kind] = {"trials": len(lifted), "successes": sum(lifted)}
    driven = [trial for trial in trials if trial["driver"] == "sarnn"]
    whole = [trial for trial in driven if not trial["problem"]]
    rates = {kind: _rate(success[kind]) for kind in KINDS}
    gate = {kind: rates[kind] >= least for kind, least in MIN_SUCCESS_RATES.items()}
    gate["control_no_vision"] = rates["control_no_vision"] < rates["taught"] / 2
    gate["control_replay"] = rates["control_replay"] < rates["taught"] / 2
    return {
        "success": success,
        "train_seconds": float(training["seconds"]),
        "train_cpu_seconds": float(training["cpu_seconds"]),
        "latency_ms": _percentiles(trial["latencies"] for trial in driven),
        "camera_to_command_ms": _percentiles(trial["camera_latencies"] for trial in driven),
        "ticks": {
            "total": sum(trial["ticks"] for trial in whole),
            "missed": sum(trial["missed"] for trial in whole),
        },
        "gate": gate,
        "run_seconds": seconds,
        "trials": [
            {
                key: trial[key]
                for key in ("kind", "cube", "vision", "driver", "success", "max_lift", "problem")
            }
            for trial in trials
        ],
    }


def _rate(counts: dict[str, int]) -> float:
    return counts["successes"] / counts["trials"] if counts["trials"] else 0.0


def _percentiles(groups: Iterator[Sequence[float]]) -> dict[str, float | None]:
    values = [value * 1e3 for group in groups for value in group]
    if not values:
        return {"p50": None, "p95": None, "p99": None}
    return {f"p{share}": round(float(np.percentile(values, share)), 3) for share in (50, 95, 99)}


def table(report: dict[str, Any]) -> Table:
    """The success rates, as the terminal shows them."""
    shown = Table(title="Closed loop over ROS 2, in real time")
    shown.add_column("trials")
    shown.add_column("lifted", justify="right")
    shown.add_column("", justify="right")
    shown.add_column("wanted")
    wanted = {kind: f"≥ {least:.0%}" for kind, least in MIN_SUCCESS_RATES.items()}
    wanted |= {"control_no_vision": "must fail", "control_replay": "must fail"}
    names = {
        "taught": "taught positions",
        "untaught": "positions never taught",
        "random": "random positions",
        "control_no_vision": "control: cube hidden",
        "control_replay": "control: replay of the mean demonstration",
    }
    for kind, counts in report["success"].items():
        passed = report["gate"].get(kind, True)
        shown.add_row(
            names[kind],
            f"{counts['successes']}/{counts['trials']}",
            f"{_rate(counts):.0%}" if counts["trials"] else "",
            wanted.get(kind, ""),
            style=None if passed else "red",
        )
    latency, ticks = report["latency_ms"], report["ticks"]
    shown.caption = (
        f"trained in {report['train_seconds']:.0f} s, of CPU {report['train_cpu_seconds']:.0f} s"
    )
    if latency["p50"] is not None:
        shown.caption += (
            f"; tick to command p50 {latency['p50']:.1f}, p99 {latency['p99']:.1f} ms; "
            f"{ticks['missed']} of {ticks['total']} ticks missed"
        )
    return shown


def describe(plan: TrialPlan) -> str:
    """One trial in a few words."""
    how = {"live": "", "hidden": ", cube hidden"}[plan.vision]
    who = ", mean demonstration" if plan.driver == "replay" else ""
    kind = plan.kind.removesuffix("_no_vision").removesuffix("_replay")
    return f"{kind} y {plan.cube.y * 100:+.1f} cm{how}{who}"


def verdict(trial: Trial) -> str:
    """Its result, in rich's markup."""
    if trial.problem:
        return f"[red]no[/red], {trial.problem}"
    word = "[green]lifted[/green]" if trial.success else "[red]no[/red]"
    return f"{word}, {max(trial.max_lift, 0.0) * 100:.0f} cm"
