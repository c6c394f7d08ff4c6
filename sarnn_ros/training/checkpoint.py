# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: one file, replaced atomically, that a training continues from bit by bit.

A checkpoint belongs to its data and its settings; resuming with others is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from sarnn_ros.data.dataset import Dataset
from sarnn_ros.errors import TrainingError, join_problems
from sarnn_ros.files import atomic_file
from sarnn_ros.training.config import TrainConfig

#: Settings that may change on resume: they do not change what is learnt.
_CHANGEABLE = ("device", "threads")
#: Episodes that are named in a message, at most.
_MAX_NAMED = 5


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """:raises OSError, RuntimeError: not written; an earlier checkpoint there is unharmed."""
    with atomic_file(path) as partial:
        torch.save(state, partial)


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """What a checkpoint remembers of its data, to say later what has changed."""
    return {
        "fingerprint": dataset.fingerprint,
        "episodes": {episode.name: episode.digest for episode in dataset.episodes},
        "validation": [dataset.episodes[index].name for index in dataset.validation],
        "spec": dataset.spec.model_dump(mode="json"),
    }


def load_checkpoint(path: Path, config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    """Read a checkpoint of this very training.

    :raises TrainingError: missing, damaged, or of other settings or data; differences are shown.
    """
    if not path.exists():
        remedy = "start without --resume"
        aside = path.parent.glob(f"{path.name}.before*")
        if kept := max(aside, key=lambda one: one.stat().st_mtime, default=None):
            # A start without --resume that ended before its first checkpoint.
            remedy = f"rename {kept.name}, the earlier one, to {path.name} first; or {remedy}"
        raise TrainingError("there is no checkpoint to resume", where=path, remedy=remedy)
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        saved, data = dict(state["config"]), dict(state["data"])
    except Exception as error:  # torch.load raises whatever the damage provokes
        raise TrainingError(
            f"not a checkpoint, or damaged ({type(error).__name__}: {error})",
            where=path,
            remedy="start without --resume",
        ) from error
    if problems := differences(saved, data, config, dataset):
        raise TrainingError(
            f"the checkpoint is of another training:{join_problems(problems)}",
            where=path,
            remedy="resume with the same bags, spec, settings, --validation and --from, or train "
            "anew to another --out",
        )
    return state


def is_of(path: Path, dataset: Dataset) -> bool:
    """Whether there is a sound checkpoint of a training on this very data."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return bool(state["data"]["fingerprint"] == dataset.fingerprint)
    except Exception:  # torch.load raises whatever the damage provokes; `load_checkpoint` tells
        return False


def differences(
    saved: Mapping[str, Any], data: Mapping[str, Any], config: TrainConfig, dataset: Dataset
) -> list[str]:
    """How a saved training differs from the one of these settings and data, in words.

    :param saved: its settings.
    :param data: of its data, as from `describe_data`.
    """
    problems = [
        f"{key}: {old!r} then, {new!r} now"
        for key, old, new in _changed(saved, config.model_dump(mode="json"))
        if key not in _CHANGEABLE
    ]
    then, there = data["fingerprint"], dataset.fingerprint
    if then != there:
        known = list(_data_differences(data, describe_data(dataset)))
        problems += known or [f"data and spec: fingerprint {then} then, {there} now"]
    return problems


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Keys whose values differ, with both; a value that is not there is 'none'."""
    keys = then.keys() | now.keys()
    for key in sorted(keys):
        old, new = then.get(key, "none"), now.get(key, "none")
        told = any(other.startswith(f"{key}.") for other in keys)  # by its parts
        if old != new and not told:
            yield key, old, new


def _data_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    before, after = then["episodes"], now["episodes"]
    if len(before) != len(after):
        yield f"{len(before)} episodes then, {len(after)} now"
    both = before.keys() & after.keys()
    for what, names in (
        ("new", after.keys() - before.keys()),
        ("missing", before.keys() - after.keys()),
        ("changed", {name for name in both if before[name] != after[name]}),
    ):
        if names:
            yield f"episodes {what}: {_some(names)}"
    if before.keys() == after.keys() and list(before) != list(after):
        yield "the order of the episodes"
    if then["validation"] != now["validation"]:
        held_out = [_some(data["validation"]) or "none" for data in (then, now)]
        yield "held out for validation: {} then, {} now".format(*held_out)
    for key, old, new in _changed(_flat(then["spec"]), _flat(now["spec"])):
        yield f"spec, {key}: {old!r} then, {new!r} now"


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    """Values that are no lists or mappings, by their place: `cameras.0.width`."""
    if isinstance(value, Mapping):
        items: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return {place: value}
    found: dict[str, Any] = {}
    for key, inner in items:
        found |= _flat(inner, f"{place}.{key}" if place else str(key))
    return found
