# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: one file, replaced atomically, that a training continues from bit by bit.

A checkpoint belongs to its data and its settings; going on with others is refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from sarnn_ros.errors import TrainingError, join_problems
from sarnn_ros.training.config import TrainConfig

#: Settings that may change on resume: they do not change what is learnt.
_FREE = ("device", "threads", "image_memory", "picture_every")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` beside `path`, flush it to the disk, then take its place.

    :raises OSError: nothing was replaced.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path, config: TrainConfig, fingerprint: str) -> dict[str, Any]:
    """Read a checkpoint of this very training.

    :raises TrainingError: missing, damaged, or of other settings or data; differences are shown.
    """
    if not path.exists():
        raise TrainingError(
            "there is no checkpoint to resume", where=path, remedy="start without --resume"
        )
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        saved, data = dict(state["config"]), state["fingerprint"]
    except Exception as error:  # torch.load raises whatever the damage provokes
        raise TrainingError(
            f"not a checkpoint, or damaged ({type(error).__name__}: {error})",
            where=path,
            remedy="start without --resume",
        ) from error
    if problems := differences(saved, data, config, fingerprint):
        raise TrainingError(
            f"the checkpoint was made otherwise:{join_problems(problems)}",
            where=path,
            remedy="resume with the same bags, spec and settings, or train anew to another --out",
        )
    return state


def differences(
    saved: dict[str, Any], data: str, config: TrainConfig, fingerprint: str
) -> list[str]:
    """What tells a training from the one of these settings and data, in words.

    :param saved: its settings; :param data: the fingerprint of its data.
    """
    now = config.model_dump(mode="json")
    problems = [
        f"{key}: {saved.get(key)!r} then, {now.get(key)!r} now"
        for key in sorted(saved.keys() | now.keys())
        if saved.get(key) != now.get(key) and key not in _FREE
    ]
    if data != fingerprint:
        problems.append(f"data and spec: fingerprint {data} then, {fingerprint} now")
    return problems
