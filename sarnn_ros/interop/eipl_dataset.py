# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""EIPL's data sets: folders of `images.npy` and `joints.npy`, with `joint_bounds.npy` beside them.

images (N, T, H, W, 3) uint8, joints (N, T, D) float32, in `train/` and `test/`. EIPL pads shorter
episodes by repeating their last row; that is undone on import and redone on export. Its files of
one episode each are in `npz.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.dataset import MIN_TICKS, Dataset, blocks
from sarnn_ros.data.takes import Part, Rows, Take, Vector, array_frames
from sarnn_ros.errors import BagError, ConfigError, SarnnError
from sarnn_ros.files import atomic_folder
from sarnn_ros.spec import Spec
from sarnn_ros.streams.preprocess import JointNormaliser

#: What makes a folder such a data set.
EIPL_FILES = ("images.npy", "joints.npy")
BOUNDS = "joint_bounds.npy"
_PARTS: dict[str, Part] = {"train": "training", "test": "validation"}


def matches(path: Path) -> bool:
    """Whether it is a folder of EIPL's layout: taken wherever a bag is."""
    return all((path / name).is_file() for name in EIPL_FILES)


def takes(folder: Path, name: str, bgr: bool) -> list[Take]:
    """The episodes of one folder, `…/train`, say."""
    try:
        images, joints = (_read(folder / name) for name in EIPL_FILES)
        fits = joints.ndim == 3 and joints.size and images.shape[:2] == joints.shape[:2]
        count = len(joints) if fits else 1
    except BagError:
        count = 1  # opening it says what is wrong
    bounds = [path / BOUNDS for path in (folder, folder.parent) if (path / BOUNDS).is_file()]
    return [
        Take(
            path=folder,
            name=f"{name}#{number}",
            files=tuple(folder / file for file in EIPL_FILES),
            open=partial(_open, folder, number, bgr),
            part=_PARTS.get(folder.name),
            bounds=bounds[0] if bounds else None,
            order="BGR" if bgr else "RGB",
        )
        for number in range(count)
    ]


@contextmanager
def _open(folder: Path, number: int, bgr: bool) -> Iterator[Rows]:
    images, joints = (_read(folder / name) for name in EIPL_FILES)
    problems = []
    if images.ndim != 5 or images.shape[-1] != 3 or images.dtype != np.uint8:
        problems.append(f"images.npy is {images.dtype} {images.shape}, not uint8 (N, T, H, W, 3)")
    if joints.ndim != 3 or joints.dtype.kind not in "fiu":
        problems.append(f"joints.npy is {joints.dtype} {joints.shape}, not numbers (N, T, D)")
    elif not problems and joints.shape[:2] != images.shape[:2]:
        problems.append(f"{images.shape[:2]} images, but {joints.shape[:2]} joints")
    if problems:
        raise BagError("; ".join(problems), where=folder, remedy="make it again with EIPL's tools")
    used = _unpadded(images[number], joints[number])
    yield Rows(
        vectors={"joints": Vector(joints[number, :used].astype(np.float64))},
        cameras={"images": array_frames(images[number, :used], swap=bgr)},
        state="joints",
    )


def read_bounds(path: Path, spec: Spec, kind: type[SarnnError] = BagError) -> JointNormaliser:
    """The normalisation of EIPL's `joint_bounds.npy`: (2, D) minimum and maximum, SI units.

    :raises SarnnError: of this kind: unreadable, or of other joints than the spec's.
    """
    try:
        # Mapped: the header of a damaged file may ask for any amount of memory.
        bounds = np.load(path, mmap_mode="r", allow_pickle=False)
        normaliser = JointNormaliser.from_eipl_bounds(bounds, spec.joint_range)
        if bounds.dtype.kind not in "fiu":
            raise ValueError(f"numbers of the type {bounds.dtype}")
        if swapped := np.flatnonzero(bounds[-2] > bounds[-1]).tolist():
            raise ValueError(f"joint {swapped[0]}: the minimum is larger than the maximum")
    except (OSError, ValueError, EOFError, TypeError, OverflowError) as error:
        raise kind(
            f"not EIPL's bounds ({error or type(error).__name__})",
            where=path,
            remedy="give the joint_bounds.npy that was made with the data",
        ) from error
    if len(normaliser.minimum) != spec.joint_dim:
        raise kind(
            f"bounds of {len(normaliser.minimum)} joints, the spec has {spec.joint_dim}",
            where=path,
            remedy="list exactly the joints that EIPL was trained on, in its order",
        )
    return normaliser


def export_eipl(folder: Path, dataset: Dataset) -> None:
    """Write `train/`, `test/` and `joint_bounds.npy`: (2, D), what joints are normalised with.

    :raises ConfigError: the folder exists or cannot be written, there are several cameras, the
        target is the command or smoothed, or a person took over in an episode.
    """
    spec = dataset.spec
    if folder.exists():
        raise ConfigError("exists already", where=folder, remedy="give a folder that does not")
    if len(spec.cameras) != 1:
        raise ConfigError(
            f"EIPL's layout has one camera, the spec has {len(spec.cameras)}",
            remedy="export with a spec of one camera",
        )
    if spec.target == "command":
        raise ConfigError(
            "EIPL's layout has no commands, and the spec's target is the command",
            remedy="set 'target: next_state': EIPL learns the next state",
        )
    if spec.smooth:
        smoothed = ", ".join(spec.joint_labels[row] for row in spec.smooth)
        raise ConfigError(
            f"EIPL's layout has no targets, and those of {smoothed} are smoothed",
            remedy="export with a spec without 'smooth': EIPL learns the next state as it is",
        )
    if led := [one.name for one in dataset.episodes if one.led is not None]:
        raise ConfigError(
            f"in {', '.join(led)} a person took over from a policy, and EIPL's layout cannot say "
            "at which ticks",
            remedy="export the demonstrations alone",
        )
    camera = spec.cameras[0].name
    try:
        with atomic_folder(folder) as partial_folder:
            for part, rows in (("train", dataset.training), ("test", dataset.validation)):
                episodes = [dataset.episodes[row] for row in rows]
                if episodes:
                    (partial_folder / part).mkdir(parents=True)
                    joints = [one.joints.astype(np.float32) for one in episodes]
                    files = [partial_folder / part / name for name in EIPL_FILES]
                    _write_padded(files[0], [one.images[camera] for one in episodes])
                    _write_padded(files[1], joints)
            bounds = np.stack([dataset.normaliser.minimum, dataset.normaliser.maximum])
            np.save(partial_folder / BOUNDS, bounds)
    except OSError as error:
        raise ConfigError(f"cannot be written ({error})", where=folder) from error


def _read(file: Path) -> NDArray[np.uint8]:
    try:
        array: NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, TypeError, OverflowError) as error:
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


def _write_padded(file: Path, arrays: Sequence[NDArray[Any]]) -> None:
    """One array of all, block by block: they need not fit into memory.

    :raises OSError: it cannot be written.
    """
    longest = max(len(array) for array in arrays)
    with file.open("wb") as stream:
        header = {
            "descr": arrays[0].dtype.str,
            "fortran_order": False,
            "shape": (len(arrays), longest, *arrays[0].shape[1:]),
        }
        np.lib.format.write_array_header_1_0(stream, header)  # type: ignore[no-untyped-call]
        for array in arrays:
            for block in blocks(array):
                stream.write(np.ascontiguousarray(block).data)
            last = np.ascontiguousarray(array[-1])
            for _ in range(longest - len(array)):
                stream.write(last.data)
