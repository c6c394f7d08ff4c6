# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One episode in an HDF5 file: the layouts of ACT/ALOHA and of RoboManipBaselines. Needs h5py.

ACT: `observations/images/CAMERA` (T, H, W, 3) uint8, or compressed images (T, bytes);
`observations/qpos`, `qvel`, `effort`; `action`. No rate.
RoboManipBaselines: `CAMERA_rgb_image`, `measured_joint_pos`, `command_joint_pos`, `time` in s, all
in one `.hdf5`; or a folder `.rmb` with `main.rmb.hdf5` and a film of each camera, which needs av.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.bounds import (
    FLOAT_BYTES,
    bytes_of,
    check_expansion,
    check_in_memory,
    check_pixels,
    inside,
)
from sarnn_ros.data.takes import Frames, Image, Rows, Take, array_frames, decode_picture
from sarnn_ros.errors import BagError
from sarnn_ros.interop.npz import rows_of
from sarnn_ros.interop.video import film_frames

_MAIN = "main.rmb.hdf5"
_RGB = "_rgb_image"
#: A chunk may hold many images, and they are read one by one: it is unpacked once.
_CHUNK_CACHE_BYTES = 1 << 26


def matches(path: Path) -> bool:
    """Whether it is such a file or folder, by its name."""
    if path.suffix == ".rmb":
        return (path / _MAIN).is_file()
    return path.suffix in (".hdf5", ".h5") and path.is_file() and not path.name.startswith(".")


def takes(path: Path, name: str, bgr: bool) -> list[Take]:
    """The episode of the file. Of the layouts images are RGB; `bgr` swaps them."""
    import h5py  # noqa: F401  the user is told what to install before anything is read

    files = tuple(sorted(filter(Path.is_file, path.iterdir()))) if path.is_dir() else (path,)
    return [Take(path=path, name=name, files=files, open=partial(_open, path, bgr))]


@contextmanager
def _open(path: Path, bgr: bool) -> Iterator[Rows]:
    import h5py

    main = inside(path, path / _MAIN) if path.is_dir() else path
    packed = main.stat().st_size
    with ExitStack() as stack:
        file = stack.enter_context(h5py.File(main, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES))
        arrays: dict[str, NDArray[np.generic]] = {}
        cameras: dict[str, Frames] = {}
        others: dict[str, str] = {}
        declared = numbers = 0

        def visit(key: str, item: Any) -> None:
            nonlocal declared, numbers
            if not isinstance(item, h5py.Dataset):
                return
            is_camera = "images/" in key or key.endswith(_RGB)
            is_image = (
                is_camera and item.ndim == 4 and item.shape[3] == 3 and item.dtype == np.uint8
            )
            packs = item.dtype == np.uint8 or item.dtype.kind not in "fiu"
            is_files = is_camera and item.ndim in (1, 2) and packs
            if not (is_image or is_files or (item.dtype.kind in "fiu" and item.ndim in (1, 2))):
                others[key] = f"{item.dtype} {item.shape}"
                return
            _refuse_other_files(item, key, main)
            declared += bytes_of(item.shape, item.dtype.itemsize)
            check_expansion("it", declared, packed, where=main)
            if item.chunks:
                chunk = bytes_of(item.chunks, item.dtype.itemsize)
                check_in_memory(f"a chunk of '{key}'", chunk, where=main)
            if is_image:
                height, width = item.shape[1:3]
                check_pixels(f"an image of '{key}'", width, height, where=main)
                cameras[key.removesuffix(_RGB)] = array_frames(item, swap=bgr)
            elif is_files:
                cameras[key.removesuffix(_RGB)] = _compressed_frames(item, swap=bgr)
            else:
                numbers += bytes_of(item.shape, max(item.dtype.itemsize, FLOAT_BYTES))
                check_in_memory("the arrays that are no images", numbers, where=main)
                arrays[key.removeprefix("observations/")] = item[:]

        file.visititems(visit)  # which follows no links, neither soft ones nor external ones
        for film in sorted(path.glob(f"*{_RGB}.rmb.mp4")) if path.is_dir() else ():
            key = film.name.removesuffix(f"{_RGB}.rmb.mp4")
            cameras[key] = stack.enter_context(film_frames(inside(path, film), swap=bgr))
        yield rows_of(path, arrays, cameras, others)


def _refuse_other_files(item: Any, key: str, where: Path) -> None:
    """:raises BagError: the data are not in this file, but in any file that it names."""
    kind = "an external storage" if item.external else "a virtual dataset"
    if item.external or item.is_virtual:
        raise BagError(
            f"'{key}' is {kind}: its data are in other files",
            where=where,
            remedy="if you trust it, copy the data into one file: h5repack -l CONTI IN OUT",
        )


def _compressed_frames(array: Any, *, swap: bool) -> Frames:
    """Images of a camera as files (JPEG, PNG) in an array (n, bytes), or of (n,) byte strings.

    Red and blue are as OpenCV returns them: ACT's scripts encode RGB as if it was BGR.
    """

    def decode(row: int) -> Image:
        raw = np.frombuffer(array[row], np.uint8)
        return decode_picture(raw, f"image {row} of '{array.name}'", swap=not swap)

    height, width = decode(0).shape[:2]
    return Frames((width, height), len(array), partial(map, decode))
