# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much recordings may unpack to, of any format, and which files they may name.

A few kilobytes can declare any size. So a size is compared with a bound before memory is asked
for, and what declares none is unpacked up to the bound. Bags, LeRobot's data sets, HDF5 and npz
share these functions.
"""

from __future__ import annotations

import bz2
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lz4.frame
import zstandard

from sarnn_ros.errors import BagError
from sarnn_ros.streams.decode import MAX_PIXELS

#: More than any message, chunk or array of numbers needs: what is in memory at once, bytes.
MAX_RECORD_BYTES = 1 << 28
#: A compressed file may not unpack to more than so many times its size, or MAX_RECORD_BYTES.
MAX_EXPANSION = 200
#: Numbers are kept as float64.
FLOAT_BYTES = 8

_REMEDY = (
    "no recording of ours is so large: copy it again; if it is sound, split it into shorter "
    "episodes, or store it with less compression"
)


def check_in_memory(what: str, size: int, *, where: object = None) -> None:
    """Whether so many bytes may be held in memory.

    :param what: which has that size, for the message.
    :raises BagError: they are more than `MAX_RECORD_BYTES`.
    """
    _check(what, size, MAX_RECORD_BYTES, where)


def check_expansion(what: str, size: int, packed: int, *, where: object = None) -> None:
    """Whether a file may unpack to so many bytes, which are not in memory at once.

    :param packed: its size, bytes.
    :raises BagError: they are more than `most_unpacked`.
    """
    _check(what, size, most_unpacked(packed), where)


def check_pixels(what: str, width: int, height: int, *, where: object = None) -> None:
    """:raises BagError: a side is below 1 pixel, or there are more than `MAX_PIXELS`."""
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise BagError(
            f"{what} has {width} x {height} pixels; at least 1 and at most {MAX_PIXELS} are read",
            where=where,
            remedy=_REMEDY if width > 0 and height > 0 else "record it again: this is no image",
        )


def most_unpacked(packed: int) -> int:
    """Bytes that a file of `packed` bytes may unpack to."""
    return max(MAX_RECORD_BYTES, MAX_EXPANSION * packed)


def bytes_of(shape: Iterable[int], itemsize: int) -> int:
    """Size of an array in bytes, as a Python integer: NumPy's product overflows."""
    return math.prod(int(length) for length in shape) * itemsize


def _check(what: str, size: int, most: int, where: object) -> None:
    if not 0 <= size <= most:
        raise BagError(
            f"{what} unpacks to more than {most} bytes (it declares {size})",
            where=where,
            remedy=_REMEDY,
        )


def unpack_zstd(raw: bytes | memoryview) -> bytes:
    """:raises BagError: more than `MAX_RECORD_BYTES`.
    :raises zstandard.ZstdError: damaged.
    :raises ValueError: cut off.
    """
    data = bytes(raw)
    size = zstandard.frame_content_size(data)
    if size >= 0:
        check_in_memory("a chunk", size)
        return zstandard.decompress(data)
    with zstandard.ZstdDecompressor().stream_reader(data) as reader:  # reads a bounded part
        _no_more_than_allowed(reader.read(MAX_RECORD_BYTES + 1))
    whole = zstandard.ZstdDecompressor().decompressobj()  # knows whether it is whole
    unpacked = whole.decompress(data)
    if not whole.eof:
        raise ValueError("compressed data that are cut off")
    return unpacked


def unpack_lz4(raw: bytes | memoryview) -> bytes:
    """:raises BagError: more than `MAX_RECORD_BYTES`.
    :raises RuntimeError: damaged.
    :raises ValueError: cut off.
    """
    # A frame may declare a size; lz4.frame.decompress would allocate it unseen.
    return _unpack(lz4.frame.LZ4FrameDecompressor(), bytes(raw))


def unpack_bz2(raw: bytes | memoryview) -> bytes:
    """:raises BagError: more than `MAX_RECORD_BYTES`.
    :raises OSError: damaged.
    :raises ValueError: cut off.
    """
    return _unpack(bz2.BZ2Decompressor(), bytes(raw))


def _unpack(decompressor: Any, data: bytes) -> bytes:
    unpacked = _no_more_than_allowed(
        decompressor.decompress(data, max_length=MAX_RECORD_BYTES + 1)
    )
    if not decompressor.eof:
        raise ValueError("compressed data that are cut off")
    return unpacked


def _no_more_than_allowed(unpacked: bytes) -> bytes:
    if len(unpacked) > MAX_RECORD_BYTES:
        raise BagError(f"a chunk unpacks to more than {MAX_RECORD_BYTES} bytes", remedy=_REMEDY)
    return unpacked


def inside(root: Path, path: Path) -> Path:
    """The path itself, if it and what its symbolic links lead to is in the folder `root`; or, as
    in the cache of Hugging Face, for a root `snapshots/REVISION` in `blobs` beside `snapshots`.

    :raises BagError: it is not: a data set from elsewhere must not make us read other files.
    """
    try:
        found, folder = path.resolve(), root.resolve()
        is_inside = found.is_relative_to(folder)
        if folder.parent.name == "snapshots":
            # `blobs` is not resolved: if it is a link, no file counts as inside.
            is_inside |= found.is_relative_to(folder.parent.parent / "blobs")
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a NUL character
        raise BagError(
            f"names a file that cannot be found ({error})", where=root, remedy="copy it again"
        ) from error
    if not is_inside:
        raise BagError(
            f"names the file {str(path)[:300]!r}, which is not in the data set's folder",
            where=root,
            remedy="if you trust it, copy it with all that its links lead to (cp -rL)",
        )
    return path
