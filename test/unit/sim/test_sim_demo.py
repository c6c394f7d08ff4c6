# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's bookkeeping: what the report says, what is reused, what an interruption leaves."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from sarnn_ros.errors import ConfigError
from sarnn_ros.files import append_json, claimed, read_json_lines
from sarnn_ros.sim import demo
from sarnn_ros.sim.demo import Demo, Settings
from sarnn_ros.sim.judging import Trial, TrialTrace
from sarnn_ros.sim.report import make_report, table
from sarnn_ros.sim.task import KINDS, Placement, TrialPlan


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
    report = make_report(_trials(10, 8), {"seconds": 120.0, "cpu_seconds": 130.0}, 400.0)
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
    report = make_report(trials, {"seconds": 1.0, "cpu_seconds": 1.0}, 1.0)
    assert report["latency_ms"]["p50"] == 2.0
    assert report["latency_ms"]["p99"] < 3.1
    assert report["ticks"] == {"total": 90, "missed": 2}


@pytest.mark.parametrize(
    ("trials", "missed"),
    [
        (_trials(9, 8), "taught"),  # 90 %
        (_trials(10, 7), "untaught"),  # 88 %
        (_trials(10, 8, blind=5), "control_no_vision"),
        (_trials(10, 8, replay=6), "control_replay"),
    ],
)
def test_the_gate_says_what_is_missing(trials, missed):
    gate = make_report(trials, {"seconds": 100.0, "cpu_seconds": 101.0}, 1.0)["gate"]
    assert [name for name, reached in gate.items() if not reached] == [missed]


def test_a_slow_machine_is_told_and_no_failure():
    """Missed ticks and late commands, too."""
    trials = [trial | {"missed": 40, "latencies": [0.09]} for trial in _trials(10, 8)]
    report = make_report(trials, {"seconds": 4000.0, "cpu_seconds": 3500.0}, 9000.0)
    assert all(report["gate"].values())
    assert "trained in 4000 s, of CPU 3500 s" in str(table(report).caption)


def test_a_report_without_commands_is_still_a_report():
    report = make_report(
        [_trial("taught", False, latencies=[])], {"seconds": 1.0, "cpu_seconds": 1.0}, 1.0
    )
    assert report["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    table(report)


@pytest.fixture
def miniature(tmp_path) -> Demo:
    settings = Settings(out=tmp_path, episodes=1, demonstration_ticks=40)
    demonstration = Demo(settings, Console(file=io.StringIO()))
    demonstration.logs.mkdir()
    return demonstration


def test_bags_are_reused_until_what_they_depend_on_changes(miniature, monkeypatch):
    bag = miniature.bags / "episode_000" / "metadata.yaml"

    def made(**changes) -> int:
        settings = replace(miniature.settings, **changes)
        Demo(settings, miniature.console).demonstrate()
        return bag.stat().st_mtime_ns

    first = made()
    assert made() == first
    assert made(repeats=5) == first, "of the trials alone"
    other = made(seed=1)
    assert other != first
    monkeypatch.setattr(demo, "_package_digest", lambda *files: "other code")
    assert made(seed=1) != other


def test_all_code_and_the_spec_count(tmp_path, monkeypatch):
    spec = tmp_path / "spec.yaml"
    spec.write_text("rate: 10")
    before = demo._package_digest(spec)
    assert demo._package_digest(spec) == before
    spec.write_text("rate: 20")
    assert demo._package_digest(spec) != before
    seen = []
    read = demo.Path.read_bytes
    monkeypatch.setattr(demo.Path, "read_bytes", lambda path: seen.append(path) or read(path))
    demo._package_digest(spec)
    assert {"scene.py", "lift.xml", "inference_node.py", "demo.py", "trainer.py"} <= {
        path.name for path in seen
    }


def test_a_cut_line_is_a_trial_that_never_was(miniature):
    lines = [json.dumps({"index": 0}), json.dumps({"index": 1}), '{"index": 2, "succ']
    miniature.trials.write_text("\n".join(lines))
    append_json(miniature.trials, {"index": 3})
    assert [trial["index"] for trial in read_json_lines(miniature.trials)] == [0, 1, 3]


@pytest.mark.parametrize("name", ["bags", "policy", "trials.jsonl", "report.json"])
def test_what_no_demo_has_made_stays(name, tmp_path):
    own = tmp_path / name
    own.write_text("ours")
    with pytest.raises(ConfigError, match=f"holds {name}, which no demo has made"):
        Demo(Settings(out=tmp_path), Console(file=io.StringIO())).run()
    assert own.read_text() == "ours" and list(tmp_path.iterdir()) == [own]


def test_a_recording_of_the_users_among_the_demonstrations_stays(miniature):
    bags = miniature.settings.out / "bags"
    miniature.demonstrate()
    (bags / "mine").mkdir()
    with pytest.raises(ConfigError, match="bags/mine, which no demo has made"):
        Demo(replace(miniature.settings, seed=1), miniature.console).run()
    assert (bags / "mine").is_dir() and (bags / "episode_000").is_dir()


def test_two_demos_do_not_write_into_one_folder(tmp_path):
    with (
        claimed(tmp_path),
        pytest.raises(ConfigError, match="another session"),
    ):
        Demo(Settings(out=tmp_path), Console(file=io.StringIO())).run()


def test_an_unwritable_output_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        Demo(Settings(out=tmp_path / "file" / "demo")).run()


@pytest.mark.parametrize("silent", [False, True])
def test_a_recording_comes_back_as_it_was(tmp_path, silent):
    rng = np.random.default_rng(0)
    recording = TrialTrace(
        cube=[(1.0, 0.0), (1.1, 0.1)],
        commands=[(1.05, 5 * 10**8, np.arange(6.0))],
        joints=[(1.0, np.arange(6.0)), (1.1, np.arange(6.0))],
        images=[(1.0, 10**9, rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))],
        markers=[
            (1.0, 10**9, name, np.ones((5, 2)) * factor)
            for factor, name in ((1, "encoder"), (2, "decoder"), (3, "encoder"))
        ],
    )
    if silent:  # a policy that never commanded, and shows no attention
        recording.commands, recording.markers = [], []
    trial = Trial(True, 0.1, 90, 0, (), ())
    plan = TrialPlan("untaught", Placement(0.42, -0.15))
    demo.save_clip(tmp_path / "a.npz", plan, trial, recording)
    clip = demo.load_clip(tmp_path / "a.npz")
    assert clip.title == "untaught y -15.0 cm"
    assert clip.success is True
    assert clip.image_times.tolist() == [1.0]
    np.testing.assert_array_equal(clip.images[0], recording.images[0][2])
    if silent:
        assert clip.commands.shape == (0, 6)
        assert len(clip.encoder) == len(clip.decoder) == len(clip.point_times) == 0
    else:
        assert clip.commands.shape == (1, 6)
        assert clip.encoder.shape == clip.decoder.shape == (1, 5, 2)
        assert clip.decoder[0, 0].tolist() == [2.0, 2.0]
    assert clip.lifts.tolist() == [0.0, 0.1]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
