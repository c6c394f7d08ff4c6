# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EIPL's data sets: folders of `images.npy` and `joints.npy`, with `joint_bounds.npy` beside them.

images (N, T, H, W, 3) uint8 RGB, joints (N, T, D) float32. EIPL pads shorter episodes by
repeating their last row; that is undone on import and redone on export. No other formats here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.dataset import MIN_TICKS, Episode, digest_of
from sarnn_ros.data.problems import BagReport
from sarnn_ros.errors import BagError, ConfigError
from sarnn_ros.spec import Spec
from sarnn_ros.streams.preprocess import crop_resize, eipl_bounds

#: What makes a folder such a data set.
EIPL_FILES = ("images.npy", "joints.npy")


def is_eipl(path: Path) -> bool:
    """Whether it is a folder of EIPL's layout: taken wherever a bag is."""
    return all((path / name).is_file() for name in EIPL_FILES)


def read_eipl(folder: Path, spec: Spec, name: str) -> tuple[list[Episode], BagReport]:
    """As `read_bag`: never raises for what is in the folder."""
    report = BagReport(str(folder))
    episodes: list[Episode] = []
    try:
        episodes = import_eipl(folder, spec, name)
    except BagError as error:
        report.leave_out(str(folder), error)
        report.verdict = "left out"
    report.episodes = [episode.name for episode in episodes]
    return episodes, report


def import_eipl(folder: Path, spec: Spec, name: str | None = None) -> list[Episode]:
    """The episodes of one folder (`…/train`, say). Stamps are made up: k periods after 0.

    :param spec: one camera and D joints; images are cropped and resized as it says. `target` must
        be next_state: the layout has no commands.
    :raises BagError: files missing, damaged, or of other shapes than the spec says.
    """
    images, joints = (_read(folder / name) for name in EIPL_FILES)
    problems = []
    if len(spec.cameras) != 1:
        problems.append(f"the spec has {len(spec.cameras)} cameras, the layout has one")
    if spec.target != "next_state":
        problems.append("the layout has no commands: set 'target: next_state'")
    if images.ndim != 5 or images.shape[-1] != 3 or images.dtype != np.uint8:
        problems.append(f"images.npy is {images.dtype} {images.shape}, not uint8 (N, T, H, W, 3)")
    if joints.ndim != 3 or joints.shape[-1] != spec.joint_dim:
        problems.append(f"joints.npy is {joints.shape}, the spec has {spec.joint_dim} joints")
    elif joints.shape[:2] != images.shape[:2]:
        problems.append(f"{images.shape[:2]} images, but {joints.shape[:2]} joints")
    elif not np.isfinite(joints).all():
        problems.append("joints.npy has values that are not finite")
    if problems:
        raise BagError("; ".join(problems), where=folder, remedy="correct the spec or the files")
    camera = spec.cameras[0]
    episodes = []
    for number in range(len(joints)):
        ticks_used = _unpadded(images[number], joints[number])
        values = joints[number, :ticks_used].astype(np.float64)
        shown = np.stack([crop_resize(image, camera) for image in images[number, :ticks_used]])
        ticks = np.arange(ticks_used, dtype=np.int64) * spec.period_ns
        targets = np.concatenate([values[1:], values[-1:]])
        height, width = images.shape[2:4]
        episodes.append(
            Episode(
                name=f"{name or folder.name}#{number}",
                ticks=ticks,
                images={camera.name: shown},
                joints=values,
                targets=targets,
                source_sizes={camera.name: (width, height)},
                digest=digest_of(ticks, values, targets, shown),
            )
        )
    return episodes


def export_eipl(
    folder: Path,
    training: Sequence[Episode],
    validation: Sequence[Episode],
    spec: Spec,
    *,
    clip: float = 0.2,
) -> None:
    """Write `train/`, `test/` and `joint_bounds.npy` (EIPL's `get_bounds`, of `train`).

    :raises ConfigError: the folder exists, or there are several cameras.
    """
    if folder.exists():
        raise ConfigError("exists already", where=folder, remedy="give a folder that does not")
    if len(spec.cameras) != 1:
        raise ConfigError(
            f"EIPL's layout has one camera, the spec has {len(spec.cameras)}",
            remedy="export with a spec of one camera",
        )
    camera = spec.cameras[0].name
    for part, episodes in (("train", training), ("test", validation)):
        if episodes:
            (folder / part).mkdir(parents=True)
            np.save(
                folder / part / EIPL_FILES[0], _padded([one.images[camera] for one in episodes])
            )
            joints = _padded([one.joints.astype(np.float32) for one in episodes])
            np.save(folder / part / EIPL_FILES[1], joints)
    bounds = eipl_bounds([one.joints for one in training], spec.joint_range, clip=clip)
    np.save(folder / "joint_bounds.npy", bounds)


def _read(file: Path) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BagError(
            f"cannot be read: {error}", where=file, remedy="make it again with EIPL's tools"
        ) from error
    return array


def _unpadded(images: NDArray[np.generic], joints: NDArray[np.generic]) -> int:
    """Ticks up to the last one that differs from its follower."""
    last = len(joints) - 1
    while last >= MIN_TICKS and (
        np.array_equal(joints[last], joints[last - 1])
        and np.array_equal(images[last], images[last - 1])
    ):
        last -= 1
    return last + 1


def _padded(arrays: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    longest = max(len(array) for array in arrays)
    return np.stack(
        [np.concatenate([array, np.repeat(array[-1:], longest - len(array), axis=0)])
         for array in arrays]
    )  # fmt: skip
