# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmark`: what is run, and that the page never loses a section."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

MAIN = Path(__file__).parents[3] / "benchmark" / "__main__.py"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """With two sections, which only tell their number, and nothing that is measured."""
    spec = importlib.util.spec_from_file_location("benchmark_page", MAIN)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = ("policy_step", "scaling")
    monkeypatch.setattr(module, "RUNS", {name: [f"{name}.py"] for name in names})
    for name in names:
        monkeypatch.setattr(
            module, name, lambda figures, name=name: [f"{name} {figures['number']}"]
        )
    monkeypatch.setattr(module, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    module.PAGE.write_text("the page of before")

    def measure(command, **_):
        Path(command[command.index("--json") + 1]).write_text(json.dumps({"number": 2}))

    monkeypatch.setattr(module, "subprocess", SimpleNamespace(**{
        **vars(subprocess), "run": measure,
    }))  # fmt: skip
    return module


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, arguments)])
    module.main()
    return module.PAGE.read_text()


def test_one_section_is_replaced_and_the_others_stay(page, monkeypatch):
    page.RESULTS.mkdir()
    for name in page.RUNS:
        (page.RESULTS / f"{name}.json").write_text(json.dumps({"number": 1}))
    text = run(page, monkeypatch, "--only", "scaling")
    assert text == f"{page.HEAD}\npolicy_step 1\n\nscaling 2\n"


def test_without_the_other_figures_the_page_is_left_as_it_is(page, monkeypatch):
    with pytest.raises(SystemExit, match=r"no figures there of policy_step"):
        run(page, monkeypatch, "--only", "scaling")
    assert page.PAGE.read_text() == "the page of before"
    assert (page.RESULTS / "scaling.json").exists()
    with pytest.raises(SystemExit, match="no figures"):
        run(page, monkeypatch, "--from", page.RESULTS)
    assert run(page, monkeypatch) == f"{page.HEAD}\npolicy_step 2\n\nscaling 2\n"


def test_our_own_work_does_not_make_the_machine_unquiet(script):
    common = script("common")
    cpus = common.psutil.cpu_count()
    assert common.others_percent((0.0, 0.0, 0.0), (10.0, 7.0, 5.0)) == pytest.approx(20 / cpus)
    _, _, before = common.cpu_times()
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-S", "-c", burn], check=True)
    _, at_work, after = common.cpu_times()
    assert after - before > 0.45
    assert at_work > 0.45, "all CPUs, since the machine was started"


def test_the_ratio_is_to_the_baseline_of_the_same_row(script):
    rows = {
        name: {"image_to_command_ms": {"p50": p50, "p99": 4 * p50}}
        for name, p50 in (
            ("sarnn_ros, grid, raw, 10 Hz, idle", 20.0),
            ("sarnn_ros, image, raw, 10 Hz, idle", 5.0),
            ("sarnn_ros, image, raw, 10 Hz, loaded", 5.0),
            ("baseline, raw, 10 Hz, idle", 30.0),
            ("baseline, jpeg, 10 Hz, loaded", 30.0),
        )
    }
    script("end_to_end").times_faster({"machine": {}, "seconds": 5.0, **rows})
    found = [row.get("times_faster_than_baseline", {}).get("p50") for row in rows.values()]
    assert found == [1.5, 6.0, None, None, None]
