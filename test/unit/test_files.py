# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Atomic files and folders: failure, kill, planted links, left-overs."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sarnn_ros.files import (
    PARTIAL,
    append_json,
    atomic_file,
    atomic_folder,
    read_json_lines,
    write_bytes,
    write_text,
)


def test_the_content_replaces_the_old_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "a.npz"
    target.write_text("old")
    with atomic_file(target) as partial:
        assert partial.suffix == ".npz" and target.read_text() == "old"
        partial.write_text("new")
    assert target.read_text() == "new"
    write_text(tmp_path / "b", "ü")
    assert (tmp_path / "b").read_bytes() == "ü".encode()
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "b"}
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("make", [atomic_file, atomic_folder])
def test_after_an_error_all_is_as_before(make, tmp_path: Path) -> None:
    def fail() -> None:
        with make(tmp_path / "target") as partial:
            if make is atomic_folder:
                partial.mkdir()
                partial /= "half"
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "bag") as partial:
        (partial / "inside").mkdir(parents=True)
        (partial / "inside" / "file").write_text("1")
        (partial.parent / "scratch").write_text("2")
        assert not (tmp_path / "bag").exists()
    assert (tmp_path / "bag" / "inside" / "file").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]
    with (
        pytest.raises(OSError, match="not empty"),
        atomic_folder(tmp_path / "bag") as partial,
    ):
        partial.mkdir()
    assert (tmp_path / "bag" / "inside" / "file").exists()


def test_a_planted_link_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "config.json").symlink_to(victim)
    (tmp_path / "config.json.new").symlink_to(victim)
    (tmp_path / f"{PARTIAL}config.json").symlink_to(victim)
    write_bytes(tmp_path / "config.json", b"mine")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "config.json").is_symlink()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_killed_while_writing(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    code = f"""
import os, signal
from sarnn_ros.files import atomic_file, atomic_folder
with atomic_{kind}({str(target)!r}) as partial:
    if {kind == "folder"}:
        partial.mkdir()
    else:
        partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code])
    assert done.returncode < 0 and not target.exists()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(PARTIAL)
    write_text(target, "whole")
    assert left.exists()  # perhaps another process is still writing it
    os.utime(left, (0, 0))
    write_text(target, "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_lines_of_json_survive_one_that_was_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    assert read_json_lines(file) == []
    for number in range(3):
        append_json(file, {"number": number, "text": "left\nright"})
    file.write_bytes(file.read_bytes()[:-5])
    append_json(file, {"number": 3})
    assert [line["number"] for line in read_json_lines(file)] == [0, 1, 3]
