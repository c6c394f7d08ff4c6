# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A trial as a picture and as a video: the cameras' images with the attention points on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmark.tasks.task import Image
from sarnn_ros.files import atomic_file
from sarnn_ros.geometry import points_to_source_pixels
from sarnn_ros.interop.video import FilmWriter
from sarnn_ros.policy.runtime import Prediction
from sarnn_ros.spec import Spec
from sarnn_ros.viz.overlay import draw_overlay

#: Moments in the picture.
MOMENTS = 6


def write_film(
    trial: Sequence[tuple[Mapping[str, Image], Prediction]],
    spec: Spec,
    rate: float,
    stride: int,
    path: Path,
) -> None:
    """Writes `path` with the suffixes .png and .mp4.

    :param trial: per tick, what the cameras saw and what the policy said.
    :param rate: ticks per second.
    :param stride: of the policy's network.
    """
    frames = [_frame(images, said, spec, stride) for images, said in trial]
    chosen = np.linspace(0, len(frames) - 1, MOMENTS).round().astype(int)
    with atomic_file(path.with_suffix(".png")) as partial:
        cv2.imwrite(str(partial), np.hstack([frames[index] for index in chosen])[..., ::-1])
    height, width = frames[0].shape[:2]
    with atomic_file(path.with_suffix(".mp4")) as partial:
        film = FilmWriter(partial, (width, height), rate)
        for frame in frames:
            film.add(frame)
        film.close()


def _frame(images: Mapping[str, Image], said: Prediction, spec: Spec, stride: int) -> Image:
    """The cameras one below the other, RGB."""
    drawn = []
    for camera in spec.cameras:
        image = images[camera.name]
        size = (image.shape[1], image.shape[0])
        seen, next_ = (
            points_to_source_pixels(points[camera.name], camera, *size, stride)
            for points in (said.encoder_points, said.decoder_points)
        )
        drawn.append(draw_overlay(image, seen, next_))
    widest = max(image.shape[1] for image in drawn)
    wide = [np.pad(one, ((0, 0), (0, widest - one.shape[1]), (0, 0))) for one in drawn]
    return np.vstack(wide)
