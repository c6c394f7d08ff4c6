# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A policy directory belongs to one training at a time, and no policy is lost."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from sarnn_ros.errors import TrainingError
from sarnn_ros.training import claim as claim_module
from sarnn_ros.training.claim import claim

HOLD = """
import sys, time
from pathlib import Path
from sarnn_ros.training.claim import claim
with claim(Path(sys.argv[1]), resume=False, force=False):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_training_is_refused_until_the_first_has_ended(tmp_path: Path):
    out = tmp_path / "policy"
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None and first.stdout.readline() == b"held\n"
        with pytest.raises(TrainingError, match="another training writes to it now"):
            claim(out, resume=True, force=True).__enter__()
    finally:
        first.kill()
        first.wait()
    with claim(out, resume=False, force=False) as kept:
        assert kept is None


def test_a_policy_is_replaced_on_demand_only_and_kept(tmp_path: Path):
    out = tmp_path / "policy"
    out.mkdir()
    (out / "config.json").write_text("the first")
    with pytest.raises(TrainingError, match="there is a policy already") as error:
        claim(out, resume=False, force=False).__enter__()
    assert "--force" in (error.value.remedy or "")
    with claim(out, resume=True, force=False) as kept:
        assert kept is None
    for name in ("policy.before", "policy.before.2"):
        with claim(out, resume=False, force=True) as kept:
            assert kept == tmp_path / name and (kept / "config.json").read_text() == "the first"
        assert (out / "config.json").exists(), "it is there until the new one is"


def test_a_copy_that_fails_half_way_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "policy"
    out.mkdir()
    (out / "config.json").write_text("the first")

    def full(source: Path, target: Path) -> None:
        target.mkdir()
        (target / "config.json").write_text("the")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(claim_module.shutil, "copytree", full)
    with pytest.raises(TrainingError, match=r"cannot be kept \(.*No space left") as error:
        claim(out, resume=False, force=True).__enter__()
    assert "free some space" in (error.value.remedy or "")
    assert list(tmp_path.iterdir()) == [out]
    assert (out / "config.json").read_text() == "the first"


def test_of_a_training_that_is_refused_nothing_is_left(tmp_path: Path):
    """There is a policy, or no bag can be read; but what is there of one before stays."""
    out, beside = tmp_path / "policy", tmp_path / "policy.run"

    def refuse_later() -> None:
        with claim(out, resume=True, force=False):
            assert (beside / "lock").exists()
            raise TrainingError("no bags")

    with pytest.raises(TrainingError, match="no bags"):
        refuse_later()
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    (out / "config.json").write_text("the first")
    with pytest.raises(TrainingError, match="there is a policy already"):
        claim(out, resume=False, force=False).__enter__()
    assert list(tmp_path.iterdir()) == [out]
    beside.mkdir()
    (beside / "checkpoint.pt").touch()
    with pytest.raises(TrainingError, match="no bags"):
        refuse_later()
    assert (beside / "checkpoint.pt").exists()


def test_a_lock_that_was_removed_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Another training, which was refused, removes it after we opened it."""
    out, lock = tmp_path / "policy", tmp_path / "policy.run" / "lock"
    lock_now, times = claim_module.lock_now, iter((1, 2))

    def late(file: IO[Any]) -> bool:
        if next(times) == 1:
            lock.unlink()
            lock.parent.rmdir()
        return lock_now(file)

    monkeypatch.setattr(claim_module, "lock_now", late)
    with claim(out, resume=False, force=False):
        assert next(times, None) is None
        monkeypatch.undo()
        with pytest.raises(TrainingError, match="another training writes to it now"):
            claim(out, resume=False, force=False).__enter__()


def test_a_lock_that_cannot_be_opened_is_a_clear_error(tmp_path: Path):
    (tmp_path / "policy.run" / "lock").mkdir(parents=True)
    with pytest.raises(TrainingError, match="cannot be opened") as error:
        claim(tmp_path / "policy", resume=False, force=False).__enter__()
    assert "another --out" in (error.value.remedy or "")
