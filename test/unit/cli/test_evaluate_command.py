# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""`sarnn evaluate`: it says which recordings its figures are of, and why not of the others."""

from __future__ import annotations

import json
from pathlib import Path

import bag_making as make
import pytest
import quick_export
from policies import write_policy
from typer.testing import CliRunner

from sarnn_ros.cli.main import app
from sarnn_ros.data.record import set_label

WHOLE, HOLED, FAILED = range(3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    quick_export.install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_policy(tmp_path / "policy", make.spec(width=32, height=32))
    return tmp_path


def bag(path: Path, kind: int, number: int) -> None:
    start = make.START + number * 60 * make.SECOND
    dropped = range(20, 31) if kind == HOLED else ()
    make.recording(start=start, drop_images=dropped).write(path)
    if kind == FAILED:
        set_label(path, "failure")


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        ([WHOLE, HOLED, WHOLE, HOLED, WHOLE], 1),
        ([WHOLE, FAILED], 0),
        ([WHOLE], 0),
    ],
)
def test_what_is_left_out_is_said(kinds: list[int], code: int, folder: Path):
    for number, kind in enumerate(kinds):
        bag(folder / "bags" / f"take_{number}", kind, number)
    done = CliRunner().invoke(app, ["evaluate", str(folder / "policy"), str(folder / "bags")])
    assert done.exit_code == code, done.output
    result = json.loads(done.stdout)
    used = kinds.count(WHOLE)
    assert result["open_loop"]["episodes"] == result["recordings"]["used"] == used
    assert result["recordings"]["given"] == len(kinds)
    left_out = [number for number, kind in enumerate(kinds) if kind != WHOLE]
    assert [Path(one["path"]).name for one in result["recordings"]["left_out"]] == [
        f"take_{number}" for number in left_out
    ]
    for number in left_out:
        assert f"take_{number}" in done.stderr
    assert ("a hole in the middle" in done.stderr) == (HOLED in kinds)
    for label, value in result["open_loop"]["rmse"].items():
        assert f"{label} {value:.2g} (" in done.stderr, "the same for a person"
    assert ("failure" in done.stderr) == (FAILED in kinds)
    said = f"evaluated on {used} of {len(kinds)} recordings"
    assert (said in done.stderr) == bool(left_out)


def test_failures_are_evaluated_if_asked_for(folder: Path):
    for number, kind in enumerate((WHOLE, FAILED)):
        bag(folder / "bags" / f"take_{number}", kind, number)
    command = ["evaluate", str(folder / "policy"), str(folder / "bags"), "--failures"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["recordings"] == {"given": 2, "used": 2, "left_out": []}
