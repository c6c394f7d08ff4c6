# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""One episode in an `.npz` of arrays, as EIPL's bag scripts, and many others, write them.

`images` (T, H, W, 3) uint8; every array of that shape is a camera. `joints`, `state` or `qpos`
(T, D); `action` (T, D) if there are commands; `time` (T,) in s or `stamps_ns` (T,). Other arrays
of T rows can be named as topics.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
)
from sarnn_ros.data.dataset import Int
from sarnn_ros.data.takes import Frames, Image, Rows, Take, Vector, rgb
from sarnn_ros.errors import BagError
from sarnn_ros.spec import NANOSECONDS

STATES = ("joints", "state", "states", "qpos", "observation.state", "measured_joint_pos")
ACTIONS = ("action", "actions", "commands", "command_joint_pos")

#: Readers of an array's header, by its version. A third one is for names that are not ASCII.
_HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

#: Bytes that are skipped at a time.
_SKIP_BYTES = 1 << 20
#: What 64 bits of nanoseconds hold, roughly: 292 years, s.
MAX_SECONDS = 9.2e9


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
    packed = path.stat().st_size
    arrays: dict[str, NDArray[np.generic]] = {}
    cameras: dict[str, Frames] = {}
    others: dict[str, str] = {}
    with zipfile.ZipFile(path) as file:
        declared = numbers = 0
        for info in file.infolist():
            if not info.filename.endswith(".npy"):
                continue
            member = _Member(file, info)
            dtype, axes = member.dtype, len(member.shape)
            is_camera = dtype == np.uint8 and axes == 4 and member.shape[3] == 3
            if not is_camera and (dtype.kind not in "fiu" or axes not in (1, 2)):
                others[member.key] = f"{dtype} {member.shape}"
                continue
            declared += info.file_size
            check_expansion("it", declared, packed, where=path)
            if is_camera:
                cameras[member.key] = _zipped_frames(member, bgr)
            else:
                numbers += bytes_of(member.shape, max(dtype.itemsize, FLOAT_BYTES))
                check_in_memory("the arrays that are no images", numbers, where=path)
                with member.open() as stream:
                    arrays[member.key] = np.lib.format.read_array(  # type: ignore[no-untyped-call]
                        stream, allow_pickle=False
                    )
        yield rows_of(path, arrays, cameras, others)


class _Member:
    """An array in the file, whose header is read and nothing else.

    :raises BagError: it holds Python objects, is compressed in another way than NumPy's, or
        declares more than the file says that it has.
    """

    def __init__(self, file: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self.path, self.open = Path(file.filename or ""), partial(file.open, info)
        self.key = info.filename.removesuffix(".npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BagError(
                f"'{self.key}' is compressed by the method {info.compress_type}",
                where=self.path,
                remedy="write it with NumPy's savez or savez_compressed",
            )
        with self.open() as stream:
            version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
            if version not in _HEADERS:
                raise BagError(
                    f"'{self.key}' has a header of version {version}",
                    where=self.path,
                    remedy="save plain arrays of numbers with numpy.savez",
                )
            self.shape, self.fortran_order, self.dtype = _HEADERS[version](stream)
            self.begin = stream.tell()
        if self.dtype.hasobject:
            raise BagError(
                f"'{self.key}' cannot be read: it holds Python objects, that is, a pickle",
                where=self.path,
                remedy="save plain arrays of numbers with numpy.savez",
            )
        declared = bytes_of(self.shape, self.dtype.itemsize)
        if declared > info.file_size - self.begin or min(self.shape, default=0) < 0:
            raise BagError(
                f"'{self.key}' declares {self.shape} of {self.dtype}, {declared} bytes, and has "
                f"{info.file_size - self.begin}",
                where=self.path,
                remedy="copy or make it again",
            )


def _zipped_frames(member: _Member, swap: bool) -> Frames:
    """Images that are unpacked one by one: (n, H, W, 3) uint8; BGR if `swap`."""
    count, height, width = member.shape[:3]
    check_pixels(f"an image of '{member.key}'", width, height, where=member.path)
    if member.fortran_order:
        raise BagError(
            f"'{member.key}' is stored column by column (Fortran order)",
            where=member.path,
            remedy="save numpy.ascontiguousarray of it",
        )
    size = width * height * 3

    def read(rows: Sequence[int]) -> Iterator[Image]:
        with member.open() as stream:
            for row in rows:
                # Not by `seek`: Python 3.13 skips what is stored without compression, and then
                # does not check the member's checksum.
                while (left := member.begin + row * size - stream.tell()) > 0:
                    if not stream.read(min(left, _SKIP_BYTES)):
                        break
                image = np.frombuffer(stream.read(size), np.uint8).reshape(height, width, 3)
                yield rgb(image, swap)

    return Frames((width, height), count, read)


def _from_seconds(seconds: NDArray[np.float64], path: Path) -> Int:
    bad = np.flatnonzero(~(np.abs(seconds) < MAX_SECONDS))
    if bad.size:
        raise BagError(
            f"'time' is {seconds[bad[0]]:g} in row {bad[0]}: seconds are wanted",
            where=path,
            remedy="leave out rows without a time; nanoseconds go into 'stamps_ns'",
        )
    return np.round(seconds * NANOSECONDS).astype(np.int64)


def rows_of(
    path: Path,
    arrays: Mapping[str, NDArray[np.generic]],
    cameras: Mapping[str, Frames],
    others: Mapping[str, str],
) -> Rows:
    """Rows from named arrays: which one is the state, the action and the time goes by the names.

    :param arrays: numbers, (T,) or (T, D).
    :param others: what else is in the file, dtype and shape, for messages.
    :raises BagError: there is no camera or no state, or time is not in seconds.
    """
    stamps: Int | None = None
    vectors = {}
    for key, array in arrays.items():
        flat = array.size == len(array)
        if key == "stamps_ns" and flat:
            stamps = array.reshape(-1).astype(np.int64)
        elif key == "time" and flat:
            stamps = _from_seconds(array.reshape(-1).astype(np.float64), path)
        else:
            values = array.astype(np.float64)
            vectors[key] = Vector(values if values.ndim == 2 else values[:, None])
    state = next((key for key in STATES if key in vectors), None)
    if state is None or not cameras:
        shapes = {key: f"{array.dtype} {array.shape}" for key, array in arrays.items()}
        numbers = [f"{key} {what}" for key, what in (shapes | dict(others)).items()]
        found = ", ".join([*cameras, *numbers])
        missing = f"state ({', '.join(STATES)})" if cameras else "images, uint8 (T, H, W, 3)"
        raise BagError(
            f"no {missing}; there are {found or 'no arrays'}",
            where=path,
            remedy="name the arrays so; images are colours of one byte, and one episode is a file",
        )
    # What has another number of rows is no vector of rows: a calibration, for example.
    count = len(vectors[state].values)
    vectors = {key: one for key, one in vectors.items() if len(one.values) == count}
    return Rows(
        vectors=vectors,
        cameras=cameras,
        state=state,
        action=next((key for key in ACTIONS if key in vectors), None),
        stamps=stamps,
    )
