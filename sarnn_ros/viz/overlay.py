# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Draws attention points over the camera's image, and a status strip below it. OpenCV and NumPy
only; no ROS. Images are RGB uint8 (H, W, 3).

For an operator `draw_marks`: a ring round what the network looks at. For who studies a policy
`draw_overlay`: each point has its own hue, the same in every image of a policy; a filled disc is
where the network looks now (encoder), a ring where it expects to look next (decoder).
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Level: TypeAlias = Literal["fine", "waiting", "faulted"]

#: A smaller image is enlarged, pixels of its shorter side.
MIN_SIDE = 256
#: Earlier attention points that are drawn as a trail, in ticks.
TRAIL = 12
#: Points that stayed within this share of the image's shorter side of each other, for so many
#: ticks, follow the same thing.
SAME_THING_DISTANCE, SAME_TICKS = 0.07, 5
#: A line that is too long is written smaller, down to this part of the usual size.
SMALLEST = 0.6
#: cv2 takes coordinates in fixed point with this many fractional bits.
_SHIFT = 4


def point_colors(count: int) -> list[tuple[int, int, int]]:
    """Hues spread evenly over the circle: RGB, 0 to 255."""
    colors = [colorsys.hsv_to_rgb(index / max(count, 1), 0.9, 1.0) for index in range(count)]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colors]


