# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One episode in an `.npz` of arrays, as EIPL's bag scripts, and many others, write them.

`images` (T, H, W, 3) uint8; every array of that shape is a camera. `joints`, `state` or `qpos`
(T, D); `action` (T, D) if there are commands; `time` (T,) in s or `stamps_ns` (T,). Other arrays
of T rows can be named as topics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.takes import ArrayFrames, Frames, Rows, Take, Vector
from sarnn_ros.errors import BagError
from sarnn_ros.spec import NANOSECONDS

STATES = ("joints", "state", "states", "qpos", "observation.state", "measured_joint_pos")
ACTIONS = ("action", "actions", "commands", "command_joint_pos")


def matches(path: Path) -> bool:
    """Whether it is such a file, by its name."""
    return path.suffix == ".npz" and path.is_file() and not path.name.startswith(".")


def takes(path: Path, name: str, bgr: bool) -> list[Take]:
    """The episode of the file."""
    return [
        Take(
            path=path,
            name=name,
            files=(path,),
            open=partial(_open, path, bgr),
            order="BGR" if bgr else "RGB",
        )
    ]


@contextmanager
def _open(path: Path, bgr: bool) -> Iterator[Rows]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    cameras: dict[str, Frames] = {
        key: ArrayFrames(array.view(np.uint8), swap=bgr)
        for key, array in arrays.items()
        if array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] == 3
    }
    yield rows_of(path, arrays, cameras)


def rows_of(
    path: Path, arrays: Mapping[str, NDArray[np.generic]], cameras: Mapping[str, Frames]
) -> Rows:
    """Rows from named arrays: which one is the state, the action and the time goes by the names.

    :raises BagError: there is no camera or no state, or time does not rise.
    """
    stamps = None
    vectors = {}
    for key, array in arrays.items():
        if key in cameras or array.dtype.kind not in "fiu" or array.ndim not in (1, 2):
            continue
        if key == "stamps_ns":
            stamps = array.astype(np.int64)
        elif key == "time":
            stamps = np.round(array.astype(np.float64) * NANOSECONDS).astype(np.int64)
        else:
            values = array.astype(np.float64)
            vectors[key] = Vector(values if values.ndim == 2 else values[:, None])
    state = next((key for key in STATES if key in vectors), None)
    if state is None or not cameras:
        found = ", ".join(f"{key} {array.dtype} {array.shape}" for key, array in arrays.items())
        missing = f"state ({', '.join(STATES)})" if cameras else "images, uint8 (T, H, W, 3)"
        raise BagError(
            f"no {missing}; there are {found or 'no arrays'}",
            where=path,
            remedy="name the arrays so",
        )
    if stamps is not None and not (stamps.ndim == 1 and (np.diff(stamps) > 0).all()):
        raise BagError("the time does not rise from row to row", where=path)
    # What has another number of rows is no vector of rows: a calibration, for example.
    count = len(vectors[state].values)
    return Rows(
        vectors={key: one for key, one in vectors.items() if len(one.values) == count},
        cameras=dict(cameras),
        state=state,
        action=next((key for key in ACTIONS if key in vectors), None),
        stamps=stamps,
    )
