# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Where the first images of the episodes differ, and how large that is for the network: what is
the same in all of them cannot tell it where the object lies.

Where the robot starts elsewhere in each episode, most of what differs is the robot. But the robot
moves off, and it looks the same in other episodes whenever it is in the same state. What lies
there does neither. So a pixel counts in an episode if it stays as it is for the first fifth, or
for less where something is gripped before, and differs from the images of other episodes in which
the robot's state is most like this one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.data.dataset import Episode, release
from sarnn_ros.spec import MIN_IMAGE_SIDE, CameraSpec, Crop, Spec
from sarnn_ros.streams.light import measure_lights

#: A pixel differs if a channel does by more than this, 0 … 255, and by so many times the noise.
MIN_PIXEL_DIFFERENCE, MIN_NOISE_MULTIPLE = 20.0, 6.0
#: Episodes in the most similar light with which each is compared, where the light differs.
ALIKE_EPISODES = 11
#: A proposed crop is so much larger than what differs, on each side; a share of what differs.
CROP_MARGIN = 0.25
#: A crop of more than this share of the image gains nothing.
MAX_CROP_SHARE = 0.5
#: The longer side of a cropped image is this at most, pixels.
CROPPED_SIDE = 64
#: First states that deviate between episodes by no more than this, a share of the joint's range,
#: are alike.
MIN_START_DEVIATION = 0.02
#: A joint that moves less than this, rad or m, counts as if it moved so much: it may be noise.
MIN_JOINT_RANGE = 0.01
#: When what lies still must look as at first; shares of an episode from the first motion on.
STILL_MOMENTS = (0.07, 0.13, 0.2)
#: Something may be gripped before. Then these times as early: the first of which at least this
#: share lies still of what does at the next, and this of what does at any. Of five tasks with
#: starts of their own it is 0.8 and 0.3 or more at once. Three and five times as long by a wait at
#: the end, their crops hold the same places, or more; before, the block of Fetch's pick-and-place
#: and the cube of gym-aloha's transfer were cut off.
STILL_FACTORS, MIN_STILL_SHARE = (1.0, 0.5, 0.25, 0.125), (0.7, 0.25)
#: Share of an episode in which the state most like another episode's first one is looked for.
COMPARED_SHARE = 0.5
#: A pixel must differ from those of so many other episodes, each for so many ticks before and
#: after the one with the most similar state.
COMPARED_EPISODES, COMPARED_TICKS = 6, 2
#: So many of such pixels must touch each other. What is left of the robot lies scattered.
MIN_BLOB_PIXELS = 3
#: So many episodes must have such pixels within so many pixels of each other. More would cut off
#: places where things seldom lie.
MIN_NEAR_EPISODES, NEAR_PIXELS = 2, 5
#: Of fewer episodes this would cut off such places, too (none of 25 episodes, 17 of 20 draws of
#: 10): then the robot is not told from what lies there.
MIN_EPISODES_TO_LEAVE_OUT_ROBOT = 20
#: Of more episodes so many are compared: the time grows with their square.
MAX_COMPARED_EPISODES = 100


@dataclass(frozen=True)
class Difference:
    """What tells the first images of one camera apart.

    :param pixels: how many pixels of the model's image differ, median over the episodes.
    :param strength: (h, w), 0 … 255: how much each pixel of it differs, at most.
    :param crop: a crop of the source image to what differs, with some margin; None if it would
        gain nothing.
    :param size: (width, height) of a model image for the crop.
    :param cropped_pixels: what `pixels` would then be.
    :param whole: why there is no crop, for a person; empty if there is one.
    """

    pixels: float
    strength: NDArray[np.uint8]
    crop: Crop | None = None
    size: tuple[int, int] = (0, 0)
    cropped_pixels: float = 0.0
    whole: str = ""


def difference(
    camera: CameraSpec,
    episodes: Sequence[Episode],
    places: Sequence[int],
    displaced: Sequence[Collection[str]] = (),
) -> Difference | None:
    """None if there is only one episode, or the sources differ in size.

    :param places: entries of the joint vector that say where the robot is.
    :param displaced: names of episodes in which the camera stood elsewhere, by place. They are
        compared among themselves: the background differs from that of the others, even if the
        displacement was undone, by parallax and at the borders.
    """
    sizes = {episode.source_sizes[camera.name] for episode in episodes}
    if len(episodes) < 2 or len(sizes) != 1:
        return None
    images = [episode.images[camera.name] for episode in episodes]
    pictures = np.stack([np.array(array[0]) for array in images])
    for array in images:
        release(array)
    elsewhere = [[one.name in names for one in episodes] for names in displaced]
    lights, first = in_even_light(pictures, elsewhere)
    off = off_median(first, lights, elsewhere)
    limit = difference_limit(off)
    differs = off > limit
    states = _states(episodes, places)
    if _starts_differ(states):
        where = _objects(images, states, first, differs, limit, lights)
        if where.any():  # else what lies there is moved at once, or is never seen twice
            differs &= where
    pixels = float(np.median(differs.sum(axis=(1, 2))))
    strength = off.max(axis=0).clip(0, 255).astype(np.uint8)
    return _with_crop(camera, sizes.pop(), pixels, strength, np.asarray(differs.any(axis=0)))


