# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Films of a camera, frame by frame: read, written, joined. Needs av."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from sarnn_ros.data.bounds import check_pixels
from sarnn_ros.data.takes import Frames, Image
from sarnn_ros.errors import BagError
from sarnn_ros.streams.decode import MAX_PIXELS

#: H.264 of this quality: 18 is what x264's authors call nearly indistinguishable.
CONSTANT_RATE_FACTOR = 18
#: A frame of which no other depends, every so many: training reads frames in random order.
KEYFRAME_INTERVAL = 2
#: Where the keyframe before a frame does not lead to it, the one so long before it is tried, s.
_EARLIER_SECONDS = 2.0
#: FFmpeg decodes no larger image.
_SIZE_LIMIT = {"max_pixels": str(MAX_PIXELS)}


@contextmanager
def film_frames(
    path: Path,
    start: float = 0.0,
    count: int | None = None,
    rate: float | None = None,
    swap: bool = False,
) -> Iterator[Frames]:
    """A part of a film, as one camera of a recording.

    :param start: s, where row 0 is.
    :param count: of rows; None: all frames of the film.
    :param rate: rows per second; needed with `start`.
    :param swap: exchange red and blue.
    :raises BagError: it cannot be read as a film; reading rows: one has no frame within half a
        period, or the film is damaged.
    """
    import av

    try:
        # The kind is not guessed from the content: a playlist would name other files.
        options = {"protocol_whitelist": "file", **_SIZE_LIMIT}
        file = av.open(str(path), format="mp4", options=options)
        if not file.streams.video:
            file.close()
            raise ValueError("it has no pictures")
        stream: Any = file.streams.video[0]
    except (OSError, ValueError, av.FFmpegError) as error:
        raise BagError(
            f"cannot be read as a film ({error})",
            where=path,
            remedy="copy or make it again; films are mp4",
        ) from error

    def read(rows: Sequence[int]) -> Iterator[Image]:
        pace = rate or float(stream.average_rate or 1)
        wanted = iter(rows)
        row = next(wanted, None)
        if row is None:
            return
        # The nearest keyframe before, by a margin of half a frame for rounding. Frames that follow
        # one and are shown before it (open GOPs) are only decoded from the one before.
        for margin in (0.5, _EARLIER_SECONDS * pace, np.inf):
            at = max(0.0, start + (row - margin) / pace)
            file.seek(int(at / stream.time_base), stream=stream)
            for frame in file.decode(stream):
                time = float(frame.pts * stream.time_base)
                shown = round((time - start) * pace)
                if shown > row:
                    break
                while shown == row:
                    image = frame.to_ndarray(format="bgr24" if swap else "rgb24")
                    yield np.ascontiguousarray(image, np.uint8)
                    row = next(wanted, None)
                    if row is None:
                        return
        raise BagError(
            f"there is no frame {row} at {start + row / pace:.3f} s",
            where=path,
            remedy="copy or make the data set again",
        )

    with file:
        size = stream.width, stream.height
        check_pixels("the film", *size, where=path)
        stream.codec_context.options = _SIZE_LIMIT  # a film may change its size later on
        stream.thread_type = "AUTO"
        yield Frames(size, stream.frames if count is None else count, read)


def pixel_format(width: int, height: int) -> str:
    """Colours of half the resolution need even sides."""
    return "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p"


class FilmWriter:
    """Writes frames as H.264 in mp4. `close` when the last was added.

    :param size: (width, height), pixels.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: float) -> None:
        import av

        width, height = size
        pace = Fraction(rate).limit_denominator(1001)
        self._file = av.open(str(path), "w")
        options = {
            "crf": str(CONSTANT_RATE_FACTOR),
            "g": str(KEYFRAME_INTERVAL),
            "bf": "0",
            "preset": "veryfast",
        }
        self._stream = self._file.add_stream("libx264", rate=pace, options=options)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = pixel_format(width, height)
        self._stream.thread_type = "AUTO"
        self._time_base = 1 / pace
        self._count = 0

    def add(self, image: Image) -> None:
        """:param image: uint8 (H, W, 3) RGB."""
        import av

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = self._count, self._time_base
        self._count += 1
        for packet in self._stream.encode(frame):
            self._file.mux(packet)

    def close(self) -> None:
        for packet in self._stream.encode():
            self._file.mux(packet)
        self._file.close()


class FilmJoiner:
    """Appends films of one size and rate to one file, without coding them again."""

    def __init__(self, path: Path) -> None:
        import av

        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = av.open(str(path), "w")
        self._stream: Any = None
        self.frames = 0
        self.bytes = 0

    def append(self, path: Path, rate: float) -> None:
        import av

        pace = Fraction(rate).limit_denominator(1001)
        with av.open(str(path)) as film:
            source: Any = film.streams.video[0]
            if self._stream is None:
                self._stream = self._file.add_stream_from_template(source)
            first = round(self.frames / pace / source.time_base)
            packet: Any
            for packet in film.demux(source):
                if packet.dts is None:  # the end
                    continue
                packet.pts, packet.dts = packet.pts + first, packet.dts + first
                packet.stream = self._stream
                self.bytes += packet.size
                self._file.mux(packet)
                self.frames += 1

    def close(self) -> None:
        self._file.close()
