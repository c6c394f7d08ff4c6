# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Films of trials: the camera with attention points.

Arrays in, files out. MP4 (H.264), which every browser plays. Needs av.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.files import atomic_file
from sarnn_ros.viz.overlay import TRAIL, draw_overlay

#: Side of the camera's image in the film and in the contact sheet, and height of the line above,
#: pixels. Even, as H.264 wants.
SIDE, SMALL_SIDE, LABEL_HEIGHT = 512, 256, 26
#: The camera's, frames per second.
FILM_RATE = 30

GREEN, RED = (46, 125, 50), (198, 40, 40)


@dataclass(frozen=True)
class Clip:
    """One trial. All times in s on one clock, each series in rising order.

    :param images: (N, H, W, 3) uint8 RGB at `image_times` (N,).
    :param encoder: (M, k, 2) attention points, pixels of the image, at `point_times` (M,).
    :param decoder: (M, k, 2) where they were predicted to be next.
    """

    title: str
    success: bool
    image_times: NDArray[np.float64]
    images: NDArray[np.uint8]
    point_times: NDArray[np.float64]
    encoder: NDArray[np.float64]
    decoder: NDArray[np.float64]


def write_video(clips: Sequence[Clip], path: Path) -> None:
    """All clips one after the other, at the camera's rate.

    :raises OSError: the file cannot be written.
    """
    import av

    options = {"movflags": "faststart"}
    with atomic_file(path) as partial, av.open(str(partial), "w", options=options) as film:
        quality = {"crf": "22", "preset": "veryfast"}
        stream = film.add_stream("libx264", rate=FILM_RATE, options=quality)
        stream.width, stream.height = SIDE, LABEL_HEIGHT + SIDE
        stream.pix_fmt = "yuv420p"
        for clip in clips:
            for frame in frames(clip):
                film.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        film.mux(stream.encode())


def frames(clip: Clip) -> Iterator[NDArray[np.uint8]]:
    """The frames of a clip, (LABEL_HEIGHT + SIDE, SIDE, 3) uint8 RGB, one per image."""
    label = _label(clip, SIDE)
    for index in range(len(clip.images)):
        yield np.vstack([label, _camera(clip, index)])


def contact_sheet(clips: Sequence[Clip], path: Path, columns: int = 6) -> None:
    """One row of moments per clip, as a PNG: what a README or a bug report can show.

    :raises OSError: the file cannot be written.
    """
    rows = []
    for clip in clips:
        chosen = np.linspace(0, len(clip.images) - 1, columns).round().astype(int)
        tiles = [_resize(_camera(clip, index), SMALL_SIDE, cv2.INTER_AREA) for index in chosen]
        rows += [_label(clip, SMALL_SIDE * columns), np.hstack(tiles)]
    if not cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path}: the picture cannot be written")


def _label(clip: Clip, width: int) -> NDArray[np.uint8]:
    label = np.full((LABEL_HEIGHT, width, 3), 255, np.uint8)
    verdict, color = ("lifted", GREEN) if clip.success else ("not lifted", RED)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(label, f"{clip.title}: {verdict}", (6, 19), font, 0.55, color, 1, cv2.LINE_AA)
    return label


def _camera(clip: Clip, index: int) -> NDArray[np.uint8]:
    newest = int(np.searchsorted(clip.point_times, clip.image_times[index], side="right")) - 1
    if newest < 0:
        return _resize(clip.images[index], SIDE, cv2.INTER_NEAREST)
    drawn = draw_overlay(
        clip.images[index],
        clip.encoder[newest],
        clip.decoder[newest],
        trails=clip.encoder[max(0, newest - TRAIL) : newest + 1],
        min_side=SIDE,
    )
    return _resize(drawn, SIDE, cv2.INTER_AREA)


def _resize(image: NDArray[np.uint8], side: int, interpolation: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (side, side), interpolation=interpolation), np.uint8)
