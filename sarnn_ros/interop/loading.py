# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded data of any kind to a dataset: bags, and folders of EIPL's layout among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sarnn_ros.data.bags import find_bags
from sarnn_ros.data.cache import read_bag_cached
from sarnn_ros.data.dataset import Dataset, Episode, make_dataset
from sarnn_ros.data.problems import BagReport
from sarnn_ros.data.reading import read_bag, stem
from sarnn_ros.errors import BagError, join_problems
from sarnn_ros.interop.eipl_dataset import is_eipl, read_eipl
from sarnn_ros.spec import Spec

#: Called with (bags done, bags in all, what is being read).
Progress = Callable[[int, int, str], None]


def load_dataset(
    paths: Iterable[str | Path],
    spec: Spec,
    *,
    validation: float = 0.2,
    seed: int = 0,
    strict: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Bags to a dataset.

    :param paths: bags, EIPL's data sets, folders of them, glob patterns.
    :param validation: share of the episodes that is held out, chosen by `seed`. At least one
        of several episodes is, unless the share is 0.
    :param strict: an episode that cannot be used, or was damaged, is an error; else it is left
        out, and `Dataset.problems` says so.
    :param cache: folder for decoded episodes (`cache.default_cache`); None to decode into memory.
    :raises BagError: no episode is usable; with `strict`, not all of them are.
    """
    found = find_bags(paths, is_eipl)
    names = _unique_names(found)
    episodes: list[Episode] = []
    reports: list[BagReport] = []
    for index, (path, name) in enumerate(zip(found, names)):
        if progress is not None:
            progress(index, len(found), name)
        if is_eipl(path):
            some, report = read_eipl(path, spec, name)
        elif cache is None:
            some, report = read_bag(path, spec, name=name)
        else:
            some, report = read_bag_cached(path, spec, name, cache)
        bad = [problem for problem in report.problems if problem.severity == "error"]
        if strict and bad:
            raise BagError(
                join_problems(problem.found for problem in bad), where=path, remedy=bad[0].remedy
            )
        episodes += some
        reports.append(report)
    if progress is not None:
        progress(len(found), len(found), "")
    return make_dataset(spec, episodes, reports, validation=validation, seed=seed)


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
