# Copyright 2026 The sarnn_ros authors
# SPDX-License-Identifier: Apache-2.0
"""docs/images/overlay.png, predicted_beside.png and attention.gif: what the node shows, of a
policy of the demo in the simulator.

python docs/figures/overlay.py POLICY
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from sarnn_ros.geometry import points_to_model_pixels, points_to_source_pixels
from sarnn_ros.policy.health import HealthMonitor
from sarnn_ros.policy.runtime import Policy, Prediction
from sarnn_ros.sim.rollout import rollout
from sarnn_ros.sim.scene import CUBE_HALF, LiftScene
from sarnn_ros.sim.task import Placement, Vision
from sarnn_ros.streams.observe import Observation
from sarnn_ros.viz.overlay import SAME_TICKS, beside, draw_marks, draw_overlay, with_status

IMAGES = Path(__file__).parents[1] / "images"
#: On the way to the cube; and where a second one distracts.
TICK, TOUCHING = 30, 45
WARN_ABOVE = 1.0
FILM_TICKS, FILM_SIDE = 75, 256
Image = NDArray[np.uint8]


class Watcher:
    """Steps the policy and keeps what there is to see."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.health = HealthMonitor(policy.config, window=10, count_images=False)

    def reset(self) -> None:
        self.policy.reset()
        self.health.reset()
        self.seen: list[tuple[Observation, Prediction, float | None]] = []

    def step(self, observation: Observation) -> Prediction:
        prediction = self.policy.step(observation, want_image=True)
        score = self.health.see(observation, prediction).score
        self.seen.append((observation, prediction, score))
        return prediction

    def overlay(self, tick: int, text: str = "commanding") -> Image:
        camera = self.policy.spec.cameras[0]
        observation, _, score = self.seen[tick]
        image = observation.sources[camera.name]
        tracks = np.stack(
            [
                points_to_source_pixels(
                    step[1].encoder_points[camera.name], camera, image.shape[1], image.shape[0]
                )
                for step in self.seen[max(tick - SAME_TICKS + 1, 0) : tick + 1]
            ]
        )
        drawn = draw_marks(image, tracks, score, WARN_ABOVE)
        return with_status(drawn, text, "fine", score, WARN_ABOVE)

    def beside(self, tick: int) -> Image:
        camera = self.policy.spec.cameras[0]
        (_, before, _), (observation, now, _) = self.seen[tick - 1 : tick + 1]
        assert before.images is not None
        tiles = [
            draw_overlay(image, points_to_model_pixels(points, camera.width, camera.height))
            for image, points in (
                (observation.images[camera.name], now.encoder_points[camera.name]),
                (before.images[camera.name], before.decoder_points[camera.name]),
            )
        ]
        return beside(tiles[0], tiles[1], ("seen", "expected"))


class SecondCube(LiftScene):
    """Another cube, as red as the right one, lies beside it."""

    def render(self, *, hide_cube: bool = False, qpos: NDArray[np.float64] | None = None) -> Image:
        image = super().render(hide_cube=hide_cube, qpos=qpos).copy()
        elsewhere = (self.data.qpos if qpos is None else qpos).copy()
        elsewhere[self._cube_qpos : self._cube_qpos + 3] = (0.42, -0.08, CUBE_HALF)
        other, bare = (super(SecondCube, self).render(hide_cube=h, qpos=elsewhere)
                       for h in (False, True))  # fmt: skip
        shown = (other != bare).any(axis=-1)
        image[shown] = other[shown]
        return image


def main() -> None:
    policy = Policy.load(sys.argv[1])
    cases: tuple[tuple[LiftScene, Vision, int], ...] = (
        (LiftScene(), "live", TICK),
        (LiftScene(), "hidden", TICK),
        (SecondCube(), "live", TOUCHING),
    )
    tiles = []
    for scene, vision, tick in cases:
        watcher = Watcher(policy)
        rollout(watcher, scene, Placement(0.42, 0.1), policy.spec, vision=vision, ticks=tick + 1)
        tiles.append(watcher.overlay(tick))
        if tick == TICK and vision == "live":
            expected = watcher.beside(TICK)
    save("overlay.png", tiles)
    save("predicted_beside.png", [expected])
    film(policy, LiftScene())


def save(name: str, tiles: list[Image]) -> None:
    height = max(tile.shape[0] for tile in tiles)
    padded = [
        np.pad(tile, ((0, height - len(tile)), (0, 8), (0, 0)), constant_values=255)
        for tile in tiles
    ]
    cv2.imwrite(str(IMAGES / name), cv2.cvtColor(np.hstack(padded), cv2.COLOR_RGB2BGR))


def film(policy: Policy, scene: LiftScene) -> None:
    """Two positions that were never taught, side by side, at 10 Hz."""
    watchers = []
    for y in (-0.15, 0.15):
        watcher = Watcher(policy)
        rollout(watcher, scene, Placement(0.42, y), policy.spec, ticks=FILM_TICKS)
        watchers.append(watcher)
    frames = []
    for tick in range(FILM_TICKS):
        tiles = [watcher.overlay(tick) for watcher in watchers]
        size = (2 * FILM_SIDE, round(FILM_SIDE * tiles[0].shape[0] / tiles[0].shape[1]))
        frames.append(cv2.resize(np.hstack(tiles), size, interpolation=cv2.INTER_AREA))
    # One palette for all frames, or the table would flicker.
    palette = PIL.Image.fromarray(np.vstack(frames[::10])).quantize(128)
    shown = [
        PIL.Image.fromarray(frame).quantize(palette=palette, dither=PIL.Image.Dither.NONE)
        for frame in frames
    ]
    shown[0].save(
        IMAGES / "attention.gif", save_all=True, append_images=shown[1:], duration=100, loop=0
    )


if __name__ == "__main__":
    main()
