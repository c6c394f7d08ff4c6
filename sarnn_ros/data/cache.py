# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Decoded episodes on disk, memory-mapped, so that a bag is decoded once per spec.

One folder per bag and spec, which appears under its name when it is complete, by a rename. So an
interruption leaves no half-written entry. If two trainings decode the same bag at once, the second
to finish discards its copy. The cache may be deleted while no training uses it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from sarnn_ros.data.bags import bag_files, sqlite_log
from sarnn_ros.data.dataset import Episode, blocks, release
from sarnn_ros.data.problems import BagReport
from sarnn_ros.data.reading import NOT_MOVED, Allocate, Moved, read_bag
from sarnn_ros.errors import ConfigError
from sarnn_ros.files import atomic_folder
from sarnn_ros.spec import Spec

#: To be raised when the same bag and spec give other arrays than before.
VERSION = 13
#: `key_of` reads so many bytes at the start and at the end of each file.
_END_BYTES = 1 << 16
#: Files that may be open. Each camera of each episode is one, and shells usually allow 1024.
MAX_OPEN_FILES = 1 << 16

#: Arrays of an episode that are read into memory; not every one has the last two.
_ARRAYS = ("ticks", "joints", "targets", "efforts", "led")
#: What else is kept of it, in JSON.
_FACTS = ("name", "digest", "source_sizes", "lead")
_REPORT = TypeAdapter(BagReport)

Read = tuple[list[Episode], BagReport]


def default_cache() -> Path:
    """$XDG_CACHE_HOME/sarnn_ros/episodes, by default in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sarnn_ros" / "episodes"


def read_bag_cached(
    path: Path, spec: Spec, name: str, root: Path, moved: Moved = NOT_MOVED
) -> Read:
    """As `read_bag`; see `read_cached`.

    :raises OSError: a file cannot be read.
    """
    files = [*bag_files(path), *path.glob("metadata.yaml")]
    files = [*files, *(log for file in files if (log := sqlite_log(file)))]
    return read_cached(
        root / key_of(files, spec, moved, name),
        str(path),
        lambda allocate: read_bag(path, spec, name=name, allocate=allocate, moved=moved),
    )


def read_cached(entry: Path, path: str, read: Callable[[Allocate | None], Read]) -> Read:
    """What `read` gives; images are memory-mapped, read-only.

    :param entry: folder of the cache, named by `key_of`.
    :param path: of the report: it may have been read elsewhere.
    :raises ConfigError: the cache cannot be written.
    """
    episodes, report = _read_cached(entry, read)
    problems = [
        replace(one, where=f"{path}{one.where.removeprefix(report.path)}")
        if one.where == report.path or one.where.startswith((f"{report.path}/", f"{report.path}:"))
        else one
        for one in report.problems
    ]
    return episodes, replace(report, path=path, problems=problems)


def _read_cached(entry: Path, read: Callable[[Allocate | None], Read]) -> Read:
    found = _load(entry)
    if found is not None:
        return found
    failed: list[OSError] = []
    try:
        with atomic_folder(entry) as folder:

            def allocate(title: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
                file = folder.parent / f"{hashlib.sha256(title.encode()).hexdigest()}.npy"
                try:
                    return new_map(file, shape)
                except OSError as error:
                    failed.append(error)
                    raise

            episodes, report = read(allocate)
            if failed:  # `read` blamed the recording: the disk of the cache was at fault
                raise failed[0]
            if not episodes:
                return episodes, report  # the reason may pass: look again the next time
            _store(folder, episodes, report)
    except OSError as error:
        found = _load(entry)  # another training that was faster; its content is the same
        if found is None:
            raise ConfigError(
                f"the cache cannot be written: {error}",
                where=entry.parent,
                remedy="free some space, choose another folder, or use --no-cache",
            ) from error
        return found
    found = _load(entry)
    return found if found is not None else read(None)


def key_of(files: Iterable[Path], spec: Spec, moved: Moved, *more: object) -> str:
    """What the arrays depend on: the files (name, size, time of change, first and last 64 KiB),
    the spec, this code's version, what is undone, and `more`.

    :raises OSError: a file cannot be read.
    """
    undone = (
        (episode, camera, matrix.tolist())
        for episode, cameras in moved.items()
        for camera, matrix in cameras.items()
    )
    told = (*more, *undone)
    digest = hashlib.sha256(f"{VERSION}:{told!r}:{spec.model_dump_json()}".encode())
    for file in files:
        about = file.stat()
        digest.update(f"{file.name}:{about.st_size}:{about.st_mtime_ns};".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_END_BYTES))
            stream.seek(max(0, about.st_size - _END_BYTES))
            digest.update(stream.read(_END_BYTES))
    return digest.hexdigest()


def new_map(file: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A new array on disk.

    :raises OSError: there is no space for all of it.
    """
    array: NDArray[np.uint8] = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        file, "w+", np.uint8, shape
    )
    with file.open("r+b") as stream:  # without space, writing to the map would kill the process
        os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    return array