def in_even_light(
    first: NDArray[np.uint8], displaced: Sequence[Sequence[bool]] = ()
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """First images (E, h, w, 3) in the light of the median of their place, and the factors
    (E, 1, 1, 3) for that: another light says nothing of where an object lies."""
    lights = np.ones((len(first), 1, 1, 3), np.float32)
    for rows in _places(len(first), displaced):
        lights[rows, 0, 0] = measure_lights(list(first[rows]))
    return lights, first * lights


def _places(count: int, displaced: Sequence[Sequence[bool]]) -> list[NDArray[np.bool_]]:
    """Rows (E,) of each place of the camera in which episodes were recorded."""
    places = [np.array(rows, bool) for rows in displaced]
    usual = ~np.any([np.zeros(count, bool), *places], axis=0)
    return [rows for rows in (usual, *places) if rows.any()]


def difference_limit(off: NDArray[np.float32]) -> float:
    """How far off the median a pixel is that differs, of what `off_median` found."""
    return max(MIN_PIXEL_DIFFERENCE, MIN_NOISE_MULTIPLE * float(np.median(off)))


def off_median(
    first: NDArray[np.float32], lights: NDArray[np.float32], displaced: Sequence[Sequence[bool]]
) -> NDArray[np.float32]:
    """(E, h, w), how far each pixel of the images (E, h, w, 3) is off the median of its place, of
    all episodes or those in the most similar light: what is white in part was clipped, so it is
    not the same in even light.

    :param first, lights: of `in_even_light`.
    """
    off = np.zeros(first.shape[:3], np.float32)
    for rows in _places(len(first), displaced):
        images, light = first[rows], np.log(lights[rows, 0, 0]).mean(-1)
        median = np.median(images, axis=0)
        for row, image, own in zip(np.flatnonzero(rows), images, light, strict=True):
            if light.any():
                near = np.argsort(np.abs(light - own), kind="stable")
                median = np.median(images[near[:ALIKE_EPISODES]], axis=0)
            off[row] = np.abs(image - median).max(axis=-1)
    return off


def _states(episodes: Sequence[Episode], places: Sequence[int]) -> list[NDArray[np.float64]]:
    """Where the robot is (T, K) in each episode, as shares of the ranges, or of
    `MIN_JOINT_RANGE`."""
    found = [episode.joints[:, list(places)] for episode in episodes]
    every = np.concatenate(found)
    low, span = every.min(0), np.maximum(np.ptp(every, axis=0), MIN_JOINT_RANGE)
    return [(one - low) / span for one in found]


def _starts_differ(states: Sequence[NDArray[np.float64]]) -> bool:
    """Whether the robot starts elsewhere in each of enough episodes to leave it out."""
    if len(states) < MIN_EPISODES_TO_LEAVE_OUT_ROBOT:
        return False
    deviation = np.std([one[0] for one in states], axis=0)
    return bool((deviation > MIN_START_DEVIATION).any())


def _objects(
    images: Sequence[NDArray[np.uint8]],
    states: Sequence[NDArray[np.float64]],
    first: NDArray[np.float32],
    differs: NDArray[np.bool_],
    limit: float,
    lights: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Where (h, w) what differs, (E, h, w), is not the robot.

    :param images: (T, h, w, 3) per episode.
    :param states: (T, D).
    :param first: (E, h, w, 3), in even light. :param lights: by these factors (E, 1, 1, 3).
    """
    looked = range(0, len(images), -(-len(images) // MAX_COMPARED_EPISODES))
    differs = differs[looked]

    def changed(episode: int, other: int, tick: int) -> NDArray[np.bool_]:
        frame = np.asarray(images[other][min(tick, len(images[other]) - 1)], np.float32)
        off = np.abs(frame * lights[other] - first[episode])
        return np.asarray(off.max(-1) > limit)

    nearest = []  # how far the most similar state of another episode is
    for episode, found in zip(looked, differs, strict=True):
        likely = []
        for other in looked:
            early = states[other][: max(1, int(COMPARED_SHARE * len(states[other])))]
            apart = ((early - states[episode][0]) ** 2).sum(1)
            likely.append((float(apart.min()), other, int(apart.argmin())))
        others = sorted(one for one in likely if one[1] != episode)[:COMPARED_EPISODES]
        nearest.append(others[0][0])
        for _, other, tick in others:
            for around in (max(0, tick - COMPARED_TICKS), tick, tick + COMPARED_TICKS):
                found &= changed(episode, other, around)

    def tick_at(episode: int, share: float) -> int:
        """So much of the episode after the robot has begun to move."""
        away = ((states[episode] - states[episode][0]) ** 2).sum(1) > MIN_START_DEVIATION**2
        begin = max(0, int(away.argmax()) - 1)
        return begin + int(share * (len(away) - begin))

    def still(factor: float) -> NDArray[np.bool_]:
        found = differs.copy()
        for episode, one in zip(looked, found, strict=True):
            for moment in STILL_MOMENTS:
                one &= ~changed(episode, episode, tick_at(episode, factor * moment))
            one[:] = _blobs(one)
        return found

    def has_left(factor: float) -> bool:
        """Whether the robot has, of most episodes, gone as far as it was from others."""
        gone = []
        for episode in looked:
            then = states[episode][tick_at(episode, factor * STILL_MOMENTS[-1])]
            gone.append(((then - states[episode][0]) ** 2).sum())
        return bool(np.mean(np.array(gone) >= nearest) > 0.5)

    # Before, it hides nothing less than what lies still.
    factors = [
        factor for factor in STILL_FACTORS if factor == STILL_FACTORS[0] or has_left(factor)
    ]
    found = [still(factor) for factor in factors]
    left = _before_anything_is_gripped(found)
    for array in images:
        release(array)
    square = np.ones((2 * NEAR_PIXELS + 1, 2 * NEAR_PIXELS + 1), np.uint8)
    near = np.stack([cv2.dilate(one.astype(np.uint8), square) for one in left])
    where: NDArray[np.bool_] = left.any(0) & (near.sum(0) >= MIN_NEAR_EPISODES)
    return where


def _before_anything_is_gripped(still: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Of what lies still (E, h, w), by earlier and earlier moments, the first that is not much
    less than at any earlier ones; nothing if that is in few episodes, and later there is less."""
    sizes = [int(one.sum()) for one in still]
    next_share, any_share = MIN_STILL_SHARE
    chosen = 0
    while chosen < len(still) - 1 and sizes[chosen] < max(
        next_share * sizes[chosen + 1], any_share * max(sizes)
    ):
        chosen += 1
    rare = still[chosen].any((1, 2)).mean() < 0.5
    return np.zeros_like(still[0]) if chosen and rare else still[chosen]


def _blobs(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of the pixels (h, w) of which at least `MIN_BLOB_PIXELS` touch each other."""
    _, names, parts, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8))
    large: NDArray[np.bool_] = (parts[:, cv2.CC_STAT_AREA] >= MIN_BLOB_PIXELS)[names]
    return pixels & large


def cropped(camera: CameraSpec, found: Difference | None) -> CameraSpec | None:
    """The camera with the crop and the size that are proposed; None if none are."""
    if found is None or found.crop is None:
        return None
    width, height = found.size
    return camera.model_copy(update={"crop": found.crop, "width": width, "height": height})


def crop_cameras(spec: Spec, differences: Sequence[Difference | None]) -> Spec:
    """The spec with the cameras cropped that have no crop of their own, where one is proposed.

    :param differences: of its cameras, see `difference`.
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
        return Difference(pixels, strength, whole="its first images are alike")
    now = camera.crop or Crop(x=0, y=0, width=source[0], height=source[1])
    spans = []
    for axis, count, start, length in ((0, camera.width, now.x, now.width),
                                       (1, camera.height, now.y, now.height)):  # fmt: skip
        hit = np.flatnonzero(differs.any(axis=axis))
        low, high = hit[0] / count, (hit[-1] + 1) / count
        margin = CROP_MARGIN * (high - low) + 1 / count
        left = round(start + max(0.0, low - margin) * length)
        right = round(start + min(1.0, high + margin) * length)
        left = max(start, min(left, start + length - MIN_IMAGE_SIDE))
        spans.append((left, max(MIN_IMAGE_SIDE, right - left)))
    (x, width), (y, height) = spans
    share = width * height / (now.width * now.height)
    if share > MAX_CROP_SHARE:
        why = f"what differs between its first images is, with a margin, {share:.0%} of it"
        return Difference(pixels, strength, whole=why)
    scale = min(1.0, CROPPED_SIDE / max(width, height))
    size = max(MIN_IMAGE_SIDE, round(width * scale)), max(MIN_IMAGE_SIDE, round(height * scale))
    before = (camera.width / now.width) * (camera.height / now.height)
    after = (size[0] / width) * (size[1] / height)
    if after <= before:
        return Difference(pixels, strength, whole="the camera has no more pixels to show there")
    crop = Crop(x=x, y=y, width=width, height=height)
    return Difference(pixels, strength, crop, size, pixels * after / before)
