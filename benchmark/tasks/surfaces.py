# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures on the table and behind it: photographs, in place of a simulator's plain colours.

The simulator tells which pixels show the table, and which what stands behind everything. There
the picture is seen as it would be if it lay on the table, or hung on a wall: it keeps its place in
the world when the camera moves, the arm hides it, and shadows fall on it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import mujoco
import numpy as np
import skimage
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
#: Pixels of a picture per m on the table, and on the wall; and how far that is from the origin of
#: the world, where the camera looks, m.
ON_TABLE, ON_WALL, AWAY = 300.0, 150.0, 2.5
#: A camera that looks down by more than this (sine) has the floor behind the table, not a wall.
STEEP = 0.9
#: Photographs that come with scikit-image; those of surfaces first.
FLAT = ("gravel.png", "brick.png", "grass.png", "coffee.png", "coins.png")
FULL = (
    "motorcycle_left.png", "astronaut.png", "chelsea.png", "rocket.jpg", "motorcycle_right.png",
)  # fmt: skip


class Eye(NamedTuple):
    """Where a camera is, m, and where each of its pixels looks, (height, width, 3)."""

    place: Array
    rays: Array

    @classmethod
    def of(cls, scene: mujoco.MjvScene, width: int, height: int) -> Eye:
        """The one of a scene that was updated for it."""
        left, right = scene.camera
        forward, up = np.array(left.forward), np.array(left.up)
        across = np.cross(forward, up)
        top, bottom, near = left.frustum_top, left.frustum_bottom, left.frustum_near
        per_pixel = (top - bottom) / height / near
        x = (np.arange(width) + 0.5 - width / 2) * per_pixel
        y = top / near - (np.arange(height) + 0.5) * per_pixel
        rays = forward + x[None, :, None] * across + y[:, None, None] * up
        return cls((np.array(left.pos) + np.array(right.pos)) / 2, rays)


class Surfaces(NamedTuple):
    """What the table and the wall show, RGB; None: what the simulator draws."""

    table: Image | None = None
    wall: Image | None = None

    def __bool__(self) -> bool:
        return any(one is not None for one in self)

    def but(self, other: Surfaces) -> Surfaces:
        """These where the others show nothing."""
        pairs = zip(other, self, strict=True)
        return Surfaces(*(own if new is None else new for new, own in pairs))

    def put(self, image: Image, table: Mask, behind: Mask, height: float, eye: Eye) -> Image:
        """The image with them.

        :param table, behind: which of its pixels show these. :param height: of the table, m.
        """
        image = image.copy()
        if self.table is not None and table.any():
            grey = image.mean(2)[table]
            shade = (grey / max(float(np.median(grey)), 1.0))[:, None]
            shown = _on_plane(self.table, eye, 2, height, ON_TABLE)[table]
            image[table] = (shown * shade).clip(0, 255)
        if self.wall is not None and behind.any():
            middle = eye.rays.mean((0, 1))
            middle /= np.linalg.norm(middle)
            axis = 2 if abs(middle[2]) > STEEP else int(np.abs(middle[:2]).argmax())
            there = AWAY * float(np.sign(middle[axis]))
            image[behind] = _on_plane(self.wall, eye, axis, there, ON_WALL)[behind]
        return image


def _on_plane(picture: Image, eye: Eye, axis: int, offset: float, scale: float) -> Image:
    """How a plane with a picture on it looks; beyond its border the picture is mirrored.

    :param axis, offset: the plane is where this coordinate is this, m. :param scale: pixels per m.
    """
    along = eye.rays[..., axis]
    distance = (offset - eye.place[axis]) / np.where(along == 0, 1e-9, along)
    x, y = (eye.place[one] + distance * eye.rays[..., one] for one in (0, 1, 2) if one != axis)
    # Near the horizon a picture cannot be told any more, and the numbers would overflow.
    x, y = (np.clip(scale * one, -1e4, 1e4).astype(np.float32) for one in (x, -y))
    return np.asarray(
        cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.uint8
    )


@cache
def photograph(name: str) -> Image:
    """One of `FLAT` or `FULL`, RGB."""
    picture = cv2.imread(str(Path(skimage.__file__).parent / "data" / name))
    assert picture is not None, f"scikit-image {skimage.__version__} has no {name}"
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def chequered(random: np.random.Generator) -> Image:
    """Squares of 5 cm on a table, in two colours."""
    squares = np.add.outer(np.arange(20), np.arange(20)) % 2
    colours = random.uniform(40, 220, (2, 3))
    side = round(0.05 * ON_TABLE)
    return colours[squares].repeat(side, 0).repeat(side, 1).astype(np.uint8)


def plain(random: np.random.Generator) -> Image:
    """Any colour."""
    return np.broadcast_to(random.uniform(40, 220, 3), (8, 8, 3)).astype(np.uint8)


def part_of(picture: Image, random: np.random.Generator) -> Image:
    """Somewhere in it, so that it never lies in the same place."""
    height, width = picture.shape[:2]
    x, y = (int(random.integers(side)) for side in (width, height))
    return np.roll(np.roll(picture, x, 1), y, 0)


def any_of(names: tuple[str, ...], random: np.random.Generator) -> Image:
    """One of the photographs, somewhere."""
    return part_of(photograph(names[random.integers(len(names))]), random)