def _store(folder: Path, episodes: list[Episode], report: BagReport) -> None:
    folder.mkdir()
    for number, episode in enumerate(episodes):
        found = {name: getattr(episode, name) for name in _ARRAYS}
        arrays = {name: array for name, array in found.items() if array is not None}
        arrays |= {f"preview.{name}": np.stack(some) for name, some in episode.previews.items()}
        np.savez(folder / f"{number}.npz", **arrays)
        for camera, images in episode.images.items():
            copy = new_map(folder / f"{number}.image.{camera}.npy", images.shape)
            start = 0
            for block in blocks(images):
                copy[start : start + len(block)] = block
                start += len(block)
                release(copy)
    about = {
        "episodes": [{fact: getattr(one, fact) for fact in _FACTS} for one in episodes],
        "report": asdict(report),
    }
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


def _load(folder: Path) -> Read | None:
    if not folder.is_dir():
        return None
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        episodes = [
            _load_episode(folder, number, one) for number, one in enumerate(about["episodes"])
        ]
        return episodes, _REPORT.validate_python(about["report"])
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise ConfigError(
                "more files are open than the system allows: each camera of each episode is one",
                where=folder.parent,
                remedy=f"before the command, in the same shell: ulimit -n {MAX_OPEN_FILES}",
            ) from error
        shutil.rmtree(folder, ignore_errors=True)  # damaged: decode again
        return None


def allow_many_files() -> None:
    """Let this process open as many files as it may, `MAX_OPEN_FILES` at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # then the error above says what to do
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Previews(Mapping[str, Sequence[NDArray[np.uint8]]]):
    """Read when asked for: those of a thousand episodes need not be in memory."""

    def __init__(self, file: Path, cameras: Collection[str]) -> None:
        self._file, self._cameras = file, cameras

    def __getitem__(self, camera: str) -> Sequence[NDArray[np.uint8]]:
        with np.load(self._file, allow_pickle=False) as arrays:
            return list(arrays[f"preview.{camera}"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._cameras)

    def __len__(self) -> int:
        return len(self._cameras)


def _load_episode(folder: Path, number: int, about: dict[str, Any]) -> Episode:
    sizes = {camera: (int(w), int(h)) for camera, (w, h) in about["source_sizes"].items()}
    file = folder / f"{number}.npz"
    with np.load(file, allow_pickle=False) as arrays:
        small = {name: arrays[name] for name in _ARRAYS if name in arrays}
        shown = [camera for camera in sizes if f"preview.{camera}" in arrays]
    images = {
        camera: np.load(folder / f"{number}.image.{camera}.npy", mmap_mode="r", allow_pickle=False)
        for camera in sizes
    }
    return Episode(
        name=about["name"],
        images=images,
        source_sizes=sizes,
        digest=about["digest"],
        lead=tuple(about["lead"]),
        previews=_Previews(file, shown),
        **small,
    )
