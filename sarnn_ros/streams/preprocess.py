# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""From decoded arrays to what the model sees, and back. The same functions everywhere.

Images: crop, resize, scale, in that order. Joints: one linear map per joint. No messages, no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarnn_ros.errors import SarnnError, SpecError
from sarnn_ros.spec import CameraSpec, Range
from sarnn_ros.streams.light import Factors, relight
from sarnn_ros.streams.registration import Matrix, undo

#: A joint that moves less than this, rad or m, in all of training gets no amplification of its
#: noise: it maps as if it had moved this much.
MIN_RANGE = 1e-3
#: 1/255, exact in float32.
_UNIT = float(np.float32(1 / 255))


def check_crop(
    camera: CameraSpec, width: int, height: int, error: type[SarnnError] = SpecError
) -> None:
    """:raises SarnnError: of the type `error`: the crop exceeds the source image of this size."""
    crop = camera.crop
    if crop is not None and (crop.x + crop.width > width or crop.y + crop.height > height):
        raise error(
            f"crop x={crop.x} y={crop.y} width={crop.width} height={crop.height} exceeds the "
            f"image of {width} x {height} pixels",
            where=f"camera '{camera.name}' ({camera.topic})",
            remedy="correct the crop in the spec, or the camera's resolution",
        )


def crop_resize(
    image: NDArray[np.uint8],
    camera: CameraSpec,
    moved: Matrix | None = None,
    light: Factors | None = None,
) -> NDArray[np.uint8]:
    """Source image to model image.

    Area interpolation where the image shrinks in both directions (no aliasing), else linear, or
    linear always: `CameraSpec.interpolation`.

    :param image: uint8 (H, W, 3).
    :param moved: (3, 3), from its pixels to those of the camera in its place
        (`Registration.matrix`), which is undone first; None: it is in its place.
    :param light: (3,), by which the model's image is made brighter (`measure_light`), last.
    :return: uint8 (camera.height, camera.width, 3), C-contiguous.
    :raises SpecError: the crop exceeds the image.
    """
    height, width = image.shape[:2]
    check_crop(camera, width, height)
    crop = camera.crop
    if moved is not None:
        image = undo(image, moved)
    if crop is not None:
        image = image[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
        height, width = crop.height, crop.width
    if (width, height) == (camera.width, camera.height):
        small = np.ascontiguousarray(image)
    else:
        shrinks = camera.width <= width and camera.height <= height
        area = shrinks and camera.interpolation == "area"
        how = cv2.INTER_AREA if area else cv2.INTER_LINEAR
        small = np.asarray(
            cv2.resize(image, (camera.width, camera.height), interpolation=how), np.uint8
        )
    return small if light is None else relight(small, light)


def unit_images(images: Any) -> Any:
    """uint8 pixels to float32 in [0, 1], channels first: the first half of `scale_images`.

    One multiplication by a float32 constant and no division, because a GPU divides by
    multiplying with the reciprocal. So every device gives the same bits.

    :param images: NumPy array or torch tensor, uint8 (…, H, W, 3).
    :return: the same kind, float32 (…, 3, H, W). An array is C-contiguous; a tensor keeps its
        memory channels-last, which convolutions on the CPU are faster with.
    """
    channels_first = images.swapaxes(-1, -3).swapaxes(-1, -2)
    if isinstance(channels_first, np.ndarray):
        scaled = channels_first.astype(np.float32, order="C")
    else:
        scaled = channels_first.float()
    scaled *= _UNIT
    return scaled


def to_range(images: Any, image_range: Range) -> Any:
    """float32 [0, 1] to float32 `image_range`: the second half of `scale_images`.

    Training augments between the two halves.
    """
    low, span = image_range[0], image_range[1] - image_range[0]
    if (low, span) == (0.0, 1.0):
        return images
    # Rounded to float32 here, so that no library has to.
    scaled = images * float(np.float32(span))
    scaled += float(np.float32(low))
    return scaled


def scale_images(images: Any, image_range: Range) -> Any:
    """uint8 (…, H, W, 3) to float32 (…, 3, H, W) in `image_range`: what enters the network.

    For arrays and tensors alike, with the same bits; see `unit_images`.
    """
    return to_range(unit_images(images), image_range)


def unscale_images(images: NDArray[Any], image_range: Range) -> NDArray[np.uint8]:
    """The inverse of `scale_images`, rounded; values beyond the range are clipped."""
    low, high = image_range
    values = (np.asarray(images, np.float64) - low) * (255.0 / (high - low))
    clipped = np.clip(np.nan_to_num(values), 0.0, 255.0)
    return np.ascontiguousarray(np.moveaxis(np.rint(clipped).astype(np.uint8), -3, -1))


def _bounds(
    arrays: Iterable[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest of each column of all (T, D) arrays, each (D,)."""
    every = list(arrays)
    low = np.min([array.min(axis=0) for array in every], axis=0)
    return low, np.max([array.max(axis=0) for array in every], axis=0)


@dataclass(frozen=True, eq=False)
class JointNormaliser:
    """Maps joint j from [minimum[j], maximum[j]] to `joint_range`, linearly, without clipping.

    :param minimum: (D,) SI units.
    :param maximum: (D,), larger than `minimum`.
    """

    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    joint_range: Range

    def __init__(self, minimum: ArrayLike, maximum: ArrayLike, joint_range: Sequence[float]):
        low = np.array(minimum, dtype=np.float64)
        high = np.array(maximum, dtype=np.float64)
        if low.ndim != 1 or low.shape != high.shape or len(joint_range) != 2:
            raise ValueError(f"bounds of shapes {low.shape} and {high.shape}")
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError("bounds must be finite")
        # Bounds may come from elsewhere: a joint that never moved must not divide by zero.
        margin = np.where(high - low < np.finfo(np.float64).tiny, MIN_RANGE / 2, 0.0)
        low, high = low - margin, high + margin
        object.__setattr__(self, "minimum", low)
        object.__setattr__(self, "maximum", high)
        object.__setattr__(self, "joint_range", (float(joint_range[0]), float(joint_range[1])))

    def normalise(self, joints: NDArray[np.float64]) -> NDArray[np.float32]:
        """(…, D) SI units to float32 (…, D)."""
        low, high = self.joint_range
        unit = (np.asarray(joints, np.float64) - self.minimum) / (self.maximum - self.minimum)
        return (unit * (high - low) + low).astype(np.float32)

    def denormalise(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The inverse of `normalise`, (…, D) to float64 (…, D) in SI units."""
        low, high = self.joint_range
        unit = (np.asarray(values, np.float64) - low) / (high - low)
        return unit * (self.maximum - self.minimum) + self.minimum

    @classmethod
    def from_episodes(
        cls,
        joints: Iterable[NDArray[np.float64]],
        joint_range: Range,
        everything: Iterable[NDArray[np.float64]] = (),
    ) -> JointNormaliser:
        """Bounds of the given (T, D) arrays.

        A joint that moved less than `MIN_RANGE` gets bounds of that width about its middle.

        :param everything: also of those that are not trained on. A joint that moves only there
            gets its bounds there: else it would leave them a hundredfold.
        """
        low, high = _bounds(joints)
        if arrays := list(everything):
            lowest, highest = _bounds(arrays)
            only_there = (high - low < MIN_RANGE) & (highest - lowest >= MIN_RANGE)
            low, high = np.where(only_there, (lowest, highest), (low, high))
        margin = np.maximum(0.0, (MIN_RANGE - (high - low)) / 2)
        return cls(low - margin, high + margin, joint_range)

    @classmethod
    def from_eipl_bounds(cls, bounds: ArrayLike, joint_range: Range) -> JointNormaliser:
        """From EIPL's `joint_bounds.npy`.

        :param bounds: (2, D) minimum and maximum, or (3, D) mean and then minimum and maximum
            of what is left when the mean is taken off (`get_bounds`).
        """
        array = np.asarray(bounds, dtype=np.float64)
        if array.ndim != 2 or array.shape[0] not in (2, 3):
            raise ValueError(f"EIPL's bounds have shape (2, D) or (3, D), found {array.shape}")
        offset = array[0] if len(array) == 3 else 0.0
        return cls(offset + array[-2], offset + array[-1], joint_range)


def eipl_bounds(
    joints: Iterable[NDArray[np.float64]], joint_range: Range, *, clip: float = 0.2
) -> NDArray[np.float64]:
    """EIPL's `get_mean_minmax` and `get_bounds`, (3, D): mean, min − mean, max − mean.

    Where max − min is less than `clip`, both move outward by ((vmax − vmin) − clip) / 2: small
    motions stay small instead of filling the range.
    """
    stacked = np.concatenate(list(joints))
    mean = stacked.mean(axis=0)
    low, high = (stacked - mean).min(axis=0), (stacked - mean).max(axis=0)
    margin = np.where(high - low < clip, ((joint_range[1] - joint_range[0]) - clip) / 2, 0.0)
    return np.stack([mean, low - margin, high + margin])