def draw_overlay(
    image: NDArray[np.uint8],
    encoder: NDArray[np.float64],
    decoder: NDArray[np.float64] | None = None,
    *,
    trails: NDArray[np.float64] | None = None,
    min_side: int = MIN_SIDE,
) -> NDArray[np.uint8]:
    """A copy of the image with the points drawn on it.

    :param image: RGB uint8 (H, W, 3); a small one is enlarged by a whole factor, so that the
        points can be told apart, until its shorter side has at least `min_side` pixels.
    :param encoder: (k, 2), x and y in pixels of `image`.
    :param decoder: (k, 2) likewise, or None.
    :param trails: (t, k, 2) earlier encoder points, oldest first, or None.
    :returns: RGB uint8.
    """
    canvas, factor = _enlarged(image, min_side)
    radius = max(3, min(canvas.shape[:2]) // 60)

    def place(points: NDArray[np.float64]) -> NDArray[np.int32]:
        return _fixed(_scaled(points, factor))

    colors = point_colors(len(encoder))
    if trails is not None and len(trails) > 1:
        paths = place(trails)
        for index, color in enumerate(colors):
            path = np.ascontiguousarray(paths[:, index])
            cv2.polylines(canvas, [path], False, color, 1, cv2.LINE_AA, _SHIFT)
    for (x, y), color in zip(place(encoder).tolist(), colors):
        cv2.circle(canvas, (x, y), radius << _SHIFT, color, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, (x, y), radius << _SHIFT, (255, 255, 255), 1, cv2.LINE_AA, _SHIFT)
    if decoder is not None:
        for (x, y), color in zip(place(decoder).tolist(), colors):
            ring = (radius + 2) << _SHIFT
            cv2.circle(canvas, (x, y), ring, color, 2, cv2.LINE_AA, _SHIFT)
    return canvas


def _enlarged(image: NDArray[np.uint8], min_side: int) -> tuple[NDArray[np.uint8], int]:
    """A copy, and by which factor it is larger."""
    factor = max(1, -(-min_side // min(image.shape[:2])))
    canvas = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(canvas), factor


def _scaled(points: ArrayLike, factor: int) -> NDArray[np.float64]:
    # Pixel centres are integers on both sides of the enlargement.
    return np.asarray((np.asarray(points, np.float64) + 0.5) * factor - 0.5)


def _fixed(points: ArrayLike) -> NDArray[np.int32]:
    return np.round(np.asarray(points) * (1 << _SHIFT)).astype(np.int32)


#: Background, text and lines of the strip, RGB.
_GROUND, _INK, _FAINT = (24, 24, 24), (235, 235, 235), (110, 110, 110)
_COLORS = {"fine": (90, 200, 90), "waiting": (255, 180, 40), "faulted": (255, 80, 70)}


def draw_marks(
    image: NDArray[np.uint8],
    tracks: NDArray[np.float64],
    health: float | None,
    warn_above: float,
    *,
    frame: NDArray[np.float64] | None = None,
) -> NDArray[np.uint8]:
    """A copy of the image with a ring round each thing that the network looks at: the thicker, the
    more points follow it. A small, thin ring is a point that follows nothing that others do.
    Green: what comes is as expected; amber: it is not; white: unknown.

    :param image: as for `draw_overlay`, as is what is returned.
    :param tracks: (t, k, 2) encoder points of the last ticks, oldest first, x and y in pixels.
    :param health: the score, or None where it is unknown; amber above `warn_above`.
    :param frame: (4, 2) corners of what the network is shown, clockwise, x and y in pixels.
    """
    canvas, factor = _enlarged(image, MIN_SIDE)
    unit = min(canvas.shape[:2]) / 256
    color = _INK if health is None else _COLORS[_health_level(health, warn_above)]
    thin = max(1, round(unit))
    if frame is not None:
        corners = np.rint(_scaled(frame, factor)).astype(np.int32)
        for width, shade in ((3 * thin, _GROUND), (thin, _INK)):
            cv2.polylines(canvas, [corners], True, shade, width)
    recent = _scaled(tracks[-SAME_TICKS:], factor)
    groups = same_things(recent, SAME_THING_DISTANCE * min(canvas.shape[:2]))
    for members in sorted(groups, key=len):
        points = recent[-1, members]
        middle = points.mean(axis=0)
        reach = float(np.linalg.norm(points - middle, axis=1).max())
        alone = len(members) == 1
        radius = reach + (5 if alone else 6) * unit
        width = max(2, thin if alone else round((1 + len(members) / 6) * unit))
        x, y = _fixed(middle).tolist()
        ring = round(radius * (1 << _SHIFT))
        cv2.circle(canvas, (x, y), ring, color, width, cv2.LINE_8, _SHIFT)
        # A dark edge, so that the ring is seen on any ground. It is smooth; a thick smooth ring
        # would cost several times as much.
        for edge in (-(width + 2), width + 2):
            beyond = ring + (edge << _SHIFT) // 2
            cv2.circle(canvas, (x, y), beyond, _GROUND, 1, cv2.LINE_AA, _SHIFT)
    return canvas


def same_things(tracks: NDArray[np.float64], near: float) -> list[NDArray[np.intp]]:
    """The points that follow the same thing: which stayed within `near` of each other at every
    tick, and of others that did.

    :param tracks: (t, k, 2).
    :returns: indices of points, each in one group.
    """
    count = tracks.shape[1]
    x, y = tracks[..., 0], tracks[..., 1]
    apart = np.hypot(x[:, :, None] - x[:, None], y[:, :, None] - y[:, None]).max(axis=0)
    group = np.arange(count)
    for _ in range(count):  # at most: each takes the lowest number among its neighbours
        lowest = np.where(apart <= near, group, count).min(axis=1, initial=count)
        if (lowest == group).all():
            break
        group = lowest
    return [np.flatnonzero(group == one) for one in np.unique(group)]


def _health_level(health: float, warn_above: float) -> Level:
    return "waiting" if warn_above and health > warn_above else "fine"


#: The bar ends at so many times the threshold.
_BAR_END = 2.0


def with_status(
    image: NDArray[np.uint8],
    text: str,
    level: Level,
    health: float | None,
    warn_above: float,
    name: str = "",
) -> NDArray[np.uint8]:
    """The image with a strip below: what the node does, and whether what comes is as expected,
    with a bar of the prediction health. "fine" is amber where the health is not.

    :param health: the score, or None where it is unknown.
    :param warn_above: marked on the bar, in its middle; the bar turns amber there. 0: no mark,
        the middle is 1.
    :param name: of the policy; left out where there is no room for it beside the text.
    """
    width, scale = image.shape[1], _scale(image)
    row = round(44 * scale)
    strip = np.full((2 * row, width, 3), _GROUND, np.uint8)
    well: Level = "fine" if health is None else _health_level(health, warn_above)
    color = _COLORS[well if level == "fine" else level]
    fitting = _fitting(text, image, row // 3)
    _write(strip, text, (row // 3, round(0.7 * row)), fitting, color)
    taken, needed = _width(text, fitting), _width(name, scale)
    if taken + needed + row <= width:
        _write(strip, name, (width - row // 3 - needed, round(0.7 * row)), scale, _FAINT)
    label, longest = "health unknown", "as expected 00.00"
    if health is not None:
        said = "health" if not warn_above else "as expected" if well == "fine" else "unexpected"
        label = f"{said} {min(health, 99.0):.2f}"
    _write(strip, label, (row // 3, round(1.7 * row)), scale, _INK)
    left = 2 * (row // 3) + _width(longest, scale)
    right = width - row // 3
    middle = (left + right) // 2
    if right > left:
        top, bottom = round(1.3 * row), round(1.75 * row)
        cv2.rectangle(strip, (left, top), (right, bottom), _FAINT, 1)
        if health is not None:
            share = health / (_BAR_END * (warn_above or 1.0))
            end = left + round((right - left) * min(share, 1.0))
            cv2.rectangle(strip, (left, top), (end, bottom), _COLORS[well], -1)
        if warn_above:
            cv2.line(strip, (middle, top - 2), (middle, bottom + 2), _INK, 1)
    return np.asarray(np.vstack([image, strip]), np.uint8)


_GHOST_SHARE = 0.4


def with_ghost(image: NDArray[np.uint8], ghost: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image with another one shining through, to bring a camera back by hand: where it fits,
    nothing is seen twice.

    :param image, ghost: uint8 (H, W, 3) RGB. A ghost of another size is left out.
    """
    drawn = image.copy()
    if ghost.shape == image.shape:
        cv2.addWeighted(image, 1.0 - _GHOST_SHARE, ghost, _GHOST_SHARE, 0.0, dst=drawn)
    return drawn


def with_lines(image: NDArray[np.uint8], lines: Sequence[str]) -> NDArray[np.uint8]:
    """A copy of the image with lines of text at its upper left, as large as all of them fit."""
    drawn, margin = image.copy(), round(15 * _scale(image))
    scale = min((_fitting(line, image, margin) for line in lines), default=1.0)
    for row, line in enumerate(lines):
        place = margin, round((31 + 30 * row) * scale)
        for color, wider in ((_GROUND, 3), (_COLORS["waiting"], 0)):
            _write(drawn, line, place, scale, color, wider)
    return drawn


def beside(
    left: NDArray[np.uint8], right: NDArray[np.uint8], captions: tuple[str, str]
) -> NDArray[np.uint8]:
    """Two images of one height side by side, each with its caption below."""
    tiles = []
    for image, caption in zip((left, right), captions, strict=True):
        scale = _scale(image)
        strip = np.full((round(44 * scale), image.shape[1], 3), _GROUND, np.uint8)
        _write(strip, caption, (round(15 * scale), round(31 * scale)), scale, _INK)
        tiles.append(np.vstack([image, strip]))
    gap = np.full((len(tiles[0]), 4, 3), _GROUND, np.uint8)
    return np.asarray(np.hstack([tiles[0], gap, tiles[1]]), np.uint8)


def _scale(image: NDArray[np.uint8]) -> float:
    return float(np.clip(image.shape[1] / 640, 0.45, 1.5))


def _width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(_ascii(text), *_font(scale))[0][0])


def _fitting(text: str, image: NDArray[np.uint8], margin: int) -> float:
    """At which scale a line ends within the image, if that can be read at all."""
    scale, room = _scale(image), image.shape[1] - 2 * margin
    return max(SMALLEST * scale, scale * min(1.0, room / max(_width(text, scale), 1)))


def _ascii(text: str) -> str:
    """The font has nothing else."""
    return text.replace("°", " deg").encode("ascii", "replace").decode()


def _write(
    canvas: NDArray[np.uint8],
    text: str,
    place: tuple[int, int],
    scale: float,
    color: tuple[int, int, int],
    wider: int = 0,
) -> None:
    """Write a line at (x, y) of its base, cut off where the canvas ends."""
    font, size, weight = _font(scale)
    cv2.putText(canvas, _ascii(text), place, font, size, color, weight + wider, cv2.LINE_AA)


def _font(scale: float) -> tuple[int, float, int]:
    return cv2.FONT_HERSHEY_SIMPLEX, 0.75 * scale, max(1, round(1.5 * scale))
