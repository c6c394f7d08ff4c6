# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the first images of the episodes differ, and how large that is for the network: what is
the same in all of them cannot tell it where the object lies.

Where the robot starts elsewhere in each episode, most of what differs is the robot. It moves off,
and it looks alike whenever it is in that state; what lies there does neither. So a pixel counts in
an episode if it stays as it is for the first fifth, and is another in those images of other
episodes in which the robot's state is most like this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
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
#: First states deviate between episodes by more than this share of a joint's range, or all start
#: alike; and of a joint that moves less than this, rad or m, no more than noise is known.
MIN_START, LEAST_RANGE = 0.02, 0.01
#: Moments at which what lies still is as at first, shares of an episode; and the share of it in
#: which the states most like the first ones of others are looked for.
STILL, EARLY = (0.07, 0.13, 0.2), 0.5
#: In so many other episodes, and so many ticks before and after, a pixel has to be another one.
NEAREST, AROUND = 6, 2
#: So many of such pixels have to touch each other, and in so many episodes there have to be some
#: at most `NEAR` pixels away: what is left of the robot lies scattered. A higher bound would cut
#: off places where things seldom lie, and so would this one of fewer than `MANY` episodes.
BLOB, EPISODES, NEAR, MANY = 3, 2, 5, 20
#: Of more episodes so many are compared like this.
MOST = 100
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
    states = _states(episodes)
    if len(states) >= MANY and np.std([one[0] for one in states], axis=0).max() > MIN_START:
        where = _objects(images, states, first, differs, limit)
        if where.any():  # else what lies there is moved at once, or is never seen twice
            differs &= where
    pixels = float(np.median(differs.sum(axis=(1, 2))))
    strength = off.max(axis=0).clip(0, 255).astype(np.uint8)
    return _with_crop(camera, sizes.pop(), pixels, strength, differs.any(axis=0))


def _states(episodes: Sequence[Episode]) -> list[NDArray[np.float64]]:
    """Joints (T, D) of each episode as shares of their ranges, or of `LEAST_RANGE`."""
    joints = np.concatenate([episode.joints for episode in episodes])
    low, span = joints.min(0), np.maximum(np.ptp(joints, axis=0), LEAST_RANGE)
    return [(episode.joints - low) / span for episode in episodes]


def _objects(
    images: Sequence[NDArray[np.uint8]],
    states: Sequence[NDArray[np.float64]],
    first: NDArray[np.float32],
    differs: NDArray[np.bool_],
    limit: float,
) -> NDArray[np.bool_]:
    """Where (h, w) what differs, (E, h, w), is not the robot.

    :param images: (T, h, w, 3) per episode. :param states: (T, D). :param first: (E, h, w, 3).
    """
    looked = range(0, len(images), -(-len(images) // MOST))
    differs = differs[looked]

    def off(episode: int, other: int, tick: int) -> NDArray[np.bool_]:
        frame = np.asarray(images[other][min(tick, len(images[other]) - 1)], np.float32)
        change: NDArray[np.bool_] = np.abs(frame - first[episode]).max(-1) > limit
        return change

    for episode, found in zip(looked, differs, strict=True):
        for moment in STILL:
            found &= ~off(episode, episode, int(moment * len(images[episode])))
        likely = []
        for other in looked:
            early = states[other][: max(1, int(EARLY * len(states[other])))]
            apart = ((early - states[episode][0]) ** 2).sum(1)
            likely.append((float(apart.min()), other, int(apart.argmin())))
        for _, other, tick in sorted(one for one in likely if one[1] != episode)[:NEAREST]:
            for around in (max(0, tick - AROUND), tick, tick + AROUND):
                found &= off(episode, other, around)
        found[:] = _blobs(found)
    for array in images:
        release(array)
    square = np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)
    near = np.stack([cv2.dilate(one.astype(np.uint8), square) for one in differs])
    where: NDArray[np.bool_] = differs.any(0) & (near.sum(0) >= EPISODES)
    return where


def _blobs(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of the pixels (h, w) that belong to `BLOB` at least that touch each other."""
    _, names, parts, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8))
    large: NDArray[np.bool_] = (parts[:, cv2.CC_STAT_AREA] >= BLOB)[names]
    return pixels & large


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
