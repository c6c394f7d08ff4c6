# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Camera drift: has the light changed since the demonstrations? NumPy only.

Mean brightness and colour of the model's images over a while, against those of the training data
(`Envelope.cameras`). Colour is each channel's share of the light, so that brightness alone does
not move it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sarnn_ros.policy.directory import CameraEnvelope

Vector = NDArray[np.float64]

#: About so many pixels of an image, evenly spread, stand for all of it.
SAMPLED_PIXELS = 1024
#: Brightness within so many standard deviations of the training's mean is no drift.
USUAL_DEVIATIONS = 3.0
#: The share of a channel darker than this (0 to 255) is noise, and is left out.
MIN_BRIGHTNESS = 1.0


@dataclass(frozen=True)
class Drift:
    """What a camera shows over the window, beside what it showed in training.

    :param color: mean R, G, B in [0, 255].
    :param trained: likewise.
    :param brightness_change: (live - trained) / trained mean brightness.
    :param color_change: largest relative change of a channel's share of the light.
    :param usual: the brightness is one that training saw.
    """

    color: Vector
    trained: Vector
    brightness_change: float
    color_change: float
    usual: bool


class DriftMonitor:
    """Takes one model image per camera and tick. For one thread.

    :param window: ticks that the mean is taken over; with fewer there is no result.
    """

    def __init__(self, cameras: Mapping[str, CameraEnvelope], *, window: int) -> None:
        self._cameras = cameras
        self._window = window
        self.reset()

    def reset(self) -> None:
        self._colors: dict[str, deque[Vector]] = {
            name: deque(maxlen=self._window) for name in self._cameras
        }

    def see(self, images: Mapping[str, NDArray[np.uint8]]) -> dict[str, Drift]:
        """Enter one tick.

        :param images: uint8 RGB (H, W, 3) by camera, after crop and resize, as the policy sees
            them.
        :returns: by camera; one whose window is not full yet is missing.
        """
        found = {}
        for name, colors in self._colors.items():
            colors.append(mean_color(images[name]))
            if len(colors) == self._window:
                found[name] = _compare(np.mean(colors, axis=0), self._cameras[name])
        return found


def mean_color(image: NDArray[np.uint8]) -> Vector:
    """Mean R, G, B (3,) over some `SAMPLED_PIXELS` pixels of a uint8 image (H, W, 3)."""
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / SAMPLED_PIXELS)))
    color: Vector = image[step // 2 :: step, step // 2 :: step].mean(axis=(0, 1))
    return color


def _compare(color: Vector, trained: CameraEnvelope) -> Drift:
    before = np.array(trained.color_mean)
    change = float(color.mean()) - trained.brightness_mean
    shares, shares_before = (
        color / max(color.sum(), MIN_BRIGHTNESS),
        before / max(before.sum(), MIN_BRIGHTNESS),
    )
    bright = before > MIN_BRIGHTNESS
    changes = np.abs(shares - shares_before)[bright] / shares_before[bright]
    return Drift(
        color=color,
        trained=before,
        brightness_change=change / max(trained.brightness_mean, MIN_BRIGHTNESS),
        color_change=float(changes.max(initial=0.0)),
        usual=abs(change) <= USUAL_DEVIATIONS * trained.brightness_std,
    )
