# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the first images of the episodes differ, and how large that is for the network: what is
the same in all of them cannot tell it where the object lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.dataset import Episode, release
from sarnn_ros.spec import MIN_IMAGE_SIDE, CameraSpec, Crop, Spec

#: A pixel differs if a channel does by more than this, 0 … 255, and by so many times the noise.
LEAST, NOISE = 20.0, 6.0
#: A proposed crop is so much larger than what differs, on each side; in parts of it.
MARGIN = 0.25
#: A crop that is not smaller than this part of the image gains nothing.
WORTHWHILE = 0.5
#: The side that a proposed crop is shrunk to, pixels.
SIDE = 64
#: Fewer episodes do not show where an object may lie: training does not crop by itself. Of ten
#: places drawn alike, `MARGIN` covers the whole range and more, on average.
ENOUGH = 10


@dataclass(frozen=True)
class Difference:
    """What tells the first images of one camera apart.

    :param pixels: median over the episodes, of the model's image.
    :param strength: (h, w), 0 … 255: how much each pixel of it differs, at most.
    :param crop: a crop of the source image to what differs, with some margin; None if it would
        gain nothing. :param size: (width, height) of a model image for it.
    :param cropped_pixels: what `pixels` would then be.
    """

    pixels: float
    strength: NDArray[np.uint8]
    crop: Crop | None = None
    size: tuple[int, int] = (0, 0)
    cropped_pixels: float = 0.0


def difference(camera: CameraSpec, episodes: Sequence[Episode]) -> Difference | None:
    """None if there is only one episode, or the sources differ in size."""
    sizes = {episode.source_sizes[camera.name] for episode in episodes}
    if len(episodes) < 2 or len(sizes) != 1:
        return None
    images = [episode.images[camera.name] for episode in episodes]
    first = np.stack([np.array(array[0], dtype=np.float32) for array in images])
    for array in images:
        release(array)
    off = np.abs(first - np.median(first, axis=0)).max(axis=-1)  # (episodes, h, w)
    limit = max(LEAST, NOISE * float(np.median(off)))
    differs = off > limit
    pixels = float(np.median(differs.sum(axis=(1, 2))))
    strength = off.max(axis=0).clip(0, 255).astype(np.uint8)
    return _with_crop(camera, sizes.pop(), pixels, strength, differs.any(axis=0))


def cropped(camera: CameraSpec, found: Difference | None) -> CameraSpec | None:
    """The camera with the crop and the size that are proposed; None if none are."""
    if found is None or found.crop is None:
        return None
    width, height = found.size
    return camera.model_copy(update={"crop": found.crop, "width": width, "height": height})


def crop_cameras(spec: Spec, differences: Sequence[Difference | None]) -> Spec:
    """The spec with the cameras cropped that have no crop of their own, where one is proposed.

    :param differences: of its cameras; of fewer than `ENOUGH` episodes on demand only.
    """
    cameras = [
        (camera.crop is None and cropped(camera, found)) or camera
        for camera, found in zip(spec.cameras, differences, strict=True)
    ]
    return spec.model_copy(update={"cameras": tuple(cameras)})


def _with_crop(
    camera: CameraSpec,
    source: tuple[int, int],
    pixels: float,
    strength: NDArray[np.uint8],
    differs: NDArray[np.bool_],
) -> Difference:
    if not differs.any():
        return Difference(pixels, strength)
    now = camera.crop or Crop(x=0, y=0, width=source[0], height=source[1])
    spans = []
    for axis, count, start, length in ((0, camera.width, now.x, now.width),
                                       (1, camera.height, now.y, now.height)):  # fmt: skip
        hit = np.flatnonzero(differs.any(axis=axis))
        low, high = hit[0] / count, (hit[-1] + 1) / count
        margin = MARGIN * (high - low) + 1 / count
        left = round(start + max(0.0, low - margin) * length)
        right = round(start + min(1.0, high + margin) * length)
        left = max(start, min(left, start + length - MIN_IMAGE_SIDE))
        spans.append((left, max(MIN_IMAGE_SIDE, right - left)))
    (x, width), (y, height) = spans
    if width * height > WORTHWHILE * now.width * now.height:
        return Difference(pixels, strength)
    scale = min(1.0, SIDE / max(width, height))
    size = max(MIN_IMAGE_SIDE, round(width * scale)), max(MIN_IMAGE_SIDE, round(height * scale))
    before = (camera.width / now.width) * (camera.height / now.height)
    after = (size[0] / width) * (size[1] / height)
    if after <= before:  # the source is enlarged, and has no more to show
        return Difference(pixels, strength)
    crop = Crop(x=x, y=y, width=width, height=height)
    return Difference(pixels, strength, crop, size, pixels * after / before)
