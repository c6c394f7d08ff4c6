# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""How much darker or brighter a camera's picture is than its reference, and undoing it. NumPy and
OpenCV only.

One factor per channel: less light, a shorter exposure, another white balance. What a shadow covers
it does not know: then it is the factor of the larger part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sarnn_ros.streams.registration import Image, Matrix, Reference, resized, undo

#: Pictures are compared at this width, pixels: so edges that do not quite fit count for little.
WIDTH = 80
#: Intensities, 0 … 255, outside of which a pixel tells nothing of the light, and the share of
#: the pixels that must tell of it.
DARKEST, BRIGHTEST, MIN_SHARE = 6, 247, 0.1
#: Of a reference that tells of it by this share, or more, a picture tells, too, in a usual light.
USUAL_SHARE = 0.3
#: Light that differs by less than this, as a share of it, is taken for the same.
ALIKE = 0.02

#: In another light at least this share of the pixels, of each channel, is off its factor by less
#: than so much, in log intensity: 0.87 to 1.0 of eight pictures in half, a quarter, double or warm
#: light, 0.53 to 0.74 where a wall has another colour, 0.14 to 0.74 of grey or swapped colours.
#: Factors of channels that differ less than this are a shadow's.
MIN_AGREES, MAX_OFF, MAX_SPREAD = 0.8, 0.15, 1.15
#: A scene has colours if their logarithmic ratios deviate by so much, and none by so little; red
#: and blue are swapped if theirs are anticorrelated so.
COLOURFUL, GREY, SWAPPED, EPS = 0.1, 0.02, -0.7, 1e-12
#: So they are of a scene in one colour, as of wood, if its light seems to have another colour by
#: so much, and that of the swapped picture by no more than this: another light hardly does that.
OTHER_COLOUR, SAME_COLOUR = 1.3, 1.03

Factors = NDArray[np.float64]


def measure_light(image: Image, reference: Reference, matrix: Matrix) -> Factors | None:
    """By which the reference is brighter, (3,) RGB: the median where the demonstrations look
    alike. None if too much is black or saturated.

    :param image: uint8 (h, w, 3) RGB, by `registration.shrink`.
    :param matrix: where it lies, `Registration.matrix`.
    """
    now, then, tells = _both(image, reference, matrix)
    return _factors(now, then, tells) if _enough(tells) else None


def measure_offset(image: Image, reference: Reference, matrix: Matrix) -> float:
    """By how many levels the picture is brighter than the reference, the median where the
    demonstrations look alike; 0 if that is nowhere. For pictures of distances.

    :param image, matrix: as for `measure_light`.
    """
    now, then, _ = _both(image, reference, matrix)
    off = (now.astype(np.float64) - then)[_alike(reference)[..., 0]]
    return float(np.median(off)) if off.size else 0.0


def compare_colours(
    image: Image, reference: Reference, matrix: Matrix
) -> Literal["alike", "grey", "swapped", "unlike"]:
    """Whether a picture shows the reference's colours, in whatever light: grey ones, red and blue
    swapped, or something large in another colour. That is no light, which is one factor per
    channel, and a shadow is one factor for all.

    :param image, matrix: as for `measure_light`.
    """
    now, then, tells = _both(image, reference, matrix)
    if not _enough(tells):
        return "alike"
    every, swapped = np.asarray(tells.all(-1)), now[..., ::-1]
    # Red to blue, and to green, of each pixel: by another light these move by a constant.
    hues = [
        np.log(one[every].astype(np.float64)) @ [[1, 1], [0, -1], [-1, 0]] for one in (now, then)
    ]
    spread_now, spread_then = (one.std(axis=0) if len(one) else np.zeros(2) for one in hues)
    if spread_then.max() >= COLOURFUL:
        if spread_now.max() <= GREY:
            return "grey"
        blue_now, blue_then = (one[:, 0] - one[:, 0].mean() for one in hues)
        along = (blue_now * blue_then).mean() / (spread_now[0] * spread_then[0] + EPS)
        if spread_then[0] >= COLOURFUL and along <= SWAPPED and _is_light(swapped, then, tells):
            return "swapped"
    if every.mean() >= MIN_SHARE:
        whole = np.repeat(every[..., None], 3, -1)
        seems, as_if = (_spread(_factors(one, then, whole)) for one in (now, swapped))
        if seems >= OTHER_COLOUR and as_if <= SAME_COLOUR:
            return "swapped"
    return "alike" if _is_light(now, then, tells) else "unlike"


def _both(
    image: Image, reference: Reference, matrix: Matrix
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    """The picture where it lies, the reference, and where both tell of the light: (h, w, 3)."""
    there = undo(image, resized(matrix, image.shape[1] / reference.source[0]))
    now, then = _small(there), _small(reference.image)
    return now, then, _tells(now) & _tells(then) & _alike(reference)


def _enough(tells: NDArray[np.bool_]) -> bool:
    return bool(tells.mean((0, 1)).min() >= MIN_SHARE)


def _is_light(now: NDArray[Any], then: NDArray[Any], tells: NDArray[np.bool_]) -> bool:
    factors = _factors(now, then, tells)
    if _spread(factors) <= MAX_SPREAD:
        return True
    off = np.abs(np.log(np.maximum(then, 1.0) / np.maximum(now, 1.0)) - np.log(factors))
    agrees = min(float((off[tells[..., one], one] < MAX_OFF).mean()) for one in range(3))
    return agrees >= MIN_AGREES


def tells_light(reference: Reference) -> bool:
    """Whether the light of a camera can be told by its reference, so that a picture of which
    `measure_light` says nothing is in quite another light."""
    tells = _tells(_small(reference.image)) & _alike(reference)
    return bool(tells.mean((0, 1)).min() >= USUAL_SHARE)


def _alike(reference: Reference) -> NDArray[np.bool_]:
    """Where the demonstrations look alike, (h, w, 1)."""
    alike = _small(255 * reference.mask.astype(np.uint8)) == 255
    return np.asarray(alike[..., None])


def measure_lights(images: Sequence[Image]) -> Factors:
    """Factors (n, 3), RGB, that bring each picture to the light of their median. 1 where it hardly
    differs, or too much is black or saturated.

    :param images: uint8 (h, w, 3) RGB, of one camera in its place.
    """
    small = np.stack([_small(one) for one in images])
    then = np.median(small.astype(np.float32), axis=0)
    found = np.ones((len(small), 3))
    for row, now in enumerate(small):
        tells = _tells(now) & _tells(then)
        if _enough(tells):
            factors = _factors(now, then, tells)
            if np.abs(factors - 1.0).max() > ALIKE:
                found[row] = factors
    return found


def in_one_light(images: Sequence[Image]) -> list[Image]:
    """The pictures in the light of their median, see `measure_lights`."""
    return [relight(*one) for one in zip(images, measure_lights(images), strict=True)]


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = WIDTH, max(1, round(image.shape[0] * WIDTH / image.shape[1]))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _tells(image: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((image > DARKEST) & (image < BRIGHTEST))


def _factors(now: NDArray[Any], then: NDArray[Any], tells: NDArray[np.bool_]) -> Factors:
    ratio = then / np.maximum(now, 1.0)
    return np.array([np.median(ratio[tells[..., one], one]) for one in range(3)])


def _spread(factors: Factors) -> float:
    return float(factors.max() / factors.min())


def relight(image: Image, factors: Factors) -> Image:
    """The picture so many times as bright, uint8 (h, w, 3) RGB; what would be brighter than white
    is white."""
    curves = np.rint(np.arange(256.0)[:, None] * factors).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, curves.reshape(1, 256, 3)), np.uint8)
