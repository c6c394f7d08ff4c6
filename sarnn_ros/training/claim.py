# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One training at a time writes a policy directory, and an earlier policy is not lost."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from sarnn_ros.errors import TrainingError
from sarnn_ros.policy.directory import CONFIG
from sarnn_ros.training.run import make_beside, run_directory


@contextmanager
def claim(out: Path, *, resume: bool, force: bool) -> Iterator[Path | None]:
    """Hold the policy directory `out`; gives where an earlier policy is kept, if there is one.

    The lock goes with the process, however it ends.

    :param resume: a policy that is there is of the training that goes on.
    :param force: an earlier policy is copied to `out.before`, and replaced at the end.
    :raises TrainingError: another training holds it, it has a policy, or it cannot be written.
    """
    beside = make_beside(out, run_directory(out))
    with (beside / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                "another training writes to it now",
                where=out,
                remedy="give another --out, or wait until it has ended",
            ) from error
        except OSError:
            pass  # a file system without locks, as some network shares
        yield None if resume or not (out / CONFIG).exists() else _keep(out, force)


def _keep(out: Path, force: bool) -> Path:
    if not force:
        raise TrainingError(
            "there is a policy already",
            where=out,
            remedy="give another --out; or --force, which keeps the old policy beside the new one",
        )
    out = out.resolve()
    names = (f"{out.name}.before{f'.{n}' if n > 1 else ''}" for n in count(1))
    kept = next(path for path in map(out.with_name, names) if not path.exists())
    try:
        shutil.copytree(out, kept)
    except OSError as error:
        raise TrainingError(
            f"the earlier policy cannot be kept ({error})",
            where=kept,
            remedy="free some space, or give another --out",
        ) from error
    return kept
