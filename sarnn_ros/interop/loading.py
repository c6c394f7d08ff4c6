# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings of any kind to a dataset: bags, LeRobot's, HDF5, npz, EIPL's folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sarnn_ros.data.bags import find_bags, label_of
from sarnn_ros.data.cache import Read, allow_many_files, key_of, read_bag_cached, read_cached
from sarnn_ros.data.dataset import Dataset, Episode, make_dataset
from sarnn_ros.data.displacements import Displacement
from sarnn_ros.data.problems import BagReport, note
from sarnn_ros.data.proposal import Proposal, propose_spec
from sarnn_ros.data.reading import NOT_MOVED, Allocate, Moved, Show, read_bag, stem
from sarnn_ros.data.takes import Take, proposal, read_take, unreadable
from sarnn_ros.errors import BagError, SarnnError, join_problems
from sarnn_ros.interop import eipl_dataset, hdf5, lerobot, npz
from sarnn_ros.spec import Spec, parse_spec
from sarnn_ros.streams.preprocess import JointNormaliser
from sarnn_ros.streams.registration import Matrix

__all__ = ["Arrays", "Recording", "find_recordings", "load_dataset", "propose"]

#: Called with (recordings done, recordings in all, what is being read).
Progress = Callable[[int, int, str], None]

#: Each has `matches`, whether a path is of that format, and `takes`, its recordings.
FORMATS = (lerobot, hdf5, npz, eipl_dataset)


@dataclass(frozen=True)
class Arrays:
    """What files without it do not say, of HDF5, npz and EIPL's folders.

    :param rate: rows per second; None: the spec's rate.
    :param bgr: images are BGR.
    """

    rate: float | None = None
    bgr: bool = False


DEFAULTS = Arrays()


@dataclass(frozen=True)
class Recording:
    """One bag, or one recording of another format.

    :param left_out: a bag that was labelled a failure, and is not to be used.
    :param unreadable: why not even its episodes could be listed.
    """

    name: str
    path: Path
    take: Take | None = None
    left_out: bool = False
    unreadable: SarnnError | None = None

    def read(
        self,
        spec: Spec,
        arrays: Arrays,
        allocate: Allocate | None = None,
        show: Show | None = None,
        moved: Moved = NOT_MOVED,
    ) -> Read:
        """Never raises for what is in the files: the report tells."""
        if self.left_out or self.unreadable:
            return [], _not_read(self)
        if self.take is None:
            return read_bag(
                self.path, spec, name=self.name, allocate=allocate, show=show, moved=moved
            )
        return read_take(
            self.take, spec, rate=arrays.rate, allocate=allocate, show=show, moved=moved
        )

    def read_cached(self, spec: Spec, arrays: Arrays, root: Path, moved: Moved) -> Read:
        """:raises ConfigError: the cache cannot be written."""
        if self.left_out or self.unreadable:
            return [], _not_read(self)
        try:
            if self.take is None:
                return read_bag_cached(self.path, spec, self.name, root, moved)
            key = key_of(self.take.files, spec, moved, self.name, arrays)
        except OSError:  # reading it says what is wrong
            return self.read(spec, arrays, moved=moved)
        return read_cached(
            root / key,
            self.take.where,
            lambda allocate: self.read(spec, arrays, allocate, moved=moved),
        )


def find_recordings(
    paths: Iterable[str | Path], arrays: Arrays = DEFAULTS, *, failures: bool = False
) -> list[Recording]:
    """All that is at or below the given paths, in natural order.

    :param failures: use bags that were labelled a failure when they were recorded, too.
    :raises BagError: a path does not exist, or has no recording.
    :raises ModuleNotFoundError: an optional dependency is not installed.
    """
    found = find_bags(paths, lambda path: _format(path) is not None)
    recordings = []
    for path, name in zip(found, _unique_names(found)):
        kind = _format(path)
        if kind is None:
            failure = not failures and label_of(path) == "failure"
            recordings.append(Recording(name, path, left_out=failure))
        else:
            try:
                takes = kind.takes(path, name, arrays.bgr)
                if not takes:
                    raise BagError(
                        "has no episodes", where=path, remedy="record into it, or do not give it"
                    )
            except ModuleNotFoundError:
                raise
            except Exception as error:  # a damaged data set must not take down the others
                recordings.append(Recording(name, path, unreadable=unreadable(error)))
            else:
                recordings += [Recording(take.name, path, take) for take in takes]
    return recordings


