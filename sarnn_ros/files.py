# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Files and folders that appear under their name only when they are complete. Standard library.

The content is written under a new hidden name beside the target, flushed to the disk and renamed.
A crash leaves the old content, or none, and at most a `.partial-…` that no reader takes for a
result; the next write into the same folder removes it when it is a day old. The new name is chosen
at random and must not exist, so a symbolic link that somebody put in its place is never followed.
A link in the target's place is replaced, not written through.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

from sarnn_ros.errors import ConfigError

PARTIAL = ".partial-"
_STALE_SECONDS = 24 * 3600


def name_aside(path: Path) -> Path:
    """The first of `path.before`, `path.before.2`, … that is free, so that none is lost."""
    names = (f"{path.name}.before{f'.{n}' if n > 1 else ''}" for n in count(1))
    return next(aside for aside in map(path.with_name, names) if not aside.exists())


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yields the path to write to, an empty file; afterwards it takes the place of `path`.

    Its suffix is that of `path`. After an exception it is gone, and `path` is unchanged.

    :raises OSError: it cannot be written.
    """
    path = Path(path)
    with _partial(path.parent) as folder:
        partial = folder / path.name
        partial.touch()
        yield partial
        _sync(partial)
        partial.replace(path)
    _sync(path.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yields the path of a folder to make and fill; afterwards it is renamed to `path`.

    Nothing happens if it was not made. Its parent is a new hidden folder, for anything else that
    is needed meanwhile. After an exception both are gone.

    :raises OSError: it cannot be written, or `path` exists and is not an empty folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path.parent) as parent:
        folder = parent / path.name
        yield folder
        if not folder.exists():
            return
        sync_folder(folder)
        folder.rename(path)
    _sync(path.parent)


def write_bytes(path: str | Path, content: bytes) -> None:
    """`Path.write_bytes`, at once or not at all.

    :raises OSError: `path` is unchanged.
    """
    with atomic_file(path) as partial:
        partial.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """`Path.write_text` in UTF-8, at once or not at all.

    :raises OSError: `path` is unchanged.
    """
    write_bytes(path, text.encode())


def append_json(path: Path, entry: Mapping[str, Any]) -> None:
    """Add one line of JSON to a file; on disk when this returns. A last line that a crash cut off
    stays a line of its own.

    :raises OSError: it cannot be written.
    """
    with path.open("a+b") as stream:
        cut = False
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            cut = stream.read(1) != b"\n"
        stream.write(b"\n" * cut + json.dumps(dict(entry)).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_json_lines(path: Path) -> list[Any]:
    """What `append_json` wrote, in its order; none without a file. A line that a crash cut off is
    left out; one that a person spoilt comes as text.

    :raises OSError: it cannot be read.
    """
    entries: list[Any] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError as error:
                whole = line.rstrip().endswith("}")
                if whole and isinstance(error, json.JSONDecodeError) and error.pos < len(line):
                    entries.append(line)
    return entries


def is_locked(path: Path) -> bool:
    """Whether another process, or another open file, holds the lock of a file (`flock`)."""
    with suppress(FileNotFoundError), path.open("rb") as lock:
        return not lock_now(lock, fcntl.LOCK_SH)
    return False


def lock_now(file: IO[Any] | int, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file or folder until it is closed; whether nobody else holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks, as some network shares
    return True


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder that is there, until the end, however it comes.

    :raises ConfigError: one holds it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not lock_now(handle):
            raise ConfigError(
                "another session, of another terminal perhaps, writes to it now",
                where=folder,
                remedy="end that one, or give another folder",
            )
        yield
    finally:
        os.close(handle)


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    for left in folder.glob(f"{PARTIAL}*"):
        with suppress(OSError):  # another process is as tidy
            if time.time() - left.lstat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    # A folder of mode 0700, made with a name that did not exist: nobody can plant a link in it.
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder))
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Bring a folder with all that is in it to the disk, so that it outlives the machine.

    :raises OSError: it cannot be.
    """
    for root, _, files in os.walk(folder):
        for name in (*files, ""):
            _sync(Path(root) / name)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
