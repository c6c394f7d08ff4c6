# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's bookkeeping: what the report says, what is reused, what an interruption leaves."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from sarnn_ros.errors import ConfigError
from sarnn_ros.sim import demo
from sarnn_ros.sim.demo import Demo, Settings, make_report
from sarnn_ros.sim.task import KINDS


def _trial(kind: str, success: bool, **changes) -> dict:
    return {
        "kind": kind,
        "cube": {"x": 0.42, "y": 0.0, "yaw": 0.0},
        "vision": "live",
        "driver": "replay" if kind == "control_replay" else "sarnn",
        "success": success,
        "max_lift": 0.15 if success else 0.0,
        "ticks": 90,
        "missed": 0,
        "latencies": [0.005, 0.006],
        "camera_latencies": [0.02],
        "problem": None,
        **changes,
    }


def _trials(taught: int, untaught: int, blind: int = 0, replay: int = 0) -> list[dict]:
    wanted = {"taught": (taught, 10), "untaught": (untaught, 8), "random": (6, 6)}
    wanted |= {"control_no_vision": (blind, 6), "control_replay": (replay, 6)}
    return [
        _trial(kind, index < good)
        for kind, (good, count) in wanted.items()
        for index in range(count)
    ]


def test_the_report_has_the_agreed_keys():
    report = make_report(_trials(10, 8), {"seconds": 120.0}, 400.0)
    assert report["success"]["taught"] == {"trials": 10, "successes": 10}
    assert report["success"]["untaught"] == {"trials": 8, "successes": 8}
    assert list(report["success"]) == list(KINDS)
    assert report["train_seconds"] == 120.0
    assert set(report["latency_ms"]) == {"p50", "p95", "p99"}
    assert set(report["ticks"]) == {"total", "missed"}
    assert all(report["gate"].values())
    json.dumps(report, allow_nan=False)


def test_latency_and_ticks_are_the_policys_alone():
    trials = [
        _trial("taught", True, latencies=[0.001, 0.002, 0.003], ticks=90, missed=2),
        _trial("control_replay", False, latencies=[9.0], ticks=90, missed=50),
        _trial("control_no_vision", False, latencies=[], missed=89, problem="guard: faulted"),
    ]
    report = make_report(trials, {"seconds": 1.0}, 1.0)
    assert report["latency_ms"]["p50"] == 2.0
    assert report["latency_ms"]["p99"] < 3.1
    assert report["ticks"] == {"total": 90, "missed": 2}


@pytest.mark.parametrize(
    ("trials", "seconds", "missed"),
    [
        (_trials(9, 8), 100, "taught"),  # 90 %
        (_trials(10, 7), 100, "untaught"),  # 88 %
        (_trials(10, 8, blind=5), 100, "control_no_vision"),
        (_trials(10, 8, replay=6), 100, "control_replay"),
        (_trials(10, 8), 181, "train_seconds"),
    ],
)
def test_the_gate_says_what_is_missing(trials, seconds, missed):
    gate = make_report(trials, {"seconds": seconds}, 1.0)["gate"]
    assert [name for name, reached in gate.items() if not reached] == [missed]


def test_a_report_without_commands_is_still_a_report():
    report = make_report([_trial("taught", False, latencies=[])], {"seconds": 1.0}, 1.0)
    assert report["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    demo._table(report)


@pytest.fixture
def miniature(tmp_path) -> Demo:
    settings = Settings(out=tmp_path, episodes=1, demonstration_ticks=40)
    demonstration = Demo(settings, Console(file=io.StringIO()))
    demonstration.logs.mkdir()
    return demonstration


def test_bags_are_reused_until_what_they_depend_on_changes(miniature, monkeypatch):
    key = miniature.demonstrate()
    bag = miniature.bags / "episode_000" / "metadata.yaml"
    made = bag.stat().st_mtime_ns
    assert miniature.demonstrate() == key
    assert bag.stat().st_mtime_ns == made

    other = Demo(Settings(out=miniature.settings.out, seed=1, episodes=1, demonstration_ticks=40))
    other.console = miniature.console
    assert other.demonstrate() != key
    assert bag.stat().st_mtime_ns != made

    monkeypatch.setitem(demo.CODE, "demonstrate", ("sim", "spec.py"))  # as if code had changed
    assert miniature.demonstrate() != key


def test_a_cut_line_is_a_trial_that_never_was(miniature):
    lines = [json.dumps({"index": 0}), json.dumps({"index": 1}), '{"index": 2, "succ']
    miniature.trials.write_text("\n".join(lines))
    assert [trial["index"] for trial in miniature._judged()] == [0, 1]


def test_an_unwritable_output_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        Demo(Settings(out=tmp_path / "file" / "demo")).run()


def test_the_orchestrator_itself_is_no_dependency(monkeypatch, tmp_path):
    """A new sentence in demo.py must not cost a training."""
    before = demo._key("evaluate", a=1)
    text = demo.Path(demo.__file__).read_bytes()
    seen = []
    original = demo.Path.read_bytes

    def spy(path):
        seen.append(path)
        return original(path)

    monkeypatch.setattr(demo.Path, "read_bytes", spy)
    assert demo._key("evaluate", a=1) == before
    assert demo._key("evaluate", a=2) != before
    names = {path.name for path in seen}
    assert {"scene.py", "lift.xml", "inference_node.py"} <= names
    assert "demo.py" not in names
    assert text == original(demo.Path(demo.__file__))
