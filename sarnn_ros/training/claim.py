# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One training at a time writes a policy directory, and an earlier policy is not lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from sarnn_ros.errors import TrainingError
from sarnn_ros.files import atomic_folder, lock_now, name_aside
from sarnn_ros.policy.directory import CONFIG
from sarnn_ros.training.run import make_run_directory, run_directory


@contextmanager
def claim(out: Path, *, resume: bool, force: bool) -> Iterator[Path | None]:
    """Hold the policy directory `out`; gives where an earlier policy is kept, if there is one.

    The lock goes with the process, however it ends.

    :param resume: a policy that is there is of the training that goes on.
    :param force: an earlier policy is copied to `out.before`, and replaced at the end.
    :raises TrainingError: another training holds it, it has a policy, or it cannot be written.
    """
    lock = run_directory(out) / "lock"
    with _locked(out, lock):
        try:
            yield None if resume or not (out / CONFIG).exists() else _keep(out, force)
        finally:
            # Of a training that was refused nothing is left; of others there is more than this.
            with suppress(OSError):
                if list(lock.parent.iterdir()) == [lock]:
                    lock.unlink()
                    lock.parent.rmdir()


def _locked(out: Path, path: Path) -> IO[Any]:
    """The lock file, open and locked until it is closed."""
    while True:
        make_run_directory(out)
        try:
            lock = path.open("a")
        except FileNotFoundError:
            continue  # another training has just ended, and removed the folder
        except OSError as error:
            raise TrainingError(
                f"the lock of a training cannot be opened ({error.strerror})",
                where=path,
                remedy="give another --out; or remove it, if no training writes there",
            ) from error
        if not lock_now(lock):
            lock.close()
            raise TrainingError(
                "another training writes to it now",
                where=out,
                remedy="give another --out, or wait until it has ended",
            )
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        lock.close()  # it was removed before it was ours: it keeps nobody else away


def _keep(out: Path, force: bool) -> Path:
    if not force:
        raise TrainingError(
            "there is a policy already",
            where=out,
            remedy="give another --out; or --force, which keeps the old policy beside the new one",
        )
    out = out.resolve()
    kept = name_aside(out)
    try:
        with atomic_folder(kept) as partial:
            shutil.copytree(out, partial)
    except OSError as error:
        raise TrainingError(
            f"the earlier policy cannot be kept ({error})",
            where=kept,
            remedy="free some space, or give another --out",
        ) from error
    return kept