def load_dataset(
    paths: Iterable[str | Path],
    spec: Spec,
    *,
    arrays: Arrays = DEFAULTS,
    validation: float = 0.1,
    seed: int = 0,
    strict: bool = False,
    cache: Path | None = None,
    failures: bool = False,
    displacements: Sequence[Displacement] = (),
    progress: Progress | None = None,
) -> Dataset:
    """Recordings to a dataset.

    :param paths: bags, data sets of `FORMATS`, folders of them, glob patterns.
    :param arrays: of files that do not say it themselves.
    :param validation: share of the episodes that is held out, chosen by `seed`. At least one
        of several episodes is, unless the share is 0. EIPL's `train` and `test` stay as they are.
    :param strict: an episode that cannot be used, or was damaged, is an error; else it is left
        out, and `Dataset.problems` says so.
    :param failures: see `find_recordings`.
    :param displacements: known from an earlier reading; those to be undone are, before crop and
        resize, by the code that undoes them at the robot. See `data.displacements.read_aligned`.
    :param cache: folder for decoded episodes (`cache.default_cache`); None to decode into memory.
    :raises BagError: no episode is usable; with `strict`, not all of them are.
    """
    recordings = find_recordings(paths, arrays, failures=failures)
    if cache is not None:
        allow_many_files()
    episodes: list[Episode] = []
    reports: list[BagReport] = []
    takes: list[Take | None] = []  # one per episode
    for index, recording in enumerate(recordings):
        if progress is not None:
            progress(index, len(recordings), recording.name)
        moved = _moved(recording.name, displacements)
        some, report = (
            recording.read(spec, arrays, moved=moved)
            if cache is None
            else recording.read_cached(spec, arrays, cache, moved)
        )
        bad = [problem for problem in report.problems if problem.severity == "error"]
        if strict and bad:
            raise BagError(
                join_problems(problem.found for problem in bad),
                where=recording.path,
                remedy=bad[0].remedy,
            )
        episodes += some
        reports.append(report)
        takes += [recording.take] * len(some)
    if progress is not None:
        progress(len(recordings), len(recordings), "")
    dataset = make_dataset(
        spec,
        episodes,
        reports,
        validation=validation,
        seed=seed,
        held_out=_held_out(episodes, takes) if validation > 0 else None,
        normaliser=_bounds(takes, spec),
    )
    return replace(dataset, displacements=tuple(displacements))


def _moved(recording: str, displacements: Sequence[Displacement]) -> Moved:
    """What is undone in the episodes of one recording."""
    moved: dict[str, dict[str, Matrix]] = {}
    for one in displacements:
        for episode in one.episodes if one.undone else ():
            if recording in (episode, episode.rpartition("#")[0]):
                moved.setdefault(episode, {})[one.camera] = one.found.matrix
    return moved


def _not_read(recording: Recording) -> BagReport:
    report = BagReport(str(recording.path), "left out")
    if recording.unreadable is not None:
        report.leave_out(str(recording.path), recording.unreadable)
        return report
    report.problems.append(
        note(
            str(recording.path),
            "was labelled a failure when it was recorded",
            "it is left out",
            "--failures uses it, too",
        )
    )
    return report


def propose(paths: Iterable[str | Path], arrays: Arrays = DEFAULTS) -> Proposal:
    """A spec from the first recording whose episodes can be listed: see `propose_spec`.

    :raises BagError: it cannot be read, or lacks images or states.
    """
    problem: SarnnError | None = None
    for recording in find_recordings(paths, arrays):
        try:
            return _propose(recording, arrays)
        except SarnnError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _propose(first: Recording, arrays: Arrays) -> Proposal:
    if first.unreadable is not None:
        raise first.unreadable
    if first.take is None:
        return propose_spec(first.path)
    try:
        with first.take.open() as rows:
            values = proposal(rows, arrays.rate)
    except Exception as error:
        found = unreadable(error)
        raise BagError(
            found.problem, where=found.where or first.path, remedy=found.remedy
        ) from error
    return Proposal(parse_spec(values, where=f"proposal from {first.path}"))


def _held_out(episodes: Sequence[Episode], takes: Sequence[Take | None]) -> frozenset[str] | None:
    """The episodes for validation, if all of the data says its part, and there is some of both."""
    parts = {take.part if take else None for take in takes}
    if parts != {"training", "validation"}:
        return None
    pairs = zip(episodes, takes)
    return frozenset(one.name for one, take in pairs if take and take.part == "validation")


def _bounds(takes: Sequence[Take | None], spec: Spec) -> JointNormaliser | None:
    """EIPL's bounds, if all of the data comes with the same ones."""
    files = {take.bounds if take else None for take in takes}
    file = files.pop() if len(files) == 1 else None
    return eipl_dataset.read_bounds(file, spec) if file else None


def _format(path: Path) -> Any:
    return next((kind for kind in FORMATS if kind.matches(path)), None)


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """A short name per bag; as many parent folders are added as it takes to tell them apart."""
    resolved = [path.resolve() for path in paths]
    for depth in range(max(len(path.parts) for path in resolved)):
        names = [
            "/".join([*path.parent.parts[len(path.parent.parts) - depth :], stem(path)])
            for path in resolved
        ]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in resolved]
