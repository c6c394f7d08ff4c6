# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One episode in an HDF5 file: the layouts of ACT/ALOHA and of RoboManipBaselines. Needs h5py.

ACT: `observations/images/CAMERA` (T, H, W, 3) uint8, or compressed images (T, bytes);
`observations/qpos`, `qvel`, `effort`; `action`. No rate.
RoboManipBaselines: `CAMERA_rgb_image`, `measured_joint_pos`, `command_joint_pos`, `time` in s, all
in one `.hdf5`; or a folder `.rmb` with `main.rmb.hdf5` and a film of each camera, which needs av.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.takes import ArrayFrames, Frames, Image, Rows, Take
from sarnn_ros.errors import BagError
from sarnn_ros.interop.npz import rows_of
from sarnn_ros.interop.video import VideoFrames

_MAIN = "main.rmb.hdf5"
_RGB = "_rgb_image"


def matches(path: Path) -> bool:
    """Whether it is such a file or folder, by its name."""
    if path.suffix == ".rmb":
        return (path / _MAIN).is_file()
    return path.suffix in (".hdf5", ".h5") and path.is_file() and not path.name.startswith(".")


def takes(path: Path, name: str, bgr: bool) -> list[Take]:
    """The episode of the file. Of the layouts images are RGB; `bgr` swaps them."""
    import h5py  # noqa: F401  the user is told what to install before anything is read

    files = tuple(sorted(path.iterdir())) if path.is_dir() else (path,)
    return [Take(path=path, name=name, files=files, open=partial(_open, path, bgr))]


@contextmanager
def _open(path: Path, bgr: bool) -> Iterator[Rows]:
    import h5py

    with ExitStack() as stack:
        file = stack.enter_context(h5py.File(path / _MAIN if path.is_dir() else path, "r"))
        arrays: dict[str, NDArray[np.generic]] = {}
        cameras: dict[str, Frames] = {}

        def visit(key: str, item: Any) -> None:
            if not isinstance(item, h5py.Dataset):
                return
            is_camera = "images/" in key or key.endswith(_RGB)
            if is_camera and item.ndim == 4 and item.shape[3] == 3 and item.dtype == np.uint8:
                cameras[_camera(key)] = ArrayFrames(item, swap=bgr)
            elif is_camera and item.ndim in (1, 2):
                cameras[_camera(key)] = CompressedFrames(item, swap=bgr)
            elif item.dtype.kind in "fiu" and item.ndim in (1, 2):
                arrays[key.removeprefix("observations/")] = item[:]

        file.visititems(visit)
        for film in sorted(path.glob(f"*{_RGB}.rmb.mp4")) if path.is_dir() else ():
            key = film.name.removesuffix(".rmb.mp4")
            cameras[_camera(key)] = stack.enter_context(VideoFrames(film, swap=bgr))
        yield rows_of(path, arrays, cameras)


def _camera(key: str) -> str:
    return key.removesuffix(_RGB)


class CompressedFrames:
    """Images of a camera as files (JPEG, PNG) in an array (n, bytes), or of (n,) byte strings.

    Decoded as OpenCV does without swapping: ACT's scripts encode RGB as if it was BGR.
    """

    def __init__(self, array: Any, *, swap: bool) -> None:
        self._array, self._swap = array, swap
        height, width = self._decode(0).shape[:2]
        self.size = (width, height)

    def __len__(self) -> int:
        return len(self._array)

    def read(self, rows: Sequence[int]) -> Iterator[Image]:
        for row in rows:
            yield self._decode(row)

    def _decode(self, row: int) -> Image:
        image = cv2.imdecode(np.frombuffer(self._array[row], np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise BagError(f"image {row} cannot be decoded", where=self._array.name)
        return np.ascontiguousarray(image[..., ::-1] if self._swap else image, np.uint8)
