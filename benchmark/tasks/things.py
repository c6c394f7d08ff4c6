# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Shapes of one colour that are drawn with a scene, and that nothing touches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BOX, BALL, CYLINDER, ELLIPSOID = (
    mujoco.mjtGeom.mjGEOM_BOX,
    mujoco.mjtGeom.mjGEOM_SPHERE,
    mujoco.mjtGeom.mjGEOM_CYLINDER,
    mujoco.mjtGeom.mjGEOM_ELLIPSOID,
)


@dataclass(frozen=True)
class Thing:
    """One of them.

    :param kind: of `BOX`, `BALL`, `CYLINDER`, `ELLIPSOID`. :param middle: m.
    :param size: half of it in x, y and z, as the kind uses them in a model's XML, m.
    :param turn: about the vertical, rad. :param colour: RGB, 0 to 1.
    """

    kind: Any
    middle: Array
    size: Array
    turn: float
    colour: Array

    def draw(self, scene: mujoco.MjvScene) -> None:
        """Put it into a scene that is about to be drawn. It can be told in a segmentation."""
        size = self.size
        if self.kind == BALL:
            size = np.full(3, size[0])
        elif self.kind == CYLINDER:
            size = size[[0, 0, 1]]
        c, s = np.cos(self.turn), np.sin(self.turn)
        matrix = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        scene.ngeom += 1  # before: dm_control gives no geoms beyond
        drawn = scene.geoms[scene.ngeom - 1]
        colour = np.append(self.colour, 1).astype(np.float32)
        mujoco.mjv_initGeom(drawn, self.kind, size, self.middle, matrix.ravel(), colour)
        drawn.segid = scene.ngeom - 1

    def xml(self) -> str:
        """As part of a model's world."""
        kind = self.kind.name.removeprefix("mjGEOM_").lower()
        size, middle, colour = (
            " ".join(map(str, row)) for row in (self.size, self.middle, np.append(self.colour, 1))
        )
        turn = f"0 0 {self.turn}"
        return f'<geom type="{kind}" pos="{middle}" euler="{turn}" size="{size}" rgba="{colour}"/>'
