# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Every image encoding with an independent computation of its pixels.

docs/generate.py takes the table of docs/reference/data.md from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bag_making as make
import numpy as np


@dataclass(frozen=True)
class Case:
    """How one encoding is computed by hand.

    :param channels: letters per pixel, as they lie in memory.
    :param tolerance: largest difference, 8-bit steps: what rounding may cost.
    :param border: pixels at the edge where interpolation has freedom.
    """

    encoding: str
    channels: str
    about: str
    dtype: str = "u1"
    value_range: tuple[float, float] | None = None
    tolerance: int = 0
    border: int = 0

    @property
    def values_per_pixel(self) -> int:
        if self.encoding.startswith("bayer"):
            return 1
        return 2 if self.channels in ("UYVY", "YUYV") else len(self.channels)


CASES = (
    Case("rgb8", "RGB", "as it is"),
    Case("bgr8", "BGR", "channels swapped"),
    Case("rgba8", "RGBA", "alpha dropped"),
    Case("bgra8", "BGRA", "channels swapped, alpha dropped"),
    Case("mono8", "Y", "grey"),
    Case("8UC1", "Y", "grey"),
    Case("mono16", "Y", "grey; `value_range` or 0 … 65535", "u2"),
    Case("16UC1", "Y", "grey; needs `value_range`", "u2", (200.0, 5000.0)),
    Case("32FC1", "Y", "grey; needs `value_range`; NaN is black", "f4", (0.25, 2.0)),
    Case("bayer_rggb8", "RGGB", "bilinear", tolerance=1, border=1),
    Case("bayer_bggr8", "BGGR", "bilinear", tolerance=1, border=1),
    Case("bayer_gbrg8", "GBRG", "bilinear", tolerance=1, border=1),
    Case("bayer_grbg8", "GRBG", "bilinear", tolerance=1, border=1),
    Case("yuv422", "UYVY", "BT.601, studio range; even width", tolerance=2),
    Case("uyvy", "UYVY", "BT.601, studio range; even width", tolerance=2),
    Case("yuv422_yuy2", "YUYV", "BT.601, studio range; even width", tolerance=2),
    Case("yuyv", "YUYV", "BT.601, studio range; even width", tolerance=2),
)


def message_of(case: Case, layout: str, rng: np.random.Generator) -> tuple[Any, np.ndarray]:
    """An Image of random pixels in this encoding and layout, and the values in it."""
    height, width = 10, 14
    if case.dtype == "f4":
        values = rng.uniform(0.0, 2.5, (height, width)).astype(np.float32)
    else:
        top = np.iinfo(case.dtype).max if case.dtype == "u1" else 6000
        packed = case.values_per_pixel
        shape = (height, width) if packed == 1 else (height, width, packed)
        values = rng.integers(0, top + 1, shape).astype(case.dtype)
    stored = values.astype(np.dtype(case.dtype).newbyteorder(">" if layout[0] == "b" else "<"))
    rows = np.ascontiguousarray(stored).view(np.uint8).reshape(height, -1)
    if layout == "padded":
        noise = rng.integers(0, 256, (height, 6), np.uint8)
        rows = np.concatenate([rows, noise], axis=1)
    message = make.image(
        1,
        rows,
        case.encoding,
        width=width,
        step=rows.shape[1],
        is_bigendian=int(layout == "big-endian"),
    )
    return message, values


def expected_rgb(case: Case, values: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, computed here from the definition of the encoding."""
    if case.encoding.startswith("bayer"):
        return _demosaic(values, case.channels)
    if case.channels in ("UYVY", "YUYV"):
        return _yuv(values, case.channels)
    if case.channels == "Y":
        grey = values.astype(np.float64)
        if case.dtype != "u1":
            low, high = case.value_range or (0.0, 65535.0)
            grey = np.rint(np.clip((grey - low) / (high - low), 0, 1) * 255)
        return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    return values[..., [case.channels.index(letter) for letter in "RGB"]]


def _yuv(values: np.ndarray, order: str) -> np.ndarray:
    """ITU-R BT.601: Y in 16 … 235, U and V in 16 … 240 about 128, one pair per two pixels."""
    flat = values.reshape(len(values), -1, 4).astype(np.float64)
    u, v = flat[..., order.index("U")], flat[..., order.index("V")]
    luma = flat[..., [place for place, letter in enumerate(order) if letter == "Y"]]
    luma = 1.164 * np.maximum(luma.reshape(len(values), -1) - 16, 0)  # blacker than black
    u, v = np.repeat(u - 128, 2, axis=1), np.repeat(v - 128, 2, axis=1)
    rgb = [luma + 1.596 * v, luma - 0.813 * v - 0.391 * u, luma + 2.018 * u]
    return np.clip(np.rint(np.stack(rgb, axis=-1)), 0, 255).astype(np.uint8)


def _demosaic(values: np.ndarray, pattern: str) -> np.ndarray:
    """Bilinear: the mean of a colour's nearest samples, weighted 1 : 2 : 1 in each direction."""
    height, width = values.shape
    letters = np.array([[pattern[0], pattern[1]], [pattern[2], pattern[3]]])
    tiled = np.tile(letters, (height // 2 + 1, width // 2 + 1))[:height, :width]
    kernels = {
        "G": np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4,
        "R": np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4,
    }
    planes = []
    for letter in "RGB":
        samples = np.pad(np.where(tiled == letter, values, 0).astype(np.float64), 1)
        kernel = kernels.get(letter, kernels["R"])
        planes.append(
            sum(
                kernel[dy, dx] * samples[dy : dy + height, dx : dx + width]
                for dy in range(3)
                for dx in range(3)
            )
        )
    return np.clip(np.floor(np.stack(planes, axis=-1) + 0.5), 0, 255).astype(np.uint8)


def table() -> str:
    """Markdown: encoding, memory, what becomes of it."""
    lines = ["| `encoding` | bytes per pixel | in memory | becomes RGB |", "|---|---|---|---|"]
    for case in CASES:
        size = np.dtype(case.dtype).itemsize * case.values_per_pixel
        lines.append(f"| `{case.encoding}` | {size} | {case.channels} | {case.about} |")
    lines.append("| JPEG (`CompressedImage`) | | | decoded by OpenCV; orientation tags ignored |")
    lines.append("| PNG (`CompressedImage`) | | | exact; 16-bit grey like mono16 or 16UC1 |")
    return "\n".join(lines)
